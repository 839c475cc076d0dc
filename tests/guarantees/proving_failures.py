"""How each control fails: closed, and without a word of what it read."""

import asyncio
from typing import Any

import pytest
from guarantees.asking import HELLO, MODEL_OF, Place, path, wire
from guarantees.proving_answers import answers, repeat_marker
from guarantees.proving_doubts import judge_fails, trajectory_by_id_fails
from guarantees.proving_edge import configured
from guarantees.standing import RAILS, Standing, replaced
from guarantees.trial import MAIL, SECRET_WORDS, Proof, Trial

from llmproxy.common.config import Limit, Limits
from llmproxy.common.errors import Unavailable
from llmproxy.common.plugins.host import Result
from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.edge.ingress import Body
from llmproxy.shield import inspect
from llmproxy.shield.answers import images, noise, stages, watch
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.guards.base import Fitted, Guard
from llmproxy.shield.preflight import Look
from llmproxy.shield.verdict import ALLOW, Verdict


class Broken:
    """A step, or a guard, that raises, or that is late."""

    def __init__(self, like: Any, outcome: str, gateway: Standing) -> None:
        self.name = like.name
        self.priority, self.fail = getattr(like, "priority", 0), getattr(like, "fail", "closed")
        self.timeout_ms = 1
        self._outcome, self._clock = outcome, gateway.clock
        self.asked = 0

    def run(self, context: Any) -> Any:
        self.asked += 1
        if self._outcome == "raises":
            raise RuntimeError(SECRET_WORDS)
        return never()

    def may_hold(self, text: str) -> bool:
        return HELLO in text

    def inspect(self, segment: Segment) -> Verdict:
        if HELLO not in segment.text:
            return ALLOW
        self.asked += 1
        if self._outcome == "raises":
            raise RuntimeError(SECRET_WORDS)
        self._clock.advance(3_600)
        return ALLOW


class BrokenRail(Broken, Fitted):
    """One of the operators', which is another one under each policy."""

    reads_answers = True

    def applies(self, policy: Policy) -> bool:
        return True

    def under(self, policy: Policy) -> "BrokenRail":
        return self


async def never() -> Result:
    await asyncio.Event().wait()
    raise AssertionError


async def step_fails(it: Trial, place: Place) -> None:
    """Of the edge or the router, or one of the shield's that is no guard."""
    ring = next(ring for ring in it.gateway.rings if any(step.name == it.control.step for step in ring.steps))
    like = next(step for step in ring.steps if step.name == it.control.step)
    broken = Broken(like, it.cell.outcome, it.gateway)
    with replaced(ring, it.control.step, broken):
        it.refused(await it.ask(place, HELLO), 503, "guard_unavailable")
    assert broken.asked == 1


async def guard_fails(it: Trial, place: Place) -> None:
    """Of the shield: the guard fails at the very text of the cell."""
    like = next(step for step in it.gateway.preflight.steps if step.name == it.control.step)
    broken = Broken(like, it.cell.outcome, it.gateway)
    look = Look(broken, like.priority)
    with replaced(it.gateway.preflight, it.control.step, look):
        it.refused(await it.ask(place, f"{HELLO} again", it.control.name), 503, "guard_unavailable")
    assert broken.asked == 1
    explained = it.gateway.records[-1].explained
    assert explained is not None
    assert [one.guard for one in explained.findings] == [it.control.step]
    if it.cell.outcome == "raises":  # The step around it may, too.
        it.gateway.forget()
        await step_fails(it, place)


async def redis_is_late(it: Trial, place: Place) -> None:
    """The limits' own bound has run out: they are told so as by the real Redis client."""
    strict = Limits(when_redis_fails="closed")
    with configured(it.gateway, limits=strict):
        key = it.gateway.key("default", limit=Limit(requests_per_minute=1, burst=1))
        it.refused(await it.ask(place, HELLO, key=key), 503, "limits_unavailable")


