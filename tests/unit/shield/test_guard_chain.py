"""The chain: views of disguised text, policy, overlaps, and failing closed."""

import itertools
import logging
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.shield import normalise
from llmproxy.shield.chain import Budget, Chain, apart
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.verdict import ALLOW, Allow, Block, Finding, Flag, Mask, Verdict, found


class Word:
    """Finds one word."""

    def __init__(self, word: str, kind: str = "email") -> None:
        self.name, self.word, self.kind = word, word, kind

    def may_hold(self, text: str) -> bool:
        return self.word in text

    def inspect(self, segment: Segment) -> Verdict:
        at = segment.text.find(self.word)
        return found([Finding(self.kind, at, at + len(self.word))] if at >= 0 else [])


class Broken:
    name = "broken"

    def may_hold(self, text: str) -> bool:
        return True

    def inspect(self, segment: Segment) -> Verdict:
        raise RuntimeError(f"cannot read {segment.text}")


def inspect(
    text: str, *guards: Word | Broken | Chain, policy: Policy | None = None, budget: Budget | None = None
) -> Verdict:
    return Chain(guards, policy or Policy()).inspect(Segment(role="user", path="p", text=text), budget)


def test_a_chain_of_nothing_allows() -> None:
    assert inspect("anything") == ALLOW


def test_a_chain_is_a_guard_inside_another_chain() -> None:
    inner = Chain((Word("one"), Word("two")), Policy())
    assert inspect("one two", inner) == Mask((Finding("email", 0, 3, guard="one"), Finding("email", 4, 7, guard="two")))


def test_a_guard_that_raises_blocks_and_its_words_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        verdict = inspect("my password", Word("other"), Broken())
    assert verdict == Block(code="guard_unavailable")
    assert "my password" not in caplog.text
    assert "RuntimeError" in caplog.text


def test_a_guard_that_raises_is_asked_again_the_next_time() -> None:
    chain = Chain((Broken(),), Policy())
    segment = Segment(role="user", path="p", text="x")
    assert [chain.inspect(segment) for _ in range(50)] == [Block(code="guard_unavailable")] * 50


def test_a_chain_that_takes_too_long_blocks() -> None:
    ticks = iter(range(10))
    assert inspect("one", Word("one"), Word("one"), budget=Budget(0.5, lambda: next(ticks))) == Block(
        code="guard_unavailable"
    )


@pytest.mark.parametrize(
    ("does", "verdict"),
    [
        ("mask", Mask((Finding("email", 0, 3, "mask", guard="one"),))),
        ("redact", Mask((Finding("email", 0, 3, "redact", guard="one"),))),
        ("flag", Flag((Finding("email", 0, 3, "flag", guard="one"),))),
        ("block", Block((Finding("email", 0, 3, "block", guard="one"),))),
        ("hash", Mask((Finding("email", 0, 3, "hash", guard="one"),))),
        ("alert", Flag((Finding("email", 0, 3, "alert", guard="one"),))),
        ("allow", ALLOW),
    ],
)
def test_the_policy_decides_what_a_finding_means(does: str, verdict: Verdict) -> None:
    policy = Policy(kinds={"email": does})  # type: ignore[dict-item]
    assert inspect("one", Word("one"), policy=policy) == verdict


def test_one_kind_to_block_blocks_whatever_else_is_there() -> None:
    verdict = inspect("one two", Word("one"), Word("two", "us_ssn"), policy=Policy(kinds={"us_ssn": "block"}))
    assert isinstance(verdict, Block)
    assert [one.kind for one in verdict.findings] == ["us_ssn"]


@pytest.mark.parametrize(
    ("kinds", "does"),
    [
        ({}, "mask"),
        ({"secret": "block"}, "block"),
        ({"secret": "block", "secret.github": "flag"}, "flag"),
        ({"secret.gitlab": "allow"}, "mask"),
    ],
)
def test_a_secret_takes_its_own_action_then_that_of_all_secrets(kinds: dict[str, str], does: str) -> None:
    assert Policy(kinds=kinds).action("secret.github") == does  # type: ignore[arg-type]


