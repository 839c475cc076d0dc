"""The literals of an expression: which words it cannot do without, and how far each stands from what is around it."""

from collections.abc import Iterable, Iterator, Sequence
from re import _parser as regex_parser  # type: ignore[attr-defined]
from typing import Any

from msgspec import Struct

from llmproxy.common.everyday import commonness
from llmproxy.common.words import EDGE, WORD_BYTES_MAX, Group

WORD_BYTES_MIN = 3  # A shorter literal is everywhere,
SHORT_WORDS = frozenset({b"ai", b"hi", b"ia", b"ki"})  # except one that speaks of a model.
WIDTH_MAX = 1 << 14  # Of a part without end.

Span = tuple[int, int]  # At least and at most so many bytes.


class Gap(Struct, frozen=True):
    """Bytes of which nothing is known, or that may be missing."""

    width: Span


class Choice:
    """One of several parts."""

    __slots__ = ("_placed", "alternatives", "width")

    def __init__(self, alternatives: "Sequence[Part]") -> None:
        self.alternatives = tuple(alternatives)
        self.width = _either(one.width for one in alternatives)
        self._placed: dict[tuple[bytes, bytes], Placed | None] = {}

    def placed(self, before: bytes, behind: bytes) -> "Placed | None":
        """A word of each alternative, unless one has none; `before` and `behind` are what stands there of all of them."""
        if (before, behind) not in self._placed:
            best = [one.best(before, behind) for one in self.alternatives]
            self._placed[before, behind] = _any([one for one in best if one is not None]) if None not in best else None
        return self._placed[before, behind]

    def without(self, place: int) -> "Item | Part":
        left = self.alternatives[:place] + self.alternatives[place + 1 :]
        return Choice(left) if len(left) > 1 else left[0]


Item = bytes | Gap | Choice


class Placed(Struct, frozen=True):
    """Words of which a text that matches holds one. How many bytes of what they belong to are before its last letter, and behind it."""

    words: Group
    before: Span
    behind: Span


class Part:
    """What stands one behind the other."""

    __slots__ = ("_best", "_ends", "items")

    def __init__(self, items: "Iterable[Item | Part]") -> None:
        self.items = tuple(_joined(items))
        self._ends = [(0, 0)]  # Of what is before each item, and of all.
        for one in self.items:
            self._ends.append(sum_of(self._ends[-1], _width(one)))
        self._best: dict[tuple[bytes, bytes], Placed | None] = {}

    @property
    def width(self) -> Span:
        return self._ends[-1]

    def between(self, begin: int, end: int) -> Span:
        """The width of the items from one on to another, which is not among them."""
        (least_before, most_before), (least, most) = self._ends[begin], self._ends[end]
        return least - least_before, most - most_before

    def placed(self) -> "Iterator[tuple[int, Placed]]":
        """The words that it cannot do without, each with the item that it belongs to."""
        for place, item in enumerate(self.items):
            if isinstance(item, Choice):
                found = self._chosen(place, item)
            elif isinstance(item, bytes) and not self._is_said_behind(place, item):
                found = _literal(item)
            else:
                found = None
            if found is not None:
                yield place, found

    def _chosen(self, place: int, choice: Choice) -> "Placed | None":
        before = self.items[place - 1] if place else b""
        behind = self.items[place + 1] if place + 1 < len(self.items) else b""
        ends_word = isinstance(behind, bytes) and behind.startswith(EDGE)
        return choice.placed(before if isinstance(before, bytes) else b"", EDGE if ends_word else b"")

    def _is_said_behind(self, place: int, letters: bytes) -> bool:
        """Whether the words of a choice that stands behind letters all begin with these."""
        behind = self.items[place + 1] if place + 1 < len(self.items) else None
        found = self._chosen(place + 1, behind) if isinstance(behind, Choice) else None
        bare = letters.strip(EDGE)
        return found is not None and all(
            word.strip(EDGE) != bare and word.strip(EDGE).startswith(bare) for word in found.words
        )

    def best(self, before: bytes, behind: bytes) -> "Placed | None":
        """Its rarest words, as one of several alternatives that stand between the same letters."""
        if (before, behind) not in self._best:
            part = Part([before, self, behind]) if before or behind else self
            found = [(commonness(one.words), place, one) for place, one in part.placed()]
            self._best[before, behind] = None
            if found:
                _, place, one = min(found, key=lambda each: each[:2])
                others = _width(before)[0]
                begin = sum_of(part.between(0, place), one.before, (-others, -others))
                end = sum_of(one.behind, part.between(place + 1, len(part.items)))
                self._best[before, behind] = Placed(one.words, begin, end)
        return self._best[before, behind]

    def with_instead(self, place: int, other: "Item | Part") -> "Part":
        return Part([*self.items[:place], other, *self.items[place + 1 :]])


