"""Rate and concurrency limits per key, address and tenant: one Redis call for all dimensions of all requests that come together."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from importlib import resources
from ipaddress import IPv6Network
from itertools import chain
from typing import Literal, Protocol, TypeVar

from msgspec import Struct, structs

from llmproxy.common.config import Limit, Limits
from llmproxy.common.errors import Unavailable
from llmproxy.common.keyring import KeyRecord

MINUTE_US = 60_000_000
LEASE_TTL_S = 30.0  # How long a killed edge's requests still count.
RENEW_S = 10.0
RELEASE_GATHER_S = 0.02  # A release travels with the next request's call, or after this time by itself.
CALL_PACE_S = 0.004  # Between two calls: the first leaves at once; under load one serves several, which go on together through every stage.
CALLS_MAX = 4  # Redis calls at once; what arrives meanwhile waits and shares the next one.
BATCH_MAX = 256  # Requests per call, so that no script runs long.
RELEASES_MAX = 20_000  # Unsent releases that are kept while Redis is away; their leases expire by themselves.
CALLERS_KEPT_MAX = 4_096  # Of whom it is known what applies; then all are forgotten.
LOCAL_KEYS_MAX = 20_000  # Counters of the local share; the oldest go first.
CONCURRENCY_RETRY_MS = 1_000  # When a place will be free is unknown.
WEIGHTS_MAX = 5_000  # Unsent weights; those beyond them are lost, which forgives somebody.
ACQUIRE_FIELDS = 7
SITE_BITS = 64

Scope = Literal["key", "ip", "tenant"]


class Call(Protocol):
    """The script, or a fake. Raises Unavailable within its time budget."""

    async def __call__(
        self, keys: Sequence[str], arguments: Sequence[str | int | float]
    ) -> Sequence[bytes | int | None]: ...


class Dimension(Struct, frozen=True):
    """One limit that applies to a request: whose it is, and how much."""

    scope: Scope
    name: str
    limit: Limit

    @property
    def emission_us(self) -> int:
        rate = self.limit.requests_per_minute
        return MINUTE_US // rate if rate else 0

    @property
    def burst(self) -> int:
        return self.limit.burst or max(1, (self.limit.requests_per_minute or 0) // 10)

    @property
    def tolerance_us(self) -> int:
        return self.emission_us * (self.burst - 1)

    @property
    def rate_key(self) -> str:
        return f"llmproxy:{{limits}}:rate:{self.scope}:{self.name}"

    @property
    def lease_key(self) -> str:
        return f"llmproxy:{{limits}}:held:{self.scope}:{self.name}"


class Suspects(Struct, frozen=True):
    """Who stands behind a request, of whom the ledger knows something: standings in Redis, the most specific first, and the terms."""

    keys: tuple[str, ...]
    terms: tuple[int | float, ...]  # As the script's "S" wants them, without the count.


class Quota(Struct, frozen=True, kw_only=True):
    """The decision, with the numbers of the dimension that refused or else of the tightest one."""

    allowed: bool
    scope: Scope | None = None
    kind: Literal["rate", "concurrency", "throttled", "locked", ""] = ""
    retry_after_ms: int = 0
    limit: int = 0  # Requests per minute.
    remaining: int = 0
    reset_ms: int = 0  # Until the whole burst is there again.
    suspect: int = 0  # Whose standing is such that it would be slowed or refused, from 1,
    suspect_locked: bool = False  # and that it would be refused.


UNLIMITED = Quota(allowed=True)


def dimensions(limits: Limits, record: KeyRecord, ip: str) -> list[Dimension]:
    """What applies to this caller; empty when nothing is configured."""
    found: list[Dimension] = []
    key = record.limit if record.limit is not None else limits.key
    if _limits_anything(key):
        found.append(Dimension("key", record.id, key))
    if _limits_anything(limits.ip):
        found.append(Dimension("ip", neighbourhood(ip), limits.ip))
    if _limits_anything(limits.tenant):
        found.append(Dimension("tenant", record.tenant, limits.tenant))
    return found


def neighbourhood(ip: str) -> str:
    """Who is one caller by address: an IPv4 address, or the 64 bits of IPv6 that one site is given."""
    if ":" not in ip:
        return ip
    try:
        return str(IPv6Network((ip.partition("%")[0], SITE_BITS), strict=False))
    except ValueError:
        return ip


def _limits_anything(limit: Limit) -> bool:
    return limit.requests_per_minute is not None or limit.concurrency is not None


def quota(wanted: Sequence[Dimension], fields: Sequence[int]) -> Quota:
    """One request's part of the script's reply."""
    allowed, index, kind, retry_us, remaining, reset_us, met = fields
    suspect, suspect_locked = met >> 1, bool(met & 1)
    if kind >= 3:
        return Quota(
            allowed=False,
            kind="locked" if kind == 4 else "throttled",
            retry_after_ms=-(-retry_us // 1000),
            suspect=suspect,
            suspect_locked=suspect_locked,
        )
    if index == 0:
        return Quota(allowed=True, suspect=suspect, suspect_locked=suspect_locked) if met else UNLIMITED
    dimension = wanted[index - 1]
    return Quota(
        allowed=bool(allowed),
        scope=dimension.scope,
        kind="concurrency" if kind == 2 else "rate",
        retry_after_ms=CONCURRENCY_RETRY_MS if kind == 2 else -(-retry_us // 1000),
        limit=(dimension.limit.requests_per_minute if kind == 1 else dimension.limit.concurrency) or 0,
        remaining=remaining,
        reset_ms=-(-reset_us // 1000),
        suspect=suspect,
        suspect_locked=suspect_locked,
    )


class _Terms(Struct, frozen=True):
    """What the script is told of one caller's dimensions."""

    wanted: Sequence[Dimension]
    keys: tuple[str, ...]
    lease_keys: tuple[str, ...]
    arguments: tuple[int, ...]
    suspects: Suspects | None = None


