"""The ledger over the admin API: asked of the audit service, never read."""

import asyncio
from collections.abc import Callable
from typing import Any

from llmproxy.common.channels import LEDGER_ANSWER, LEDGER_QUERY, LEDGER_VERIFY
from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.ledger_questions import LedgerEntry, LedgerPage, LedgerQuery, LedgerVerified, LedgerVerify
from llmproxy.common.records import AuditRecord
from llmproxy.common.testing import FakeBroker, fake_bus

BROKEN = LedgerVerified(ok=False, records=6, problem="entry 7 is missing", at_seq=7, head="ab")


async def answering(
    broker: FakeBroker, page: Callable[[LedgerQuery], LedgerPage], verified: LedgerVerified = BROKEN
) -> None:
    """An audit service that answers with this."""
    bus = await fake_bus(broker, "audit")

    async def query(question: LedgerQuery) -> None:
        bus.publish(LEDGER_ANSWER, page(question), address=question.address, id=question.id)

    async def verify(question: LedgerVerify) -> None:
        bus.publish(LEDGER_ANSWER, verified, address=question.address, id=question.id)

    await bus.answer_questions(LEDGER_QUERY, query)
    await bus.answer_questions(LEDGER_VERIFY, verify)


def test_filters_go_to_the_audit_service_and_its_entries_come_back(start_admin: Any) -> None:
    asked: list[LedgerQuery] = []

    def page(question: LedgerQuery) -> LedgerPage:
        asked.append(question)
        why = Explained((Explanation(guard="pii", kind="email", action="block", path="input", end=9),), 1)
        record = AuditRecord(id="1", at_ms=5, verdict="blocked", model="m", cost=7, explained=why)
        return LedgerPage(entries=[LedgerEntry(seq=9, hash="ab", record=record)])

    async def scenario() -> None:
        broker = FakeBroker()
        await answering(broker, page)
        async with start_admin(broker) as admin:
            path = (
                "/api/v1/audit?from_ms=1&to_ms=9&tenant=a%20b&model=m&verdict=blocked&before_seq=10&limit=5&request=1"
            )
            status, found = await admin.call("GET", path)
            assert status == 200
            why = {"guard": "pii", "kind": "email", "action": "block", "path": "input", "end": 9}
            explained = {"findings": [why], "more": 1}
            record = {"id": "1", "at_ms": 5, "verdict": "blocked", "model": "m", "cost": 7, "explained": explained}
            assert found == {"entries": [{"seq": 9, "hash": "ab", "record": record}], "next_before_seq": 9}
            query = asked[0]
            assert (query.from_ms, query.to_ms, query.tenant, query.key) == (1, 9, "a b", None)
            assert (query.model, query.verdict, query.before_seq, query.limit) == ("m", "blocked", 10, 5)
            assert query.request == "1"
            status, proof = await admin.call("POST", "/api/v1/audit/verify", data=b"{}")
            assert status == 200
            assert proof == {
                "ok": False,
                "records": 6,
                "problem": "entry 7 is missing",
                "at_seq": 7,
                "head": "ab",
                "unsigned": 0,
                "rekeyed": [],
                "pruned": 0,
            }

    asyncio.run(scenario())


def test_when_the_database_does_not_answer_admin_says_so(start_admin: Any) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        problem = "Postgres does not answer: ConnectionRefusedError"
        unchecked = LedgerVerified(ok=False, checked=False, problem=problem)
        await answering(broker, lambda _: LedgerPage(problem=problem), unchecked)
        async with start_admin(broker) as admin:
            for method, path in (("GET", "/api/v1/audit"), ("POST", "/api/v1/audit/verify")):
                status, body = await admin.call(method, path)
                assert (status, body["error"]["code"], body["error"]["message"]) == (503, "audit_unavailable", problem)

    asyncio.run(scenario())
