"""Ring 1: what a request passes at the edge before it is published. Authentication, limits, its body, its model."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, Protocol

from aiohttp.web import RequestPayloadError
from msgspec import Struct

from llmproxy.common.config import Config, Limit, Limits, Snapshot, models
from llmproxy.common.envelope import INLINE_BYTES_MAX
from llmproxy.common.errors import GatewayError, Unavailable
from llmproxy.common.explanations import Explained
from llmproxy.common.keyring import KeyRecord
from llmproxy.common.plugins.host import MODIFIED, PASS, Block, Pipeline, Result, Ring, Step
from llmproxy.edge import forms, metrics
from llmproxy.edge.body import Wanted, check_encoding, check_media_type, parse, parse_large
from llmproxy.edge.catalogue import Catalogue
from llmproxy.edge.forms import Upload
from llmproxy.edge.identity import (
    Keys,
    Network,
    UnknownKey,
    client_ip,
    key_in_query,
    may_use,
    networks,
    presented_keys,
)
from llmproxy.edge.limits import CALLERS_KEPT_MAX, Limiter
from llmproxy.edge.local_limits import LocalLimits
from llmproxy.edge.quotas import UNLIMITED, Dimension, Quota, Suspects, dimensions, neighbourhood
from llmproxy.edge.routes.table import CALL, SERVED, Action, Route
from llmproxy.edge.threats import Caller, Ledger, place, sender

BODY_IDLE_S = 10.0  # Between two reads of a body,
BODY_TOTAL_S = 120.0  # and for all of it: a slower client is cut off.
BODIES_BYTES_MAX = 512 << 20  # Of all requests of one edge together.
GUESSES = Limit(requests_per_minute=60, burst=20)  # Failed authentications of one address; then 429.
# Unknown keys of our form that the store is asked for, of all addresses together: anybody can make them by the thousand.
LOOK_UPS = Dimension("ip", "", Limit(requests_per_minute=1_200, burst=100))
STEP_MS = 1_000


class Content(Protocol):
    """A request body on its way: aiohttp's StreamReader."""

    async def readany(self) -> bytes: ...
    def read_nowait(self, n: int = -1) -> bytes: ...
    def is_eof(self) -> bool: ...
    def at_eof(self) -> bool: ...


class Headers(Protocol):
    """Case-insensitive, with repetitions: multidict."""

    def get(self, key: str, /, default: str) -> str: ...
    def getall(self, key: str, default: tuple[()]) -> Iterable[str]: ...


class Ingress(Struct, kw_only=True, eq=False):
    """One request at the edge: what came, and what the steps found out about it."""

    id: str
    started: float
    now_ms: int
    method: str
    route: Route
    model_id: str
    query: str
    headers: Headers
    content: Content
    ip: str
    invite: Callable[[], None]  # To send the body, of a client that waits for it.
    record: KeyRecord | None = None
    quota: Quota = UNLIMITED
    leased: bool = False
    body: bytes = b""
    read_bytes: int = 0  # What `Bodies` counts for this request.
    upload: Upload | None = None  # Of a form; `body` is then its texts.
    wanted: Wanted | None = None
    findings: dict[str, int] = {}  # Of the steps at the edge; the shield's are in its frames.
    explained: Explained | None = None  # As the findings.
    end_user: str = ""  # Whom an application that is trusted with it names, as a hash.
    is_flood: bool = False  # Answered without waiting for its record, or the wait would be the attack.
    concluded: bool = False  # Its record is written.

    def __repr__(self) -> str:  # It holds a key and a body, which no log may show.
        return f"Ingress({self.id})"


class Bodies:
    """How much memory all bodies take together: many large ones at once must not end the process."""

    def __init__(self, bytes_max: int = BODIES_BYTES_MAX) -> None:
        self.held, self._bytes_max = 0, bytes_max

    def take(self, context: Ingress, count: int) -> bool:
        """False when there is no room for `count` bytes more."""
        if self.held + count > self._bytes_max:
            return False
        self.held += count
        context.read_bytes += count
        return True

    def give_back(self, context: Ingress) -> None:
        self.held -= context.read_bytes
        context.read_bytes = 0


