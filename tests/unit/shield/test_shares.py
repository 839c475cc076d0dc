"""Places that callers share."""

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st

from llmproxy.shield.shares import Shares


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(main())


def test_one_caller_has_half_of_the_places_and_two_have_a_third_each() -> None:
    async def scenario() -> None:
        shares = Shares(12, waiting=0, waiting_each=0)
        assert [await shares.take("one") for _ in range(7)] == [True] * 6 + [False]
        assert [await shares.take("two") for _ in range(4)] == [True] * 3 + [False]
        assert await shares.take("three")
        for _ in range(2):
            shares.give_back("one")
        assert await shares.take("two")
        assert not await shares.take("one")

    run(scenario)


def test_who_waits_has_its_turn_after_the_others() -> None:
    async def scenario() -> None:
        shares, order = Shares(2, waiting=8, waiting_each=2), []

        async def ask(caller: str) -> None:
            if await shares.take(caller):
                order.append(caller)

        assert await shares.take("one")
        assert await shares.take("two")
        asking = [asyncio.create_task(ask(caller)) for caller in ("one", "one", "one", "two")]
        await asyncio.sleep(0)
        shares.give_back("one")
        shares.give_back("two")
        while len(order) < 2:
            await asyncio.sleep(0)
        assert sorted(order) == ["one", "two"]
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    run(scenario)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["take", "give", "leave"])), max_size=60))
def test_no_place_is_lost_and_nobody_waits_who_may_have_one(steps: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        shares = Shares(6, waiting=8, waiting_each=4)
        tasks: list[tuple[str, asyncio.Task[bool]]] = []
        for caller, does in steps:
            own = [task for name, task in tasks if name == caller]
            held = [task for task in own if task.done() and not task.cancelled() and task.result()]
            if does == "take":
                tasks.append((caller, asyncio.create_task(shares.take(caller))))
            elif does == "give" and held:
                tasks.remove((caller, held[0]))
                shares.give_back(caller)
            elif does == "leave" and own:
                own[-1].cancel()
            await asyncio.sleep(0)
        for _ in range(4):
            await asyncio.sleep(0)
        for _, task in tasks:
            task.cancel()
        await asyncio.gather(*(task for _, task in tasks), return_exceptions=True)
        for caller, task in tasks:
            if not task.cancelled() and task.result():
                shares.give_back(caller)
        assert [await shares.take("last") for _ in range(3)] == [True] * 3

    run(scenario)
