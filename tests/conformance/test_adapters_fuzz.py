"""Whatever a caller or a vendor sends, an adapter answers with a value or a named error, never with a crash."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import aws_stream
import pytest
from conformance.cases import framed
from conformance.odd_trees import ODD, attempt, mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters import ADAPTERS, DEMO
from llmproxy.provider_workers.adapters.base import Origin, Target
from llmproxy.provider_workers.compatible import Compatible
from llmproxy.provider_workers.vendor_errors import RETRY_AFTER_MAX_MS

WIRE = Path(__file__).parent / "wire"
ORIGIN = Origin(id="r", model="m", created=1, include_usage=True)
PROVIDERS = sorted(ADAPTERS)

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def samples(provider: str, name: str) -> list[Any]:
    return [json.loads(path.read_bytes()) for path in sorted((WIRE / provider).glob(f"*/{name}"))]


@cache
def odd(provider: str, name: str) -> st.SearchStrategy[Any]:
    """Made once: Hypothesis checks each strategy that it has not seen."""
    return mutated(samples(provider, name)) | ODD


@cache
def streams(provider: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((WIRE / provider).glob("*/vendor_stream.txt"))]


def passes(provider: str) -> bool:
    """It speaks the canonical form: answers pass through, odd or not."""
    return isinstance(ADAPTERS[provider], Compatible)


@pytest.mark.parametrize("provider", PROVIDERS)
@quick
@given(data=st.data())
def test_any_request_is_translated_or_refused_by_name(provider: str, data: st.DataObject) -> None:
    body = data.draw(odd(provider, "canonical_request.json"))
    target = Target(model="m", stream=data.draw(st.booleans()))
    made = attempt(lambda: ADAPTERS[provider].request(json.dumps(body).encode(), target))
    if isinstance(made, GatewayError):
        assert made.status == 400
        assert len(made.message) < 1000
        return
    assert isinstance(json.loads(made.body), dict)


@quick
@given(data=st.data())
def test_the_demo_answers_any_request_or_refuses_it(data: st.DataObject) -> None:
    raw = json.dumps(data.draw(odd("openai", "canonical_request.json"))).encode()
    answer = attempt(lambda: DEMO.answer(raw, ORIGIN))
    if isinstance(answer, GatewayError):
        assert answer.status == 400
        return
    ChatCompletion.model_validate_json(answer.json, strict=True)
    for chunk in DEMO.chunks(raw, ORIGIN):
        ChatCompletionChunk.model_validate_json(chunk, strict=True)


@pytest.mark.parametrize("provider", PROVIDERS)
@quick
@given(data=st.data())
def test_any_answer_is_canonical_or_a_failure(provider: str, data: st.DataObject) -> None:
    body = data.draw(odd(provider, "vendor_response.json"))
    answer = ADAPTERS[provider].response(json.dumps(body).encode(), ORIGIN)
    if answer.failure is not None:
        assert answer.json == b""
    elif not passes(provider):
        ChatCompletion.model_validate_json(answer.json, strict=True)
    assert min(answer.usage.input, answer.usage.output, answer.usage.cache_read, answer.usage.cache_write) >= 0


def wire_line(provider: str, text: bytes) -> bytes:
    """Bedrock's folders hold its binary messages as lines: a name, a space, JSON. What is not such a line goes as it is."""
    name, space, _ = text.strip().partition(b" ")
    is_message = provider == "bedrock" and bool(space) and name.isascii()
    return aws_stream.line(text) if is_message else text