def part(source: str) -> Part:
    return _part(regex_parser.parse(source.encode().decode("latin-1")))  # A character for each byte.


def _part(nodes: Any) -> Part:
    items: list[Item | Part] = []
    for node in nodes:
        kind, value = str(node[0]), node[1]
        least, most = regex_parser.SubPattern(nodes.state, [node]).getwidth()
        if kind == "LITERAL" and value != ord(EDGE):
            items.append(bytes((value,)))
        elif (kind, str(value)) == ("AT", "AT_BOUNDARY"):
            items.append(EDGE)
        elif kind == "BRANCH":
            items.append(Choice([_part(one) for one in value[1]]))
        elif kind == "SUBPATTERN":
            items.append(_part(value[3]))
        elif kind in ("MAX_REPEAT", "MIN_REPEAT") and value[0] > 0:
            once = _part(value[2])
            others = most - once.width[1] if most < WIDTH_MAX else WIDTH_MAX
            items += (once, Gap((least - once.width[0], others)))
        else:
            items.append(Gap((least, min(most, WIDTH_MAX))))
    return Part(items)


def _joined(items: Iterable[Item | Part]) -> Iterator[Item]:
    """Without parts in parts, and letters that stand beside each other as one."""
    letters = b""
    for item in _flat(items):
        if isinstance(item, bytes):
            letters += item
            continue
        if _width(item) == (0, 0):
            continue
        if letters:
            yield _outside(letters)
            letters = b""
        yield item
    if letters:
        yield _outside(letters)


def _outside(letters: bytes) -> bytes:
    """With edges at its ends alone: between letters they say nothing more."""
    bare = letters.replace(EDGE, b"")
    return EDGE * letters.startswith(EDGE) + bare + EDGE * letters.endswith(EDGE) if bare else EDGE


def _flat(items: Iterable[Item | Part]) -> Iterator[Item]:
    for item in items:
        if isinstance(item, Part):
            yield from item.items
        else:
            yield item


def _width(item: Item) -> Span:
    return (len(bare := item.strip(EDGE)), len(bare)) if isinstance(item, bytes) else item.width


def _literal(letters: bytes) -> Placed | None:
    bare = letters.strip(EDGE)
    if len(bare) < WORD_BYTES_MIN and bare not in SHORT_WORDS:
        return None
    rarest = min((bare, *edged(letters)), key=lambda word: commonness([word]))
    seen = min(len(bare), WORD_BYTES_MAX)
    return Placed(frozenset({rarest}), (seen - 1, seen - 1), (len(bare) - seen, len(bare) - seen))


def edged(letters: bytes) -> Iterator[bytes]:
    """A word with those edges that it has: one, the other, and both."""
    bare = letters.strip(EDGE)
    begins = letters.startswith(EDGE) and _is_letter(bare[:1])
    ends = letters.endswith(EDGE) and _is_letter(bare[-1:]) and len(bare) <= WORD_BYTES_MAX
    if begins:
        yield EDGE + bare
    if ends:
        yield bare + EDGE
    if begins and ends:
        yield EDGE + bare + EDGE


def _is_letter(one: bytes) -> bool:
    return one.isalnum() or one == b"_"


def _any(placed: Sequence[Placed]) -> Placed:
    words = frozenset[bytes]().union(*(one.words for one in placed))
    return Placed(words, _either(one.before for one in placed), _either(one.behind for one in placed))


def sum_of(*spans: Span) -> Span:
    return sum(least for least, _ in spans), sum(most for _, most in spans)


def _either(spans: Iterable[Span]) -> Span:
    least, most = zip(*spans, strict=True)
    return min(least), max(most)
