"""What the Responses API asks that a chat cannot say, and what it carries for endpoints that are not its own."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.callers.responses import Responses
from llmproxy.provider_workers.carried import Carried, pack, unpack
from llmproxy.provider_workers.wire import Origin

ORIGIN = Origin(id="0198c0de-0000-7000-8000-000000000001", model="m", created=1700000000)
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "Hi", **fields}).encode()


def canonical(**fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Responses().read(body(**fields), stream=False).canonical)
    return found


def refusal(**fields: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        Responses().read(body(**fields), stream=False)
    assert caught.value.status == 400
    return caught.value


def completion(message: dict[str, Any], finish: str = "stop") -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish}]}).encode()


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()


def response(message: dict[str, Any], **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        Responses().read(body(**fields), stream=False).response(completion(message), ORIGIN)
    )
    return found


def streamed(*deltas: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    events = Responses().read(body(**fields), stream=True).events(ORIGIN)
    out = [event for delta in deltas for event in events.chunk(chunk(delta))]
    return [json.loads(event) for event in [*out, *events.chunk(chunk({}, "stop")), *events.end(Usage(input=1))]]


@pytest.mark.parametrize(
    ("field", "value", "fix"),
    [
        ("previous_response_id", "resp_1", "send the whole conversation in 'input'"),
        ("conversation", "conv_1", "send the whole conversation in 'input'"),
        ("conversation", {"id": "conv_1"}, "send the whole conversation in 'input'"),
        ("store", True, "send 'store': false"),
        ("background", True, "send 'background': false"),
        ("prompt", {"id": "pmpt_1"}, "'instructions'"),
        ("truncation", "auto", "shorten 'input'"),
        ("context_management", [{"type": "compaction"}], "shorten 'input'"),
        ("some_new_field", 1, "leave it out"),
    ],
)
def test_what_the_gateway_would_have_to_remember_is_refused_with_the_fix(field: str, value: Any, fix: str) -> None:
    error = refusal(**{field: value})
    assert (error.code, error.param) == ("unsupported_parameter", field)
    assert fix in error.message


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": None, "conversation": None, "prompt": None, "some_new_field": None},
        {"store": False, "background": False, "truncation": "disabled"},
        {"store": None, "tools": [], "tool_choice": "auto", "text": {}, "reasoning": None, "include": []},
        {"stream_options": {"include_obfuscation": False}, "text": {"format": {"type": "text"}}},
    ],
)
def test_fields_that_say_nothing_are_no_reason_to_refuse(fields: dict[str, Any]) -> None:
    asked = Responses().read(body(**fields), stream=False)
    assert asked.dropped == ()
    assert json.loads(asked.canonical)["messages"] == [{"role": "user", "content": "Hi"}]


def test_the_answer_says_that_nothing_is_stored() -> None:
    assert response({"content": "Hello"})["store"] is False


@pytest.mark.parametrize("kind", ["web_search", "file_search", "mcp", "code_interpreter", "custom", "local_shell"])
def test_a_hosted_tool_is_refused_by_name(kind: str) -> None:
    error = refusal(tools=[FUNCTION, {"type": kind, "name": "x", "parameters": 5, "strict": "?"}])
    assert (error.code, error.param) == ("unsupported_parameter", "tools[1].type")
    assert f"'{kind}'" in error.message


@pytest.mark.parametrize(
    ("items", "code", "param"),
    [
        ([{"type": "item_reference", "id": "msg_1"}], "unsupported_parameter", "input[0]"),
        ([{"type": "web_search_call", "id": "ws_1", "action": {}}], "unsupported_parameter", "input[0].type"),
        ([{"type": "computer_call_output", "output": {"a": 1}}], "unsupported_parameter", "input[0].type"),
        ([{"role": "user", "content": 5}], "invalid_type", "input[0].content"),
        ([{"role": "user", "content": [{"text": "x"}]}], "missing_required_parameter", "input[0].content[0].type"),
        ([{"role": "critic", "content": "x"}], "invalid_value", "input[0].role"),
        (["text"], "invalid_type", "input[0]"),
        ([{"type": "function_call", "name": "f"}], "missing_required_parameter", "input[0].call_id"),
        ([{"type": "function_call", "call_id": "c"}], "missing_required_parameter", "input[0].name"),
        ([{"type": "function_call_output", "output": "x"}], "missing_required_parameter", "input[0].call_id"),
        (
            [{"type": "function_call", "call_id": "c", "name": "f", "namespace": "n"}],
            "unsupported_parameter",
            "input[0].namespace",
        ),
        (
            [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}],
            "unsupported_parameter",
            "input[0].content[0].file_id",
        ),
        (
            [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x.example/a.pdf"}]}],
            "unsupported_parameter",
            "input[0].content[0].file_url",
        ),
        (
            [{"role": "user", "content": [{"type": "input_image"}]}],
            "missing_required_parameter",
            "input[0].content[0].image_url",
        ),
        (
            [{"role": "user", "content": [{"type": "input_file"}]}],
            "missing_required_parameter",
            "input[0].content[0].file_data",
        ),
        ([{"role": "user", "content": [{"type": "hologram"}]}], "invalid_value", "input[0].content[0].type"),
        (
            [{"role": "assistant", "content": [{"type": "input_image", "image_url": "data:,"}]}],
            "invalid_value",
            "input[0].content[0].type",
        ),
        (
            [{"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "llmproxy:%%%"}],
            "invalid_value",
            "input[0].encrypted_content",
        ),
    ],
)
def test_an_item_that_cannot_be_told_is_refused_with_its_place(items: list[Any], code: str, param: str) -> None:
    error = refusal(input=items)
    assert (error.code, error.param) == (code, param)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"input": None}, "missing_required_parameter", "input"),
        ({"tool_choice": {"type": "web_search"}}, "unsupported_parameter", "tool_choice"),
        ({"tool_choice": "sometimes"}, "invalid_value", "tool_choice"),
        (
            {
                "tools": [FUNCTION],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "g"}],
                },
            },
            "invalid_value",
            "tool_choice.tools[0]",
        ),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name"),
        ({"text": {"format": {"type": "grammar"}}}, "unsupported_parameter", "text.format.type"),
        ({"reasoning": {"mode": "pro"}}, "unsupported_parameter", "reasoning.mode"),
        ({"reasoning": {"context": "all_turns"}}, "unsupported_parameter", "reasoning.context"),
        ({"include": ["something.else"]}, "unsupported_parameter", "include[0]"),
        ({"temperature": "hot"}, "invalid_type", "temperature"),
    ],
)
def test_a_field_that_cannot_be_told_is_refused_by_name(fields: dict[str, Any], code: str, param: str) -> None:
    error = refusal(**fields)
    assert (error.code, error.param) == (code, param)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"model":"m","input":' + b"[" * 20_000 + b"]" * 20_000 + b"}"])
def test_a_body_that_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        Responses().read(raw, stream=False)
    assert caught.value.status == 400


def test_sound_goes_to_models_that_hear() -> None:
    sound = {"data": "UklGRg==", "format": "wav"}
    said = canonical(input=[{"role": "user", "content": [{"type": "input_audio", "input_audio": sound}]}])
    assert said["messages"][0]["content"] == [{"type": "input_audio", "input_audio": sound}]


def test_reasoning_after_an_answer_begins_a_new_message_and_between_calls_does_not() -> None:
    def thought(text: str) -> dict[str, Any]:
        return {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": text}]}

    def call(name: str) -> dict[str, Any]:
        return {"type": "function_call", "call_id": name, "name": name, "arguments": "{}"}

    said = canonical(
        input=[
            thought("a"),
            {"role": "assistant", "content": "I look."},
            thought("b"),
            call("f"),
            thought("c"),
            call("g"),
        ]
    )
    first, second = said["messages"]
    assert (first["reasoning_content"], first["content"]) == ("a", "I look.")
    assert second["reasoning_content"] == "bc"
    assert [one["id"] for one in second["tool_calls"]] == ["f", "g"]


def test_a_summary_of_several_parts_is_paragraphs_again() -> None:
    parts = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    said = canonical(input=[{"type": "reasoning", "id": "rs", "summary": parts}, {"role": "assistant", "content": "x"}])
    assert said["messages"][0]["reasoning_content"] == "a\n\nb"


def test_numbers_keep_the_spelling_of_an_integer() -> None:
    raw = Responses().read(b'{"model":"m","input":"x","temperature":1,"top_p":0.5}', stream=False).canonical
    assert b'"temperature":1,' in raw


def test_signed_thinking_comes_back_to_the_byte() -> None:
    block = '{"type":"thinking", "thinking":"h\u00e9 \\u00e9","signature":"c2ln" , "x":1.0}'
    raw = b'{"choices":[{"index":0,"message":{"content":"42","thinking_blocks":[' + block.encode() + b"]}}]}"
    answer = json.loads(Responses().read(body(), stream=False).response(raw, ORIGIN))
    again = Responses().read(body(input=[*answer["output"], {"role": "user", "content": "And?"}]), stream=False)
    assert block.encode() in again.canonical


@settings(max_examples=60, deadline=None)
@given(st.text(), st.dictionaries(st.text(max_size=5), st.integers(), max_size=3))
def test_what_is_carried_is_what_was_given(name: str, value: dict[str, int]) -> None:
    raw = Raw(json.dumps(value).encode())
    found = unpack(pack(Carried(calls={name: raw}, message=raw)))
    assert found is not None
    assert json.loads(bytes(found.calls[name])) == value
    assert json.loads(bytes(found.message)) == value


def test_what_another_endpoint_sealed_is_dropped_and_listed() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    asked = Responses().read(body(input=[item, {"role": "user", "content": "Hi"}]), stream=False)
    assert asked.dropped == ("input[0].encrypted_content",)


def test_fragments_of_parallel_calls_may_be_interleaved() -> None:
    def fragment(index: int, arguments: str, name: str = "") -> dict[str, Any]:
        more = {"id": f"call_{index}"} if name else {}
        return {
            "tool_calls": [{"index": index, **more, "function": {"name": name or None, "arguments": arguments}}],
        }

    events = streamed(fragment(0, '{"a"', "f"), fragment(1, '{"b"', "g"), fragment(0, ":1}"), fragment(1, ":2}"))
    calls = events[-1]["response"]["output"]
    assert [(call["name"], call["arguments"]) for call in calls] == [("f", '{"a":1}'), ("g", '{"b":2}')]


@pytest.mark.parametrize("index", [0, None])
def test_calls_of_a_server_that_does_not_number_them_stay_apart(index: int | None) -> None:
    def call(name: str) -> dict[str, Any]:
        return {"index": index, "id": f"call_{name}", "function": {"name": name, "arguments": "{}"}}

    events = streamed({"tool_calls": [call("f")]}, {"tool_calls": [call("g")]})
    assert [item["call_id"] for item in events[-1]["response"]["output"]] == ["call_f", "call_g"]


def test_a_call_without_an_index_goes_on_with_what_follows() -> None:
    events = streamed(
        {"tool_calls": [{"id": "call_1", "function": {"name": "f", "arguments": '{"a"'}}]},
        {"tool_calls": [{"function": {"arguments": ":1}"}}]},
    )
    assert [item["arguments"] for item in events[-1]["response"]["output"]] == ['{"a":1}']


def test_text_between_two_thoughts_is_an_item_of_its_own() -> None:
    events = streamed({"reasoning": "a"}, {"content": "b"}, {"reasoning": "c"}, {"content": "d"})
    assert [item["type"] for item in events[-1]["response"]["output"]] == [
        "reasoning",
        "message",
        "reasoning",
        "message",
    ]


def test_a_chunk_that_cannot_be_read_is_the_providers_fault() -> None:
    events = Responses().read(body(), stream=True).events(ORIGIN)
    with pytest.raises(GatewayError) as caught:
        events.chunk(b'{"choices":[{"delta":{"content":[]}}]}')
    assert caught.value.code == "provider_bad_answer"


def test_an_answer_without_a_chunk_is_a_response_all_the_same() -> None:
    events = Responses().read(body(), stream=True).events(ORIGIN)
    kinds = [json.loads(event)["type"] for event in events.end(Usage())]
    assert kinds == ["response.created", "response.in_progress", "response.completed"]


deltas = st.one_of(
    st.text(min_size=1, max_size=4).map(lambda text: {"content": text}),
    st.text(min_size=1, max_size=4).map(lambda text: {"reasoning_content": text}),
    st.text(min_size=1, max_size=4).map(lambda text: {"refusal": text}),
    st.tuples(st.integers(0, 2), st.text(max_size=4)).map(
        lambda call: {
            "tool_calls": [{"index": call[0], "id": f"c{call[0]}", "function": {"name": "f", "arguments": call[1]}}]
        }
    ),
    st.just({"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]}),
    st.just({"extra_content": {"google": {"thought_signature": "x"}}}),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(deltas, max_size=12), st.sampled_from(["stop", "length", "tool_calls", "content_filter", "odd"]))
def test_any_stream_of_deltas_is_told_completely_and_in_the_apis_own_types(
    said: list[dict[str, Any]], finish: str
) -> None:
    events = Responses().read(body(tools=[FUNCTION]), stream=True).events(ORIGIN)
    out = [event for delta in said for event in events.chunk(chunk(delta))]
    out += [*events.chunk(chunk({}, finish)), *events.end(Usage(input=3, output=2))]
    found = [EVENTS.validate_json(event, strict=True) for event in out]
    assert [event.sequence_number for event in found] == list(range(len(found)))
    final = found[-1].response
    assert isinstance(final, Response)
    told = {"content": "", "reasoning_content": "", "refusal": ""}
    for item in final.output:
        if item.type == "message":
            told["content"] += "".join(part.text for part in item.content if part.type == "output_text")
            told["refusal"] += "".join(part.refusal for part in item.content if part.type == "refusal")
        elif item.type == "reasoning":
            told["reasoning_content"] += "".join(part.text for part in item.summary)
    for name, text in told.items():
        assert text == "".join(delta.get(name, "") for delta in said)


EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
