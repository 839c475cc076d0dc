"""`/api/v1/audit`: search the ledger, and have it proven. Admin reads no table: it asks the audit service."""

import uuid
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from llmproxy.admin.problems import Problem
from llmproxy.admin.routes import ONE_LINE, Call, Route
from llmproxy.common.bus import Bus
from llmproxy.common.channels import LEDGER_ANSWER, LEDGER_QUERY, LEDGER_VERIFY
from llmproxy.common.ledger_questions import (
    PAGE_LIMIT,
    LedgerEntry,
    LedgerPage,
    LedgerQuery,
    LedgerVerified,
    LedgerVerify,
    Rekeyed,
)
from llmproxy.common.records import Verdict

PAGE_TIMEOUT_S = 8.0  # Above the database's own limit for a query.
VERIFY_TIMEOUT_S = 610.0

Filter = Annotated[str, Meta(max_length=256, pattern=ONE_LINE)]
Instant = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Search(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in Unix milliseconds: from (inclusive), to (exclusive). Newest first; `before_seq` goes on after a page."""

    from_ms: Instant | None = None
    to_ms: Instant | None = None
    tenant: Filter | None = None
    key: Filter | None = None
    model: Filter | None = None
    verdict: Verdict | None = None
    request: Filter | None = None  # A request's id: `x-request-id` of its answer.
    before_seq: Instant | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = PAGE_LIMIT


class Found(Struct, frozen=True, kw_only=True):
    entries: list[LedgerEntry]
    next_before_seq: int | None  # None: this was the last page.


class Proof(Struct, frozen=True, kw_only=True):
    ok: bool
    records: int
    problem: str
    at_seq: int
    head: str
    unsigned: int  # Of `records`, those after the signed head.
    rekeyed: tuple[Rekeyed, ...]  # The newest entries that say that another key signs from there on.
    pruned: int  # Entries before the first of `records`: gone, as the ledger itself says.


class AuditResource:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path="/api/v1/audit",
                handle=self.search,
                summary="Entries of the ledger, newest first",
                query=Search,
                response=Found,
                problems=(503,),
            ),
            Route(
                method="POST",
                path="/api/v1/audit/verify",
                handle=self.verify,
                summary="Check every entry of the ledger against its chain and its signed head",
                response=Proof,
                problems=(503,),
            ),
        ]

    async def search(self, call: Call) -> Found:
        wanted: Search = call.query
        query = LedgerQuery(address=self._bus.address, id=uuid.uuid4().hex, **msgspec.structs.asdict(wanted))
        page = await self._bus.ask(LEDGER_QUERY, query, LEDGER_ANSWER, query.id, PAGE_TIMEOUT_S)
        if not isinstance(page, LedgerPage) or page.problem:
            raise Problem(503, "audit_unavailable", getattr(page, "problem", "") or "the audit service cannot say")
        return Found(entries=page.entries, next_before_seq=page.entries[-1].seq if page.entries else None)

    async def verify(self, _: Call) -> Proof:
        question = LedgerVerify(address=self._bus.address, id=uuid.uuid4().hex)
        found = await self._bus.ask(LEDGER_VERIFY, question, LEDGER_ANSWER, question.id, VERIFY_TIMEOUT_S)
        if not isinstance(found, LedgerVerified) or not found.checked:
            raise Problem(503, "audit_unavailable", getattr(found, "problem", "") or "the audit service cannot say")
        return Proof(**{name: getattr(found, name) for name in Proof.__struct_fields__})
