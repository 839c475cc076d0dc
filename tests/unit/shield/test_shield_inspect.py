"""The shield's handler over a fake bus: what goes on is masked, what comes back is not, and nothing is kept."""

import asyncio
import json
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
import pytest
from msgspec import Raw, structs
from patience import PATIENCE_S

from llmproxy.common.answers import Answers
from llmproxy.common.bus import Answer, Bus
from llmproxy.common.channels import (
    EVENT_GUARD_ALERTED,
    EVENT_GUARD_FAILED,
    EVENT_SEGMENT_MASKED,
    REQUEST_INSPECT,
    REQUEST_ROUTE,
)
from llmproxy.common.config import Config, Snapshot
from llmproxy.common.config_watch import ConfigWatch
from llmproxy.common.envelope import Envelope
from llmproxy.common.errors import Unavailable
from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.frames import Data, End, Failure, Frame, Head, Usage
from llmproxy.common.plugins.host import PASS
from llmproxy.common.policy import Policy
from llmproxy.common.rails import Rails, Rule
from llmproxy.common.records import Event
from llmproxy.common.testing import FakeBroker, FakeClock, envelope, fake_bus
from llmproxy.shield import postflight, preflight
from llmproxy.shield.continuation import Continuation
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.inspect import Inspect

MAIL = "ada@example.com"


class HereOffload:
    """Examines large bodies in the loop."""

    async def examine(self, order: Order, caller: str = "") -> Examined | Refused:
        return examine(order, preflight.pipeline(GUARDS), FakeClock())


class Gateway:
    """An edge and a router around one shield."""

    def __init__(self, edge: Bus, router: Bus, shield: Bus, inspect: Inspect, config: ConfigWatch) -> None:
        self.edge, self.router, self.shield, self.inspect, self.config = edge, router, shield, inspect, config
        self.routed: asyncio.Queue[tuple[Envelope, Answer]] = asyncio.Queue()
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    def send(self, body: Any, **fields: Any) -> Envelope:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = envelope(edge=self.edge.address, reply_to=self.edge.address, body=Raw(raw), **fields)
        self.edge.expect(sent, lambda frames: [self.frames.put_nowait(frame) for frame in frames] and None)
        self.edge.forward(REQUEST_INSPECT, sent)
        return sent

    async def route(self) -> tuple[Envelope, Answer]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.routed.get()

    async def frame(self) -> Frame:
        async with asyncio.timeout(PATIENCE_S):
            return await self.frames.get()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0)


def gateway(
    scenario: Callable[[Gateway], Awaitable[None]],
    policy: Policy | None = None,
    ring: Any = None,
    max_in_flight: int = 64,
) -> FakeBroker:
    broker = FakeBroker()

    async def main() -> None:
        edge, router, shield = [await fake_bus(broker, name) for name in ("edge", "router", "shield")]
        config = ConfigWatch(snapshot=Snapshot(revision=1, config=Config(policy=policy or Policy())))
        inspect = Inspect(
            shield,
            config,
            preflight=ring or preflight.pipeline(GUARDS),
            postflight=postflight.pipeline(),
            offload=HereOffload(),
            mask_secret=b"secret",
            clock=FakeClock(),
            now=time.time,
        )
        around = Gateway(edge, router, shield, inspect, config)
        await shield.serve(REQUEST_INSPECT, inspect, max_in_flight=max_in_flight)
        await router.serve(REQUEST_ROUTE, lambda one, answer: around.routed.put_nowait((one, answer)), max_in_flight=64)
        for channel in (EVENT_SEGMENT_MASKED, EVENT_GUARD_FAILED, EVENT_GUARD_ALERTED):
            await edge.subscribe(channel, around.events.put_nowait)
        async with asyncio.timeout(2 * PATIENCE_S):
            await scenario(around)
        for bus in (edge, router, shield):
            await bus.drain(0.1)

    asyncio.run(main())
    return broker


