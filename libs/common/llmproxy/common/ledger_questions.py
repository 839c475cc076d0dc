"""What admin may ask the audit service, and what it answers: pages of the ledger, and whether all of it is sound."""

from msgspec import Struct

from llmproxy.common.records import AuditRecord

PAGE_LIMIT = 100


class LedgerQuery(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Filters that are None match anything. Newest first; `before_seq` continues a page."""

    address: str  # Who asks; the answer goes to `ledger.answer.<address>.<id>`.
    id: str
    from_ms: int | None = None  # Inclusive.
    to_ms: int | None = None  # Exclusive.
    tenant: str | None = None
    key: str | None = None
    model: str | None = None
    verdict: str | None = None
    before_seq: int | None = None
    limit: int = PAGE_LIMIT  # At most 1,000.
    request: str | None = None  # The record's own id.


class LedgerEntry(Struct, frozen=True, kw_only=True):
    seq: int
    hash: str  # Hex.
    record: AuditRecord


class LedgerPage(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="answer", tag="page"):
    entries: list[LedgerEntry] = []
    problem: str = ""  # Why there is no answer.


class LedgerVerify(Struct, frozen=True, kw_only=True, omit_defaults=True):
    address: str
    id: str


class Rekeyed(Struct, frozen=True, kw_only=True):
    """An entry that says that another key signs from here on."""

    seq: int
    at_ms: int
    key: str  # The new public key, as the note format writes it.


class LedgerVerified(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="answer", tag="verified"):
    """`problem` names what is wrong and `at_seq` where; 0 is the signed head, or the key."""

    ok: bool
    records: int = 0
    problem: str = ""
    at_seq: int = 0
    head: str = ""  # Hex.
    unsigned: int = 0  # Of `records`, those after the signed head.
    rekeyed: tuple[Rekeyed, ...] = ()  # The newest, where the key was changed.
    pruned: int = 0  # Entries before the first of `records`: gone, as the ledger itself says.
    checked: bool = True  # False: there is no verdict, and `problem` says why.


LedgerAnswer = LedgerPage | LedgerVerified
