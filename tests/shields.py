"""A shield in the test's own process, on any bus, and what it lets through."""

import asyncio
import json
import time
from uuid import uuid4

from msgspec import Raw

from llmproxy.common.bus import Answer, Bus
from llmproxy.common.channels import REQUEST_INSPECT, REQUEST_ROUTE
from llmproxy.common.config_watch import ConfigWatch
from llmproxy.common.envelope import Envelope
from llmproxy.common.testing import envelope
from llmproxy.shield import postflight, preflight
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.inspect import Inspect

MAIL = "ada@example.com"
BODY = json.dumps({"messages": [{"role": "user", "content": MAIL}]}).encode()
IN_FLIGHT_MAX = 256


class HereOffload:
    """Examines large bodies in the loop."""

    async def examine(self, order: Order) -> Examined | Refused:
        return examine(order, preflight.pipeline(GUARDS), time.monotonic)


async def start_shield(bus: Bus) -> ConfigWatch:
    """Serves requests under the configuration that is published."""
    watch = ConfigWatch(bus)
    await watch.start()
    inspect = Inspect(
        bus,
        watch,
        preflight=preflight.pipeline(GUARDS),
        postflight=postflight.pipeline(),
        offload=HereOffload(),  # type: ignore[arg-type]
        mask_secret=b"secret",
        clock=time.monotonic,
        now=time.time,
    )
    await bus.serve(REQUEST_INSPECT, inspect, max_in_flight=IN_FLIGHT_MAX)
    return watch


class Router:
    """The stage after the shields, and an edge that asks."""

    def __init__(self, edge: Bus) -> None:
        self._edge = edge
        self._routed: asyncio.Queue[Envelope] = asyncio.Queue()

    async def serve(self, bus: Bus) -> None:
        await bus.serve(REQUEST_ROUTE, self._route, max_in_flight=IN_FLIGHT_MAX)

    def _route(self, routed: Envelope, _: Answer) -> None:
        self._routed.put_nowait(routed)

    async def passes(self, count: int = 8) -> set[bool]:
        """Whether the mail goes on as it is, of so many requests at once: enough for each shield to have some."""
        address = self._edge.address
        for _ in range(count):
            self._edge.forward(
                REQUEST_INSPECT, envelope(id=uuid4().hex, edge=address, reply_to=address, body=Raw(BODY))
            )
        return {MAIL.encode() in bytes((await self._routed.get()).body) for _ in range(count)}