def chat(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": content}], **more}


def test_a_clean_body_goes_on_untouched_and_its_answer_does_not_come_through_the_shield() -> None:
    async def scenario(around: Gateway) -> None:
        body = b'{ "messages" : [ {"role":"user","content":"hello"} ], "x": 1.50 }'
        sent = around.send(body)
        routed, _ = await around.route()
        assert routed == sent
        assert not around.inspect.sessions
        assert not around.shield.holds

    gateway(scenario)


def test_a_probe_passes_without_being_read() -> None:
    async def scenario(around: Gateway) -> None:
        sent = around.send(b"null", api="probe")
        assert (await around.route())[0] == sent

    gateway(scenario)


def test_a_whole_answer_comes_back_unmasked_with_findings_in_its_head() -> None:
    async def scenario(around: Gateway) -> None:
        sent = around.send(chat(f"write to {MAIL}, {MAIL}"))
        routed, answer = await around.route()
        assert MAIL not in bytes(routed.body).decode()
        assert routed.findings == {"email": 2}
        assert routed.reply_to == around.shield.address
        content = json.loads(bytes(routed.body))["messages"][0]["content"]
        assert list(around.shield.holds) == [(sent.id, 0, "return")]
        reply = {"choices": [{"index": 0, "message": {"content": f"I did: {content}"}}]}
        answer.send(Head(provider="demo"), Data(Raw(json.dumps(reply).encode())), End(finish="stop"))
        head, data, end = [await around.frame() for _ in range(3)]
        assert head == Head(provider="demo", findings={"email": 2})
        assert isinstance(data, Data)
        assert json.loads(bytes(data.json))["choices"][0]["message"]["content"] == f"I did: write to {MAIL}, {MAIL}"
        assert end == End(finish="stop")
        assert not around.inspect.sessions
        assert not around.shield.holds

    gateway(scenario)


def test_a_streamed_answer_comes_back_unmasked_over_any_packets() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL), stream=True)
        routed, answer = await around.route()
        placeholder = json.loads(bytes(routed.body))["messages"][0]["content"]
        answer.send(Head())
        for character in placeholder + "!":
            event = {"id": "c", "choices": [{"index": 0, "delta": {"content": character}, "finish_reason": None}]}
            answer.send(Data(Raw(json.dumps(event).encode())))
        answer.send(End())
        said = ""
        while not isinstance(frame := await around.frame(), End):
            if isinstance(frame, Data):
                said += json.loads(bytes(frame.json))["choices"][0]["delta"]["content"]
        assert said == f"{MAIL}!"

    gateway(scenario)


def test_what_is_held_back_comes_before_the_end_and_before_a_failure_in_mid_stream() -> None:
    async def scenario(around: Gateway) -> None:
        for number, last in enumerate((End(), Failure(code="provider_stream_broken", message="gone"))):
            around.send(chat(MAIL), stream=True, id=f"request-{number}")
            _, answer = await around.route()
            event = {"id": "c", "choices": [{"index": 0, "delta": {"content": "a [EM"}, "finish_reason": None}]}
            answer.send(Head(), Data(Raw(json.dumps(event).encode())), last)
            frames = [await around.frame() for _ in range(4)]
            said = [
                json.loads(bytes(one.json))["choices"][0]["delta"]["content"] for one in frames if isinstance(one, Data)
            ]
            assert "".join(said) in ("a [EM", "a ")
            assert type(frames[-1]) is type(last)

    gateway(scenario)


@pytest.mark.parametrize("how", ["failure", "cancel", "deadline", "gap"])
def test_the_mask_map_is_freed_however_the_answer_ends(how: str) -> None:
    async def scenario(around: Gateway) -> None:
        deadline_ms = int(time.time() * 1000) + (3_000 if how == "deadline" else 60_000)
        sent = around.send(chat(MAIL), deadline_ms=deadline_ms)
        _, answer = await around.route()
        assert around.inspect.sessions
        if how == "failure":
            answer.send(Failure(code="provider_timeout", message="slow"))
            assert (await around.frame()) == Failure(code="provider_timeout", message="slow", findings={"email": 1})
        if how == "cancel":
            around.edge.cancel(around.shield.address, sent.id, sent.attempt)
        if how == "gap":
            answer._seq = 3
            answer.send(End())
            lost = await around.frame()
            assert isinstance(lost, Failure)
            assert lost.code == "stage_lost"
        await around.until(lambda: not around.inspect.sessions and not around.shield.holds)

    gateway(scenario)


