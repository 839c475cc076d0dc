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
from llmproxy.router.circuits import Change, Circuits, Closed, Opened, Released, Reopened, Shared

REFRESH_MS = 1_000  # A router that was away, or did not hear an outcome, knows of an open circuit this soon.
CHANGES_WAITING_MAX = 1_024
KEY_PREFIX = "llmproxy:{circuit}:"  # The hash tag keeps the circuits in one slot of a cluster.
FIELDS = 5

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
        self._endpoints: dict[str, None] = {}  # In order.
        self._changes: asyncio.Queue[Change] = asyncio.Queue(CHANGES_WAITING_MAX)

    def configure(self, endpoints: Iterable[str]) -> None:
        self._endpoints = dict.fromkeys(endpoints)

    def heard(self, batch: Outcomes) -> None:
        """Every router hears every outcome. Redis is told of changes only."""
        now_ms = self._monotonic_ms()
        for outcome in batch.outcomes:
            if outcome.endpoint not in self._endpoints:
                continue
            change = self.circuits.record(outcome, now_ms)
            if change is not None:
                self._propose(change)

    async def lease(self, endpoint: str, request_id: str) -> bool:
        """Whether this request is the one that may find out about a half-open endpoint."""
        now_ms = self._monotonic_ms()
        if not self.circuits.probeable(endpoint, now_ms):
            return False
        self.circuits.leased(endpoint, now_ms)  # At once, so that this router's other requests do not ask too.
        try:
            [(changed, shared)] = await self._call(
                [endpoint], ("lease", request_id, self.circuits.settings.probe_lease_ms)
            )
        except Unavailable:
            return True
        if not shared.is_open and endpoint in self.circuits.open and not self.circuits.open[endpoint].is_shared:
            return True  # Redis has not heard of this opening; the lease is ours alone.
        self.circuits.adopt(shared, self._monotonic_ms())
        return changed or self.circuits.callable(endpoint)

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
        self.circuits.keep(self._endpoints, self._monotonic_ms())
        for opened in self.circuits.unshared():
            await self._settle(opened, is_news=False)
        if self._endpoints:
            try:
                states = await self._call(list(self._endpoints), ("read",))
            except Unavailable:
                pass
            else:
                now_ms = self._monotonic_ms()
                for _, shared in states:
                    self.circuits.adopt(shared, now_ms)
        self._show()

    def _propose(self, change: Change) -> None:
        try:
            self._changes.put_nowait(change)
        except asyncio.QueueFull:
            metrics.CIRCUIT_CHANGES_DROPPED.inc()  # The next refresh brings both sides together.
        self._show()

    async def _settle(self, change: Change, *, is_news: bool = True) -> None:
        """One compare-and-set; only the router whose proposal made the change says so to the world."""
        try:
            [(changed, shared)] = await self._call([change.endpoint], self._arguments(change))
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
        match change:
            case Opened() | Reopened():
                log.warning("circuit of endpoint %s opened", change.endpoint)
                self._bus.event(EVENT_CIRCUIT_OPENED, endpoint=change.endpoint, again=isinstance(change, Reopened))
            case Closed():
                log.warning("circuit of endpoint %s closed", change.endpoint)
                self._bus.event(EVENT_CIRCUIT_CLOSED, endpoint=change.endpoint)
            case Released():
                pass

    def _show(self) -> None:
        """Status pages read these notes; reading never touches a circuit."""
        names = sorted(self.circuits.open)
        metrics.CIRCUITS_OPEN.set(len(names))
        self._readiness.note("circuits", f"open: {', '.join(names)}" if names else "")

    async def _call(self, endpoints: Sequence[str], arguments: Sequence[str | int]) -> list[tuple[bool, Shared]]:
        try:
            reply = await self._run([KEY_PREFIX + name for name in endpoints], arguments)
        except Unavailable:
            self._readiness.note("redis", "no answer: circuits are this router's own view")
            raise
        self._readiness.note("redis", "")
        return [_shared(name, reply[at * FIELDS : (at + 1) * FIELDS]) for at, name in enumerate(endpoints)]


def _shared(endpoint: str, fields: Sequence[Value]) -> tuple[bool, Shared]:
    changed, generation, is_open, open_ms, probe_ms = (int(field or 0) for field in fields)
    shared = Shared(endpoint, generation, is_open == 1, open_ms, probe_ms)
    return changed == 1, shared
