"""An error names the field that the caller wrote, whatever its name in the canonical form and in the vendor's.

The laws are held to every case of `callers/`: what stands at a canonical path stands in the caller's body where `place` says.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters import ADAPTERS, DEMO
from llmproxy.provider_workers.callers import CALLERS
from llmproxy.provider_workers.callers.composed import Composed, ComposedLocal
from llmproxy.provider_workers.contents import ContentsWanted, WithContents
from llmproxy.provider_workers.lenient import Lenient
from llmproxy.provider_workers.ways import wire
from llmproxy.provider_workers.wire import Origin, Target, named
from llmproxy.provider_workers.written import brackets, inside, renamed, retold

FOLDER = Path(__file__).parent / "callers"
CASES = sorted(path.parent for path in FOLDER.glob("*/*/case.json"))
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=[f"{case.parent.name}-{case.name}" for case in CASES])
STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
LAST_NAME = re.compile(r"(^|\.)[^.\[\]]+$")
WORDS = {"function", "user", "assistant", "object", "ephemeral"}  # Of the formats: their places say nothing.
# Words of schemas repeat; what was signed is kept in the signature.
ELSEWHERE = re.compile(r"parameters\.|thinking_blocks")
HERE = Origin(id="i", model="m", created=1)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    match value:
        case dict():
            for name, inner in value.items():
                yield from leaves(inner, f"{path}.{name}" if path else name)
        case list():
            for index, inner in enumerate(value):
                yield from leaves(inner, f"{path}[{index}]")
        case _:
            yield path, value


def at(value: Any, path: str) -> Any:
    for index, name in STEP.findall(path):
        value = value[int(index)] if index else value[name]
    return value


def read(case: Path, name: str) -> Any:
    return json.loads((case / name).read_bytes())


def place(case: Path, path: str) -> str:
    return CALLERS[case.parent.name].place((case / "caller_request.json").read_bytes(), path)  # type: ignore[index]


@EVERY_CASE
def test_every_canonical_field_is_one_of_an_object_that_the_caller_wrote(case: Path) -> None:
    asked = read(case, "caller_request.json")
    for path, _ in leaves(read(case, "canonical_request.json")):
        if ".cache_control" not in path:  # That of a result is that of its last part.
            at(asked, LAST_NAME.sub("", place(case, path)))


@EVERY_CASE
def test_what_stands_at_a_canonical_path_stands_where_the_caller_is_told(case: Path) -> None:
    written = defaultdict(list)
    for path, value in leaves(read(case, "caller_request.json")):
        written[value].append(path)
    for path, value in leaves(read(case, "canonical_request.json")):
        if (
            isinstance(value, str)
            and len(written.get(value, ())) == 1
            and value not in WORDS
            and not ELSEWHERE.search(path)
        ):
            assert written[value][0].startswith(place(case, path)), path


@EVERY_CASE
def test_a_path_that_is_nowhere_is_told_without_a_crash(case: Path) -> None:
    for path in (
        "messages",
        "messages[99].content[9].type",
        "messages[0].content[99]",
        "messages[0].x[9].y",
        "tools[99]",
    ):
        assert place(case, path)


HI = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
ASKED = {**HI, "max_tokens": 9}
SAID = {"role": "user", "parts": [{"text": "Hi"}]}
SCHEMA = {"type": "object", "properties": {}}
FTP = {"type": "image", "source": {"type": "url", "url": "ftp://h/x.png"}}


def says(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def text(said: str = "a", **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **fields}


def messages(*turns: Any, **fields: Any) -> dict[str, Any]:
    return {**ASKED, "messages": [*ASKED["messages"], *turns], **fields}  # type: ignore[misc]


def result(*content: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t", "content": list(content)}


USED = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
TOOLS = [{"name": "f", "input_schema": SCHEMA}]
CALLED = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
BROKEN = {**CALLED, "call_id": "d", "arguments": "{broken"}
IMAGE = {"type": "input_image", "image_url": "ftp://h/x.png"}
DECLARED = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]

WRONG: list[tuple[Api, str, dict[str, Any], str]] = [
    # (the API, the provider that cannot have it, the body, the field as the caller wrote it)
    ("messages", "groq", {**ASKED, "top_k": 3}, "top_k"),
    ("messages", "anthropic", {**ASKED, "stop_sequences": [" "]}, "stop_sequences"),
    ("messages", "bedrock", {**ASKED, "thinking": {"type": "adaptive"}}, "thinking"),
    ("messages", "bedrock", {**ASKED, "output_config": {"effort": "low"}}, "output_config.effort"),
    (
        "messages",
        "deepseek",
        {**ASKED, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        "output_config.format",
    ),
    ("messages", "deepseek", {**ASKED, "output_format": {"type": "json_schema", "schema": SCHEMA}}, "output_format"),
    ("messages", "cohere", {**ASKED, "tools": TOOLS, "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice"),
    (
        "messages",
        "google",
        {**ASKED, "tools": TOOLS, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        "tool_choice.disable_parallel_tool_use",
    ),
    ("messages", "anthropic", {**ASKED, "messages": []}, "messages"),
    ("messages", "anthropic", messages(says(text(), FTP), system="s"), "messages[1].content[1].source"),
    ("messages", "google", messages(says(result())), "messages[1].content[0].tool_use_id"),
    (
        "messages",
        "anthropic",
        messages(says(text(), USED, role="assistant"), says(text(), result(text(), FTP))),
        "messages[2].content[1].content[1].source",
    ),
    (
        "messages",
        "anthropic",
        messages(says(USED, role="assistant"), says(result(text()), text(), FTP)),
        "messages[2].content[2].source",
    ),
    ("responses", "anthropic", {"model": "m", "input": "Hi", "temperature": 1.7}, "temperature"),
    ("responses", "google", {"model": "m", "input": "Hi", "reasoning": {"effort": "odd"}}, "reasoning.effort"),
    (
        "responses",
        "deepseek",
        {"model": "m", "input": "Hi", "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
        "text.format",
    ),
    ("responses", "groq", {"model": "m", "input": "Hi", "include": ["message.output_text.logprobs"]}, "include"),
    ("responses", "groq", {"model": "m", "input": "Hi", "top_logprobs": 2}, "top_logprobs"),
    ("responses", "anthropic", {"model": "m", "input": []}, "input"),
    (
        "responses",
        "anthropic",
        {"model": "m", "instructions": "i", "input": [says({"type": "input_text", "text": "a"}, IMAGE)]},
        "input[0].content[1].image_url",
    ),
    ("responses", "anthropic", {"model": "m", "input": [HI["messages"][0], CALLED, BROKEN]}, "input[2].arguments"),  # type: ignore[index]
    (
        "responses",
        "ollama",
        {"model": "m", "input": [{"type": "function_call_output", "call_id": "c", "output": "r"}]},
        "input[0].call_id",
    ),
    (
        "responses",
        "anthropic",
        {
            "model": "m",
            "input": [HI["messages"][0], CALLED, {"type": "function_call_output", "call_id": "c", "output": [IMAGE]}],  # type: ignore[index]
        },
        "input[2].output[0].image_url",
    ),
    ("gemini", "anthropic", {"contents": [SAID], "generationConfig": {"seed": 1}}, "generationConfig.seed"),
    (
        "gemini",
        "anthropic",
        {"contents": [SAID], "generation_config": {"candidate_count": 2}},
        "generation_config.candidate_count",
    ),
    ("gemini", "mistral", {"contents": [SAID], "generationConfig": {"topK": 1}}, "generationConfig.topK"),
    (
        "gemini",
        "deepseek",
        {"contents": [SAID], "generationConfig": {"responseJsonSchema": SCHEMA}},
        "generationConfig.responseJsonSchema",
    ),
    (
        "gemini",
        "ollama",
        {
            "contents": [SAID],
            "tools": DECLARED,
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["g"]}},
        },
        "toolConfig.functionCallingConfig",
    ),
    (
        "gemini",
        "anthropic",
        {"contents": [SAID, {"parts": [{"text": "a"}, {"inlineData": {"mimeType": "video/mp4", "data": "AA=="}}]}]},
        "contents[1].parts[1].inlineData",
    ),
    (
        "gemini",
        "ollama",
        {
            "systemInstruction": {"parts": [{"text": "s"}]},
            "contents": {
                "parts": [{"text": "a"}, {"file_data": {"mime_type": "image/png", "file_uri": "https://h/a"}}]
            },
        },
        "contents.parts[1].file_data.file_uri",
    ),
    ("completions", "xai", {"model": "m", "prompt": "x", "top_k": 3}, "top_k"),
    ("completions", "anthropic", {"model": "m", "prompt": "x", "logprobs": 3}, "logprobs"),
    ("completions", "anthropic", {"model": "m", "prompt": ""}, "prompt"),
]


@pytest.mark.parametrize(
    ("api", "provider", "body", "field"), WRONG, ids=[f"{api}-{provider}-{field}" for api, provider, _, field in WRONG]
)
def test_what_a_provider_cannot_have_is_named_as_the_caller_wrote_it(
    api: Api, provider: str, body: dict[str, Any], field: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        Composed(CALLERS[api], ADAPTERS[provider]).request(json.dumps(body).encode(), Target(model="m"))
    assert (caught.value.status, caught.value.param) == (400, field)
    assert f"'{field}'" in caught.value.message
    assert "'messages" not in caught.value.message or api == "messages"
    at(body, LAST_NAME.sub("", field))


def test_every_api_of_callers_is_in_the_table() -> None:
    assert {api for api, *_ in WRONG} == set(CALLERS)


@pytest.mark.parametrize(
    ("api", "body", "field"),
    [
        ("messages", {**ASKED, "messages": []}, "messages"),
        ("responses", {"model": "m", "input": []}, "input"),
        (
            "gemini",
            {"contents": [SAID], "generationConfig": {"candidateCount": 999}},
            "generationConfig.candidateCount",
        ),
        ("messages", {**ASKED, "tools": TOOLS, "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice"),
    ],
)
def test_the_demo_provider_names_it_so_too(api: Api, body: dict[str, Any], field: str) -> None:
    local = ComposedLocal(CALLERS[api], DEMO)
    raw = json.dumps(body).encode()
    for ask in (lambda: local.answer(raw, HERE), lambda: list(local.chunks(raw, HERE))):
        with pytest.raises(GatewayError) as caught:
            ask()
        assert caught.value.param == field


def test_an_address_to_be_fetched_is_named_as_the_caller_wrote_it() -> None:
    body = messages(says(text(), {"type": "image", "source": {"type": "url", "url": "https://h/x.png"}}))
    asked = Composed(CALLERS["messages"], WithContents(ADAPTERS["ollama"], {}))
    with pytest.raises(ContentsWanted) as wanted:
        asked.request(json.dumps(body).encode(), Target(model="m"))
    assert [place.param for place in wanted.value.places.values()] == ["messages[1].content[1].source"]


def test_what_is_left_out_is_listed_under_the_callers_name() -> None:
    asked = Composed(CALLERS["messages"], Lenient(ADAPTERS["deepseek"]))
    body = {**ASKED, "tools": TOOLS, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    assert (
        "tool_choice.disable_parallel_tool_use" in asked.request(json.dumps(body).encode(), Target(model="m")).dropped
    )


VENDORS_WORDS = [
    ("messages", "openai", "messages[2].content[1].image_url.url", "messages[1].content[1].source"),
    ("messages", "openai", "messages.2.content.1.image_url", "messages[1].content[1].source"),
    ("messages", "mistral", "messages.[1].content", "messages[0].content"),
    ("messages", "openai", "max_completion_tokens", "max_tokens"),
    ("messages", "openai", "tools[0].function.parameters", "tools[0].input_schema"),
    ("messages", "openai", "tools[0].function.name", "tools[0].name"),
    ("messages", "openai-responses", "max_output_tokens", "max_tokens"),
    ("messages", "openai-responses", "input[1].content", "messages"),
    ("messages", "openai", "who_knows", "who_knows"),
    ("chat", "openai", "messages[0].content", "messages[0].content"),
    ("chat", "openai-responses", "max_output_tokens", "max_completion_tokens"),
    ("chat", "openai-responses", "text.format.schema", "response_format.schema"),
    ("responses", "openai-responses", "input[1].content", "input[1].content"),
]


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(("api", "provider", "field", "shown"), VENDORS_WORDS)
def test_a_field_that_the_vendor_names_is_shown_as_the_caller_wrote_it(
    api: Api, provider: str, field: str, shown: str, lenient: bool
) -> None:
    adapter = ADAPTERS[provider]
    bodies: dict[Api, dict[str, Any]] = {
        "chat": HI,
        "messages": messages(
            says(text(), {"type": "image", "source": {"type": "url", "url": "https://h/x.png"}}),
            system="s",
            tools=TOOLS,
        ),
        "responses": {"model": "m", "input": "Hi"},
    }
    asked = wire(adapter, api, lenient=lenient)
    assert asked is not None
    asked.request(json.dumps(bodies[api]).encode(), Target(model="m"))
    said = {"error": {"message": f"Invalid type for '{field}': see 'tools'.", "param": field, "code": "x", "type": "y"}}
    error = named(asked, adapter.error(400, {}, json.dumps(said).encode()))
    assert error.param == shown
    assert f"'{shown}': see 'tools'." in error.message
    assert (error.code, error.status) == ("provider_rejected", 400)


def test_an_error_without_a_field_stays_as_it_is() -> None:
    error = GatewayError("provider_overloaded", "Groq is overloaded", retry_after_ms=7)
    assert retold(error, lambda path: "never") is error


def test_what_else_an_error_says_stays() -> None:
    error = GatewayError("provider_rejected", "no 'a' in 'b' of 'messages[0]'", param="b", retry_after_ms=7, status=413)
    told = retold(error, {"b": "c", "messages[0]": "input[0]"}.__getitem__)
    assert (told.message, told.param, told.status) == ("no 'a' in 'c' of 'input[0]'", "c", 413)
    assert (told.code, told.retry_after_ms) == ("provider_rejected", 7)


@pytest.mark.parametrize(
    ("path", "shown"),
    [("a.b.c", "x.c"), ("a.b", "x"), ("a.bc", "y.bc"), ("a[0].b", "y[0].b"), ("q.r", "q.r"), ("", ""), ("ab", "ab")],
)
def test_the_longest_beginning_with_another_name_counts(path: str, shown: str) -> None:
    assert renamed({"a.b": "x", "a": "y"}, path) == shown


def test_what_has_no_name_in_an_object_is_the_object() -> None:
    assert inside("at[0]", {"id": "call_id", "function": ""}, "id") == "at[0].call_id"
    assert inside("at[0]", {"id": "call_id", "function": ""}, "function") == "at[0]"
    assert inside("at[0]", {"id": "call_id", "function": ""}, "whatever.else") == "at[0]"


def test_indices_are_written_one_way() -> None:
    assert brackets("messages.[1].content.0.x2.3") == "messages[1].content[0].x2[3]"
    assert brackets("messages[1].content[0]") == "messages[1].content[0]"
