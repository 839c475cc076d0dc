"""What is late is called once, in its time; what is over by then is not."""

import asyncio
from collections.abc import Callable
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from llmproxy.shield.overdue import GRAIN_S, Overdue


class Timer:
    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.cancelled = at, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Its time goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(at, call))
        return self.timers[-1]

    def until(self, end: float) -> None:
        while ready := sorted((one for one in self.open if one.at <= end), key=lambda one: one.at):
            self.now = max(self.now, ready[0].at)
            self.timers.remove(ready[0])
            ready[0].call()
        self.now = end

    @property
    def open(self) -> list[Timer]:
        return [one for one in self.timers if not one.cancelled]


def overdue(loop: Loop) -> Overdue:
    return Overdue(cast("asyncio.AbstractEventLoop", loop))


EVENTS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from([None, 0.0, 1.0, 2.0, 5.0, 9.0]), st.sampled_from([0.0, 0.5, 3.0]))
)


@given(EVENTS)
def test_each_is_called_when_it_is_due_unless_it_was_forgotten(events: list[tuple[int, float | None, float]]) -> None:
    loop = Loop()
    watched, called = overdue(loop), list[tuple[int, float]]()
    due: dict[int, float] = {}
    expected: list[tuple[int, float]] = []
    for key, within, pause in [*events, (9, None, 99.0)]:
        if within is None:
            watched.forget(key)
            due.pop(key, None)
        else:
            watched.expect(key, within, lambda key=key: called.append((key, loop.now)))  # type: ignore[misc]
            due[key] = loop.now + within
        assert len(loop.open) <= 1
        end = loop.now + pause
        expected += [(key, at) for key, at in due.items() if at <= end]
        due = {key: at for key, at in due.items() if at > end}
        loop.until(end)
    assert sorted(called) == sorted(expected)
    assert not loop.open


def test_what_one_of_them_raises_does_not_keep_another_from_being_called() -> None:
    loop, called = Loop(), list[str]()
    watched = overdue(loop)

    def fails() -> None:
        raise ValueError

    watched.expect("first", 1, fails)
    watched.expect("second", 1, lambda: called.append("second"))
    try:
        loop.until(2)
    except ValueError:
        loop.until(2)
    assert called == ["second"]


def test_what_the_first_ends_is_not_late_any_more() -> None:
    loop, called = Loop(), list[str]()
    watched = overdue(loop)
    watched.expect("first", 1, lambda: watched.forget("second"))
    watched.expect("second", 1, lambda: called.append("second"))
    loop.until(2)
    assert called == []


def test_a_timer_that_is_a_little_early_is_not_set_again() -> None:
    loop, called = Loop(), list[str]()
    watched = overdue(loop)
    watched.expect("first", 1, lambda: called.append("first"))
    (timer,) = loop.open
    loop.now = 1 - GRAIN_S / 2
    timer.call()
    assert called == ["first"]
