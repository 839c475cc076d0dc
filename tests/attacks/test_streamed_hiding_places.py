"""Every field in which a vendor streams a text: what is taken out of it is taken out however it is cut, and what was masked comes back."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import structs

from llmproxy.common.answers import Answers
from llmproxy.common.envelope import Api
from llmproxy.common.policy import Policy
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.restore import restorer
from llmproxy.shield.vault import Vault, tenant_key
from llmproxy.shield.window import Originals

KEY = "ghp_" + "Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
VAULT = Vault(tenant_key(b"secret", "acme"), frozenset)
MAIL = VAULT.mask("email", "ada@example.com")
SAYS = f"Use {KEY} and write to {MAIL} today"
HEARS = "Use [SECRET_REDACTED] and write to ada@example.com today"

Tree = dict[str, Any]


def chat(**delta: Any) -> Tree:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def completion(**choice: Any) -> Tree:
    return {"object": "text_completion", "choices": [{"index": 0, **choice}]}


def block(**delta: Any) -> Tree:
    return {"type": "content_block_delta", "index": 0, "delta": delta}


def event(name: str, delta: Any) -> Tree:
    return {"type": f"response.{name}.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": delta}


def parts(*said: Tree) -> Tree:
    return {"candidates": [{"index": 0, "content": {"role": "model", "parts": list(said)}}]}


def argument(piece: str) -> Tree:
    return {"partialArgs": [{"jsonPath": "$.note", "stringValue": piece, "willContinue": True}], "willContinue": True}


STREAMED: dict[str, tuple[Api, Callable[[str], list[Tree]]]] = {
    "chat content": ("chat", lambda piece: [chat(content=piece)]),
    "chat thinking": ("chat", lambda piece: [chat(thinking=piece)]),
    "chat content in parts": ("chat", lambda piece: [chat(content=[{"type": "text", "text": piece}])]),
    "chat thinking in parts": (
        "chat", lambda piece: [chat(content=[{"type": "thinking", "thinking": [{"type": "text", "text": piece}]}])]
    ),
    "chat transcript": ("chat", lambda piece: [chat(audio={"id": "a", "data": "UklG", "transcript": piece})]),
    "chat reasoning details": (
        "chat", lambda piece: [chat(reasoning_details=[{"type": "reasoning.text", "index": 3, "text": piece}])]
    ),
    "chat reasoning summary": (
        "chat", lambda piece: [chat(reasoning_details=[{"type": "reasoning.summary", "index": 0, "summary": piece}])]
    ),
    "chat custom tool": ("chat", lambda piece: [chat(tool_calls=[{"index": 0, "custom": {"input": piece}}])]),
    "chat with a reason that is empty until the end": (
        "chat", lambda piece: [chat(content=piece) | {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": ""}]}]
    ),
    "completions": ("completions", lambda piece: [completion(text=piece, finish_reason=None)]),
    "completions with a reason that is empty until the end": (
        "completions", lambda piece: [completion(text=piece, finish_reason="")]
    ),
    "gemini with a reason that is empty until the end": (
        "gemini", lambda piece: [{"candidates": [{"content": {"parts": [{"text": piece}]}, "finishReason": ""}]}]
    ),
    "messages text": ("messages", lambda piece: [block(type="text_delta", text=piece)]),
    "messages text beside something": ("messages", lambda piece: [block(type="text_delta", text=piece, extra=[1])]),
    "messages compaction": ("messages", lambda piece: [block(type="compaction_delta", content=piece)]),
    "messages, a kind of delta that is new": ("messages", lambda piece: [block(type="new_delta", told=piece)]),
    "responses code": ("responses", lambda piece: [event("code_interpreter_call_code", piece)]),
    "responses, what a program writes": (
        "responses", lambda piece: [event("shell_call_output_content", {"stdout": piece, "stderr": ""})]
    ),
    "responses, an event that is new": ("responses", lambda piece: [event("brand_new", piece)]),
    "gemini text": ("gemini", lambda piece: [parts({"text": piece})]),
    "gemini text with seals between": (
        "gemini", lambda piece: [parts({"text": piece}), parts({"thoughtSignature": "QUtJ"})]
    ),
    "gemini arguments": ("gemini", lambda piece: [parts({"functionCall": argument(piece)})]),
    "gemini arguments in the other spelling": (
        "gemini",
        lambda piece: [
            parts({"function_call": {
                "partial_args": [{"json_path": "$.a", "string_value": piece, "will_continue": True}],
                "will_continue": True,
            }})
        ],
    ),
}  # fmt: skip


def play(api: Api, events: list[Tree], *, stream: bool = True) -> tuple[list[Tree], dict[str, int]]:
    guards = Guards(GUARDS, structs.replace(Policy(), answers=Answers()))
    reading = Reading(guards, Asked(), Originals(VAULT.originals), clock=lambda: 0.0)
    way_back = restorer(api, reading, stream=stream)
    out = [one for event in events for one in way_back.chunk(json.dumps(event).encode())] + way_back.end()
    return [json.loads(one) for one in out], reading.findings.counts


def texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """(the name it stands under, the string), of all strings."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, name)


