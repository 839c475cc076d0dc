"""An edge with real HTTP on a loopback port, a fake bus, and a scripted stage behind it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from patience import PATIENCE_S

from llmproxy.common import keyring
from llmproxy.common.bus import Answer, Bus, Handler
from llmproxy.common.channels import REQUEST_INSPECT
from llmproxy.common.config import Config, Endpoint, Snapshot
from llmproxy.common.envelope import Envelope
from llmproxy.common.errors import Unavailable
from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.frames import Data, End, Head, Usage
from llmproxy.common.keyring import KeyRecord
from llmproxy.common.probes import Readiness
from llmproxy.common.records import AuditBatch, AuditRecord
from llmproxy.common.testing import FakeBroker, fake_bus
from llmproxy.common.threats import Step
from llmproxy.edge.app import Edge
from llmproxy.edge.conclusions import Conclusions
from llmproxy.edge.condition import Condition
from llmproxy.edge.end_users import EndUsers
from llmproxy.edge.exchange import Exchanges, Timings
from llmproxy.edge.firewall import Firewall, Rules, build_matcher
from llmproxy.edge.identity import Keys
from llmproxy.edge.ids import pooled, uuid7
from llmproxy.edge.ingress import Bodies, Settled, ring
from llmproxy.edge.journal import Journal
from llmproxy.edge.limits import Limiter
from llmproxy.edge.readiness import PathProbe, show_audit
from llmproxy.edge.server import Server, listening_socket
from llmproxy.edge.spool import Spool
from llmproxy.edge.threats import Caller, Ledger

KEY = "sk-a-key-from-the-environment"
CONFIG = Config(
    endpoints={"main": Endpoint(provider="demo", models=("demo", "org/model", "other"))},
)
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
WHOLE = b'{"id":"chatcmpl-1","object":"chat.completion","choices":[]}'
MASKED = Explanation(guard="pii", kind="email", action="mask", path="messages[0].content", start=5, end=20)
HEAD = Head(
    endpoint="main",
    provider="demo",
    model="demo-1",
    headers={"x-request-id": "up-1"},
    findings={"email": 1},
    explained=Explained((MASKED,)),
)
END = End(usage=Usage(input=3, output=5), cost=12_500, provider_ms=2)
MATCHERS = cache(build_matcher)  # The same signatures for all tests: they take a quarter of a second to compile.
QUICK = Timings(lost_s=0.5, tick_s=0.02, ping_s=0.1, settle_s=0.3)
ALIVE_S = 0.05  # Often enough that a loop which is held up now and then is not taken for dead.


def chunk(text: str) -> Data:
    return Data(msgspec.Raw(msgspec.json.encode({"choices": [{"index": 0, "delta": {"content": text}}]})))


def answers(envelope: Envelope, answer: Answer) -> None:
    if envelope.stream:
        answer.send(HEAD, chunk("a"))
        answer.send(chunk("b"), chunk("c"))
        answer.send(END)
    else:
        answer.send(HEAD, Data(msgspec.Raw(WHOLE)), END)


def held_until(cancelled: asyncio.Event) -> Handler:
    """Never answers, and says when it is told to give up."""

    async def script(envelope: Envelope, answer: Answer) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    return script


def record_of(key: str, **fields: Any) -> KeyRecord:
    digest = keyring.hash_key(key)
    return KeyRecord(id=keyring.key_id(digest), hash=digest, **{"tenant": "acme", "principal": "alice", **fields})


async def redis_is_away(keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> list[int]:
    raise Unavailable("limits_unavailable", "Redis does not answer")


class Gateway:
    def __init__(self, broker: FakeBroker, stage: Bus, edge: Edge, settled: Settled, keys: Keys) -> None:
        self.broker, self.stage, self.edge, self.settled, self.keys = broker, stage, edge, settled, keys
        self.port = 0
        self.session: aiohttp.ClientSession
        self.seen: list[Envelope] = []
        self.server: Server
        self.journal: Journal
        self.exchanges: Exchanges
        self.readiness: Readiness
        self.limiter: Limiter
        self.bodies: Bodies
        self.rules: Rules
        self.ledger: Ledger
        self.told: list[tuple[Step, Caller]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def records(self) -> list[AuditRecord]:
        decode = msgspec.json.Decoder(AuditBatch).decode
        return [record for _, _, payload in self.broker.streams["AUDIT"] for record in decode(payload).records]

    def add_key(self, key: str, **fields: Any) -> KeyRecord:
        record = record_of(key, **fields)
        self.keys.change(record.hash, msgspec.json.encode(record))
        return record

    def configure(self, config: Config, revision: int = 2) -> None:
        snapshot = Snapshot(revision=revision, config=config)
        self.settled.swap(snapshot)
        self.rules.follow(snapshot)

    async def ask(
        self, path: str = "/v1/chat/completions", method: str = "POST", key: str | None = KEY, **options: Any
    ) -> tuple[int, Any, bytes]:
        headers = {**({"Authorization": f"Bearer {key}"} if key is not None else {}), **options.pop("headers", {})}
        if method == "POST" and not {"data", "json"} & options.keys():
            options["json"] = CHAT
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            return response.status, response.headers, await response.read()

    async def raw(self, data: bytes, *, until_close: bool = True) -> bytes:
        """What the socket says to these very bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await writer.drain()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await reader.read() if until_close else await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.close()