def test_a_cancelled_answer_still_says_what_was_used() -> None:
    async def scenario(around: Gateway) -> None:
        sent = around.send(chat(MAIL), stream=True)
        routed, answer = await around.route()
        placeholder = json.loads(bytes(routed.body))["messages"][0]["content"]
        around.edge.cancel(around.shield.address, sent.id, sent.attempt)
        await around.until(lambda: not around.shield.holds)
        event = {"choices": [{"index": 0, "delta": {"content": placeholder}}]}
        last = End(finish="cancelled", usage=Usage(input=7, output=2))
        answer.send(Head(), Data(Raw(json.dumps(event).encode())), last)
        assert await around.frame() == Head(findings={"email": 1})
        assert await around.frame() == last
        assert not around.inspect.sessions

    gateway(scenario)


def test_a_second_attempt_replaces_the_session_of_the_first() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL))
        _, first = await around.route()
        around.send(chat(MAIL), attempt=1)
        _, second = await around.route()
        first.send(End(finish="length"))
        second.send(End(finish="stop"))
        assert await around.frame() == End(finish="stop")
        assert not around.inspect.sessions
        assert not around.shield.holds

    gateway(scenario)


def test_a_blocked_request_is_refused_by_kind_and_field_and_never_goes_on() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(f"mail {MAIL}, ssn 219-09-9998"))
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert (failure.code, failure.param) == ("content_blocked", "messages[0].content")
        assert "us_ssn" in failure.message
        assert "219" not in failure.message
        assert failure.findings["us_ssn"] == 1
        assert around.routed.empty()

    gateway(scenario, Policy(kinds={"us_ssn": "block"}))


def test_a_redacted_value_goes_for_good_and_needs_no_way_back() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(f"mail {MAIL}"))
        routed, _ = await around.route()
        assert json.loads(bytes(routed.body))["messages"][0]["content"] == "mail [EMAIL_REDACTED]"
        assert routed.reply_to == around.edge.address
        assert not around.inspect.sessions

    gateway(scenario, Policy(kinds={"email": "redact"}))


def test_a_flagged_value_passes_and_is_counted() -> None:
    async def scenario(around: Gateway) -> None:
        sent = around.send(chat(f"mail {MAIL}"))
        routed, _ = await around.route()
        why = Explanation(guard="pii", kind="email", action="flag", path="messages[0].content", start=5, end=20)
        assert routed == structs.replace(sent, findings={"email": 1}, explained=Explained((why,)))

    gateway(scenario, Policy(kinds={"email": "flag"}))


def test_an_alert_is_an_event_at_once_and_tells_kinds_alone() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(f"mail {MAIL}, not 219-09-9998"))
        routed, _ = await around.route()
        assert MAIL.encode() in bytes(routed.body)
        async with asyncio.timeout(PATIENCE_S):
            told = await around.events.get()
        assert (told.id, told.tenant, told.facts) == (routed.id, routed.tenant, {"email": 1})

    gateway(scenario, Policy(kinds={"email": "alert", "us_ssn": "flag"}))


def test_each_request_has_the_policy_of_who_asks() -> None:
    async def scenario(around: Gateway) -> None:
        seen = {}
        for tenant, model in (("acme", "demo"), ("acme", "other"), ("else", "demo")):
            around.send(chat(MAIL), tenant=tenant, model=model, id=f"{tenant}-{model}")
            routed, _ = await around.route()
            seen[routed.id] = MAIL.encode() in bytes(routed.body)
        assert seen == {"acme-demo": True, "acme-other": False, "else-demo": False}

    override = {"when": {"tenants": ["acme"], "models": ["demo"]}, "kinds": {"email": "flag"}}
    gateway(scenario, msgspec.convert({"overrides": [override]}, Policy))


def test_a_refusal_says_why_in_the_frame_and_the_error_says_no_more_than_before() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(f"mail {MAIL}"))
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert failure.message == "messages[0].content holds what the policy blocks: email; remove it"
        why = Explanation(guard="pii", kind="email", action="block", path="messages[0].content", start=5, end=20)
        assert failure.explained == Explained((why,))

    gateway(scenario, Policy(kinds={"email": "block"}))


