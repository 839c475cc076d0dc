"""Errors and events in each dialect, byte for byte."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.dialects.events import name_of
from llmproxy.common.dialects.rendering import FRAMINGS, GEMINI_ARRAY, RENDERINGS
from llmproxy.common.errors import CATALOGUE, status_of
from llmproxy.common.frames import Data, Failure

OPENAI, ANTHROPIC, GOOGLE = RENDERINGS["openai"], RENDERINGS["anthropic"], RENDERINGS["google"]
CHAT, MESSAGES, GEMINI, RESPONSES = (FRAMINGS[api] for api in ("chat", "messages", "gemini", "responses"))  # type: ignore[index]


def data(json: bytes) -> Data:
    return Data(msgspec.Raw(json))


def test_an_openai_error_has_its_four_keys_in_order() -> None:
    failure = Failure(code="invalid_type", message="no", param="messages")
    body = b'{"error":{"message":"no","type":"invalid_request_error","param":"messages","code":"invalid_type"}}'
    assert OPENAI.error(failure, "r") == body
    assert CHAT.error_event(failure, "r", 3) == b"data: " + body + b"\n\n"


def test_an_anthropic_error_has_its_type_and_the_request_id() -> None:
    failure = Failure(code="provider_overloaded", message="busy")
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"},"request_id":"r"}'
    assert ANTHROPIC.error(failure, "r") == body
    assert ANTHROPIC.status(failure) == 529
    assert MESSAGES.error_event(failure, "r", 3) == b"event: error\ndata: " + body + b"\n\n"


def test_a_status_of_the_providers_own_names_anthropics_type() -> None:
    failure = Failure(code="provider_rejected", message="no", status=413)
    assert msgspec.json.decode(ANTHROPIC.error(failure, "r"))["error"]["type"] == "request_too_large"
    assert ANTHROPIC.status(failure) == 413


def test_a_google_error_has_code_status_and_details() -> None:
    failure = Failure(code="rate_limit_exceeded", message="slow", param="x", retry_after_ms=1500)
    assert msgspec.json.decode(GOOGLE.error(failure, "r")) == {
        "error": {
            "code": 429,
            "message": "slow",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "RATE_LIMIT_EXCEEDED",
                    "domain": "llmproxy",
                },
                {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "r"},
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [{"field": "x", "description": "slow"}],
                },
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"},
            ],
        }
    }


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_code_has_all_keys_in_every_dialect(code: str) -> None:
    failure = Failure(code=code, message="why")
    error = msgspec.json.decode(OPENAI.error(failure, "r"))["error"]
    assert error == {"message": "why", "type": CATALOGUE[code].type, "param": None, "code": code}
    body = msgspec.json.decode(ANTHROPIC.error(failure, "r"))
    assert body["error"] == {"type": CATALOGUE[code].anthropic, "message": "why"}
    google = msgspec.json.decode(GOOGLE.error(failure, "r"))["error"]
    assert google["code"] == CATALOGUE[code].status
    assert google["status"].replace("_", "").isupper()
    for rendering in RENDERINGS.values():
        assert 400 <= rendering.status(failure) <= 599


def test_a_code_of_a_newer_release_is_a_server_error() -> None:
    failure = Failure(code="from_the_future", message="why")
    assert [rendering.status(failure) for rendering in RENDERINGS.values()] == [500, 500, 500]
    assert msgspec.json.decode(OPENAI.error(failure, "r"))["error"]["type"] == "server_error"
    assert msgspec.json.decode(GOOGLE.error(failure, "r"))["error"]["status"] == "INTERNAL"


@pytest.mark.parametrize("status", [0, 200, 302, 399, 600, -1])
def test_a_frame_cannot_make_an_error_look_like_a_success(status: int) -> None:
    failure = Failure(code="provider_rejected", message="", status=status)
    assert status_of(failure) == 400
    assert {rendering.status(failure) for rendering in RENDERINGS.values()} == {400}


@given(
    st.recursive(st.none() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=8),
    st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]),
)
def test_one_json_value_is_one_event_however_it_was_spaced(value: object, space: bytes) -> None:
    spaced = b'{"type":"x.y","v":[' + space + msgspec.json.encode(value) + space + b"]}"
    for api, framing in FRAMINGS.items():
        event = framing.events([data(spaced)], 0)
        lines = event.split(b"\n")
        assert lines[-2:] == [b"", b""]
        assert b"\r" not in event
        is_named = api not in ("chat", "completions", "gemini")
        assert lines[:-3] == ([b"event: x.y"] if is_named else [])
        assert msgspec.json.decode(lines[-3].removeprefix(b"data: "))["v"] == [value]


def test_an_event_is_named_by_its_own_type_wherever_that_stands() -> None:
    assert name_of(b'{"type":"message_stop"}') == b"message_stop"
    assert name_of(b' {"index": 1, "type" : "ping"}') == b"ping"
    assert name_of(b'{"delta":{"type":"inner"},"type":"outer"}') == b"outer"
    for odd in (
        b"[]",
        b"{}",
        b'{"type":1}',
        b'{"type":"a\\nevent: b"}',
        b'{"type":"',
        b'{"type":"\xc3\xa9"}',
        b"nonsense",
    ):
        assert name_of(odd) == b""
        assert MESSAGES.events([data(odd)], 0) == b"data: " + odd + b"\n\n"


def test_what_completes_an_answer_is_told_from_what_does_not() -> None:
    for framing, complete, more in (
        (MESSAGES, b'{"type":"message_stop"}', b'{"type":"message_delta"}'),
        (RESPONSES, b'{"type":"response.completed","response":{}}', b'{"type":"response.output_text.done"}'),
        (RESPONSES, b'{"type":"response.incomplete"}', b'{"type":"response.in_progress"}'),
        (RESPONSES, b'{"type":"response.failed"}', b'{"type":"response.created"}'),
        (
            GEMINI,
            b'{"candidates":[{"finishReason":"STOP"}]}',
            b'{"candidates":[{"content":{}}],"x":{"finishReason":"S"}}',
        ),
        (GEMINI_ARRAY, b'{"candidates":[{},{"finishReason":"STOP"}]}', b'{"usageMetadata":{}}'),
    ):
        assert framing.completes is not None
        assert framing.completes(complete)
        assert not framing.completes(more)
    assert CHAT.completes is None


def test_a_stream_of_responses_breaks_with_an_error_that_is_numbered_and_that_clients_raise() -> None:
    event = RESPONSES.error_event(Failure(code="provider_error", message="it broke"), "r", 7)
    name, payload, *_ = event.split(b"\n")
    assert name == b"event: error"
    said = msgspec.json.decode(payload.removeprefix(b"data: "))
    assert (said["type"], said["sequence_number"], said["code"], said["message"]) == (
        "error",
        7,
        "provider_error",
        "it broke",
    )
    assert said["error"]["type"] == "server_error"


def test_geminis_array_is_json_whenever_it_ends() -> None:
    one, two = b'{"a":1}', b'{"b":\n2}'
    failure = Failure(code="provider_error", message="it broke")
    whole = GEMINI_ARRAY.events([data(one), data(two)], 0) + GEMINI_ARRAY.events([data(one)], 2) + GEMINI_ARRAY.done(3)
    assert msgspec.json.decode(whole) == [{"a": 1}, {"b": 2}, {"a": 1}]
    assert msgspec.json.decode(GEMINI_ARRAY.done(0)) == []
    assert GEMINI_ARRAY.events([], 0) == b""
    broken = msgspec.json.decode(GEMINI_ARRAY.events([data(one)], 0) + GEMINI_ARRAY.error_event(failure, "r", 1))
    assert broken[-1]["error"]["code"] == 502
    assert msgspec.json.decode(GEMINI_ARRAY.error_event(failure, "r", 0))[0]["error"]["status"] == "UNAVAILABLE"


def test_only_chat_and_completions_end_with_done() -> None:
    assert {api for api, framing in FRAMINGS.items() if framing.done(1)} == {"chat", "completions"}
    assert CHAT.done(1) == b"data: [DONE]\n\n"
    assert CHAT.ping.startswith(b": ping")
    assert MESSAGES.ping.startswith(b"event: ping\n")
    assert GEMINI.ping == b"\n"  # Google's client takes a comment for JSON.
