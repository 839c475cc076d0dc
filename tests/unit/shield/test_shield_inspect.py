"""The shield's handler over a fake bus: what goes on is masked, what comes back is not, and nothing is kept."""

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, cast

import pytest
from msgspec import Raw
from unit.shield.shield_gateway import MAIL, Gateway, chat, gateway

from llmproxy.common.bus import Bus
from llmproxy.common.errors import Unavailable
from llmproxy.common.frames import Data, End, Failure, Head, Usage
from llmproxy.shield import vault
from llmproxy.shield.continuation import Continuation


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


def test_more_values_than_can_be_masked_are_refused_with_the_fix_and_no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "VALUES_MAX", 2)

    async def scenario(around: Gateway) -> None:
        around.send(chat("a1@example.com, a2@example.com, a3@example.com"))
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert (failure.code, failure.retry_after_ms) == ("content_blocked", 0)
        assert failure.message == "more than 2 values to mask in one request; split it"
        assert not around.inspect.sessions

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


def test_a_bad_body_is_refused_with_the_name_of_the_field() -> None:
    async def scenario(around: Gateway) -> None:
        around.send(b'{"messages":[{"content":"a","content":"b"}]}')
        failure = await around.frame()
        assert isinstance(failure, Failure)
        assert (failure.code, failure.param) == ("duplicate_key", "messages[0].content")

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