def test_a_policy_change_applies_to_the_next_request_and_not_to_the_one_in_flight() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL), id="before")
        routed, answer = await around.route()
        around.config.swap(Snapshot(revision=2, config=Config(policy=Policy(kinds={"email": "allow"}))))
        around.send(chat(MAIL), id="after")
        after, _ = await around.route()
        assert json.loads(bytes(after.body))["messages"][0]["content"] == MAIL
        placeholder = json.loads(bytes(routed.body))["messages"][0]["content"]
        answer.send(Data(Raw(json.dumps({"choices": [{"message": {"content": placeholder}}]}).encode())), End())
        data = await around.frame()
        assert isinstance(data, Data)
        assert json.loads(bytes(data.json))["choices"][0]["message"]["content"] == MAIL

    gateway(scenario)


def test_the_event_of_a_masking_names_kinds_and_counts_only() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(f"{MAIL} 219-09-9998"), tenant="acme")
        async with asyncio.timeout(PATIENCE_S):
            event = await around.events.get()
        assert event.facts == {"email": 1, "us_ssn": 1}
        assert event.tenant == "acme"

    broker = gateway(scenario)
    for subject, payload in broker.published:
        if "request.inspect" not in subject:
            assert b"219-09-9998" not in payload


def test_a_bad_body_is_refused_with_the_name_of_the_field() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(b'{"messages":[{"content":"a","content":"b"}]}')
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert (failure.code, failure.param) == ("duplicate_key", "messages[0].content")

    gateway(scenario)


def test_a_large_body_is_examined_off_the_loop_and_goes_on_masked() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat("word " * 20_000 + MAIL))
        routed, _ = await around.route()
        assert MAIL not in bytes(routed.body).decode()
        assert around.inspect.sessions

    gateway(scenario)


def test_a_small_body_with_very_many_findings_is_examined_off_the_loop() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat([{"type": "text", "text": f"a{number}@b.co"} for number in range(400)]))
        await around.until(lambda: bool(around.shield.holds))
        routed, _ = await around.route()
        assert b"@b.co" not in bytes(routed.body)
        assert routed.findings == {"email": 400}

    gateway(scenario)


def test_a_body_by_claim_check_is_masked_and_deposited_again() -> None:
    async def scenario(around: Gateway) -> None:
        text = "word " * 300_000
        reference = await around.edge.deposit("big", json.dumps(chat(text + MAIL)).encode())
        around.send(b"null", body_ref=reference)
        routed, answer = await around.route()
        assert routed.body_ref not in ("", reference)
        body = await around.router.withdraw(routed.body_ref)
        placeholder = json.loads(body)["messages"][0]["content"][len(text) :]
        assert placeholder.startswith("[EMAIL_")
        reply = json.dumps({"choices": [{"message": {"content": text + placeholder}}]}).encode()
        answer.send(Head(), Data(ref=await around.router.deposit("reply", reply)), End())
        frames = [await around.frame() for _ in range(3)]
        data = frames[1]
        assert isinstance(data, Data)
        whole = json.loads(await around.edge.withdraw(data.ref))
        assert whole["choices"][0]["message"]["content"] == text + MAIL
        assert isinstance(frames[2], End)
        assert not around.inspect.sessions
        left = {name for _, name in around.edge.wire.broker.objects}
        assert left == {reference, data.ref}, "the edge's to discard; what the shield read and wrote is gone"

    gateway(scenario)


PEM = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0B" * 700 + "\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_large_only_when_it_is_unmasked_goes_by_claim_check(stream: bool) -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(PEM), stream=stream)
        routed, answer = await around.route()
        text = json.loads(bytes(routed.body))["messages"][0]["content"] * 200
        what = "delta" if stream else "message"
        reply = json.dumps({"choices": [{"index": 0, what: {"content": text}}]}).encode()
        answer.send(Head(), Data(Raw(reply)), End())
        frames = [await around.frame() for _ in range(3)]
        assert [type(frame) for frame in frames] == [Head, Data, End]
        assert isinstance(frames[1], Data)
        whole = json.loads(await around.edge.withdraw(frames[1].ref))
        assert whole["choices"][0][what]["content"] == PEM * 200
        assert not around.inspect.sessions

    gateway(scenario)


def test_two_large_events_of_one_stream_do_not_take_each_others_place() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL), stream=True)
        _, answer = await around.route()
        events = [
            json.dumps({"choices": [{"index": 0, "delta": {"content": f"{letter} " * 600_000}}]}).encode()
            for letter in "ab"
        ]
        refs = [await around.router.deposit(f"event-{number}", event) for number, event in enumerate(events)]
        answer.send(Head(), *[Data(ref=ref) for ref in refs], End())
        frames = [await around.frame() for _ in range(4)]
        read = [await around.edge.withdraw(frame.ref) for frame in frames if isinstance(frame, Data)]
        assert read == events

    gateway(scenario)


