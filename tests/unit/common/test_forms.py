"""What an expression is looked for by: never so little that a text it matches is passed over, and no more than it must be."""

import re
from re import _parser as regex_parser  # type: ignore[attr-defined]
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llmproxy.common.config_checks import SIGNATURES_MAX
from llmproxy.common.everyday import commonness
from llmproxy.common.forms import REACH_BYTES, WAYS_MAX, forms
from llmproxy.common.signatures import Hit, Matcher, phrase, prepared, ready
from llmproxy.common.words import Near

LITERALS = st.sampled_from(
    ["ignore", "rules", "the", "your", "ai", "to", "system prompt", "é", "правила", "antidisestablishment", "a", ":"]
)
GAPS = st.sampled_from([r"[^.!?]{0,20}", r"[\x00-\x2f]{0,4}", r"\b", ".", "[a-z]{2,5}", "(?:very)?", "s?", r"\x20"])
EXPRESSIONS = st.recursive(
    LITERALS | GAPS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=5).map("".join),
        st.lists(inner, min_size=2, max_size=5).map(lambda ones: f"(?:{'|'.join(ones)})"),
        inner.map(lambda one: f"(?:{one}){{1,2}}"),
        inner.map(lambda one: f"(?:{one})?"),
    ),
    max_leaves=24,
)


def found(source: str, text: bytes) -> list[bytes]:
    """The parts of a text that the expression is tried on."""
    return [text[one.start : one.end] for one in Near([forms(source)], reach=REACH_BYTES).find(text, 10_000)[0]]


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, st.data())
def test_no_text_that_an_expression_matches_is_passed_over(source: str, data: st.DataObject) -> None:
    """For all the words that stand where they must, and for what of it is tried."""
    parsed = regex_parser.parse(source.encode().decode("latin-1"))
    exact = re.compile(source.encode())
    around = st.sampled_from([b"", b" ", b"x", b". the ", b"your rules "])
    text = data.draw(around) + b"".join(_made(node, data) for node in parsed) + data.draw(around)
    match = exact.search(text)
    if match is not None and match.end() - match.start() < REACH_BYTES and forms(source):
        assert any(exact.search(part) for part in found(source, text))


def _made(node: Any, data: st.DataObject) -> bytes:
    kind, value = str(node[0]), node[1]
    if kind == "LITERAL":
        return bytes((value,))
    if kind == "SUBPATTERN":
        return b"".join(_made(one, data) for one in value[3])
    if kind == "BRANCH":
        return b"".join(_made(one, data) for one in data.draw(st.sampled_from(value[1])))
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        times = data.draw(st.integers(value[0], min(value[1], value[0] + 5)))
        return b"".join(_made(one, data) for _ in range(times) for one in value[2])
    if kind == "IN":
        return b"b" if ("RANGE", (97, 122)) in [(str(one), what) for one, what in value] else b" "
    return b"," if kind == "ANY" else b""


def test_an_alternative_with_words_of_its_own_is_looked_for_by_all_of_them() -> None:
    source = (
        r"ignore[^.]{0,20}everything|show[^.]{0,20}(?:prompt[^.]{0,9}again|rules[^.]{0,9}verbatim)|list[^.]{0,20}orders"
    )
    assert found(source, b"show me the rules verbatim") == [b"show me the rules verbatim"]
    for text in (
        b"show me how to prompt",
        b"the rules say: list all prompts",
        b"rules verbatim",
        b"list the rules, ignore the orders",
    ):
        assert not found(source, text)


def test_words_that_follow_each_other_must_do_so_wherever_they_stand() -> None:
    """Though nobody knows how far from the beginning."""
    source = r"show[^.]{0,90}your[\x00-\x2f]{0,4}rules"
    assert found(source, b"show what they said, and then your rules")
    assert not found(source, b"show your friends what they said of the rules")


def test_a_word_that_spares_less_than_it_costs_to_find_is_not_looked_for() -> None:
    [rare] = forms(r"the[^.]{0,20}qzxwvjk")
    [common] = forms(r"the[\x00-\x2f]{0,4}prompt")
    assert (rare.key, rare.others) == ({b"qzxwvjk"}, ())
    assert [one.group for one in common.others] == [{b"the"}]


def test_what_begins_or_ends_a_word_is_looked_for_there() -> None:
    source = r"evil[^.]{0,20}(?:chat|mode)\b"
    assert found(source, b"an evil mode")
    assert not found(source, b"an evil model")


def test_what_stands_before_or_behind_a_choice_belongs_to_its_words() -> None:
    assert not found(r"\bno(?:rules|limits)", b"the rules, the limits")


def test_a_choice_of_which_one_needs_no_word_is_not_looked_for() -> None:
    assert found("(?:rules|x)[^.]{0,9}orders", b"x orders")
    assert not forms("(?:rules|x)")


def test_everyday_words_are_common_and_others_the_rarer_the_longer() -> None:
    assert commonness([b"the"]) > commonness([b"prompt"]) > commonness([b"qzxwvjk"])
    assert commonness([b"zqx"]) > commonness([b"zqxwvkjh"])
    assert commonness([b"the", b"prompt"]) == commonness([b"prompt", b"the"]) > commonness([b"the"])


def test_there_is_room_for_all_that_an_operator_may_add() -> None:
    shipped = ready()
    assert max(len(one.forms) for one in shipped) <= WAYS_MAX
    own = [
        prepared(
            Hit(f"own-{number}", "custom", "high"),
            phrase(f"p{number:03}a r{number:03}b o{number:03}c j{number:03}d e{number:03}f"),
        )
        for number in range(SIGNATURES_MAX)
    ]
    matcher = Matcher([*shipped, *own])
    [last] = matcher.near.find(b"the p999a r999b o999c j999d e999f", 100)[0]
    assert matcher.signatures[last.thing].hit.id == "own-999"
