"""The chain: views of disguised text, policy, overlaps, and failing closed."""

import itertools
import logging
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.common.views import View, views
from llmproxy.shield import normalise
from llmproxy.shield.chain import Budget, Chain, apart
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.verdict import ALLOW, Allow, Block, Finding, Flag, Mask, Verdict, found, seen_in


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
    inner, longer, same = Finding("email", 3, 6), Finding("phone", 2, 9), Finding("iban", 2, 9)
    assert apart([inner, longer, same]) == [longer]
    assert apart([inner, same, longer]) == [same]


def test_what_reaches_beyond_something_longer_is_taken_out_there_too() -> None:
    before, longer, behind = Finding("email", 0, 4), Finding("rule", 2, 9), Finding("phone", 8, 11, "hash")
    assert apart([before, longer, behind]) == [
        Finding("email", 0, 2),
        longer,
        Finding("phone", 9, 11, "hash"),
    ]


def test_of_findings_that_refuse_the_longest_is_recorded() -> None:
    shorter, longer = Finding("rule", 0, 4, "block"), Finding("rule", 2, 9, "block")
    assert apart([shorter, longer]) == [longer]


def test_what_is_only_flagged_does_not_keep_what_it_overlaps_from_being_masked() -> None:
    flagged, masked = Finding("phone", 0, 20, "flag"), Finding("email", 3, 5)
    assert apart([flagged, masked]) == [masked]


def test_what_another_guard_flags_is_recorded_beside_what_is_masked_inside_it() -> None:
    attack, mail = Finding("injection", 0, 20, "alert", guard="injection"), Finding("email", 3, 5, guard="pii")
    assert apart([mail, attack]) == [attack, mail]


FINDINGS = st.builds(
    lambda start, length: Finding("email", start, start + length), st.integers(0, 40), st.integers(1, 9)
)


@given(st.lists(FINDINGS, max_size=12))
def test_findings_apart_never_overlap_and_cover_every_place_that_was_found(findings: list[Finding]) -> None:
    kept = apart(findings)
    assert all(one.end <= other.start for one, other in itertools.pairwise(kept))
    assert places(kept) == places(findings)


def places(findings: list[Finding]) -> set[int]:
    return {place for one in findings for place in range(one.start, one.end)}


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


@given(st.text("aeiouyÄÖüßéèñçğőžệữάώйёがパ한국각", max_size=30))
def test_letters_in_several_pieces_are_one_in_the_view(text: str) -> None:
    assert normalise.view(unicodedata.normalize("NFD", text)).text == unicodedata.normalize("NFC", text)


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


# -- whose finding it is, and how exact


class Reader:
    """Looks into base64 by itself, as a guard may, and says so."""

    name = "reader"

    def __init__(self, word: str = "hunter2 and more") -> None:
        self.word = word

    def may_hold(self, text: str) -> bool:
        return True

    def inspect(self, segment: Segment) -> Verdict:
        seen = [
            seen_in(view, segment.text, Finding("email", at, at + len(self.word)))
            for view in views(segment.text)
            if (at := view.text.find(self.word)) >= 0
        ]
        return found(seen)


HIDDEN = b64encode(b"the word is hunter2 and more").decode()


def reader(text: str, policy: Policy) -> Verdict:
    return Chain((Reader(),), policy).inspect(Segment(role="user", path="p", text=text))


def test_what_a_guard_sees_after_decoding_is_placed_on_the_whole_of_what_was_encoded() -> None:
    text = f"Please read this: {HIDDEN} (thank you)"
    verdict = reader(text, Policy(kinds={"email": "flag"}))
    assert isinstance(verdict, Flag)
    (finding,) = verdict.findings
    assert text[finding.start : finding.end].strip() == HIDDEN
    assert (finding.guard, finding.via, finding.is_exact) == ("reader", ("runs",), False)


@pytest.mark.parametrize("does", ["mask", "redact", "hash"])
def test_what_cannot_be_taken_out_exactly_blocks_where_it_was_to_be_taken_out(does: Any) -> None:
    verdict = reader(f"Please read this: {HIDDEN}", Policy(kinds={"email": does}))
    assert isinstance(verdict, Block)
    assert verdict.findings[0].action == "block"


def test_what_stands_there_plainly_is_exact_although_something_else_is_encoded() -> None:
    text = f"hunter2 and more; {b64encode(b'nothing to see here, really').decode()}"
    verdict = reader(text, Policy())
    assert isinstance(verdict, Mask)
    assert [text[one.start : one.end] for one in verdict.findings] == ["hunter2 and more"]


@given(st.text(max_size=40), st.text(max_size=40), st.data())
def test_a_finding_of_a_view_is_exact_only_where_the_text_says_the_same(
    text: str, seen: str, data: st.DataObject
) -> None:
    if not seen:
        return
    start = data.draw(st.integers(0, len(seen) - 1))
    end = data.draw(st.integers(start + 1, len(seen)))
    placed = seen_in(View(seen, ("odd",)), text, Finding("email", start, end))
    assert placed.via == ("odd",)
    assert 0 <= placed.start <= placed.end <= len(text)
    if placed.is_exact:
        assert text[placed.start : placed.end] == seen[start:end]


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (5, 5), (7, 3), (0, 4_000)])
def test_a_span_that_the_text_does_not_have_is_the_whole_text_and_not_exact(start: int, end: int) -> None:
    class Confused(Word):
        def inspect(self, segment: Segment) -> Verdict:
            return Mask((Finding("email", start, end),))

    verdict = inspect("one two", Confused("one"), policy=Policy(kinds={"email": "alert"}))
    assert verdict == Flag((Finding("email", 0, 7, "alert", guard="one", is_exact=False),))


def test_what_is_found_in_the_plain_view_says_so_before_the_guards_own_decodings() -> None:
    verdict = inspect("o\u200bne", Word("one"))
    assert isinstance(verdict, Mask)
    assert verdict.findings == (Finding("email", 0, 4, guard="one", via=("plain",)),)
    verdict = reader(f"\uff41 {HIDDEN}", Policy(kinds={"email": "flag"}))
    assert isinstance(verdict, Flag)
    assert {one.via for one in verdict.findings} <= {("runs",), ("plain", "runs"), ("fold", "runs")}


def test_allow_is_not_a_mask_of_nothing() -> None:
    assert isinstance(found([]), Allow)