def test_a_clean_body_by_claim_check_keeps_its_reference() -> None:
    async def scenario(around: Gateway) -> None:
        reference = await around.edge.deposit("big", json.dumps(chat("word " * 300_000)).encode())
        sent = around.send(b"null", body_ref=reference)
        assert (await around.route())[0] == sent

    gateway(scenario)


def test_a_large_answer_that_cannot_be_fetched_fails_and_frees_the_map() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL))
        _, answer = await around.route()
        answer.send(Head(), Data(ref="nowhere"), End())
        assert isinstance(await around.frame(), Head)
        assert isinstance(await around.frame(), Failure)
        assert not around.inspect.sessions

    gateway(scenario)


def test_a_bug_in_what_is_done_aside_of_the_loop_ends_the_answer_at_once(caplog: pytest.LogCaptureFixture) -> None:
    class Buggy:
        async def remember(self, names: Any, turns: Any) -> None:
            raise ZeroDivisionError(MAIL)

    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL), deadline_ms=int((time.time() + 3_600) * 1000))
        _, answer = await around.route()
        around.inspect.conversations = cast(Any, Buggy())
        around.inspect.sessions[next(iter(around.inspect.sessions))].going_on = Continuation(turns=(0.1,))
        answer.send(Data(Raw(b'{"id":"resp-1"}')), End())
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert (failure.code, failure.stage) == ("server_error", "shield")
        assert not around.inspect.sessions

    gateway(scenario)
    assert "ZeroDivisionError" in caplog.text
    assert MAIL not in caplog.text


TWICE = b'{"choices":[{"index":0,"%s":{"content":"first","%s":"last"}}],"usage":null}'


@pytest.mark.parametrize("again", [b"content", rb"conten\u0074"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", [chat(MAIL), {"messages": [{"role": "system", "content": "Answer in French."}]}])
def test_an_answer_that_says_something_twice_in_one_object_is_a_bad_one(body: Any, stream: bool, again: bytes) -> None:
    async def scenario(around: Gateway) -> None:
        around.send(body, stream=stream)
        _, answer = await around.route()
        answer.send(Data(Raw(TWICE % (b"delta" if stream else b"message", again))), End())
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert failure.code == "provider_bad_answer"
        await around.until(lambda: not around.inspect.sessions)

    gateway(scenario)


def test_an_event_that_is_not_json_ends_the_answer_with_a_failure() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL), stream=True)
        _, answer = await around.route()
        await around.until(lambda: bool(around.inspect.sessions))
        around.inspect.sessions[next(iter(around.inspect.sessions))].receive([Data(Raw(b"{oops")), End()])
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert failure.code == "guard_unavailable"
        assert not around.inspect.sessions
        assert answer is not None

    gateway(scenario)


def test_sessions_are_bounded_by_what_may_be_in_flight() -> None:
    async def scenario(around: Gateway) -> None:
        for number in range(3):
            around.send(chat(MAIL), id=f"request-{number}")
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert failure.code == "server_is_overloaded"
        assert len(around.inspect.sessions) == 2

    gateway(scenario, max_in_flight=2)


def test_nothing_is_left_behind_when_the_router_cannot_be_reached() -> None:
    async def scenario(around: Gateway) -> None:
        around.shield.wire.publish, publish = _refuse_routing(around.shield), around.shield.wire.publish  # type: ignore[method-assign]
        around.send(chat(MAIL))
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert not around.inspect.sessions
        assert not around.shield.holds
        around.shield.wire.publish = publish  # type: ignore[method-assign]

    gateway(scenario)


def _refuse_routing(bus: Bus) -> Callable[..., None]:
    publish = bus.wire.publish

    def refusing(subject: str, payload: bytes, reply: str = "") -> None:
        if "request.route" in subject:
            raise Unavailable("stage_unavailable", "no connection")
        publish(subject, payload, reply)

    return refusing