def test_of_overlapping_findings_the_longest_wins_then_the_first_guard() -> None:
    first, longer, same = Finding("email", 0, 4), Finding("phone", 2, 9), Finding("iban", 2, 9)
    assert apart([first, longer, same]) == [longer]
    assert apart([first, same, longer]) == [same]


def test_what_is_only_flagged_does_not_keep_what_it_overlaps_from_being_masked() -> None:
    flagged, masked = Finding("phone", 0, 20, "flag"), Finding("email", 3, 5)
    assert apart([flagged, masked]) == [masked]


FINDINGS = st.builds(
    lambda start, length: Finding("email", start, start + length), st.integers(0, 40), st.integers(1, 9)
)


@given(st.lists(FINDINGS, max_size=12))
def test_findings_apart_never_overlap_and_cover_every_place_that_lost(findings: list[Finding]) -> None:
    kept = apart(findings)
    assert all(one.end <= other.start for one, other in itertools.pairwise(kept))
    assert all(any(one.start < lost.end and lost.start < one.end for one in kept) for lost in findings)


DISGUISES: list[Callable[[str], str]] = [
    lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    lambda text: "\u200b".join(text),
    lambda text: text[:3] + "\u00ad\u2060" + text[3:],
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: text.replace(" ", "\u2009"),
    lambda text: text.replace("-", "\u2011"),
    lambda text: "".join(chr(0x0660 + int(c)) if c.isdecimal() else c for c in text),
    lambda text: "".join(chr(0x1D7CE + int(c)) if c.isdecimal() else c for c in text),
    lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    lambda text: text.replace("4", "\\\\\\u0034").replace("@", "\\\\u0040"),
    lambda text: "\ufe0f".join(text),
    lambda text: "\U000e0001".join(text),
]


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("value", ["4111 1111 1111 1111", "ada@example.com", "219-09-9998", "+1 415 555 2671"])
def test_a_disguised_value_is_found_and_its_whole_disguise_is_masked(
    value: str, disguise: Callable[[str], str]
) -> None:
    hidden = disguise(value)
    text = f"it is ({hidden}) here"
    chain = Chain(GUARDS, Policy())
    assert chain.may_hold(text)
    verdict = chain.inspect(Segment(role="user", path="p", text=text))
    assert isinstance(verdict, Mask)
    assert [text[one.start : one.end] for one in verdict.findings] == [hidden]


def test_a_digit_behind_an_invisible_character_does_not_hide_what_stands_before_it() -> None:
    text = "219-09-9998\u200b7"
    verdict = Chain(GUARDS, Policy()).inspect(Segment(role="user", path="p", text=text))
    assert isinstance(verdict, Mask)
    assert verdict.findings[0].kind == "us_ssn"


@given(st.text())
def test_every_span_of_a_view_maps_to_a_span_of_the_text(text: str) -> None:
    view = normalise.view(text)
    spans = [view.span(at, at + 1) for at in range(len(view.text))]
    assert spans == sorted(spans)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(
        text[start] == seen
        for (start, end), seen in zip(spans, view.text, strict=True)
        if normalise.is_plain(text[start:end])
    )


@given(st.text())
def test_a_text_that_is_plain_is_its_own_view(text: str) -> None:
    if normalise.is_plain(text):
        assert normalise.view(text).text == text


def test_no_character_that_stands_for_ascii_or_for_nothing_is_taken_for_ordinary() -> None:
    missed = []
    for code in range(0x80, 0x110000):
        character = chr(code)
        folded = unicodedata.normalize("NFKC", character)
        stands_for_ascii = len(folded) == 1 and folded.isascii() and (folded.isalnum() or folded in "@.:-+/_ ")
        disguises = stands_for_ascii or unicodedata.category(character) in ("Cf", "Nd", "Zs")
        if disguises and normalise.is_plain(character):
            missed.append(f"{code:x}")
    assert missed == []


@pytest.mark.parametrize("text", ["café naïve", "Привет, мир", "你好，世界"[:2], "שלום", "emoji 🙂", "Größe"])
def test_ordinary_text_in_any_language_is_plain(text: str) -> None:
    assert normalise.is_plain(text)


def test_allow_is_not_a_mask_of_nothing() -> None:
    assert isinstance(found([]), Allow)
