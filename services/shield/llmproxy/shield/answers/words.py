"""Takes keys and tokens out of an answer, word by word.

Each is one long word. So only the last word is held back, and of it not even a beginning that looks like that of any other
word: what a guard finds is taken out from there on, and that holds everything that was drawn.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

from llmproxy.shield import encoded, glance, look, normalise
from llmproxy.shield.answers.stage import Look, Report, instead, moved
from llmproxy.shield.guards.secrets import OURS, WORD_CHARS_MIN
from llmproxy.shield.vendors import VENDORS

CONTEXT_CHARS = 128  # Before a word: what guards look at to know what it is.
WORD_CHARS_MAX = 4_096  # A JSON Web Token may be as long. What is longer is looked at in pieces.
PLAIN = re.compile(r"[A-Z]?[a-z]{0,14}")  # How words of prose begin.
DRAWN = re.compile(rb"[0-9A-Z@]")  # Small letters alone are no key, and no address with a password in it.
SCHEME = "://"

_BREAKS = bytes(32 if code <= 32 or code >= 127 or code in glance.WORD_BREAKS else 120 for code in range(256))
_ADDRESS_BREAKS = bytes(32 if code <= 32 or code in b"\"'<>`" else 120 for code in range(256))
"""What ends a word is no part of a key. In an address, only quotes and spaces end it: a password may hold anything else."""

LITERALS = sorted({literal.decode() for vendor in VENDORS for literal in vendor.literals if not vendor.before})
WHOLE_LITERALS = frozenset(LITERALS)


class Words:
    """One text. `look` is asked about each word that could be a key, with what stands before it."""

    __slots__ = ("_at", "_begun", "_context", "_look", "_pending", "_report")

    def __init__(self, look: Look, report: Report) -> None:
        self._look, self._report = look, report
        self._context = ""  # What came before the last word.
        self._begun = ""  # Of the last word, what was said already.
        self._pending = ""  # And what was not.
        self._at = 0  # Where in the text that word begins.

    @property
    def held(self) -> int:
        return len(self._pending)

    def push(self, piece: str) -> str:
        text = f"{self._context}{self._begun}{self._pending}{piece}"
        offset = len(self._context)
        data = glance.plain(text)
        last = _last_word(data, text, offset)
        said = self._settled(text, data, offset, last)
        begins = offset + len(self._begun) if last == offset else last
        loose = max(begins, last + _loose(text, last))
        self._context = text[max(0, last - CONTEXT_CHARS) : last]
        self._begun, self._pending = text[last:loose], text[loose:]
        self._at += last - offset
        return said + text[begins:loose]

    def flush(self) -> str:
        """What comes behind it may go on with the last word, if it is what readers put behind it."""
        text, offset = self._context + self._begun + self._pending, len(self._context)
        data = glance.plain(text)
        said = self._settled(text, data, offset, len(text))
        last = _last_word(data, text, offset)
        if not said.endswith(text[max(last, offset + len(self._begun)) :]):
            last = len(text)  # It was taken out.
        self._context, self._begun, self._pending = text[max(0, last - CONTEXT_CHARS) : last], text[last:], ""
        self._at = -len(self._begun)
        return said

    def _settled(self, text: str, data: bytes, offset: int, end: int) -> str:
        """What is said of the words from `offset` on, all of which have ended, but for what was said already."""
        at = offset + len(self._begun)
        if end <= at:
            return ""
        if end - offset < WORD_CHARS_MIN and SCHEME not in text:
            return text[at:end]
        out: list[str] = []
        for start, stop in _candidates(text, data, offset, end):
            if DRAWN.search(data, start, stop) is None:
                continue
            before = max(0, start - CONTEXT_CHARS)
            for finding in self._look(text[before : stop + 1], start - before):
                first = max(finding.start + before, start + _loose(text, start), at)
                beyond = min(finding.end + before, stop)
                if first < beyond and self._report(moved(finding, before - offset + self._at)):
                    out += (text[at:first], instead(finding))
                    at = beyond
        out.append(text[at:end])
        return "".join(out)


def is_clear(text: str) -> bool:
    """Of passwords too, which are no single words. No word is looked at in pieces here, so what the guard cannot see in all of
    the text it cannot see in a part of it."""
    return (
        len(text) < WORD_CHARS_MAX
        and normalise.is_plain(text)
        and not look.at(text) & OURS
        and not encoded.has_runs(text)
    )


def _last_word(data: bytes, text: str, offset: int) -> int:
    """Where the word begins that has not ended; the end of the text when there is none."""
    end = len(data)
    if SCHEME not in text:
        last = max(offset, data.translate(_BREAKS).rfind(b" ") + 1)
        return last + (end - last) // WORD_CHARS_MAX * WORD_CHARS_MAX
    segment = max(offset, data.translate(_ADDRESS_BREAKS).rfind(b" ") + 1)
    scheme = text.find(SCHEME, segment)
    last = max(segment, data.translate(_BREAKS).rfind(b" ", 0, scheme if scheme >= 0 else end) + 1)
    return last + (end - last) // WORD_CHARS_MAX * WORD_CHARS_MAX


def _candidates(text: str, data: bytes, offset: int, end: int) -> Iterator[tuple[int, int]]:
    """The words that could be keys: the long ones, and addresses."""
    at = offset
    scheme = text.find(SCHEME, at, end)
    if scheme >= 0:
        marks, address_marks = data.translate(_BREAKS), data.translate(_ADDRESS_BREAKS)
    while scheme >= 0:
        start = max(at, marks.rfind(b" ", 0, scheme) + 1)
        yield from _long(data, at, start)
        stop = address_marks.find(b" ", scheme, end)
        at = min(stop if stop >= 0 else end, start + WORD_CHARS_MAX)
        yield start, at
        scheme = text.find(SCHEME, at, end)
    yield from _long(data, at, end)


def _long(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int]]:
    for start, stop in glance.long_words(data[begin:end], WORD_CHARS_MIN):
        for piece in range(start, stop, WORD_CHARS_MAX):
            if stop - piece >= WORD_CHARS_MIN:
                yield begin + piece, begin + min(stop, piece + WORD_CHARS_MAX)


def _loose(text: str, start: int) -> int:
    """How much of the beginning of a word could be that of any other, and is said before the word has ended."""
    plain = PLAIN.match(text, start)
    begun = plain[0] if plain is not None else ""
    return len(begun) if begun and not _may_be_literal(begun) else 0


@lru_cache(4_096)
def _may_be_literal(begun: str) -> bool:
    """Whether a vendor's key may begin like that."""
    at = bisect_left(LITERALS, begun)
    if at < len(LITERALS) and LITERALS[at].startswith(begun):
        return True
    return not WHOLE_LITERALS.isdisjoint(accumulate(begun))
