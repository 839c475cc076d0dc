"""Each fake takes a good request, and refuses what its vendor refuses, with the vendor's status."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from llmproxy.fakes.conversation import Asked, Behaviour, Recorded, Refused
from llmproxy.fakes.families import FAMILIES, MODELS

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
Body = dict[str, Any]


def chat(family: str) -> Body:
    """A question, two calls of a tool, their results."""
    ids = ["abcdefgh1", "abcdefgh2"]  # Mistral wants nine letters and digits.
    calls = [{"id": one, "type": "function", "function": {"name": "look", "arguments": '{"city":"x"}'}} for one in ids]
    messages: list[Body] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Look"}]
    if FAMILIES[family].variant.tools:  # type: ignore[attr-defined]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        if FAMILIES[family].variant.echoes_thoughts:  # type: ignore[attr-defined]
            messages[-1]["reasoning_content"] = "hm"
        messages += [{"role": "tool", "tool_call_id": one, "content": "18"} for one in ids]
        tool = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
        return {"model": MODELS[family], "messages": messages, "tools": [tool]}
    return {"model": MODELS[family], "messages": messages}


ANTHROPIC: Body = {
    "model": "claude-opus-4-6",
    "max_tokens": 100,
    "system": "Be brief.",
    "tools": [{"name": "look", "input_schema": SCHEMA}],
    "messages": [
        {"role": "user", "content": "Look"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2lnbmF0dXJl"},
                {"type": "tool_use", "id": "a", "name": "look", "input": {"city": "x"}},
                {"type": "tool_use", "id": "b", "name": "look", "input": {"city": "y"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "18"},
                {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "19"}]},
            ],
        },
    ],
}
GOOGLE: Body = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "tools": [{"functionDeclarations": [{"name": "look", "parametersJsonSchema": SCHEMA}]}],
    "contents": [
        {"role": "user", "parts": [{"text": "Look"}]},
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "look", "args": {"city": "x"}}, "thoughtSignature": "c2lnbmF0dXJl"},
                {"functionCall": {"name": "look", "args": {"city": "y"}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "look", "response": {"result": "18"}}},
                {"functionResponse": {"name": "look", "response": {"result": "19"}}},
            ],
        },
    ],
}
BEDROCK: Body = {
    "system": [{"text": "Be brief."}],
    "toolConfig": {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": SCHEMA}}}]},
    "messages": [
        {"role": "user", "content": [{"text": "Look"}]},
        {
            "role": "assistant",
            "content": [
                {"toolUse": {"toolUseId": "a", "name": "look", "input": {"city": "x"}}},
                {"toolUse": {"toolUseId": "b", "name": "look", "input": {"city": "y"}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "a", "content": [{"text": "18"}]}},
                {"toolResult": {"toolUseId": "b", "content": [{"text": "19"}]}},
            ],
        },
    ],
}
OLLAMA: Body = {
    "model": "qwen3",
    "tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
    "messages": [
        {"role": "user", "content": "Look"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "look", "arguments": {"city": "x"}}}] * 2,
        },
        {"role": "tool", "tool_name": "look", "content": "18"},
        {"role": "tool", "tool_name": "look", "content": "19"},
    ],
}
COHERE: Body = {
    "model": "command-a-03-2025",
    "tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
    "messages": [
        {"role": "user", "content": "Look"},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": one, "type": "function", "function": {"name": "look", "arguments": '{"city":"x"}'}}
                for one in "ab"
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "18"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "document", "document": {"data": {"text": "19"}}}]},
    ],
}
RESPONSES: Body = {
    "model": "gpt-5",
    "tools": [{"type": "function", "name": "look", "parameters": SCHEMA, "strict": True}],
    "input": [
        {"role": "user", "content": "Look"},
        {"type": "function_call", "call_id": "a", "name": "look", "arguments": '{"city":"x"}'},
        {"type": "function_call", "call_id": "b", "name": "look", "arguments": '{"city":"y"}'},
        {"type": "function_call_output", "call_id": "a", "output": "18"},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "19"}]},
    ],
}

GEMINI_PATH = "models/gemini-3-pro:generateContent"
GOOD: dict[str, tuple[str, str, Body]] = {
    "anthropic": ("anthropic", "/v1/messages", ANTHROPIC),
    "google": ("google", f"/v1beta/{GEMINI_PATH}", GOOGLE),
    "vertex": ("vertex", f"/v1/projects/p/locations/l/publishers/google/{GEMINI_PATH}", GOOGLE),
    "bedrock": ("bedrock", "/model/anthropic.claude-sonnet-4-5-20250929-v1:0/converse", BEDROCK),
    "ollama": ("ollama", "/api/chat", OLLAMA),
    "cohere": ("cohere", "/v2/chat", COHERE),
    "responses": ("openai", "/v1/responses", RESPONSES),
}
for name, vendor in FAMILIES.items():
    if hasattr(vendor, "variant"):
        GOOD[name] = (name, f"{vendor.base}/chat/completions", chat(name))


def ask(name: str, body: Any) -> Asked:
    family, path, _ = GOOD[name]
    headers = {"anthropic-version": "2023-06-01", "content-type": "application/json"}
    operation = FAMILIES[family].operation("POST", path)
    assert operation is not None
    return operation.ask(Recorded("POST", path, "", headers, json.dumps(body).encode()), Behaviour())


def changed(name: str, change: Callable[[Body], Any]) -> Body:
    body = copy.deepcopy(GOOD[name][2])
    change(body)
    return body


@pytest.mark.parametrize("name", GOOD)
def test_a_good_conversation_is_read_alike_everywhere(name: str) -> None:
    asked = ask(name, GOOD[name][2])
    assert asked.said == "Look"
    if asked.tools:
        assert [tool.name for tool in asked.tools] == ["look"]
        assert [(call.name, set(call.arguments)) for turn in asked.turns for call in turn.calls] == [
            ("look", {"city"})
        ] * 2
        assert [(one.name, one.text[:1]) for one in asked.results] == [("look", "1")] * 2
        assert asked.number == 2


def last(body: Body) -> Body:
    messages: list[Body] = body["messages"]
    return messages[-1]


def twice(messages: list[Body], index: int) -> None:
    messages[index]["tool_calls"][1]["id"] = messages[index]["tool_calls"][0]["id"]


Refusal = tuple[str, Callable[[Body], Any], int]
WRONG: dict[str, Refusal] = {
    # OpenAI
    "openai: unknown field": ("openai", lambda b: b.update(no_such=1), 400),
    "openai: unknown role": ("openai", lambda b: b["messages"][0].update(role="robot"), 400),
    "openai: no messages": ("openai", lambda b: b.update(messages=[]), 400),
    "openai: no model": ("openai", lambda b: b.pop("model"), 400),
    "openai: content of a wrong type": ("openai", lambda b: b["messages"][0].update(content=5), 400),
    "openai: a result without its call": ("openai", lambda b: last(b).update(tool_call_id="other"), 400),
    "openai: a call without its result": ("openai", lambda b: b["messages"].pop(), 400),
    "openai: a result twice": ("openai", lambda b: b["messages"].append(last(b)), 400),
    "openai: ids twice": ("openai", lambda b: twice(b["messages"], 2), 400),
    "openai: max_tokens for a reasoning model": ("openai", lambda b: b.update(max_tokens=5), 400),
    "openai: temperature for a reasoning model": ("openai", lambda b: b.update(temperature=0.2), 400),
    "openai: temperature too high": ("openai", lambda b: b.update(temperature=3), 400),
    "openai: five stops": ("openai", lambda b: b.update(stop=list("abcde")), 400),
    "openai: stream_options without stream": ("openai", lambda b: b.update(stream_options={"include_usage": True}), 400),
    "openai: tool_choice without tools": ("openai", lambda b: (b.pop("tools"), b.update(tool_choice="auto")), 400),
    "openai: a tool's name": ("openai", lambda b: b["tools"][0]["function"].update(name="a b"), 400),
    "openai: an open strict schema": (
        "openai",
        lambda b: b["tools"][0]["function"].update(strict=True, parameters={"type": "object", "properties": {}}),
        400,
    ),
    "openai: JSON mode without the word": ("openai", lambda b: b.update(response_format={"type": "json_object"}), 400),
    "openai: an image that is no base64": (
        "openai",
        lambda b: b["messages"][1].update(
            content=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}}]
        ),
        400,
    ),
    "openai: a model that is not there": ("openai", lambda b: b.update(model="no-such-model"), 404),
    # Its imitators
    "groq: a name": ("groq", lambda b: b["messages"][1].update(name="ann"), 400),
    "groq: logprobs": ("groq", lambda b: b.update(logprobs=True), 400),
    "groq: n": ("groq", lambda b: b.update(n=2), 400),
    "together: a name of OpenAI's": ("together", lambda b: b.update(model="gpt-5"), 404),
    "together: tool_choice none": ("together", lambda b: b.update(tool_choice="none"), 400),
    "mistral: stream_options": ("mistral", lambda b: b.update(stream=True, stream_options={}), 422),
    "mistral: seed": ("mistral", lambda b: b.update(seed=1), 422),
    "mistral: developer": ("mistral", lambda b: b["messages"][0].update(role="developer"), 422),
    "mistral: a user after a result": ("mistral", lambda b: b["messages"].append({"role": "user", "content": "x"}), 400),
    "mistral: an id of ten": (
        "mistral",
        lambda b: (b["messages"][2]["tool_calls"][0].update(id="abcdefgh10"), b["messages"][3].update(tool_call_id="abcdefgh10")),
        400,
    ),
    "deepseek: a schema": (
        "deepseek",
        lambda b: b.update(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}),
        400,
    ),
    "deepseek: forgotten thoughts": ("deepseek", lambda b: b["messages"][2].pop("reasoning_content"), 400),
    "xai: stop": ("xai", lambda b: b.update(stop="x"), 400),
    "perplexity: tools": ("perplexity", lambda b: b.update(tools=chat("openai")["tools"]), 400),
    "perplexity: two users": ("perplexity", lambda b: b["messages"].append({"role": "user", "content": "x"}), 400),
    "fireworks: unknown field": ("fireworks", lambda b: b.update(store=True), 400),
    "sambanova: logprobs": ("sambanova", lambda b: b.update(logprobs=True), 400),
    # Anthropic
    "anthropic: no max_tokens": ("anthropic", lambda b: b.pop("max_tokens"), 400),
    "anthropic: unknown field": ("anthropic", lambda b: b.update(n=1), 400),
    "anthropic: unknown field of a block": ("anthropic", lambda b: b["messages"][1]["content"][1].update(x=1), 400),
    "anthropic: a system message": ("anthropic", lambda b: b["messages"].insert(0, {"role": "system", "content": "x"}), 400),
    "anthropic: an assistant first": ("anthropic", lambda b: b["messages"].pop(0), 400),
    "anthropic: a result without its call": ("anthropic", lambda b: last(b)["content"][0].update(tool_use_id="c"), 400),
    "anthropic: a call without its result": ("anthropic", lambda b: last(b)["content"].pop(), 400),
    "anthropic: calls at the end": ("anthropic", lambda b: b["messages"].pop(), 400),
    "anthropic: ids twice": ("anthropic", lambda b: b["messages"][1]["content"][2].update(id="a"), 400),
    "anthropic: text before results": (
        "anthropic", lambda b: last(b)["content"].insert(0, {"type": "text", "text": "x"}), 400,
    ),
    "anthropic: blank text": ("anthropic", lambda b: last(b)["content"].append({"type": "text", "text": " "}), 400),
    "anthropic: a signature that is none": (
        "anthropic", lambda b: b["messages"][1]["content"][0].update(signature="?"), 400,
    ),
    "anthropic: a budget over max_tokens": (
        "anthropic", lambda b: b.update(thinking={"type": "enabled", "budget_tokens": 2048}), 400,
    ),
    "anthropic: thinking and a forced tool": (
        "anthropic", lambda b: b.update(thinking={"type": "adaptive"}, tool_choice={"type": "any"}), 400,
    ),
    "anthropic: tools of one name": ("anthropic", lambda b: b["tools"].append(b["tools"][0]), 400),
    "anthropic: a schema that is no object": ("anthropic", lambda b: b["tools"][0].update(input_schema={"type": "string"}), 400),
    "anthropic: no tools": ("anthropic", lambda b: b.pop("tools"), 400),
    "anthropic: temperature over 1": ("anthropic", lambda b: b.update(temperature=1.5), 400),
    # Google
    "google: unknown field": ("google", lambda b: b["contents"][0].update(x=1), 400),
    "google: unknown role": ("google", lambda b: b["contents"][0].update(role="assistant"), 400),
    "google: no parts": ("google", lambda b: b["contents"][0].update(parts=[]), 400),
    "google: a missing response": ("google", lambda b: b["contents"][-1]["parts"].pop(), 400),
    "google: a missing signature": ("google", lambda b: b["contents"][1]["parts"][0].pop("thoughtSignature"), 400),
    "google: JSON Schema as parameters": (
        "google",
        lambda b: b["tools"][0]["functionDeclarations"].append({"name": "x", "parameters": {"type": "object", "$defs": {}}}),
        400,
    ),
    "google: a schema without its type": ("google", lambda b: b.update(generationConfig={"responseJsonSchema": SCHEMA}), 400),
    "google: two in one part": ("google", lambda b: b["contents"][1]["parts"][0].update(text="x"), 400),
    # The others
    "bedrock: two users": ("bedrock", lambda b: b["messages"].append({"role": "user", "content": [{"text": "x"}]}), 400),
    "bedrock: an assistant first": ("bedrock", lambda b: b["messages"].pop(0), 400),
    "bedrock: a missing result": ("bedrock", lambda b: last(b)["content"].pop(), 400),
    "bedrock: too many results": (
        "bedrock",
        lambda b: last(b)["content"].append({"toolResult": {"toolUseId": "c", "content": []}}),
        400,
    ),
    "bedrock: blank text": ("bedrock", lambda b: b["messages"][0].update(content=[{"text": ""}]), 400),
    "bedrock: no toolConfig": ("bedrock", lambda b: b.pop("toolConfig"), 400),
    "bedrock: an id with a dot": ("bedrock", lambda b: b["messages"][1]["content"][0]["toolUse"].update(toolUseId="a.b"), 400),
    "ollama: arguments as text": (
        "ollama", lambda b: b["messages"][1]["tool_calls"][0]["function"].update(arguments="{}"), 400,
    ),
    "ollama: unknown option": ("ollama", lambda b: b.update(options={"max_tokens": 1}), 400),
    "ollama: parts": ("ollama", lambda b: b["messages"][0].update(content=[{"type": "text", "text": "x"}]), 400),
    "cohere: unknown field": ("cohere", lambda b: b.update(top_p=0.5), 422),
    "cohere: a result without its call": ("cohere", lambda b: last(b).update(tool_call_id="c"), 400),
    "cohere: JSON and tools": ("cohere", lambda b: b.update(response_format={"type": "json_object"}), 400),
    "cohere: an assistant last": ("cohere", lambda b: b["messages"].append({"role": "assistant", "content": "x"}), 400),
    "responses: unknown field": ("responses", lambda b: b.update(messages=[]), 400),
    "responses: few tokens": ("responses", lambda b: b.update(max_output_tokens=5), 400),
    "responses: an output without its call": ("responses", lambda b: b["input"][-1].update(call_id="c"), 400),
    "responses: a call without its output": ("responses", lambda b: b["input"].pop(), 400),
    "responses: what is not kept": ("responses", lambda b: b.update(previous_response_id="resp_1"), 400),
    "responses: output said by a user": (
        "responses", lambda b: b["input"][0].update(content=[{"type": "output_text", "text": "x"}]), 400,
    ),
    "responses: chat's tools": ("responses", lambda b: b.update(tools=chat("openai")["tools"]), 400),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_it_refuses(case: str) -> None:
    name, change, status = WRONG[case]
    with pytest.raises(Refused) as refused:
        ask(name, changed(name, change))
    assert refused.value.status == status, refused.value.message


@pytest.mark.parametrize("name", GOOD)
def test_what_is_not_an_object_is_refused(name: str) -> None:
    for body in ([], "x", 5, {}, {"messages": 5, "contents": 5}):
        with pytest.raises(Refused):
            ask(name, body)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503])
def test_every_error_has_a_body_of_the_vendors(family: str, status: int) -> None:
    body = FAMILIES[family].error(Refused("the words", status, "field"))
    assert json.loads(json.dumps(body)) == body
    assert "the words" in json.dumps(body) or status == 401


@pytest.mark.parametrize("version", ["", "2020-01-01"])
def test_anthropic_wants_its_version(version: str) -> None:
    operation = FAMILIES["anthropic"].operation("POST", "/v1/messages")
    assert operation is not None
    recorded = Recorded("POST", "/v1/messages", "", {"anthropic-version": version}, json.dumps(ANTHROPIC).encode())
    with pytest.raises(Refused, match="anthropic-version"):
        operation.ask(recorded, Behaviour())
