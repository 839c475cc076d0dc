"""Every change is in the ledger's stream before it takes effect: what cannot be recorded is not done.

The record is therefore of an intent. When the change then fails (somebody else was faster, the bus went away), the caller is told, and a
second record says so where that can be done.
"""

import time
import uuid
from collections.abc import Callable

from llmproxy.admin.routes import Actor
from llmproxy.common.bus import Bus
from llmproxy.common.channels import AUDIT
from llmproxy.common.records import ADMINISTRATION, AuditBatch, AuditRecord


class Changes:
    def __init__(self, bus: Bus, now: Callable[[], float] = time.time) -> None:
        self._bus, self._now = bus, now

    async def record(self, action: str, subject: str, actor: Actor) -> None:
        """Returns once JetStream has it. Raises Unavailable."""
        record = AuditRecord(
            id=str(uuid.uuid4()),
            at_ms=int(self._now() * 1000),
            verdict="changed",
            tenant=ADMINISTRATION,
            principal=actor.principal,
            client_ip=actor.client_ip,
            instance=self._bus.instance,
            action=action,
            subject=subject,
        )
        await self._bus.commit(AUDIT, AuditBatch(self._bus.instance, [record]), record.id, tenant=ADMINISTRATION)
