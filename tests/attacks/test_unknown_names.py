"""A name that nobody knows, at every level of every provider's answers and events: what stands there was read, or does not reach the client."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
from msgspec import structs

from llmproxy.common.answers import Answers
from llmproxy.common.envelope import Api
from llmproxy.common.policy import Policy
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.answers.stage import Stopped
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.restore import restorer
from llmproxy.shield.vault import Vault, tenant_key
from llmproxy.shield.window import Originals

KEY = "ghp_" + "Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
CANARY = "a1b2c3d4e5f60718"
VAULT = Vault(tenant_key(b"secret", "acme"), frozenset)
MAIL = VAULT.mask("email", "ada@example.com")
GUARDS_OF = Guards(GUARDS, structs.replace(Policy(), answers=Answers()))

Tree = dict[str, Any]
Path = tuple[str | int, ...]

WEIGHED = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}], "refusal": None}
USAGE = {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}}
CALLS: list[Tree] = [
    {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
    {"index": 1, "id": "call_2", "type": "custom", "custom": {"name": "f", "input": "x "}},
]
SAID = {
    "role": "assistant",
    "content": "Hello ",
    "refusal": None,
    "reasoning_content": "hm ",
    "annotations": [{"type": "url_citation", "url_citation": {"title": "t", "url": "https://example.org"}}],
    "audio": {"id": "a", "data": "UklG", "transcript": "t "},
    "tool_calls": CALLS,
    "function_call": {"name": "f", "arguments": "{}"},
    "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "QUtJ"}],
    "reasoning_details": [{"type": "reasoning.text", "text": "t ", "signature": "QUtJ"}],
}
PARTS = [{"type": "text", "text": "x "}, {"type": "thinking", "thinking": [{"type": "text", "text": "x "}]}]
USED: list[Tree] = [
    {"type": "thinking", "thinking": "t", "signature": "QUtJ"},
    {"type": "redacted_thinking", "data": "QUtJ"},
    {"type": "text", "text": "hi ", "citations": [{"type": "char_location", "cited_text": "c"}]},
    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": {"b": 1}}},
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result", "title": "t", "encrypted_content": "QUtJ"}]},
    {"type": "code_execution_tool_result", "content": {"type": "code_execution_result", "stdout": "x", "content": [{"file_id": "f"}]}},
    {"type": "mcp_tool_use", "id": "x", "name": "n", "server_name": "s", "input": {}},
    {"type": "mcp_tool_result", "tool_use_id": "x", "content": [{"type": "text", "text": "t"}]},
    {"type": "container_upload", "file_id": "f"},
]  # fmt: skip
ITEMS: list[Tree] = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "content": [{"type": "reasoning_text", "text": "x"}]},
    {"type": "message", "content": [{"type": "output_text", "text": "hi ", "annotations": [{"filename": "x"}], "logprobs": WEIGHED["content"]}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "custom_tool_call", "input": "x", "name": "n"},
    {"type": "web_search_call", "action": {"type": "search", "query": "q", "sources": [{"url": "https://example.org"}]}},
    {"type": "file_search_call", "queries": ["q"], "results": [{"text": "t", "filename": "f", "attributes": {"a": "b"}}]},
    {"type": "computer_call", "action": {"type": "click", "x": 1}, "pending_safety_checks": [{"message": "m"}]},
    {"type": "code_interpreter_call", "code": "c", "outputs": [{"type": "logs", "logs": "l"}]},
    {"type": "image_generation_call", "result": "QUtJ", "revised_prompt": "x"},
    {"type": "mcp_list_tools", "tools": [{"name": "n", "input_schema": {"a": 1}}]},
    {"type": "mcp_call", "name": "n", "arguments": "{}", "output": "o", "error": None},
    {"type": "local_shell_call", "action": {"command": ["x"], "env": {}}},
    {"type": "shell_call_output", "output": [{"stdout": "x", "outcome": {"type": "exit"}}]},
]  # fmt: skip
RESPONSE: Tree = {
    "id": "r",
    "output": ITEMS,
    "incomplete_details": {"reason": "x"},
    "instructions": "be",
    "metadata": {"a": "b"},
    "tools": [{"type": "function", "name": "f", "parameters": {"a": 1}}],
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "low", "summary": None},
    "prompt": {"id": "x", "variables": {"a": "b"}},
    "usage": {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0}},
}
CANDIDATE: Tree = {
    "index": 0,
    "content": {
        "role": "model",
        "parts": [
            {"text": "hm ", "thought": True, "thoughtSignature": "QUtJ"},
            {"text": "hi "},
            {"functionCall": {"id": "x", "name": "f", "args": {"a": {"b": 1}}}},
            {"executableCode": {"language": "PYTHON", "code": "x"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "x"}},
            {"inlineData": {"mimeType": "image/png", "data": "QUtJ"}},
        ],
    },
    "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "NEGLIGIBLE"}],
    "citationMetadata": {"citationSources": [{"uri": "u"}]},
    "groundingMetadata": {"groundingChunks": [{"web": {"title": "t"}}], "searchEntryPoint": {"renderedContent": "x"}},
    "logprobsResult": {"topCandidates": [{"candidates": [{"token": "a", "logProbability": -0.5}]}]},
}
GENERATED: Tree = {
    "candidates": [CANDIDATE],
    "promptFeedback": {"blockReason": "x", "safetyRatings": []},
    "usageMetadata": {"totalTokenCount": 1, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1}]},
}
ARGUMENTS: list[Tree] = [
    {"jsonPath": "$.a", "stringValue": "x ", "willContinue": True},
    {"jsonPath": "$.n", "numberValue": 1},
    {"jsonPath": "$.z", "nullValue": "NULL_VALUE"},
]
OF_TEXT: Tree = {"output_index": 0, "content_index": 0, "item_id": "i"}
ERROR: Tree = {"error": {"message": "m", "type": "t", "details": [{"reason": "r"}]}}


def chunk(**choice: Any) -> Tree:
    return {"id": "c", "choices": [{"index": 0, **choice}], "usage": USAGE}


def parts(*said: Tree) -> Tree:
    return {"candidates": [{"index": 0, "content": {"role": "model", "parts": list(said)}}]}


WHOLE: dict[Api, list[Tree]] = {
    "chat": [chunk(message={**SAID, "content": said}, logprobs=WEIGHED) for said in ("Hello", PARTS)]
    + [chunk(message={"role": "assistant", "content": "Hello"}, logprobs=WEIGHED)],
    "completions": [chunk(text="hi", logprobs={"tokens": ["a"], "top_logprobs": [{"a": -0.5}]})],
    "messages": [{"type": "message", "content": USED, "usage": USAGE, "container": {"id": "c"}, "context_management": {"edits": [{"type": "x"}]}}],
    "responses": [RESPONSE],
    "gemini": [GENERATED],
}  # fmt: skip
STREAMED: dict[Api, list[Tree]] = {
    "chat": [
        chunk(delta=SAID, logprobs=WEIGHED, finish_reason=None),
        chunk(delta={"content": PARTS}, finish_reason=None),
        chunk(delta={}, finish_reason="stop"),
        {"id": "c", "choices": [], "usage": USAGE},
        ERROR,
    ],
    "completions": [chunk(text="hi ", logprobs={"tokens": ["a"]}, finish_reason=None), chunk(text="", finish_reason="stop")],
    "messages": [
        {"type": "message_start", "message": {"id": "m", "content": [], "usage": USAGE}},
        *({"type": "content_block_start", "index": at, "content_block": block} for at, block in enumerate(USED)),
        {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "hi "}},
        {"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "citations_delta", "citation": {"cited_text": "c"}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "QUtJ"}},
        {"type": "content_block_stop", "index": 2},
        {"type": "ping"},
        {"type": "brand_new", "told": {"a": 1}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "container": {"id": "c"}}, "usage": USAGE},
        {"type": "message_stop"},
        {"type": "error", **ERROR},
    ],
    "responses": [
        {"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "output": []}},
        *({"type": "response.output_item.added", "output_index": at, "item": item} for at, item in enumerate(ITEMS)),
        {"type": "response.content_part.added", **OF_TEXT, "part": {"type": "output_text", "text": "", "annotations": []}},
        {"type": "response.output_text.delta", **OF_TEXT, "delta": "hi ", "logprobs": [{"token": "a"}], "obfuscation": "x"},
        {"type": "response.output_text.annotation.added", **OF_TEXT, "annotation": {"title": "t"}},
        {"type": "response.output_text.done", **OF_TEXT, "text": "hi ", "logprobs": []},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "item_id": "j", "delta": "{}"},
        {"type": "response.shell_call_output_content.delta", "output_index": 12, "delta": {"stdout": "x ", "stderr": ""}},
        {"type": "response.audio.delta", "delta": "UklG"},
        {"type": "response.image_generation_call.partial_image", "partial_image_b64": "QUtJ"},
        {"type": "response.completed", "response": RESPONSE},
        {"type": "error", "message": "m", "code": "c"},
    ],
    "gemini": [
        GENERATED,
        parts({"functionCall": {"name": "f", "partialArgs": ARGUMENTS, "willContinue": True}}),
        parts({"function_call": {"partial_args": [{"json_path": "$.a", "string_value": "x"}]}}),
        ERROR,
    ],
}  # fmt: skip


def objects(tree: Any, path: Path = ()) -> Iterator[Path]:
    for name, item in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(item, dict | list):
            yield from objects(item, (*path, name))
    if isinstance(tree, dict):
        yield path


def play(api: Api, events: list[Tree], *, stream: bool, canary: str = "") -> str:
    """What reaches the client."""
    reading = Reading(GUARDS_OF, Asked(canary=canary), Originals(VAULT.originals), clock=lambda: 0.0)
    way_back = restorer(api, reading, stream=stream)
    try:
        out = [one for event in events for one in way_back.chunk(json.dumps(event).encode())] + way_back.end()
    except Stopped:
        return ""
    return b"\n".join(out).decode()


def with_unknown(tree: Tree, path: Path, name: str, value: Any) -> Tree:
    changed: Any = deepcopy(tree)
    node = changed
    for step in path:
        node = node[step]
    node[name] = value
    return changed  # type: ignore[no-any-return]


FORMS: dict[str, tuple[str, Any]] = {
    "a text": ("unheard_of", f"Use {KEY} and {MAIL} with {CANARY} today"),
    "deep within": ("unheard_of", {"further": [{"down": f"Use {KEY} and {MAIL} with {CANARY} today"}]}),
    "the name itself": (f"{MAIL} {CANARY} {KEY}", 1),
}
EVENTS = [
    (api, told is STREAMED, at) for told in (WHOLE, STREAMED) for api, events in told.items() for at in range(len(events))
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("api", "stream", "at"), EVENTS)
def test_what_stands_under_a_name_that_nobody_knows_was_read(api: Api, stream: bool, at: int, form: str) -> None:
    event = (STREAMED if stream else WHOLE)[api][at]
    name, value = FORMS[form]
    for path in objects(event):
        told = [with_unknown(event, path, name, value)]
        heard = play(api, told, stream=stream)
        assert heard, path
        assert KEY not in heard, path
        assert MAIL not in heard, path
        assert CANARY not in play(api, told, stream=stream, canary=CANARY), path


@pytest.mark.parametrize(("api", "stream", "at"), EVENTS)
def test_what_nobody_put_anything_into_comes_as_it_went(api: Api, stream: bool, at: int) -> None:
    event = (STREAMED if stream else WHOLE)[api][at]
    assert json.loads(play(api, [event], stream=stream).split("\n")[0]) == event


@pytest.mark.parametrize(
    ("api", "event"),
    [
        ("responses", {"type": "response.output_item.done", "item": {"type": "message", "status": f"done with {KEY}"}}),
        ("gemini", parts({"functionCall": {"partialArgs": [{"jsonPath": f"$.{KEY}", "stringValue": "x"}]}})),
        ("gemini", parts({"functionCall": {"partialArgs": [{"jsonPath": "$.a", "stringValue": "x", "willContinue": KEY}]}})),
        ("responses", {"type": "response.audio.delta", "delta": f"this is no sound: {KEY}"}),
        ("messages", {"type": "content_block_start", "index": 0, "content_block": {"type": "mcp_tools", "tools": [{"description": KEY}]}}),
    ],
)  # fmt: skip
def test_no_known_name_makes_a_text_an_id_or_a_sound(api: Api, event: Tree) -> None:
    assert KEY not in play(api, [event], stream=True)


def test_what_an_answer_repeats_of_the_request_is_no_news() -> None:
    described = f"Posts to https://user:{KEY}@example.com"
    answer = {"output": [], "tools": [{"type": "function", "name": "post", "description": described}]}
    reading = Reading(GUARDS_OF, Asked(said=described), Originals({}), clock=lambda: 0.0)
    assert restorer("responses", reading, stream=False).chunk(json.dumps(answer).encode()) == [
        json.dumps(answer).encode()
    ]
    assert not reading.findings.counts


SAYS = f"Use {KEY} today"
ODD: dict[str, tuple[Api, Tree]] = {
    "a choice that is a list": ("chat", {"choices": [[{"delta": {"content": SAYS}}]]}),
    "a choice that is a text": ("chat", {"choices": [SAYS, {"index": 0, "delta": {}}]}),
    "a delta that is a text": ("chat", chunk(delta=SAYS)),
    "a delta that is a list": ("chat", chunk(delta=[SAYS])),
    "a call that is a text": ("chat", chunk(delta={"tool_calls": [SAYS]})),
    "calls that are an object": ("chat", chunk(delta={"tool_calls": {"a": SAYS}})),
    "a function that is a text": ("chat", chunk(delta={"tool_calls": [{"index": 0, "function": SAYS}]})),
    "a tool that is a text": ("chat", chunk(delta={"tool_calls": [{"index": 0, "custom": SAYS}]})),
    "thoughts that are an object": ("chat", chunk(delta={"thinking_blocks": {"a": SAYS}})),
    "a completion that is a text": ("completions", {"choices": [SAYS]}),
    "a text that is a list": ("completions", chunk(text=[SAYS])),
    "a block that is a list": ("messages", {"type": "content_block_start", "index": 0, "content_block": [SAYS]}),
    "a thought that is an object": (
        "messages", {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": {"a": SAYS}}}
    ),
    "a signature that is an object": (
        "messages", {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": {"a": SAYS}}}
    ),
    "a delta of texts": ("responses", {"type": "response.output_text.delta", "delta": [SAYS]}),
    "a candidate that is a text": ("gemini", {"candidates": [SAYS]}),
    "a content that is a text": ("gemini", {"candidates": [{"content": SAYS}]}),
    "a part that is a text": ("gemini", {"candidates": [{"content": {"parts": [SAYS]}}]}),
    "parts that are an object": ("gemini", {"candidates": [{"content": {"parts": {"text": SAYS}}}]}),
    "a thought that is a text": ("gemini", parts({"thought": SAYS})),
    "a thought that is a text, beside one": ("gemini", parts({"text": "x ", "thought": SAYS})),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_what_it_should_be_is_read_as_what_it_is(odd: str) -> None:
    api, event = ODD[odd]
    assert KEY not in play(api, [event], stream=True)


def block(index: int, **delta: Any) -> Tree:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "unheard_delta", **delta}}


PIECES: dict[str, tuple[Api, Callable[[str], Tree]]] = {
    "beside a delta's texts": ("chat", lambda said: chunk(delta={"content": "x ", "unheard_of": said})),
    "in an object of a delta": ("chat", lambda said: chunk(delta={"unheard_of": {"kind": "k", "text": said}})),
    "deep in an object of a delta": ("chat", lambda said: chunk(delta={"unheard_of": {"steps": {"text": said}}})),
    "in a list of a delta": ("chat", lambda said: chunk(delta={"unheard_of": [{"index": 0, "text": said}]})),
    "in a call of a tool": ("chat", lambda said: chunk(delta={"tool_calls": [{"index": 0, "function": {"unheard_of": said}}]})),
    "in a call of a custom tool": ("chat", lambda said: chunk(delta={"tool_calls": [{"index": 0, "custom": {"unheard_of": said}}]})),
    "in a call of a function": ("chat", lambda said: chunk(delta={"function_call": {"unheard_of": said}})),
    "beside the text of a completion": ("completions", lambda said: chunk(text="x ", unheard_of=said)),
    "in the place of a completion's text": ("completions", lambda said: chunk(unheard_of=said)),
    "in a part of its own": ("gemini", lambda said: parts({"unheard_of": said})),
    "in a part with a text": ("gemini", lambda said: parts({"text": "x ", "unheard_of": said})),
    "in a block of its own": ("messages", lambda said: block(0, unheard_of=said)),
    "in an object of a block": ("messages", lambda said: block(0, unheard_of={"kind": "k", "text": said})),
    "in an object of one of several deltas": (
        "responses",
        lambda said: {"type": "response.unheard.delta", **OF_TEXT, "delta": {"unheard_of": [{"index": 0, "text": said}]}},
    ),
    "in a delta of its own": ("responses", lambda said: {"type": "response.unheard.delta", **OF_TEXT, "delta": said}),
    "in one of several deltas": ("responses", lambda said: {"type": "response.unheard.delta", **OF_TEXT, "delta": {"a": said}}),
}  # fmt: skip


def texts_under(told: str, name: str) -> str:
    """All of them, one behind the other, as whoever knows the name reads them."""

    def found(value: Any, is_under: bool) -> Iterator[str]:
        if isinstance(value, str):
            yield value if is_under else ""
        elif isinstance(value, list):
            for item in value:
                yield from found(item, is_under)
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from found(item, (is_under and key not in ("kind", "index")) or key == name)

    return "".join(text for line in told.split("\n") for text in found(json.loads(line), False))


@pytest.mark.parametrize("place", PIECES)
@pytest.mark.parametrize("length", [1, 5, 100])
def test_what_comes_in_pieces_under_a_name_that_nobody_knows_is_read_as_one_text(place: str, length: int) -> None:
    api, event = PIECES[place]
    said = f"Use {KEY} and {MAIL} today, PyTorch and ghp_x are harmless"
    events = [event(said[at : at + length]) for at in range(0, len(said), length)]
    heard = play(api, events, stream=True)
    expected = said.replace(KEY, "[SECRET_REDACTED]").replace(MAIL, "ada@example.com")
    name = "unheard_of" if "unheard_of" in heard else "delta"
    assert texts_under(heard, name) == expected


def test_what_comes_whole_in_each_event_under_such_a_name_stays_where_it_is() -> None:
    """Members of a list that do not say which one goes on, and texts beside the deltas."""
    for event in (
        lambda title: chunk(delta={"unheard_of": [{"type": "t", "text": title}]}),
        lambda title: chunk(delta={"unheard_of": {"title": title, "url": "https://example.org"}}),
        lambda title: chunk(delta={}, unheard_of=title),
    ):
        told = [event(title) for title in ("OpenAI", "OpenAI", "2026-11-23T08:30:00.123Z", "PyTorch 2.9")]
        assert [json.loads(one) for one in play("chat", told, stream=True).split("\n")] == told


def test_what_is_no_picture_is_read_as_a_text() -> None:
    assert KEY not in play("images", [{"data": [{"b64_json": SAYS}]}], stream=False)