def test_a_stream_of_another_api_comes_back_unmasked_in_its_own_events() -> None:
    async def scenario(around: Gateway) -> None:
        around.send({"messages": [{"role": "user", "content": MAIL}]}, api="messages", stream=True)
        routed, answer = await around.route()
        placeholder = json.loads(bytes(routed.body))["messages"][0]["content"]
        answer.send(Head())
        for character in placeholder + "[":
            event = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": character}}
            answer.send(Data(Raw(json.dumps(event).encode())))
        answer.send(Data(Raw(b'{"type":"content_block_stop","index":0}')), Data(Raw(b'{"type":"message_stop"}')), End())
        events = []
        while not isinstance(frame := await around.frame(), End):
            if isinstance(frame, Data):
                events.append(json.loads(bytes(frame.json)))
        assert "".join(event["delta"]["text"] for event in events[:-2]) == f"{MAIL}["
        assert [event["type"] for event in events[-2:]] == ["content_block_stop", "message_stop"]

    gateway(scenario)


def test_a_model_that_the_path_names_is_read_too() -> None:
    async def scenario(around: Gateway) -> None:
        around.send({"contents": [{"parts": [{"text": "hello"}]}]}, api="gemini", model=MAIL)
        refused = await around.frame()
        assert isinstance(refused, Failure)
        assert (refused.code, refused.param) == ("content_blocked", "model")
        assert MAIL not in refused.message
        around.send({"contents": [{"parts": [{"text": "hello"}]}]}, api="gemini", model="gemini-3-pro", id="another")
        assert (await around.route())[0].model == "gemini-3-pro"

    gateway(scenario)


def test_a_transcript_that_is_plain_text_comes_back_unmasked() -> None:
    async def scenario(around: Gateway) -> None:
        around.send({"prompt": MAIL, "model": "whisper"}, api="transcriptions")
        routed, answer = await around.route()
        said = b"it was " + json.loads(bytes(routed.body))["prompt"].encode()
        answer.send(Head(content_type="text/plain"), Data(Raw(json.dumps(b64encode(said).decode()).encode())), End())
        data = [await around.frame() for _ in range(3)][1]
        assert isinstance(data, Data)
        assert b64decode(json.loads(bytes(data.json))).decode() == f"it was {MAIL}"

    gateway(scenario)


# -- answers that are read

TOKEN = "ghp_Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def asking(**more: Any) -> dict[str, Any]:
    return {"model": "demo", "messages": [SYSTEM, USER], **more}


def says(content: str) -> Data:
    return Data(Raw(json.dumps({"choices": [{"index": 0, "message": {"content": content}}]}).encode()))


def delta(content: str) -> Data:
    return Data(Raw(json.dumps({"id": "c", "choices": [{"index": 0, "delta": {"content": content}}]}).encode()))


def heard(frames: list[Frame]) -> str:
    trees = [json.loads(bytes(frame.json)) for frame in frames if isinstance(frame, Data)]
    return "".join((tree["choices"][0].get("message") or tree["choices"][0]["delta"])["content"] for tree in trees)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_to_a_request_with_system_text_is_read_and_its_findings_come_with_its_end(stream: bool) -> None:
    async def scenario(around: Gateway) -> None:
        around.send(asking(), stream=stream)
        routed, answer = await around.route()
        assert routed.reply_to == around.shield.address
        said = [delta(character) for character in f"use {TOKEN} now"] if stream else [says(f"use {TOKEN} now")]
        answer.send(Head(), *said, End())
        frames = [await around.frame()]
        while not isinstance(frames[-1], End):
            frames.append(await around.frame())
        assert heard(frames) == "use [SECRET_REDACTED] now"
        end = frames[-1]
        assert end.findings == {"answer.secret.github": 1}
        assert end.explained is not None
        (explanation,) = end.explained.findings
        assert (explanation.guard, explanation.side, explanation.action) == ("secrets", "answer", "redact")
        assert not around.inspect.sessions
        assert not around.shield.holds

    gateway(scenario)


