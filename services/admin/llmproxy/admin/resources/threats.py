"""`/api/v1/threats`: who stands out by what the guards found in their requests. Admin asks an edge, which asks Redis."""

import uuid
from collections.abc import Sequence

from msgspec import Struct

from llmproxy.admin import problems
from llmproxy.admin.changes import Changes
from llmproxy.admin.problems import Problem
from llmproxy.admin.routes import Call, Route
from llmproxy.common.bus import Bus
from llmproxy.common.channels import THREATS_ANSWER, THREATS_ASK
from llmproxy.common.threats import KINDS, Kind, Known, ThreatsQuestion

TIMEOUT_S = 1.0


class Standing(Known, frozen=True, kw_only=True):
    """A caller that the ledger remembers: its score, and what follows from it."""


class Standings(Struct, frozen=True):
    threats: list[Standing]  # The highest score first.


class ThreatsResource:
    def __init__(self, bus: Bus, changes: Changes) -> None:
        self._bus, self._changes = bus, changes

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path="/api/v1/threats",
                handle=self.list,
                summary="Callers that the threat ledger remembers, the highest score first",
                response=Standings,
                problems=(503,),
            ),
            Route(
                method="GET",
                path="/api/v1/threats/{kind}/{id}",
                handle=self.show,
                summary="One caller's standing",
                response=Standing,
                problems=(404, 503),
            ),
            Route(
                method="DELETE",
                path="/api/v1/threats/{kind}/{id}",
                handle=self.clear,
                summary="Forget what is held against a caller, at once",
                response=Standing,
                problems=(404, 503),
            ),
        ]

    async def list(self, _: Call) -> Standings:
        return Standings([view(one) for one in await self._ask(None, "")])

    async def show(self, call: Call) -> Standing:
        return view(self._one(await self._ask(kind_of(call), call.path["id"]), call))

    async def clear(self, call: Call) -> Standing:
        kind, name = kind_of(call), call.path["id"]
        known = self._one(await self._ask(kind, name), call)
        await self._changes.record("threat.cleared", f"{kind} {known.name}", call.actor)
        await self._ask(kind, name, clear=True)
        return view(known)

    def _one(self, known: Sequence[Known], call: Call) -> Known:
        if not known:
            raise problems.not_found(f"nothing is held against that {call.path['kind']}; see /api/v1/threats")
        return known[0]

    async def _ask(self, kind: Kind | None, name: str, *, clear: bool = False) -> tuple[Known, ...]:
        question = ThreatsQuestion(address=self._bus.address, id=uuid.uuid4().hex, kind=kind, name=name, clear=clear)
        answer = await self._bus.ask(THREATS_ASK, question, THREATS_ANSWER, question.id, TIMEOUT_S)
        if answer.problem:
            raise Problem(503, "limits_unavailable", answer.problem)
        return answer.known


def kind_of(call: Call) -> Kind:
    for kind in KINDS:
        if kind == call.path["kind"]:
            return kind
    raise problems.not_found(f"there is no such kind of caller; one of {', '.join(KINDS)}")


def view(known: Known) -> Standing:
    return Standing(**{name: getattr(known, name) for name in Standing.__struct_fields__})
