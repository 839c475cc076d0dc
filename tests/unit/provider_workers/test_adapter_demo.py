"""The demo provider is deterministic, says that it is the demo, and echoes what it was sent."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters import DEMO
from llmproxy.provider_workers.adapters.base import Origin
from llmproxy.provider_workers.adapters.demo import EXAMPLE_NODES_MAX, example

ORIGIN = Origin(id="0198c0de-0000-7000-8000-000000000001", model="demo", created=1700000000, include_usage=True)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}, "note": {}},
            "required": ["city", "days"],
        },
    },
}


def body(said: str = "hello", **fields: Any) -> bytes:
    return json.dumps({"model": "demo", "messages": [{"role": "user", "content": said}], **fields}).encode()


def answer(said: str = "hello", **fields: Any) -> ChatCompletion:
    return ChatCompletion.model_validate_json(DEMO.answer(body(said, **fields), ORIGIN).json, strict=True)


def chunks(said: str = "hello", **fields: Any) -> list[ChatCompletionChunk]:
    made = DEMO.chunks(body(said, **fields), ORIGIN)
    return [ChatCompletionChunk.model_validate_json(chunk, strict=True) for chunk in made]


def test_it_names_itself_and_echoes() -> None:
    found = answer("write to ada@example.com")
    assert found.choices[0].message.content == "demo: you said: write to ada@example.com"
    assert (found.model, found.system_fingerprint) == ("demo", "demo")
    assert found.usage is not None
    assert found.usage.prompt_tokens == 6


def test_a_model_of_another_name_is_still_the_demo() -> None:
    found = DEMO.answer(body(), Origin(id="r", model="gpt-5", created=1))
    assert json.loads(found.json)["model"] == "demo"


def test_what_it_counts_is_marked_as_estimated() -> None:
    assert DEMO.answer(body(), ORIGIN).usage.estimated


@given(st.text(max_size=200), st.integers(0, 30), st.integers(1, 3), st.lists(st.text(max_size=2), max_size=4))
def test_the_streamed_answer_is_the_whole_one(said: str, most: int, n: int, stops: list[str]) -> None:
    asked = {"max_tokens": most, "n": n, "stop": stops}
    whole, streamed = answer(said, **asked), chunks(said, **asked)
    for choice in whole.choices:
        mine = [one for chunk in streamed for one in chunk.choices if one.index == choice.index]
        assert "".join(one.delta.content or "" for one in mine) == choice.message.content
        assert mine[-1].finish_reason == choice.finish_reason
    assert streamed[-1].usage == whole.usage


def test_max_tokens_cuts_the_answer() -> None:
    found = answer("hello", max_tokens=2).choices[0]
    assert (found.message.content, found.finish_reason) == ("demo: yo", "length")


@pytest.mark.parametrize(
    ("fields", "content", "finish"),
    [
        ({"stop": "said"}, "demo: you ", "stop"),
        ({"stop": ["hello", "you", "demo: you said"]}, "demo: ", "stop"),
        ({"stop": ["u said: hello", "said"]}, "demo: you ", "stop"),  # The second is complete before the first.
        ({"stop": ["HELLO", ""]}, "demo: you said: hello", "stop"),
        ({"stop": "demo"}, "", "stop"),
        ({"stop": "you", "max_tokens": 3}, "demo: ", "stop"),
        ({"stop": "you", "max_tokens": 2}, "demo: yo", "length"),
        ({"stop": "hello", "max_tokens": 2}, "demo: yo", "length"),
    ],
)
def test_it_ends_before_a_stop_sequence(fields: dict[str, Any], content: str, finish: str) -> None:
    found = answer("hello", **fields)
    assert (found.choices[0].message.content, found.choices[0].finish_reason) == (content, finish)
    assert found.usage is not None
    assert found.usage.completion_tokens == -(-len(content) // 4)
    streamed = [one for chunk in chunks("hello", **fields) for one in chunk.choices]
    assert "".join(one.delta.content or "" for one in streamed) == content
    assert streamed[-1].finish_reason == finish


@pytest.mark.parametrize(
    "fields",
    [
        {"said": "please call get_weather."},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
    ],
)
def test_it_calls_a_tool_that_is_asked_for(fields: dict[str, Any]) -> None:
    fields = {"said": "ada@example.com", **fields}
    found = answer(**fields, tools=[WEATHER]).choices[0]
    assert found.finish_reason == "tool_calls"
    assert found.message.content is None
    assert found.message.tool_calls is not None
    (call,) = found.message.tool_calls
    assert call.type == "function"
    assert len(call.id) <= 40
    assert json.loads(call.function.arguments) == {"city": fields["said"], "days": 1}
    streamed = [
        one
        for chunk in chunks(**fields, tools=[WEATHER])
        for choice in chunk.choices
        for one in choice.delta.tool_calls or []
    ]
    assert streamed[0].id == call.id
    assert "".join(one.function.arguments or "" for one in streamed if one.function) == call.function.arguments


@pytest.mark.parametrize("fields", [{}, {"said": "call get_weather", "tool_choice": "none"}, {"said": "call nobody"}])
def test_it_calls_no_tool_that_is_not_asked_for(fields: dict[str, Any]) -> None:
    assert answer(**fields, tools=[WEATHER]).choices[0].finish_reason == "stop"


def test_it_answers_a_tool_result() -> None:
    messages = [
        {"role": "user", "content": "call get_weather"},
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "get_weather", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "18"}]},
    ]
    assert answer(messages=messages, tools=[WEATHER]).choices[0].message.content == "demo: the tool answered: 18"


def test_several_tools_are_called_unless_one_at_a_time_is_asked_for() -> None:
    other = {"type": "function", "function": {"name": "get_time"}}
    said = "call get_weather and call get_time"
    assert len(answer(said, tools=[WEATHER, other]).choices[0].message.tool_calls or []) == 2
    one = answer(said, tools=[WEATHER, other], parallel_tool_calls=False)
    assert len(one.choices[0].message.tool_calls or []) == 1


def test_json_mode_gives_json() -> None:
    content = answer("hi", response_format={"type": "json_object"}).choices[0].message.content
    assert json.loads(content or "") == {"demo": True, "you_said": "hi"}


def test_a_schema_is_followed() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 3},
            "kind": {"enum": ["a", "b"]},
            "at": {"type": "string", "format": "date"},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        },
        "required": ["name", "kind", "at", "tags", "maybe"],
        "$defs": {"tag": {"type": ["null", "boolean"]}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    content = answer("hello", response_format=form).choices[0].message.content
    assert json.loads(content or "") == {
        "name": "hel",
        "kind": "a",
        "at": "2000-01-01",
        "tags": [True, True],
        "maybe": None,
    }


def test_a_schema_that_refers_to_itself_ends() -> None:
    bomb = {"type": "object", "properties": {k: {"$ref": "#"} for k in "abcdefgh"}, "required": list("abcdefgh")}
    assert len(json.dumps(example(bomb, ""))) < EXAMPLE_NODES_MAX * 20
    assert example({"$ref": "#"}, "") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "required",
                    "items",
                    "anyOf",
                    "$ref",
                    "enum",
                    "minItems",
                    "maxLength",
                    "minimum",
                    "exclusiveMinimum",
                ]
            ),
            inner | st.sampled_from(["object", "array", "string", "number", "#", "#/properties"]),
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_schema_at_all_gives_an_example(schema: Any) -> None:
    json.dumps(example(schema, "said"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "nobody"}}}, "tool_choice"),
    ],
)
def test_what_it_cannot_do_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        DEMO.answer(body(**fields), ORIGIN)
    assert caught.value.param == param
