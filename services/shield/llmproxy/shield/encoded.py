"""What stands in a text in base64, in hex or percent-encoded, and what a guard sees in it (docs/adr/0032).

Nearly no text has any. A value in base64 or hex cannot be taken out of it, so the span of what is found there is all of the run: its
placeholder comes back as the run was. In percent-encoded text every character has its place.
"""

import re
from base64 import b64decode
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from urllib.parse import unquote

from msgspec import structs

from llmproxy.shield import glance, look
from llmproxy.shield.verdict import Finding

DEPTH_MAX = 2  # Percent escapes in base64, base64 of base64.
RUN_CHARS_MIN = 16  # Twelve bytes: no shorter address or number is worth its encoding.
SNIFFED_CHARS = 64  # Of a run: what is no text shows itself in its first bytes.
PLACES_MAX = 32  # Of a run, that may be the beginning of a text: the first on each of four grids is tried.
WRAPPED_CHARS_MIN = 56  # Of a line of base64 that goes on in the next one.

_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_RUNS = bytes(ord("x") if code in _LETTERS else ord(" ") for code in range(256))
_RUN = b"x" * RUN_CHARS_MIN

BASE64_OF_TEXT = re.compile(rb"(?:[CDI-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589+-][A-Za-z0-9+/_-]){3}")
"""Nine characters of ASCII: the first bit of each byte is none, so half of the letters cannot stand in three of four places."""

HEX_OF_TEXT = re.compile(rb"(?:[2-7][0-9a-fA-F]|0[9aAdD]){8,}")
HEX = re.compile(rb"[0-9a-fA-F]+")
DIGIT = re.compile(rb"[0-9]")
TOKEN = re.compile(rb"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}")
"""A JSON Web Token is a credential as a whole, which the guard for secrets says; what it claims is no text of the caller's."""

# With a letter that it begins with, the search is a hundred times as fast.
ESCAPED = re.compile(r"%[0-9a-fA-F]{2}(?:%[0-9a-fA-F]{2})*")
WORD_ENDS = re.compile(r"\s|\Z")
NOT_TEXT = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffd]")
PADDING = re.compile(rb"={0,2}")
BREAK = re.compile(rb"\r?\n[ \t]{0,32}")


class Run:
    """`text` is what `[start:end]` of another text says."""

    def __init__(self, start: int, end: int, text: str, via: tuple[str, ...]) -> None:
        self.start, self.end, self.text, self.via = start, end, text, via

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """Where in the other text that part of `text` is; None where it stands there as it is."""
        return self.start, self.end


class Escaped(Run):
    """Each character has its place."""

    def __init__(self, start: int, source: str) -> None:
        super().__init__(start, start + len(source), unquote(source), ("percent",))
        self._source = source

    @cached_property
    def _places(self) -> list[int]:
        """Of each character and of the end, where it begins."""
        places: list[int] = []
        at = 0
        for escaped in ESCAPED.finditer(self._source):
            places += range(at, escaped.start())
            place, at = escaped.span()
            for character in unquote(escaped[0]):
                places.append(min(place, at))
                place += 3 * (1 if character == "\ufffd" else len(character.encode()))
        return [*places, *range(at, len(self._source) + 1)]

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        places, before, behind = self._places, max(0, start - 1), min(end + 1, len(self.text))
        if places[behind] - places[before] == behind - before:  # No escape is in it, or next to it.
            return None
        return self.start + places[start], self.start + places[end]


class Inner(Run):
    """A run of what a run says."""

    def __init__(self, outer: Run, inner: Run) -> None:
        super().__init__(outer.start, outer.end, inner.text, (*outer.via, *inner.via))
        self._outer, self._inner = outer, inner

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        within = self._inner.span(start, end)
        return self._outer.span(*within) if within is not None else None


Find = Callable[[str, int], Iterable[Finding]]
"""What a guard sees in a text with these bits of `look`."""


def may_hold(text: str, find: Find) -> bool:
    return has_runs(text) and next(iter(found(text, find)), None) is not None


def has_runs(text: str) -> bool:
    return bool(_known(text))


def found(text: str, find: Find) -> Iterable[Finding]:
    """What is in the runs of a text, each kind of a run once."""
    runs = _known(text)
    return _in_runs(runs, find) if runs else ()


def _in_runs(runs: Sequence[Run], find: Find) -> Iterator[Finding]:
    """All of them are looked at as one text: a look at each would cost more than what is in it."""
    joined = "\n\n".join([run.text for run in runs])
    begins = [0]
    for run in runs:
        begins.append(begins[-1] + len(run.text) + 2)
    known: set[tuple[str, tuple[int, int]]] = set()
    for finding in find(joined, look.at(joined)):
        for at in range(bisect_right(begins, finding.start) - 1, bisect_right(begins, finding.end - 1)):
            run, begin = runs[at], begins[at]
            start, end = max(0, finding.start - begin), min(len(run.text), finding.end - begin)
            span = run.span(start, end) if start < end else None
            if span is not None and (finding.kind, span) not in known:
                known.add((finding.kind, span))
                yield structs.replace(finding, start=span[0], end=span[1], via=(*run.via, *finding.via))


