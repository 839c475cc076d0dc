"""Bodies and chunks of OpenAI's format pass through as they are."""

import json
from typing import Any

import pytest

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.adapters.base import Origin, StreamTranslator, Target
from llmproxy.provider_workers.adapters.openai import OPENAI
from llmproxy.provider_workers.compatible_requests import UNVERSIONED_HOSTS, chat_url

ODD = (
    b'{"zeta": 1.50, "model":"gpt-5", "messages":[ {"role":"user","content":"\\u00e9 \\/ x","x_unknown":{"b":1,"a":2}} ],'
    b'"temperature":1e-1, "big":12345678901234567890, "alpha":[1.0, 2]}'
)


def body_for(body: bytes, **target: Any) -> bytes:
    return OPENAI.request(body, Target(**target)).body


def test_a_body_that_needs_no_change_is_the_same_bytes() -> None:
    assert body_for(ODD, model="gpt-5") is ODD


def test_only_the_model_is_replaced() -> None:
    changed = body_for(ODD, model="vendor/other")
    assert b'"zeta":1.50' in changed
    assert b'[ {"role":"user","content":"\\u00e9 \\/ x","x_unknown":{"b":1,"a":2}} ]' in changed
    assert b'"temperature":1e-1,"big":12345678901234567890,"alpha":[1.0, 2]' in changed
    assert list(json.loads(changed)) == list(json.loads(ODD))
    assert json.loads(changed) == {**json.loads(ODD), "model": "vendor/other"}


def test_a_stream_is_asked_for_its_usage_and_keeps_its_other_options() -> None:
    body = b'{"model":"m","stream":true,"stream_options":{"include_obfuscation":false,"include_usage":false},"messages":[]}'
    changed = json.loads(body_for(body, model="m", stream=True))
    assert changed["stream_options"] == {"include_obfuscation": False, "include_usage": True}


@pytest.mark.parametrize("options", [b"", b',"stream_options":null', b',"stream_options":{}'])
def test_a_stream_without_options_gets_them(options: bytes) -> None:
    body = b'{"model":"m","stream":true,"messages":[]' + options + b"}"
    assert json.loads(body_for(body, model="m", stream=True))["stream_options"] == {"include_usage": True}


def test_a_stream_that_asks_for_its_usage_is_the_same_bytes() -> None:
    body = b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
    assert body_for(body, model="m", stream=True) is body