class Settled:
    """What of the configuration every request asks, worked out once per revision."""

    def __init__(self) -> None:
        self.snapshot = Snapshot(revision=0, config=Config())
        self.config = self.snapshot.config
        self.models: dict[str, str] = {}
        self.catalogue = Catalogue()  # What is listed; `models` is what the configuration names.
        self.any_model = False
        self.trusted: tuple[Network, ...] = ()
        self.fingerprint = ""

    def swap(self, snapshot: Snapshot) -> None:
        self.snapshot, self.config = snapshot, snapshot.config
        self.models = models(snapshot.config)
        self.catalogue.swap(snapshot)
        self.any_model = any("*" in endpoint.models for endpoint in snapshot.config.endpoints.values())
        self.fingerprint = snapshot.fingerprint
        self.trusted = networks(snapshot.config.gateway.trusted_proxies)

    def serves(self, model: str) -> bool:
        return model in self.models or self.any_model

    def client_ip(self, peer: str, headers: Headers) -> str:
        return client_ip(peer, headers.getall("X-Forwarded-For", ()), self.trusted) if self.trusted else peer


IN_QUERY = (
    "API keys are not accepted in the URL, which logs keep. Send it in the Authorization header, as in "
    "`Authorization: Bearer <your key>`, or in `x-goog-api-key` or `x-api-key`."
)
MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.:/@-]{0,63}", re.ASCII)
NO_ROOM = Block("server_is_overloaded", "the gateway holds too many large bodies; retry", retry_after_ms=1_000)


def no_such_model(name: str) -> str:
    """Repeats the name only when it looks like one: whatever else was put there stays out of errors."""
    quoted = f" `{name}`" if MODEL_NAME.fullmatch(name) else ""
    return f"The model{quoted} does not exist or you do not have access to it."


def block(error: GatewayError) -> Block:
    return Block(error.code, error.message, error.param, error.retry_after_ms)


