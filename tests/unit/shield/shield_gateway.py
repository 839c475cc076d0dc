"""An edge and a router around one shield, over a fake bus."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Raw
from patience import PATIENCE_S

from llmproxy.common.bus import Answer, Bus
from llmproxy.common.channels import (
    EVENT_GUARD_ALERTED,
    EVENT_GUARD_FAILED,
    EVENT_SEGMENT_MASKED,
    REQUEST_INSPECT,
    REQUEST_ROUTE,
)
from llmproxy.common.config import Config, Snapshot
from llmproxy.common.config_watch import ConfigWatch
from llmproxy.common.envelope import Envelope
from llmproxy.common.frames import Data, Frame
from llmproxy.common.plugins.host import PASS
from llmproxy.common.policy import Policy
from llmproxy.common.records import Event
from llmproxy.common.testing import FakeBroker, FakeClock, envelope, fake_bus
from llmproxy.shield import postflight, preflight
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.inspect import Inspect

MAIL = "ada@example.com"
TOKEN = "ghp_Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "hello"}


class HereOffload:
    """Examines large bodies in the loop."""

    async def examine(self, order: Order, caller: str = "") -> Examined | Refused:
        return examine(order, preflight.pipeline(GUARDS), FakeClock())


class Gateway:
    """An edge and a router around one shield."""

    def __init__(self, edge: Bus, router: Bus, shield: Bus, inspect: Inspect, config: ConfigWatch) -> None:
        self.edge, self.router, self.shield, self.inspect, self.config = edge, router, shield, inspect, config
        self.routed: asyncio.Queue[tuple[Envelope, Answer]] = asyncio.Queue()
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    def send(self, body: Any, **fields: Any) -> Envelope:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = envelope(edge=self.edge.address, reply_to=self.edge.address, body=Raw(raw), **fields)
        self.edge.expect(sent, lambda frames: [self.frames.put_nowait(frame) for frame in frames] and None)
        self.edge.forward(REQUEST_INSPECT, sent)
        return sent

    async def route(self) -> tuple[Envelope, Answer]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.routed.get()

    async def frame(self) -> Frame:
        async with asyncio.timeout(PATIENCE_S):
            return await self.frames.get()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.001)


def gateway(
    scenario: Callable[[Gateway], Awaitable[None]],
    policy: Policy | None = None,
    ring: Any = None,
    max_in_flight: int = 64,
) -> FakeBroker:
    broker = FakeBroker()

    async def main() -> None:
        edge, router, shield = [await fake_bus(broker, name) for name in ("edge", "router", "shield")]
        config = ConfigWatch(snapshot=Snapshot(revision=1, config=Config(policy=policy or Policy())))
        inspect = Inspect(
            shield,
            config,
            preflight=ring or preflight.pipeline(GUARDS),
            postflight=postflight.pipeline(),
            offload=HereOffload(),
            mask_secret=b"secret",
            clock=FakeClock(),
            now=time.time,
        )
        around = Gateway(edge, router, shield, inspect, config)
        await shield.serve(REQUEST_INSPECT, inspect, max_in_flight=max_in_flight)
        await router.serve(REQUEST_ROUTE, lambda one, answer: around.routed.put_nowait((one, answer)), max_in_flight=64)
        for channel in (EVENT_SEGMENT_MASKED, EVENT_GUARD_FAILED, EVENT_GUARD_ALERTED):
            await edge.subscribe(channel, around.events.put_nowait)
        async with asyncio.timeout(2 * PATIENCE_S):
            await scenario(around)
        for bus in (edge, router, shield):
            await bus.drain(0.1)

    asyncio.run(main())
    return broker


class Where:
    """A step of ring 4 that remembers in which threads it ran."""

    name, priority, timeout_ms, fail = "where", 1, 1_000, "closed"

    def __init__(self) -> None:
        self.threads: list[int] = []

    def run(self, passage: Any) -> Any:
        self.threads.append(threading.get_ident())
        return PASS


def chat(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": content}], **more}


def asking(**more: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": [SYSTEM, USER], **more}


def delta(content: str) -> Data:
    return Data(Raw(json.dumps({"id": "c", "choices": [{"index": 0, "delta": {"content": content}}]}).encode()))


def heard(frames: list[Frame]) -> str:
    trees = [json.loads(bytes(frame.json)) for frame in frames if isinstance(frame, Data)]
    return "".join((tree["choices"][0].get("message") or tree["choices"][0]["delta"])["content"] for tree in trees)
