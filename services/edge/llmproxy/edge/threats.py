"""The threat ledger: weighs what the guards said of a request for whoever sent it, and says who stands behind the next one.

Nobody whom the ledger does not know costs a command. Which callers it knows, each edge reads every two seconds (docs/adr/0023).
"""

from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, Protocol

from msgspec import Struct

from llmproxy.common import threats
from llmproxy.common.errors import Unavailable
from llmproxy.common.explanations import Explained
from llmproxy.common.keyring import KeyRecord
from llmproxy.common.plugins.host import Block
from llmproxy.common.threats import FORGOTTEN, GATE, KINDS, SHRINK, Kind, Known, Step, Threats
from llmproxy.edge import metrics
from llmproxy.edge.limits import Limiter
from llmproxy.edge.quotas import Quota, Suspects, neighbourhood

REFRESH_S = 2.0
KNOWN_MAX = 4_096  # Of each kind; those that would be forgotten first are forgotten at once.
BURST = 10  # Requests at once of somebody who is slowed.
TOLD_EVERY_S = 60.0  # An event about the same caller.
TOLD_MAX = 4_096
MODES = {"off": 0, "shadow": 1, "throttle": 2, "lock": 3}
MINUTE_US, SECOND_US = 60_000_000, 1_000_000
HASH_TAG = "llmproxy:{limits}"  # As the limits': one script call touches both.


class Call(Protocol):
    """`threats.lua`, or a fake. Raises Unavailable within its time budget."""

    async def __call__(self, keys: Sequence[str], arguments: Sequence[str | int | float]) -> Sequence[Any]: ...


class Caller(Struct, frozen=True):
    """Whom a standing is about."""

    kind: Kind
    name: str

    @property
    def standing_key(self) -> str:
        return f"{HASH_TAG}:threat:{self.kind}:{self.name}"

    @property
    def index_key(self) -> str:
        return index_key(self.kind)


def index_key(kind: Kind) -> str:
    return f"{HASH_TAG}:threats:{kind}"


def sender(record: KeyRecord, end_user: str = "") -> tuple[Caller, ...]:
    """Who is behind a request with a good key, the most specific first: an end user alone, where the application is trusted to name
    them, or else the key and whom it belongs to."""
    if end_user:
        return (Caller("user", f"{record.id}.{end_user}"),)
    key = Caller("key", record.id)
    return (key, Caller("principal", _principal(record))) if record.principal else (key,)


def _principal(record: KeyRecord) -> str:
    """A slash in the tenant's name is written as in a URL: no two principals are one."""
    return f"{record.tenant.replace('%', '%25').replace('/', '%2F')}/{record.principal}"


def place(address: str) -> Caller:
    """Who is behind a request without a good key."""
    return Caller("address", neighbourhood(address))


