"""The Responses API at a vendor that speaks it: everything goes as it is, and what costs money or failed is read."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from openai.types.responses.response_error import ResponseError

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.natives.responses import Responses
from llmproxy.provider_workers.wire import Origin, StreamTranslator, Target

CASES = sorted((Path(__file__).parents[2] / "conformance" / "callers" / "responses").glob("*/caller_stream.txt"))
WIRE = Responses("https://api.openai.com/v1")
ORIGIN = Origin(id="r", model="m", created=1)
CREATED = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "output": []}}
DELTA = {"type": "response.output_text.delta", "sequence_number": 1, "delta": "Hi", "item_id": "msg_1"}

streams = pytest.mark.parametrize("path", CASES, ids=[path.parent.name for path in CASES])


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (str(e.get("type")).encode(), json.dumps(e).encode()) for e in events)


def run(pieces: list[bytes]) -> tuple[list[bytes], StreamTranslator]:
    translator = WIRE.events(ORIGIN)
    out = [event for piece in pieces for event in translator.feed(piece)]
    return out + translator.finish(), translator


def test_a_body_goes_as_it_is_but_for_the_model() -> None:
    body = b'{"store": true, "model":"big", "previous_response_id":"resp_1", "x_new": {"b":1.0,"a":[ ]},"input":"Hi"}'
    same = WIRE.request(body, Target(model="big"))
    assert same.body == body
    assert same.url == "https://api.openai.com/v1/responses"
    other = WIRE.request(body, Target(model="small", url="https://eu.example/openai/v1"))
    assert other.url == "https://eu.example/openai/v1/responses"
    assert json.loads(other.body) == {**json.loads(body), "model": "small"}
    assert list(json.loads(other.body)) == list(json.loads(body))
    assert b'{"b":1.0,"a":[ ]}' in other.body


@streams
def test_events_go_as_they_are_however_the_network_cuts_them(path: Path) -> None:
    data = path.read_bytes()
    events = [block.partition(b"\ndata: ")[2] for block in data.split(b"\n\n")[:-1]]
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))], [data.replace(b"\n", b"\r\n")]):
        out, translator = run(pieces)
        assert out == events
        assert translator.complete
        assert translator.failure is None
    final = json.loads(events[-1])["response"]
    assert translator.usage.input == final["usage"]["input_tokens"]
    assert translator.usage.output == final["usage"]["output_tokens"]
    assert translator.usage.cache_read == final["usage"]["input_tokens_details"]["cached_tokens"]
    assert translator.usage.reasoning == final["usage"]["output_tokens_details"]["reasoning_tokens"]
    assert translator.text_chars == sum(len(json.loads(event).get("delta", "")) for event in events)


@streams
def test_a_whole_answer_goes_as_it_is(path: Path) -> None:
    body = (path.parent / "caller_answer.json").read_bytes()
    answer = WIRE.response(body, ORIGIN)
    assert (answer.json, answer.failure) == (body, None)
    _, translator = run([path.read_bytes()])
    assert (answer.usage, answer.finish) == (translator.usage, translator.finish_reason)


@streams
def test_a_stream_without_its_last_event_is_broken(path: Path) -> None:
    data = path.read_bytes()
    last = data.rindex(b"event: ")
    for at in (last, last + 40, len(data) - 3):
        out, translator = run([data[:at]])
        assert not translator.complete
        assert translator.failure is not None
        assert translator.failure.code == "provider_stream_broken"
        assert len(out) == data.count(b"event: ") - 1


def test_an_event_of_several_lines_is_one_line() -> None:
    out, translator = run(
        [b'data: {"type":"response.completed",\ndata: "response":{"output":[]}}\n\ndata: [DONE]\n\n'],
    )
    assert out == [b'{"type":"response.completed","response":{"output":[]}}']
    assert translator.complete


@pytest.mark.parametrize(
    ("reply", "finish"),
    [
        ({"status": "completed", "output": [{"type": "message"}]}, "stop"),
        ({"status": "completed", "output": [{"type": "reasoning"}, {"type": "function_call"}]}, "tool_calls"),
        ({"status": "completed", "output": [{"type": "custom_tool_call"}]}, "tool_calls"),
        ({"status": "incomplete", "output": [], "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "output": [], "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"status": "incomplete", "output": [], "incomplete_details": {"reason": "of_tomorrow"}}, "length"),
        ({"status": "queued", "output": []}, "stop"),
        ({"status": "cancelled", "output": []}, "cancelled"),
    ],
)
def test_how_an_answer_ended(reply: dict[str, Any], finish: Finish) -> None:
    answer = WIRE.response(json.dumps(reply).encode(), ORIGIN)
    assert (answer.failure, answer.finish) == (None, finish)


def test_reasoning_that_a_vendor_counts_apart_is_counted() -> None:
    usage = {
        "input_tokens": 5,
        "output_tokens": 2,
        "total_tokens": 17,
        "output_tokens_details": {"reasoning_tokens": 10},
    }
    answer = WIRE.response(json.dumps({"output": [], "usage": usage}).encode(), ORIGIN)
    assert answer.usage == Usage(input=5, output=12, reasoning=10)


FAILURES = [
    ({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "x"}}}, "provider_error"),
    (
        {
            "type": "response.failed",
            "response": {"error": {"code": "rate_limit_exceeded", "message": "org-secret"}},
        },
        "provider_rate_limited",
    ),
    ({"type": "response.failed", "response": {"error": None}}, "provider_error"),
    ({"type": "error", "code": "invalid_prompt", "message": "No.", "param": None}, "provider_rejected"),
    ({"type": "error", "error": {"code": "context_length_exceeded", "message": "x"}}, "context_length_exceeded"),
    ({"type": "error", "error": "boom"}, "provider_error"),
    ({"error": {"message": "boom"}}, "provider_error"),
]


@pytest.mark.parametrize(("event", "code"), FAILURES)
def test_a_failure_in_a_stream_is_ours_and_keeps_what_came_before(event: dict[str, Any], code: str) -> None:
    out, translator = run([sse(CREATED, DELTA, event, DELTA)])
    assert [json.loads(one)["type"] for one in out] == ["response.created", "response.output_text.delta"]
    assert translator.failure is not None
    assert translator.failure.code == code
    assert "secret" not in translator.failure.message
    assert not translator.complete
    _, early = run([sse(CREATED, event)])
    assert early.text_chars == 0, "nothing was said yet, so another endpoint can be tried"


def test_a_failed_response_still_costs() -> None:
    usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    _, translator = run([sse(CREATED, {"type": "response.failed", "response": {"usage": usage, "error": None}})])
    assert translator.usage == Usage(input=5, output=2)


@pytest.mark.parametrize("code", get_args(ResponseError.model_fields["code"].annotation))
def test_every_error_code_of_the_sdk_has_its_status(code: str) -> None:
    reply = {"status": "failed", "output": [], "error": {"code": code, "message": "x"}}
    failure = WIRE.response(json.dumps(reply).encode(), ORIGIN).failure
    assert isinstance(failure, GatewayError)
    at_the_vendor = {
        "server_error": "provider_error",
        "rate_limit_exceeded": "provider_rate_limited",
        "vector_store_timeout": "provider_timeout",
    }
    assert failure.code == at_the_vendor.get(code, "provider_rejected")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"output":5}', b'{"output":[]', b'{"output":[],"x":"\xff"}'])
def test_an_answer_that_cannot_be_read_is_a_failure(body: bytes) -> None:
    answer = WIRE.response(body, ORIGIN)
    assert answer.failure is not None
    assert answer.failure.code == "provider_bad_answer"
    assert answer.json == b""
