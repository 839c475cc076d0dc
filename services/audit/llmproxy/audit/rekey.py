"""Goes on with a new signing key, in plain sight: the ledger's own next entry names it, and the new key signs that entry.

For a key or a checkpoint that is lost, or a key that somebody else may have. What there was of them is set aside, not deleted.
"""

from pathlib import Path

from llmproxy.audit import checkpoint, pruning
from llmproxy.audit.checkpoint import CheckpointError, Signer
from llmproxy.audit.continuing import LOCK_WAIT_S, STOP, take_lock
from llmproxy.audit.ledger import REKEYED, Head, change
from llmproxy.audit.store import Broken, Writer
from llmproxy.common.errors import GatewayError
from llmproxy.common.ledger_questions import Rekeyed


async def rekey(dsn: str, folder: Path, *, id: str, now_ms: int, wait_s: float = LOCK_WAIT_S) -> Rekeyed:
    """`folder` is where the audit service keeps its key. Raises GatewayError that names the fix.

    The new key is there before the entry that names it, and its checkpoint comes last: whenever this is interrupted, the
    ledger has no signed head, the audit service does not go on, and asking again is safe.
    """
    writer = await Writer.connect(dsn)
    try:
        await writer.migrate()
        await take_lock(writer, wait_s, taken=f"the audit service writes the ledger and sees nothing wrong; {STOP}")
        await writer.resume()
        if writer.head.seq == 0:
            raise GatewayError("conflict", "the ledger is empty; a key is made when the audit service starts")
        signer = _changed(folder, f"until-entry-{writer.head.seq}-{now_ms}")
        key = checkpoint.vkey(signer.public)
        named = await writer.append([change(REKEYED, key, now_ms=now_ms, id=id)])
        head = named
        [oldest] = await writer.oldest(1)
        if oldest.seq > 1:  # What the old key said of the entries before it, nobody could check any more.
            last = Head(oldest.seq - 1, oldest.prev_hash)
            head = await writer.append([pruning.said(last, signer, now_ms=now_ms, id=f"{id}-pruned")])
        checkpoint.write(folder / checkpoint.FILE, signer.sign(head)[0])
        return Rekeyed(seq=named.seq, at_ms=now_ms, key=key)
    except Broken as error:
        raise GatewayError("conflict", str(error)) from None
    finally:
        writer.close()


def _changed(folder: Path, aside: str) -> Signer:
    """A new key, and no checkpoint."""
    try:
        checkpoint.set_aside(folder, aside)
        return checkpoint.open_signer(folder)
    except CheckpointError as error:
        raise GatewayError("conflict", str(error)) from None
