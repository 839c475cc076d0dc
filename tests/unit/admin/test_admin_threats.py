"""Standings over the admin API: asked of an edge, and forgotten only after the ledger has it."""

import asyncio
from typing import Any

from llmproxy.common.channels import THREATS_ANSWER, THREATS_ASK
from llmproxy.common.testing import FakeBroker, fake_bus
from llmproxy.common.threats import Known, ThreatsAnswer, ThreatsQuestion

HIGH = Known(kind="key", name="key_1", score=120.5, requests=130.0, step="throttled", ends_in_s=161)
SITE = Known(kind="address", name="2001:db8::/64", score=3.0, requests=3.0, step="", ends_in_s=0)
SHOWN = {"kind": "key", "name": "key_1", "score": 120.5, "requests": 130.0, "step": "throttled", "ends_in_s": 161}


class FakeEdge:
    """Remembers two callers."""

    def __init__(self, broker: FakeBroker, problem: str = "") -> None:
        self.broker, self.problem = broker, problem
        self.known = [HIGH, SITE]
        self.asked: list[ThreatsQuestion] = []
        self.recorded_before: list[int] = []

    async def serve(self) -> None:
        bus = await fake_bus(self.broker, "edge")

        async def answer(question: ThreatsQuestion) -> None:
            self.asked.append(question)
            found = [one for one in self.known if question.kind in (None, one.kind) and question.name in ("", one.name)]
            if question.clear:
                self.recorded_before.append(len(self.broker.streams["AUDIT"]))
                self.known = [one for one in self.known if one not in found]
            said = ThreatsAnswer(known=tuple(found), problem=self.problem)
            bus.publish(THREATS_ANSWER, said, address=question.address, id=question.id)

        await bus.answer_questions(THREATS_ASK, answer)


def test_standings_are_listed_shown_and_forgotten_with_a_record(start_admin: Any) -> None:
    async def scenario() -> None:
        edge = FakeEdge(FakeBroker())
        await edge.serve()
        async with start_admin(edge.broker) as admin:
            status, found = await admin.call("GET", "/api/v1/threats")
            assert (status, [one["name"] for one in found["threats"]]) == (200, ["key_1", "2001:db8::/64"])
            assert await admin.call("GET", "/api/v1/threats/key/key_1") == (200, SHOWN)
            assert (await admin.call("GET", "/api/v1/threats/address/2001:db8::%2F64"))[0] == 200
            before = len(admin.broker.streams["AUDIT"])
            assert await admin.call("DELETE", "/api/v1/threats/key/key_1") == (200, SHOWN)
            assert (admin.recorded()[-1].action, admin.recorded()[-1].subject) == ("threat.cleared", "key key_1")
            assert edge.recorded_before == [before + 1]  # First the record, then the change.
            assert (await admin.call("GET", "/api/v1/threats/key/key_1"))[0] == 404

    asyncio.run(scenario())


def test_somebody_unknown_is_a_404_and_no_change_is_recorded(start_admin: Any) -> None:
    async def scenario() -> None:
        edge = FakeEdge(FakeBroker())
        await edge.serve()
        async with start_admin(edge.broker) as admin:
            before = len(admin.recorded())
            for path in ("key/nobody", "tenant/acme"):
                assert (await admin.call("DELETE", f"/api/v1/threats/{path}"))[0] == 404
            assert len(admin.recorded()) == before
            assert not any(question.clear for question in edge.asked)

    asyncio.run(scenario())


def test_without_redis_admin_says_so(start_admin: Any) -> None:
    async def scenario() -> None:
        edge = FakeEdge(FakeBroker(), problem="Redis does not answer (TimeoutError)")
        await edge.serve()
        async with start_admin(edge.broker) as admin:
            status, body = await admin.call("GET", "/api/v1/threats")
            assert (status, body["error"]["code"]) == (503, "limits_unavailable")
            assert "Redis" in body["error"]["message"]

    asyncio.run(scenario())
