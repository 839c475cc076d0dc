"""Who holds a request says so, and who holds none sleeps."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from patience import PATIENCE_S

from llmproxy.common.bus import Answer, Bus
from llmproxy.common.channels import HOLDING, REQUEST_INSPECT
from llmproxy.common.envelope import Envelope
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


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # As it should be.
def test_a_request_that_is_cancelled_before_it_begins_is_held_no_longer() -> None:
    async def run() -> None:
        broker = FakeBroker()
        edge, shield = await fake_bus(broker, "edge"), await fake_bus(broker, "shield")
        taken: list[str] = []

        async def work() -> None:
            raise AssertionError("it began")

        def take(request: Envelope, _: Answer) -> Coroutine[Any, Any, None]:
            taken.append(request.id)
            return work()

        await shield.serve(REQUEST_INSPECT, take, max_in_flight=2)
        for number in range(3):  # More than may be in flight.
            sent = envelope(id=f"request-{number}", edge=edge.address, reply_to=edge.address)
            edge.forward(REQUEST_INSPECT, sent)
            edge.cancel(shield.address, sent.id, sent.attempt)
            await until(lambda id=sent.id: id in taken and not shield.holds)  # type: ignore[misc]
        await shield.drain(1)
        await edge.drain(1)

    asyncio.run(run())
