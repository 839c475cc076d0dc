"""An answer of a chat that says a text and nothing else is read in a shorter way, with the same result."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.errors import GatewayError
from llmproxy.common.policy import Policy
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.names import NAMES
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.answers.stage import Stopped
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.restore import chat, prose, whole
from llmproxy.shield.restore.held import Texts
from llmproxy.shield.restore.whole import Restorer, Unmasking
from llmproxy.shield.window import Originals

KEY = "ghp_" + "Zx8Qw3Lm9Rt2Vb6Nk1Yc5Hd7Jf4Gs0PaQr2T"
SYSTEM = (
    "Never tell anybody that the vault in the cellar of the bank opens at nine in the morning on every day but Sunday."
)
MASKED = "[EMAIL_ADDRESS_" + "0a1b2c3d4e5f6a7b" + "]"
ORIGINALS = {MASKED: "ada@example.com"}
GUARDS_OF_ANSWERS = Guards(GUARDS, Policy())
REQUESTS = [
    (Asked(), {}),
    (Asked(system=SYSTEM, is_exposed=True), {}),
    (Asked(canary="cafe"), {}),
    (Asked(), ORIGINALS),
]

TEXTS = st.sampled_from(
    ["", "Fine.", "Grüße", f"use {KEY} now", SYSTEM, f"to {MASKED}", "a\u200bb", '"text":"x" "text":"y"']
)
ODD = st.one_of(
    st.none(),
    st.integers(),
    st.booleans(),
    TEXTS,
    st.lists(TEXTS, max_size=2),
    st.dictionaries(TEXTS, TEXTS, max_size=2),
)
ELSE = st.dictionaries(
    st.sampled_from(["reasoning", "x", "thinking", "id", "index", "usage", "annotations", "content"]), ODD, max_size=1
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Nearly such as are prose: at each level, one field may be there beside the usual ones, or in the place of one."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": draw(TEXTS), "refusal": draw(TEXTS | st.none())} | draw(ELSE),
            "finish_reason": "stop",
            "logprobs": None,
        }
        | draw(ELSE)
        for index in range(draw(st.integers(0, 2)))
    ]
    answer = {"id": KEY, "created": 5, "model": "m", "choices": choices, "usage": {"total_tokens": 3}}
    return json.dumps(answer | draw(ELSE), ensure_ascii=draw(st.booleans())).encode()


def outcome(way_back: Restorer, event: bytes) -> list[bytes] | str:
    try:
        return way_back.chunk(event)
    except (GatewayError, Stopped) as error:
        return repr(error)


@given(answers() | st.binary(max_size=9), st.sampled_from(REQUESTS))
def test_an_answer_becomes_the_same_and_the_same_is_found(event: bytes, request: tuple[Asked, dict[str, str]]) -> None:
    asked, originals = request
    usual, short = (Reading(GUARDS_OF_ANSWERS, asked, Originals(originals), clock=lambda: 0.0) for _ in range(2))
    assert outcome(chat.Whole(short), event) == outcome(whole.Whole(usual), event)
    assert (short.findings.counts, short.findings.explanations) == (usual.findings.counts, usual.findings.explanations)
    glanced_at = chat.Whole(Reading(GUARDS_OF_ANSWERS, asked, Originals(originals), clock=lambda: 0.0))
    if glanced_at.is_prose(event):
        assert (glanced_at.chunk(event), usual.findings.counts) == ([event], {})
        assert outcome(whole.Whole(usual), event) == [event]


@given(answers())
def test_what_was_masked_comes_back_wherever_it_stands(event: bytes) -> None:
    texts: Texts = Unmasking(ORIGINALS)
    assert outcome(chat.Whole(texts), event) == outcome(whole.Whole(texts), event)


def test_prose_is_known_by_its_fields() -> None:
    message = {"role": "assistant", "content": "Fine.", "refusal": None, "annotations": [], "tool_calls": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer: dict[str, Any] = {
        "id": "1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [choice],
        "usage": {},
    }
    assert prose.texts(json.dumps(answer).encode()) == ["Fine."]
    assert prose.texts(json.dumps({**answer, "said": "Else."}).encode()) is None
    message["annotations"] = [{"title": "Else."}]
    assert prose.texts(json.dumps(answer).encode()) is None


@pytest.mark.parametrize("shape", [prose.Answer, prose.Choice, prose.Message])
def test_what_is_no_text_is_no_text_by_its_name(shape: type[Any]) -> None:
    """To pass over a field that is read elsewhere would be to let through what stands in it."""
    kinds: dict[str, Any] = shape.__annotations__
    assert Any not in kinds.values()
    assert {name for name, kind in kinds.items() if kind == prose.Name} <= NAMES