def test_fields_of_the_body_never_become_headers_or_addresses() -> None:
    body = b'{"model":"m","messages":[],"headers":{"x-evil":"1"},"extra_headers":{"x":"y"},"api_base":"http://evil"}'
    made = OPENAI.request(body, Target(model="m", url="https://good.example"))
    assert made.headers == (("content-type", "application/json"),)
    assert made.url == "https://good.example/v1/chat/completions"
    assert made.body is body


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_a_body_that_is_no_object_is_the_callers_fault(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        body_for(body, model="m")
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("https://api.groq.com/openai", "https://api.groq.com/openai/v1/chat/completions"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1/chat/completions"),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        ),
        (
            "https://r.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
        ("https://api.perplexity.ai", "https://api.perplexity.ai/chat/completions"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/chat/completions"),
    ],
)
def test_the_base_is_taken_with_or_without_its_version_path(base: str, url: str) -> None:
    assert chat_url(base) == url


def test_hosts_without_a_version_path_are_named() -> None:
    assert all("/" not in host for host in UNVERSIONED_HOSTS)


def stream(*, include_usage: bool = False) -> StreamTranslator:
    return OPENAI.events(Origin(id="r", model="m", created=1, include_usage=include_usage))


def event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


TEXT = {"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hi"}}], "x": 1.50}
END = {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def test_a_chunk_is_the_bytes_that_came() -> None:
    odd = b'{ "choices" : [ {"index":0,"delta":{"content":"\\u00e9"} } ], "zzz": 1.0 }'
    assert stream().feed(b"data: " + odd + b"\n\n") == [odd]


def test_a_chunk_over_several_lines_leaves_as_one() -> None:
    assert stream().feed(b'data: {"choices":\ndata: [{"index":0,"delta":{}}]}\n\n') == [
        b'{"choices":[{"index":0,"delta":{}}]}'
    ]


def test_a_chunk_of_an_unknown_shape_passes() -> None:
    odd = {"choices": [{"index": 0, "delta": {"content": [{"type": "thinking"}]}}]}
    assert [json.loads(chunk) for chunk in stream().feed(event(odd))] == [odd]


def test_the_usage_chunk_is_swallowed_unless_it_was_asked_for() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
    without, asked = stream(), stream(include_usage=True)
    assert without.feed(event(usage)) == []
    assert [json.loads(chunk) for chunk in asked.feed(event(usage))] == [usage]
    assert without.usage == asked.usage == Usage(input=3, output=2)


def test_usage_beside_content_comes_once_at_the_end_and_only_if_it_was_asked_for() -> None:
    counted = [{"prompt_tokens": 3, "completion_tokens": said, "total_tokens": 3 + said} for said in (1, 2)]
    both = [{**TEXT, "usage": counted[0]}, {**TEXT, "usage": counted[1]}]
    without, asked = stream(), stream(include_usage=True)
    for translator in (without, asked):
        assert [json.loads(chunk) for one in both for chunk in translator.feed(event(one))] == [TEXT, TEXT]
        assert translator.usage == Usage(input=3, output=2)
    assert without.feed(event(END) + b"data: [DONE]\n\n") == [json.dumps(END).encode()]
    total = json.loads(asked.feed(event(END) + b"data: [DONE]\n\n")[-1])
    assert (total["choices"], total["usage"]) == ([], counted[1])


def test_a_chunk_without_choices_goes_into_the_next_one() -> None:
    translator = stream()
    assert translator.feed(event({"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]})) == []
    (chunk,) = translator.feed(event(TEXT))
    assert json.loads(chunk) == {**TEXT, "prompt_filter_results": [{"prompt_index": 0}]}


def test_a_reason_that_is_empty_is_none_and_an_answer_that_breaks_off_behind_it_is_not_whole() -> None:
    translator = stream()
    choice = {"index": 0, "delta": {"content": "hi"}, "finish_reason": ""}
    (chunk,) = translator.feed(event({"choices": [choice]}))
    assert json.loads(chunk)["choices"] == [{**choice, "finish_reason": None}]
    translator.finish()
    assert not translator.complete
    assert translator.failure is not None


@pytest.mark.parametrize(
    ("reason", "code"), [("error", "provider_error"), ("insufficient_system_resource", "provider_overloaded")]
)
def test_a_choice_that_broke_off_is_no_answer(reason: str, code: str) -> None:
    translator = stream()
    choice = {"index": 0, "delta": {"content": "h"}, "message": {}, "finish_reason": reason}
    assert translator.feed(event({"choices": [choice]})) == []
    assert translator.failure is not None
    assert translator.failure.code == code
    answer = OPENAI.response(json.dumps({"choices": [choice]}).encode(), Origin(id="r", model="m", created=1))
    assert answer.failure is not None
    assert answer.failure.code == code


def test_what_was_thought_is_found_under_its_common_name_too() -> None:
    said = {"role": "assistant", "content": "42", "reasoning": "6*7"}
    body = json.dumps({"choices": [{"index": 0, "message": said, "finish_reason": "eos"}], "x": 1}).encode()
    answer = OPENAI.response(body, Origin(id="r", model="m", created=1))
    choice = {"index": 0, "message": {**said, "reasoning_content": "6*7"}, "finish_reason": "stop"}
    assert json.loads(answer.json) == {"choices": [choice], "x": 1}
    (chunk,) = stream().feed(event({"choices": [{"index": 0, "delta": {"reasoning": "6*"}}]}))
    assert json.loads(chunk)["choices"][0]["delta"] == {"reasoning": "6*", "reasoning_content": "6*"}


FOREIGN = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": "Ok", "thinking_blocks": [{"type": "thinking"}], "reasoning_content": "h"},
        {"role": "tool", "tool_call_id": "a", "is_error": True, "content": "no"},
    ],
    "thinking": {"type": "enabled", "budget_tokens": 2048},
}


def test_openai_is_not_sent_what_only_others_know() -> None:
    made = OPENAI.request(json.dumps(FOREIGN).encode(), Target(model="gpt-5"))
    sent = json.loads(made.body)
    assert [sorted(message) for message in sent["messages"]] == [
        ["content", "role"],
        ["content", "role"],
        ["content", "role", "tool_call_id"],
    ]
    assert sent["messages"][0]["content"] == [{"type": "text", "text": "Hi"}]
    assert sent["reasoning_effort"] == "low"
    assert made.dropped == (
        *("cache_control", "messages[1].reasoning_content", "messages[1].thinking_blocks"),
        "messages[2].is_error",
    )


def test_another_server_of_the_format_is_sent_everything() -> None:
    body = json.dumps(FOREIGN).encode()
    assert OPENAI.request(body, Target(model="m", url="http://127.0.0.1:8000/v1")).body is body


def test_images_in_a_tool_result_are_shown_behind_the_results() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    tool = {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "Here"}, image]}
    other = {"role": "tool", "tool_call_id": "b", "content": "18"}
    question = {"role": "user", "content": "And?"}
    body = json.dumps({"model": "m", "messages": [tool, other, question]}).encode()
    assert json.loads(body_for(body, model="m"))["messages"] == [
        {**tool, "content": [{"type": "text", "text": "Here"}]},
        other,
        {"role": "user", "content": [image]},
        question,
    ]
    alone = json.dumps({"model": "m", "messages": [{**tool, "content": [image]}]}).encode()
    sent = json.loads(body_for(alone, model="m"))["messages"]
    assert isinstance(sent[0]["content"], str)
    assert sent[1] == {"role": "user", "content": [image]}


