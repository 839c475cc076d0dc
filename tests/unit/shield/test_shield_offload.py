"""Large bodies in another process: the same answer, and a refusal when the process hangs or dies."""

import asyncio
import contextlib
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from patience import PATIENCE_S

from llmproxy.common.policy import Policy
from llmproxy.shield import memory
from llmproxy.shield import offload as offloading
from llmproxy.shield.answers.asked import SAID_CHARS_MAX
from llmproxy.shield.examine import Examined, Order, Refused
from llmproxy.shield.offload import BUSY, QUEUED_BYTES_MAX, SHORT_BYTES_MAX, UNAVAILABLE, Offload
from llmproxy.shield.turns import WAITING_EACH_MAX, WAITING_MAX, Turns

PATIENT = {"guard_timeout_ms": 1_000 * int(PATIENCE_S)}


@pytest.fixture(autouse=True)
def _turns_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a turn comes a process may have to start, which takes as long as the machine likes."""
    monkeypatch.setattr(offloading, "WAIT_S", PATIENCE_S)


def order(content: str, **policy: Any) -> Order:
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    return Order(body=body, policy=Policy(**policy), key=b"k" * 32, max_depth=64)


def with_offload(scenario: Callable[[Offload], Coroutine[Any, Any, None]], workers: int = 1) -> None:
    async def main() -> None:
        offload = Offload(workers)
        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                await scenario(offload)
        finally:
            offload.close()

    asyncio.run(main())


def test_a_body_examined_in_a_process_is_masked_or_refused_as_anywhere() -> None:
    async def scenario(offload: Offload) -> None:
        examined = await offload.examine(order("mail ada@example.com", **PATIENT))
        assert isinstance(examined, Examined)
        assert list(examined.originals.values()) == ["ada@example.com"]
        refused = await offload.examine(order("mail ada@example.com", kinds={"email": "block"}, **PATIENT))
        assert isinstance(refused, Refused)
        assert refused.error().code == "content_blocked"

    with_offload(scenario)


LARGE = "mail ada@example.com" + ", so it is said" * (4 * QUEUED_BYTES_MAX // 14)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all of it goes through the queue")
def test_what_is_large_does_not_go_through_the_queue() -> None:
    """It would be copied under Python's lock, and hold the loop for a millisecond a megabyte."""
    queued: list[int] = []

    async def scenario(offload: Offload) -> None:
        pool = offload._lanes[0]._pool
        submit = pool.submit

        def noted(work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
            queued.append(len(pickle.dumps(arguments)))
            done = submit(work, *arguments, **named)
            done.add_done_callback(lambda one: queued.append(len(pickle.dumps(one.result()))))
            return done

        pool.submit = noted  # type: ignore[method-assign]
        examined = await offload.examine(order(LARGE, **PATIENT))
        assert isinstance(examined, Examined)
        assert examined.masked is not None
        (placeholder,) = examined.originals
        assert json.loads(examined.masked)["messages"][0]["content"] == LARGE.replace("ada@example.com", placeholder)
        clear = await offload.examine(order(LARGE.replace("@", " "), **PATIENT))
        assert isinstance(clear, Examined)
        assert clear.masked is None

    with_offload(scenario)
    assert len(queued) == 4
    assert max(queued) < 3 * SAID_CHARS_MAX < len(LARGE), "what the answer is compared with comes back, and no more"


@pytest.mark.parametrize("is_made", [False, True])
def test_where_no_memory_can_be_shared_a_large_body_is_examined_all_the_same(
    is_made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unshared(memory.Memory):
        def __init__(self) -> None:
            if not is_made:
                raise OSError
            super().__init__()
            self.path = "/nonexistent"

    monkeypatch.setattr(memory, "Memory", Unshared)

    async def scenario(offload: Offload) -> None:
        examined = await offload.examine(order(LARGE, **PATIENT))
        assert isinstance(examined, Examined)
        assert list(examined.originals.values()) == ["ada@example.com"]
        assert examined.masked is not None
        assert len(examined.masked) > QUEUED_BYTES_MAX

    with_offload(scenario)


def test_a_process_that_dies_refuses_its_request_and_the_next_is_served_by_another() -> None:
    async def scenario(offload: Offload) -> None:
        assert isinstance(await offload.examine(order("hello", **PATIENT)), Examined)
        (process,) = offload._lanes[0]._pool._processes.values()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert await offload.examine(order("hello", **PATIENT)) == UNAVAILABLE
        assert isinstance(await offload.examine(order("hello", **PATIENT)), Examined)

    with_offload(scenario)


def test_a_process_that_hangs_is_replaced_and_its_request_refused() -> None:
    async def scenario(offload: Offload) -> None:
        assert isinstance(await offload.examine(order("hello", **PATIENT)), Examined)
        (process,) = offload._lanes[0]._pool._processes.values()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        assert await offload.examine(order("hello", guard_timeout_ms=1)) == UNAVAILABLE
        assert isinstance(await offload.examine(order("hello", **PATIENT)), Examined)
        process.join(PATIENCE_S)
        assert not process.is_alive()

    with_offload(scenario)


def test_what_takes_too_long_on_an_idle_machine_too_is_too_large_and_not_to_be_retried() -> None:
    async def scenario(offload: Offload) -> None:
        assert isinstance(await offload.examine(order("hello", **PATIENT)), Examined)
        refused = await offload.examine(order("4111 1111 1111 1111 " * 10_000, guard_timeout_ms=1))
        assert isinstance(refused, Refused)
        assert (refused.error().status, refused.error().retryable, refused.retry_after_ms) == (413, False, 0)
        assert "guard_timeout_ms" in refused.message

    with_offload(scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="only there it is known what another process has worked")
def test_a_process_that_has_worked_for_too_long_and_hangs_is_replaced_and_the_text_is_too_large() -> None:
    async def scenario(offload: Offload) -> None:
        lane = offload._lanes[0]
        assert isinstance(await offload.examine(order("hello", **PATIENT)), Examined)
        (process,) = lane._pool._processes.values()
        before = lane.cpu_s()
        asked = asyncio.create_task(offload.examine(order("4111 1111 1111 1111 " * 100_000, guard_timeout_ms=10)))
        while lane.cpu_s() <= before + 0.02 and not asked.done():
            await asyncio.sleep(0.001)
        os.kill(process.pid or 0, signal.SIGSTOP)
        refused = await asked
        assert isinstance(refused, Refused)
        assert refused.code == "request_too_large"
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid or 0, signal.SIGCONT)
        assert isinstance(await offload.examine(order("hello", **PATIENT)), Examined)

    with_offload(scenario)


LONG = "a " * SHORT_BYTES_MAX


async def stopped(offload: Offload, lane: int) -> None:
    """This process holds what it is given."""
    (process,) = offload._lanes[lane]._pool._processes.values()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)


