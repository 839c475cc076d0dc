"""JSON in a string of JSON in a string: what comes back there is written as JSON writes it, as many times, however the text is cut."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.envelope import Api
from llmproxy.common.policy import Policy
from llmproxy.common.testing import FakeClock
from llmproxy.shield import preflight
from llmproxy.shield.examine import Examined, Order, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.levels import LEVELS_MAX, Levels, is_escaped, meant, written
from llmproxy.shield.restore import restorer
from llmproxy.shield.restore.whole import Unmasking
from llmproxy.shield.vault import Vault, tenant_key
from llmproxy.shield.window import Originals, Window, restored

PEM = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 4 + "-----END PRIVATE KEY-----"
VALUES = ['pa"ss\\wo\nrd', "\\", '"', "\t\u0001é\u2028😀", PEM, "plain"]
VAULT = Vault(tenant_key(b"secret", "acme"), frozenset)
STANDS = [VAULT.mask("secret.assigned", value) for value in VALUES]
ORIGINALS = Originals(VAULT.originals)
RING = preflight.pipeline(GUARDS)

Tree = dict[str, Any]


def nested(value: str, levels: int) -> str:
    """A document in a string of a document, so many times, and in the innermost the value."""
    document = json.dumps(
        {"n": [1, -2.5e3, True, None], "it's": "{no} [document", "said": f'he said "{value}"', "all": value}
    )
    for _ in range(levels - 1):
        document = json.dumps({"before": [document[:0], 'a "b" \\ c'], "body": document}, indent=1)
    return document


def inner(document: str, levels: int) -> Tree:
    tree = json.loads(document)
    for _ in range(levels - 1):
        tree = json.loads(tree["body"])
    return tree  # type: ignore[no-any-return]


def cut(text: str) -> list[str]:
    """At every character."""
    return list(text)


@pytest.mark.parametrize("in_json", [True, False])
@pytest.mark.parametrize("levels", range(1, LEVELS_MAX + 1))
@pytest.mark.parametrize("which", range(len(VALUES)))
def test_at_every_level_the_document_parses_and_holds_the_value(which: int, levels: int, in_json: bool) -> None:
    said = nested(STANDS[which], levels)
    whole = restored(said, ORIGINALS, in_json=in_json)
    assert inner(whole, levels)["all"] == VALUES[which]
    assert inner(whole, levels)["said"] == f'he said "{VALUES[which]}"'
    window = Window(ORIGINALS, in_json=in_json)
    assert "".join(map(window.push, cut(said))) + window.flush() == whole


@pytest.mark.parametrize(
    "text",
    [
        "The key is {}.", 'He said "{}" [sic].', "[Note] \"{}\"", "{{ not json: \"{}\" }}", '{{"a": 1}} and then "{}"', '["{}" he said', "{}", " [{}]",
        '"{}"', "{{}} {}", "[1] \"{}\"", "[truth] \"{}\"", '{{"a" "{}"}}',
    ],
)  # fmt: skip
def test_what_is_no_document_gets_the_value_as_it_is(text: str) -> None:
    for stands, value in VAULT.originals.items():
        whole = restored(text.format(stands), ORIGINALS)
        window = Window(ORIGINALS)
        assert "".join(map(window.push, cut(text.format(stands)))) + window.flush() == whole
        if not text.startswith("[") or text[1] in "Nt1":
            assert whole == text.format(value)


def test_lines_of_documents_are_documents_each() -> None:
    said = "\n".join(json.dumps({"a": stands}) for stands in STANDS)
    assert [json.loads(line)["a"] for line in restored(said, ORIGINALS).split("\n")] == VALUES


@given(st.text(alphabet='{}[]:,"\\ntrue1u0 x') | st.text(), st.data())
def test_no_text_is_too_odd_and_pieces_do_not_matter(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    for is_document in (False, True):
        whole, pieces = Levels(is_document=is_document), Levels(is_document=is_document)
        whole.read(text)
        pieces.read(text[:at])
        pieces.read(text[at:])
        assert whole.count == pieces.count


@given(st.text())
def test_what_json_writes_otherwise_is_told_at_a_glance(value: str) -> None:
    assert is_escaped(value) == (written(value, 1) != value)


@given(value=st.text(), levels=st.integers(0, 3))
def test_what_is_meant_is_what_was_written(value: str, levels: int) -> None:
    document = written(f'"{value}"', 0)
    for _ in range(levels):
        document = json.dumps([value if document == f'"{value}"' else document], ensure_ascii=False)
    raw = written(value, levels)
    start = document.index(raw)
    assert meant(document, start, start + len(raw)) == (value if levels else raw)


def chat(piece: str) -> Tree:
    return {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}}]}


def messages(piece: str) -> Tree:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}


def responses(piece: str) -> Tree:
    return {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": piece}


def gemini(piece: str) -> Tree:
    partial = {"jsonPath": "$.body", "stringValue": piece, "willContinue": True}
    return {
        "candidates": [
            {"index": 0, "content": {"parts": [{"functionCall": {"partialArgs": [partial], "willContinue": True}}]}}
        ]
    }


STREAMS: dict[Api, tuple[Callable[[str], Tree], Callable[[Tree], str]]] = {
    "chat": (chat, lambda one: one["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]),
    "messages": (messages, lambda one: one["delta"]["partial_json"]),
    "responses": (responses, lambda one: one["delta"]),
    "gemini": (gemini, lambda one: one["candidates"][0]["content"]["parts"][0]["functionCall"]["partialArgs"][0]["stringValue"]),
}  # fmt: skip


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("api", STREAMS)
def test_arguments_that_are_streamed_hold_the_value_at_every_level(api: Api, levels: int) -> None:
    told, heard = STREAMS[api]
    for stands, value in VAULT.originals.items():
        way_back = restorer(api, Unmasking(VAULT.originals), stream=True)
        events = [
            one for piece in cut(nested(stands, levels)) for one in way_back.chunk(json.dumps(told(piece)).encode())
        ]
        said = "".join(heard(json.loads(one)) for one in [*events, *way_back.end()])
        assert inner(said, levels)["all"] == value


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_what_a_request_has_in_documents_in_documents_comes_back_as_it_was(levels: int) -> None:
    """Masked where it stands, and put back where the model repeats it: in a document, in a call, or in words."""
    document = nested(PEM, levels)
    body = {"messages": [{"role": "tool", "tool_call_id": "t", "content": document}]}
    order = Order(body=json.dumps(body).encode(), policy=Policy(), key=b"k" * 32, max_depth=64)
    examined = examine(order, RING, FakeClock())
    assert isinstance(examined, Examined)
    assert list(examined.originals.values()) == [PEM]
    assert examined.masked is not None
    masked = json.loads(examined.masked)["messages"][0]["content"]
    (stands,) = examined.originals
    originals = Originals(examined.originals)
    assert restored(masked, originals) == document
    assert restored(masked, originals, in_json=True) == document
    assert restored(f"The key: {stands}", originals) == f"The key: {PEM}"
    assert json.loads(restored(json.dumps({"key": stands}), originals, in_json=True)) == {"key": PEM}