@pytest.mark.parametrize(
    ("when", "body", "is_read"),
    [
        ("always", {"messages": [USER]}, True),
        ("exposed", {"messages": [USER]}, False),
        ("exposed", {"messages": [SYSTEM, USER]}, True),
        ("exposed", {"messages": [{**SYSTEM, "role": "developer"}, USER]}, True),
        ("exposed", {"messages": [USER], "tools": [TOOL]}, True),
        ("exposed", {"messages": [USER, {"role": "tool", "tool_call_id": "c", "content": "hi"}]}, True),
        ("exposed", {"messages": [USER], "system": [{"type": "text", "text": "Be brief."}]}, True),
        ("exposed", {"input": "hello", "instructions": "Be brief."}, True),
        ("exposed", {"input": [{"type": "function_call_output", "call_id": "c", "output": "hi"}]}, True),
        ("exposed", {"contents": [{"parts": [{"text": "hi"}]}], "systemInstruction": {"parts": [{"text": "x"}]}}, True),
        ("exposed", {"messages": [{"role": "user", "content": MAIL}]}, True),
        ("never", {"messages": [SYSTEM, USER]}, False),
    ],
)
def test_when_answers_are_read_is_the_policys(when: Any, body: Any, is_read: bool) -> None:
    async def scenario(around: Gateway) -> None:
        around.send({"model": "demo", **body})
        routed, _ = await around.route()
        assert (routed.reply_to == around.shield.address) is is_read
        assert bool(around.inspect.sessions) is is_read

    gateway(scenario, Policy(answers=Answers(when=when)))


@pytest.mark.parametrize(("direction", "is_read"), [("both", True), ("request", False)])
def test_an_answer_is_read_for_the_operators_rules_and_they_alert_when_it_is_over(
    direction: Any, is_read: bool
) -> None:
    rails = Rails(rules=(Rule(name="r", pattern="acme", action="alert", direction=direction),))

    async def scenario(around: Gateway) -> None:
        sent = around.send(chat("hello"))
        routed, answer = await around.route()
        assert (routed.reply_to == around.shield.address) == is_read
        if not is_read:
            return
        reply = {"choices": [{"index": 0, "message": {"content": "of acme"}}]}
        answer.send(Head(), Data(Raw(json.dumps(reply).encode())), End(finish="stop"))
        *_, end = [await around.frame() for _ in range(3)]
        assert isinstance(end, End)
        assert end.findings == {"answer.rule": 1}
        event = await around.events.get()
        assert (event.id, event.facts) == (sent.id, {"answer.rule": 1})

    gateway(scenario, Policy(rails=rails))


def test_where_answers_are_never_read_what_was_masked_still_comes_back() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(chat(MAIL))
        routed, answer = await around.route()
        answer.send(says(f"{json.loads(bytes(routed.body))['messages'][0]['content']} {TOKEN}"), End())
        assert heard([await around.frame()]) == f"{MAIL} {TOKEN}"
        assert await around.frame() == End()

    gateway(scenario, Policy(answers=Answers(when="never")))


BLOCKING = Policy(answers=Answers(kinds={"secret": "block"}))


def test_a_blocked_whole_answer_is_an_error_that_says_what_was_used() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(asking())
        _, answer = await around.route()
        answer.send(Head(), says(f"use {TOKEN} now"))
        answer.send(End(usage=Usage(input=7, output=3), cost=11))
        assert isinstance(await around.frame(), Head)
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert (failure.code, failure.usage, failure.cost) == ("content_blocked", Usage(input=7, output=3), 11)
        assert failure.findings == {"answer.secret.github": 1}
        assert "secret.github" in failure.message
        assert TOKEN not in failure.message
        assert around.frames.empty()
        assert not around.inspect.sessions

    gateway(scenario, BLOCKING)


def test_a_blocked_answer_whose_end_does_not_come_is_an_error_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmproxy.shield.inspect.FAREWELL_S", 0.01)

    async def scenario(around: Gateway) -> None:
        around.send(asking())
        _, answer = await around.route()
        answer.send(says(f"use {TOKEN} now"))
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert failure.code == "content_blocked"
        assert failure.usage.estimated
        assert not around.inspect.sessions
        assert not around.shield.holds

    gateway(scenario, BLOCKING)


def test_a_blocked_stream_ends_at_once_and_nothing_of_what_was_blocked_has_left() -> None:
    async def scenario(around: Gateway) -> None:
        around.send({**asking(), "stream": True}, stream=True)
        _, answer = await around.route()
        answer.send(Head())
        for character in f"It is this one: use {TOKEN} now and for ever":
            answer.send(delta(character))
        frames = [await around.frame()]
        while not isinstance(frames[-1], Failure):
            frames.append(await around.frame())
        assert heard(frames) == "It is this one: use "
        assert frames[-1].code == "content_blocked"
        assert frames[-1].usage.estimated
        assert frames[-1].usage.output > 0
        assert frames[-1].explained is not None
        assert not around.inspect.sessions
        answer.send(delta("more"), End())
        await asyncio.sleep(0)
        assert around.frames.empty()

    gateway(scenario, BLOCKING)


