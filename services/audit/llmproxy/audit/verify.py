"""Proves the ledger: every entry, in order, against its hash, its columns, the entry before it and the signed checkpoint.

Needs read access to the table, the checkpoint and the public key; trusts nothing else, and no running service.
"""

from pathlib import Path

import msgspec

from llmproxy.audit import checkpoint, record, store
from llmproxy.audit.checkpoint import CheckpointError
from llmproxy.audit.ledger import Verification, Walk
from llmproxy.audit.store import Broken
from llmproxy.common.errors import GatewayError
from llmproxy.common.ledger_questions import LedgerQuery
from llmproxy.common.records import AuditRecord


async def verify(dsn: str, checkpoint_path: Path, public_key_path: Path) -> Verification:
    """Memory is flat. Raises Unavailable when Postgres does not answer."""
    try:
        public = checkpoint.read_public(public_key_path)
        # Read before the table: entries are committed first and signed afterwards.
        signed = checkpoint.read(checkpoint_path, public)
    except CheckpointError as error:
        return Verification(ok=False, records=0, problem=str(error))
    if signed is None:  # The writer signs before the first entry, too.
        return Verification(ok=False, records=0, problem=f"there is no checkpoint at {checkpoint_path}")
    walk = Walk(signed, checkpoint.vkey(public), lambda last, signature: checkpoint.is_allowed(last, signature, public))
    try:
        async with store.entries(dsn) as entries:
            async for entry in entries:
                broken = walk.step(entry)
                if broken is not None:
                    return broken
    except Broken as error:
        return walk.unreadable(str(error))
    return walk.finish()


def unreadable_key(path: Path) -> str:
    """Why nothing can be proved with the public key at `path`; "" when something can."""
    try:
        checkpoint.read_public(path)
    except CheckpointError as error:
        return str(error)
    return ""


async def record_of(dsn: str, request_id: str) -> AuditRecord | None:
    """What the ledger says of one request. Raises GatewayError."""
    async with store.Reader.open(dsn) as reader:
        rows = await reader.page(LedgerQuery(address="", id="", request=request_id, limit=1))
    try:
        return record.parse(rows[0][1]) if rows else None
    except msgspec.DecodeError:
        raise GatewayError("conflict", f"entry {rows[0][0]} is no record; {store.LOOK}") from None