def heard(events: list[Tree]) -> set[str]:
    """What is heard under each name, all events together."""
    said: dict[str, str] = {}
    for one in events:
        for name, text in texts(one):
            said[name] = said.get(name, "") + text
    return set(said.values())


@pytest.mark.parametrize("size", [1, 5, 1_000])
@pytest.mark.parametrize("place", STREAMED)
def test_a_text_is_read_and_unmasked_in_every_field_that_is_streamed(place: str, size: int) -> None:
    api, told = STREAMED[place]
    cut = [SAYS[at : at + size] for at in range(0, len(SAYS), size)]
    out, counts = play(api, [one for piece in cut for one in told(piece)])
    assert HEARS in heard(out)
    assert KEY not in json.dumps(out)
    assert counts == {"answer.secret.github": 1}


def test_what_stands_beside_a_text_in_a_structure_is_said_once_and_its_kind_each_time() -> None:
    details = [{"type": "reasoning.text", "format": "v1", "index": 3, "text": "ghp", "signature": "QUtJ"}]
    out, _ = play(
        "chat", [chat(reasoning_details=details), chat(audio={"id": "a", "data": "UklG", "transcript": "ghp"})]
    )
    assert [one["choices"][0]["delta"] for one in out] == [
        {"reasoning_details": [{**details[0], "text": ""}]},
        {"audio": {"id": "a", "data": "UklG", "transcript": ""}},
        {"reasoning_details": [{"type": "reasoning.text", "format": "v1", "index": 3, "text": "ghp"}]},
        {"audio": {"transcript": "ghp"}},
    ]


def test_two_texts_of_one_structure_do_not_share_a_window() -> None:
    def both(first: str, second: str) -> Tree:
        return chat(content=[{"type": "text", "text": first}, {"type": "text", "text": second}])

    out, counts = play("chat", [both(KEY[:9], "and "), both(KEY[9:], "so on "), both(" ", "")])
    assert counts == {"answer.secret.github": 1}
    said = [[part["text"] for part in one["choices"][0]["delta"]["content"]] for one in out[:3]]
    assert ["".join(pieces) for pieces in zip(*said, strict=True)] == ["[SECRET_REDACTED] ", "and so on "]


def test_what_is_said_again_beside_a_delta_is_left_out_and_the_rest_of_a_choice_is_read() -> None:
    again = chat(content="Use ")
    again["choices"][0] |= {"message": {"role": "assistant", "content": f"Use {KEY[:20]}"}, "notes": [KEY]}
    out, _ = play("chat", [again])
    assert out == [
        {**chat(content="Use "), "choices": [{**chat(content="Use ")["choices"][0], "notes": ["[SECRET_REDACTED]"]}]}
    ]


def call(**function: Any) -> Tree:
    return {"index": 0, "id": "call_1", "function": function}


@pytest.mark.parametrize(
    "delta", [{"tool_calls": [call(name=KEY, arguments="")]}, {"function_call": {"name": KEY, "arguments": ""}}]
)
def test_the_name_of_a_tool_that_is_called_is_read(delta: Tree) -> None:
    out, counts = play("chat", [chat(**delta)])
    assert counts == {"answer.secret.github": 1}
    assert KEY not in json.dumps(out)


