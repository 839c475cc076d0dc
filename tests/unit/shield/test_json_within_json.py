r"""Tools return JSON in a string, and logs hold it: there a line break is a backslash and an n, and what follows it is a word of its own."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.policy import Policy
from llmproxy.common.testing import FakeClock
from llmproxy.shield import normalise, preflight
from llmproxy.shield.examine import Examined, Order, examine
from llmproxy.shield.guards import GUARDS

EMAIL = "jane.roe@corp-mail.com"
HIDDEN = {
    "an address": EMAIL,
    "a card": "4111111111111111",
    "a token": "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8",
    "an account": "DE89370400440532013000",
    "a number": "+49 170 1234567",
}


def examined(body: dict[str, Any]) -> Examined:
    order = Order(body=json.dumps(body).encode(), policy=Policy(), key=b"k" * 32, max_depth=64)
    seen = examine(order, preflight.pipeline(GUARDS), FakeClock())
    assert isinstance(seen, Examined)
    return seen


def masked(said: str) -> tuple[str, dict[str, str]]:
    """What a provider gets for a tool's result, and what the placeholders stand for."""
    seen = examined({"model": "m", "messages": [{"role": "tool", "tool_call_id": "c", "content": said}]})
    sent = json.loads(seen.masked)["messages"][0]["content"] if seen.masked else said
    return sent, seen.originals


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize(
    "gap",
    ["\n", "\t", "\r\n", ":\n", "\n\n", " \n", "```\n", "]\n", "}\t", "-----\n", " | \n", "=\n", "\u2026\n", "/\r"],
)
def test_what_follows_an_escaped_line_break_is_masked_and_the_document_stays_one(name: str, gap: str) -> None:
    value = HIDDEN[name]
    document = {"note": f"see{gap}{value}\nbye"}
    for said, inner in ((json.dumps(document), 1), (json.dumps({"x": json.dumps(document)}), 2)):
        sent, originals = masked(said)
        assert value not in sent
        assert list(originals.values()) == [value]
        (placeholder,) = originals
        read: Any = json.loads(sent)
        read = json.loads(read["x"]) if inner == 2 else read
        assert read == {"note": f"see{gap}{placeholder}\nbye"}


def test_a_line_that_begins_with_an_escaped_letter_does_not_take_the_break_before_it() -> None:
    address = "\u00e4da@corp-mail.com"
    sent, originals = masked(json.dumps({"note": f"see\n{address}"}))
    (placeholder,) = originals
    assert json.loads(sent) == {"note": f"see\n{placeholder}"}
    assert json.loads(f'"{originals[placeholder]}"') == address


@pytest.mark.parametrize("before", ["hello", "hello ", "```"])
def test_a_line_of_a_log_is_read_as_what_it_quotes(before: str) -> None:
    sent, originals = masked(rf'POST /notes body="{before}\n{EMAIL}\nbye" 200')
    assert list(originals.values()) == [EMAIL]
    assert sent.startswith(rf'POST /notes body="{before}\n[EMAIL_')


@pytest.mark.parametrize("text", [r"\text{a} \sum f", r"\\nas", r'print("hello\n")', r"a\\", "a\\n", r"x = \t"])
def test_a_backslash_that_is_no_line_break_leaves_the_text_plain(text: str) -> None:
    assert normalise.is_plain(text)
    assert normalise.view(text).text == text


@given(
    st.lists(
        st.sampled_from(["a", "n", " ", "\\n", "\\\\t", "\\u0041", "\\/", "\\", "９", "\u200b", "x."]), max_size=12
    )
)
def test_every_part_of_the_view_stands_somewhere_in_the_text(parts: list[str]) -> None:
    text = "".join(parts)
    view = normalise.view(text)
    assert normalise.is_plain(text) == (view.text == text)
    spans = [view.span(at, at + 1) for at in range(len(view.text))]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= behind[0] for before, behind in itertools.pairwise(spans))
    assert not any(view.parts(start, end) for start, end in spans)
    assert all(view.parts(start + 1, end) for start, end in spans if end - start > 1)


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ({"password": "Tr0ub4dor&3x"}, "Tr0ub4dor&3x"),
        ({"auth": {"api_key": "9f8e7d6c5b4a39281706f5e4d3c2b1a0"}}, "9f8e7d6c5b4a39281706f5e4d3c2b1a0"),
        ({"ssn": 536904399}, "536904399"),
        ({"date_of_birth": "1980-02-03", "note": "a\nb"}, "1980-02-03"),
    ],
)
def test_the_name_of_an_argument_says_what_its_value_is(document: dict[str, Any], value: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps(document)}}
    seen = examined({"model": "m", "messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]})
    assert list(seen.originals.values()) == [value]
    assert seen.masked is not None
    sent = json.loads(seen.masked)["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert value not in sent
    assert json.loads(sent).keys() == document.keys()
