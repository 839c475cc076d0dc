"""Facts of Ollama's API that one wire case would not pin down."""

import json
from typing import Any

import pytest

from llmproxy.provider_workers.adapters.base import Origin, Target
from llmproxy.provider_workers.adapters.ollama import Ollama, chat_url

TOOL = {"type": "function", "function": {"name": "f"}}


def request(model: str = "qwen3", **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    found: dict[str, Any] = json.loads(Ollama().request(json.dumps(body).encode(), Target(model=model)).body)
    return found


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/api", "/api/", "/api/chat"])
def test_whatever_the_base_names_the_native_api_is_called(path: str) -> None:
    assert chat_url("http://localhost:11434" + path) == "http://localhost:11434/api/chat"


@pytest.mark.parametrize(
    ("model", "effort", "think"),
    [("qwen3", "high", True), ("qwen3", "none", False), ("gpt-oss:20b", "minimal", "low"), ("gpt-oss", "none", False)],
)
def test_only_models_with_levels_are_given_one(model: str, effort: str, think: Any) -> None:
    assert (
        request(model, reasoning_effort=effort)["think"] is think
        or request(model, reasoning_effort=effort)["think"] == think
    )


def test_no_tool_is_offered_when_none_may_be_called() -> None:
    assert "tools" not in request(tools=[TOOL], tool_choice="none")
    assert "tools" in request(tools=[TOOL], tool_choice="auto")


def test_a_tool_without_parameters_has_an_empty_object() -> None:
    assert request(tools=[TOOL])["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize("reason", ["load", "unload", "tomorrow", None])
def test_other_reasons_are_a_stop(reason: str | None) -> None:
    body = json.dumps({"message": {"content": "x"}, "done": True, "done_reason": reason}).encode()
    answer = Ollama().response(body, Origin(id="r", model="m", created=1))
    assert answer.finish == "stop"
    assert answer.usage.input == 0


def test_a_call_without_arguments_has_an_empty_object() -> None:
    body = b'{"message":{"content":"","tool_calls":[{"function":{"name":"f"}}]},"done":true,"done_reason":"stop"}'
    answer = json.loads(Ollama().response(body, Origin(id="r", model="m", created=1)).json)
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
