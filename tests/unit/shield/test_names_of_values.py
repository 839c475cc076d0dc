"""A name may say what its value is: `password`. It says so wherever tools and callers fill in what they like, in whatever shape."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmproxy.common import segments
from llmproxy.common.policy import Policy
from llmproxy.common.segments import Rewrite, Segment
from llmproxy.common.segments.exact import EMBEDDED_DEPTH_MAX
from llmproxy.common.segments.segment import NUMBER_MIN
from llmproxy.common.testing import FakeClock
from llmproxy.shield import preflight
from llmproxy.shield.examine import Examined, Order, examine_within
from llmproxy.shield.guards import GUARDS

WORK_MAX = 10_000
NAMED: dict[str, tuple[dict[str, Any], str]] = {
    "password": ({"password": "hunter2xyz"}, "hunter2xyz"),
    "deeper": ({"auth": {"api_key": "9f8e7d6c5b4a39281706f5e4d3c2b1a0"}}, "9f8e7d6c5b4a39281706f5e4d3c2b1a0"),
    "number": ({"ssn": 536904399, "note": "hello there"}, "536904399"),
    "list": ({"passwords": ["Tr0ub4dor&3x", "none"]}, "Tr0ub4dor&3x"),
    "date": ({"date_of_birth": "1980-02-03"}, "1980-02-03"),
    "hidden digits": ({"ssn": "５３６９０４３９９"}, "５３６９０４３９９"),
}


def _messages(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": role, "content": list(blocks)}]}


def _parts(**part: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": "hi there"}, part]}]}


Body = Callable[[Any], dict[str, Any]]
STRUCTURED: dict[str, Body] = {
    "messages tool_use": lambda document: _messages(
        "assistant", {"type": "tool_use", "id": "t", "name": "f", "input": document}
    ),
    "messages server tool": lambda document: _messages(
        "assistant", {"type": "server_tool_use", "id": "t", "name": "f", "input": {"query": document}}
    ),
    "gemini call": lambda document: _parts(functionCall={"name": "f", "args": document}),
    "gemini call in snake case": lambda document: _parts(function_call={"name": "f", "args": document}),
    "gemini response": lambda document: _parts(functionResponse={"name": "f", "response": document}),
    "gemini response in a list": lambda document: _parts(
        functionResponse={"name": "f", "response": {"result": [document]}}
    ),
    "responses shell": lambda document: {
        "model": "m",
        "input": [{"type": "local_shell_call", "call_id": "c", "action": {"type": "exec", "env": document}}],
    },
    "responses output": lambda document: {
        "model": "m",
        "input": [{"type": "mcp_list", "output": [{"type": "json", "json": document}]}],
    },
    "chat arguments that are no string": lambda document: {
        "model": "m",
        "messages": [
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": document}}]}
        ],
    },
    "responses prompt variables": lambda document: {"model": "m", "prompt": {"id": "p", "variables": document}},
    "documents to rank": lambda document: {"model": "m", "query": "who", "documents": [document]},
}
IN_A_STRING: dict[str, Body] = {
    "messages tool_result": lambda document: _messages(
        "user", {"type": "tool_result", "tool_use_id": "t", "content": json.dumps(document)}
    ),
    "messages tool_result in blocks": lambda document: _messages(
        "user",
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": json.dumps(document)}]},
    ),
    "responses call": lambda document: {
        "model": "m",
        "input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps(document)}],
    },
    "responses output": lambda document: {
        "model": "m",
        "input": [{"type": "function_call_output", "call_id": "c", "output": json.dumps(document)}],
    },
}


def examined(body: dict[str, Any], work_max: int | None = WORK_MAX) -> Examined:
    order = Order(
        body=json.dumps(body, ensure_ascii=False).encode(), policy=Policy(), key=b"k" * 32, max_depth=segments.DEPTH_MAX
    )
    seen = examine_within(work_max, order, preflight.pipeline(GUARDS), FakeClock())
    assert isinstance(seen, Examined)
    return seen


@pytest.mark.parametrize("work_max", [WORK_MAX, None], ids=["in the loop", "elsewhere"])
@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("place", STRUCTURED)
def test_a_name_tells_in_what_tools_fill_as_in_a_string(place: str, name: str, work_max: int | None) -> None:
    document, value = NAMED[name]
    seen = examined(STRUCTURED[place](document), work_max)
    assert list(seen.originals.values()) == [value]
    assert seen.masked is not None
    (placeholder,) = seen.originals
    whole = json.dumps(STRUCTURED[place](document), ensure_ascii=False)
    written = f'"{value}"' if f'"{value}"' in whole else value
    assert json.loads(seen.masked) == json.loads(whole.replace(written, f'"{placeholder}"'))


@pytest.mark.parametrize("name", ["password", "deeper", "number", "date"])
@pytest.mark.parametrize("place", IN_A_STRING)
def test_a_document_in_a_string_stays_one_when_a_value_is_masked(place: str, name: str) -> None:
    document, value = NAMED[name]
    seen = examined(IN_A_STRING[place](document))
    assert list(seen.originals.values()) == [value]
    assert seen.masked is not None
    (placeholder,) = seen.originals
    written = json.dumps(document)
    quoted = f'"{value}"' if f'"{value}"' in written else value
    masked = written.replace(quoted, f'"{placeholder}"')
    assert json.loads(seen.masked) == IN_A_STRING[place](json.loads(masked))


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "metadata": {"password": "hunter2xyz"}, "messages": [{"role": "user", "content": "hello"}]},
        {
            "model": "m",
            "input": "hello there",
            "tools": [{"type": "mcp", "server_url": "https://example.com", "authorization": "9f8e7d6c5b4a3928"}],
        },
        {"model": "m", "input": [{"role": "user", "content": "hi there", "secret_key": "hunter2xyz"}]},
    ],
    ids=["metadata", "tools", "input of the body"],
)
def test_what_a_provider_is_told_to_use_is_no_tools_data(body: dict[str, Any]) -> None:
    assert examined(body).masked is None


def test_a_tool_call_without_such_names_is_as_it_was() -> None:
    body = STRUCTURED["messages tool_use"](
        {"city": "Berlin", "unit": "celsius", "passenger": "grown-up", "n": 123456789}
    )
    assert examined(body).masked is None


def test_the_walk_is_as_long_as_the_document_however_often_the_names_of_holders_nest() -> None:
    document: Any = {"password": "hunter2xyz"}
    for _ in range(40):
        document = {"input": document, "args": ["value"]}
    filled: list[segments.Filled] = []
    tree = STRUCTURED["messages tool_use"](document)
    segments.texts(tree, json.dumps(tree).encode(), filled=filled)
    assert len(segments.named(tree, filled)) == 41


NAMES = st.sampled_from(["input", "args", "password", "text", "note", "x" * 70, "name", "señal"])
LEAVES = st.one_of(st.text('ab\\"é5', max_size=8), st.integers(), st.floats(1e8, 1e12), st.booleans(), st.none())
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)


@given(st.dictionaries(NAMES, DOCUMENTS, max_size=3), st.sampled_from(sorted(STRUCTURED)))
@example({"input": {"args": "5\\\\"}}, "chat arguments that are no string")  # Long only as it is written.
def test_the_quick_pass_reads_beside_their_names_what_the_exact_pass_does(document: Any, place: str) -> None:
    tree = STRUCTURED[place](document)
    body = json.dumps(tree)
    filled: list[segments.Filled] = []
    segments.texts(tree, body.encode(), filled=filled)
    exact = {
        segments.beside(one.label, one.text, is_number=one.form == "number")[0]
        for one in segments.segments(body, tree, embedded=False)
        if one.label and not is_nothing(one)
    }
    assert exact <= set(segments.named(tree, filled))


def is_nothing(one: Segment) -> bool:
    """Whether it is too small to hold what a guard looks for: escapes may make it longer where it is written."""
    if one.form == "number":
        return abs(float(one.raw)) <= NUMBER_MIN
    return len(one.text) < segments.TEXT_CHARS_MIN


# -- a number in a document in a string


@given(DOCUMENTS, st.integers(0, EMBEDDED_DEPTH_MAX - 1), st.data())
def test_a_text_that_is_a_document_is_one_whatever_is_replaced_in_it(document: Any, depth: int, data: Any) -> None:
    text = json.dumps({"ids": [1234567, document], "id": 536904399})
    for _ in range(depth):
        text = json.dumps({"text": text})
    value = data.draw(st.sampled_from(["1234567", "536904399"]))
    start = text.index(value)
    body = json.dumps(text)
    segment = Segment(role="tool", path="x", text=text, start=1, raw=body[1:-1])
    rewrite = Rewrite()
    rewrite.replace(segment, start, start + len(value), "[MASK]")
    read = json.loads(json.loads(rewrite.apply(body)))
    for _ in range(depth):
        read = json.loads(read["text"])
    assert "[MASK]" in (read["ids"][0], read["id"])


def masked_result(text: str) -> str:
    """What a tool has returned, as it goes on."""
    seen = examined(_messages("user", {"type": "tool_result", "tool_use_id": "t", "content": text}))
    assert seen.masked is not None
    found: str = json.loads(seen.masked)["messages"][0]["content"][0]["content"]
    return found


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n3 rows follow\n"])
def test_lines_that_are_documents_stay_documents_when_a_number_in_them_is_masked(end: str) -> None:
    rows = [{"id": 1, "card": 4111111111111111}, {"id": 2, "card": 5500005555555559, "note": '{"ssn": 536904399}'}]
    lines = masked_result(end.join(map(json.dumps, rows))).splitlines()
    read = [json.loads(line) for line in lines if line.startswith("{")]
    assert [one["card"].startswith("[CREDIT_CARD_") for one in read] == [True, True]
    assert json.loads(read[1]["note"])["ssn"].startswith("[US_SSN_")


def test_passwords_in_a_list_behind_their_name_are_masked_in_a_string_too() -> None:
    document = {"users": [{"name": "bo", "passwords": ["hunter2xyz", "none", "Tr0ub4dor&3x"], "n": [1]}]}
    for text in (json.dumps(document), json.dumps(document, indent=2)):
        read = json.loads(masked_result(text))["users"][0]
        assert [one.startswith("[SECRET_") for one in read.pop("passwords")] == [True, False, True]
        assert read == {"name": "bo", "n": [1]}


def test_a_list_of_what_a_password_must_be_is_none_of_passwords() -> None:
    rules = {"password": ["required", "min:8", "This password is too short."], "passenger": ["grown-up1"]}
    assert examined(_messages("user", {"type": "text", "text": json.dumps(rules)})).masked is None
