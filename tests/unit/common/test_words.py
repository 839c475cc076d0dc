"""Words that are near each other: the native pass finds what a search in Python finds, of any text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.words import CANDIDATES_MAX, EDGE, Candidate, Form, Group, Near, Other

REACH = 12
WORDS = st.binary(min_size=2, max_size=6).map(bytes.lower).filter(lambda word: EDGE not in word) | st.sampled_from(
    [b"ab", b"abc", b"bc", b"abcd", b"bcde", b"cd", b"\xd0\xb8", b"\0\0", b"a\0\0\0"]
)
EDGES = st.sampled_from([b"", b"", EDGE])
GROUPS = st.frozensets(
    st.builds(lambda begin, word, end: begin + word + end, EDGES, WORDS, EDGES), min_size=1, max_size=3
)
OTHERS = st.builds(Other, GROUPS, st.integers(-REACH, 0), st.integers(-2, REACH))
FORMS = st.builds(Form, GROUPS, st.lists(OTHERS, max_size=2).map(tuple), st.integers(0, 20), st.integers(0, 20))
THINGS = st.lists(FORMS, min_size=1, max_size=3)
TEXTS = st.binary(max_size=150) | st.lists(WORDS | st.sampled_from([b" ", b"AB", b"    "]), max_size=60).map(b"".join)


def ends(text: bytes, group: Group) -> list[int]:
    """Where a word of the group ends, as Python finds it."""
    found = set()
    for word in group:
        bare = word.strip(EDGE)
        begins, finishes = rb"(?<![0-9a-z_])" * word.startswith(EDGE), rb"(?![0-9a-z_])" * word.endswith(EDGE)
        pattern = rb"(?=%b%b%b)" % (begins, re.escape(bare), finishes)
        found |= {hit.start() + len(bare) - 1 for hit in re.finditer(pattern, text.lower())}
    return sorted(found)


def expected(text: bytes, things: list[list[Form]]) -> dict[int, set[int]]:
    """Of each thing the bytes that are to be looked at."""
    found: dict[int, set[int]] = {}
    for index, form in ((index, form) for index, thing in enumerate(things) for form in thing):
        for end in ends(text, form.key):
            if all(
                any(other.low <= place - end <= other.high for place in ends(text, other.group))
                for other in form.others
            ):
                start, stop = max(0, end - min(REACH, form.before)), min(len(text), end + min(REACH, form.behind))
                found.setdefault(index, set()).update(range(start, stop))
    return found


MANY_WORDS = b"zz " * 200


@pytest.mark.parametrize("before", [b"", MANY_WORDS], ids=["few words", "many words"])
@given(TEXTS, st.lists(THINGS, min_size=1, max_size=4))
def test_things_are_where_all_words_of_a_form_are(before: bytes, text: bytes, things: list[list[Form]]) -> None:
    text, things = before + text, [*things, [Form(frozenset({b"zz"}))]]
    candidates, _, exhausted = Near(things, reach=REACH).find(text, 10_000)
    covered: dict[int, set[int]] = {}
    for one in candidates:
        covered.setdefault(one.thing, set()).update(range(one.start, one.end))
    assert not exhausted
    assert covered == expected(text, things)


ONE = Near([[Form(frozenset({b"one"}))]], reach=REACH)


def test_parts_that_touch_are_one() -> None:
    assert ONE.find(b"one one one", 100) == ([Candidate(0, 0, 11)], 3, False)
    assert len(ONE.find(b"one" + b" " * 50 + b"one", 100)[0]) == 2


def test_forms_of_one_thing_that_touch_are_one() -> None:
    red, fox = Form(frozenset({b"red"}), before=3, behind=6), Form(frozenset({b"fox"}), before=9, behind=3)
    assert Near([[red, fox]], reach=REACH).find(b"the red fox runs", 100)[0] == [Candidate(0, 1, 13)]
    assert len(Near([[red], [fox]], reach=REACH).find(b"the red fox runs", 100)[0]) == 2


def test_what_is_looked_at_is_bounded() -> None:
    assert ONE.find(b"one " * 10, 3) == ([Candidate(0, 0, 22)], 3, True)
    many = (b"one" + b" " * 50) * (CANDIDATES_MAX + 1)
    assert (len(ONE.find(many, 10_000)[0]), ONE.find(many, 10_000)[2]) == (CANDIDATES_MAX, True)
    assert ONE.find(b"one" * 100_000, 10**6)[2]
    assert ONE.find(b"one", -5) == ([], 0, True)


def test_a_long_word_is_found_by_its_beginning() -> None:
    near = Near([[Form(frozenset({EDGE + b"antidisestablishmentarianism" + EDGE}))]])
    assert near.find(b"an ANTIDISESTABLISHMENT", 100)[0]


def test_too_many_words_are_refused() -> None:
    with pytest.raises(ValueError, match="65536 words"):
        Near([[Form(frozenset(number.to_bytes(16, "big") for number in range(1 << 60, (1 << 60) + 65_536)))]])
    with pytest.raises(ValueError, match="of 2 bytes"):
        Near([[Form(frozenset({b"a"}))]])
    with pytest.raises(ValueError, match="things"):
        Near([[Form(frozenset({b"word"}))]] * 4_097)
    with pytest.raises(ValueError, match="forms"):
        Near([[Form(frozenset({b"word"}))] * 16_385])
