"""Whether an answer says the request's own system text: passages of so many words in the same order.

What the user said too is no secret. What the model says about its instructions in other words, translated or encoded, is
not recognised.
"""

import ctypes
import re
from collections.abc import Callable
from functools import lru_cache

from llmproxy.common import native
from llmproxy.common.answers import Watched
from llmproxy.shield.answers.stage import Report, seen

KIND = "leak"
SHINGLE_WORDS = 6
STRIDE_WORDS = 6
"""Every sixth place of the answer is looked up; two in a row that follow each other in the system text too are a passage.

So every passage of `CERTAIN_WORDS` is found, and none of fewer than `LEAST_WORDS`.
"""

LEAST_WORDS = SHINGLE_WORDS + STRIDE_WORDS
CERTAIN_WORDS = LEAST_WORDS + STRIDE_WORDS - 1
SYSTEM_CHARS_MAX = 64 << 10  # Of the system text; what is behind it is not compared.
SYSTEMS_KEPT = 32
WORD_CHARS_MAX = 64
RECENT_CHARS = 2 * LEAST_WORDS * WORD_CHARS_MAX  # That a passage has at most, with what stands between its words.

_UNSPACED = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
UNSPACED = re.compile(f"[{_UNSPACED}]")
WORDS = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]{{1,{WORD_CHARS_MAX}}}")
"""Where spaces do not tell words apart, each character counts as one. What is longer than a word counts as more than one."""


_IN_WORDS = frozenset(code for code in range(128) if chr(code).isalnum() or chr(code) == "_")
_SPACED = bytes(code if code in _IN_WORDS else 32 for code in range(256))
_LETTERS = bytes(120 if code in _IN_WORDS else 32 for code in range(256))


def words_of(text: str) -> list[str]:
    """Of a casefolded text. The short way gives the same, in a quarter of the time."""
    if text.isascii():
        raw = text.encode()
        if b"x" * (WORD_CHARS_MAX + 1) not in raw.translate(_LETTERS):
            return raw.translate(_SPACED).decode().split()
    return WORDS.findall(text)


@lru_cache(SYSTEMS_KEPT)
def shingles(system: str) -> dict[int, int]:
    """Hash of each run of words -> where it begins. Applications send the same system text again and again."""
    words = words_of(system[:SYSTEM_CHARS_MAX].casefold())
    places: dict[int, int] = {}
    for place in range(len(words) - SHINGLE_WORDS, -1, -1):
        places[hash(tuple(words[place : place + SHINGLE_WORDS]))] = place
    return places


class _Vocabulary(ctypes.Structure):
    """`Vocabulary` of native/passages.c."""

    _fields_ = (("bits", ctypes.c_void_p), ("mask", ctypes.c_uint32), ("least", ctypes.c_uint32))


_learn_words = native.function("llmproxy_learn_words", None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
_may_say = native.call("may_say")
BITS_PER_WORD, BITS_MIN = 8, 512


class Vocabulary:
    """The words of a system text."""

    def __init__(self, words: frozenset[str]) -> None:
        self.words = words
        bits = max(BITS_MIN, 1 << (BITS_PER_WORD * len(words)).bit_length())
        room = ctypes.create_string_buffer(bits // 8)
        known = _Vocabulary(ctypes.addressof(room), bits - 1, LEAST_WORDS)
        self._kept, self._address = (room, known), ctypes.addressof(known)
        text = " ".join(words).encode()
        _learn_words(self._address, text, len(text))

    def may_be_said(self, text: str) -> bool:
        """Whether a text in ASCII may have `LEAST_WORDS` of them in a row."""
        return bool(_may_say(self._address, text))


@lru_cache(SYSTEMS_KEPT)
def vocabulary(system: str) -> Vocabulary:
    return Vocabulary(frozenset(words_of(system[:SYSTEM_CHARS_MAX].casefold())))


def is_clear(system: str, text: str) -> bool:
    """A passage has `LEAST_WORDS` words of the system text in a row, and every one of so many words is looked at here."""
    known = vocabulary(system)
    if text.isascii() and not known.may_be_said(text):
        return True  # As nearly all.
    words = words_of(text.casefold())
    if known.words.isdisjoint(words[LEAST_WORDS - 1 :: LEAST_WORDS]):
        return True
    return all(
        words[place] not in known.words or _run(words, place, known.words) < LEAST_WORDS
        for place in range(LEAST_WORDS - 1, len(words), LEAST_WORDS)
    )


def _run(words: list[str], place: int, known: frozenset[str]) -> int:
    """How many words around a place are known without another between them; not more than are asked for."""
    first, beyond = place, place + 1
    least, most = max(0, place - LEAST_WORDS + 1), min(len(words), place + LEAST_WORDS)
    while first > least and words[first - 1] in known:
        first -= 1
    while beyond < most and words[beyond] in known:
        beyond += 1
    return beyond - first


class Leak:
    """Reads one text. `is_said` tells whether the user says these words, in this order."""

    __slots__ = (
        "_before",
        "_hit",
        "_is_said",
        "_mode",
        "_places",
        "_read",
        "_recent",
        "_report",
        "_tail",
        "_words",
        "found",
    )

    def __init__(self, system: str, mode: Watched, is_said: Callable[[str], bool], report: Report) -> None:
        self._places = shingles(system)
        self._mode, self._is_said, self._report = mode, is_said, report
        self._tail = ""  # The word that has not ended.
        self._words: list[str] = []  # Since the last place that was looked up.
        self._hit = -1  # Where in the system text the last shingle stands,
        self._before: list[str] = []  # and its words.
        self._recent = ""  # What was read last,
        self._read = 0  # and how many characters in all: where a passage stands is asked once.
        self.found = False

    def read(self, piece: str) -> None:
        if self.found or not self._places:
            return
        self._recent = self._recent[-RECENT_CHARS:] + piece
        self._read += len(piece)
        text = (self._tail + piece).casefold()
        end = len(text)
        while end > 0 and _goes_on(text[end - 1]):
            end -= 1
        end += (len(text) - end) // WORD_CHARS_MAX * WORD_CHARS_MAX
        self._tail = text[end:]
        if end:
            self._words += words_of(text[:end])
            self._look()

    def over(self) -> None:
        self.read(" ")

    def _look(self) -> None:
        words, at = self._words, 0
        while at + SHINGLE_WORDS <= len(words):
            shingle = words[at : at + SHINGLE_WORDS]
            at += STRIDE_WORDS
            place = self._places.get(hash(tuple(shingle)), -1)
            if place >= 0 and self._is_said(" ".join(shingle)):
                place = -1
            follows = place >= 0 and self._hit >= 0 and place == self._hit + STRIDE_WORDS
            self._hit = place
            if follows:
                self.found = True
                self._report(seen(KIND, self._mode, *self._place([*self._before, *shingle])))
                return
            self._before = shingle
        self._words = words[at:]

    def _place(self, words: list[str]) -> tuple[int, int]:
        """Of a passage that has just been read, in characters; (0, 0) where letters have changed with their case."""
        found = re.search(r"[\W_]*".join(map(re.escape, words)), self._recent, re.IGNORECASE)
        first = self._read - len(self._recent)
        return (first + found.start(), first + found.end()) if found is not None else (0, 0)


def _goes_on(character: str) -> bool:
    """Whether it may be in the middle of a word."""
    return (character.isalnum() or character == "_") and UNSPACED.match(character) is None
