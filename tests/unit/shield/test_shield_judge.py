"""The judge: asked about what is in doubt and about nothing else, believed only in the one form, and never its own judge."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from patience import PATIENCE_S
from unit.shield.test_shield_trajectory import Saying

from llmproxy.common import keyring
from llmproxy.common.bus import Answer, Bus
from llmproxy.common.channels import REQUEST_INSPECT, REQUEST_ROUTE
from llmproxy.common.config import Config, Snapshot
from llmproxy.common.config_watch import ConfigWatch
from llmproxy.common.envelope import Envelope
from llmproxy.common.errors import Unavailable
from llmproxy.common.explanations import Explanation
from llmproxy.common.frames import Failure, Frame
from llmproxy.common.judge import Judge
from llmproxy.common.policy import Injection, Policy
from llmproxy.common.testing import FakeBroker, FakeClock, envelope, fake_bus
from llmproxy.shield import postflight, preflight
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.inspect import Inspect
from llmproxy.shield.inspection import DOUBT_CHARS_MAX, DOUBTS_MAX
from llmproxy.shield.judge import AT_ONCE_MAX, FAILED_TOLD, KEPT_S, WAITING_MAX, Judges, Opinion, opinion, question

KEY = "llm-the-judges-own-key"
TENANT_KEY = b"the key of a tenant"
PATIENT_MS = 1_000 * int(PATIENCE_S)
SETTINGS = Judge(model="small", low=0.3, timeout_ms=PATIENT_MS)
STANDING_STILL = FakeClock()
DOUBTFUL, CLEAN, CERTAIN = "p=0.5 do as I say", "p=0.1 hello", "p=0.9 attack"


def policy(mode: Any = "block", **judge: Any) -> Policy:
    return Policy(
        injection=Injection(mode=mode, user=0.66, judge=Judge(**{"model": "small", "timeout_ms": PATIENT_MS, **judge}))
    )


def completion(content: str, choices: int = 1) -> bytes:
    message = {"role": "assistant", "content": content}
    return json.dumps({"id": "1", "choices": [{"index": n, "message": message} for n in range(choices)]}).encode()


def says(injection: bool, confidence: float = 0.9) -> bytes:
    return completion(json.dumps({"injection": injection, "confidence": confidence}))


class Model:
    """Answers with this, and remembers what it was asked."""

    def __init__(self, answer: bytes | Exception | None) -> None:
        self.answer = answer  # None: never.
        self.asked: list[dict[str, Any]] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, body: bytes) -> bytes:
        self.asked.append(json.loads(body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            if self.answer is None:
                await asyncio.Event().wait()
            if isinstance(self.answer, Exception):
                raise self.answer
            assert self.answer is not None
            return self.answer
        finally:
            self.at_once -= 1


def judges_of(model: Model, clock: Callable[[], float] = STANDING_STILL) -> Judges:
    return Judges(model, KEY, nonce=lambda: "n0nce", clock=clock)


class HereOffload:
    async def examine(self, order: Order, caller: str = "") -> Examined | Refused:
        return examine(order, preflight.pipeline((Saying(),)), FakeClock())


class Around:
    """An edge and a router around one shield."""

    def __init__(self, edge: Bus) -> None:
        self.edge = edge
        self.came: asyncio.Queue[Envelope | Frame] = asyncio.Queue()

    async def send(self, content: str, **fields: Any) -> Envelope | Frame:
        """What came of it: it was routed, or there is an answer already."""
        body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": content}]}).encode()
        sent = envelope(edge=self.edge.address, reply_to=self.edge.address, body=Raw(body), **fields)
        self.edge.expect(sent, lambda frames: [self.came.put_nowait(frame) for frame in frames] and None)
        self.edge.forward(REQUEST_INSPECT, sent)
        async with asyncio.timeout(PATIENCE_S):
            return await self.came.get()


def shield(scenario: Callable[[Around], Awaitable[None]], wanted: Policy, judges: Judges | None) -> None:
    async def main() -> None:
        broker = FakeBroker()
        edge, router, own = [await fake_bus(broker, name) for name in ("edge", "router", "shield")]
        inspect = Inspect(
            own,
            ConfigWatch(snapshot=Snapshot(revision=1, config=Config(policy=wanted))),
            preflight=preflight.pipeline((Saying(),)),
            postflight=postflight.pipeline(),
            offload=HereOffload(),  # type: ignore[arg-type]
            judges=judges,
            mask_secret=b"secret",
            clock=FakeClock(),
            now=time.time,
        )
        around = Around(edge)

        def route(one: Envelope, _: Answer) -> None:
            around.came.put_nowait(one)

        await own.serve(REQUEST_INSPECT, inspect, max_in_flight=8)
        await router.serve(REQUEST_ROUTE, route, max_in_flight=8)
        await scenario(around)
        for bus in (edge, router, own):
            await bus.drain(0.1)

    asyncio.run(main())


def outcome(content: str, wanted: Policy, model: Model | None, **fields: Any) -> Envelope | Frame:
    came: list[Envelope | Frame] = []

    async def scenario(around: Around) -> None:
        came.append(await around.send(content, **fields))

    shield(scenario, wanted, judges_of(model) if model is not None else None)
    return came[0]


def test_what_is_in_doubt_and_judged_an_attack_is_refused_and_says_who_said_so() -> None:
    model = Model(says(True, 0.8))
    came = outcome(DOUBTFUL, policy(), model)
    assert isinstance(came, Failure)
    assert (came.code, came.param) == ("content_blocked", "messages[0].content")
    assert came.findings == {"injection": 1}
    assert came.explained is not None
    assert came.explained.findings == (
        Explanation(guard="judge", kind="injection", action="block", path="messages[0].content", end=5, per_mille=800),
    )
    assert len(model.asked) == 1


@pytest.mark.parametrize("content", [CLEAN, "hello", CERTAIN])
def test_nobody_is_asked_about_what_is_not_in_doubt(content: str) -> None:
    model = Model(says(True))
    outcome(content, policy(), model)
    assert model.asked == []


@pytest.mark.parametrize("answer", [says(False), says(True, 0.3)], ids=["it is none", "it is not sure enough"])
def test_what_the_judge_does_not_hold_for_an_attack_goes_on(answer: bytes) -> None:
    assert isinstance(outcome(DOUBTFUL, policy(), Model(answer)), Envelope)


def test_the_judge_cannot_acquit_what_is_above_the_threshold() -> None:
    assert isinstance(outcome(CERTAIN, policy(), Model(says(False, 1.0))), Failure)


@pytest.mark.parametrize("mode", ["flag", "alert", "shadow"])
def test_in_other_modes_it_is_recorded_and_passes(mode: Any) -> None:
    came = outcome(DOUBTFUL, policy(mode), Model(says(True)))
    assert isinstance(came, Envelope)
    assert came.findings == {"injection.shadow" if mode == "shadow" else "injection": 1}


UNUSABLE = [
    completion("SAFE"),
    completion("UNSAFE"),
    completion('I think {"injection": true, "confidence": 1}'),
    completion('{"injection": true}'),
    completion('{"injection": "true", "confidence": 1}'),
    completion('{"injection": true, "confidence": 7}'),
    completion('{"injection": false, "confidence": 1, "because": "…"}'),
    completion('{"injection": true, "injection": false, "confidence": 1}'),
    completion('{"injection": false, "confidence": 1}', choices=2),
    completion("[" * 2_000),
    b"",
    b"\xff",
    b'{"choices": []}',
    b'{"choices": [{"message": {"content": null}}]}',
]


@pytest.mark.parametrize("answer", UNUSABLE)
def test_anything_but_the_one_form_is_a_failure_and_no_opinion(answer: bytes) -> None:
    assert opinion(answer) is None


@given(st.binary(max_size=64) | st.text(max_size=64).map(completion))
def test_no_other_answer_is_ever_an_opinion(answer: bytes) -> None:
    assert opinion(answer) is None


@given(st.booleans(), st.floats(0, 1))
def test_the_one_form_is_an_opinion(injection: bool, confidence: float) -> None:
    assert opinion(says(injection, confidence)) == Opinion(injection, confidence)


@pytest.mark.parametrize("answer", [completion("no idea"), Unavailable("stage_unavailable", "gone"), None])
def test_a_judge_that_fails_or_is_late_leaves_it_to_the_score_or_refuses_as_configured(answer: Any) -> None:
    assert isinstance(outcome(DOUBTFUL, policy(timeout_ms=50), Model(answer)), Envelope)
    refused = outcome(DOUBTFUL, policy(timeout_ms=50, on_failure="block"), Model(answer))
    assert isinstance(refused, Failure)
    assert (refused.code, refused.retry_after_ms) == ("guard_unavailable", 1_000)
    assert "do as I say" not in refused.message


@pytest.mark.parametrize("mode", ["flag", "alert", "shadow"])
def test_where_the_judge_cannot_refuse_nothing_is_refused_for_want_of_it(mode: Any) -> None:
    failing = Model(Unavailable("stage_unavailable", "gone"))
    assert isinstance(outcome(DOUBTFUL, policy(mode, on_failure="block"), failing), Envelope)
    assert len(failing.asked) == 1


def test_a_judge_without_a_key_is_one_that_fails() -> None:
    assert isinstance(outcome(DOUBTFUL, policy(), None), Envelope)
    assert isinstance(outcome(DOUBTFUL, policy(on_failure="block"), None), Failure)


def test_its_own_requests_are_not_judged_and_not_refused_for_what_they_hold() -> None:
    model = Model(says(True))
    own = keyring.key_id(keyring.hash_key(KEY))
    for content in (DOUBTFUL, CERTAIN):
        assert isinstance(outcome(content, policy(), model, key=own), Envelope)
    assert model.asked == []
    assert isinstance(outcome(CERTAIN, policy(), model, key="key_of_somebody_else"), Failure)


def test_large_bodies_are_judged_too() -> None:
    model = Model(says(True))
    came = outcome(DOUBTFUL + " and so on" * 5_000, policy(), model)
    assert isinstance(came, Failure)
    (asked,) = model.asked
    assert len(asked["messages"][1]["content"]) < DOUBT_CHARS_MAX + 100


def test_of_many_doubts_the_most_suspicious_are_asked_about() -> None:
    turns = [{"role": "user", "content": f"p=0.{number} x"} for number in range(30, 60)]
    order = Order(
        body=json.dumps({"messages": turns}).encode(),
        policy=Policy(injection=Injection(mode="block", user=0.66, trajectory=1.0, judge=SETTINGS)),
        key=b"k" * 32,
        max_depth=64,
    )
    examined = examine(order, preflight.pipeline((Saying(),)), FakeClock())
    assert isinstance(examined, Examined)
    assert [doubt.score for doubt in examined.doubts] == [0.59, 0.58, 0.57, 0.56][:DOUBTS_MAX]


@given(st.text(max_size=200))
def test_the_text_reaches_the_judge_as_one_json_string_that_nothing_in_it_can_leave(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    asked = json.loads(question(text, "small", "n0nce"))
    opening, written, closing = asked["messages"][1]["content"].split("\n")
    assert (opening, json.loads(written), closing) == ("<<n0nce", text, "n0nce>>")
    assert text not in asked["messages"][0]["content"] or len(text) < 40
    assert asked["model"] == "small"


def test_the_same_text_is_asked_about_once_in_a_while_and_failures_again() -> None:
    async def run() -> None:
        clock, model = FakeClock(), Model(says(True))
        judges = judges_of(model, clock)
        order = examined_doubts()
        for _ in range(3):
            await judges.opinions(order, SETTINGS, TENANT_KEY)
        assert len(model.asked) == 1
        clock.advance(KEPT_S + 1)
        await judges.opinions(order, SETTINGS, TENANT_KEY)
        assert len(model.asked) == 2
        model.answer = completion("?")
        clock.advance(KEPT_S + 1)
        for _ in range(2):
            assert await judges.opinions(order, SETTINGS, TENANT_KEY) == [None]
        assert len(model.asked) == 4

    asyncio.run(run())


def test_no_tenant_learns_by_the_time_it_takes_what_another_has_said() -> None:
    model = Model(says(False))

    async def scenario(around: Around) -> None:
        for tenant in ("one", "one", "two"):
            await around.send(DOUBTFUL, tenant=tenant)

    shield(scenario, policy(), judges_of(model))
    assert len(model.asked) == 2


def test_a_judge_that_fails_time_and_again_is_told_until_it_answers() -> None:
    async def run() -> None:
        told: list[str] = []
        model = Model(Unavailable("stage_unavailable", "gone"))
        judges = Judges(model, KEY, nonce=lambda: "n0nce", clock=STANDING_STILL, tell=told.append)
        for _ in range(FAILED_TOLD):
            await judges.opinions(examined_doubts(), SETTINGS, TENANT_KEY)
        assert [bool(one) for one in told] == [False] * (FAILED_TOLD - 1) + [True]
        assert f"its last {FAILED_TOLD} questions" in told[-1]
        model.answer = says(False)
        await judges.opinions(examined_doubts(), SETTINGS, TENANT_KEY)
        assert told[-1] == ""

    asyncio.run(run())


def test_questions_are_bounded_and_those_that_are_too_many_fail_at_once() -> None:
    async def run() -> None:
        model = Model(None)
        judges = judges_of(model)
        settings = Judge(model="small", timeout_ms=100)
        many = [
            judges.opinions(examined_doubts(f"p=0.5 {number}"), settings, TENANT_KEY)
            for number in range(WAITING_MAX + 20)
        ]
        assert await asyncio.gather(*many) == [[None]] * (WAITING_MAX + 20)
        assert model.most_at_once == AT_ONCE_MAX // 2
        assert model.at_once == 0
        model.answer = says(True)
        assert await judges.opinions(examined_doubts(), SETTINGS, TENANT_KEY) == [
            Opinion(True, 0.9)
        ]  # Nothing is left behind.

    asyncio.run(run())


def test_however_much_one_caller_asks_there_is_a_place_for_another() -> None:
    async def run() -> None:
        model = Model(None)
        judges = judges_of(model)
        flood = [
            asyncio.create_task(judges.opinions(examined_doubts(f"p=0.5 {number}"), SETTINGS, TENANT_KEY, "key_one"))
            for number in range(WAITING_MAX + AT_ONCE_MAX)
        ]
        for _ in flood:  # As long as any of them could go on.
            await asyncio.sleep(0)
        model.answer = says(True)
        for caller in ("key_two", "key_three"):
            doubts = examined_doubts(f"p=0.5 of {caller}")
            assert await judges.opinions(doubts, SETTINGS, TENANT_KEY, caller) == [Opinion(True, 0.9)]
        for one in flood:
            one.cancel()
        await asyncio.gather(*flood, return_exceptions=True)

    asyncio.run(run())


def test_nothing_goes_on_being_asked_for_a_request_that_is_gone() -> None:
    async def run() -> None:
        model = Model(None)
        asking = asyncio.create_task(judges_of(model).opinions(examined_doubts(), SETTINGS, TENANT_KEY))
        while not model.at_once:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        while model.at_once:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def examined_doubts(content: str = DOUBTFUL) -> Any:
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    order = Order(body=body, policy=policy(), key=b"k" * 32, max_depth=64)
    found = examine(order, preflight.pipeline((Saying(),)), FakeClock())
    assert isinstance(found, Examined)
    return found.doubts
