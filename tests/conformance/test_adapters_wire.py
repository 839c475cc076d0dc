"""One suite over every adapter and every wire case: folders of data that the vendors' own SDK types also judge."""

import json
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import aws_stream
import pytest
from conformance.cases import framed, named, read
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from upstreams import VENDORS, Behaviour, Recorded, ask
from yarl import URL

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.adapters import ADAPTERS, speaker
from llmproxy.provider_workers.adapters.base import Adapter, Capability, Origin, StreamTranslator, Target
from llmproxy.provider_workers.compatible import Compatible

WIRE = Path(__file__).parent / "wire"
CASES = sorted(path.parent for path in WIRE.glob("*/*/case.json"))
RANDOM_CUTS = 20
STREAMS = [case for case in CASES if (case / "vendor_stream.txt").exists()]
ANSWERS = [case for case in CASES if (case / "vendor_response.json").exists()]

COMPATIBLE = [adapter for adapter in ADAPTERS.values() if isinstance(adapter, Compatible)]
"""They speak the canonical form, so that what they do not know passes through."""

# What every adapter shows that it can, unless it says by capability that it cannot.
REQUIRED: dict[str, set[Capability]] = {
    "text": {Capability.CHAT},
    "messages": {Capability.CHAT},
    "options": {Capability.CHAT},
    "length": {Capability.CHAT},
    "content_filter": {Capability.CHAT},
    "stream": {Capability.STREAM},
    "stream_without_usage": {Capability.STREAM},
    "tools": {Capability.TOOLS},
    "tool_history": {Capability.TOOLS, Capability.PARALLEL_TOOLS},
    "tool_stream": {Capability.TOOLS, Capability.PARALLEL_TOOLS, Capability.STREAM},
    "tool_choice": {Capability.TOOL_CHOICE},
    "image": {Capability.IMAGES},
    "image_url": {Capability.IMAGE_URLS},
    "json_mode": {Capability.JSON_MODE},
    "json_schema": {Capability.JSON_SCHEMA},
    "reasoning": {Capability.REASONING},
    "reasoning_stream": {Capability.REASONING, Capability.STREAM},
    "cache_usage": {Capability.CACHE_USAGE},
    "choices": {Capability.CHOICES},
    "choices_stream": {Capability.CHOICES, Capability.STREAM},
    "logprobs": {Capability.LOGPROBS},
}


def adapter_of(case: Path) -> Adapter:
    return speaker(ADAPTERS[case.parent.name], read(case / "case.json")["target_model"])


def stream_of(case: Path) -> bytes:
    """As it comes from the network. Bedrock's is binary; its folder holds the same in lines that can be read."""
    data = (case / "vendor_stream.txt").read_bytes()
    return aws_stream.lines(data) if case.parent.name == "bedrock" else data


def canonical_response(case: Path) -> Any:
    """The vendor's own where that is canonical."""
    own = case / "canonical_response.json"
    return read(own if own.exists() else case / "vendor_response.json")


def origin(case: Path) -> Origin:
    request = read(case / "canonical_request.json")
    include_usage = bool((request.get("stream_options") or {}).get("include_usage"))
    return Origin(id="req-1", model=request["model"], created=1700000000, include_usage=include_usage)


def run(translator: StreamTranslator, pieces: Iterator[bytes] | list[bytes]) -> list[bytes]:
    out = [chunk for piece in pieces for chunk in translator.feed(piece)]
    return [*out, *translator.finish()]


@pytest.mark.parametrize("provider", ADAPTERS)
@pytest.mark.parametrize("name", REQUIRED)
def test_an_adapter_has_a_case_for_everything_it_says_it_can(provider: str, name: str) -> None:
    missing = REQUIRED[name] - ADAPTERS[provider].capabilities
    if missing:
        assert not (WIRE / provider / name).exists(), f"{provider} shows {name} and does not declare {missing}"
        pytest.skip(f"{provider} declares no {', '.join(sorted(missing))}")
    assert (WIRE / provider / name / "case.json").exists()