async def body_is_late(it: Trial, place: Place) -> None:
    """It is announced, and half of it comes."""
    own = Body(it.gateway.edge.settled, it.gateway.edge.bodies, idle_s=0.005, total_s=0.02)
    sent = wire(it.route, place, HELLO, stream=it.stream).json or b"--x\r\n"
    kind = b"multipart/form-data; boundary=x" if it.route.takes_form else b"application/json"
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: %b\r\nx-api-key: %b\r\nContent-Length: %d\r\n\r\n" % (
        path(it.route, MODEL_OF[it.route.api]).encode(),
        kind,
        it.gateway.key("default").encode(),
        2 * len(sent),
    )
    with replaced(it.gateway.ingress, "body", own):
        said = await it.gateway.said_to(it.route, head + sent[: len(sent) // 2])
    it.refused(said, 408, "request_timeout")


async def answer_fails(it: Trial, place: Place) -> None:
    """The step of ring 4 that reads and unmasks."""
    it.needs(place in it.answering)
    (like,) = [step for step in it.gateway.postflight.steps if step.name == it.control.step]
    broken = Broken(like, it.cell.outcome, it.gateway)
    it.says(HELLO)
    with replaced(it.gateway.postflight, it.control.step, broken):
        it.ended(await it.ask(place, f"please note {MAIL} thanks"), "guard_unavailable")
    assert broken.asked > 0


def raising(*_: Any, **__: Any) -> Any:
    raise RuntimeError(SECRET_WORDS)


PARTS: dict[str, tuple[Any, str]] = {
    "answers: invisible text": (stages, "Invisible"),
    "answers: images": (stages, "Images"),
    "answers: markup": (images, "Judge"),
    "answers: canary": (stages, "Canary"),
    "answers: leak": (stages, "Leak"),
    "answers: scripts": (images, "script"),
    "answers: images in parts": (images, "image_reason"),
    "answers: scripts in parts": (images, "script"),
    "answers: links in parts": (watch, "link_reason"),
    "answers: links": (watch, "link_reason"),
    "answers: repetition": (noise, "is_repetitive"),
    "answers: entropy": (noise, "is_random"),
}
"""What of the answers' reading keeps the promise: where it is broken."""


async def part_fails(it: Trial, place: Place) -> None:
    """A part of the answers' reading, at the very text that it is there for."""
    it.needs(place in it.answering)
    if it.control.name == "answers: canary":
        repeat_marker(it)
        principal, system = "canary", "" if place.has_system else "Be brief."
    else:
        it.says(answers(it).says, *answers(it).more)
        principal, system = "answers", answers(it).system
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(*PARTS[it.control.name], raising)
        it.ended(await it.ask(place, HELLO, principal, system=system), "guard_unavailable")


async def guard_of_answers_fails(it: Trial, place: Place) -> None:
    """A guard of the shield, at the text of the answer."""
    it.needs(place in it.answering)
    guards: list[Guard] = []
    for one in GUARDS:
        kind = BrokenRail if isinstance(one, Fitted) else Broken
        guards.append(kind(one, it.cell.outcome, it.gateway) if one.name == it.control.guard else one)
    principal = it.control.name if it.control.name in RAILS else "reading"
    it.says(f"{HELLO}: {answers(it).says}", *answers(it).more)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(inspect, "GUARDS", tuple(guards))
        it.gateway.inspect._guards.clear()
        try:
            it.ended(await it.ask(place, "hello", principal), "guard_unavailable")
        finally:
            it.gateway.inspect._guards.clear()


async def audit_fails(it: Trial, place: Place) -> None:
    """JetStream refuses, or has not answered in time: what the wire then says."""
    reason = "TimeoutError" if it.cell.outcome == "is late" else "NoStreamResponseError"

    async def commit(subject: str, payload: bytes, message_id: str) -> int:
        raise Unavailable("audit_unavailable", f"JetStream did not acknowledge ({reason})")

    bus_wire = it.gateway.edge.journal._bus.wire
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bus_wire, "commit", commit)
        said = await it.ask(place, HELLO)
    message, _ = said.error
    assert "audit" in message
    assert not said.is_complete
    assert said.is_stream or said.status == 503


def fails(it: Trial) -> Proof:
    control, late = it.control, it.cell.outcome == "is late"
    match control.name:
        case "limits" if late:
            return redis_is_late
        case "body" if late:
            return body_is_late
        case "judge":
            return judge_fails
        case "trajectory by id":
            return trajectory_by_id_fails
        case "audit":
            return audit_fails
        case "unmasking":
            return answer_fails
    if control.step == "answer":
        return guard_of_answers_fails if control.guard else part_fails
    return guard_fails if control.guard else step_fails