def _terms(wanted: Sequence[Dimension]) -> _Terms:
    keys: list[str] = []
    arguments: list[int] = []
    for dimension in wanted:
        if dimension.emission_us:
            keys.append(dimension.rate_key)
        if dimension.limit.concurrency:
            keys.append(dimension.lease_key)
        arguments += (dimension.emission_us, dimension.tolerance_us, dimension.limit.concurrency or 0)
    return _Terms(wanted, tuple(keys), _lease_keys(wanted), tuple(arguments))


def _lease_keys(wanted: Sequence[Dimension]) -> tuple[str, ...]:
    return tuple(dimension.lease_key for dimension in wanted if dimension.limit.concurrency)


class _Waiting(Struct, frozen=True):
    lease: str
    terms: _Terms
    when_redis_fails: Literal["local", "closed"]
    decided: "asyncio.Future[Quota]"


class Limiter:
    """Asks Redis, or its own memory when Redis is away. Everything runs on the loop that made it."""

    def __init__(
        self,
        call: Call,
        *,
        monotonic: Callable[[], float],
        edges: int = 1,
        degraded: Callable[[str], None] = lambda _: None,
        lease_ttl_s: float = LEASE_TTL_S,
    ) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._degraded = degraded  # Told why, and told "" when Redis is back.
        self._local = LocalLimits(monotonic, edges)
        self._ttl_us = int(lease_ttl_s * 1_000_000)
        self._waiting: list[_Waiting] = []
        self._releases: list[tuple[str, tuple[str, ...]]] = []
        self._weights: list[tuple[tuple[str, ...], tuple[str | int | float, ...]]] = []  # Keys and arguments of "W".
        self._leases: dict[str, tuple[str, ...]] = {}  # Lease -> its keys in Redis.
        self._terms: dict[int, _Terms] = {}  # By the identity of what is wanted, which callers keep.
        self._calls: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._called_at = -CALL_PACE_S  # In loop time.
        self._is_degraded = False

    @property
    def held(self) -> int:
        return len(self._leases)

    def acquire(
        self,
        lease: str,
        wanted: Sequence[Dimension],
        when_redis_fails: Literal["local", "closed"],
        suspects: Suspects | None = None,
    ) -> "asyncio.Future[Quota]":
        """Consumes from every dimension or from none. Raises Unavailable when Redis is away and limits fail closed.
        Whoever leaves cancels what he waits for."""
        decided: asyncio.Future[Quota] = self._loop.create_future()
        if not wanted and suspects is None:
            decided.set_result(UNLIMITED)
            return decided
        terms = self._terms_of(wanted)
        if suspects is not None:
            terms = structs.replace(terms, suspects=suspects)
        self._waiting.append(_Waiting(lease, terms, when_redis_fails, decided))
        self._schedule()
        return decided

    def _terms_of(self, wanted: Sequence[Dimension]) -> _Terms:
        terms = self._terms.get(id(wanted))
        if terms is None or terms.wanted is not wanted:
            if len(self._terms) >= CALLERS_KEPT_MAX:
                self._terms.clear()
            terms = self._terms[id(wanted)] = _terms(wanted)
        return terms

    def release(self, lease: str) -> None:
        """Sent with the next call; nobody waits for it."""
        self._local.release(lease)
        keys = self._leases.pop(lease, None)
        if keys is None:
            return
        self._releases.append((lease, keys))
        del self._releases[:-RELEASES_MAX]
        if len(self._releases) == 1:
            self._loop.call_later(RELEASE_GATHER_S, self._start)

    def weigh(self, keys: tuple[str, ...], arguments: tuple[str | int | float, ...]) -> None:
        """As a release: sent with the next call, and nobody waits for it. When Redis is away it is lost."""
        self._weights.append((keys, arguments))
        del self._weights[:-WEIGHTS_MAX]
        if len(self._weights) == 1:
            self._loop.call_later(RELEASE_GATHER_S, self._start)

    async def renew(self) -> None:
        """Keeps the leases of what is still held; call it every RENEW_S. Raises nothing: an expired lease admits one more."""
        leases = list(self._leases.items())
        for start in range(0, len(leases), BATCH_MAX):
            keys: list[str] = []
            arguments: list[str | int | float] = []
            for lease, held in leases[start : start + BATCH_MAX]:
                keys += held
                arguments += ("N", lease, self._ttl_us, len(held))
            try:
                await self._call(keys, arguments)
            except Unavailable as error:
                self._note(error.message)

    async def close(self) -> None:
        """Sends the last releases, once; what Redis does not take expires."""
        self._start()
        if self._calls:
            await asyncio.wait(set(self._calls))

    def _schedule(self) -> None:
        if self._scheduled:
            return
        self._scheduled = True
        loop = self._loop
        wait_s = self._called_at + CALL_PACE_S - loop.time()
        if wait_s > 0:
            loop.call_later(wait_s, self._start)
        else:
            loop.call_soon(self._start)

    def _start(self) -> None:
        """One call for everything that has come, unless enough are under way already."""
        self._scheduled = False
        if len(self._calls) >= CALLS_MAX or not (self._waiting or self._releases or self._weights):
            return
        self._called_at = self._loop.time()
        waiting = [one for one in self._waiting[:BATCH_MAX] if not one.decided.done()]  # The others have left.
        self._waiting = self._waiting[BATCH_MAX:]
        releases, self._releases = self._releases[:BATCH_MAX], self._releases[BATCH_MAX:]
        weights, self._weights = self._weights[:BATCH_MAX], self._weights[BATCH_MAX:]
        call = self._loop.create_task(self._run(waiting, releases, weights))
        self._calls.add(call)
        call.add_done_callback(self._ended)

    def _ended(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        if self._waiting or self._weights or (self._releases and not self._is_degraded):
            self._schedule()

    async def _run(
        self,
        waiting: list[_Waiting],
        releases: list[tuple[str, tuple[str, ...]]],
        weights: list[tuple[tuple[str, ...], tuple[str | int | float, ...]]],
    ) -> None:
        keys: list[str] = []
        arguments: list[str | int | float] = []
        for standing, weight in weights:
            keys += standing
            arguments += ("W", *weight)
        # Releases first, so that a place given back in this turn can be taken in it.
        for held, leases in _grouped((held, lease) for lease, held in releases):
            keys += held
            arguments += ("R", len(held), len(leases), *leases)
        groups = [many for _, many in _grouped((id(one.terms), one) for one in waiting)]
        for many in groups:
            terms = many[0].terms
            if terms.suspects is not None:
                keys += terms.suspects.keys
                arguments += ("S", *terms.suspects.terms, len(terms.suspects.keys))
            keys += terms.keys
            arguments += ("A", self._ttl_us, len(terms.wanted), len(many), *terms.arguments)
            arguments += [one.lease for one in many]
        try:
            reply = await self._call(keys, arguments)
        except Unavailable as error:
            self._note(error.message)
            self._releases = (releases + self._releases)[-RELEASES_MAX:]
            for one in waiting:
                self._do_without(one, error)
            return
        self._note("")
        fields = [int(field or 0) for field in reply]
        for index, one in enumerate(chain.from_iterable(groups)):
            answer = fields[index * ACQUIRE_FIELDS : (index + 1) * ACQUIRE_FIELDS]
            self._settle(one, quota(one.terms.wanted, answer))

    def _do_without(self, one: _Waiting, error: Unavailable) -> None:
        if one.decided.done():  # As below.
            return
        if one.when_redis_fails == "closed" and one.terms.wanted:
            one.decided.set_exception(Unavailable(error.code, error.message, retry_after_ms=1000))
        else:
            one.decided.set_result(self._local.acquire(one.lease, one.terms.wanted))

    def _settle(self, one: _Waiting, decision: Quota) -> None:
        held = one.terms.lease_keys if decision.allowed else ()
        if one.decided.done():  # Its caller left while we asked.
            if held:
                self._releases.append((one.lease, held))
            return
        if held:
            self._leases[one.lease] = held
        one.decided.set_result(decision)

    def _note(self, reason: str) -> None:
        if bool(reason) != self._is_degraded:
            self._is_degraded = bool(reason)
            self._degraded(reason)


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def _grouped(pairs: Iterable[tuple[K, V]]) -> Iterable[tuple[K, list[V]]]:
    groups: dict[K, list[V]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups.items()


class LocalLimits:
    """The same decision in this process's memory, over an equal share of each limit; bounded."""

    def __init__(self, monotonic: Callable[[], float], edges: int = 1) -> None:
        self._monotonic, self._edges = monotonic, max(1, edges)
        self._arrivals: OrderedDict[str, int] = OrderedDict()
        self._held: dict[str, int] = {}
        self._leases: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._arrivals)

    def acquire(self, lease: str, wanted: Sequence[Dimension]) -> Quota:
        now_us = int(self._monotonic() * 1_000_000)
        nexts: list[tuple[str, int]] = []
        tightest = UNLIMITED
        for dimension in wanted:
            concurrency = dimension.limit.concurrency
            if concurrency and self._held.get(dimension.lease_key, 0) >= max(1, concurrency // self._edges):
                return Quota(
                    allowed=False,
                    scope=dimension.scope,
                    kind="concurrency",
                    retry_after_ms=CONCURRENCY_RETRY_MS,
                    limit=concurrency,
                )
            if not dimension.emission_us:
                continue
            emission = dimension.emission_us * self._edges
            tolerance = emission * (max(1, dimension.burst // self._edges) - 1)
            arrival = max(self._arrivals.get(dimension.rate_key, now_us), now_us)
            early = arrival - tolerance - now_us
            rate = dimension.limit.requests_per_minute or 0
            if early > 0:
                return Quota(
                    allowed=False,
                    scope=dimension.scope,
                    kind="rate",
                    retry_after_ms=-(-early // 1000),
                    limit=rate,
                    reset_ms=-(-(arrival - now_us) // 1000),
                )
            nexts.append((dimension.rate_key, arrival + emission))
            remaining = -early // emission
            if tightest is UNLIMITED or remaining < tightest.remaining:
                reset_ms = -(-(arrival + emission - now_us) // 1000)
                tightest = Quota(
                    allowed=True,
                    scope=dimension.scope,
                    kind="rate",
                    limit=rate,
                    remaining=remaining,
                    reset_ms=reset_ms,
                )
        self._take(lease, nexts, _lease_keys(wanted))
        return tightest

    def release(self, lease: str) -> None:
        for key in self._leases.pop(lease, ()):
            left = self._held[key] - 1
            if left:
                self._held[key] = left
            else:
                del self._held[key]

    def _take(self, lease: str, nexts: list[tuple[str, int]], leases: tuple[str, ...]) -> None:
        for key, arrival in nexts:
            self._arrivals[key] = arrival
            self._arrivals.move_to_end(key)
        while len(self._arrivals) > LOCAL_KEYS_MAX:
            self._arrivals.popitem(last=False)
        for key in leases:
            self._held[key] = self._held.get(key, 0) + 1
        if leases:
            self._leases[lease] = leases


def script() -> str:
    return resources.files("llmproxy.edge").joinpath("limits.lua").read_text()
