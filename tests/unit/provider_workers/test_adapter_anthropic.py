"""Facts of the Messages API that one wire case would not pin down."""

import json
from typing import Any, get_args

import pytest
from anthropic.types import StopReason
from anthropic.types.model import Model

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters.anthropic import Anthropic
from llmproxy.provider_workers.adapters.base import HttpRequest, Origin, Target
from llmproxy.provider_workers.anthropic_answers import FINISH_REASONS, messages_url
from llmproxy.provider_workers.claude import BY_BUDGET

TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def make(model: str = "claude-opus-4-6", **fields: Any) -> HttpRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return Anthropic().request(json.dumps(body).encode(), Target(model=model))


def request(model: str = "claude-opus-4-6", **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(make(model, **fields).body)
    return found


def test_every_stop_reason_of_the_sdk_is_in_the_table() -> None:
    assert set(get_args(StopReason)) == set(FINISH_REASONS)


def test_a_stop_reason_of_tomorrow_is_a_stop() -> None:
    body = (
        b'{"content":[{"type":"text","text":"x"}],"stop_reason":"sleepy","usage":{"input_tokens":1,"output_tokens":1}}'
    )
    assert Anthropic().response(body, Origin(id="r", model="m", created=1)).finish == "stop"


def test_a_content_block_of_tomorrow_is_passed_over() -> None:
    body = b'{"content":[{"type":"hologram"},{"type":"text","text":"x"}],"stop_reason":"end_turn"}'
    answer = Anthropic().response(body, Origin(id="r", model="m", created=1))
    assert json.loads(answer.json)["choices"][0]["message"]["content"] == "x"


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1/", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("https://api.deepseek.com/anthropic", "https://api.deepseek.com/anthropic/v1/messages"),
    ],
)
def test_the_base_is_taken_with_or_without_its_version_path(base: str, url: str) -> None:
    assert messages_url(base) == url


def test_the_models_that_think_by_budget_are_the_old_ones() -> None:
    assert {model for model in get_args(get_args(Model)[0]) if BY_BUDGET.match(model)} == {
        "claude-haiku-4-5",
        "claude-haiku-4-5-20251001",
        "claude-opus-4-5",
        "claude-opus-4-5-20251101",
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
    }
    old = ["claude-3-7-sonnet-20250219", "claude-sonnet-4-20250514", "claude-opus-4-1", "claude-3-5-haiku-latest"]
    assert all(BY_BUDGET.match(model) for model in old)


@pytest.mark.parametrize(
    ("fields", "thinking", "max_tokens"),
    [
        ({"reasoning_effort": "none"}, None, 4096),
        ({"reasoning_effort": "low"}, {"type": "enabled", "budget_tokens": 1024}, 4096 + 1024),
        ({"reasoning_effort": "high", "max_tokens": 4000}, {"type": "enabled", "budget_tokens": 2000}, 4000),
        ({"reasoning_effort": "high", "max_tokens": 1500}, None, 1500),
        ({"reasoning_effort": "high", "tools": [TOOL], "tool_choice": "required"}, None, 4096),
    ],
)
def test_a_budget_fits_into_max_tokens(fields: dict[str, Any], thinking: Any, max_tokens: int) -> None:
    found = request("claude-sonnet-4-5", **fields)
    assert (found.get("thinking"), found["max_tokens"]) == (thinking, max_tokens)
    dropped = make("claude-sonnet-4-5", **fields).dropped
    assert ("reasoning_effort" in dropped) == (thinking is None and fields["reasoning_effort"] != "none")


