"""The one spelling of an audit record: the bytes that are hashed, stored and verified.

The spelling is UTF-8 JSON without white space, names in alphabetical order at every level, integers only, and fields that
have their default value left out. The bytes are stored as they were hashed and never spelled again, so a later release
that adds fields (which must have defaults) or reorders them leaves every old hash as it is.
"""

import hashlib
from typing import Any, NamedTuple

import msgspec

from llmproxy.common.records import AuditRecord

ID_CHARACTERS_MAX = 128  # Ids are UUIDs; a unique index must not meet what it cannot hold.
COLUMN_CHARACTERS_MAX = 256  # Of an indexed text column. An index entry of Postgres ends at 2,704 bytes.
INT64_MAX = (1 << 63) - 1

_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(AuditRecord)


class Columns(NamedTuple):
    """What is stored beside the bytes, to search by. Says nothing that the bytes do not say."""

    id: str
    at_ms: int
    tenant: str
    key: str
    model: str
    verdict: str


def canonical(record: AuditRecord) -> bytes:
    """The record's one spelling."""
    return _ENCODER.encode(record)


def parse(spelled: bytes) -> AuditRecord:
    """Raises msgspec.DecodeError, however it is that they cannot be read: who has written them may not have been us."""
    try:
        return _DECODER.decode(spelled)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(type(error).__name__) from None


def columns(record: AuditRecord) -> Columns:
    return Columns(
        record.id, record.at_ms, column(record.tenant), column(record.key), column(record.model), record.verdict
    )


def column(text: str) -> str:
    """As it is indexed, and as a query must ask for it."""
    return text if len(text) <= COLUMN_CHARACTERS_MAX else text[:COLUMN_CHARACTERS_MAX]


def spell(record: AuditRecord) -> tuple[AuditRecord, bytes]:
    """The record as the ledger can hold it, and its bytes. One strange record must not stop all that follow it."""
    spelled = canonical(record)
    if len(record.id) <= ID_CHARACTERS_MAX and 0 <= record.at_ms <= INT64_MAX and b"\\u0000" not in spelled:
        return record, spelled
    storable = _storable(record)
    return storable, canonical(storable)


def _storable(record: AuditRecord) -> AuditRecord:
    """Postgres has no NUL in text and no integer above 64 bits. Each change is visible in the record itself."""
    fields = _without_nul(msgspec.to_builtins(record))
    if len(record.id) > ID_CHARACTERS_MAX:
        fields["id"] = "sha256:" + hashlib.sha256(record.id.encode()).hexdigest()
    fields["at_ms"] = min(max(record.at_ms, 0), INT64_MAX)
    return msgspec.convert(fields, AuditRecord)


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "\ufffd")
        case dict():
            return {_without_nul(name): _without_nul(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_without_nul(inner) for inner in value]
    return value