def test_every_capability_is_shown_by_a_required_case() -> None:
    assert set().union(*REQUIRED.values()) == set(Capability)


@named(CASES)
def test_a_canonical_request_becomes_the_vendors(case: Path) -> None:
    facts = read(case / "case.json")
    stream = (case / "vendor_stream.txt").exists()
    target = Target(model=facts["target_model"], url=facts.get("base", ""), stream=stream)
    made = adapter_of(case).request((case / "canonical_request.json").read_bytes(), target)
    assert json.loads(made.body) == read(case / "vendor_request.json")
    assert made.url == facts["url"]
    assert list(made.dropped) == facts["dropped"]
    assert ("content-type", "application/json") in made.headers


@named(CASES)
def test_a_vendors_own_types_and_rules_accept_the_request(case: Path) -> None:
    if case.parent.name not in VENDORS:
        pytest.skip("its judge is in test_cloud_wire.py")
    vendor = VENDORS[case.parent.name]
    url = URL(read(case / "case.json")["url"])
    recorded = Recorded(
        method="POST",
        path=url.raw_path,
        query=url.raw_query_string,
        headers={"anthropic-version": "2023-06-01"},
        body=(case / "vendor_request.json").read_bytes(),
    )
    # The openai folder also speaks for servers of its format that know more fields.
    asked = ask(vendor, recorded, Behaviour(strict_fields=case.name != "compatible_stream"))
    assert asked.stream == (case / "vendor_stream.txt").exists()


@named(ANSWERS)
def test_a_vendors_answer_becomes_canonical(case: Path) -> None:
    facts = read(case / "case.json")
    answer = adapter_of(case).response((case / "vendor_response.json").read_bytes(), origin(case))
    assert answer.failure is None
    assert json.loads(answer.json) == canonical_response(case)
    assert answer.usage == Usage(**facts["usage"])
    assert answer.finish == facts["finish"]


@named(ANSWERS)
def test_a_canonical_answer_is_what_the_openai_package_expects(case: Path) -> None:
    answer = ChatCompletion.model_validate(canonical_response(case), strict=True)
    assert answer.choices
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    for call in answer.choices[0].message.tool_calls or []:
        assert call.type == "function"
        json.loads(call.function.arguments)


@named(STREAMS)
def test_a_vendors_stream_becomes_canonical_chunks(case: Path) -> None:
    facts = read(case / "case.json")
    translator = adapter_of(case).events(origin(case))
    out = run(translator, [stream_of(case)])
    assert b"\n".join(out) + b"\n" == (case / "canonical_chunks.jsonl").read_bytes()
    assert translator.complete
    assert translator.failure is None
    assert translator.usage == Usage(**facts["usage"])
    assert translator.finish_reason == facts["finish"]


@named(STREAMS)
def test_a_stream_says_the_same_however_the_network_cuts_it(case: Path) -> None:
    adapter, data, asked = adapter_of(case), stream_of(case), origin(case)
    whole = adapter.events(asked)
    expected = run(whole, [data])
    cuts: list[list[bytes]] = [[data[:at], data[at:]] for at in range(1, len(data))]
    cuts.append([data[at : at + 1] for at in range(len(data))])
    chance = Random(case.name)
    for _ in range(RANDOM_CUTS):
        places = sorted(chance.sample(range(1, len(data)), chance.randint(2, min(40, len(data) - 1))))
        cuts.append([data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)])
    for pieces in cuts:
        translator = adapter.events(asked)
        assert run(translator, pieces) == expected
        assert translator.complete
        assert (translator.usage, translator.finish_reason) == (whole.usage, whole.finish_reason)
        assert translator.text_chars == whole.text_chars


@cache
def ends(chunk: bytes) -> int:
    """Of how many choices it is the last."""
    return sum(choice["finish_reason"] is not None for choice in json.loads(chunk)["choices"] or [])