class Authentication:
    name, priority, timeout_ms = "authentication", 10, STEP_MS
    fail: Literal["closed", "open"] = "closed"

    def __init__(self, keys: Keys, ledger: Ledger, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._ledger = keys, ledger
        self._guesses, self._look_ups = LocalLimits(monotonic), LocalLimits(monotonic)

    def run(self, context: Ingress) -> Result | Awaitable[Result]:
        headers = context.headers
        presented = presented_keys(
            headers.getall("authorization", ()),
            headers.getall("x-api-key", ()),
            headers.getall("api-key", ()),
            headers.getall("x-goog-api-key", ()),
        )
        try:
            if context.query and key_in_query(context.query):
                raise GatewayError("invalid_api_key", IN_QUERY)
            context.record = self._keys.authenticate(presented, context.now_ms)
        except UnknownKey as unknown:
            return self._look_up(context, unknown)
        except GatewayError as error:
            return self._refuse(context, error)
        return MODIFIED

    def _look_up(self, context: Ingress, unknown: UnknownKey) -> Block | Awaitable[Result]:
        """A key may have been made a moment ago. So who is above the bounds is told to wait, not that the key is wrong."""
        if not self._keys.may_be_new(unknown.digest):
            return self._refuse(context, unknown)
        if not self._keys.is_asked_for(unknown.digest):
            address = Dimension("ip", neighbourhood(context.ip), GUESSES)
            asked = self._look_ups.acquire("", [address, LOOK_UPS])
            if not asked.allowed:
                message = "too many unknown API keys are presented; wait, and check the key if it is not new"
                error = GatewayError("rate_limit_exceeded", message, retry_after_ms=asked.retry_after_ms)
                return self._refuse(context, error)
        return self._ask(context, unknown)

    async def _ask(self, context: Ingress, unknown: UnknownKey) -> Result:
        try:
            context.record = await self._keys.look_up(unknown, context.now_ms)
        except Unavailable:
            raise  # The store does not answer: nobody was asked whether the key is wrong.
        except GatewayError as error:
            refused = self._refuse(context, error)
            return refused if isinstance(refused, Block) else await refused
        return MODIFIED

    def _refuse(self, context: Ingress, error: GatewayError) -> Block | Awaitable[Result]:
        """Guesses are counted per address; good keys from the same address are not touched by it."""
        metrics.AUTH_FAILURES.labels(error.code).inc()
        guesses = self._guesses.acquire("", [Dimension("ip", neighbourhood(context.ip), GUESSES)])
        if guesses.allowed:
            candidates = (place(context.ip),)
            suspects = self._ledger.suspects(candidates)
            self._ledger.weigh_guess(context.ip)
            return block(error) if suspects is None else self._judge(context, error, candidates, suspects)
        context.is_flood = True
        message = "too many requests without a good API key from this address; wait and check the key"
        return Block("rate_limit_exceeded", message, retry_after_ms=guesses.retry_after_ms)

    async def _judge(
        self, context: Ingress, error: GatewayError, candidates: tuple[Caller, ...], suspects: Suspects
    ) -> Result:
        """An address from which much was guessed, at whichever edge."""
        refused = self._ledger.seen(await self._ledger.ask(context.id, suspects), candidates)
        context.is_flood = refused is not None
        return refused or block(error)


class KnownRoute:
    """After authentication: somebody without a key learns nothing about which paths exist."""

    name, priority, timeout_ms = "route", 20, STEP_MS
    fail: Literal["closed", "open"] = "closed"

    def run(self, context: Ingress) -> Result:
        route = context.route
        if context.method in route.methods:
            return PASS
        if route.action is Action.UNKNOWN:
            hint = f" Did you mean {route.hint}?" if route.hint else ""
            return Block("unknown_url", f"Unknown request URL. Please check the URL for typos.{hint}")
        if route.action is Action.NOT_SERVED:
            hint = f" ({route.hint})" if route.hint else ""
            served = SERVED[route.dialect]
            return Block("endpoint_not_served", f"{route.name} is not served by this gateway{hint}; it serves {served}")
        return Block("method_not_allowed", f"this method is not allowed on {route.name}; use {route.allow}")


class RateLimits:
    """Before the body: who is over a limit cannot make us read 32 MiB."""

    name, priority, timeout_ms = "limits", 30, 0  # Each call to Redis has its own bound.
    fail: Literal["closed", "open"] = "closed"

    def __init__(self, limiter: Limiter, settled: Settled, ledger: Ledger) -> None:
        self._limiter, self._settled, self._ledger = limiter, settled, ledger
        self._callers: dict[tuple[str, str], tuple[KeyRecord, Limits, list[Dimension]]] = {}  # Key, address.

    def run(self, context: Ingress) -> Result | Awaitable[Result]:
        wanted = self._dimensions(context)
        if self._ledger.known and self._settled.config.threats.end_users == "ignored":
            assert context.record is not None
            candidates = sender(context.record)
            suspects = self._ledger.suspects(candidates)
            if suspects is not None:
                return self._acquire(context, wanted, candidates, suspects)
        return self._acquire(context, wanted) if wanted else PASS

    def _dimensions(self, context: Ingress) -> list[Dimension]:
        """The same object for the same caller, until its key or the configuration changes."""
        record, limits = context.record, self._settled.config.limits
        assert record is not None
        known = self._callers.get((record.id, context.ip))
        if known is not None and known[0] is record and known[1] is limits:
            return known[2]
        if len(self._callers) >= CALLERS_KEPT_MAX:
            self._callers.clear()
        wanted = dimensions(limits, record, context.ip)
        self._callers[record.id, context.ip] = (record, limits, wanted)
        return wanted

    async def _acquire(
        self,
        context: Ingress,
        wanted: list[Dimension],
        candidates: tuple[Caller, ...] = (),
        suspects: Suspects | None = None,
    ) -> Result:
        context.leased = True  # Before asking: what is granted to somebody who has left must be given back too.
        try:
            quota = await self._limiter.acquire(
                context.id, wanted, self._settled.config.limits.when_redis_fails, suspects
            )
        except GatewayError as error:
            message = "the limits cannot be checked, and limits.when_redis_fails is closed; retry"
            return Block("limits_unavailable", message, retry_after_ms=error.retry_after_ms or 1000)
        context.quota = quota
        if quota.suspect and (refused := self._ledger.seen(quota, candidates)) is not None:
            return refused
        if quota.allowed:
            return MODIFIED
        metrics.LIMITED.labels(quota.scope or "", quota.kind).inc()
        if quota.kind == "concurrency":
            message = f"the limit of {quota.limit} requests at once for this {quota.scope} is reached; retry"
            return Block("concurrency_limit_exceeded", message, retry_after_ms=quota.retry_after_ms)
        message = f"the limit of {quota.limit} requests per minute for this {quota.scope} is reached, its burst used up; retry"
        return Block("rate_limit_exceeded", message, retry_after_ms=max(1, quota.retry_after_ms))


class Body:
    """Reads the body, at most so much of it and at most so long."""

    name, priority, timeout_ms = "body", 40, 0  # BODY_TOTAL_S and BODY_IDLE_S.
    fail: Literal["closed", "open"] = "closed"

    def __init__(
        self, settled: Settled, bodies: Bodies, idle_s: float = BODY_IDLE_S, total_s: float = BODY_TOTAL_S
    ) -> None:
        self._settled, self._bodies, self._idle_s, self._total_s = settled, bodies, idle_s, total_s

    def run(self, context: Ingress) -> Result | Awaitable[Result]:
        route = context.route
        if route.action is not CALL:
            return PASS
        headers, content = context.headers, context.content
        try:
            if route.takes_form:
                forms.boundary(headers.get("content-type", ""))
                check_encoding(headers.get("content-encoding", ""))
            else:
                check_media_type(headers.get("content-type", ""), headers.get("content-encoding", ""))
        except GatewayError as error:
            return block(error)
        limit = self._settled.config.gateway.max_body_bytes
        if content.is_eof():  # All of it is here already, as small bodies are.
            context.body = content.read_nowait()
            if len(context.body) > limit:
                return self._too_large(limit)
            if not self._bodies.take(context, len(context.body)):
                return NO_ROOM
            return self._form(context, limit) if route.takes_form else MODIFIED
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            return self._too_large(limit)
        if headers.get("expect", "").lower() == "100-continue":
            context.invite()
        return self._read(context, limit)

    async def _read(self, context: Ingress, limit: int) -> Result:
        content = context.content
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._total_s):
                while not content.at_eof():
                    async with asyncio.timeout(self._idle_s):
                        part = await content.readany()
                    size += len(part)
                    if size > limit:
                        return self._too_large(limit)
                    if not self._bodies.take(context, len(part)):
                        return NO_ROOM
                    parts.append(part)
        except TimeoutError:
            return Block("request_timeout", "the body did not arrive in time; send it faster")
        except RequestPayloadError:
            return Block("invalid_encoding", "the transfer encoding of the body is broken")
        # Python joins so much without its lock: in a thread that holds up nobody for a hundredth of a second.
        context.body = await asyncio.to_thread(b"".join, parts) if size > INLINE_BYTES_MAX else b"".join(parts)
        return await self._form(context, limit) if context.route.takes_form else MODIFIED

    async def _form(self, context: Ingress, limit: int) -> Result:
        """From here on the body is the form's texts, which every later step reads like any other JSON."""
        try:
            form = await forms.parse(context.body, forms.boundary(context.headers.get("content-type", "")))
        except GatewayError as error:
            return block(error)
        context.body, context.upload = form.texts, form.upload
        size = forms.json_bytes(form.texts, form.upload)
        if size > limit:
            return self._too_large(limit)
        return MODIFIED if self._bodies.take(context, size) else NO_ROOM

    def _too_large(self, limit: int) -> Block:
        return Block("request_too_large", f"the body is larger than {limit} bytes (gateway.max_body_bytes)")


