"""Answers what admin asks of the threat ledger. Any edge can: what it says is Redis'."""

from llmproxy.common.bus import Bus
from llmproxy.common.channels import THREATS_ANSWER, THREATS_ASK
from llmproxy.common.errors import Unavailable
from llmproxy.common.threats import Known, ThreatsAnswer, ThreatsQuestion
from llmproxy.edge.quotas import neighbourhood
from llmproxy.edge.threats import Caller, Ledger

LISTED_MAX = 500  # The highest; an answer is one message.


class Standings:
    def __init__(self, bus: Bus, ledger: Ledger) -> None:
        self._bus, self._ledger = bus, ledger

    async def serve(self) -> None:
        await self._bus.answer_questions(THREATS_ASK, self.answer)

    async def answer(self, question: ThreatsQuestion) -> None:
        try:
            answer = ThreatsAnswer(known=tuple(await self._find(question)))
        except Unavailable as error:
            answer = ThreatsAnswer(problem=error.message)
        self._bus.publish(THREATS_ANSWER, answer, address=question.address, id=question.id)

    async def _find(self, question: ThreatsQuestion) -> list[Known]:
        """Raises Unavailable."""
        if question.kind is None:
            await self._ledger.refresh()
            return (await self._ledger.standings(list(self._ledger.known)))[:LISTED_MAX]
        name = neighbourhood(question.name) if question.kind == "address" else question.name
        caller = Caller(question.kind, name)
        known = await self._ledger.standings([caller])
        if question.clear:
            await self._ledger.forget(caller)
        return known
