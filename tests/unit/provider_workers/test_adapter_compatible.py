"""Where each vendor of OpenAI's format deviates from it: what the wire cases of one request do not show."""

import json
import re
from typing import Any

import msgspec
import pytest

from llmproxy.common import money
from llmproxy.common.envelope import Price
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.common.prices import CHARGING
from llmproxy.provider_workers.adapters import ADAPTERS, at
from llmproxy.provider_workers.adapters.azure import place
from llmproxy.provider_workers.adapters.mistral import call_id
from llmproxy.provider_workers.compatible import CHARGE_MAX, Compatible, charged
from llmproxy.provider_workers.wire import HttpRequest, Origin, Target

HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
CALL = {"id": "call_abc", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = [{"role": "assistant", "content": None, "tool_calls": [CALL]}]
RESULT = [{"role": "tool", "tool_call_id": "call_abc", "content": "18"}]


def made(provider: str, *, model: str = "m", url: str = "", stream: bool = False, **fields: Any) -> HttpRequest:
    body = {"model": "asked", "messages": HI, **fields}
    return ADAPTERS[provider].request(json.dumps(body).encode(), Target(model=model, url=url, stream=stream))


def sent(provider: str, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made(provider, **fields).body)
    return found


def used(provider: str, usage: dict[str, Any]) -> Usage:
    body = msgspec.json.encode({"choices": [{"index": 0, "finish_reason": "stop"}], "usage": usage})
    return ADAPTERS[provider].response(body, Origin(id="r", model="m", created=1)).usage


# -- Azure

RESOURCE = "https://r.openai.azure.com"


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        (RESOURCE, "chat/completions", f"{RESOURCE}/openai/v1/chat/completions"),
        (f"{RESOURCE}/openai/v1/", "chat/completions", f"{RESOURCE}/openai/v1/chat/completions"),
        (f"{RESOURCE}/openai", "embeddings", f"{RESOURCE}/openai/v1/embeddings"),
        (f"{RESOURCE}/openai/v1/chat/completions", "chat/completions", f"{RESOURCE}/openai/v1/chat/completions"),
        (f"{RESOURCE}/openai/v1/chat/completions", "embeddings", f"{RESOURCE}/openai/v1/embeddings"),
        (
            f"{RESOURCE}?api-version=2024-10-21",
            "chat/completions",
            f"{RESOURCE}/openai/deployments/my%20model/chat/completions?api-version=2024-10-21",
        ),
        (
            f"{RESOURCE}/openai/deployments/d?api-version=2024-10-21",
            "audio/speech",
            f"{RESOURCE}/openai/deployments/d/audio/speech?api-version=2024-10-21",
        ),
        (
            f"{RESOURCE}/openai/deployments/d?api-version=2025-04-01-preview",
            "responses",
            f"{RESOURCE}/openai/responses?api-version=2025-04-01-preview",
        ),
        (
            f"{RESOURCE}/openai/v1?api-version=preview",
            "responses",
            f"{RESOURCE}/openai/v1/responses?api-version=preview",
        ),
    ],
)
def test_azure_is_found_at_either_kind_of_address(base: str, path: str, url: str) -> None:
    assert place(base, path, "my model") == url


def test_azure_takes_its_key_in_its_own_header() -> None:
    assert ADAPTERS["azure"].credential == "api-key"


# -- Mistral


def test_mistrals_own_call_ids_stay_and_others_become_such() -> None:
    assert call_id("D681PevKs") == "D681PevKs"
    for other in ("call_abc", "toolu_01A", "", "x" * 500, "éééééééé9"):
        assert re.fullmatch(r"[a-zA-Z0-9]{9}", call_id(other))
        assert call_id(other) == call_id(other)
    assert call_id("call_1") != call_id("call_2")


def test_a_call_and_its_result_keep_the_same_id_at_mistral() -> None:
    messages = sent("mistral", messages=[*HI, *CALLED, *RESULT])["messages"]
    assert messages[1]["tool_calls"][0]["id"] == messages[2]["tool_call_id"] == call_id("call_abc")


def test_mistral_hears_the_assistant_between_a_result_and_the_user() -> None:
    messages = sent("mistral", messages=[*HI, *CALLED, *RESULT, *HI])["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant", "user"]


def test_what_was_thought_goes_back_to_models_of_mistral_that_think() -> None:
    history = [*HI, {"role": "assistant", "content": "42", "reasoning_content": "6*7"}, *HI]
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "6*7"}]}
    assert sent("mistral", model="magistral-medium-latest", messages=history)["messages"][1] == {
        "role": "assistant",
        "content": [thinking, {"type": "text", "text": "42"}],
    }
    other = made("mistral", model="mistral-large-latest", messages=history)
    assert json.loads(other.body)["messages"][1] == {"role": "assistant", "content": "42"}
    assert other.dropped == ("messages[1].reasoning_content",)


