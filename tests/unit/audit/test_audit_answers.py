"""What the audit service answers admin: pages that fit into a message, and problems in words."""

import asyncio
from typing import Any

import pytest
from patience import PATIENCE_S

from llmproxy.audit.answers import PAGE_BYTES_MAX, Answers, entries
from llmproxy.audit.ledger import Verification
from llmproxy.audit.record import canonical
from llmproxy.common.channels import LEDGER_ANSWER, LEDGER_QUERY, LEDGER_VERIFY
from llmproxy.common.errors import Unavailable
from llmproxy.common.ledger_questions import LedgerPage, LedgerQuery, LedgerVerified, LedgerVerify
from llmproxy.common.records import AuditRecord
from llmproxy.common.testing import FakeBroker, fake_bus


def row(seq: int, size: int = 1) -> tuple[int, bytes, bytes]:
    return seq, canonical(AuditRecord(id=str(seq), at_ms=1, verdict="failed", model="m" * size)), bytes(32)


def test_a_page_ends_before_it_is_too_large_for_a_message_but_is_never_empty() -> None:
    assert [one.seq for one in entries([row(n, 300_000) for n in range(9, 0, -1)])] == [9, 8, 7]
    assert [one.seq for one in entries([row(2, PAGE_BYTES_MAX), row(1)])] == [2]


@pytest.mark.parametrize("record", [b"not json", b'{"id":"\xff"}', b'{"x":' + b"[" * 100_000])
def test_an_entry_that_cannot_be_read_does_not_hide_the_others(record: bytes) -> None:
    assert [one.seq for one in entries([row(3), (2, record, bytes(32)), row(1)])] == [3, 1]


def test_what_the_database_cannot_answer_is_said_instead_of_nothing() -> None:
    class Gone:
        async def page(self, query: LedgerQuery) -> list[tuple[int, bytes, bytes]]:
            raise Unavailable("audit_unavailable", "Postgres does not answer: OSError")

    async def gone() -> Verification:
        raise Unavailable("audit_unavailable", "Postgres does not answer: OSError")

    async def scenario() -> None:
        broker = FakeBroker()
        audit, admin = await fake_bus(broker, "audit"), await fake_bus(broker, "admin")
        await Answers(audit, Gone(), gone).serve()
        asked: dict[str, Any] = {"address": admin.address, "id": "1"}
        page = await admin.ask(LEDGER_QUERY, LedgerQuery(**asked), LEDGER_ANSWER, "1", PATIENCE_S)
        assert page == LedgerPage(problem="Postgres does not answer: OSError")
        proof = await admin.ask(LEDGER_VERIFY, LedgerVerify(**asked), LEDGER_ANSWER, "1", PATIENCE_S)
        assert proof == LedgerVerified(ok=False, checked=False, problem="Postgres does not answer: OSError")
        await audit.drain(1)
        await admin.drain(1)

    asyncio.run(scenario())
