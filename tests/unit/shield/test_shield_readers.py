"""What of an answer is read in the loop, and what beside it."""

import asyncio
import json
import sys
import threading

import pytest
from msgspec import Raw
from patience import PATIENCE_S
from unit.shield.shield_gateway import Gateway, Where, asking, delta, gateway, heard

from llmproxy.common.frames import Data, End, Head
from llmproxy.common.testing import FakeClock
from llmproxy.shield.answers.reading import OPENED_MAX, SLOW_S
from llmproxy.shield.inspect import GLANCE_BYTES_MAX, READ_BYTES_MAX, READ_TOGETHER_MAX
from llmproxy.shield.readers import LONG_THREADS, SHORT_BYTES_MAX, SHORT_THREADS, TURN_S, Readers

SHORT = "a few words. "


def choices(count: int) -> list[Data]:
    said = [{"index": index, "delta": {"content": SHORT}} for index in range(count)]
    return [Data(Raw(json.dumps({"choices": [one]}).encode())) for one in said]


async def reads(around: Gateway, sent: list[Data], apart: set[int]) -> None:
    """A stream, one event after the other; and beside the loop those at these places."""
    where = Where()
    around.inspect._postflight.steps = (where, *around.inspect._postflight.steps)
    around.send(asking(), stream=True)
    _, answer = await around.route()
    answer.send(Head())
    for frame in (*sent, End()):
        answer.send(frame)
        await around.frame()
    while not isinstance(await around.frame(), End):
        pass
    assert {place for place, thread in enumerate(where.threads) if thread != threading.get_ident()} == apart


@pytest.mark.parametrize(
    ("sent", "apart"),
    [
        ([delta(SHORT)] * 20, set()),
        ([delta(SHORT), delta(SHORT * (READ_BYTES_MAX // len(SHORT))), delta(SHORT)], {1}),
        (choices(OPENED_MAX), set()),
        ([*choices(OPENED_MAX + 1), delta(SHORT)], {OPENED_MAX + 1, OPENED_MAX + 2}),
    ],
    ids=["short", "long", "texts", "many texts"],
)
def test_what_is_short_is_read_in_the_loop_and_what_may_take_long_is_not(sent: list[Data], apart: set[int]) -> None:
    """Also the end, behind which every text is looked at that was begun."""

    async def scenario(around: Gateway) -> None:
        await reads(around, sent, apart)

    gateway(scenario)


@pytest.mark.parametrize(
    ("content", "is_apart"),
    [
        ("a few words " * (2 * READ_BYTES_MAX // 12), False),
        (f"{'a few words ' * (2 * READ_BYTES_MAX // 12)} [and](more)", True),
        ("a few words " * (GLANCE_BYTES_MAX // 12), True),
    ],
    ids=["prose", "marks", "long"],
)
def test_a_whole_answer_of_some_length_is_read_in_the_loop_where_a_glance_is_enough(
    content: str, is_apart: bool
) -> None:
    said = Data(Raw(json.dumps({"choices": [{"index": 0, "message": {"content": content}}]}).encode()))

    async def scenario(around: Gateway) -> None:
        where = Where()
        around.inspect._postflight.steps = (where, *around.inspect._postflight.steps)
        around.send(asking())
        _, answer = await around.route()
        answer.send(Head(), said, End())
        frames = [await around.frame()]
        while not isinstance(frames[-1], End):
            frames.append(await around.frame())
        assert heard(frames) == content
        assert (where.threads[0] != threading.get_ident()) is is_apart

    gateway(scenario)


class Ticking(FakeClock):
    """Every look at it takes a while."""

    def __init__(self, tick_s: float) -> None:
        super().__init__()
        self.tick_s = tick_s

    def __call__(self) -> float:
        self.advance(self.tick_s)
        return self.now


@pytest.mark.parametrize(("tick_s", "apart"), [(0.0, set()), (2 * SLOW_S, {1, 2})])
def test_an_answer_of_which_an_event_was_slow_is_not_read_in_the_loop_any_more(tick_s: float, apart: set[int]) -> None:
    async def scenario(around: Gateway) -> None:
        around.inspect._clock = Ticking(tick_s)
        await reads(around, [delta(SHORT), delta(SHORT)], apart)

    gateway(scenario)


def test_of_events_that_come_together_the_loop_reads_no_more_than_of_one() -> None:
    many = [delta(SHORT) for _ in range(2 * READ_TOGETHER_MAX // len(bytes(delta(SHORT).json)))]

    async def scenario(around: Gateway) -> None:
        where = Where()
        around.inspect._postflight.steps = (where, *around.inspect._postflight.steps)
        around.send(asking(), stream=True)
        _, answer = await around.route()
        answer.send(Head(), *many, End())
        while not isinstance(await around.frame(), End):
            pass
        turns = "".join("." if thread == threading.get_ident() else " " for thread in where.threads).split()
        assert len(turns) > 1
        assert (max(map(len, turns)) - 1) * len(bytes(many[0].json)) <= READ_TOGETHER_MAX

    gateway(scenario)


def test_a_few_threads_read_whatever_comes_and_no_answer_holds_up_others() -> None:
    """Each that works takes the interpreter from the loop for a turn."""

    async def main() -> None:
        readers, goes_on, threads = Readers(), threading.Event(), set[int]()

        def held() -> bool:
            threads.add(threading.get_ident())
            return goes_on.wait(PATIENCE_S)

        long = [asyncio.create_task(readers.read(SHORT_BYTES_MAX + 1, held)) for _ in range(8)]
        short = [asyncio.create_task(readers.read(SHORT_BYTES_MAX, held)) for _ in range(SHORT_THREADS - 1)]
        others = await asyncio.gather(*(readers.read(SHORT_BYTES_MAX, threading.get_ident) for _ in range(8)))
        assert threading.get_ident() not in others
        assert not any(one.done() for one in (*long, *short))
        goes_on.set()
        assert all(await asyncio.gather(*long, *short))
        assert len(threads | set(others)) == SHORT_THREADS + LONG_THREADS

    asyncio.run(main())


def test_a_thread_that_reads_gives_the_loop_its_turn_soon() -> None:
    sys.setswitchinterval(0.1)
    Readers()
    assert sys.getswitchinterval() == pytest.approx(TURN_S)
