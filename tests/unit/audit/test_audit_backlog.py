"""How far the ledger is behind is measured, and told when it is for long and not before."""

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import REGISTRY

from llmproxy.audit.backlog import LATE_S, LONG_S, LOOK_EVERY_S, Backlog
from llmproxy.common.bus import Bus
from llmproxy.common.channels import AUDIT
from llmproxy.common.probes import Readiness
from llmproxy.common.records import AuditBatch
from llmproxy.common.testing import FakeBroker, FakeClock, fake_bus


class Watched:
    """A stream that fills, an hour in a moment."""

    def __init__(self, bus: Bus, broker: FakeBroker) -> None:
        self.bus, self.broker, self.clock, self.readiness = bus, broker, FakeClock(), Readiness()
        broker.clock = self.clock
        self.backlog = Backlog(bus, self.readiness, self.clock)

    async def comes(self, name: str) -> None:
        await self.bus.commit(AUDIT, AuditBatch("edge-1", []), name, tenant="acme")

    async def passes(self, seconds: float) -> None:
        for _ in range(int(seconds / LOOK_EVERY_S)):
            self.clock.advance(LOOK_EVERY_S)
            await self.backlog.look()

    @property
    def says(self) -> str:
        return self.readiness.blockers.get("backlog", "")


def told(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"llmproxy_ledger_{name}")


def watched(scenario: Callable[[Watched], Awaitable[None]]) -> None:
    async def main() -> None:
        broker = FakeBroker()
        bus = await fake_bus(broker, "audit")
        await scenario(Watched(bus, broker))
        await bus.drain(0)

    asyncio.run(main())


def test_how_many_wait_and_for_how_long_is_measured() -> None:
    async def scenario(around: Watched) -> None:
        await around.comes("first")
        await around.passes(20)
        await around.comes("second")
        await around.passes(10)
        assert (told("waiting"), told("behind_seconds")) == (2, 30)
        around.broker.streams["AUDIT"].clear()
        await around.passes(10)
        assert (told("waiting"), told("behind_seconds")) == (0, 0)

    watched(scenario)


def test_a_ledger_that_is_behind_for_long_is_not_well_until_it_has_caught_up() -> None:
    async def scenario(around: Watched) -> None:
        await around.comes("first")
        await around.passes(LATE_S + LONG_S - LOOK_EVERY_S)
        assert not around.says
        await around.passes(LOOK_EVERY_S)
        assert "records have waited in JetStream for more than 5 minutes" in around.says
        around.broker.jetstream_down = True  # Nobody knows better.
        await around.passes(LOOK_EVERY_S)
        assert around.says
        around.broker.jetstream_down = False
        around.broker.streams["AUDIT"].clear()
        await around.passes(LOOK_EVERY_S)
        assert not around.says

    watched(scenario)


def test_a_ledger_that_catches_up_now_and_then_is_well_however_much_comes() -> None:
    async def scenario(around: Watched) -> None:
        for number in range(10):
            await around.comes(str(number))
            await around.passes(2 * LATE_S)
            around.broker.streams["AUDIT"].clear()
            await around.passes(LOOK_EVERY_S)
            assert not around.says

    watched(scenario)


def test_a_process_that_has_just_begun_has_to_see_it_itself() -> None:
    """A rolling restart waits until the successor is ready."""

    async def scenario(around: Watched) -> None:
        await around.comes("first")
        around.clock.advance(10 * LONG_S)
        await around.backlog.look()
        assert not around.says
        assert told("behind_seconds") == 10 * LONG_S

    watched(scenario)
