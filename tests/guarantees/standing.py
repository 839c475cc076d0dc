"""A whole gateway in the test's own process: the real edge, shield, router and worker on a fake bus, and strict fakes behind them.

What a cell of the matrix needs to break is reached from here: the steps of each ring, the guards, the clock of the guards' time,
the limits' Redis, and the log's JetStream.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import msgspec
from guarantees.hearing import Said, Wire
from guarantees.speaking import vendor
from patience import PATIENCE_S
from shields import serve_shield
from unit.edge.edge_gateway import QUICK, Gateway, gateway

from llmproxy.common import keyring
from llmproxy.common.channels import CONFIG_BUCKET, REQUEST_CALL, REQUEST_ROUTE
from llmproxy.common.config import Config, Endpoint, Snapshot
from llmproxy.common.config import Gateway as Bounds
from llmproxy.common.config_watch import CURRENT, ConfigWatch
from llmproxy.common.errors import Unavailable
from llmproxy.common.plugins.host import Pipeline
from llmproxy.common.policy import Override, Policy
from llmproxy.common.prices import shipped
from llmproxy.common.records import AuditRecord
from llmproxy.common.segments import Segment
from llmproxy.common.testing import FakeBroker, FakeClock, fake_bus
from llmproxy.edge.routes.table import Route
from llmproxy.fakes.conversation import KEY, Behaviour, Saying
from llmproxy.fakes.families import FAMILIES
from llmproxy.fakes.server import Upstream, running
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.settlement import Settlement
from llmproxy.provider_workers.transport import Transport
from llmproxy.provider_workers.work import Work
from llmproxy.router.circuits import Circuits
from llmproxy.router.route import Router
from llmproxy.router.tables import Tables
from llmproxy.shield.chain import Chain
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.inspect import Inspect
from llmproxy.shield.judge import Judges

MODELS = {
    "openai": ("gpt-4o", "dall-e-3", "tts-1-hd", "whisper-1", "text-embedding-3-small", "omni-moderation-latest"),
    "openai-responses": ("gpt-4.1",),
    "anthropic": ("claude-opus-4-6",),
    "google": ("gemini-3-pro",),
    "vllm": ("Qwen/Qwen3-32B",),
}
VENDOR_OF = {"openai-responses": "openai"}
"""Where the provider's name in the configuration is not its vendor's."""

EMPLOYEE: dict[str, Any] = {
    "name": "Employee numbers",
    "supported_entity": "EMPLOYEE_ID",
    "patterns": [{"name": "number", "regex": r"\bE-\d{5}\b", "score": 0.9}],
}
ALWAYS: dict[str, Any] = {"when": "always"}
ENDINGS: dict[str, dict[str, Any]] = {
    "answers: secrets": {"kinds": {"secret": "block"}},
    "answers: thoughts": {"kinds": {"secret": "block"}},
    "answers: pii": {"kinds": {"email": "block"}},
    "answers: injection": {"injection": "block"},
    "answers: invisible text": {"invisible": "block"},
    "answers: images": {"links": {"images": "block"}},
    "answers: markup": {"links": {"images": "block"}},
    "answers: scripts": {"links": {"images": "block"}},
    "answers: secrets in parts": {"kinds": {"secret": "block"}},
    "answers: images in parts": {"links": {"images": "block"}},
    "answers: scripts in parts": {"links": {"images": "block"}},
    "answers: links in parts": {"links": {"others": "block"}},
    "answers: links": {"links": {"others": "block"}},
    "answers: leak": {"leak": "block"},
    "answers: repetition": {"repetition": "block"},
    "answers: entropy": {"entropy": "block"},
}
"""What makes an answer end: one setting at a time, so that no other one can have done it."""


def rails(rule: str, topic: str, links: str, language: str, direction: str) -> dict[str, Any]:
    """An operator's, with these actions; "" for none."""
    found: dict[str, Any] = {}
    if rule:
        found["rules"] = [{"name": "project", "pattern": r"PRJ-\d{4}", "action": rule, "direction": direction}]
    if topic:
        found["topics"] = [{"name": "airships", "words": ["zeppelin"], "action": topic, "direction": direction}]
    if links:
        found["links"] = {"denied": ["stranger.example"], "action": links, "direction": direction}
    if language:
        found["language"] = {"languages": ["en"], "roles": [], "action": language, "direction": direction}
    return {"rails": found}


RAILS: dict[str, dict[str, Any]] = {
    "rules": rails("reject", "", "", "", "request"),
    "topics": rails("", "reject", "", "", "request"),
    "links": rails("", "", "reject", "", "request"),
    "language": rails("", "", "", "reject", "request"),
    "railed answers": rails("replace", "replace", "replace", "flag", "answer"),
    "answers: rules": rails("reject", "", "", "", "answer"),
    "answers: topics": rails("", "reject", "", "", "answer"),
    "answers: denied links": rails("", "", "reject", "", "answer"),
    "answers: language": rails("", "", "", "reject", "answer"),
}