def test_sound_and_documents_are_named_as_mistral_names_them() -> None:
    parts = [
        {"type": "text", "text": "Listen"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    ]
    assert sent("mistral", messages=[{"role": "user", "content": parts}])["messages"][0]["content"] == [
        parts[0],
        {"type": "input_audio", "input_audio": "AAAA"},
        {
            "type": "document_url",
            "document_url": "data:application/pdf;base64,AAAA",
            "document_name": "a.pdf",
        },
    ]


def test_a_call_of_mistral_without_a_function_is_no_reason_to_fail() -> None:
    calls = [{"id": "aBc1DeF20"}, {"id": "aBc1DeF21", "function": None}]
    message = {"role": "assistant", "content": "x", "tool_calls": calls}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    answer = ADAPTERS["mistral"].response(body, Origin(id="r", model="m", created=1))
    assert (answer.failure is None) == bool(answer.json)


@pytest.mark.parametrize(
    "provider", ["deepseek", "fireworks", "groq", "mistral", "perplexity", "sambanova", "together", "xai"]
)
def test_a_refusal_in_a_history_is_what_the_model_said(provider: str) -> None:
    refusal = {"role": "assistant", "content": None, "refusal": "I will not."}
    messages = [{"role": "user", "content": "x"}, refusal, {"role": "user", "content": "y"}]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    made = ADAPTERS[provider].request(body, Target(model="m"))
    assert json.loads(made.body)["messages"][1] == {"role": "assistant", "content": "I will not."}
    assert made.dropped == ()


def test_mistral_refuses_stream_options_so_it_gets_none() -> None:
    assert "stream_options" not in sent("mistral", stream=True, stream_options={"include_usage": True})


# -- DeepSeek


def test_a_turn_with_calls_goes_back_to_deepseek_with_what_was_thought() -> None:
    thought = [{**CALLED[0], "reasoning_content": "Ask."}]
    assert sent("deepseek", messages=[*HI, *thought, *RESULT])["messages"][1]["reasoning_content"] == "Ask."
    assert sent("deepseek", messages=[*HI, *CALLED, *RESULT])["messages"][1]["reasoning_content"] == ""
    off = sent("deepseek", messages=[*HI, *CALLED, *RESULT], reasoning_effort="none")
    assert "reasoning_content" not in off["messages"][1]


@pytest.mark.parametrize(
    ("asked", "thinking", "effort"),
    [
        ({"reasoning_effort": "none"}, "disabled", None),
        ({"reasoning_effort": "minimal"}, "enabled", "low"),
        ({"reasoning_effort": "medium"}, "enabled", "high"),
        ({"reasoning_effort": "xhigh"}, "enabled", "max"),
        ({"thinking": {"type": "disabled"}}, "disabled", None),
        ({"thinking": {"type": "enabled", "budget_tokens": 20_000}}, "enabled", "high"),
    ],
)
def test_deepseek_is_told_whether_and_how_hard_to_think(asked: Any, thinking: str, effort: str | None) -> None:
    body = sent("deepseek", **asked)
    assert (body["thinking"], body.get("reasoning_effort")) == ({"type": thinking}, effort)


def test_what_deepseek_does_not_heed_while_it_thinks_is_listed() -> None:
    assert made("deepseek", model="deepseek-v4-pro", temperature=0.2).dropped == ("temperature",)
    assert made("deepseek", model="deepseek-v4-pro", temperature=0.2, reasoning_effort="none").dropped == ()
    assert made("deepseek", model="deepseek-chat", temperature=0.2).dropped == ()


# -- xAI, Groq, Together


def test_models_of_xai_that_reason_refuse_what_they_cannot() -> None:
    for field in ({"stop": ["x"]}, {"presence_penalty": 1}, {"frequency_penalty": 0.5}):
        with pytest.raises(GatewayError) as caught:
            made("xai", model="grok-4.3", **field)
        assert caught.value.param == next(iter(field))
        assert made("xai", model="grok-4-1-fast-non-reasoning", **field).dropped == ()


def test_reasoning_of_xai_is_output_with_or_without_a_total() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 5}}
    assert used("xai", usage) == used("xai", {**usage, "total_tokens": 17}) == Usage(input=9, output=8, reasoning=5)
    assert used("xai", {**usage, "completion_tokens": 8, "total_tokens": 17}) == Usage(input=9, output=8, reasoning=5)


def test_groq_is_told_its_own_names_and_told_back_openais() -> None:
    assert sent("groq", service_tier="priority")["service_tier"] == "performance"
    body = b'{"service_tier":"on_demand","choices":[{"index":0,"message":{"content":"\\"service_tier\\":\\"on_demand\\""}}]}'
    answer = json.loads(ADAPTERS["groq"].response(body, Origin(id="r", model="m", created=1)).json)
    assert answer["service_tier"] == "default"
    assert answer["choices"][0]["message"]["content"] == '"service_tier":"on_demand"'