@named(STREAMS)
def test_a_stream_cut_short_is_never_taken_for_a_whole_answer(case: Path) -> None:
    """Whatever is missing: if it is complete, then all choices had finished."""
    adapter, data, asked = adapter_of(case), stream_of(case), origin(case)
    finished = sum(map(ends, (case / "canonical_chunks.jsonl").read_bytes().splitlines()))
    for at in range(len(data)):
        translator = adapter.events(asked)
        if sum(map(ends, run(translator, [data[:at]]))) < finished:
            assert not translator.complete
            assert translator.failure is not None
            assert translator.failure.code == "provider_stream_broken"
        else:
            assert translator.complete != (translator.failure is not None)


@named(STREAMS)
def test_canonical_chunks_are_what_the_openai_package_expects(case: Path) -> None:
    lines = (case / "canonical_chunks.jsonl").read_bytes().splitlines()
    chunks = [ChatCompletionChunk.model_validate(json.loads(line), strict=True) for line in lines]
    first = chunks[0].choices[0]
    assert first.delta.role == "assistant"
    choices = [choice for chunk in chunks for choice in chunk.choices]
    indices = {choice.index for choice in choices}
    assert {choice.index for choice in choices if choice.finish_reason is not None} == indices
    assert all(before.id == after.id for before, after in pairwise(chunks))
    asked_for_usage = origin(case).include_usage
    assert (chunks[-1].usage is not None and chunks[-1].choices == []) == asked_for_usage
    arguments: dict[int, str] = {}
    for choice in choices:
        for call in choice.delta.tool_calls or []:
            assert call.function is not None
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    for text in arguments.values():
        assert isinstance(json.loads(text), dict)


SAID = ("content", "refusal", "reasoning_content")


@named(STREAMS)
def test_delivered_characters_are_counted(case: Path) -> None:
    translator = adapter_of(case).events(origin(case))
    chunks = [json.loads(chunk) for chunk in run(translator, [stream_of(case)])]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"] or []]
    said = sum(len(delta.get(name) or "") for delta in deltas for name in SAID)
    functions = [call["function"] for delta in deltas for call in delta.get("tool_calls") or []]
    called = sum(len(function.get("name") or "") + len(function.get("arguments") or "") for function in functions)
    assert translator.text_chars == said + called


ERRORS = [(path.parent.name, error) for path in sorted(WIRE.glob("*/errors.json")) for error in read(path)]


def test_every_adapter_shows_its_errors() -> None:
    assert {provider for provider, _ in ERRORS} == set(ADAPTERS)


@pytest.mark.parametrize(
    ("provider", "error"), ERRORS, ids=[f"{provider}-{error['name']}" for provider, error in ERRORS]
)
def test_a_vendors_error_has_its_place_in_the_catalogue(provider: str, error: dict[str, Any]) -> None:
    body = error["body"] if isinstance(error["body"], str) else json.dumps(error["body"])
    found = ADAPTERS[provider].error(error["status"], error["headers"], body.encode())
    assert found.code == error["code"]
    assert found.status == error.get("http_status", found.status)
    assert found.retry_after_ms == error.get("retry_after_ms", 0)
    assert found.param == error.get("param", found.param)
    assert error.get("says", "") in found.message
    assert len(found.message) <= 600
    assert not any(secret in found.message for secret in ("sk-proj", "org-secret", "proj_x"))


REFUSED = [(path.parent.name, case) for path in sorted(WIRE.glob("*/refused.json")) for case in read(path)]


def refused_ids() -> list[str]:
    return [f"{provider}-{number}-{case['param']}" for number, (provider, case) in enumerate(REFUSED)]


@pytest.mark.parametrize(("provider", "case"), REFUSED, ids=refused_ids())
def test_what_cannot_be_expressed_is_refused_by_name(provider: str, case: dict[str, Any]) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **case["fields"]}
    with pytest.raises(GatewayError) as caught:
        ADAPTERS[provider].request(json.dumps(request).encode(), Target(model="m"))
    assert (caught.value.code, caught.value.param) == (case["code"], case["param"])
    assert case["param"].split(".")[0] in caught.value.message


