"""Anthropic's form, told as a chat and told back, says what it said: requests, answers and streams."""

import json
from typing import Any

import pytest
from anthropic.types import RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from upstreams.judges import walk

from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.callers import CALLERS
from llmproxy.provider_workers.callers.composed import Composed
from llmproxy.provider_workers.wire import Origin, Target

ORIGIN = Origin(id="0198c0de-0000-7000-8000-000000000001", model="claude-opus-4-6", created=1)
ANTHROPIC, OPENAI, MESSAGES = ADAPTERS["anthropic"], ADAPTERS["openai"], CALLERS["messages"]
REQUEST = TypeAdapter[Any](MessageCreateParamsNonStreaming)
EVENT = TypeAdapter[Any](RawMessageStreamEvent)
quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

LETTERS = st.characters(codec="utf-8", exclude_characters="\x00")
WORDS = st.text(LETTERS, min_size=1, max_size=12).map(lambda text: f"a{text}z")
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(LETTERS, max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=3)
CACHE = st.sampled_from([{}, {}, {"cache_control": {"type": "ephemeral"}}])


@st.composite
def text(draw: st.DrawFn) -> dict[str, Any]:
    return {"type": "text", "text": draw(WORDS), **draw(CACHE)}


@st.composite
def media(draw: st.DrawFn) -> dict[str, Any]:
    source = draw(
        st.sampled_from(
            [
                {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                {"type": "url", "url": "https://example.com/a.png"},
            ]
        )
    )
    image = {"type": "image", "source": source}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    return {**draw(st.sampled_from([image, pdf])), **draw(CACHE)}


@st.composite
def conversation(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Turns that alternate, every call answered, in the order in which Anthropic wants its blocks."""
    turns: list[dict[str, Any]] = []
    open_calls: list[str] = []
    for number in range(draw(st.integers(1, 3))):
        results = [draw(result(id)) for id in open_calls]
        turns.append({"role": "user", "content": [*results, *draw(st.lists(text() | media(), min_size=1, max_size=3))]})
        open_calls = [f"toolu_{number}_{call}" for call in range(draw(st.integers(0, 2)))]
        calls = [{"type": "tool_use", "id": id, "name": draw(NAMES), "input": draw(OBJECTS)} for id in open_calls]
        thinking = draw(st.lists(thought(), max_size=2))
        said = draw(st.lists(text(), min_size=0 if calls else 1, max_size=2))
        turns.append({"role": "assistant", "content": [*thinking, *said, *calls]})
    turns.append({"role": "user", "content": [*[draw(result(id)) for id in open_calls], draw(text())]})
    return turns


@st.composite
def result(draw: st.DrawFn, id: str) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "tool_result", "tool_use_id": id}
    content = draw(st.none() | WORDS | st.lists(text() | media(), min_size=2, max_size=3))
    if content is not None:
        made["content"] = content
    return {**made, "is_error": True} if draw(st.booleans()) else made


@st.composite
def thought(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"type": "redacted_thinking", "data": draw(NAMES)}
    return {"type": "thinking", "thinking": draw(WORDS), "signature": draw(NAMES)}


@st.composite
def request(draw: st.DrawFn) -> dict[str, Any]:
    made: dict[str, Any] = {
        "model": "claude-opus-4-6",
        "max_tokens": draw(st.integers(1, 9_999)),
        "messages": draw(conversation()),
    }
    made["tools"] = [{"name": name, **draw(tool())} for name in draw(st.lists(NAMES, min_size=1, max_size=3))]
    optional = {
        "system": st.lists(text(), min_size=1, max_size=2),
        "stop_sequences": st.lists(WORDS, min_size=1, max_size=2),
        "metadata": st.fixed_dictionaries({"user_id": WORDS}),
        "tool_choice": st.sampled_from(
            [
                {"type": "auto"},
                {"type": "none"},
                {"type": "any"},
                {"type": "tool", "name": "f"},
                {"type": "auto", "disable_parallel_tool_use": True},
                {"type": "any", "disable_parallel_tool_use": True},
            ]
        ),
        "top_k": st.integers(1, 99),
        "temperature": st.sampled_from([0, 0.25, 0.5]),
        "top_p": st.sampled_from([0.1, 0.9]),
    }
    for name, values in optional.items():
        if draw(st.booleans()):
            made[name] = draw(values)
    return made


@st.composite
def tool(draw: st.DrawFn) -> dict[str, Any]:
    fields = draw(st.dictionaries(NAMES, st.just({"type": "string"}), max_size=2))
    schema: dict[str, Any] = {"type": "object", "properties": fields}
    described = {"description": draw(WORDS)} if draw(st.booleans()) else {}
    strict = {"strict": True} if draw(st.booleans()) else {}
    if strict:
        schema["additionalProperties"] = False
    return {**described, "input_schema": schema, **strict, **draw(CACHE)}


@quick
@given(asked=request())
def test_a_request_told_as_a_chat_and_back_keeps_everything(asked: dict[str, Any]) -> None:
    walk(REQUEST.validate_python({name: value for name, value in asked.items() if name not in SAMPLING}))
    chat = MESSAGES.read(json.dumps(asked).encode(), stream=False)
    again = ANTHROPIC.request(chat.canonical, Target(model=asked["model"]))
    assert chat.dropped == again.dropped == ()
    assert json.loads(again.body) == asked


SAMPLING = {"temperature", "top_p", "top_k"}  # The package's newest types have none.


def message(content: list[dict[str, Any]], stop_reason: str, usage: dict[str, int]) -> dict[str, Any]:
    return {
        "id": "msg_0198c0de000070008000000000000001",
        "type": "message",
        "role": "assistant",
        "model": ORIGIN.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


@st.composite
def answer(draw: st.DrawFn) -> dict[str, Any]:
    calls = [
        {"type": "tool_use", "id": f"toolu_{number}", "name": draw(NAMES), "input": draw(OBJECTS)}
        for number in range(draw(st.integers(0, 3)))
    ]
    thinking = draw(st.lists(thought(), max_size=2))
    said = [{"type": "text", "text": draw(WORDS)}] if draw(st.booleans()) else []
    counts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    usage = {name: draw(st.integers(0, 9_999)) for name in counts}
    reason = draw(st.sampled_from(["tool_use" if calls else "end_turn", "max_tokens"]))
    return message([*thinking, *said, *calls], reason, usage)


def asked_once() -> Composed:
    composed = Composed(MESSAGES, ANTHROPIC)
    body = {"model": ORIGIN.model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    composed.request(json.dumps(body).encode(), Target(model=ORIGIN.model))
    return composed


@quick
@given(said=answer())
def test_an_answer_told_as_a_chat_and_back_keeps_everything(said: dict[str, Any]) -> None:
    told = asked_once().response(json.dumps(said).encode(), ORIGIN)
    assert told.failure is None
    assert json.loads(told.json) == said


def streamed(said: dict[str, Any], sizes: int) -> bytes:
    """The same answer as Anthropic streams it, in pieces of `sizes` characters."""
    start = {**said, "content": [], "stop_reason": None, "usage": {**said["usage"], "output_tokens": 0}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(said["content"]):
        opened, deltas = opening(block, sizes)
        events.append({"type": "content_block_start", "index": index, "content_block": opened})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": said["stop_reason"], "stop_sequence": None}
    events.append(
        {"type": "message_delta", "delta": ending, "usage": {"output_tokens": said["usage"]["output_tokens"]}}
    )
    events.append({"type": "message_stop"})
    return b"".join(b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n" for event in events)


def opening(block: dict[str, Any], size: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    def pieces(text: str) -> list[str]:
        return [text[at : at + size] for at in range(0, len(text), size)]

    match block["type"]:
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*deltas, signed]
        case "tool_use":
            parts = pieces(json.dumps(block["input"]))
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in parts]
    return block, []


def accumulated(events: list[bytes]) -> dict[str, Any]:
    """What a client makes of a stream; it insists on the order of the API."""
    made: dict[str, Any] = {}
    is_open = False
    for raw in events:
        EVENT.validate_json(raw, strict=True)
        event = json.loads(raw)
        match event["type"]:
            case "message_start":
                assert not made
                made = event["message"]
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(made["content"])
                made["content"].append(event["content_block"])
                is_open, arguments = True, ""
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(made["content"]) - 1
                block, delta = made["content"][-1], event["delta"]
                if delta["type"] == "input_json_delta":
                    arguments += delta["partial_json"]
                else:
                    name = delta["type"].removesuffix("_delta")
                    block[name] += delta[name]
            case "content_block_stop":
                assert is_open
                is_open = False
                if made["content"][-1]["type"] == "tool_use":
                    made["content"][-1]["input"] = json.loads(arguments or "{}")
            case "message_delta":
                assert not is_open
                made |= event["delta"]
                made["usage"] |= event["usage"]
    assert json.loads(events[-1]) == {"type": "message_stop"}
    return made


@quick
@given(said=answer(), size=st.integers(1, 9), cut=st.integers(1, 99))
def test_a_stream_told_as_a_chat_and_back_makes_the_same_message(said: dict[str, Any], size: int, cut: int) -> None:
    data = streamed(said, size)
    stream = asked_once().events(ORIGIN)
    out = [event for at in range(0, len(data), cut) for event in stream.feed(data[at : at + cut])] + stream.finish()
    assert stream.complete
    assert accumulated(out) == said


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[int, tuple[str, dict[str, Any]]]]:
    """Deltas of parallel calls in any order that keeps each call's own, and the calls that they make."""
    calls = {index: (draw(NAMES), draw(OBJECTS)) for index in range(draw(st.integers(1, 4)))}
    left = {
        index: [json.dumps(arguments)[at : at + 5] for at in range(0, len(json.dumps(arguments)), 5)]
        for index, (_, arguments) in calls.items()
    }
    deltas = []
    begun: set[int] = set()
    while any(left.values()) or len(begun) < len(calls):
        ready = [index for index in calls if index in begun and left[index]] + sorted(set(calls) - begun)[:1]
        index = draw(st.sampled_from(ready))
        function: dict[str, Any] = {}
        call: dict[str, Any] = {"index": index, "function": function}
        if index not in begun:
            begun.add(index)
            call |= {"id": f"call_{index}", "type": "function"}
            function["name"] = calls[index][0]
        elif left[index]:
            function["arguments"] = left[index].pop(0)
        deltas.append({"tool_calls": [call]})
    return deltas, calls


@quick
@given(made=interleaved())
def test_calls_whose_fragments_are_interleaved_are_told_one_after_the_other(
    made: tuple[list[dict[str, Any]], dict[int, tuple[str, dict[str, Any]]]],
) -> None:
    deltas, calls = made
    found = told(deltas, "tool_calls")
    assert [(block["id"], block["name"], block["input"]) for block in found["content"]] == [
        (f"call_{index}", name, arguments) for index, (name, arguments) in calls.items()
    ]
    assert found["stop_reason"] == "tool_use"


def told(deltas: list[dict[str, Any]], finish: str) -> dict[str, Any]:
    """The message that a chat's stream of these deltas becomes."""
    chunks = [
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        for choice in [
            *({"index": 0, "delta": delta, "finish_reason": None} for delta in deltas),
            {"index": 0, "delta": {}, "finish_reason": finish},
        ]
    ]
    composed = Composed(MESSAGES, OPENAI)
    composed.request(
        b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}', Target(model="m", stream=True)
    )
    stream = composed.events(ORIGIN)
    data = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    return accumulated(stream.feed(data) + stream.finish())


@pytest.mark.parametrize("index", [0, None])
def test_calls_of_a_server_that_does_not_number_them_stay_apart(index: int | None) -> None:
    calls = [
        {"index": index, "id": f"call_{name}", "function": {"name": name, "arguments": json.dumps({"of": name})}}
        for name in ("f", "g")
    ]
    found = told([{"tool_calls": [call]} for call in calls], "tool_calls")
    assert [(block["name"], block["input"]) for block in found["content"]] == [("f", {"of": "f"}), ("g", {"of": "g"})]


def test_what_was_thought_and_said_in_one_chunk_are_both_told() -> None:
    found = told(
        [{"reasoning_content": "Hm."}, {"reasoning_content": " So:", "content": "Yes"}, {"content": "."}], "stop"
    )
    assert [block.get("thinking") or block.get("text") for block in found["content"]] == ["Hm. So:", "Yes."]
