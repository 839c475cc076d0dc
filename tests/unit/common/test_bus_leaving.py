"""A service that leaves is gone afterwards, whatever NATS does meanwhile."""

import asyncio

from llmproxy.common.errors import Unavailable
from llmproxy.common.testing import FakeBroker, fake_bus


def test_whoever_leaves_while_nats_goes_away_has_left() -> None:
    async def run() -> None:
        bus = await fake_bus(FakeBroker(), "shield")

        async def unanswered() -> None:
            raise Unavailable("stage_unavailable", "NATS does not answer (FlushTimeoutError)")

        bus.wire.flush = unanswered  # type: ignore[method-assign]
        await bus.drain(0.0)
        assert not bus.wire.connected

    asyncio.run(run())
