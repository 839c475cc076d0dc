"""A fetched credential: one fetch for all who wait, renewed before its end, and never shown after it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from patience import PATIENCE_S

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.renewal import FORGET_S, LIFETIME_S_MAX, MARGIN_S, PAUSE_S, Ask, Fetched, Renewed


class Source:
    """A token endpoint with a clock of its own."""

    def __init__(self, lifetime_s: float = 3600) -> None:
        self.now, self.lifetime_s = 1000.0, lifetime_s
        self.fetched = 0
        self.is_down = False
        self.gate: asyncio.Event | None = None
        self.renewed: Renewed[str] = Renewed(self.fetch, lambda: self.now)

    async def fetch(self, ask: Ask) -> Fetched[str]:
        self.fetched += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.is_down:
            raise GatewayError("provider_unauthorized", "endpoint 'up' got no token")
        return Fetched(f"token-{self.fetched}", self.lifetime_s)

    async def get(self) -> str:
        await self.renewed.fresh(nobody)
        return self.renewed.value


async def nobody(request: object) -> tuple[int, bytes]:
    raise AssertionError("the fake asks nobody")


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_it_is_fetched_once_and_kept() -> None:
    async def scenario() -> None:
        source = Source()
        assert [await source.get() for _ in range(5)] == ["token-1"] * 5

    run(scenario)


def test_many_who_wait_at_once_cause_one_fetch() -> None:
    async def scenario() -> None:
        source = Source()
        source.gate = asyncio.Event()
        tasks = [asyncio.create_task(source.get()) for _ in range(50)]
        await asyncio.sleep(0)
        source.gate.set()
        assert set(await asyncio.gather(*tasks)) == {"token-1"}
        assert source.fetched == 1

    run(scenario)


def test_before_its_end_one_renews_it_and_the_others_go_on_with_the_old_one() -> None:
    async def scenario() -> None:
        source = Source()
        await source.get()
        source.now += 3600 - 200
        source.gate = asyncio.Event()
        renewing = asyncio.create_task(source.get())
        await asyncio.sleep(0)
        assert await source.get() == "token-1"
        source.gate.set()
        assert await renewing == "token-2"
        assert source.fetched == 2

    run(scenario)


def test_who_cannot_renew_it_uses_it_to_its_end_and_not_beyond() -> None:
    async def scenario() -> None:
        source = Source()
        await source.get()
        source.is_down = True
        source.now += 3600 - 200
        assert await source.get() == "token-1"
        source.now += 200 - MARGIN_S + 1
        with pytest.raises(GatewayError) as raised:
            await source.get()
        assert raised.value.code == "provider_unauthorized"

    run(scenario)


def test_a_failure_is_not_asked_for_again_by_everybody_and_passes() -> None:
    async def scenario() -> None:
        source = Source()
        source.is_down = True
        for _ in range(20):
            with pytest.raises(GatewayError):
                await source.get()
        assert source.fetched == 1
        source.is_down = False
        source.now += PAUSE_S
        assert await source.get() == "token-2"

    run(scenario)


def test_a_waiter_that_is_cancelled_leaves_the_fetch_to_the_next() -> None:
    async def scenario() -> None:
        source = Source()
        source.gate = asyncio.Event()
        first, second = asyncio.create_task(source.get()), asyncio.create_task(source.get())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        source.gate.set()
        assert await second == "token-2"

    run(scenario)


def test_one_that_was_refused_is_fetched_again_but_not_in_a_loop() -> None:
    async def scenario() -> None:
        source = Source()
        await source.get()
        source.renewed.refused()
        assert await source.get() == "token-1"
        source.now += FORGET_S + 1
        source.renewed.refused()
        assert await source.get() == "token-2"

    run(scenario)


@pytest.mark.parametrize("lifetime_s", [1.0, 20.0, 59.0, 61.0, 301.0, 3600.0, 1e9])
def test_whatever_its_life_it_is_renewed_before_its_end(lifetime_s: float) -> None:
    async def scenario() -> None:
        source = Source(lifetime_s)
        await source.get()
        source.now += min(lifetime_s, LIFETIME_S_MAX)
        assert await source.get() == "token-2"

    run(scenario)


def test_one_that_had_run_out_when_it_came_is_shown_to_nobody() -> None:
    async def scenario() -> None:
        with pytest.raises(GatewayError, match="run out"):
            await Source(0.0).get()

    run(scenario)
