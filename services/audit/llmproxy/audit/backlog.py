"""How far the ledger is behind the stream: measured by every instance, whether or not it writes, and told when it is for long."""

import asyncio
import time
from collections.abc import Callable

from llmproxy.audit import metrics
from llmproxy.common.bus import Bus
from llmproxy.common.channels import AUDIT
from llmproxy.common.errors import Unavailable
from llmproxy.common.probes import Readiness

LOOK_EVERY_S = 5.0
LATE_S = 60.0  # What has waited so long is late: a record is in the ledger within a second.
LONG_S = 300.0
"""Late so long without a break is no restart of Postgres any more. A process has seen that itself, so that a rolling restart goes on."""


class Backlog:
    def __init__(self, bus: Bus, readiness: Readiness, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bus, self._readiness, self._monotonic = bus, readiness, monotonic
        self._late_since: float | None = None

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        try:
            waiting = await self._bus.waiting(AUDIT)
        except Unavailable:
            return  # Nobody knows; that NATS is away is told by who needs it.
        metrics.WAITING.set(waiting.messages)
        metrics.BEHIND.set(waiting.oldest_s)
        now = self._monotonic()
        if waiting.oldest_s < LATE_S:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        is_long = self._late_since is not None and now - self._late_since >= LONG_S
        why = f"records have waited in JetStream for more than {LONG_S / 60:.0f} minutes; the log says why"
        self._readiness.block("backlog", why if is_long else "")