@pytest.mark.parametrize("provider", PROVIDERS)
@quick
@given(data=st.data())
def test_any_stream_is_canonical_as_far_as_it_goes(provider: str, data: st.DataObject) -> None:
    sound = data.draw(st.sampled_from(streams(provider))).splitlines(keepends=True)
    lines = list(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        prefix, brace, text = sound[at].partition(b"{")
        if brace and data.draw(st.booleans()):
            tree = data.draw(mutated([json.loads(brace + text)]))
            lines[at] = prefix + json.dumps(tree).encode() + b"\n"
        else:
            lines[at] = data.draw(st.binary(max_size=12) | st.sampled_from(lines))
    translator = ADAPTERS[provider].events(ORIGIN)
    chunks = [chunk for line in lines for chunk in translator.feed(wire_line(provider, line))] + translator.finish()
    assert translator.complete != (translator.failure is not None)
    for chunk in chunks:
        assert b"\n" not in chunk
        assert isinstance(json.loads(chunk), dict)
        if not passes(provider):
            ChatCompletionChunk.model_validate_json(chunk, strict=True)


@pytest.mark.parametrize("provider", PROVIDERS)
@quick
@given(
    status=st.integers(100, 999),
    body=ODD.map(lambda tree: json.dumps(tree).encode()) | st.binary(max_size=80),
    after=st.text(max_size=12),
)
def test_any_error_answer_has_a_place_in_the_catalogue(provider: str, status: int, body: bytes, after: str) -> None:
    error = ADAPTERS[provider].error(status, {"retry-after": after, "retry-after-ms": after, "date": after}, body)
    assert error.status >= 400
    assert error.retry_after_ms >= 0


@pytest.mark.parametrize("after", ["9" * 5000, "inf", "nan", "-1", "1e308", "\u0663", "Thu, 99 Foo 2026"])
def test_an_absurd_retry_after_is_bounded(after: str) -> None:
    error = ADAPTERS["openai"].error(429, {"retry-after": after, "retry-after-ms": after}, b"{}")
    assert 0 <= error.retry_after_ms <= RETRY_AFTER_MAX_MS


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_long_message_of_a_vendor_is_cut(provider: str) -> None:
    words = "x" * 10_000
    body = {"error": words} if provider == "ollama" else {"error": {"message": words, "type": "t", "status": "S"}}
    error = ADAPTERS[provider].error(400, {}, json.dumps(body).encode())
    assert error.code == "provider_rejected"
    assert len(error.message) <= 520


@pytest.mark.parametrize("provider", PROVIDERS)
def test_bytes_that_are_no_text_are_not_passed_on(provider: str) -> None:
    translator = ADAPTERS[provider].events(ORIGIN)
    line = b'{"unread":"\xff"}'
    assert translator.feed(framed(provider, line)) == []
    assert translator.failure is not None
    answer = ADAPTERS[provider].response(b'{"choices":[{"index":0}],"content":[],"unread":"\xff"}', ORIGIN)
    assert answer.failure is not None


BOTTOMLESS = b'{"a":' * 50_000 + b"1" + b"}" * 50_000


@pytest.mark.parametrize("provider", PROVIDERS)
def test_json_without_a_bottom_is_refused_and_not_followed(provider: str) -> None:
    adapter = ADAPTERS[provider]
    vendor = (
        b'{"choices":[{"index":0}],"content":[],"candidates":[],"message":{"content":""},"unread":' + BOTTOMLESS + b"}"
    )
    answer = adapter.response(vendor, ORIGIN)
    assert answer.failure is not None
    assert answer.failure.code == "provider_bad_answer"
    translator = adapter.events(ORIGIN)
    translator.feed(framed(provider, vendor))
    assert translator.failure is not None
    assert adapter.error(400, {}, vendor).code == "provider_rejected"
    tool = b'{"type":"function","function":{"name":"f","parameters":' + BOTTOMLESS + b"}}"
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[' + tool + b"]}"
    with pytest.raises(GatewayError):
        adapter.request(body, Target(model="m"))
    arguments = json.dumps({"name": "f", "arguments": BOTTOMLESS.decode()}).encode()
    call = b'{"role":"assistant","tool_calls":[{"id":"a","function":' + arguments + b"}]}"
    if not passes(provider):  # There the text of the arguments is nobody's business.
        with pytest.raises(GatewayError):
            adapter.request(b'{"model":"m","messages":[' + call + b"]}", Target(model="m"))