async def taken(offload: Offload) -> None:
    """All that was asked has a process or a place among those who wait."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_body_that_hangs_takes_nobody_with_it_who_only_waited() -> None:
    async def scenario(offload: Offload) -> None:
        await offload.examine(order("hello", **PATIENT))
        await stopped(offload, 0)
        hanging = asyncio.create_task(offload.examine(order("hello", guard_timeout_ms=1), "one"))
        await taken(offload)
        waiting = [asyncio.create_task(offload.examine(order("hello", **PATIENT), "other")) for _ in range(3)]
        assert await hanging == UNAVAILABLE
        assert all(isinstance(one, Examined) for one in await asyncio.gather(*waiting))

    with_offload(scenario)


def test_short_bodies_do_not_wait_for_long_ones() -> None:
    async def scenario(offload: Offload) -> None:
        for _ in range(2):
            await asyncio.gather(*(offload.examine(order(text, **PATIENT)) for text in ("hello", LONG)))
        await stopped(offload, 1)
        long = [asyncio.create_task(offload.examine(order(LONG, **PATIENT), "one")) for _ in range(3)]
        await taken(offload)
        for _ in range(3):
            assert isinstance(await offload.examine(order("hello", **PATIENT), "other"), Examined)
        assert not any(one.done() for one in long)
        (process,) = offload._lanes[1]._pool._processes.values()
        os.kill(process.pid or 0, signal.SIGCONT)
        assert all(isinstance(one, Examined) for one in await asyncio.gather(*long))

    with_offload(scenario, workers=2)


def test_who_asks_a_hundred_times_is_refused_before_anybody_else_is() -> None:
    async def scenario(offload: Offload) -> None:
        await offload.examine(order("hello", **PATIENT))
        await stopped(offload, 0)
        many = [asyncio.create_task(offload.examine(order("hello", **PATIENT), "one")) for _ in range(100)]
        await taken(offload)
        refused = [one for one in many if one.done()]
        assert len(refused) == 100 - 1 - WAITING_EACH_MAX
        assert all(one.result() == BUSY for one in refused)
        other = asyncio.create_task(offload.examine(order("hello", **PATIENT), "other"))
        await taken(offload)
        (process,) = offload._lanes[0]._pool._processes.values()
        os.kill(process.pid or 0, signal.SIGCONT)
        assert isinstance(await other, Examined)
        assert sum(one.done() for one in many if one not in refused) <= 3  # Its turn came after one of theirs.
        await asyncio.gather(*many)

    with_offload(scenario)


def test_a_caller_that_leaves_gives_its_place_and_its_process_back() -> None:
    async def scenario(offload: Offload) -> None:
        await offload.examine(order("hello", **PATIENT))
        await stopped(offload, 0)
        held = asyncio.create_task(offload.examine(order("hello", **PATIENT), "one"))
        await taken(offload)
        waiting = asyncio.create_task(offload.examine(order("hello", **PATIENT), "one"))
        await taken(offload)
        for one in (held, waiting):
            one.cancel()
        await asyncio.wait([held, waiting])
        assert len(offload._short) == 0
        assert offload._free == []  # The process still has the body.
        (process,) = offload._lanes[0]._pool._processes.values()
        os.kill(process.pid or 0, signal.SIGCONT)
        assert isinstance(await offload.examine(order("hello", **PATIENT), "other"), Examined)
        assert offload._free == offload._lanes

    with_offload(scenario)


def test_a_turn_that_comes_as_its_caller_leaves_is_the_next_ones() -> None:
    async def scenario(offload: Offload) -> None:
        (lane,) = offload._free
        offload._free.clear()
        waiting = asyncio.create_task(offload.examine(order("hello", **PATIENT), "one"))
        await taken(offload)
        offload._release(lane)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert offload._free == [lane]

    with_offload(scenario)


def test_turns_go_round_the_callers_and_within_one_in_order() -> None:
    async def scenario() -> None:
        turns: Turns[int] = Turns()
        waiting = {name: turns.wait(name[0]) for name in ("a1", "a2", "a3", "b1", "c1", "b2")}
        given = []
        for number in range(6):
            assert turns.give(number)
            given.append(next(name for name, turn in waiting.items() if turn and turn.done() and name not in given))
        assert given == ["a1", "b1", "c1", "a2", "b2", "a3"]
        assert not turns.give(7)
        assert len(turns) == 0

    asyncio.run(scenario())


def test_no_more_wait_than_there_is_room_for() -> None:
    async def scenario() -> None:
        turns: Turns[int] = Turns()
        found = [turns.wait(f"caller {number}") for number in range(WAITING_MAX + 1)]
        assert found[-1] is None
        assert None not in found[:-1]
        turns.leave("caller 0", found[0])  # type: ignore[arg-type]
        turns.leave("caller 0", found[0])  # type: ignore[arg-type]
        assert len(turns) == WAITING_MAX - 1
        assert turns.wait("another") is not None

    asyncio.run(scenario())