INJECTION = {"user": 0.4, "assistant": 0.4, "tool": 0.4, "system": 0.4, "parameter": 0.4}
"""Half a model's word is enough for a plain attack: the matrix says that the guard is asked, not how good it is."""

JUDGE = {"model": "gpt-4o", "low": 0.2, "high": 0.9, "on_failure": "block", "timeout_ms": 1000 * int(PATIENCE_S)}
HASTY = {**JUDGE, "timeout_ms": 5}

POLICIES: dict[str, dict[str, Any]] = {
    "default": {},
    "blocking": {"kinds": {"email": "block", "secret": "block"}},
    "injection": {"injection": {"mode": "block", **INJECTION}},
    "trajectory": {"injection": {"mode": "block", "trajectory": 0.6, **INJECTION}},
    "judge": {"injection": {"mode": "block", "judge": JUDGE, **INJECTION}},
    "hasty judge": {"injection": {"mode": "block", "judge": HASTY, **INJECTION}},
    "presidio": {"pii": {"engine": "presidio", "recognizers": [EMPLOYEE]}},
    "canary": {"answers": {**ALWAYS, "canary": True}},
    "answers": {"answers": ALWAYS},
    **{name: {"answers": {**ALWAYS, **ending}, "injection": INJECTION} for name, ending in ENDINGS.items()},
    **RAILS,
    "reading": {"answers": {**ALWAYS, "injection": "flag"}},
}
"""Principal -> what its policy says: one gateway, one configuration."""


AUDITORS: dict[str, Any] = {"when": {"roles": ["auditor"]}, "kinds": {"email": "block"}}


def policy() -> Policy:
    of_principals = [{"when": {"principals": [name]}, **said} for name, said in POLICIES.items() if said]
    return Policy(overrides=tuple(msgspec.convert(one, Override) for one in (*of_principals, AUDITORS)))


UNHURRIED = msgspec.structs.replace(QUICK, lost_s=PATIENCE_S)
"""Nobody dies here. While Presidio reads, the loop stands, and the edge must not take the shield for dead."""

SPARE = "-spare"
BODY_BYTES_MAX = 12_000
PIECE_CHARS = 6  # Of a streamed text, in one event: no value, no link and no marker is whole in one.


class Opinion:
    """The model that is asked what it thinks of a text."""

    def __init__(self) -> None:
        self.answer: Callable[[], Awaitable[bytes]] | None = None
        self.asked = 0

    async def ask(self, chat: bytes) -> bytes:
        self.asked += 1
        assert self.answer is not None
        return await self.answer()