def test_a_secret_at_the_very_end_of_a_stream_is_found_by_the_last_look() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(asking(), stream=True)
        _, answer = await around.route()
        answer.send(Head(), delta(f"use {TOKEN}"), End(usage=Usage(output=2)))
        frames = [await around.frame()]
        while not isinstance(frames[-1], End | Failure):
            frames.append(await around.frame())
        assert isinstance(frames[-1], Failure)
        assert frames[-1].usage == Usage(output=2)
        assert heard(frames) == "use "

    gateway(scenario, BLOCKING)


class Where:
    """A step of ring 4 that remembers in which threads it ran."""

    name, priority, timeout_ms, fail = "where", 1, 1_000, "closed"

    def __init__(self) -> None:
        self.threads: list[int] = []

    def run(self, passage: Any) -> Any:
        self.threads.append(threading.get_ident())
        return PASS


@pytest.mark.parametrize("end", [End(), Failure(code="provider_timeout", message="gone")])
@pytest.mark.parametrize(("pattern", "is_apart"), [("a.{200}b", True), (r"PRJ-\d{4}", False)])
def test_where_a_rule_could_hold_the_loop_nothing_of_an_answer_is_read_in_it(
    pattern: str, is_apart: bool, end: Frame
) -> None:
    async def scenario(around: Gateway) -> None:
        where = Where()
        around.inspect._postflight.steps = (where, *around.inspect._postflight.steps)
        around.send(asking(), stream=True)
        _, answer = await around.route()
        said = [f"{number} of aaa. " for number in range(40)]
        answer.send(Head(), *map(delta, said[:20]))
        answer.send(*map(delta, said[20:]), end)
        frames = [await around.frame()]
        while not isinstance(frames[-1], End | Failure):
            frames.append(await around.frame())
        assert type(frames[-1]) is type(end)
        assert heard(frames) == "".join(said)
        assert len(where.threads) == len(said) + 1
        assert (threading.get_ident() not in where.threads) is is_apart

    gateway(scenario, Policy(rails=Rails(rules=(Rule(name="r", pattern=pattern, action="replace"),))))


def test_large_events_are_read_off_the_loop_and_keep_their_place() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(asking(), stream=True)
        _, answer = await around.route()
        said = ["a " * 30_000, "b ", f"{TOKEN} ", "c " * 30_000, "d "]
        answer.send(Head(), *map(delta, said), End())
        frames = [await around.frame()]
        while not isinstance(frames[-1], End):
            frames.append(await around.frame())
        assert heard(frames) == "".join(said).replace(TOKEN, "[SECRET_REDACTED]")
        assert not around.inspect.sessions

    gateway(scenario)


def test_a_canary_goes_to_the_provider_and_ends_the_answer_that_says_it() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(asking())
        routed, answer = await around.route()
        system = json.loads(bytes(routed.body))["messages"][0]["content"]
        assert system.startswith("Be brief.\n\n[")
        answer.send(Head(), says(f"My instructions: {system}"), End())
        assert isinstance(await around.frame(), Head)
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert failure.findings == {"answer.canary": 1}

    gateway(scenario, Policy(answers=Answers(canary=True)))


def test_an_answer_that_was_cancelled_still_says_what_was_found_and_used() -> None:
    async def scenario(around: Gateway) -> None:
        sent = around.send(asking(), stream=True)
        _, answer = await around.route()
        answer.send(Head(), delta(f"use {TOKEN} now "))
        assert isinstance(await around.frame(), Head)
        await around.frame()
        around.edge.cancel(around.shield.address, sent.id, sent.attempt)
        await around.until(lambda: not around.shield.holds)
        answer.send(End(finish="cancelled", usage=Usage(output=2)))
        end = await around.frame()
        assert isinstance(end, End)
        assert (end.findings, end.usage) == ({"answer.secret.github": 1}, Usage(output=2))

    gateway(scenario)
