"""The rings: order, time limits, and that a step which cannot say yes has not said it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.errors import CATALOGUE, GatewayError, Unavailable
from llmproxy.common.plugins.host import MODIFIED, PASS, Block, Pipeline, Respond, Result, Ring

BLOCKED = Block("content_blocked", "no")
ANSWER = Respond(b'{"cached":true}')
Body = Callable[[list[str]], Any]


class Scripted:
    """A step that notes that it ran and then does as told."""

    def __init__(
        self,
        name: str,
        body: Body = lambda _: PASS,
        *,
        priority: int = 0,
        timeout_ms: int = 60_000,
        fail: Literal["closed", "open"] = "closed",
    ) -> None:
        self.name, self.priority, self.timeout_ms, self.fail = name, priority, timeout_ms, fail
        self._body = body

    def run(self, ran: list[str], /) -> Result | Awaitable[Result]:
        ran.append(self.name)
        result: Result | Awaitable[Result] = self._body(ran)
        return result


def later(result: Any) -> Body:
    async def body() -> Any:
        await asyncio.sleep(0)
        return result

    return lambda _: body()


def raising(_: list[str]) -> Result:
    raise ValueError("the prompt said hunter2")


async def _raise_later() -> Result:
    await asyncio.sleep(0)
    raise ValueError("the prompt said hunter2")


def raising_later(_: list[str]) -> Awaitable[Result]:
    return _raise_later()


async def _never() -> Result:
    await asyncio.Event().wait()
    return PASS


def hanging(_: list[str]) -> Awaitable[Result]:
    return _never()


def run(*steps: Scripted) -> tuple[Result, list[str]]:
    ran: list[str] = []
    return asyncio.run(Pipeline(Ring.PRE_FLIGHT, steps).run(ran)), ran


def away(_: list[str]) -> Result:
    raise Unavailable("guard_unavailable", "what the guard asks does not answer")


FAILURES: dict[str, Body] = {
    "is not answered": away,
    "raises": raising,
    "raises later": raising_later,
    "hangs": hanging,
    "returns nothing": lambda _: None,
    "returns nothing later": later(None),
    "returns a truth": lambda _: True,
    "returns a truth later": later(True),
}
failing = pytest.mark.parametrize("body", FAILURES.values(), ids=FAILURES.keys())
position = pytest.mark.parametrize("before", [None, later(PASS)], ids=["first", "after one that waited"])


def test_a_ring_without_steps_passes() -> None:
    assert run() == (PASS, [])


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), max_size=8))
def test_steps_run_by_priority_and_then_as_registered_synchronous_or_not(drawn: list[tuple[int, bool]]) -> None:
    steps = [
        Scripted(str(index), later(PASS) if waits else lambda _: PASS, priority=priority)
        for index, (priority, waits) in enumerate(drawn)
    ]
    expected = [step.name for step in sorted(steps, key=lambda step: step.priority)]
    assert run(*steps) == (PASS, expected)
    assert [one.name for one in Pipeline(Ring.PRE_FLIGHT, steps).describe()] == expected


@pytest.mark.parametrize("verdict", [BLOCKED, ANSWER], ids=["block", "respond"])
@pytest.mark.parametrize("waits", [False, True])
@position
def test_a_verdict_ends_the_ring(verdict: Result, waits: bool, before: Body | None) -> None:
    first = [Scripted("before", before)] if before else []
    result, ran = run(*first, Scripted("says", later(verdict) if waits else lambda _: verdict), Scripted("after"))
    assert result is verdict
    assert "after" not in ran


@pytest.mark.parametrize("waits", [False, True])
def test_a_modified_context_is_seen_by_the_next_step_and_passes(waits: bool) -> None:
    def modify(ran: list[str]) -> Any:
        ran.append("modified")
        return later(MODIFIED)(ran) if waits else MODIFIED

    seen: list[list[str]] = []

    def look(ran: list[str]) -> Result:
        seen.append(list(ran))
        return PASS

    assert run(Scripted("a", modify), Scripted("b", look))[0] == PASS
    assert seen == [["a", "modified", "b"]]


@pytest.mark.parametrize("waits", [False, True])
def test_modified_by_the_last_step_is_a_pass(waits: bool) -> None:
    assert run(Scripted("a", later(MODIFIED) if waits else lambda _: MODIFIED))[0] == PASS


@failing
@position
def test_a_step_that_fails_closed_blocks(body: Body, before: Body | None) -> None:
    first = [Scripted("before", before)] if before else []
    result, ran = run(*first, Scripted("guard", body, timeout_ms=20), Scripted("after"))
    assert isinstance(result, Block)
    assert result.code in CATALOGUE
    assert "guard" in result.message
    assert result.retry_after_ms > 0
    assert "after" not in ran


@pytest.mark.parametrize("waits", [False, True])
def test_what_a_step_raises_that_no_retry_mends_is_what_it_says_of_the_request(waits: bool) -> None:
    async def refuse() -> Result:
        raise GatewayError("too_deep", "flatten it", param="x[0]")

    def refuse_at_once(_: list[str]) -> Result:
        raise GatewayError("too_deep", "flatten it", param="x[0]")

    step = Scripted("guard", (lambda _: refuse()) if waits else refuse_at_once)
    assert run(step, Scripted("after")) == (Block("too_deep", "flatten it", "x[0]"), ["guard"])


@failing
@position
def test_a_step_that_fails_open_is_passed_over(body: Body, before: Body | None) -> None:
    first = [Scripted("before", before)] if before else []
    result, ran = run(*first, Scripted("hint", body, timeout_ms=20, fail="open"), Scripted("after", lambda _: BLOCKED))
    assert result is BLOCKED
    assert ran[-1] == "after"


def test_a_step_that_bounds_itself_is_not_cut_off() -> None:
    assert run(Scripted("slow", later(MODIFIED), timeout_ms=0))[0] == PASS


@failing
def test_a_step_is_never_skipped_for_having_failed_before(body: Body) -> None:
    pipeline = Pipeline(Ring.PRE_FLIGHT, [Scripted("guard", body, timeout_ms=5)])

    async def main() -> list[list[str]]:
        runs: list[list[str]] = []
        for _ in range(20):
            ran: list[str] = []
            assert isinstance(await pipeline.run(ran), Block)
            runs.append(ran)
        return runs

    assert asyncio.run(main()) == [["guard"]] * 20
    assert pipeline.failed == {"guard": 20}


@pytest.mark.parametrize("body", [raising, raising_later])
def test_the_words_of_a_failure_reach_neither_the_caller_nor_the_log(
    body: Body, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        result, _ = run(Scripted("guard", body))
    assert "hunter2" not in repr(result) + caplog.text
    assert "ValueError" in caplog.text


def test_synchronous_steps_need_no_loop_and_no_task() -> None:
    ran: list[str] = []
    pipeline = Pipeline(Ring.PRE_FLIGHT, [Scripted("a"), Scripted("b", lambda _: MODIFIED), Scripted("c")])
    assert pipeline.start(ran) == PASS  # Outside a loop: there is nothing that could have made a task.
    assert ran == ["a", "b", "c"]


def test_what_comes_before_the_first_waiting_step_has_run_when_start_returns() -> None:
    async def main() -> tuple[list[str], int, Result]:
        ran: list[str] = []
        pipeline = Pipeline(Ring.PRE_FLIGHT, [Scripted("a"), Scripted("b", later(BLOCKED)), Scripted("c")])
        started = pipeline.start(ran)
        before, tasks = list(ran), len(asyncio.all_tasks())
        assert not isinstance(started, Result)
        return before, tasks, await started  # type: ignore[misc]

    assert asyncio.run(main()) == (["a", "b"], 1, BLOCKED)


def test_a_cancelled_request_ends_its_step_and_is_no_failure() -> None:
    pipeline = Pipeline(Ring.PRE_FLIGHT, [Scripted("guard", hanging)])

    async def main() -> None:
        task = asyncio.ensure_future(pipeline.run([]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert pipeline.failed == {}


def test_the_list_of_a_ring_says_how_each_step_runs() -> None:
    (step,) = Pipeline(Ring.ROUTING, [Scripted("budget", priority=7, timeout_ms=50, fail="open")]).describe()
    assert (step.name, step.ring, step.priority, step.timeout_ms, step.fail) == ("budget", 3, 7, 50, "open")