@pytest.mark.parametrize(
    ("fields", "thinking", "config"),
    [
        ({"reasoning_effort": "none"}, {"type": "disabled"}, None),
        ({"reasoning_effort": "minimal"}, {"type": "adaptive", "display": "summarized"}, {"effort": "low"}),
        ({"reasoning_effort": "low", "tools": [TOOL], "tool_choice": "required"}, None, {"effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"type": "enabled", "budget_tokens": 2000}, None),
    ],
)
def test_later_models_are_given_an_effort(fields: dict[str, Any], thinking: Any, config: Any) -> None:
    found = request("claude-opus-5", **fields)
    assert (found.get("thinking"), found.get("output_config")) == (thinking, config)


@pytest.mark.parametrize("model", ["claude-sonnet-4-5", "claude-opus-4-6"])
@pytest.mark.parametrize("fields", [{"temperature": 0.5}, {"top_k": 5}, {"top_p": 0.5}])
def test_a_model_that_is_to_think_takes_no_sampling(model: str, fields: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as refused:
        make(model, reasoning_effort="high", **fields)
    assert (refused.value.code, [refused.value.param]) == ("unsupported_parameter", list(fields))
    assert "thinking" in request(model, reasoning_effort="high", temperature=1, top_p=0.95)


def test_a_model_that_goes_on_with_an_answer_does_not_think() -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "So"}]
    made = make("claude-sonnet-4-5", reasoning_effort="high", messages=messages)
    assert "thinking" not in json.loads(made.body)
    assert made.dropped == ("reasoning_effort",)


def test_effort_and_schema_share_output_config() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    config = request(reasoning_effort="high", response_format=form)["output_config"]
    assert config == {"effort": "high", "format": {"type": "json_schema", "schema": schema}}


def test_a_schema_of_any_fields_is_refused_by_name() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    with pytest.raises(GatewayError) as refused:
        make(response_format=form)
    assert refused.value.code == "unsupported_parameter"
    assert refused.value.param == "response_format.json_schema.schema"


def test_a_strict_tool_of_any_fields_is_a_tool_that_is_not_strict() -> None:
    made = make(tools=[{"type": "function", "function": {**TOOL["function"], "strict": True}}])
    assert json.loads(made.body)["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert made.dropped == ("tools[0].function.strict",)


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "required", "parallel_tool_calls": False}, {"type": "any", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, None),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False},
            {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tool_choice(fields: dict[str, Any], choice: Any) -> None:
    assert request(tools=[TOOL], **fields).get("tool_choice") == choice


def test_a_history_of_calls_keeps_its_tools_where_none_is_offered_any_more() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call, {**call, "id": "b"}]},
        {"role": "tool", "tool_call_id": "a", "content": "y"},
        {"role": "tool", "tool_call_id": "b", "content": "z"},
    ]
    found = request(messages=messages)
    assert found["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert found["tool_choice"] == {"type": "none"}


def test_blank_texts_are_left_out_and_turns_alternate() -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": " \n"}]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "so far "},
    ]
    assert request(messages=messages)["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "so far"}]},
    ]


def test_cache_breakpoints_stay_where_they_were_put() -> None:
    part = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}
    found = request(messages=[{"role": "system", "content": [part]}, {"role": "user", "content": [part]}])
    assert found["system"] == [part]
    assert found["messages"][0]["content"] == [part]


def test_a_tool_result_may_hold_an_image_or_nothing() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": [image]},
        {"role": "tool", "tool_call_id": "a", "content": ""},
    ]
    blocks = request(messages=messages)["messages"][2]["content"]
    source = {"type": "base64", "media_type": "image/png", "data": "AA=="}
    assert blocks == [
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image", "source": source}]},
        {"type": "tool_result", "tool_use_id": "a"},
    ]


def test_a_pdf_is_a_document_with_its_name() -> None:
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}
    source = {"type": "base64", "media_type": "application/pdf", "data": "AA=="}
    made = make(messages=[{"role": "user", "content": [part]}])
    assert json.loads(made.body)["messages"][0]["content"] == [{"type": "document", "source": source, "title": "a.pdf"}]
    assert made.dropped == ()


def test_how_closely_to_look_at_an_image_is_dropped_and_listed() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "high"}}
    made = make(messages=[{"role": "user", "content": [part]}])
    assert made.dropped == ("messages[].content[].image_url.detail",)


def test_numbers_in_arguments_keep_their_spelling() -> None:
    arguments = '{"big": 12345678901234567890, "small": 1.50}'
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": arguments}}]},
    ]
    assert b'{"big": 12345678901234567890, "small": 1.50}' in make(messages=messages).body
    body = b'{"content":[{"type":"tool_use","id":"t","name":"f","input":{"big": 12345678901234567890, "small": 1.50}}]}'
    answer = json.loads(Anthropic().response(body, Origin(id="r", model="m", created=1)).json)
    call = answer["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["arguments"] == '{"big":12345678901234567890,"small":1.50}'


def test_usage_of_the_last_event_replaces_only_what_it_says() -> None:
    def event(value: dict[str, Any]) -> bytes:
        return f"event: x\ndata: {json.dumps(value)}\n\n".encode()

    stream = Anthropic().events(Origin(id="r", model="m", created=1))
    usage = {"input_tokens": 5, "cache_read_input_tokens": 7, "cache_creation_input_tokens": None, "output_tokens": 1}
    stream.feed(event({"type": "message_start", "message": {"usage": usage}}))
    assert (stream.usage.input, stream.usage.output) == (12, 1)
    stream.feed(event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}))
    assert (stream.usage.input, stream.usage.cache_read, stream.usage.output) == (12, 7, 9)


def test_what_is_cached_for_an_hour_is_told_apart_whole_and_streamed() -> None:
    counts = {
        "input_tokens": 5,
        "cache_creation_input_tokens": 70,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 60},
        "output_tokens": 1,
    }
    origin = Origin(id="r", model="m", created=1)
    whole = Anthropic().response(json.dumps({"content": [], "usage": counts}).encode(), origin).usage
    stream = Anthropic().events(origin)
    begun = json.dumps({"type": "message_start", "message": {"usage": counts}})
    stream.feed(f"event: x\ndata: {begun}\n\n".encode())
    stream.feed(b'event: x\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":9}}\n\n')
    for usage in (whole, stream.usage):
        assert (usage.input, usage.cache_write, usage.cache_write_hour) == (75, 70, 60)
