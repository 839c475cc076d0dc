"""The forms of a text that an expression matches: each the words that it cannot do without, and how far they are apart.

A choice between alternatives can be looked for by one word of each, and then what else these need is forgotten: a text with `rules` in it may
hold any of twenty. So the alternative that would be tried in vain most often is taken out, as a form of its own with all of its words, and the
next one, as long as that spares enough (docs/adr/0011).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from llmproxy.common.everyday import commonness
from llmproxy.common.literals import Choice, Gap, Part, Placed, Span, part, sum_of
from llmproxy.common.words import OTHERS_MAX, Form, Other

REACH_BYTES = 192  # From the key of a form to its other words, and to the ends of what its expression is tried on.
WAYS_MAX = 8  # Forms of one expression.
SPARED_MIN = 2.0  # Trials in a megabyte of prose, for which another form is worth its room.
BESIDE_BYTES = 2  # The first or last letter of a match, and what is beside it, for an edge of a word.
KEYS_MAX = 6  # The rarest groups of a form are compared as its key.
LOOK_COST = 0.002  # To look at what is around a key word, where a trial is 1,
WORD_COST = 0.0005  # and to find a word that other forms need, too.
RELATED_MIN = 0.03  # Words of one subject come together: that one is where it must be is never less likely.


def forms(source: str) -> tuple[Form, ...]:
    """A text that the expression matches has all words of at least one of them. Empty where there is nothing to look for."""
    ways = [_Way(part(source))]
    while len(ways) < WAYS_MAX:
        place = max(range(len(ways)), key=lambda one: ways[one].spared)
        if ways[place].spared < SPARED_MIN:
            break
        ways[place : place + 1] = ways[place].parted
    return tuple(one.form for one in ways if one.form is not None)


class _Way:
    """A part, its words, and what is spared where it is made two."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.found, self.form = _best_form(part)
        self._parted: tuple[float, list[_Way]] | None = None

    @property
    def spared(self) -> float:
        return self._best_parted()[0]

    @property
    def parted(self) -> "list[_Way]":
        return self._best_parted()[1]

    def _best_parted(self) -> "tuple[float, list[_Way]]":
        if self._parted is None:
            self._parted = (0.0, [])
            if self.found >= SPARED_MIN:
                for one, other in _partings(self.part):
                    ways = [_Way(one), _Way(other)]
                    spared = self.found - ways[0].found - ways[1].found
                    if spared > self._parted[0]:
                        self._parted = (spared, ways)
        return self._parted


def _partings(part: Part) -> Iterator[tuple[Part, Part]]:
    """With one alternative of a choice, and with the others."""
    for place, item in enumerate(part.items):
        if not isinstance(item, Choice):
            continue
        for number, one in enumerate(item.alternatives):
            if len(item.alternatives) == 2 or len([known for known in one.items if not isinstance(known, Gap)]) > 1:
                yield part.with_instead(place, one), part.with_instead(place, item.without(number))
            if len(item.alternatives) == 2:
                break


def _best_form(part: Part) -> tuple[float, Form | None]:
    """How often a megabyte of prose has the words of a part, by the key with which that is the least, and those words."""
    groups = [_Group(commonness(one.words), place, one) for place, one in part.placed()]
    rarest = sorted(range(len(groups)), key=lambda one: groups[one].found)[:KEYS_MAX]
    ways = [_by_key(part, groups, key) for key in rarest]
    return min(ways, key=lambda one: one[:2])[1:] if ways else (float("inf"), None)


class _Group(Struct, frozen=True):
    found: float  # So often in a megabyte of prose.
    place: int  # Of its item.
    placed: Placed


class _Beside(NamedTuple):
    """A group that stands beside a key; in order, what tells most is first."""

    is_there: float  # How likely.
    found: float
    number: int
    other: Other


def _by_key(part: Part, groups: Sequence[_Group], key: int) -> tuple[int, float, Form]:
    """How many bytes are out of reach at most, how often it is found, and the form."""
    one = groups[key]
    before = part.between(0, one.place)[1] + one.placed.before[1] + BESIDE_BYTES
    behind = part.between(one.place + 1, len(part.items))[1] + one.placed.behind[1] + BESIDE_BYTES
    others, found = list[_Beside](), one.found
    for beside in sorted(_beside(part, groups, key)):
        if len(others) < OTHERS_MAX and found * (1 - beside.is_there) > WORD_COST * beside.found:
            others.append(beside)
            found *= beside.is_there
    others.sort(key=lambda beside: beside[1:3])  # The pass for words looks for the rarest of them first.
    form = Form(
        key=one.placed.words,
        others=tuple(beside.other for beside in others),
        before=min(before, REACH_BYTES),
        behind=min(behind, REACH_BYTES),
    )
    too_far = max(before - REACH_BYTES, 0) + max(behind - REACH_BYTES, 0)
    return too_far, found + LOOK_COST * one.found, form


def _beside(part: Part, groups: Sequence[_Group], key: int) -> Iterator[_Beside]:
    for number, other in enumerate(groups):
        if number == key:
            continue
        low, high = _apart(part, groups[key], other)
        low, high = max(low, -REACH_BYTES), min(high, REACH_BYTES)
        if low <= high:
            is_there = min(max(other.found * (high - low + 1) / (1 << 20), RELATED_MIN), 1.0)
            yield _Beside(is_there, other.found, number, Other(other.placed.words, low, high))


def _apart(part: Part, one: _Group, other: _Group) -> Span:
    """From the last letter of a word of one group to the last letter of the other's."""
    if other.place > one.place:
        return sum_of((1, 1), one.placed.behind, part.between(one.place + 1, other.place), other.placed.before)
    least, most = _apart(part, other, one)
    return -most, -least
