"""Outcomes leave in batches, in order, and wait while NATS is away."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from patience import PATIENCE_S

from llmproxy.common.channels import OUTCOME
from llmproxy.common.outcomes import Outcome, Outcomes
from llmproxy.common.testing import FakeBroker, fake_bus
from llmproxy.provider_workers.__main__ import served
from llmproxy.provider_workers.settlement import BATCH_MAX, WAITING_MAX, Settlement


def outcome(number: int, provider: str = "openai") -> Outcome:
    return Outcome(id=str(number), endpoint="up", provider=provider, model="m", ok=True)


def run(scenario: Callable[[FakeBroker, Settlement, list[Outcomes]], Awaitable[None]]) -> None:
    async def main() -> None:
        broker = FakeBroker()
        worker, router = await fake_bus(broker, "provider-workers"), await fake_bus(broker, "router")
        heard: list[Outcomes] = []
        await router.subscribe(OUTCOME, heard.append)
        async with asyncio.timeout(PATIENCE_S):
            await scenario(broker, Settlement(worker), heard)
        for bus in (worker, router):
            await bus.drain(0.0)

    asyncio.run(main())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.002)


def test_outcomes_of_one_moment_leave_as_one_message_for_each_provider_in_order() -> None:
    async def scenario(broker: FakeBroker, settlement: Settlement, heard: list[Outcomes]) -> None:
        for number in range(10):
            settlement.add(outcome(number, "openai" if number % 2 else "google"))
        await until(lambda: len(heard) == 2)
        assert sorted([one.id for one in batch.outcomes] for batch in heard) == [list("02468"), list("13579")]
        assert {batch.instance for batch in heard} == {"provider-workers-1"}

    run(scenario)


def test_a_message_never_grows_beyond_its_bound() -> None:
    async def scenario(broker: FakeBroker, settlement: Settlement, heard: list[Outcomes]) -> None:
        for number in range(BATCH_MAX * 2 + 1):
            settlement.add(outcome(number))
        settlement.flush()
        await until(lambda: len(heard) == 3)
        assert [len(batch.outcomes) for batch in heard] == [BATCH_MAX, BATCH_MAX, 1]

    run(scenario)


def test_outcomes_wait_while_nats_is_away_and_are_not_lost() -> None:
    async def scenario(broker: FakeBroker, settlement: Settlement, heard: list[Outcomes]) -> None:
        broker.down = True
        settlement.add(outcome(1))
        settlement.flush()
        broker.down = False
        settlement.add(outcome(2))
        settlement.flush()
        await until(lambda: bool(heard))
        assert [one.id for batch in heard for one in batch.outcomes] == ["1", "2"]

    run(scenario)


def test_what_waits_is_bounded_and_the_oldest_go_first() -> None:
    async def scenario(broker: FakeBroker, settlement: Settlement, heard: list[Outcomes]) -> None:
        broker.down = True
        for number in range(WAITING_MAX + 5):
            settlement.add(outcome(number))
        settlement.flush()
        broker.down = False
        settlement.flush()
        await until(lambda: sum(len(batch.outcomes) for batch in heard) == WAITING_MAX)
        assert heard[0].outcomes[0].id == "5"

    run(scenario)


def test_a_worker_may_be_bound_to_some_families() -> None:
    assert served("openai, google") == ["openai", "google"]
    assert "demo" in served("")
    with pytest.raises(ValueError, match="'opnai' is not one of"):
        served("opnai")
