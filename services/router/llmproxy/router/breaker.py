"""Keeps this router's circuits and Redis in agreement, off the request path; leases the one probe of a half-open circuit.

While Redis is away every router goes by what it hears itself: circuits still open and close, each router may send a
probe of its own, and readiness says so.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import Protocol

from llmproxy.common.bus import Bus
from llmproxy.common.channels import EVENT_CIRCUIT_CLOSED, EVENT_CIRCUIT_OPENED
from llmproxy.common.errors import Unavailable
from llmproxy.common.outcomes import Outcomes
from llmproxy.common.probes import Readiness
from llmproxy.common.redis import Value
from llmproxy.router import metrics
from llmproxy.router.circuits import (
    Change,
    Circuits,
    Closed,
    Key,
    Opened,
    Released,
    Reopened,
    Shared,
)

REFRESH_MS = 1_000  # A router that was away, or did not hear an outcome, knows of an open circuit this soon.
CHANGES_WAITING_MAX = 1_024
KEY_PREFIX = "llmproxy:{circuit}:"  # The hash tag keeps the circuits in one slot of a cluster.
INDEX = "llmproxy:{circuit}"  # The names of all circuits that Redis has.
FIELDS = 5
BETWEEN = "/"  # An endpoint's name has none.
UNLISTED = "*"  # Shown for a model that the configuration does not name: what it is called is a caller's text.

log = logging.getLogger(__name__)


class Run(Protocol):
    """Runs breaker.lua. Raises Unavailable."""

    async def __call__(self, keys: Sequence[str], arguments: Sequence[str | int | float]) -> list[Value]: ...


def script() -> str:
    return resources.files("llmproxy.router").joinpath("breaker.lua").read_text()


class Breaker:
    def __init__(
        self, circuits: Circuits, run: Run, bus: Bus, readiness: Readiness, monotonic_ms: Callable[[], int]
    ) -> None:
        self.circuits = circuits
        self._run, self._bus, self._readiness, self._monotonic_ms = run, bus, readiness, monotonic_ms
        self._endpoints: frozenset[str] = frozenset()
        self._models: frozenset[Key] = frozenset()
        self._changes: asyncio.Queue[Change] = asyncio.Queue(CHANGES_WAITING_MAX)

    def configure(self, endpoints: Iterable[str], models: Iterable[Key] = ()) -> None:
        """`models` are those that the configuration names, each at its endpoint and as it is called there."""
        self._endpoints, self._models = frozenset(endpoints), frozenset(models)

    def heard(self, batch: Outcomes) -> None:
        """Every router hears every outcome. Redis is told of changes only."""
        now_ms = self._monotonic_ms()
        for outcome in batch.outcomes:
            if outcome.endpoint not in self._endpoints:
                continue
            for change in self.circuits.record(outcome, now_ms):
                self._propose(change)

    async def lease(self, endpoint: str, model: str, request_id: str) -> bool:
        """Whether this request is the one that may find out about a half-open model, or endpoint."""
        now_ms, circuits = self._monotonic_ms(), self.circuits
        if not circuits.probeable(endpoint, model, now_ms):
            return False
        keys = circuits.between(endpoint, model)
        for key in keys:
            circuits.leased(key, now_ms)  # At once, so that this router's other requests do not ask too.
        try:
            replies = await self._call(keys, ("lease", request_id, circuits.settings.probe_lease_ms))
        except Unavailable:
            return True
        is_ours = True
        for changed, shared in replies:
            if not shared.is_open and shared.key in circuits.open and not circuits.open[shared.key].is_shared:
                continue  # Redis has not heard of this opening; the lease is ours alone.
            circuits.adopt(shared, self._monotonic_ms())
            is_ours = is_ours and (changed or not shared.is_open)
        if not is_ours:
            for key in keys:
                if key in circuits.open and not circuits.open[key].is_shared:
                    circuits.released(key)
        return is_ours

    async def keep(self) -> None:
        """Tells and asks Redis, for as long as the router runs."""
        while True:
            await self.refresh()
            due = self._monotonic_ms() + REFRESH_MS
            while (left_ms := due - self._monotonic_ms()) > 0:
                try:
                    async with asyncio.timeout(left_ms / 1000):  # Before 3.12 `wait_for` could lose its task's end.
                        change = await self._changes.get()
                except TimeoutError:
                    break
                await self._settle(change)

    async def refresh(self) -> None:
        """Learns what the other routers know."""
        circuits = self.circuits
        circuits.keep(self._endpoints, self._models, self._monotonic_ms())
        for opened in circuits.unshared():
            await self._settle(opened, is_news=False)
        try:
            known = await self._known()
            states = await self._call(known, ("read",)) if known else []
        except Unavailable:
            pass
        else:
            now_ms = self._monotonic_ms()
            for _, shared in states:
                circuits.adopt(shared, now_ms)
        self._show()

    async def _known(self) -> list[Key]:
        """The circuits that Redis has, and ours. Raises Unavailable."""
        names = await self._ask([INDEX], ("list",))
        found = dict.fromkeys(_key(name.decode()) for name in names if isinstance(name, bytes))
        return [key for key in {**found, **dict.fromkeys(self.circuits.open)} if key[0] in self._endpoints]

    def _propose(self, change: Change) -> None:
        try:
            self._changes.put_nowait(change)
        except asyncio.QueueFull:
            metrics.CIRCUIT_CHANGES_DROPPED.inc()  # The next refresh brings both sides together.
        self._show()

    async def _settle(self, change: Change, *, is_news: bool = True) -> None:
        """One compare-and-set; only the router whose proposal made the change says so to the world."""
        try:
            [(changed, shared)] = await self._call([change.key], self._arguments(change))
        except Unavailable:
            if is_news:
                self._tell(change)
            return
        self.circuits.adopt(shared, self._monotonic_ms())
        if changed:
            self._tell(change)
        self._show()

    def _arguments(self, change: Change) -> tuple[str | int, ...]:
        open_ms = self.circuits.settings.open_ms
        match change:
            case Opened():
                return ("open", change.generation, open_ms)
            case Closed():
                return ("close", change.generation)
            case Reopened():
                return ("reopen", change.probe, open_ms)
            case Released():
                return ("release", change.probe)

    def _tell(self, change: Change) -> None:
        if isinstance(change, Released):
            return
        (endpoint, _), model = change.key, self._shown(change.key)
        of_model = {"model": model} if model else {}
        if isinstance(change, Closed):
            log.warning("circuit of %s closed", _name((endpoint, model)))
            self._bus.event(EVENT_CIRCUIT_CLOSED, endpoint=endpoint, **of_model)
        else:
            log.warning("circuit of %s opened", _name((endpoint, model)))
            self._bus.event(EVENT_CIRCUIT_OPENED, endpoint=endpoint, again=isinstance(change, Reopened), **of_model)

    def _shown(self, key: Key) -> str:
        """The model's name, where it is not a caller's."""
        return key[1] if not key[1] or key in self._models else UNLISTED

    def _show(self) -> None:
        """Status pages read these notes; reading never touches a circuit."""
        keys = self.circuits.open
        names = sorted({_name((key[0], self._shown(key))) for key in keys})
        of_models = sum(1 for _, model in keys if model)
        metrics.CIRCUITS_OPEN.labels("model").set(of_models)
        metrics.CIRCUITS_OPEN.labels("endpoint").set(len(keys) - of_models)
        self._readiness.note("circuits", f"open: {', '.join(names)}" if names else "")

    async def _call(self, keys: Sequence[Key], arguments: Sequence[str | int]) -> list[tuple[bool, Shared]]:
        names = [_name(key) for key in keys]
        reply = await self._ask([INDEX, *(KEY_PREFIX + name for name in names)], (*arguments, *names))
        return [_shared(key, reply[at * FIELDS : (at + 1) * FIELDS]) for at, key in enumerate(keys)]

    async def _ask(self, keys: Sequence[str], arguments: Sequence[str | int]) -> list[Value]:
        try:
            reply = await self._run(keys, arguments)
        except Unavailable:
            self._readiness.note("redis", "no answer: circuits are this router's own view")
            raise
        self._readiness.note("redis", "")
        return reply


def _name(key: Key) -> str:
    endpoint, model = key
    return f"{endpoint}{BETWEEN}{model}" if model else endpoint


def _key(name: str) -> Key:
    endpoint, _, model = name.partition(BETWEEN)
    return endpoint, model


def _shared(key: Key, fields: Sequence[Value]) -> tuple[bool, Shared]:
    changed, generation, is_open, open_ms, probe_ms = (int(field or 0) for field in fields)
    shared = Shared(key, generation, is_open == 1, open_ms, probe_ms)
    return changed == 1, shared
