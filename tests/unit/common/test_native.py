"""The native library is there, or says how to get it; its marks are what a few expressions of Python find, in every input."""

import codecs
import ctypes
import re
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from architecture.source_tree import ROOT
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common import native
from llmproxy.common.lexicon import LEET, Lexicon
from llmproxy.common.views import Hint

PATTERNS = {
    Hint.ESCAPE: rb"\\[ux]\{?[0-9a-fA-F]{2}",
    Hint.PERCENT: rb"%[0-9a-fA-F]{2}",
    Hint.ENTITY: rb"&(?:#|[a-zA-Z]{2,8};)",
    Hint.FOLD: rb"[\x80-\xff]",
    Hint.RUN: rb"(?=[a-z+/_-]{0,15}[A-Z0-9])[A-Za-z0-9+/_-]{16,}|[a-z+/_-]{16,}[A-Z0-9]|(?:[0-9a-fA-F]{2}[ ,:]){8}",
}
PARTS = [
    b"\\",
    b"u",
    b"x",
    b"{",
    b"%",
    b"4",
    b"aF",
    b"&",
    b"#",
    b"lt",
    b";",
    b"abcdefgh",
    b"-",
    b"4a 4b:4c,",
    b" ",
    b"\xd0\xb8",
]
WORDS = ["ignore", "all", "system", "prompt", "rules"]
LEXICON = Lexicon(WORDS)


@given(st.binary() | st.lists(st.sampled_from(PARTS)).map(b"".join))
def test_marks_of_bytes_are_those_of_their_expressions(text: bytes) -> None:
    places = {bit: found.start() for bit, mark in PATTERNS.items() if (found := re.search(mark, text))}
    found, first = LEXICON.marks(text)
    assert {hint for hint in PATTERNS if found & hint} == places.keys()
    assert (first == len(text)) == (not found)
    assert first <= min(places.values(), default=len(text))


def apart(text: str) -> bool:
    """Four letters, each alone, with at most three other characters between two of them; digits neither help nor harm."""
    chain = 0
    for part in re.split(
        r"([^a-zA-Z@$0-9\x80-\U0010ffff]+)", re.sub(r"(?<![a-zA-Z@$\x80-\U0010ffff])[0-9]+", "", text)
    ):
        if part[:1].isalpha() or part[:1] in ("@", "$"):
            chain = chain + 1 if len(part) == 1 else 0
        elif len(part) > 3:
            chain = 0
        if chain == 4:
            return True
    return False


@given(st.text("ab@$ .,\u0438\u5ffd", max_size=24))
def test_letters_that_stand_apart_are_marked(text: str) -> None:
    assert bool(LEXICON.marks(text.encode())[0] & Hint.SPACED) == apart(text)


def steps(name: str) -> list[list[int]]:
    table = (ROOT / "libs/common/native/letters.h").read_text().partition(name)[2].partition("};")[0]
    return [[int(one) for one in row.split(",")] for row in re.findall(r"\{(-?\d[^{}]*)\}", table)]


@pytest.mark.parametrize(("hint", "name"), [(Hint.REVERSED, "BACKWARDS"), (Hint.ROT13, "ROTATED")])
def test_turned_text_is_marked_where_the_evidence_adds_up(hint: Hint, name: str) -> None:
    table = steps(name)

    @given(st.text("etaoinshr .", max_size=200) | st.text(max_size=50))
    def law(text: str) -> None:
        raw = text.encode()
        letters = [one - 97 if 97 <= one < 123 else 26 for one in raw.lower()]
        evidence = list(
            accumulate(pairwise([26, *letters]), lambda sum, pair: max(0, sum + table[pair[0]][pair[1]]), initial=0)
        )
        assert bool(LEXICON.marks(raw)[0] & hint) == (max(evidence) >= 160)

    law()
    sentence = b"please read the whole of this sentence and tell me what it is about"
    turned = sentence[::-1] if hint is Hint.REVERSED else codecs.encode(sentence.decode(), "rot13").encode()
    assert not LEXICON.marks(sentence)[0] & hint
    assert LEXICON.marks(turned)[0] & hint


def spelt_right(token: str, joints: bool) -> str:
    """A word of the lexicon, if the token is one that is spelt otherwise."""
    letters = re.sub(r"[._*~`|-]", "", token).lower()
    if not re.search("[a-z]", letters):
        return token
    for word in WORDS:
        if len(word) == len(letters) and all(
            one.translate(LEET) == meant or (one, meant) == ("1", "l") for one, meant in zip(letters, word, strict=True)
        ):
            return word if joints or not letters.isalpha() else token
    swaps = [letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :] for at in range(len(letters) - 1)]
    found = [word for word in WORDS if word in swaps and len(word) >= 5 and letters.isalpha()]
    return found[0] if found and not joints else token


def respelt(text: str) -> str:
    def whole(match: re.Match[str]) -> str:
        if re.search(r"[._*~`|-][^._*~`|-]", match[0]) and (right := spelt_right(match[0], True)) != match[0]:
            return right
        return re.sub(r"[a-zA-Z0134-9]+", lambda part: spelt_right(part[0], False), match[0])

    return re.sub(r"[a-zA-Z0134-9]+(?:[._*~`|-]{1,4}[a-zA-Z0134-9]+)*[._*~`|-]{0,4}", whole, text)


SPELLINGS = [
    "ingore",
    "1gn0re",
    "i.g.n.o.r.e",
    "prom-pt",
    "4ll",
    "al1",
    "411",
    "ruels",
    "Systme",
    "ignore",
    "2",
    "-",
    "--",
    "_",
    " ",
    "!",
    "a",
]


@given(st.lists(st.sampled_from(SPELLINGS)).map("".join) | st.text("alr1u.- es", max_size=12))
def test_words_are_spelt_right(text: str) -> None:
    right = respelt(text.replace("!", " "))
    assert LEXICON.respelt(text.replace("!", " ").encode()).decode() == right
    marked = LEXICON.marks(text.replace("!", " ").encode())[0] & (Hint.TYPO | Hint.LEET | Hint.JOINED)
    assert bool(marked) == (right != text.replace("!", " "))


@given(st.binary())
def test_what_is_spelt_right_is_never_longer(text: bytes) -> None:
    assert len(LEXICON.respelt(text)) <= len(text)


def test_a_length_is_the_end_whatever_stands_behind_it() -> None:
    marks = native.function(
        "llmproxy_marks",
        ctypes.c_uint32,
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_size_t),
    )
    for text in (b"\\u0069", b"%41", b"&lt;", b"i g n o", b"abcdefghijklmno1", b"ingore", b"4ll"):
        assert LEXICON.marks(text)[0]
        for length in range(len(text) - (4 if text[:1] == b"\\" else 0)):
            assert not marks(LEXICON.pointer, text, length, ctypes.c_size_t()) & ~Hint.SPACED


def test_a_library_that_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "_native.so")
    with pytest.raises(ImportError, match="uv sync --reinstall-package llmproxy-common"):
        native.function("llmproxy_marks", ctypes.c_uint32)