class Validation:
    """The fields that the edge itself acts on; the shield checks the whole body."""

    name, priority, timeout_ms = "validation", 50, 0  # Bounded by the size of a body.
    fail: Literal["closed", "open"] = "closed"

    def __init__(self, settled: Settled) -> None:
        self._settled = settled

    def run(self, context: Ingress) -> Result | Awaitable[Result]:
        route = context.route
        if route.action is not CALL:
            return PASS
        if len(context.body) > INLINE_BYTES_MAX:
            return self._large(context)
        try:
            wanted = parse(route.api, context.body, context.model_id, route.streams)
        except GatewayError as error:
            return block(error)
        return self._known(context, wanted)

    async def _large(self, context: Ingress) -> Result:
        route = context.route
        try:
            wanted = await asyncio.to_thread(parse_large, route.api, context.body, context.model_id, route.streams)
        except GatewayError as error:
            return block(error)
        return self._known(context, wanted)

    def _known(self, context: Ingress, wanted: Wanted) -> Result:
        context.wanted = wanted
        assert context.record is not None
        if not may_use(context.record, wanted.model):
            message = "this API key may not use that model; GET /v1/models lists those that it may"
            return Block("model_not_allowed", message, "model")
        if not self._settled.serves(wanted.model):
            return Block("model_not_found", no_such_model(wanted.model), "model")
        return MODIFIED


def ring(
    keys: Keys,
    limiter: Limiter,
    settled: Settled,
    bodies: Bodies,
    ledger: Ledger,
    extra: Iterable[Step[Ingress]] = (),
) -> Pipeline[Ingress]:
    built_in: list[Step[Ingress]] = [
        Authentication(keys, ledger),
        KnownRoute(),
        RateLimits(limiter, settled, ledger),
        Body(settled, bodies),
        Validation(settled),
    ]
    return Pipeline(Ring.INGRESS, [*built_in, *extra])
