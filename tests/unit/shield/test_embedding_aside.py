"""The embedding model's process: it may be slow, hang, die or have nothing to read, and nobody waits for it longer than was said."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from embedding_stand_ins import echo, hang
from patience import PATIENCE_S

from llmproxy.common.testing import FakeClock
from llmproxy.shield.embedding.aside import RESTART_S, WAITING_MAX, Aside
from llmproxy.shield.embedding.stage import Question, load

ASKED = Question("an order", 0, 8, 0.25)
PATIENT_MS = 1_000 * int(PATIENCE_S)


def with_aside(
    scenario: Callable[[Aside, FakeClock], Coroutine[Any, Any, None]], read: Callable[[Path], Any] = echo
) -> None:
    async def main() -> None:
        clock = FakeClock()
        aside = Aside(Path("/nowhere"), clock, read)
        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                await scenario(aside, clock)
        finally:
            aside.close()

    asyncio.run(main())


def saying(text: str) -> Question:
    return Question(text, 0, len(text), 0.25)


def test_each_text_has_its_answer_in_order() -> None:
    async def scenario(aside: Aside, _: FakeClock) -> None:
        assert await aside.problem(PATIENT_MS) == ""
        questions = [Question("a", 0, 1, one / 10) for one in range(4)]
        assert await aside.probabilities(questions, PATIENT_MS) == [0.0, 0.1, 0.2, 0.3]

    with_aside(scenario)


def test_a_process_that_hangs_keeps_nobody_longer_than_was_said_and_the_loop_not_at_all() -> None:
    async def scenario(aside: Aside, _: FakeClock) -> None:
        assert await aside.problem(PATIENT_MS) == ""
        hanging = asyncio.ensure_future(aside.probabilities([saying("hang")], PATIENT_MS))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not hanging.done(), "nobody else had a turn while it was hanging"
        assert await aside.probabilities([saying("hang")], 50) is None
        hanging.cancel()

    with_aside(scenario)


def test_more_than_may_wait_go_without_at_once() -> None:
    async def scenario(aside: Aside, _: FakeClock) -> None:
        assert await aside.problem(PATIENT_MS) == ""
        hanging = [asyncio.ensure_future(aside.probabilities([saying("hang")], PATIENT_MS)) for _ in range(WAITING_MAX)]
        await asyncio.sleep(0)
        assert await aside.probabilities([ASKED], PATIENT_MS) is None
        for one in hanging:
            one.cancel()

    with_aside(scenario)


def test_a_failure_is_no_answer_and_the_next_has_one() -> None:
    async def scenario(aside: Aside, _: FakeClock) -> None:
        assert await aside.probabilities([saying("fail")], PATIENT_MS) is None
        assert await aside.probabilities([ASKED], PATIENT_MS) == [0.25]

    with_aside(scenario)


def test_a_process_that_dies_is_replaced_but_not_over_and_over() -> None:
    async def scenario(aside: Aside, clock: FakeClock) -> None:
        assert await aside.probabilities([saying("die")], PATIENT_MS) is None
        assert await aside.probabilities([ASKED], PATIENT_MS) is None, "it was replaced at once"
        clock.advance(RESTART_S)
        assert await aside.probabilities([ASKED], PATIENT_MS) is None
        assert await aside.probabilities([ASKED], PATIENT_MS) == [0.25]

    with_aside(scenario)


def test_a_folder_that_is_not_there_is_said_and_nobody_has_an_answer() -> None:
    async def scenario(aside: Aside, _: FakeClock) -> None:
        assert "/nowhere" in await aside.problem(PATIENT_MS)
        assert await aside.probabilities([ASKED], PATIENT_MS) is None

    with_aside(scenario, load)


@pytest.mark.parametrize("read", [hang])
def test_a_model_that_takes_too_long_to_read_is_said(read: Callable[[Path], Any]) -> None:
    async def scenario(aside: Aside, _: FakeClock) -> None:
        assert "could not be read" in await aside.problem(50)

    with_aside(scenario, read)