SOURCES = [{"title": SAYS, "url": "https://example.org"}]
BESIDE: dict[str, tuple[Api, Tree]] = {
    "chat chunk": ("chat", {**chat(content="Hello"), "search_results": SOURCES}),
    "chat tool call": ("chat", chat(tool_calls=[{**call(name="post", arguments="{}"), "note": SAYS}])),
    "chat function": ("chat", chat(tool_calls=[call(name="post", arguments="{}", note=SAYS)])),
    "chat arguments that are an object": ("chat", chat(tool_calls=[call(name="post", arguments={"user": [SAYS]})])),
    "chat, an older function": ("chat", chat(function_call={"name": "post", "arguments": {"token": SAYS}})),
    "completions chunk": ("completions", {**completion(text="Hello"), "search_results": SOURCES}),
    "completions choice": ("completions", completion(text="Hello", reasoning=SAYS)),
    "messages block": (
        "messages",
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": "Hello ", "citations": [{"type": "page_location", "cited_text": SAYS}]},
        },
    ),
    "messages delta": ("messages", {**block(type="text_delta", text="Hello "), "note": SAYS}),
    "messages thoughts": ("messages", {**block(type="thinking_delta", thinking="Hello "), "note": SAYS}),
    "responses delta": ("responses", {**event("output_text", "Hello "), "note": SAYS}),
    "responses deltas": ("responses", {**event("shell_call_output_content", {"stdout": "Hello "}), "note": SAYS}),
    "gemini chunk": ("gemini", {**parts({"text": "Hello "}), "promptFeedback": {"blockReasonMessage": SAYS}}),
    "gemini content": ("gemini", {"candidates": [{"content": {"parts": [{"text": "Hello "}], "note": SAYS}}]}),
    "gemini part": ("gemini", parts({"text": "Hello ", "videoMetadata": {"note": SAYS}})),
}  # fmt: skip


@pytest.mark.parametrize("place", BESIDE)
def test_what_comes_whole_beside_a_text_that_comes_in_pieces_is_read_and_unmasked(place: str) -> None:
    api, told = BESIDE[place]
    out, counts = play(api, [told])
    assert out == [json.loads(json.dumps(told).replace(SAYS, HEARS))]
    assert counts == {"answer.secret.github": 1}


@pytest.mark.parametrize(("api", "stream"), [("chat", False), ("responses", False), ("responses", True)])
def test_arguments_that_come_as_an_object_are_read_whatever_their_names(api: Api, *, stream: bool) -> None:
    called = {"type": "tool_search_call", "arguments": {"token": SAYS, "metadata": {"user": SAYS}}}
    told: Tree = {"choices": [{"index": 0, "message": {"tool_calls": [{"function": called}]}}]}
    if api == "responses":
        told = {"type": "response.output_item.done", "item": called} if stream else {"output": [called]}
    out, counts = play(api, [told], stream=stream)
    assert out == [json.loads(json.dumps(told).replace(SAYS, HEARS))]
    assert counts == {"answer.secret.github": 2}


def test_arguments_in_pieces_end_with_their_call_and_nothing_of_them_is_lost() -> None:
    def call(*given: Tree, goes_on: bool) -> Tree:
        return parts({"functionCall": {"partialArgs": list(given), **({"willContinue": True} if goes_on else {})}})

    def text(piece: str, path: str = "$.a", **more: Any) -> Tree:
        return {"jsonPath": path, "stringValue": piece, **more}

    out, _ = play(
        "gemini",
        [
            parts({"functionCall": {"name": "post", "willContinue": True}}),
            call(text("to g", willContinue=True), text("ghp_", "$.b", willContinue=True), goes_on=True),
            call(text("hp"), {"jsonPath": "$.n", "numberValue": 3}, goes_on=True),
            parts({"functionCall": {}}),
            call(text("gh"), goes_on=False),
            call(text("ghp", willContinue=True), goes_on=True),
        ],
    )
    said: dict[str, list[str]] = {}
    for one in out:
        for part in one["candidates"][0]["content"]["parts"]:
            for given in part["functionCall"].get("partialArgs", ()):
                said.setdefault(given["jsonPath"], []).append(str(given.get("stringValue", given.get("numberValue"))))
    assert {path: "".join(pieces) for path, pieces in said.items()} == {"$.a": "to ghpghghp", "$.b": "ghp_", "$.n": "3"}
    assert out[0] == parts({"functionCall": {"name": "post", "willContinue": True}})


@pytest.mark.parametrize(
    "item",
    [
        {"type": "local_shell_call", "action": {"command": ["echo", "x"], "env": {"user": KEY}}},
        {"type": "computer_call", "action": {"type": "type", "text": KEY}},
        {"type": "mcp_call", "output": None, "error": f"cannot use {KEY}"},
        {"type": "web_search_call", "action": {"type": "search", "query": KEY}},
    ],
)
def test_what_an_agent_is_told_to_do_is_read_whatever_its_fields_are_called(item: Tree) -> None:
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    out, counts = play("responses", [done])
    assert counts == {"answer.secret.github": 1}
    assert out == json.loads(json.dumps([done]).replace(KEY, "[SECRET_REDACTED]"))