class Standing:
    """One gateway for many cells; each of them leaves it as it was."""

    def __init__(self, edge: Gateway, inspect: Inspect, router: Router, clock: FakeClock) -> None:
        self.edge, self.inspect, self.router, self.clock = edge, inspect, router, clock
        self.upstreams: dict[str, Upstream] = {}
        self.circuits: Circuits
        self.opinion: Opinion
        self.judges: Judges
        self.once: aiohttp.ClientSession  # A connection for each stream: the edge closes that of a broken one.
        self._numbers, self._keys = iter(range(1 << 30)), set[str]()

    # -- what a cell does

    def forget(self) -> None:
        """What earlier cells have left."""
        self.edge.broker.published.clear()
        self.edge.broker.streams["AUDIT"].clear()
        self.circuits.open.clear()
        self.circuits.cooling.clear()
        self.circuits._failures.clear()
        self.judges._kept.clear()
        for upstream in self.upstreams.values():
            upstream.requests.clear()
            upstream.behaviour = Behaviour(piece_chars=PIECE_CHARS, keep_alives=False)

    def key(self, principal: str, **fields: Any) -> str:
        """A key of somebody under that policy; a new one where it has limits of its own."""
        key = f"sk-{principal}" + (f"-{next(self._numbers)}" if fields else "")
        if fields or key not in self._keys:
            self.edge.add_key(key, principal=principal, tenant="acme", **fields)
            self._keys.add(key)
        return key

    def id_of(self, key: str) -> str:
        return keyring.key_id(keyring.hash_key(key))

    async def ask(self, route: Route, path: str, wire: Wire, key: str | None) -> Said:
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        if wire.json is not None:
            headers["Content-Type"] = "application/json"
        session = self.once if route.streams or wire.is_stream else self.edge.session
        async with session.post(
            self.edge.url + path, headers=headers, data=wire.json if wire.json is not None else wire.form()
        ) as response:
            body = await response.read()
            return Said(route, response.status, dict(response.headers), body)

    async def said_to(self, route: Route, data: bytes) -> Said:
        """What is answered to these very bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.edge.port)
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert length is not None
        body = await reader.readexactly(int(length[1]))
        writer.close()
        return Said(route, int(head.split(b" ")[1]), {}, body)

    @property
    def received(self) -> list[bytes]:
        """What any provider was sent."""
        return [recorded.body for upstream in self.upstreams.values() for recorded in upstream.requests]

    @property
    def receivers(self) -> list[str]:
        return [name for name, upstream in self.upstreams.items() for _ in upstream.requests]

    @property
    def records(self) -> list[AuditRecord]:
        return self.edge.records

    def says(self, saying: Callable[[bytes], Saying]) -> None:
        """What every provider answers, told the body that it was sent."""
        for upstream in self.upstreams.values():
            upstream.behaviour.mind = lambda _, upstream=upstream: saying(upstream.requests[-1].body)

    # -- what a cell breaks

    @property
    def ingress(self) -> Pipeline[Any]:
        return self.edge.edge._pipeline

    @property
    def preflight(self) -> Pipeline[Any]:
        return self.inspect._preflight

    @property
    def postflight(self) -> Pipeline[Any]:
        return self.inspect._postflight

    @property
    def rings(self) -> tuple[Pipeline[Any], ...]:
        return self.ingress, self.preflight, self.router.pipeline, self.postflight


@contextmanager
def replaced(ring: Pipeline[Any], name: str, step: Any) -> Iterator[None]:
    """The ring with another step in the place of that one; None: without it."""
    before = ring.steps
    at = [one.name for one in before].index(name)
    ring.steps = (*before[:at], *((step,) if step is not None else ()), *before[at + 1 :])
    try:
        yield
    finally:
        ring.steps = before


def configuration(urls: dict[str, str]) -> Config:
    endpoints: dict[str, Endpoint] = {}
    for name in (*MODELS, *(f"{name}{SPARE}" for name in MODELS)):
        family = name.removesuffix(SPARE)
        endpoints[name] = Endpoint(
            provider=family,  # type: ignore[arg-type]
            url=urls[name] + FAMILIES[VENDOR_OF.get(family, family)].base,
            key="env:UPSTREAM_KEY" if FAMILIES[VENDOR_OF.get(family, family)].key else "",
            models=MODELS[family],
        )
    return Config(endpoints=endpoints, policy=policy(), gateway=Bounds(max_body_bytes=BODY_BYTES_MAX))


def load() -> None:
    """Reads what takes seconds to read, so that no cell waits for it."""
    presidio = msgspec.convert(POLICIES["presidio"], Policy)
    Chain(GUARDS, presidio).inspect(Segment(role="user", path="messages[0].content", text="E-00000"))


@asynccontextmanager
async def standing() -> AsyncIterator[Standing]:
    load()
    async with AsyncExitStack() as stack:
        upstreams = {
            f"{name}{spare}": Upstream(vendor(VENDOR_OF.get(name, name)), remember=64)
            for spare in ("", SPARE)
            for name in MODELS
        }
        urls = {name: await stack.enter_async_context(running(one)) for name, one in upstreams.items()}
        config = configuration(urls)
        broker, clock = FakeBroker(), FakeClock()

        async def redis(keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> list[int]:
            raise Unavailable("limits_unavailable", "Redis does not answer")

        edge = await stack.enter_async_context(
            gateway(config=config, broker=broker, serve=False, timings=UNHURRIED, call=redis)
        )
        bucket = await edge.stage.wire.bucket(CONFIG_BUCKET)
        await bucket.put(CURRENT, msgspec.json.encode(Snapshot(revision=1, config=config)))
        watch = ConfigWatch(edge.stage)
        await watch.start()
        opinion = Opinion()
        judges = Judges(opinion.ask, "sk-of-the-judges-own", nonce=lambda: "0" * 32, clock=clock)
        inspect = await serve_shield(edge.stage, watch, clock, judges)
        circuits = Circuits(config.routing.breaker)
        routing, worker = await fake_bus(broker, "router"), await fake_bus(broker, "provider-workers")

        async def lease(endpoint: str, model: str, request_id: str) -> bool:
            return False

        router = Router(routing, circuits, lease)
        router.use(Tables(config, shipped()))
        await routing.serve(REQUEST_ROUTE, router, max_in_flight=64)
        transport, settlement = Transport(), Settlement(worker)
        providers = frozenset(one.provider for one in config.endpoints.values())
        work = Work(
            worker, transport, settlement, Credentials({"UPSTREAM_KEY": KEY}), providers=providers, random=lambda: 0.0
        )
        work.configure(config, named=True)
        for provider in providers:
            await worker.serve(REQUEST_CALL, work, max_in_flight=64, provider=provider)
        it = Standing(edge, inspect, router, clock)
        it.upstreams, it.circuits = upstreams, circuits
        it.opinion, it.judges = opinion, judges
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        it.once = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        try:
            yield it
        finally:
            await routing.drain(0.0)
            await worker.drain(0.0)
            await transport.close()