# Fields that clients set without meaning anything by it.
IDLE = {
    "n": 1,
    "logprobs": False,
    "logit_bias": {},
    "frequency_penalty": 0,
    "presence_penalty": 0.0,
    "temperature": 1.0,
    "top_p": 1,
    "tools": None,
    "tool_choice": None,
    "response_format": {"type": "text"},
    "modalities": ["text"],
    "seed": None,
    "audio": None,
    "some_new_field": None,
    "parallel_tool_calls": True,
}


@pytest.mark.parametrize("provider", ADAPTERS)
def test_fields_that_say_nothing_are_no_reason_to_refuse(provider: str) -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "Hi", "name": None, "tool_calls": None}], **IDLE}
    made = ADAPTERS[provider].request(json.dumps(request).encode(), Target(model="m"))
    assert made.dropped == ()


@pytest.mark.parametrize(
    "provider",
    [name for name, one in ADAPTERS.items() if one not in COMPATIBLE and name != "openai-responses"],
)
def test_what_is_dropped_is_listed(provider: str) -> None:
    request = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi", "name": "ada", "weather": "fine", "annotations": []}],
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "auto",
    }
    made = ADAPTERS[provider].request(json.dumps(request).encode(), Target(model="m"))
    assert set(made.dropped) == {"messages[0].name", "messages[0].weather", "metadata", "service_tier", "store"}
    assert b"weather" not in made.body


@pytest.mark.parametrize("provider", ADAPTERS)
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'"text"', b'{"choices": 5}', b'{"content": [{}]}', b"\xff\xfe"]
)
def test_an_answer_that_cannot_be_read_is_a_failure_and_not_an_exception(provider: str, body: bytes) -> None:
    answer = ADAPTERS[provider].response(body, Origin(id="i", model="m", created=1))
    assert answer.failure is not None
    assert answer.failure.code == "provider_bad_answer"
    assert answer.json == b""


@pytest.mark.parametrize("provider", ADAPTERS)
@pytest.mark.parametrize("event", [b"<html>", b"[1]", b"{", b"\xff"])
def test_an_event_that_cannot_be_read_ends_the_stream_as_a_failure(provider: str, event: bytes) -> None:
    translator = ADAPTERS[provider].events(Origin(id="i", model="m", created=1))
    line = framed(provider, event)
    assert translator.feed(line) == []
    assert translator.failure is not None
    assert translator.failure.code == "provider_bad_answer"
    assert translator.feed(line) == []
    assert translator.finish() == []
    assert not translator.complete


IN_BAND = {
    "openai": b'data: {"error":{"message":"boom","type":"server_error","code":502}}\n\n',
    "openai-responses": b'event: error\ndata: {"type":"error","code":"server_error","message":"boom","param":null}\n\n',
    "anthropic": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
    "google": b'data: {"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}\r\n\r\n',
    "ollama": b'{"error":"llama runner process has terminated"}\n',
    "bedrock": aws_stream.message("exception", "serviceUnavailableException", b'{"message":"Overloaded"}'),
    "cohere": b'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"ERROR","error":"boom"}}\n\n',
}
IN_BAND["vertex"] = IN_BAND["google"]


@pytest.mark.parametrize("provider", ADAPTERS)
def test_an_error_inside_a_stream_keeps_what_came_before_it(provider: str) -> None:
    case = WIRE / provider / "stream"
    data = (case / "vendor_stream.txt").read_bytes()
    translator = ADAPTERS[provider].events(origin(case))
    half = data.index("wörld".encode())
    start = data[: data.rindex(b"\n", 0, half) + 1]
    before = translator.feed(aws_stream.lines(start) if provider == "bedrock" else start)
    out = translator.feed(IN_BAND.get(provider, IN_BAND["openai"]))
    assert out == []
    assert any("Héllo".encode() in chunk for chunk in before)
    assert translator.failure is not None
    assert translator.failure.code in ("provider_error", "provider_overloaded")
    assert translator.finish() == []
    assert not translator.complete
    assert translator.text_chars == len("Héllo")
