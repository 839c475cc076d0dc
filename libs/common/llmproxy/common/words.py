"""Finds in one native pass where all the words of a thing are near each other: what is left is the few things that may be there.

A thing has one form or several, and each of them a few groups of words: a text that holds it holds at least one word of each group of one form,
in known places (docs/adr/0011).
"""

import ctypes
import struct
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from llmproxy.common import native

OTHERS_MAX = 4  # Groups of one form besides that of its key: more do not make it rarer.
WORD_BYTES_MIN = 2
WORD_BYTES_MAX = 16  # Of a longer word the beginning is looked for.
WORDS_MAX = 65_535
THINGS_MAX, GROUPS_MAX = 4_096, 16_384  # As in native/words.c.
FORMS_MAX = 16_384
REACH_MAX = 1_024
CANDIDATES_MAX = 256  # In one call.
NO_GROUP = 0xFFFF
GROUPS_TOGETHER = 4  # A word's list of first groups is as long as several of these.
SIX_BITS, FOUR_BITS, THREE_BITS = 16, 16, 15
SIX_HEAD_BITS, FOUR_HEAD_BITS, THREE_HEAD_BITS, TWO_HEAD_BITS = 13, 12, 10, 6
"""Of the hashes of native/words.c: two filters of 8 KB and one of 4, and as many heads as there are one or two words for each."""

Group = frozenset[bytes]
EDGE = b"\b"
"""Before or behind a word: it counts only where no letter, digit or underscore stands there."""
BEGINS, ENDS = 1, 2


class Other(Struct, frozen=True):
    """A group of which a word must end so many bytes after the end of the key word; before it, where the numbers are negative."""

    group: Group
    low: int = -REACH_MAX
    high: int = REACH_MAX


class Form(Struct, frozen=True):
    """One way in which a thing may be there. `key` is its rarest group.
    `before` and `behind`: how far from the end of a key word the thing may begin and end."""

    key: Group
    others: tuple[Other, ...] = ()
    before: int = REACH_MAX
    behind: int = REACH_MAX


class Candidate(Struct, frozen=True, gc=False):
    thing: int
    start: int
    end: int


class _Form(ctypes.Structure):
    """`Form` of native/words.c."""

    _fields_ = (
        ("group", ctypes.c_uint16 * OTHERS_MAX),
        ("low", ctypes.c_int16 * OTHERS_MAX),
        ("high", ctypes.c_int16 * OTHERS_MAX),
        ("before", ctypes.c_uint16),
        ("behind", ctypes.c_uint16),
        ("thing", ctypes.c_uint16),
    )


_WORD = struct.Struct(f"={WORD_BYTES_MAX}sQIIHHHBB")
"""`Word` of native/words.c."""

_FILTERS, _HEADS = ("sixes", "fours", "threes"), ("of_six", "of_four", "of_three", "of_two")
_TABLES = (*_FILTERS, *_HEADS, "beginnings", "words", "groups", "keys", "forms")


