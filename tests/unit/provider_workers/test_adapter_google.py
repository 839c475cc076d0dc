"""Facts of the Gemini API that one wire case would not pin down."""

import json
from typing import Any

import pytest
from google.genai.types import FinishReason

from llmproxy.provider_workers.adapters.base import Origin, Target
from llmproxy.provider_workers.adapters.google import Google
from llmproxy.provider_workers.gemini_answers import FINISH_REASONS, model_url

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
HERE = Origin(id="r", model="m", created=1)


def request(model: str = "gemini-3-pro", **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    found: dict[str, Any] = json.loads(Google().request(json.dumps(body).encode(), Target(model=model)).body)
    return found


def test_every_finish_reason_of_the_table_is_the_sdks() -> None:
    assert set(FINISH_REASONS) <= {reason.value for reason in FinishReason}


@pytest.mark.parametrize("reason", [reason.value for reason in FinishReason if reason.value not in FINISH_REASONS])
def test_other_finish_reasons_are_a_stop(reason: str) -> None:
    body = json.dumps({"candidates": [{"finishReason": reason}]}).encode()
    assert Google().response(body, HERE).finish == "stop"


def test_no_reason_that_speaks_of_safety_is_taken_for_a_stop() -> None:
    words = ("SAFETY", "PROHIBITED", "BLOCKLIST", "SPII", "RECITATION", "ARMOR")
    guarded = {reason.value for reason in FinishReason if any(word in reason.value for word in words)}
    assert {FINISH_REASONS.get(reason) for reason in guarded} == {"content_filter"}


@pytest.mark.parametrize(
    ("base", "model", "stream", "url"),
    [
        ("https://g.example", "gemini-3-pro", False, "https://g.example/v1beta/models/gemini-3-pro:generateContent"),
        ("https://g.example/v1beta/", "models/g", False, "https://g.example/v1beta/models/g:generateContent"),
        ("https://g.example/v1", "g", True, "https://g.example/v1/models/g:streamGenerateContent?alt=sse"),
        ("https://g.example", "tunedModels/t", False, "https://g.example/v1beta/tunedModels/t:generateContent"),
        (
            "https://g.example",
            "../../v1/files?x=#y:z",
            False,
            "https://g.example/v1beta/models/..%2F..%2Fv1%2Ffiles%3Fx%3D%23y%3Az:generateContent",
        ),
    ],
)
def test_the_model_is_one_step_of_the_path(base: str, model: str, stream: bool, url: str) -> None:
    assert model_url(base, model, stream) == url


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"mode": "AUTO"}),
        ({"tool_choice": "none"}, {"mode": "NONE"}),
        ({"tool_choice": "required"}, {"mode": "ANY"}),
        ({"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]}, {"mode": "VALIDATED"}),
    ],
)
def test_tool_choice(fields: dict[str, Any], config: Any) -> None:
    found = request(**{"tools": [TOOL], **fields}).get("toolConfig")
    assert found == (config and {"functionCallingConfig": config})


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-flash", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "high", {"includeThoughts": True, "thinkingBudget": 24576}),
        ("gemini-3-flash-preview", "none", {"thinkingLevel": "minimal"}),
        ("gemini-3-pro", "none", {"thinkingLevel": "low"}),
        ("gemini-3.1-pro-preview", "minimal", {"includeThoughts": True, "thinkingLevel": "low"}),
        ("gemini-3.5-flash", "medium", {"includeThoughts": True, "thinkingLevel": "medium"}),
    ],
)
def test_thinking_is_by_budget_or_by_level(model: str, effort: str, config: dict[str, Any]) -> None:
    assert request(model, reasoning_effort=effort)["generationConfig"]["thinkingConfig"] == config


def calls_of(model: str) -> list[dict[str, Any]]:
    messages = [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": "so",
            "extra_content": {"google": {"thought_signature": "c2ln"}},
            "tool_calls": [{"id": "toolu_1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "[1]", "is_error": True},
    ]
    return [part for content in request(model, messages=messages)["contents"] for part in content["parts"]]


def test_signatures_go_back_where_they_came_from() -> None:
    assert calls_of("gemini-2.5-pro") == [
        {"text": "x"},
        {"text": "so", "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "f", "args": {}, "id": "toolu_1"}},
        {"functionResponse": {"name": "f", "response": {"error": "[1]"}, "id": "toolu_1"}},
    ]


def test_an_unsigned_call_of_another_model_is_marked_for_later_models() -> None:
    assert calls_of("gemini-3-pro")[2]["thoughtSignature"] == "skip_thought_signature_validator"


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("data:application/pdf;base64,AA==", {"inlineData": {"mimeType": "application/pdf", "data": "AA=="}}),
        (
            "https://x.example/a.PDF?v=1",
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.example/a.PDF?v=1"}},
        ),
        ("https://x.example/a", {"fileData": {"fileUri": "https://x.example/a"}}),
    ],
)
def test_media_are_inline_or_by_address(url: str, part: dict[str, Any]) -> None:
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    assert request(messages=[message])["contents"][0]["parts"] == [part]


def test_sound_is_inline() -> None:
    message = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]}
    part = {"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}
    assert request(messages=[message])["contents"][0]["parts"] == [part]


@pytest.mark.parametrize(("delay", "wait_ms"), [("34.5s", 34_500), ("-5s", 0), ("nans", 0), ("infs", 0), ("soon", 0)])
def test_a_wait_that_is_none_is_not_waited_for(delay: str, wait_ms: int) -> None:
    body = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": delay}]}}
    assert Google().error(429, {}, json.dumps(body).encode()).retry_after_ms == wait_ms


def test_tokens_of_tool_prompts_are_input() -> None:
    usage = {"promptTokenCount": 5, "toolUsePromptTokenCount": 3, "candidatesTokenCount": 2, "thoughtsTokenCount": 4}
    body = json.dumps({"candidates": [{"content": {}, "finishReason": "STOP"}], "usageMetadata": usage}).encode()
    found = Google().response(body, HERE).usage
    assert (found.input, found.output, found.reasoning) == (8, 6, 4)


def test_call_ids_stay_within_forty_characters() -> None:
    origin = Origin(id="0198c0de-0000-7000-8000-000000000001", model="m", created=1)
    calls = [{"functionCall": {"name": "f", "args": {}}}] * 12
    body = json.dumps({"candidates": [{"content": {"parts": calls}, "finishReason": "STOP"}]}).encode()
    found = json.loads(Google().response(body, origin).json)["choices"][0]["message"]["tool_calls"]
    ids = [call["id"] for call in found]
    assert len(set(ids)) == 12
    assert all(len(id) <= 40 for id in ids)