class Ledger:
    """What this edge knows of the callers that stand out, and where it says who does."""

    def __init__(
        self,
        limiter: Limiter,
        call: Call,
        settings: Callable[[], Threats],
        *,
        monotonic: Callable[[], float],
        tell: Callable[[Step, Caller], None] = lambda step, caller: None,
    ) -> None:
        self._limiter, self._call, self._settings = limiter, call, settings
        self._monotonic, self._tell = monotonic, tell
        self._told: dict[tuple[Caller, Step], float] = {}
        self.known: set[Caller] = set()

    @property
    def settings(self) -> Threats:
        return self._settings()

    # -- before the verdict

    def suspects(self, candidates: Sequence[Caller]) -> Suspects | None:
        """Those to ask about; None, nearly always, when none of them is known."""
        if not self.known or self.settings.mode == "off" or self.known.isdisjoint(candidates):
            return None
        return Suspects(tuple(caller.standing_key for caller in candidates), _terms(self.settings))

    async def ask(self, lease: str, suspects: Suspects) -> Quota:
        """Of these alone, without any limit. When Redis is away nobody stands out."""
        return await self._limiter.acquire(lease, (), "local", suspects)

    def seen(self, quota: Quota, candidates: Sequence[Caller]) -> Block | None:
        """Tells what came of asking, and refuses whom the mode says to refuse."""
        if not quota.suspect:
            return None
        caller = candidates[quota.suspect - 1]
        step: Step = "locked" if quota.suspect_locked else "throttled"
        metrics.THREATS.labels(caller.kind, step, self.settings.mode).inc()
        self._told_of(step, caller)
        if quota.allowed or quota.kind not in ("throttled", "locked"):
            return None
        wait_ms = max(1, quota.retry_after_ms)
        if quota.kind == "locked":
            return Block("caller_locked", LOCKED, retry_after_ms=wait_ms)
        return Block("caller_throttled", THROTTLED, retry_after_ms=wait_ms)

    def _told_of(self, step: Step, caller: Caller) -> None:
        now = self._monotonic()
        if now < self._told.get((caller, step), 0.0):
            return
        if len(self._told) >= TOLD_MAX:
            self._told.clear()
        self._told[caller, step] = now + TOLD_EVERY_S
        self._tell(step, caller)

    # -- after it

    def weigh(self, record: KeyRecord, end_user: str, explained: Explained | None) -> None:
        weight = threats.weight(explained, self.settings)
        if weight:
            for caller in sender(record, end_user):
                self._add(caller, weight)

    def weigh_guess(self, address: str) -> None:
        """A request from there came without a good key."""
        if self.settings.weights.unauthenticated:
            self._add(place(address), self.settings.weights.unauthenticated)

    def _add(self, caller: Caller, weight: float) -> None:
        settings = self.settings
        if settings.mode == "off":
            return
        metrics.THREATS_WEIGHED.labels(caller.kind).inc()
        half_life_us = settings.half_life_s * SECOND_US
        terms = (half_life_us, settings.throttle, settings.lock, settings.share, FORGOTTEN, weight, caller.name)
        self._limiter.weigh((caller.standing_key, caller.index_key), terms)
        if len(self.known) < KNOWN_MAX * len(KINDS):  # The next reading says who is kept.
            self.known.add(caller)

    # -- with the other edges, and with operators

    async def refresh(self) -> None:
        """Reads who is known; call it every REFRESH_S. While Redis is away, what was known stays so."""
        if self.settings.mode == "off":
            self.known.clear()
            return
        try:
            named = await self._call([index_key(kind) for kind in KINDS], ["K", KNOWN_MAX])
        except Unavailable:
            return
        self.known = {Caller(kind, name.decode()) for kind, names in zip(KINDS, named, strict=True) for name in names}
        metrics.THREATS_KNOWN.set(len(self.known))

    async def standings(self, wanted: Sequence[Caller]) -> list[Known]:
        """What is known of these, the highest score first. Raises Unavailable."""
        if not wanted:
            return []
        now_us, *values = await self._call([caller.standing_key for caller in wanted], ["G"])
        settings = self.settings
        found = [
            _known(caller, threats.parse(value, int(now_us), settings), settings)
            for caller, value in zip(wanted, values, strict=True)
            if value
        ]
        return sorted(found, key=lambda one: -one.score)

    async def forget(self, caller: Caller) -> None:
        """Raises Unavailable. The other edges know it two seconds later, and until then ask about nobody."""
        await self._call([caller.standing_key, caller.index_key], ["F", caller.name])
        self.known.discard(caller)


def _known(caller: Caller, standing: threats.Standing, settings: Threats) -> Known:
    step = threats.step(standing, settings)
    return Known(
        kind=caller.kind,
        name=caller.name,
        score=round(standing.score, 2),
        requests=round(standing.requests, 2),
        step=step,
        ends_in_s=round(threats.ends_in_s(standing, settings)) if step else 0,
    )


def _terms(settings: Threats) -> tuple[int | float, ...]:
    return (
        settings.half_life_s * SECOND_US,
        settings.throttle,
        settings.lock,
        settings.share,
        MINUTE_US / settings.requests_per_minute,
        BURST,
        SHRINK,
        GATE,
        MODES[settings.mode],
    )


def script() -> str:
    return resources.files("llmproxy.edge").joinpath("threats.lua").read_text()


THROTTLED = "the guards found too much in what you sent of late; it goes on slowly: retry after the time given"
LOCKED = "the guards found too much in what you sent of late; you are refused for the time given, or until the operator says so"
