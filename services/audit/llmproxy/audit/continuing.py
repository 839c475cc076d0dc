"""Whether a ledger may be gone on with, and by whom: one writer, the key that signed it, and the head that it signed last."""

import asyncio
import time
from pathlib import Path

from llmproxy.audit import checkpoint
from llmproxy.audit.checkpoint import CheckpointError, Signer
from llmproxy.audit.ledger import Head
from llmproxy.audit.store import GO_ON, Broken, Writer
from llmproxy.common.errors import GatewayError

LOCK_WAIT_S = 10.0  # A writer that will not go on holds the lock for a moment, every few seconds.
LOCK_POLL_S = 0.1
STOP = "stop it first: end `llmproxy up` (Ctrl-C, or SIGTERM to it), or the audit service where it runs by itself"


async def take_lock(writer: Writer, wait_s: float = LOCK_WAIT_S, *, taken: str) -> None:
    """For a command. Raises GatewayError, with `taken`, when another writer keeps it."""
    until = time.monotonic() + wait_s
    while not await writer.take_lock():
        if time.monotonic() >= until:
            raise GatewayError("conflict", taken)
        await asyncio.sleep(LOCK_POLL_S)


async def begin(writer: Writer, folder: Path) -> tuple[Signer | None, Head | None]:
    """The key in `folder` and the head that it signed last, which the ledger contains; neither of an empty ledger that is new.

    Raises Broken. A ledger with entries and without a signed head is not continued: with a new key and in silence its past
    could be anybody's (docs/adr/0036).
    """
    path = folder / checkpoint.FILE
    try:
        signer = checkpoint.find_signer(folder)
        if signer is None and path.exists():
            raise CheckpointError(f"{folder / checkpoint.SECRET_FILE} is not there, and its checkpoint is")
        signed = checkpoint.read(path, signer.public) if signer is not None else None
    except CheckpointError as error:
        raise Broken(f"{error}; {GO_ON}") from None
    await writer.begin(signed)
    return signer, signed
