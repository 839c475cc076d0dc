"""Something in the place of a text: what lies between stays as it is written, to the byte."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from json import dumps

import msgspec

from llmproxy.common.segments.exact import EMBEDDED_DEPTH_MAX
from llmproxy.common.segments.segment import TEXT_CHARS_MIN, Form, Segment
from llmproxy.common.segments.tree import tree_of
from llmproxy.common.segments.written import TOKEN, escapes, unescape

LINE = re.compile(r"[^\r\n]+")
JSON_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


class Rewrite:
    """Replacements in the segments of one body; whatever lies between them stays as it is written, to the byte."""

    __slots__ = ("_edits", "_escapes", "_numbers")

    def __init__(self) -> None:
        self._edits: list[tuple[int, int, str]] = []
        self._escapes: dict[int, tuple[list[int], list[int]]] = {}  # Of a segment, by identity.
        # In a document in a segment: by their place there.
        self._numbers: dict[int, dict[tuple[int, int], Segment]] = {}

    @property
    def is_empty(self) -> bool:
        return not self._edits

    def replace(self, segment: Segment, start: int, end: int, replacement: str) -> None:
        """`segment.text[start:end]` becomes `replacement`. Replacements must not overlap. A text that is a JSON document stays one."""
        number = self._number_at(segment, start, end)
        if number is None:
            self._put(segment, start, end, replacement)
        else:
            self._put(number, 0, len(number.text), replacement)

    def _put(self, segment: Segment, start: int, end: int, replacement: str) -> None:
        if segment.form == "number":  # A number cannot hold text: the whole of it becomes a string.
            first, last, written = segment.start, segment.start + len(segment.raw), dumps(replacement)
        else:
            first, last = self._written_at(segment, start), self._written_at(segment, end)
            written = dumps(replacement, ensure_ascii=False)[1:-1]
        if segment.host is None:
            self._edits.append((first, last, written))
        else:
            self._put(segment.host, first, last, written)

    def apply(self, text: str) -> str:
        parts: list[str] = []
        at = 0
        for first, last, written in sorted(self._edits):
            assert first >= at, "replacements overlap"
            parts += (text[at:first], written)
            at = last
        parts.append(text[at:])
        return "".join(parts)

    def _number_at(self, segment: Segment, start: int, end: int) -> Segment | None:
        """The number of a JSON document in a string that is written there, and nothing else with it."""
        if segment.form == "number" or not JSON_NUMBER.fullmatch(segment.text, start, end):
            return None
        known = self._numbers.get(id(segment))
        if known is None:
            known = self._numbers[id(segment)] = {}
            for number in _numbers(segment, EMBEDDED_DEPTH_MAX):
                first = self._place_in(segment, number)
                known[first, first + len(number.raw)] = number
        return known.get((start, end))

    def _place_in(self, segment: Segment, embedded: Segment) -> int:
        """Where something begins that is in a document in a document in the segment."""
        place, host = embedded.start, embedded.host
        while host is not None and host is not segment:
            place, host = self._written_at(host, place), host.host
        return place

    def _written_at(self, segment: Segment, offset: int) -> int:
        """Where the decoded character at `offset` is written: every escape before it is longer than its character."""
        if not segment.raw:
            return segment.start + offset
        known = self._escapes.get(id(segment))
        if known is None:
            known = self._escapes[id(segment)] = escapes(segment.raw)
        places, extras = known
        return segment.start + offset + extras[bisect_left(places, offset)]


def _numbers(segment: Segment, depth: int) -> Iterator[Segment]:
    """The long numbers of the JSON documents that a text is, and of those in their strings; none of a text that is no document."""
    for first, last in _documents(segment.text):
        for token in TOKEN.finditer(segment.text, first, last):
            written = token[0]
            if written[0] == '"':
                if depth > 1 and written[1:].lstrip()[:1] in ("{", "["):
                    yield from _numbers(_embedded(written[1:-1], token.start() + 1, segment, "value"), depth - 1)
            elif len(written) >= TEXT_CHARS_MIN and JSON_NUMBER.fullmatch(written):
                yield _embedded(written, token.start(), segment, "number")


def _documents(text: str) -> Iterator[tuple[int, int]]:
    """Where JSON documents are written: the text is one, or some of its lines are, as in JSON Lines."""
    if _is_document(text):
        yield 0, len(text)
        return
    for line in LINE.finditer(text):
        if _is_document(line[0]):
            yield line.span()


def _is_document(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        tree_of(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _embedded(written: str, start: int, host: Segment, form: Form) -> Segment:
    text = unescape(written)
    raw = written if form == "number" or text != written else ""
    return Segment(role=host.role, path=host.path, text=text, form=form, start=start, raw=raw, host=host)
