"""Whether the whole path works: an empty request walks it, at most once a second, and says which part does not."""

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from llmproxy.common.bus import Bus
from llmproxy.common.config import Firewall, Snapshot
from llmproxy.common.envelope import Envelope
from llmproxy.common.probes import Readiness
from llmproxy.edge.exchange import Exchanges
from llmproxy.edge.firewall import CATEGORIES

PROBE_S = 1.0  # The probe's patience, and how long its answer is good for.
TENANT = "-"


def show_audit(readiness: Readiness, trouble: str, mode: Literal["strict", "relaxed"]) -> None:
    """Strict: no answer leaves before its record is safe, so this edge serves nobody. Relaxed: records wait on disk."""
    readiness.block("audit", trouble if mode == "strict" else "")
    readiness.note("audit", f"{trouble}; records wait on disk" if trouble and mode == "relaxed" else "")


def show_firewall(readiness: Readiness, snapshot: Snapshot) -> None:
    readiness.note("firewall", _missing(snapshot.config.firewall))


def _missing(firewall: Firewall) -> str:
    """Of what is shipped; "" when all of it is in force. Disabling one signature after the other is switching it off, too."""
    if not firewall.enabled:
        return "switched off: what callers write is looked at by the shield alone"
    categories = sorted(CATEGORIES.intersection(firewall.disabled))
    single = len(set(firewall.disabled).difference(CATEGORIES))
    said = [f"all of {', '.join(categories)}"] if categories else []
    said += [f"{single} more by id" if said else f"{single} by id"] if single else []
    return f"signatures are disabled: {', and '.join(said)}" if said else ""


class PathProbe:
    """Walks edge → shield → router → worker and back. Callers that come together share one walk."""

    def __init__(
        self,
        bus: Bus,
        exchanges: Exchanges,
        *,
        keys_loaded: Callable[[], bool],
        new_id: Callable[[], str],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        timeout_s: float = PROBE_S,
    ) -> None:
        self._bus, self._exchanges = bus, exchanges
        self._keys_loaded, self._new_id = keys_loaded, new_id
        self._wall, self._monotonic, self._timeout_s = wall, monotonic, timeout_s
        self._walking: asyncio.Task[None] | None = None
        self._checked_at = float("-inf")
        self.blockers: dict[str, str] = {}  # What did not work when we last looked.

    async def check(self) -> None:
        """Brings `blockers` up to date; a walk younger than a second is good enough."""
        if self._walking is None:
            if self._monotonic() - self._checked_at < self._timeout_s:
                return
            self._walking = asyncio.create_task(self._check())
        await asyncio.shield(self._walking)

    async def _check(self) -> None:
        try:
            found = {
                "keys": "" if self._keys_loaded() else "the API keys are not loaded; is admin running?",
                "nats": "" if self._bus.wire.connected else "not connected to NATS",
                "path": await self._walk(),
            }
            self.blockers = {name: text for name, text in found.items() if text}
        finally:
            self._checked_at, self._walking = self._monotonic(), None

    async def _walk(self) -> str:
        envelope = Envelope(
            id=self._new_id(),
            tenant=TENANT,
            api="probe",
            deadline_ms=int((self._wall() + self._timeout_s) * 1000),
            edge=self._bus.address,
            reply_to=self._bus.address,
        )
        exchange = self._exchanges.open(envelope)
        try:
            async with asyncio.timeout(self._timeout_s):
                await exchange.done
            failure = exchange.failure
        except TimeoutError:
            self._exchanges.abandon(exchange, lambda _: None)
            failure = exchange.again_for  # What a caller would hear after gateway.grace_ms, which is longer.
            if failure is None:
                return "a probe of the whole path got no answer in time; `llmproxy status` says who is quiet"
        return "" if failure is None else f"{failure.stage or 'path'}: {failure.message}"
