"""Rate and concurrency limits per key, address and tenant: one Redis call for all dimensions of all requests that come together."""

import asyncio
import secrets
from collections.abc import Callable, Hashable, Iterable, Sequence
from importlib import resources
from itertools import count, islice
from typing import Literal, Protocol, TypeVar

from msgspec import Struct, structs

from llmproxy.common.errors import Unavailable
from llmproxy.edge import ahead
from llmproxy.edge.ahead import Ahead
from llmproxy.edge.local_limits import LocalLimits
from llmproxy.edge.pace import Pace
from llmproxy.edge.quotas import UNLIMITED, Dimension, Quota, Suspects, lease_keys, quota

LEASE_TTL_S = 30.0  # How long a killed edge's requests still count.
RENEW_S = 10.0
RELEASE_GATHER_S = 0.02  # A release travels with the next request's call, or after this time by itself.
CALLS_MAX = 4  # Redis calls at once; what arrives meanwhile waits and shares the next one.
BATCH_MAX = 256  # Requests per call, so that no script runs long.
RELEASES_MAX = 20_000  # Unsent releases that are kept while Redis is away; their leases expire by themselves.
CALLERS_KEPT_MAX = 4_096  # Of whom it is known what applies; then all are forgotten.
WEIGHTS_MAX = 5_000  # Unsent weights; those beyond them are lost, which forgives somebody.
UNUSED_MAX = ahead.PLACES_PER_CALL_MAX // ahead.PLACES_MAX
ACQUIRE_FIELDS = 7

WhenRedisFails = Literal["local", "closed"]


class Call(Protocol):
    """The script, or a fake. Raises Unavailable within its time budget."""

    async def __call__(
        self, keys: Sequence[str], arguments: Sequence[str | int | float]
    ) -> Sequence[bytes | int | None]: ...


class _Terms(Struct, frozen=True):
    """What the script is told of one caller's dimensions."""

    wanted: Sequence[Dimension]
    keys: tuple[str, ...]
    lease_keys: tuple[str, ...]
    arguments: tuple[int, ...]
    ahead: Ahead
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
    return _Terms(wanted, tuple(keys), lease_keys(wanted), tuple(arguments), Ahead(wanted))


class _Waiting(Struct, frozen=True):
    lease: str
    terms: _Terms
    when_redis_fails: WhenRedisFails
    decided: "asyncio.Future[Quota]"


class _Held(Struct, frozen=True):
    """A place that a request has in Redis."""

    lease: str
    keys: tuple[str, ...]
    is_ahead: bool = False  # Taken far from every limit: it can be given back a little later.


class _Unused(Struct, frozen=True):
    """What was taken beforehand and nobody came for."""

    terms: _Terms
    places: list[str]


