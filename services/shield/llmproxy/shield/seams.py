"""Values that one part of a message begins and a later one ends: a model is told the parts as one text (docs/adr/0041).

Each part has been looked at by itself, so what is between two of them is enough: as far around a seam as a value reaches.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

from msgspec import Struct

from llmproxy.common import segments
from llmproxy.common.segments.places import PATH_CHARS_MAX
from llmproxy.shield.drawn import turns
from llmproxy.shield.guards.secrets import OURS as SECRETS
from llmproxy.shield.guards.secrets import WORD_CHARS_MIN
from llmproxy.shield.look import Look
from llmproxy.shield.spread import Parts, Place
from llmproxy.shield.verdict import Finding

EDGE_CHARS = 256
"""On each side of a seam, and on to the end of the word: what has spaces in it is shorter, together with the words that name it."""

WORD_CHARS_MAX = 4_096
PRIVATE_KEY, PRIVATE_KEY_CHARS_MAX = "PRIVATE KEY", 24_576  # What has lines in it is longer.

NAME_GAP_CHARS = 4  # At most so far behind a seam begins a value whose name stands before it.

NEAR_CHARS = 24
TELLING = re.compile(r"[\d@:&*+(\[{]|[^\x00-\x7f]")
"""One of these is so near to every place of a number or an address that is not inside of a long word."""

NAMED = SECRETS & ~Look.URL | Look.STATED
"""The words for what may have none of them in it."""

SPACES, LINE_BREAKS = (" ", "\n", "\t"), "\r\n"

VIA = "parts"
"""How it is called in explanations."""

GAP = "..."
"""What is left of a part that nothing else would be left of: Anthropic refuses one without text."""

BESIDE: tuple[Place, ...] = (
    ("system",), ("systemInstruction", "parts"), ("system_instruction", "parts"), ("prediction", "content"), ("input",),
)  # fmt: skip
"""Lists of parts that are no message's: a system text, the answer that is expected, what is to be moderated."""

THINKING = "contents"
"""Where a model's thoughts are parts like others: they are not what is said, and stay apart."""

HOLDERS = frozenset(place[0] for place in BESIDE)

END_OF_KEY = "-----"
TURNS_MIN = 2  # Of small letters to capitals.
MIXED = re.compile(r"(?=.*[^\W\d_])(?=.*[\d@#$%&*+=~^])\S+")
"""A letter, and a digit or a sign."""


class Piece(Struct, frozen=True):
    """What stands of a value in one part."""

    path: str
    text: str  # Of the part.
    start: int
    end: int

    @property
    def is_all(self) -> bool:
        """Whether the part says nothing else."""
        return not (self.text[: self.start].strip() or self.text[self.end :].strip())


class Known(Struct, frozen=True):
    """What was found in a part by itself, in the inspection's segment of this index."""

    piece: Piece
    index: int
    finding: Finding


class Reading(Struct, frozen=True):
    """A text to look at, and where a place of it is in what the parts say."""

    text: str
    at: Callable[[int], int]