@asynccontextmanager
async def gateway(
    script: Handler = answers,
    *,
    config: Config = CONFIG,
    timings: Timings = QUICK,
    call: Any = redis_is_away,
    remembered: Any = None,
    spool: Path | None = None,
    serve: bool = True,
    alive_s: float = ALIVE_S,
    replay_s: float = 0.05,
    broker: FakeBroker | None = None,
    bodies_bytes_max: int = 512 << 20,
    probe_s: float = PATIENCE_S,
) -> AsyncIterator[Gateway]:
    broker = broker or FakeBroker()
    bus = await fake_bus(broker, "edge")
    stage = await fake_bus(broker, "shield", announce_new_s=0.02, alive_s=alive_s)
    settled, keys, readiness, bodies = Settled(), Keys(), Readiness(), Bodies(bodies_bytes_max)
    settled.swap(Snapshot(revision=1, config=config))
    loop = asyncio.get_running_loop()
    limiter = Limiter(call, monotonic=loop.time, degraded=lambda reason: readiness.note("redis", reason))
    exchanges = Exchanges(bus, random=lambda: 0.5, grace_ms=lambda: settled.config.gateway.grace_ms, timings=timings)
    kept = Spool(spool, "edge-1", 1 << 20) if spool is not None else None
    journal = Journal(
        bus,
        kept,
        boot="boot",
        mode=lambda: settled.config.audit.mode,
        troubled=lambda trouble: show_audit(readiness, trouble, settled.config.audit.mode),
        replay_s=replay_s,
    )
    rules = Rules(MATCHERS)
    rules.follow(settled.snapshot)
    told: list[tuple[Step, Caller]] = []
    ledger = Ledger(
        limiter,
        remembered or call,
        lambda: settled.config.threats,
        monotonic=loop.time,
        tell=lambda step, caller: told.append((step, caller)),
    )
    pipeline = ring(
        keys, limiter, settled, bodies, ledger, [Firewall(lambda: rules.matcher), EndUsers(settled, ledger)]
    )
    random = pooled(os.urandom)
    probe = PathProbe(
        bus,
        exchanges,
        keys_loaded=lambda: keys.loaded,
        new_id=lambda: uuid7(1, random()),
        timeout_s=probe_s,
    )
    edge = Edge(
        bus,
        settled,
        pipeline,
        condition=Condition(settled, probe, readiness, "1.2.3"),
        limiter=limiter,
        bodies=bodies,
        exchanges=exchanges,
        conclusions=Conclusions(settled, journal, ledger, instance=bus.instance, monotonic=time.monotonic),
        random=random,
    )
    it = Gateway(broker, stage, edge, settled, keys)
    it.bodies, it.rules, it.ledger, it.told = bodies, rules, ledger, told
    it.journal, it.exchanges, it.readiness, it.limiter = journal, exchanges, readiness, limiter
    it.add_key(KEY)
    await keys.watch(bus)
    readiness.block("start", "")

    def handle(envelope: Envelope, answer: Answer) -> Coroutine[Any, Any, None] | None:
        it.seen.append(envelope)
        return script(envelope, answer)

    if serve:
        await stage.serve(REQUEST_INSPECT, handle, max_in_flight=100)
    await exchanges.start()
    journal.start()
    it.server = Server(edge.handle, edge.malformed)
    own = listening_socket(-1, "127.0.0.1", 0)
    it.port = own.getsockname()[1]
    listener = await loop.create_server(it.server, sock=own)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as it.session:
        try:
            yield it
        finally:
            listener.close()
            it.server.pre_shutdown()  # Who has nothing more to ask need not be waited for.
            await it.server.shutdown(timeout=0.1)
            await exchanges.close()
            await journal.close()
            await limiter.close()
            await stage.drain(0.1)
            await bus.drain(0.1)


async def until(true: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    """Waits for a state, not for a time."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)