class _Message(Struct, frozen=True):
    """What one call says: operations of the script, each with its own keys."""

    weights: "list[tuple[tuple[str, ...], tuple[str | int | float, ...]]]"  # Keys and arguments of "W".
    unused: list[_Unused]
    releases: list[_Held]
    waiting: list[_Waiting]

    def __bool__(self) -> bool:
        return bool(self.waiting or self.releases or self.weights or self.unused)


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
        self._releases: list[_Held] = []
        self._weights: list[tuple[tuple[str, ...], tuple[str | int | float, ...]]] = []
        self._unused: list[_Unused] = []
        self._ahead: dict[int, _Unused] = {}  # What may still be used, by the identity of its places.
        self._places = map(f"{secrets.token_hex(8)}.{{}}".format, count())
        self._held: dict[str, _Held] = {}
        self._terms: dict[int, _Terms] = {}  # By the identity of what is wanted, which callers keep.
        self._calls: set[asyncio.Task[None]] = set()
        self._pace = Pace()
        self._came = 0  # Requests since the last group went on,
        self._started_at = 0.0  # which was then, in loop time.
        self._is_scheduled = False
        self._send_at: float | None = None  # When what nobody waits for goes by itself.
        self._is_degraded = False

    @property
    def held(self) -> int:
        return len(self._held)

    def acquire(
        self,
        lease: str,
        wanted: Sequence[Dimension],
        when_redis_fails: WhenRedisFails,
        suspects: Suspects | None = None,
    ) -> "asyncio.Future[Quota]":
        """Consumes from every dimension or from none. Raises Unavailable when Redis is away and limits fail closed.
        A caller who leaves cancels what they wait for."""
        decided: asyncio.Future[Quota] = self._loop.create_future()
        if not wanted and suspects is None:
            decided.set_result(UNLIMITED)
            return decided
        terms = self._terms.get(id(wanted))
        if terms is None or terms.wanted is not wanted:
            terms = self._new_terms(wanted)
        if suspects is not None:
            terms = structs.replace(terms, suspects=suspects)
        self._waiting.append(_Waiting(lease, terms, when_redis_fails, decided))
        self._came += 1
        self._schedule()
        return decided

    def _new_terms(self, wanted: Sequence[Dimension]) -> _Terms:
        if len(self._terms) >= CALLERS_KEPT_MAX:
            self._terms.clear()
        terms = self._terms[id(wanted)] = _terms(wanted)
        return terms

    def release(self, lease: str) -> None:
        """Sent with the next call; nobody waits for it."""
        held = self._held.pop(lease, None)
        if held is not None:
            self._give_back(held)
        else:  # Perhaps it was granted while Redis was away.
            self._local.release(lease)

    def _give_back(self, held: _Held) -> None:
        self._releases.append(held)
        if len(self._releases) > RELEASES_MAX:
            del self._releases[0]
        if not held.is_ahead:
            self._send_within(RELEASE_GATHER_S)
        elif self._send_at is None:  # What is sent by then is sent sooner: nothing waits longer.
            self._send_within(ahead.LAST_S)

    def weigh(self, keys: tuple[str, ...], arguments: tuple[str | int | float, ...]) -> None:
        """As a release: sent with the next call, and nobody waits for it. When Redis is away it is lost."""
        self._weights.append((keys, arguments))
        del self._weights[:-WEIGHTS_MAX]
        self._send_within(RELEASE_GATHER_S)

    async def renew(self) -> None:
        """Keeps the leases of what is still held; call it every RENEW_S. Raises nothing: an expired lease admits one more."""
        holding = list(self._held.values())
        for start in range(0, len(holding), BATCH_MAX):
            keys: list[str] = []
            arguments: list[str | int | float] = []
            for held in holding[start : start + BATCH_MAX]:
                keys += held.keys
                arguments += ("N", held.lease, self._ttl_us, len(held.keys))
            try:
                await self._call(keys, arguments)
            except Unavailable as error:
                self._note(error.message)

    async def close(self) -> None:
        """Sends the last releases, once; what Redis does not take expires."""
        for places in list(self._ahead):
            self._give_up(places)
        self._send()
        if self._calls:
            await asyncio.wait(set(self._calls))

    # -- when a call is made

    def _schedule(self) -> None:
        if self._is_scheduled:
            return
        self._is_scheduled = True
        wait_s = self._started_at + self._pace.wait_s - self._loop.time()
        if wait_s > 0:
            self._loop.call_later(wait_s, self._start)
        else:
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        """Whoever has come goes on together: those for whom a place was taken beforehand at once, the others when Redis says so."""
        self._is_scheduled = False
        now = self._loop.time()
        self._pace.came(self._came, now)
        self._came, self._started_at = 0, now
        self._waiting = [one for one in self._waiting if not (one.decided.done() or self._is_served(one, now))]
        if self._waiting:
            self._send()

    def _is_served(self, one: _Waiting, now: float) -> bool:
        if one.terms.suspects is not None:
            return False
        taken = one.terms.ahead.take(now)
        if taken is None:
            return False
        lease, decision = taken
        if one.terms.lease_keys:
            self._held[one.lease] = _Held(lease, one.terms.lease_keys, is_ahead=True)
        one.decided.set_result(decision)
        return True

    def _send_within(self, seconds: float) -> None:
        at = self._loop.time() + seconds
        if self._send_at is None or at < self._send_at:
            self._send_at = at
            self._loop.call_at(at, self._send_due, at)

    def _send_due(self, at: float) -> None:
        if at == self._send_at:  # Otherwise something more urgent was sent meanwhile, and this with it.
            self._send()

    def _send(self) -> None:
        """One call for everything that there is, unless enough are under way already."""
        self._send_at = None
        if len(self._calls) >= CALLS_MAX:
            return  # `_ended` comes back to it.
        message = _Message(
            weights=self._weights[:BATCH_MAX],
            unused=self._unused[:UNUSED_MAX],
            releases=self._releases[:BATCH_MAX],
            waiting=[one for one in self._waiting[:BATCH_MAX] if not one.decided.done()],  # The others have left.
        )
        del self._unused[:UNUSED_MAX]
        for sent in (self._weights, self._releases, self._waiting):
            del sent[:BATCH_MAX]
        if not message:
            return
        call = self._loop.create_task(self._run(message))
        self._calls.add(call)
        call.add_done_callback(self._ended)

    def _ended(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        if self._waiting:
            self._schedule()
        elif self._weights or ((self._releases or self._unused) and not self._is_degraded):
            self._send_within(RELEASE_GATHER_S)

    # -- one call

    async def _run(self, message: _Message) -> None:
        keys: list[str] = []
        arguments: list[str | int | float] = []
        for standing, weight in message.weights:
            keys += standing
            arguments += ("W", *weight)
        for unused in message.unused:
            terms = unused.terms
            keys += terms.keys
            arguments += ("U", len(terms.wanted), len(unused.places), *terms.arguments, *unused.places)
        # Releases first, so that a place given back in this turn can be taken in it.
        for held, leases in _grouped((held.keys, held.lease) for held in message.releases):
            keys += held
            arguments += ("R", len(held), len(leases), *leases)
        groups = [many for _, many in _grouped((id(one.terms), one) for one in message.waiting)]
        wished: list[list[str]] = []
        left = ahead.PLACES_PER_CALL_MAX
        now = self._loop.time()
        for many in groups:
            terms = many[0].terms
            if terms.suspects is not None:
                keys += terms.suspects.keys
                arguments += ("S", *terms.suspects.terms, len(terms.suspects.keys))
                wished.append([])
            else:
                wished.append(list(islice(self._places, terms.ahead.wish(len(many), now, left))))
                left -= len(wished[-1])
            keys += terms.keys
            arguments += ("A", self._ttl_us, len(terms.wanted), len(many), len(wished[-1]), *terms.arguments)
            arguments += [one.lease for one in many]
            arguments += wished[-1]
        try:
            reply = await self._call(keys, arguments)
        except Unavailable as error:
            self._note(error.message)
            self._releases = (message.releases + self._releases)[-RELEASES_MAX:]
            for many, places in zip(groups, wished, strict=True):
                if places:
                    many[0].terms.ahead.unanswered()
            for one in message.waiting:
                self._do_without(one, error)
            return
        self._note("")
        # Of ints, int() makes ints slowly.
        fields = iter([field if type(field) is int else int(field or 0) for field in reply])
        for many, places in zip(groups, wished, strict=True):
            terms = many[0].terms
            for one in many:
                self._settle(one, quota(one.terms.wanted, list(islice(fields, ACQUIRE_FIELDS))))
            if places:
                self._keep(terms, places, list(islice(fields, ahead.ANSWER_FIELDS)))

    def _keep(self, terms: _Terms, places: list[str], fields: Sequence[int]) -> None:
        if terms.ahead.answered(places, fields, self._loop.time()):
            self._ahead[id(places)] = _Unused(terms, places)
            self._loop.call_later(ahead.LAST_S, self._give_up, id(places))

    def _give_up(self, places: int) -> None:
        """What was taken beforehand is not waited with any longer."""
        kept = self._ahead.pop(places, None)
        if kept is not None and kept.places:
            self._unused.append(_Unused(kept.terms, list(kept.places)))
            kept.places.clear()
            self._send_within(RELEASE_GATHER_S)

    def _do_without(self, one: _Waiting, error: Unavailable) -> None:
        if one.decided.done():  # As below.
            return
        if one.when_redis_fails == "closed" and one.terms.wanted:
            one.decided.set_exception(Unavailable(error.code, error.message, retry_after_ms=1000))
        else:
            one.decided.set_result(self._local.acquire(one.lease, one.terms.wanted))

    def _settle(self, one: _Waiting, decision: Quota) -> None:
        held = _Held(one.lease, one.terms.lease_keys) if decision.allowed and one.terms.lease_keys else None
        if one.decided.done():  # Its caller left while we asked.
            if held is not None:
                self._give_back(held)
            return
        if held is not None:
            self._held[one.lease] = held
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


def script() -> str:
    return resources.files("llmproxy.edge").joinpath("limits.lua").read_text()
