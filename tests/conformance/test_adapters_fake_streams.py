"""What every fake streams is one answer, however the network cuts it, and the same answer as the whole one."""

import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from upstreams import MODELS, VENDORS, Behaviour, judge

from llmproxy.fakes.conversation import Asked, Recorded, Script, write
from llmproxy.fakes.vendor import Operation
from llmproxy.provider_workers.adapters import ADAPTERS, speaker
from llmproxy.provider_workers.adapters.base import Adapter, Capability, Origin, Target

VENDOR = {"openai-responses": "openai"}
CASES = [(name, MODELS[VENDOR.get(name, name)]) for name in sorted(ADAPTERS)] + [("vertex", "claude-opus-4-6")]
ORIGIN = Origin(id="0198c0de-0000-7000-8000-000000000001", model="m", created=1_700_000_000, include_usage=True)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("look", "walk")]
FORM = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
QUESTIONS: dict[str, tuple[dict[str, Any], Capability]] = {
    "text": ({}, Capability.STREAM),
    "tools": ({"tools": TOOLS}, Capability.PARALLEL_TOOLS),
    "reasoning": ({"reasoning_effort": "low", "max_completion_tokens": 8000}, Capability.REASONING),
    "schema": ({"response_format": FORM}, Capability.JSON_SCHEMA),
}


def asked_of(name: str, model: str, question: str, *, stream: bool) -> tuple[Adapter, Operation, Asked, Script]:
    """The adapter's request as the fake reads it, and what the fake says to it."""
    vendor = VENDORS[VENDOR.get(name, name)]
    adapter = speaker(ADAPTERS[name], model)
    body = {"model": "m", "messages": [{"role": "user", "content": "look, walk: ünï 👋"}], "stream": stream}
    made = adapter.request(
        json.dumps({**body, **QUESTIONS[question][0]}).encode(),
        Target(model=model, url=f"http://fake{vendor.base}", stream=stream),
    )
    at = urlsplit(made.url)
    recorded = Recorded(made.method, unquote(at.path), at.query, dict(made.headers), made.body)
    judge(vendor, recorded)
    operation = vendor.operation(made.method, recorded.path)
    assert operation is not None
    asked = operation.ask(recorded, Behaviour())
    return adapter, operation, asked, write(asked, None, Behaviour(cached_tokens=4), vendor.call_id)


def wire(operation: Operation, script: Script, asked: Asked) -> bytes:
    """The stream's bytes, with what keeps connections open between the events."""
    events = operation.events(script, asked)
    return b"".join(event + operation.keep_alive for event in events) + operation.end(script, asked)


def read(adapter: Adapter, pieces: Iterator[bytes]) -> tuple[list[bytes], Any, str]:
    translator, chunks = adapter.events(ORIGIN), list[bytes]()
    for piece in pieces:
        chunks += translator.feed(piece)
    chunks += translator.finish()
    assert translator.failure is None
    assert translator.complete
    return chunks, translator.usage, translator.finish_reason


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def cut_anywhere(data: bytes, seed: int) -> Iterator[bytes]:
    chance, at = random.Random(seed), 0
    while at < len(data):
        size = chance.randint(1, 90)
        yield data[at : at + size]
        at += size


def assembled(chunks: list[bytes]) -> tuple[str, str, list[tuple[str, dict[str, Any]]]]:
    """(text, thoughts, calls)"""
    text, thoughts, calls = "", "", dict[int, list[str]]()
    for chunk in chunks:
        for choice in json.loads(chunk)["choices"]:
            delta = choice["delta"]
            text += delta.get("content") or ""
            thoughts += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls") or []:
                known = calls.setdefault(call["index"], ["", ""])
                known[0] += call["function"].get("name") or ""
                known[1] += call["function"].get("arguments") or ""
    return text, thoughts, [(name, json.loads(arguments)) for _, (name, arguments) in sorted(calls.items())]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(("name", "model"), CASES, ids=[f"{name}-{model}" for name, model in CASES])
def test_a_stream_is_one_answer_however_it_is_cut(name: str, model: str, question: str) -> None:
    needed = QUESTIONS[question][1]
    if needed not in ADAPTERS[name].capabilities:
        pytest.skip(f"{name} declares that it has no {needed}")
    adapter, operation, asked, script = asked_of(name, model, question, stream=True)
    data = wire(operation, script, asked)
    at_once = read(adapter, iter([data]))
    assert read(adapter, cut(data, 1)) == at_once
    for seed in range(5):
        assert read(adapter, cut_anywhere(data, seed)) == at_once

    adapter, operation, asked, script = asked_of(name, model, question, stream=False)
    whole = adapter.response(operation.answer(script, asked).data, ORIGIN)
    assert whole.failure is None
    message = json.loads(whole.json)["choices"][0]["message"]
    called = [
        (one["function"]["name"], json.loads(one["function"]["arguments"])) for one in message.get("tool_calls") or []
    ]
    assert assembled(at_once[0]) == (message["content"] or "", message.get("reasoning_content") or "", called)
    assert (at_once[1], at_once[2]) == (whole.usage, whole.finish)