def test_models_that_reason_are_told_their_limit_by_its_new_name() -> None:
    body = b'{"model":"m","messages":[],"max_tokens":5}'
    assert json.loads(body_for(body, model="o4-mini")) == {
        "model": "o4-mini",
        "messages": [],
        "max_completion_tokens": 5,
    }
    assert json.loads(body_for(body, model="gpt-4o"))["max_tokens"] == 5


def test_nothing_after_the_end_is_taken() -> None:
    translator = stream()
    assert len(translator.feed(event(TEXT) + b"data: [DONE]\n\n" + event(TEXT))) == 1
    assert translator.feed(event(TEXT)) == []
    assert translator.complete


def test_a_missing_done_after_every_choice_has_finished_is_whole() -> None:
    translator = stream()
    translator.feed(event(TEXT) + event(END))
    assert translator.finish() == []
    assert translator.complete
    assert translator.failure is None


def test_a_choice_that_never_finished_is_a_broken_stream() -> None:
    translator = stream()
    translator.feed(event({"choices": [{"index": 1, "delta": {"content": "b"}}]}) + event(END))
    translator.finish()
    assert not translator.complete
    assert translator.failure is not None
    assert translator.failure.code == "provider_stream_broken"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"message": "x", "code": 429}, "provider_rate_limited"),
        ({"message": "x", "code": 402}, "provider_quota_exceeded"),
        ({"message": "x", "code": "rate_limit_exceeded"}, "provider_rate_limited"),
        ({"message": "x", "type": "overloaded_error"}, "provider_overloaded"),
        ({"message": "maximum context length", "type": "invalid_request_error"}, "context_length_exceeded"),
        ({"message": "x", "code": 7}, "provider_error"),
        ({"message": None, "code": None}, "provider_error"),
        ("flat text", "provider_error"),
    ],
)
def test_an_error_inside_a_stream_has_its_code(error: Any, code: str) -> None:
    translator = stream()
    assert translator.feed(event({"error": error})) == []
    assert translator.failure is not None
    assert translator.failure.code == code


FLAT = {"object": "error", "message": "the engine died", "type": "InternalServerError", "param": None}


@pytest.mark.parametrize(("status", "code"), [(500, "provider_error"), (429, "provider_rate_limited")])
def test_an_error_that_stands_where_a_chunk_should_is_no_end_of_the_answer(status: int, code: str) -> None:
    translator = stream()
    assert len(translator.feed(event(TEXT) + event({**FLAT, "code": status}) + b"data: [DONE]\n\n")) == 1
    assert not translator.complete
    assert translator.failure is not None
    assert translator.failure.code == code


def test_an_error_that_stands_where_an_answer_should_has_its_code() -> None:
    answer = OPENAI.response(json.dumps({**FLAT, "code": 503}).encode(), Origin(id="r", model="m", created=1))
    assert answer.failure is not None
    assert answer.failure.code == "provider_overloaded"


@pytest.mark.parametrize("said", [b"", event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 0}})])
def test_a_stream_without_choices_is_no_answer(said: bytes) -> None:
    translator = stream()
    translator.feed(said + b"data: [DONE]\n\n")
    assert not translator.complete
    assert translator.failure is not None
    assert translator.failure.code == "provider_bad_answer"


def test_an_error_inside_a_200_is_a_failure() -> None:
    answer = OPENAI.response(b'{"error":{"message":"no","code":503}}', Origin(id="r", model="m", created=1))
    assert answer.failure is not None
    assert answer.failure.code == "provider_overloaded"


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": 12.0}, {"completion_tokens": "3"}, {"prompt_tokens_details": []}, 7]
)
def test_an_answer_whose_usage_cannot_be_read_is_an_answer(usage: Any) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "length"}
    body = json.dumps({"choices": [choice], "usage": usage}).encode()
    answer = OPENAI.response(body, Origin(id="r", model="m", created=1))
    assert json.loads(answer.json) == {"choices": [choice]}
    assert (answer.finish, answer.usage, answer.failure) == ("length", Usage(), None)


def test_an_answer_passes_as_the_bytes_that_came() -> None:
    body = b'{ "choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"odd"}], "n": 1.0 }'
    answer = OPENAI.response(body, Origin(id="r", model="m", created=1))
    assert answer.json is body
    assert answer.finish == "stop"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}, Usage(input=5, output=2)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 4,
                "total_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(input=5, output=4, reasoning=3),
        ),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "total_tokens": 10,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(input=5, output=5, reasoning=3),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 1},
            Usage(input=9, output=1, cache_read=8),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 1,
                "prompt_tokens_details": {"cached_tokens": None, "cache_write_tokens": 2},
            },
            Usage(input=9, output=1, cache_write=2),
        ),
    ],
    ids=["plain", "reasoning inside", "reasoning outside, as at xAI", "DeepSeek's cache", "cache write"],
)
def test_usage_counts_reasoning_and_cache_once(usage: dict[str, Any], expected: Usage) -> None:
    body = json.dumps({"choices": [{"index": 0}], "usage": usage}).encode()
    assert OPENAI.response(body, Origin(id="r", model="m", created=1)).usage == expected
