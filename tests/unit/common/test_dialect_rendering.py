"""Errors and events in each dialect, byte for byte."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.dialects.rendering import RENDERINGS, status_of
from llmproxy.common.errors import CATALOGUE
from llmproxy.common.frames import Data, Failure

OPENAI, ANTHROPIC = RENDERINGS["openai"], RENDERINGS["anthropic"]


def test_an_openai_error_has_its_four_keys_in_order() -> None:
    failure = Failure(code="invalid_type", message="no", param="messages")
    assert OPENAI.error(failure, "r") == (
        b'{"error":{"message":"no","type":"invalid_request_error","param":"messages","code":"invalid_type"}}'
    )
    assert OPENAI.error_event(failure, "r") == b"data: " + OPENAI.error(failure, "r") + b"\n\n"


def test_an_anthropic_error_has_its_type_and_the_request_id() -> None:
    failure = Failure(code="provider_overloaded", message="busy")
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"busy"},"request_id":"r"}'
    assert ANTHROPIC.error(failure, "r") == body
    assert ANTHROPIC.error_event(failure, "r") == b"event: error\ndata: " + body + b"\n\n"


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_code_has_all_keys_in_every_dialect(code: str) -> None:
    failure = Failure(code=code, message="why")
    error = msgspec.json.decode(OPENAI.error(failure, "r"))["error"]
    assert error == {"message": "why", "type": CATALOGUE[code].type, "param": None, "code": code}
    body = msgspec.json.decode(ANTHROPIC.error(failure, "r"))
    assert body["error"] == {"type": CATALOGUE[code].anthropic, "message": "why"}
    assert 400 <= status_of(failure) <= 599


def test_a_code_of_a_newer_release_is_a_server_error() -> None:
    failure = Failure(code="from_the_future", message="why")
    assert status_of(failure) == 500
    assert msgspec.json.decode(OPENAI.error(failure, "r"))["error"]["type"] == "server_error"


@pytest.mark.parametrize("status", [0, 200, 302, 399, 600, -1])
def test_a_frame_cannot_make_an_error_look_like_a_success(status: int) -> None:
    assert status_of(Failure(code="provider_rejected", message="", status=status)) == 400


@given(
    st.recursive(st.none() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=8),
    st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]),
)
def test_one_json_value_is_one_event_however_it_was_spaced(value: object, space: bytes) -> None:
    data = Data(msgspec.Raw(b"[" + space + msgspec.json.encode(value) + space + b"]"), "delta")
    for rendering, prefix in ((OPENAI, b"data: "), (ANTHROPIC, b"event: delta\ndata: ")):
        event = rendering.event(data)
        assert event.startswith(prefix)
        payload = event[len(prefix) :]
        assert payload.endswith(b"\n\n")
        assert b"\n" not in payload[:-2]
        assert b"\r" not in payload
        assert msgspec.json.decode(payload) == [value]


def test_only_openai_streams_end_with_done() -> None:
    assert OPENAI.done == b"data: [DONE]\n\n"
    assert ANTHROPIC.done == b""
    assert OPENAI.ping.startswith(b": ping")
    assert ANTHROPIC.ping.startswith(b"event: ping\n")
