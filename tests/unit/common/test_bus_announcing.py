"""Who holds a request says so, and who holds none sleeps."""

import asyncio
from collections.abc import Callable

from patience import PATIENCE_S

from llmproxy.common.bus import Bus
from llmproxy.common.channels import HOLDING
from llmproxy.common.frames import Holding
from llmproxy.common.testing import FakeBroker, envelope, fake_bus


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


def sleeps(bus: Bus) -> bool:
    return not bus._is_holding.is_set()


def test_what_is_held_after_a_time_without_requests_is_announced_like_the_first() -> None:
    async def run() -> None:
        broker = FakeBroker()
        edge = await fake_bus(broker, "edge")
        shield = await fake_bus(broker, "shield", announce_new_s=0.001, alive_s=60)  # New ones are announced, or none.
        announced: asyncio.Queue[Holding] = asyncio.Queue()
        await edge.subscribe(HOLDING, announced.put_nowait, address=edge.address)
        for number in range(3):
            await until(lambda: sleeps(shield))
            held = shield.hold(envelope(id=f"request-{number}", edge=edge.address, reply_to=edge.address))
            async with asyncio.timeout(PATIENCE_S):
                assert (await announced.get()).held == [(f"request-{number}", 0)]
            assert not sleeps(shield)
            held.release()
        await until(lambda: sleeps(shield))
        assert announced.empty()
        await shield.drain(1)
        await edge.drain(1)

    asyncio.run(run())