_last: tuple[str, Sequence[Run]] = ("", ())


def _known(text: str) -> Sequence[Run]:
    """Several guards ask for the same text."""
    global _last
    known = _last
    if known[0] is text:
        return known[1]
    runs = list(_all(text, DEPTH_MAX)) if look.at(text) & look.Look.ENCODED else ()
    _last = (text, runs)
    return runs


def _all(text: str, depth: int) -> Iterator[Run]:
    for run in _runs(text):
        yield run
        if depth > 1 and len(run.text) >= RUN_CHARS_MIN:
            yield from (Inner(run, inner) for inner in _all(run.text, depth - 1))


def _runs(text: str) -> Iterator[Run]:
    if "%" in text and (run := _escaped(text)) is not None:
        yield run
    data = glance.plain(text)
    marks = data.translate(_RUNS)
    start, wrapped = marks.find(_RUN), 0
    while start >= 0:
        end = marks.find(b" ", start + RUN_CHARS_MIN)
        if end < 0:
            end = len(marks)
        word = data[start:end]
        if not (word.islower() and DIGIT.search(word) is None):  # As nearly every long word is.
            token = TOKEN.match(data, start) if word.startswith(b"eyJ") else None
            if token is not None:
                end = token.end()
            elif (found := _hex(word, start)) is not None:
                yield found
                end = found.end
            elif (said := BASE64_OF_TEXT.search(word)) is not None:
                ends = _ends(data, marks, start, end) if start >= wrapped else [end]
                wrapped = max(wrapped, *ends)
                found = _base64(data, start, start + said.start(), ends)
                if found is not None:
                    yield found
                    end = max(end, found.end)
        start = marks.find(_RUN, end)


def _escaped(text: str) -> Run | None:
    """From the first word with an escape to the last: what stands beside an escape is part of what it says."""
    first = ESCAPED.search(text)
    if first is None:
        return None
    last = max(text.rfind("%"), first.end())
    start = max(text.rfind(space, 0, first.start()) for space in " \n\t") + 1
    ends = WORD_ENDS.search(text, last)
    assert ends is not None
    return Escaped(start, text[start : ends.start()])


def _hex(word: bytes, start: int) -> Run | None:
    """As `_base64`, of the first run of a word."""
    said = HEX_OF_TEXT.search(word)
    if said is None:
        return None
    whole = next(one for one in HEX.finditer(word) if one.end() > said.start())
    for begin in (whole.start(), said.start(), said.start() + 1):
        digits = word[begin : whole.end()]
        if text := _as_text(bytes.fromhex(digits[: len(digits) // 2 * 2].decode())):
            return Run(start + whole.start(), start + whole.end(), text, ("hex",))
    return None


def _base64(data: bytes, start: int, at: int, ends: list[int]) -> Run | None:
    """Where it says a text from its beginning, or from some place on, to its end. `at`: the first place of ASCII."""
    tried: set[int] = set()
    for _ in range(PLACES_MAX):
        grid = (at - start) % 4
        if grid not in tried:
            tried.add(grid)
            for begin in dict.fromkeys((start + grid, at)):
                sniffed = _as_text(_decoded(data[begin : min(begin + SNIFFED_CHARS, ends[-1])]), is_cut=True)
                found = _to_an_end(data, start, begin, ends) if sniffed else None
                if found is not None:
                    return found
        said = BASE64_OF_TEXT.search(data, at + 1, ends[-1]) if len(tried) < 4 else None
        if said is None:
            break
        at = said.start()
    return None


def _to_an_end(data: bytes, start: int, begin: int, ends: list[int]) -> Run | None:
    for end in ends:
        text = _as_text(_decoded(BREAK.sub(b"", data[begin:end])))
        if text:
            padded = PADDING.match(data, end)
            return Run(start, padded.end() if padded is not None else end, text, ("base64",))
    return None


def _ends(data: bytes, marks: bytes, start: int, end: int) -> list[int]:
    """Where a run may end: with the shorter line behind those that are as long as its first, with the last of them, with itself."""
    width, last = end - start, end
    if width < WRAPPED_CHARS_MIN:
        return [end]
    while (gap := BREAK.match(data, last)) is not None:
        letters = len(marks[gap.end() : gap.end() + width].partition(b" ")[0])
        if letters < width:
            return [gap.end() + letters, last, end] if letters else [last, end]
        last = gap.end() + width
    return [last, end]


def _decoded(letters: bytes) -> bytes:
    usual = letters.replace(b"-", b"+").replace(b"_", b"/")
    usual = usual[: len(usual) - (len(usual) % 4 == 1)]
    return b64decode(usual + b"=" * (-len(usual) % 4))


def _as_text(raw: bytes, *, is_cut: bool = False) -> str:
    """Nothing when the bytes are none. The last character of what is cut may be half of one."""
    text = raw.decode("utf-8", "replace")
    if is_cut:
        text = text.rstrip("\ufffd")
    return "" if NOT_TEXT.search(text) is not None else text
