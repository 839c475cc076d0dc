"""Waits end when they should, and cancellations mean what they meant."""

import asyncio

import pytest
from patience import PATIENCE_S

from llmproxy.provider_workers.watches import Watch, Watches


async def silence(seconds: float, *, extended_s: float | None = None, deadline_s: float = 3_600) -> tuple[float, Watch]:
    """Waits under a watch for something that never comes; how long, and the watch."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    watch = Watches().over(seconds, deadline_s)
    try:
        with watch:
            if extended_s is not None:
                watch.extend(extended_s)
            await asyncio.Event().wait()
    except TimeoutError:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        return loop.time() - started, watch
    raise AssertionError("the watch did not expire")


def waited(*arguments: float, **options: float) -> tuple[float, Watch]:
    return asyncio.run(asyncio.wait_for(silence(*arguments, **options), PATIENCE_S))


def test_a_watch_that_expires_is_a_timeout() -> None:
    assert waited(0.01)[0] >= 0.01


def test_a_watch_that_is_extended_does_not_expire_early() -> None:
    assert waited(0.02, extended_s=0.08)[0] >= 0.07


def test_a_watch_that_is_shortened_expires_sooner() -> None:
    assert waited(3_600, extended_s=0.01)[0] < PATIENCE_S


def test_no_extension_outlives_the_deadline() -> None:
    _, watch = waited(10, extended_s=3_600, deadline_s=0.02)
    assert watch.is_past_deadline


def test_each_of_many_watches_expires_when_it_is_due_and_no_other_with_it() -> None:
    async def scenario() -> list[int]:
        loop, watches, late = asyncio.get_running_loop(), Watches(), list[int]()
        never = asyncio.Event()

        async def waits(number: int, seconds: float, extended_s: float | None = None) -> None:
            started, watch = loop.time(), watches.over(seconds, 3_600)
            try:
                with watch:
                    if extended_s is not None:
                        watch.extend(extended_s)
                    await (never.wait() if seconds < 60 else asyncio.sleep(0))
            except TimeoutError:
                assert loop.time() - started >= (extended_s or seconds) - 0.001
                late.append(number)

        dues = [(0.09, None), (0.03, None), (60.0, None), (0.06, None), (0.01, 0.12)]
        await asyncio.gather(*(waits(number, *due) for number, due in enumerate(dues)))
        assert not watches.under_way
        return late

    # Each not before it is due, as asserted above; in which order, when several are due at once, says nothing.
    assert sorted(asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))) == [0, 1, 3, 4]


def test_a_watch_that_has_ended_cancels_nobody() -> None:
    async def scenario() -> float:
        loop, watches = asyncio.get_running_loop(), Watches()
        with watches.over(0.01, 60):
            pass
        started = loop.time()
        with pytest.raises(TimeoutError), watches.over(0.05, 60):
            await asyncio.Event().wait()
        return loop.time() - started

    assert asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S)) >= 0.049


def test_a_cancellation_from_outside_stays_one() -> None:
    async def scenario() -> None:
        async def waits() -> None:
            with Watches().over(60, 60):
                await asyncio.Event().wait()

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
