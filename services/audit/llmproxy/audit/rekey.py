"""Goes on with a new signing key, in plain sight: the ledger's own next entry names it, and the new key signs that entry.

For a key or a checkpoint that is lost, or a key that somebody else may have. What there was of them is set aside, not deleted.
"""

import asyncio
import time
from pathlib import Path

from llmproxy.audit import checkpoint
from llmproxy.audit.checkpoint import CheckpointError, Signer
from llmproxy.audit.ledger import CHANGED, REKEYED
from llmproxy.audit.record import columns, spell
from llmproxy.audit.store import Writer
from llmproxy.common.errors import GatewayError
from llmproxy.common.ledger_questions import Rekeyed
from llmproxy.common.records import AuditRecord

TENANT = "-"  # Administration belongs to no tenant.
LOCK_WAIT_S = 10.0  # A writer that will not go on holds the lock for a moment, every few seconds.
LOCK_POLL_S = 0.1


async def rekey(dsn: str, folder: Path, *, id: str, now_ms: int, wait_s: float = LOCK_WAIT_S) -> Rekeyed:
    """`folder` is where the audit service keeps its key. Raises GatewayError that names the fix.

    The new key is there before the entry that names it, and its checkpoint comes last: whenever this is interrupted, the
    ledger has no signed head, the audit service does not go on, and asking again is safe.
    """
    writer = await Writer.connect(dsn)
    try:
        await writer.migrate()
        await _take_lock(writer, wait_s)
        await writer.resume()
        if writer.head.seq == 0:
            raise GatewayError("conflict", "the ledger is empty; a key is made when the audit service starts")
        signer = _changed(folder, f"until-entry-{writer.head.seq}-{now_ms}")
        key = checkpoint.vkey(signer.public)
        record = AuditRecord(id=id, at_ms=now_ms, verdict=CHANGED, tenant=TENANT, action=REKEYED, subject=key)
        storable, spelled = spell(record)
        head = await writer.append([(columns(storable), spelled)])
        checkpoint.write(folder / checkpoint.FILE, signer.sign(head)[0])
        return Rekeyed(seq=head.seq, at_ms=now_ms, key=key)
    finally:
        writer.close()


def _changed(folder: Path, aside: str) -> Signer:
    """A new key, and no checkpoint."""
    try:
        checkpoint.set_aside(folder, aside)
        return checkpoint.open_signer(folder)
    except CheckpointError as error:
        raise GatewayError("conflict", str(error)) from None


async def _take_lock(writer: Writer, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while not await writer.take_lock():
        if time.monotonic() >= until:
            raise GatewayError("conflict", "the audit service writes the ledger and sees nothing wrong; stop it first")
        await asyncio.sleep(LOCK_POLL_S)