class _Words(ctypes.Structure):
    """`Words` of native/words.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _TABLES),
        ("first_count", ctypes.c_uint32),
        ("thing_count", ctypes.c_uint32),
    )


_Found = ctypes.c_uint32 * (2 + 3 * CANDIDATES_MAX)  # Words spent, whether exhausted, then candidates.

_near = native.function(
    "llmproxy_words_near",
    ctypes.c_uint32,
    ctypes.POINTER(_Words),
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_uint32,
    ctypes.c_uint32,
    ctypes.c_uint32,
    _Found,
)


class Near:
    """The words of all things, ready to be looked for. Immutable, and any number of threads may use one."""

    def __init__(self, things: Sequence[Sequence[Form]], *, reach: int = REACH_MAX) -> None:
        """Each thing with its forms. Words are lower-case; ASCII is found in either case. Nothing is looked at beyond `reach` of a key,
        whatever a form says. ValueError above a limit."""
        forms = [(number, form) for number, thing in enumerate(things) for form in thing]
        groups: dict[Group, int] = {}
        keyed: dict[bytes, list[int]] = {}
        for _, form in forms:
            for other in form.others[:1]:
                groups.setdefault(other.group, len(groups))
        firsts = len(groups)
        for index, (_, form) in enumerate(forms):
            for other in form.others[1:OTHERS_MAX]:
                groups.setdefault(other.group, len(groups))
            for word in _begun(form.key):
                keyed.setdefault(word, []).append(index)
        grouped: dict[bytes, list[int]] = {}
        for group, number in groups.items():
            for word in _begun(group):
                grouped.setdefault(word, []).append(number)
        if len(groups) > GROUPS_MAX or len(things) > THINGS_MAX or len(forms) > FORMS_MAX:
            raise ValueError(
                f"{len(things)} things in {len(forms)} forms with {len(groups)} groups of words; "
                f"at most {THINGS_MAX}, {FORMS_MAX} and {GROUPS_MAX}"
            )
        tables = _tables(keyed, grouped, firsts)
        packed = (_Form * len(forms))(*(_packed(number, form, groups, reach) for number, form in forms))
        self._kept = (*tables, packed)  # As long as their addresses are.
        self._words = _Words(*map(ctypes.addressof, self._kept), firsts, len(things))
        self.pointer = ctypes.pointer(self._words)
        self.reach = reach

    def find(self, text: bytes, words_max: int) -> tuple[list[Candidate], int, bool]:
        """The things that may be in a text and where, how many words were seen, and whether there was more than was looked at."""
        found = _Found()
        count = _near(self.pointer, text, len(text), self.reach, max(0, words_max), CANDIDATES_MAX, found)
        if not count:
            return NOTHING, found[0], bool(found[1])
        numbers = found[2 : 2 + 3 * count]
        return list(map(Candidate, numbers[::3], numbers[1::3], numbers[2::3])), found[0], bool(found[1])


def _packed(thing: int, form: Form, groups: Mapping[Group, int], reach: int) -> _Form:
    others = form.others[:OTHERS_MAX]
    packed = _Form(thing=thing, before=min(form.before, reach), behind=min(form.behind, reach))
    for place in range(OTHERS_MAX):
        packed.group[place] = groups[others[place].group] if place < len(others) else NO_GROUP
        packed.low[place] = max(others[place].low, -reach) if place < len(others) else 0
        packed.high[place] = min(others[place].high, reach) if place < len(others) else 0
    return packed


NOTHING: list[Candidate] = []


def _begun(group: Group) -> Iterable[bytes]:
    """What is looked for of each word, each once."""
    return {word if len(word) <= WORD_BYTES_MAX else _beginning(word) for word in group}


def _beginning(word: bytes) -> bytes:
    bare = word.strip(EDGE)
    ends = word.endswith(EDGE) and len(bare) <= WORD_BYTES_MAX
    return EDGE * word.startswith(EDGE) + bare[:WORD_BYTES_MAX] + EDGE * ends


class _Word(NamedTuple):
    """A word as native/words.c knows it."""

    letters: bytes
    edges: int
    whole: bytes


def _word(whole: bytes) -> _Word:
    return _Word(whole.strip(EDGE), BEGINS * whole.startswith(EDGE) | ENDS * whole.endswith(EDGE), whole)


def _tables(
    keyed: Mapping[bytes, list[int]], grouped: Mapping[bytes, list[int]], firsts: int
) -> "tuple[ctypes.Array[Any], ...]":
    """The filters, the words in order of their hashes, and what each of them says."""
    words = sorted(map(_word, keyed.keys() | grouped.keys()), key=lambda word: (len(word.letters), word))
    if len(words) > WORDS_MAX or (words and len(words[0].letters) < WORD_BYTES_MIN):
        raise ValueError(f"{len(words)} words; at most {WORDS_MAX}, of {WORD_BYTES_MIN} bytes and more")
    sixes, fours, threes = _Filter(SIX_BITS), _Filter(FOUR_BITS), _Filter(THREE_BITS)
    of_six, of_four, of_three, of_two = (
        _Heads(bits) for bits in (SIX_HEAD_BITS, FOUR_HEAD_BITS, THREE_HEAD_BITS, TWO_HEAD_BITS)
    )
    for word in words:
        letters, edges, _ = word
        if len(letters) >= 4:
            fours.add(_hash(letters[:4]))
        if len(letters) >= 6:
            sixes.add(_hash_of_six(letters))
            of_six.add(_hash_of_six(letters), word)
        elif len(letters) >= 4:
            of_four.add(_hash(letters[:4]), word)
        elif len(letters) == 3:
            threes.add(_hash(letters))
            of_three.add(_hash(letters), word)
        else:
            for one in behind(edges):
                threes.add(_hash(letters + one))
            of_two.add(_hash(letters), word)
    in_order = list[_Word]()
    heads = [one.begins(in_order) for one in (of_six, of_four, of_three, of_two)]
    groups, keys, packed = array("H"), array("H"), bytearray()
    for word in in_order:
        own, forms = grouped.get(word.whole, []), keyed.get(word.whole, [])
        first = [number for number in own if number < firsts]
        first += first[-1:] * (-len(first) % GROUPS_TOGETHER)
        mask = 0
        for number in own:
            mask |= 1 << (number & 63)
        counts = len(first), len(own), len(forms), len(word.letters), word.edges
        packed += _WORD.pack(word.letters, mask, len(groups), len(keys), *counts)
        groups.extend(first + sorted(own))  # As native/words.c looks for one.
        keys.extend(forms)
    words_packed = (ctypes.c_uint8 * len(packed)).from_buffer(packed)
    beginnings = (ctypes.c_uint64 * len(in_order))(
        *(int.from_bytes(word.letters[:8], sys.byteorder) for word in in_order)
    )
    filters = (one.bits for one in (sixes, fours, threes))
    return *filters, *heads, beginnings, words_packed, _numbers(groups), _numbers(keys)


def behind(edges: int) -> Iterable[bytes]:
    """Every byte that may stand behind a word of two letters, in lower case."""
    every = (bytes((code,)) for code in range(256) if not ord("A") <= code <= ord("Z"))
    return (one for one in every if not (edges & ENDS and (one.isalnum() or one == b"_")))


def _hash(letters: bytes) -> int:
    """As in native/words.c: the first letter is the lowest of as many bytes as there are."""
    return _mixed(int.from_bytes(letters, "little") << 8 * (4 - len(letters)))


def _hash_of_six(letters: bytes) -> int:
    return _mixed(int.from_bytes(letters[:4], "little") ^ _mixed(int.from_bytes(letters[4:6], "little")))


def _mixed(number: int) -> int:
    return number * 0x9E3779B1 & 0xFFFFFFFF


class _Filter:
    """A bit for each hash, by its first bits."""

    def __init__(self, width: int) -> None:
        self.bits = (ctypes.c_uint64 * (1 << width - 6))()
        self._shift = 32 - width

    def add(self, number: int) -> None:
        self.bits[number >> self._shift + 6] |= 1 << (number >> self._shift & 63)


class _Heads:
    """The words of each hash, by its first bits."""

    def __init__(self, width: int) -> None:
        self._by_hash: list[list[_Word]] = [[] for _ in range(1 << width)]
        self._shift = 32 - width

    def add(self, number: int, word: _Word) -> None:
        self._by_hash[number >> self._shift].append(word)

    def begins(self, in_order: list[_Word]) -> "ctypes.Array[ctypes.c_uint16]":
        """Puts the words one hash behind the other, and says where those of each begin."""
        starts = [len(in_order)]
        for ones in self._by_hash:
            in_order += ones
            starts.append(len(in_order))
        return (ctypes.c_uint16 * len(starts))(*starts)


def _numbers(numbers: "array[int]") -> "ctypes.Array[ctypes.c_uint16]":
    return (ctypes.c_uint16 * len(numbers)).from_buffer(numbers)
