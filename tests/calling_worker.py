"""An edge and one worker on a fake wire, calling a scripted upstream: what a test of the worker asks through."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Raw
from patience import PATIENCE_S
from scripted_upstream import Upstream

from llmproxy.common.bus import Bus
from llmproxy.common.channels import OUTCOME, REQUEST_CALL
from llmproxy.common.config import Config, Endpoint
from llmproxy.common.envelope import Attempt, Envelope, Price
from llmproxy.common.frames import Data, End, Failure, Frame
from llmproxy.common.outcomes import Outcome
from llmproxy.common.testing import FakeBroker, envelope, fake_bus
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.settlement import Settlement
from llmproxy.provider_workers.transport import Transport
from llmproxy.provider_workers.work import Work

KEY = "sk-test-0123456789"
WAIT_S = PATIENCE_S
PRICE = Price(input=1_000_000_000, output=2_000_000_000)


class Gateway:
    """An edge and one worker on a fake wire."""

    def __init__(self, edge: Bus, worker: Bus, work: Work) -> None:
        self.edge, self.worker, self.work = edge, worker, work
        self.packets: list[list[Frame]] = []
        self.ended = asyncio.Event()
        self.arrived = asyncio.Event()
        self.outcomes: list[Outcome] = []
        self.settled = asyncio.Event()

    @property
    def frames(self) -> list[Frame]:
        return [frame for packet in self.packets for frame in packet]

    @property
    def last(self) -> Any:
        return self.frames[-1]

    @property
    def text(self) -> bytes:
        return b"|".join(bytes(frame.json) for frame in self.frames if isinstance(frame, Data))

    def ask(self, asked: Envelope) -> None:
        self.ended.clear()  # Of an answer before; Python 3.12 waits for a set event without letting others run.
        self.edge.expect(asked, self.receive)
        self.edge.forward(REQUEST_CALL, asked, provider=asked.plan[0].provider if asked.plan else "openai")

    async def answered(self, asked: Envelope) -> Any:
        self.ask(asked)
        await asyncio.wait_for(self.ended.wait(), WAIT_S)
        return self.last

    async def outcome(self, count: int = 1) -> list[Outcome]:
        async with asyncio.timeout(WAIT_S):
            while len(self.outcomes) < count:
                self.settled.clear()
                await self.settled.wait()
        return self.outcomes

    def receive(self, frames: Any) -> None:
        self.packets.append(list(frames))
        self.arrived.set()
        if isinstance(frames[-1], End | Failure):
            self.ended.set()

    def heard(self, batch: Any) -> None:
        self.outcomes.extend(batch.outcomes)
        self.settled.set()


def attempt(name: str = "up", **fields: Any) -> Attempt:
    return Attempt(**{"endpoint": name, "provider": "openai", "model": "gpt-4o", "price": PRICE, **fields})


def asking(*plan: Attempt, **fields: Any) -> Envelope:
    body = b'{"model":"mine","stream":%s,"messages":[{"role":"user","content":"hi"}]}' % (
        b"true" if fields.get("stream") else b"false"
    )
    return envelope(**{"model": "mine", "plan": plan or (attempt(),), "body": Raw(body), **fields})


@asynccontextmanager
async def gateway(
    endpoints: dict[str, Endpoint], *, providers: frozenset[str] = frozenset({"openai", "demo"}), demo_chunk_ms: int = 0
) -> AsyncIterator[Gateway]:
    broker = FakeBroker()
    edge, worker = await fake_bus(broker, "edge"), await fake_bus(broker, "provider-workers")
    transport, settlement = Transport(), Settlement(worker)
    credentials = Credentials({"KEY": KEY})
    work = Work(
        worker, transport, settlement, credentials, providers=providers, demo_chunk_ms=demo_chunk_ms, random=lambda: 0.0
    )
    work.configure(Config(endpoints=endpoints))
    for provider in providers:
        await worker.serve(REQUEST_CALL, work, max_in_flight=64, provider=provider)
    made = Gateway(edge, worker, work)
    await edge.subscribe(OUTCOME, made.heard)
    try:
        yield made
    finally:
        await worker.drain(0.0)
        await edge.drain(0.0)
        await transport.close()


def endpoint(served: Upstream, **fields: Any) -> Endpoint:
    return Endpoint(**{"provider": "openai", "url": served.url, "key": "env:KEY", "models": ("*",), **fields})


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            await scenario()

    asyncio.run(bounded())