def test_qwen_at_groq_thinks_or_does_not_and_shows_it_apart() -> None:
    body = sent("groq", model="qwen/qwen3-32b", reasoning_effort="high")
    assert (body["reasoning_effort"], body["reasoning_format"]) == ("default", "parsed")
    assert sent("groq", model="qwen/qwen3-32b", reasoning_effort="none")["reasoning_effort"] == "none"
    assert "reasoning_format" not in sent("groq", model="openai/gpt-oss-20b", reasoning_effort="high")


def test_without_a_choice_together_gets_no_tools() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    body = sent("together", tools=[tool], tool_choice="none")
    assert "tools" not in body
    assert "tool_choice" not in body


@pytest.mark.parametrize("provider", ["groq", "together"])
def test_the_thoughts_of_a_history_go_where_the_vendor_reads_them(provider: str) -> None:
    history = [
        *HI,
        {"role": "assistant", "content": "42", "thinking_blocks": [{"type": "thinking", "thinking": "6*7"}]},
    ]
    name = {"groq": "reasoning", "together": "reasoning_content"}[provider]
    assert sent(provider, messages=history)["messages"][1] == {"role": "assistant", "content": "42", name: "6*7"}


# -- Perplexity, OpenRouter


def test_what_one_role_said_in_a_row_is_one_message_at_perplexity() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    body = sent(
        "perplexity", messages=[*HI, {"role": "user", "content": "There"}, {"role": "user", "content": [image]}]
    )
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "There"}, image]}
    ]
    assert sent("perplexity", messages=[*HI, *HI])["messages"] == [{"role": "user", "content": "Hi\n\nHi"}]


@pytest.mark.parametrize(
    "url", ["", "https://api.perplexity.ai", "http://127.0.0.1:9/", "http://127.0.0.1:9/chat/completions"]
)
def test_perplexity_has_no_version_in_its_path(url: str) -> None:
    assert re.fullmatch(r"https?://[^/]+/chat/completions", made("perplexity", url=url).url)


def test_openrouter_is_told_of_thinking_in_its_own_words() -> None:
    blocks = [
        {"type": "thinking", "thinking": "6*7", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eA=="},
    ]
    history = [*HI, {"role": "assistant", "content": "42", "thinking_blocks": blocks}]
    body = sent("openrouter", messages=history, thinking={"type": "enabled", "budget_tokens": 2000})
    assert body["reasoning"] == {"max_tokens": 2000}
    text, hidden = body["messages"][1]["reasoning_details"]
    assert (text["type"], text["text"], text["signature"]) == ("reasoning.text", "6*7", "c2ln")
    assert (hidden["type"], hidden["data"]) == ("reasoning.encrypted", "eA==")
    assert sent("openrouter", thinking={"type": "disabled"})["reasoning"] == {"enabled": False}


def test_what_openrouter_gave_goes_back_to_it_as_it_was() -> None:
    said = {"role": "assistant", "content": "42", "reasoning": "6*7", "reasoning_details": [{"type": "x", "y": 1.50}]}
    assert sent("openrouter", messages=[*HI, said])["messages"][1] == said


@pytest.mark.parametrize(
    ("provider", "cost", "charged"),
    [
        ("openrouter", 0.00014, 140_000),
        ("openrouter", 1e-10, 1),
        ("openrouter", 0, 0),
        ("openrouter", -1, None),
        ("openrouter", 1e300, None),
        ("openrouter", None, None),
        ("openrouter", "free", None),
        ("openrouter", [1], None),
        ("openrouter", msgspec.Raw(b"1e999999999"), None),
        ("perplexity", {"total_cost": 0.006}, 6_000_000),
        ("perplexity", {"total_cost": "x"}, None),
        ("perplexity", {"total_cost": "NaN"}, None),
        ("perplexity", {}, None),
        ("vllm", 0.5, None),
    ],
)
def test_a_charge_is_believed_of_those_who_name_it_and_only_within_reason(
    provider: str, cost: Any, charged: int | None
) -> None:
    usage = used(provider, {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": cost})
    assert (usage.input, usage.output, usage.charged) == (1, 2, charged)
    assert charged is None or money.cost(usage, Price(input=10**15)) == charged
    assert charged is None or 0 <= charged <= CHARGE_MAX


def test_those_who_name_a_charge_are_those_that_need_no_price() -> None:
    named = {name for name, one in ADAPTERS.items() if isinstance(one, Compatible) and one.usage is charged}
    assert named == CHARGING


# -- who speaks where


def test_another_server_than_openais_own_is_not_taken_to_have_all_its_apis() -> None:
    openai = ADAPTERS["openai"]
    assert at(openai, "") is at(openai, "https://api.openai.com/v1") is openai
    elsewhere = at(openai, "http://127.0.0.1:1234/v1")
    assert openai.natives.keys() - elsewhere.natives.keys() == {"responses"}
    assert elsewhere.name == "openai"
