"""Whether a request says what was found in the answer to it: as a search would tell, without one for each finding."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from llmproxy.common.answers import Answers
from llmproxy.common.policy import Policy
from llmproxy.shield.answers import said
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.leak import words_of
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.window import Originals

OURS = Guards(GUARDS, structs.replace(Policy(), answers=Answers()))
TEXTS = st.text("ab é漢😀\ud800", max_size=60) | st.lists(st.sampled_from(["abcdef", "ghijkl", "漢字かな", "é"])).map(
    "".join
)


@given(TEXTS, TEXTS, st.integers(0, 60), st.integers(0, 60))
def test_an_index_says_what_a_search_says(text: str, other: str, first: int, end: int) -> None:
    index = said.Index(text)
    for value in (other, text[first:end], text[first:] + other[:1]):
        assert index.says(value) == (value in text)


def test_what_stands_anywhere_in_a_long_text_is_found() -> None:
    text = " ".join(f"{number * 7919:x}" for number in range(100_000))
    index = said.Index(text)
    assert all(index.says(text[first : first + 6 + first % 40]) for first in range(0, len(text) - 50, 997))
    assert not any(index.says(f"{first:x}z{first}") for first in range(1_000))


class Searched(bytes):
    count = 0

    def __contains__(self, value: object) -> bool:
        Searched.count += 1
        return super().__contains__(value)  # type: ignore[operator]


def searches(monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]) -> int:
    """Through a text that is long, whichever way."""
    Searched.count, as_bytes = 0, said._bytes
    with monkeypatch.context() as patch:
        patch.setattr(said, "SEARCHES_MAX", 0)
        patch.setattr(said, "_bytes", lambda text: Searched(as_bytes(text)))
        run()
    return Searched.count


FILLED = " ".join(f"{number * 7919:x}" for number in range(20_000))
ADDRESSES = [f"ab{number}@h{number}.org" for number in range(450)]
HOSTS = " ".join(f"![a](https://h{number}.example/?q=abcdefgh{number})" for number in range(150))


@pytest.mark.parametrize(
    ("answer", "request_", "found"),
    [
        (" ".join(ADDRESSES), FILLED, {"answer.email": 450}),
        (" ".join(ADDRESSES), f"{FILLED} {' '.join(ADDRESSES)}", {}),
        (HOSTS, FILLED, {"answer.image.query": 150}),
    ],
    ids=["new", "known", "hosts"],
)
def test_a_long_request_is_not_searched_through_for_each_finding(
    monkeypatch: pytest.MonkeyPatch, answer: str, request_: str, found: dict[str, int]
) -> None:
    """450 addresses beside a request of 1 MB held the loop for 200 ms."""
    read = Reading(OURS, Asked(said=request_, users=request_), Originals({}), clock=lambda: 0.0)
    assert searches(monkeypatch, lambda: read.text(answer)) < 20
    assert read.findings.counts == found


def test_of_a_short_request_and_for_few_findings_no_index_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(said, "Index", None)
    short, long = said.Said("abc"), said.Said("abc" * said.SHORT_CHARS)
    assert not any("bca" in short for _ in range(2 * said.SEARCHES_MAX))
    assert all("bca" in long for _ in range(said.SEARCHES_MAX))


def test_an_index_has_a_limit_whatever_the_text() -> None:
    index = said.Index("x" * (2 * said.BITS_MAX // said.BITS_PER_GRAM))
    assert sum(len(room) for room in index._kept[:2]) <= 6 << 20
    assert not index.says("xxxxxy")
    assert index.says("x" * 100)


MANY = st.text("ab _.éß漢字のก\n", max_size=80)


@given(MANY, st.integers(1, 9))
def test_the_words_of_users_are_those_of_the_whole_text_however_it_is_parted(text: str, piece_chars: int) -> None:
    words = " ".join(words_of(text.casefold()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(said, "PIECE_CHARS", piece_chars)
        assert said.Request(Asked(users=text)).users.text == f" {words} "


@pytest.mark.parametrize("text", ["漢字" * 20_000, "a few words " * 4_000], ids=["characters", "words"])
def test_nobody_waits_until_the_words_of_a_long_text_are_told_apart(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """All of a text at once holds the interpreter: 0.6 s for a million characters of Chinese."""
    pieces: list[int] = []
    monkeypatch.setattr(said, "words_of", lambda piece: pieces.append(len(piece)) or words_of(piece))
    assert said.Request(Asked(users=text)).users.text.split() == words_of(text)
    assert max(pieces) < 2 * said.PIECE_CHARS


@pytest.mark.parametrize(
    ("asked", "is_slow"),
    [
        (Asked(users="a few words " * 9_000), False),
        (Asked(users="a few words " * 30_000), True),
        (Asked(said="é" * 40_000), True),
        (Asked(system="漢" * 40_000), True),
    ],
)
def test_the_answer_to_a_long_request_is_not_read_in_the_loop(asked: Asked, is_slow: bool) -> None:
    read = Reading(OURS, asked, Originals({}), clock=lambda: 0.0)
    assert (read.may_be_slow, read.is_slow) == (is_slow, is_slow)
