"""A shield in the test's own process, on any bus, and what it lets through."""

import asyncio
import json
import time
from collections.abc import Callable
from uuid import uuid4

from msgspec import Raw

from llmproxy.common.bus import Answer, Bus
from llmproxy.common.channels import REQUEST_INSPECT, REQUEST_ROUTE
from llmproxy.common.config_watch import ConfigWatch
from llmproxy.common.envelope import Envelope
from llmproxy.common.plugins.host import Pipeline
from llmproxy.common.testing import FakeClock, envelope
from llmproxy.shield import postflight, preflight
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.inspect import Inspect
from llmproxy.shield.inspection import Inspection
from llmproxy.shield.judge import Judges

MAIL = "ada@example.com"
BODY = json.dumps({"messages": [{"role": "user", "content": MAIL}]}).encode()
IN_FLIGHT_MAX = 256
STANDING_STILL = FakeClock()  # A guard has the time it needs.


class HereOffload:
    """Examines large bodies in the loop."""

    def __init__(self, ring: Pipeline[Inspection], clock: Callable[[], float]) -> None:
        self._ring, self._clock = ring, clock

    async def examine(self, order: Order, caller: str = "") -> Examined | Refused:
        return examine(order, self._ring, self._clock)


async def start_shield(bus: Bus) -> ConfigWatch:
    """Serves requests under the configuration that is published."""
    watch = ConfigWatch(bus)
    await watch.start()
    await serve_shield(bus, watch)
    return watch


async def serve_shield(
    bus: Bus, watch: ConfigWatch, clock: Callable[[], float] = STANDING_STILL, judges: Judges | None = None
) -> Inspect:
    """`clock` is what the guards' time is measured by."""
    ring = preflight.pipeline(GUARDS)
    inspect = Inspect(
        bus,
        watch,
        preflight=ring,
        postflight=postflight.pipeline(),
        offload=HereOffload(ring, clock),  # type: ignore[arg-type]
        mask_secret=b"secret",
        clock=clock,
        now=time.time,
        judges=judges,
    )
    await bus.serve(REQUEST_INSPECT, inspect, max_in_flight=IN_FLIGHT_MAX)
    return inspect


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
