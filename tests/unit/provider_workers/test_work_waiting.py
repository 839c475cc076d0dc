"""Calls that wait without a task: what is usual is passed on, and with everything else a task takes over as if it had called."""

import asyncio
from typing import Any

import pytest
from calling_worker import WAIT_S, Gateway, asking, attempt, endpoint, gateway, run
from scripted_upstream import COMPLETION, Script, Upstream, always, answer, upstream

from llmproxy.common.bus import Hold
from llmproxy.common.envelope import Envelope
from llmproxy.common.frames import End
from llmproxy.provider_workers.compatible import Compatible

GOOD = answer(200, COMPLETION)
SECOND = "0192f0c1-0000-7000-8000-000000000002"


def then(script: Script) -> Script:
    """A good answer to the first request, so that a connection is kept; `script` for the others."""

    async def scripted(number: int, writer: asyncio.StreamWriter) -> None:
        if number:
            await script(number, writer)
        else:
            writer.write(GOOD)

    return scripted


async def silence(_: int, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def waiting(asked: Gateway, served: Upstream, sent: Envelope) -> Hold:
    """Asks once for a connection, and again for a call that waits on it."""
    await asked.answered(asking())
    await asked.outcome()
    asked.packets.clear()
    asked.outcomes.clear()
    asked.ask(sent)
    async with asyncio.timeout(WAIT_S):
        while len(served.asked) < 2:
            await asyncio.sleep(0.001)
    [held] = asked.worker.holds.values()
    assert held.task is None
    return held


async def ended(asked: Gateway) -> Any:
    await asyncio.wait_for(asked.ended.wait(), WAIT_S)
    assert not asked.worker.holds
    assert not asked.work.transport.watches.under_way
    return asked.last


def test_a_whole_answer_in_one_piece_needs_no_task() -> None:
    async def scenario() -> None:
        goes_on = asyncio.Event()

        async def script(_: int, writer: asyncio.StreamWriter) -> None:
            await goes_on.wait()
            writer.write(answer(200, COMPLETION, "x-request-id: r-2"))

        async with upstream(then(script)) as served, gateway({"up": endpoint(served)}) as asked:
            held = await waiting(asked, served, asking(id=SECOND))
            tasks, reused = asyncio.all_tasks(), asked.work.destinations()[0].reused.value
            goes_on.set()
            end = await ended(asked)
            assert held.is_released
            assert not asyncio.all_tasks() - tasks
            [[head, data, _]] = asked.packets
            assert (head.endpoint, head.headers) == ("up", {"x-request-id": "r-2"})  # type: ignore[union-attr]
            assert bytes(data.json) == COMPLETION  # type: ignore[union-attr]
            assert (end.usage.input, end.cost, end.usage.estimated) == (11, 11 * 1000 + 3 * 2000, False)
            [outcome] = await asked.outcome()
            assert (outcome.id, outcome.ok, outcome.cost) == (SECOND, True, end.cost)
            goes_on.set()
            assert isinstance(await asked.answered(asking(id=SECOND, attempt=1)), End)
            assert asked.work.destinations()[0].reused.value == reused + 1

    run(scenario)


def test_an_answer_in_pieces_is_read_by_a_task() -> None:
    async def scenario() -> None:
        async def pieces(_: int, writer: asyncio.StreamWriter) -> None:
            for piece in (GOOD[:20], GOOD[20:90], GOOD[90:]):
                writer.write(piece)
                await asyncio.sleep(0.01)

        async with upstream(then(pieces)) as served, gateway({"up": endpoint(served)}) as asked:
            await waiting(asked, served, asking(id=SECOND))
            end = await ended(asked)
            assert asked.text == COMPLETION
            assert end.usage.input == 11
            [outcome] = await asked.outcome()
            assert outcome.ok

    run(scenario)


@pytest.mark.parametrize(
    "said",
    [
        answer(500, b"{}"),
        answer(200, b'{"error":{"message":"overloaded","code":503}}'),
        answer(200, b"{"),
        answer(204, b""),
        answer(301, b"", "location: https://example.com"),
        answer(200, COMPLETION, "content-encoding: br"),
        b"what is this\r\n\r\n",
    ],
)
def test_what_is_no_good_answer_is_followed_by_the_next_of_the_plan(said: bytes) -> None:
    async def scenario() -> None:
        goes_on = asyncio.Event()

        async def bad(_: int, writer: asyncio.StreamWriter) -> None:
            await goes_on.wait()
            writer.write(said)

        async with (
            upstream(then(bad)) as served,
            upstream(always(GOOD)) as other,
            gateway({"up": endpoint(served), "other": endpoint(other)}) as asked,
        ):
            await waiting(asked, served, asking(attempt(), attempt("other"), id=SECOND))
            goes_on.set()
            end = await ended(asked)
            assert isinstance(end, End)
            assert asked.packets[0][0].endpoint == "other"  # type: ignore[union-attr]
            first, second = await asked.outcome(2)
            assert (first.endpoint, first.ok, second.endpoint, second.ok) == ("up", False, "other", True)

    run(scenario)


def test_a_provider_that_hangs_up_meanwhile_is_asked_once_more() -> None:
    async def scenario() -> None:
        async def hangs_up(number: int, writer: asyncio.StreamWriter) -> None:
            if number == 1:
                writer.close()
            else:
                writer.write(GOOD)

        async with upstream(then(hangs_up)) as served, gateway({"up": endpoint(served)}) as asked:
            assert isinstance(await asked.answered(asking()), End)
            assert isinstance(await asked.answered(asking(id=SECOND)), End)
            assert len(served.asked) == 3

    run(scenario)


def test_a_provider_that_hangs_up_again_is_asked_no_more() -> None:
    async def scenario() -> None:
        async def hangs_up(_: int, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with upstream(then(hangs_up)) as served, gateway({"up": endpoint(served)}) as asked:
            assert isinstance(await asked.answered(asking()), End)
            assert (await asked.answered(asking(id=SECOND))).code == "provider_unreachable"
            assert len(served.asked) == 3

    run(scenario)


def test_who_leaves_closes_the_upstream_at_once() -> None:
    async def scenario() -> None:
        async with upstream(then(silence)) as served, gateway({"up": endpoint(served)}) as asked:
            sent = asking(id=SECOND)
            await waiting(asked, served, sent)
            asked.edge.cancel(asked.worker.address, sent.id, sent.attempt)
            end = await ended(asked)
            assert (end.finish, end.usage.estimated) == ("cancelled", True)
            await asyncio.wait_for(served.left.wait(), WAIT_S)
            [outcome] = await asked.outcome()
            assert (outcome.ok, outcome.counts, outcome.code) == (False, False, "client_closed_request")

    run(scenario)


def test_a_task_that_never_begins_leaves_no_connection_behind() -> None:
    async def scenario() -> None:
        async with upstream(then(silence)) as served, gateway({"up": endpoint(served)}) as asked:
            held = await waiting(asked, served, asking(id=SECOND))
            held.cancel()
            held.cancel()
            await asyncio.wait_for(served.left.wait(), WAIT_S)
            assert held.is_released
            assert not asked.worker.holds

    run(scenario)


@pytest.mark.parametrize(
    ("first_byte_ms", "deadline_s", "code"), [(80, 60.0, "provider_timeout"), (60_000, 0.1, "deadline_exceeded")]
)
def test_an_answer_that_stays_away_is_given_up(first_byte_ms: int, deadline_s: float, code: str) -> None:
    async def scenario() -> None:
        async with upstream(then(silence)) as served, gateway({"up": endpoint(served)}) as asked:
            deadline_ms = int((asked.work.now() + deadline_s) * 1000)
            sent = asking(attempt(first_byte_ms=first_byte_ms), id=SECOND, deadline_ms=deadline_ms)
            await waiting(asked, served, sent)
            failure = await ended(asked)
            assert failure.code == code
            await asyncio.wait_for(served.left.wait(), WAIT_S)
            [outcome] = await asked.outcome()
            assert (outcome.ok, outcome.code) == (False, code)

    run(scenario)


def test_a_worker_that_leaves_waits_for_the_answer_with_a_task() -> None:
    async def scenario() -> None:
        goes_on = asyncio.Event()

        async def script(_: int, writer: asyncio.StreamWriter) -> None:
            await goes_on.wait()
            writer.write(GOOD)

        async with upstream(then(script)) as served, gateway({"up": endpoint(served)}) as asked:
            held = await waiting(asked, served, asking(id=SECOND))
            await asked.worker.leave()
            assert held.task is not None
            goes_on.set()
            assert isinstance(await ended(asked), End)

    run(scenario)


def test_a_worker_that_is_stopped_says_that_the_request_is_lost() -> None:
    async def scenario() -> None:
        async with upstream(then(silence)) as served, gateway({"up": endpoint(served)}) as asked:
            await waiting(asked, served, asking(id=SECOND))
            await asked.worker.drain(0.0)
            failure = await ended(asked)
            assert (failure.code, failure.again) == ("stage_lost", True)
            await asyncio.wait_for(served.left.wait(), WAIT_S)

    run(scenario)


def test_a_mistake_of_ours_ends_the_answer_and_frees_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        goes_on = asyncio.Event()

        async def script(_: int, writer: asyncio.StreamWriter) -> None:
            await goes_on.wait()
            writer.write(GOOD)

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        async with upstream(then(script)) as served, gateway({"up": endpoint(served)}) as asked:
            await waiting(asked, served, asking(id=SECOND))
            monkeypatch.setattr(Compatible, "response", broken)
            goes_on.set()
            assert (await ended(asked)).code == "server_error"
            await asyncio.wait_for(served.left.wait(), WAIT_S)

    run(scenario)