class Whole:
    """The parts of a message as one text."""

    def __init__(self, place: Place, items: Sequence[Any], texts: Sequence[str]) -> None:
        """`texts` is what the items say that say something."""
        self.place, self._items, self._texts = place, items, texts
        self.text = "".join(self._texts)
        self._begins = [0, *accumulate(map(len, self._texts))]

    @property
    def path(self) -> str:
        return segments.join(self.place)

    @property
    def is_placed(self) -> bool:
        """Whether each part has a path of its own: a very long one is cut."""
        return len(self.path) < PATH_CHARS_MAX - len("[123456].text")

    def readings(self) -> Iterator[Reading]:
        """All of it, as it is; and where that joins two words, with spaces between, too."""
        yield Reading(self.text, lambda place: place)
        spaced: list[str] = []
        gaps: list[int] = []
        for seam, text in zip(self._begins, self._texts, strict=False):
            if seam and not (self.text[seam - 1].isspace() or self.text[seam].isspace()):
                gaps.append(seam + len(gaps))
                spaced.append(" ")
            spaced.append(text)
        if gaps:
            yield Reading("".join(spaced), lambda place: place - bisect_left(gaps, place))

    def windows(self, *, is_named: bool) -> Iterator[tuple[int, int]]:
        """What has to be looked at, each character at most once. `is_named`: some text of the request has a word of `NAMED`."""
        edge = PRIVATE_KEY_CHARS_MAX if PRIVATE_KEY in self.text else EDGE_CHARS
        first, reach, last = -1, 0, 0
        for before, seam, behind in zip(self._begins, self._begins[1:], self._begins[2:], strict=False):
            if edge == EDGE_CHARS:
                is_alone = not is_named and seam - before > edge and behind - seam > edge
                if self._is_parting(seam) or (is_alone and self._is_among_words(seam)):
                    continue
            if first >= 0 and seam - edge > reach and seam - edge > (last := self._word_behind(reach)):
                yield first, last
                first = -1
            if first < 0:
                first = self._word_before(max(0, seam - edge), last)
            reach = seam + edge
        if first >= 0:
            yield first, self._word_behind(reach)

    def is_parted(self, start: int, end: int) -> bool:
        """Whether a value stands in several parts."""
        return self._part_at(start) != self._part_at(end - 1)

    def pieces(self, start: int, end: int) -> list[Piece]:
        """Of a value, in the parts that it stands in."""
        found = []
        for part in range(self._part_at(start), self._part_at(end - 1) + 1):
            begin = self._begins[part]
            text = self._texts[part]
            found.append(Piece(self._path(part), text, max(0, start - begin), min(len(text), end - begin)))
        return found

    def is_named_before(self, start: int) -> bool:
        """Whether a value that begins here is the first thing in its part, and what stands before it in its line is in another one."""
        begin = self._begins[self._part_at(start)]
        return begin > 0 and start - begin <= NAME_GAP_CHARS and not self._is_parting(begin)

    @cached_property
    def _places(self) -> list[int]:
        """Of the texts, among the items."""
        return [place for place, item in enumerate(self._items) if _said(item)]

    def _path(self, part: int) -> str:
        place = self._places[part]
        return segments.join((*self.place, place, "text") if type(self._items[place]) is dict else (*self.place, place))

    def _part_at(self, at: int) -> int:
        return bisect_right(self._begins, at) - 1

    def _is_parting(self, seam: int) -> bool:
        """Whether a line ends here: of what is looked for only private keys go on, and the digits of a card."""
        text = self.text
        if text[seam - 1] not in LINE_BREAKS and text[seam] not in LINE_BREAKS:
            return False
        is_number = (
            text[max(0, seam - 2) : seam].rstrip()[-1:].isdigit() and text[seam : seam + 2].lstrip()[:1].isdigit()
        )
        return not is_number

    def _is_among_words(self, seam: int) -> bool:
        """Whether there is no number, no address and no key here: what is left stands behind its name."""
        first, last = seam - NEAR_CHARS, seam + NEAR_CHARS
        if TELLING.search(self.text, first, last) is not None:
            return False
        return self._end(seam, last) - self._word_before(seam, first) < WORD_CHARS_MIN

    def _word_before(self, at: int, least: int) -> int:
        """Where the word begins that stands at a place; not before `least`."""
        first = max(least, at - WORD_CHARS_MAX)
        for space in SPACES:
            first = max(first, self.text.rfind(space, first, at) + 1)
        return first

    def _word_behind(self, at: int) -> int:
        """Where it ends."""
        return self._end(at, min(len(self.text), at + WORD_CHARS_MAX))

    def _end(self, at: int, last: int) -> int:
        """Of a word that goes on here; `last`, where it does not end before that."""
        for space in SPACES:
            found = self.text.find(space, at, last)
            last = found if found >= 0 else last
        return last


def wholes(parted: Sequence[Parts], tree: dict[str, Any]) -> Iterator[Whole]:
    """Of several texts each; none, nearly always."""
    for one in parted:
        if one.items is not None:
            yield from _whole(one.path, one.items, one.texts)
    for place in BESIDE:
        items: Any = tree
        for name in place:
            items = items.get(name) if type(items) is dict else None
        if type(items) is list and len(items) > 1:
            yield from _whole(place, [item if type(item) is dict else None for item in items])


def _whole(place: Place, items: Sequence[Any], texts: Sequence[str] = ()) -> Iterator[Whole]:
    if not texts or "" in texts or place[0] == THINKING:
        items = [None if type(item) is dict and item.get("thought") is True else item for item in items]
        texts = [text for item in items if (text := _said(item))]
    if len(texts) > 1:
        yield Whole(place, items, texts)


def _said(item: Any) -> str:
    text = item.get("text") if type(item) is dict else item
    return text if type(text) is str else ""


def outdoes(finding: Finding, pieces: Sequence[Piece], known: Sequence[Known]) -> bool:
    """Whether a value in several parts is one, although this was found in the parts themselves.

    As everywhere the longer one wins. But what is one already would be another one with the first word of the next part: so of the same
    kind no other part may have one, and the rest must have been drawn by a machine, or end a private key.
    """
    if any(map(reaches_beyond, known)):
        return False
    alike = {one.piece.path for one in known if _family(one.finding.kind) == _family(finding.kind)}
    if not alike:
        return True
    rest = "".join(_without(piece, [one.finding for one in known if one.piece is piece]) for piece in pieces)
    return rest.endswith(END_OF_KEY) or (len(alike) == 1 and _is_drawn(rest))


def reaches_beyond(one: Known) -> bool:
    """Whether what was found in a part is more than a piece of the value there."""
    return one.finding.start < one.piece.start or one.piece.end < one.finding.end


def _family(kind: str) -> str:
    return kind.partition(".")[0]


def _without(piece: Piece, known: Sequence[Finding]) -> str:
    rest, at = "", piece.start
    for one in sorted(known, key=lambda one: one.start):
        rest, at = rest + piece.text[at : one.start], max(at, one.end)
    return rest + piece.text[at : piece.end]


def _is_drawn(rest: str) -> bool:
    """Letters with digits or signs between them, or with capitals, as in no word, no name and no number."""
    return " " not in rest and (MIXED.fullmatch(rest) is not None or turns(rest) >= TURNS_MIN)
