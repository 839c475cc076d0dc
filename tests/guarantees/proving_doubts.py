"""What is decided of a request that is in doubt: the judge, and the turns of a conversation together."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from guarantees.asking import HELLO, Place, wire, with_turns
from guarantees.hearing import Said
from guarantees.standing import replaced
from guarantees.trial import SECRET_WORDS, Trial

from llmproxy.common.channels import CONVERSATIONS_BUCKET
from llmproxy.common.errors import Unavailable
from llmproxy.common.segments import Segment
from llmproxy.shield import conversations
from llmproxy.shield.continuation import PREVIOUS
from llmproxy.shield.preflight import Look
from llmproxy.shield.verdict import ALLOW, Finding, Flag, Verdict

DOUBTFUL = "doubtful"


class Suspicious:
    """A guard that finds most of an attack in every text with certain words."""

    name = "injection"

    def __init__(self, of: str) -> None:
        self._of = of

    def may_hold(self, text: str) -> bool:
        return self._of in text

    def inspect(self, segment: Segment) -> Verdict:
        return Flag((Finding("injection", 0, 5, "flag", 0.35),)) if self._of in segment.text else ALLOW


VERDICT = json.dumps({"injection": True, "confidence": 0.9})
CONVICTED = json.dumps({"choices": [{"message": {"content": VERDICT}, "finish_reason": "stop"}]}).encode()


async def convicts() -> bytes:
    return CONVICTED


async def is_gone(*_: Any) -> bytes:
    raise Unavailable("stage_unavailable", SECRET_WORDS)


async def says_nothing(*_: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


async def judge(it: Trial, place: Place) -> None:
    await judged_by(it, place, convicts, "judge", 400, "content_blocked")
    assert it.gateway.records[-1].findings == {"injection": 1}


async def judge_fails(it: Trial, place: Place) -> None:
    model, principal = (says_nothing, "hasty judge") if it.cell.outcome == "is late" else (is_gone, "judge")
    await judged_by(it, place, model, principal, 503, "guard_unavailable")


async def judged_by(
    it: Trial, place: Place, model: Callable[[], Awaitable[bytes]], principal: str, status: int, code: str
) -> None:
    it.gateway.opinion.answer, before = model, it.gateway.opinion.asked
    like = next(step for step in it.gateway.preflight.steps if step.name == "injection")
    with replaced(it.gateway.preflight, "injection", Look(Suspicious(DOUBTFUL), like.priority)):
        it.refused(await it.ask(place, f"{DOUBTFUL} text", principal), status, code)
    assert it.gateway.opinion.asked == before + 1


async def trajectory(it: Trial, place: Place) -> None:
    it.needs(place.is_turn)
    like = next(step for step in it.gateway.preflight.steps if step.name == "injection")
    key = it.gateway.key("trajectory")
    sent = wire(it.route, place, f"{HELLO} 3", stream=it.stream)
    with replaced(it.gateway.preflight, "injection", Look(Suspicious(HELLO), like.priority)):
        it.answered(await it.send(with_turns(it.route.api, sent, (f"{HELLO} 1",)), key))
        long = with_turns(it.route.api, sent, (f"{HELLO} 1", f"{HELLO} 2"))
        it.refused(await it.send(long, key), 400, "content_blocked", received=1)
    assert it.gateway.records[-1].findings == {"injection.trajectory": 3}


async def trajectory_by_id(it: Trial, place: Place) -> None:
    it.needs(place.is_turn)
    async with suspicious(it):
        answered = [await goes_on(it, place, before="")]
        answered.append(await goes_on(it, place, before=answered[0].id))
        it.refused(await goes_on(it, place, before=answered[1].id), 400, "content_blocked", received=2)
    for said in answered:
        it.answered(said)
    assert it.gateway.records[-1].findings == {"injection.trajectory": 3}


async def trajectory_by_id_fails(it: Trial, place: Place) -> None:
    it.needs(place.is_turn)
    async with suspicious(it) as memory:
        said = await goes_on(it, place, before="")
        it.answered(said)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(conversations, "TIMEOUT_S", 0.005)
            patched.setattr(memory, "get", says_nothing if it.cell.outcome == "is late" else is_gone)
            it.refused(await goes_on(it, place, before=said.id), 503, "guard_unavailable", received=1)


@asynccontextmanager
async def suspicious(it: Trial) -> AsyncIterator[Any]:
    """Every turn is; and nobody has said any before."""
    like = next(step for step in it.gateway.preflight.steps if step.name == "injection")
    memory = await it.gateway.edge.stage.wire.bucket(CONVERSATIONS_BUCKET)
    memory.entries.clear()
    with replaced(it.gateway.preflight, "injection", Look(Suspicious(HELLO), like.priority)):
        yield memory


async def goes_on(it: Trial, place: Place, *, before: str) -> Said:
    sent = wire(it.route, place, f"{HELLO} again", stream=it.stream, **({PREVIOUS: before} if before else {}))
    return await it.send(sent, it.gateway.key("trajectory"))
