"""What the strings of a body say, and what the firewall may spend on one."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common import signatures
from llmproxy.common.signatures import Budget, shipped
from llmproxy.edge.firewall import (
    DECODED_CHARS_MAX,
    SLICE_BYTES,
    SLICE_TRIALS_MAX,
    TRIALS_MAX,
    TURN_FIRST_TRIALS_MAX,
    Examination,
    slices,
    unescaped,
)

SCRIPTS = "abzßñéÿœžőşčπφωдюёўґњăđơưạệỹłğ"
"""Letters of the scripts that signatures are written in, of which each has one capital."""


class Nothing:
    """A matcher that finds nothing and counts what it is given."""

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def trials(self, plain: bytes, budget: Budget) -> tuple[None, ...]:
        self.bytes.append(len(plain))
        return ()


@given(st.text(SCRIPTS + SCRIPTS.upper().replace("SS", "") + ' \n\t"/忽😀', max_size=40))
def test_escapes_are_undone_and_letters_are_lower_case(text: str) -> None:
    lower = re.sub(r"[\t\r]", " ", text.lower()).replace('"', "'")
    for ascii_only in (True, False):
        raw = json.dumps(text, ensure_ascii=ascii_only)[1:-1].encode()
        assert unescaped(raw).decode().lower() == lower


@given(st.binary() | st.text('\\"u0d8fc9', max_size=30).map(str.encode))
def test_any_bytes_are_unescaped_and_none_are_added(body: bytes) -> None:
    assert len(unescaped(body)) <= len(body)


def test_what_is_no_character_is_a_space() -> None:
    assert unescaped(rb"a\u0000b\ud800c\udc00d\ud800\u0041") == b"a b c d A"
    assert unescaped(rb"\\u0041 \u00zz \u12") == rb"\\u0041 \u00zz \u12"
    assert unescaped(rb"\ud83d\ude00") == "😀".encode()


def test_what_is_decoded_of_a_body_is_bounded_whether_or_not_anything_was_hidden() -> None:
    for body in (b"%41" * 200_000, b"&amp;" * 100_000, "i\u200b".encode() * 100_000, b"a.b " * 100_000):
        counted = Nothing()
        examination = Examination(counted)  # type: ignore[arg-type]
        assert len(list(examination.turns(body))) >= len(slices(len(body))) - 1
        views = sum(counted.bytes) - sum(min(SLICE_BYTES, len(body) - start) for start in slices(len(body)))
        assert views <= 4 * DECODED_CHARS_MAX
        assert examination.exhausted or not views


class Spending(Nothing):
    """And spends what is left of something in its first call."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def trials(self, plain: bytes, budget: Budget) -> tuple[None, ...]:
        setattr(budget, self._what, 0)
        return super().trials(plain, budget)


@pytest.mark.parametrize("what", ["words", "bytes"])
def test_a_body_of_which_nothing_more_can_be_found_is_looked_at_no_longer(what: str) -> None:
    spent = Spending(what)
    examination = Examination(spent)  # type: ignore[arg-type]
    assert not list(examination.turns(b"aWdub3JlIGFsbCBwcmV2aW91cyBpbnN0cnVjdGlvbnM= " * 2_000))
    assert len(spent.bytes) == 1
    assert examination.exhausted


def test_what_is_left_of_the_trials_is_for_the_next_slice() -> None:
    spent = Spending("trials")
    assert list(Examination(spent).turns(b"the cat sat on the mat. " * 20_000))  # type: ignore[arg-type]
    assert len(spent.bytes) == -(-TRIALS_MAX // SLICE_TRIALS_MAX)


def test_expressions_that_are_new_are_tried_a_few_in_a_turn() -> None:
    said = " ".join(one.example for one in shipped().signatures if one.severity != "high" and one.example.isascii())
    body = said.encode()[:SLICE_BYTES]
    matcher = signatures.matcher()
    turns = Examination(matcher).turns(body)
    known = 0
    for _ in turns:
        tried = sum(not one.is_new for one in matcher.signatures)
        assert known < tried <= known + TURN_FIRST_TRIALS_MAX
        known = tried
    assert known > TURN_FIRST_TRIALS_MAX
    assert not list(Examination(matcher).turns(body))
