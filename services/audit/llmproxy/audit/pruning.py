"""Takes the oldest entries out of the ledger, so that what is left still proves itself (docs/adr/0037).

Before they go, an entry says up to which one they are gone and what its hash was; the head with that entry is signed. `verify` then
begins behind them, and finds in the chain that it may.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from llmproxy.audit import checkpoint, continuing
from llmproxy.audit.checkpoint import Signer
from llmproxy.audit.continuing import LOCK_WAIT_S, STOP
from llmproxy.audit.ledger import PRUNED, Entry, Head, Walk, change, is_pruning, said_of
from llmproxy.audit.record import Columns
from llmproxy.audit.store import Broken, Writer
from llmproxy.common.errors import GatewayError, Unavailable

ENTRIES_MAX = 4_096  # At a time: their check takes a thread some 50 ms, and the writer waits for it.
RUNNING = f"the audit service writes the ledger; {STOP}. While it runs, audit.retention_days of the configuration does the same"


async def prune(
    writer: Writer, signer: Signer, sign: Callable[[Head], Awaitable[bool]], before_ms: int, *, now_ms: int, id: str
) -> int:
    """How many entries are gone: of the oldest, up to the first one that is not from before `before_ms`; ask again until none are.

    The newest stays. `sign` writes the checkpoint. Raises Broken when they do not prove themselves: what was tampered with is evidence. Raises Unavailable.
    """
    if all(entry.at_ms >= before_ms for entry in await writer.oldest(1)):
        return 0
    oldest = [entry for entry in await writer.oldest(ENTRIES_MAX) if entry.seq < writer.head.seq]
    old = oldest[: next((at for at, entry in enumerate(oldest) if entry.at_ms >= before_ms), len(oldest))]
    # Nothing, or what only says that others are gone: its own end would be said by a new one.
    if all(is_pruning(entry) for entry in old):
        return 0
    await asyncio.to_thread(_prove, old)
    last = Head(old[-1].seq, old[-1].entry_hash)
    head = await writer.append([said(last, signer, now_ms=now_ms, id=id)])
    if not await sign(head):
        raise Unavailable("audit_unavailable", "the checkpoint cannot be written")
    await writer.forget(last.seq)
    return len(old)


def said(last: Head, signer: Signer, *, now_ms: int, id: str) -> tuple[Columns, bytes]:
    """The record that the entries up to `last` are gone. Signed by itself: who can only write the database cannot say so."""
    return change(PRUNED, f"{said_of(last)} {signer.allow(last)}", now_ms=now_ms, id=id)


async def prune_all(
    dsn: str, folder: Path, before_ms: int, *, now_ms: int, ids: Callable[[], str], wait_s: float = LOCK_WAIT_S
) -> int:
    """The same for a command, while nobody else writes. Raises GatewayError."""
    writer = await Writer.connect(dsn)
    try:
        await writer.migrate()
        await continuing.take_lock(writer, wait_s, taken=RUNNING)
        signer, _ = await continuing.begin(writer, folder)
        if signer is None:
            return 0

        async def sign(head: Head) -> bool:
            checkpoint.write(folder / checkpoint.FILE, signer.sign(head)[0])
            return True

        count = 0
        while some := await prune(writer, signer, sign, before_ms, now_ms=now_ms, id=ids()):
            count += some
        return count
    except Broken as error:
        raise GatewayError("conflict", str(error)) from None
    finally:
        writer.close()


def _prove(old: list[Entry]) -> None:
    walk = Walk()
    for entry in old:
        broken = walk.step(entry)
        if broken is not None:
            raise Broken(f"{broken.problem}; run `llmproxy audit verify`")
