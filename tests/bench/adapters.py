"""What translation costs, without anything around it: a 16 KB conversation to each vendor, one chunk of a stream from it.

The vendors' streams are those of the wire cases, with the event that brings text repeated.
"""

import json
import math
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmproxy.common.envelope import Api
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import Adapter, Capability, Origin, Target
from llmproxy.provider_workers.callers import CALLERS

TESTS = Path(__file__).parents[1]
WIRE = TESTS / "conformance" / "wire"
CONVERSATION_BYTES = 16_384
TIMES, CHUNKS = 5, 200  # In one round: short enough that some round is not interrupted.
REQUEST_US_MAX, CHUNK_US_MAX = 300.0, 30.0
BASE = {"azure": "https://example.openai.azure.com"}  # Of vendors who have no address of their own.
ORIGIN = Origin(id="0198c0de-0000-7000-8000-000000000001", model="m", created=1700000000)

WORDS = "The quick brown fox jumps over the lazy dog, says „façade“ and goes home. "


def conversation(*, with_tools: bool = True) -> bytes:
    """An agent's chat of 16 KB: instructions, tools, questions, parallel calls and their results."""
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Where"}},
        "required": ["city"],
    }
    tools = [
        {"type": "function", "function": {"name": f"tool_{number}", "description": WORDS, "parameters": schema}}
        for number in range(8)
    ]
    chat: dict[str, Any] = {"model": "m", "messages": [{"role": "system", "content": WORDS * 8}]}
    chat |= {"max_completion_tokens": 1000, "stream": True} | ({"tools": tools} if with_tools else {})
    for turn in range(1_000):
        ids = [f"call_{turn}_{number}" for number in range(2)]
        calls = [
            {"id": id, "type": "function", "function": {"name": "tool_1", "arguments": json.dumps({"city": WORDS})}}
            for id in ids
        ]
        chat["messages"].append({"role": "user", "content": [{"type": "text", "text": WORDS * 3}]})
        if with_tools:
            chat["messages"] += [
                {"role": "assistant", "content": None, "tool_calls": calls},
                *({"role": "tool", "tool_call_id": id, "content": json.dumps({"said": WORDS})} for id in ids),
            ]
        chat["messages"].append({"role": "assistant", "content": WORDS * 2})
        if len(json.dumps(chat, ensure_ascii=False).encode()) >= CONVERSATION_BYTES:
            break
    chat["messages"].append({"role": "user", "content": "Go on."})
    return json.dumps(chat, ensure_ascii=False).encode()


def least_us(work: Callable[[], object], times: int, rounds: int) -> float:
    """CPU of one call: the least of some rounds, because what else the machine does only adds."""
    best = math.inf
    for _ in range(rounds):
        began = time.thread_time()
        for _ in range(times):
            work()
        best = min(best, time.thread_time() - began)
    return best / times * 1e6


def request_us(adapter: Adapter, model: str, rounds: int) -> float:
    """Of a conversation with tools, or without where a vendor has none."""
    target = Target(model=model, url=BASE.get(adapter.name, ""), stream=True)
    body = conversation(with_tools=Capability.TOOLS in adapter.capabilities)
    return least_us(lambda: adapter.request(body, target), TIMES, rounds)


def chunk_us(adapter: Adapter, events: list[bytes], rounds: int) -> float:
    """Of one event that brings text. Measured over many, in one stream."""
    at = text_event(adapter, events)
    translator = adapter.events(ORIGIN)
    for event in events[:at]:
        translator.feed(event)
    best = least_us(lambda: translator.feed(events[at]), CHUNKS, rounds)
    assert translator.failure is None
    return best


def text_event(adapter: Adapter, events: list[bytes]) -> int:
    """Which event becomes one chunk with text in it."""
    translator = adapter.events(ORIGIN)
    for at, event in enumerate(events):
        chunks = [json.loads(chunk) for chunk in translator.feed(event)]
        if any(choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"] or []):
            return at
    raise AssertionError(f"the stream of {adapter.name} brings no text")


def stream_events(provider: str) -> list[bytes]:
    """The events of the wire case, each with what ends it."""
    data = (WIRE / provider / "stream" / "vendor_stream.txt").read_bytes()
    if provider == "bedrock":
        return binary_events(data)
    ends = rb"(?<=\n\n)|(?<=\r\n\r\n)" if re.search(rb"\n\r?\n", data) else rb"(?<=\n)"
    return [event for event in re.split(ends, data) if event.strip()]


def binary_events(data: bytes) -> list[bytes]:
    sys.path.append(str(TESTS))
    from aws_stream import line

    return [line(one) for one in data.splitlines() if one.strip()]


def caller_body(api: Api) -> bytes:
    """A 16 KB question in another API's words."""
    said = WORDS * (CONVERSATION_BYTES // len(WORDS.encode()))
    message = [{"role": "user", "content": said}]
    bodies: dict[Api, dict[str, Any]] = {
        "completions": {"model": "m", "stream": True, "prompt": said},
        "messages": {"model": "m", "stream": True, "max_tokens": 1000, "messages": message},
        "responses": {"model": "m", "stream": True, "input": message},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": said}]}]},
    }
    return json.dumps(bodies[api], ensure_ascii=False).encode()


def caller_costs(api: Api, rounds: int) -> dict[str, float]:
    """Of reading a body of another API as a chat, and of one canonical chunk as an event of it."""
    caller, body = CALLERS[api], caller_body(api)
    choice = {"index": 0, "delta": {"content": "quick brown"}, "logprobs": None, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    data = json.dumps(chunk).encode()
    events = caller.read(body, stream=True).events(ORIGIN)
    return {
        "request_us": least_us(lambda: caller.read(body, stream=True), TIMES, rounds),
        "chunk_us": least_us(lambda: events.chunk(data), CHUNKS, rounds),
    }


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """{family or API: {"request_us", "chunk_us"}}."""
    found: dict[str, dict[str, float]] = {}
    for name, adapter in ADAPTERS.items():
        facts = json.loads((WIRE / name / "stream" / "case.json").read_bytes())
        found[name] = {
            "request_us": request_us(adapter, facts["target_model"], rounds),
            "chunk_us": chunk_us(adapter, stream_events(name), rounds),
        }
    return found | {f"callers of {api}": caller_costs(api, rounds) for api in CALLERS}
