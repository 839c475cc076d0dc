"""Finds in one native pass where all the words of a thing are near each other: what is left is the few things that may be there.

A thing has up to three groups of words; a text that holds it holds at least one word of each, in known places (docs/adr/0011).
"""

import ctypes
from array import array
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from llmproxy.common import native

OTHERS_MAX = 4  # Groups of one thing besides that of its key: more do not make it rarer.
WORD_BYTES_MAX = 16  # Of a longer word the beginning is looked for.
STATES_MAX = 65_535
GROUPS_MAX = THINGS_MAX = 4_096  # As in native/words.c.
REACH_MAX = 1_024
CANDIDATES_MAX = 256  # In one call.
NO_GROUP = 0xFFFF

Group = frozenset[bytes]


class Other(Struct, frozen=True):
    """A group of which a word must end so many bytes after the end of the key word; before it, where the numbers are negative."""

    group: Group
    low: int = -REACH_MAX
    high: int = REACH_MAX


class Thing(Struct, frozen=True):
    """`key` is its rarest group. `before` and `behind`: how far from the end of a key word the thing may begin and end."""

    key: Group
    others: tuple[Other, ...] = ()
    before: int = REACH_MAX
    behind: int = REACH_MAX


class Candidate(Struct, frozen=True, gc=False):
    thing: int
    start: int
    end: int


class _Thing(ctypes.Structure):
    """`Thing` of native/words.c."""

    _fields_ = (
        ("group", ctypes.c_uint16 * OTHERS_MAX),
        ("low", ctypes.c_int16 * OTHERS_MAX),
        ("high", ctypes.c_int16 * OTHERS_MAX),
        ("before", ctypes.c_uint16),
        ("behind", ctypes.c_uint16),
    )


_TABLES = ("classes", "next", "outputs", "ended", "masks", "grouped", "groups", "keyed", "keys")
_COUNTS = ("stride", "telling", "group_count", "thing_count")


class _Words(ctypes.Structure):
    """`Words` of native/words.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _TABLES),
        ("things", ctypes.POINTER(_Thing)),
        *((name, ctypes.c_uint32) for name in _COUNTS),
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

    def __init__(self, things: Sequence[Thing], *, alone: Iterable[bytes] = (), reach: int = REACH_MAX) -> None:
        """Words are lower-case; ASCII is found in either case. Words of `alone` count only where no letter stands beside them.
        Nothing is looked at beyond `reach` of a key, whatever a thing says. ValueError above a limit."""
        groups: dict[Group, int] = {}
        words: dict[bytes, int] = {}
        keyed: list[list[int]] = []
        for index, thing in enumerate(things):
            for group in (thing.key, *(other.group for other in thing.others[:OTHERS_MAX])):
                groups.setdefault(group, len(groups))
                for word in group:
                    words.setdefault(word[:WORD_BYTES_MAX], len(words))
            keyed.extend([] for _ in range(len(words) - len(keyed)))
            for key in {words[word[:WORD_BYTES_MAX]] for word in thing.key}:
                keyed[key].append(index)
        if len(groups) > GROUPS_MAX or len(things) > THINGS_MAX:
            raise ValueError(
                f"{len(things)} things with {len(groups)} groups of words; at most {THINGS_MAX} and {GROUPS_MAX}"
            )
        table = _table(words, frozenset(alone))
        grouped: list[list[int]] = [[] for _ in words]
        for group, number in groups.items():
            for one in {words[word[:WORD_BYTES_MAX]] for word in group}:
                grouped[one].append(number)
        tables = (*table.arrays, _masks(grouped, len(groups)), *_flattened(grouped), *_flattened(keyed))
        packed = (_Thing * len(things))(*(_packed(thing, groups, reach) for thing in things))
        self._kept = (tables, packed)  # As long as their addresses are.
        addresses = (one.buffer_info()[0] for one in tables)
        self._words = _Words(*addresses, packed, table.stride, table.telling, len(groups), len(things))
        self._pointer = ctypes.pointer(self._words)
        self._reach = reach

    def find(self, text: bytes, words_max: int) -> tuple[list[Candidate], int, bool]:
        """The things that may be in a text and where, how many words were seen, and whether there was more than was looked at."""
        found = _Found()
        count = _near(self._pointer, text, len(text), self._reach, max(0, words_max), CANDIDATES_MAX, found)
        if not count:
            return NOTHING, found[0], bool(found[1])
        numbers = found[2 : 2 + 3 * count]
        return list(map(Candidate, numbers[::3], numbers[1::3], numbers[2::3])), found[0], bool(found[1])


def _packed(thing: Thing, groups: Mapping[Group, int], reach: int) -> _Thing:
    others = thing.others[:OTHERS_MAX]
    packed = _Thing(before=min(thing.before, reach), behind=min(thing.behind, reach))
    for place in range(OTHERS_MAX):
        packed.group[place] = groups[others[place].group] if place < len(others) else NO_GROUP
        packed.low[place] = max(others[place].low, -reach) if place < len(others) else 0
        packed.high[place] = min(others[place].high, reach) if place < len(others) else 0
    return packed


def _masks(grouped: Sequence[Sequence[int]], groups: int) -> "array[int]":
    """Of each word the groups that it is in, as bits."""
    width = (groups + 63) // 64
    masks = array("Q", bytes(8 * width * len(grouped)))
    for word, numbers in enumerate(grouped):
        for number in numbers:
            masks[word * width + number // 64] |= 1 << number % 64
    return masks


NOTHING: list[Candidate] = []


class _Table(Struct, frozen=True):
    arrays: "tuple[array[int], array[int], array[int], array[int]]"  # classes, next, outputs, ended
    stride: int
    telling: int  # Rows from here on are of states that have words.


def _table(numbers: Mapping[bytes, int], alone: frozenset[bytes]) -> _Table:
    """Aho and Corasick's automaton with every transition written out."""
    children, ends = _trie(numbers, alone)
    if len(children) > STATES_MAX:
        raise ValueError(f"the words need {len(children)} states; at most {STATES_MAX}")
    breadth_first, fails = _fails(children)
    for state in breadth_first:
        ends[state] |= ends[fails[state]]
    order = sorted(breadth_first, key=lambda state: bool(ends[state]))  # The root has none, and stays the first.
    number = {state: index for index, state in enumerate(order)}
    classes, stride = _classes({byte for row in children for byte in row})
    following = array("I", bytes(4 * stride * len(order)))
    for state in breadth_first:
        row, fallback = number[state] * stride, number[fails[state]] * stride
        following[row : row + stride] = following[fallback : fallback + stride]
        for byte, child in children[state].items():
            following[row + classes[byte]] = number[child] * stride
    telling = sum(not ends[state] for state in order) * stride
    return _Table((classes, following, *_flattened([sorted(ends[state]) for state in order])), stride, telling)


def _trie(numbers: Mapping[bytes, int], alone: frozenset[bytes]) -> tuple[list[dict[int, int]], list[set[int]]]:
    """The children of each state, and the words that end in it as the table has them."""
    children: list[dict[int, int]] = [{}]
    ends: list[set[int]] = [set()]
    for word, number in numbers.items():
        state = 0
        for byte in word:
            state = children[state].setdefault(byte, len(children))
            if state == len(children):
                children.append({})
                ends.append(set())
        ends[state].add(number | len(word) << 16 if word in alone else number)
    return children, ends


def _fails(children: Sequence[Mapping[int, int]]) -> tuple[list[int], list[int]]:
    """All states, the shorter ones first, and where each goes on when no child of its own fits."""
    fails = [0] * len(children)
    order = [0]
    for state in order:  # Grows while it is read.
        for byte, child in children[state].items():
            at = fails[state]
            while at and byte not in children[at]:
                at = fails[at]
            fails[child] = children[at].get(byte, 0) if state else 0
            order.append(child)
    return order, fails


def _classes(used: Iterable[int]) -> "tuple[array[int], int]":
    """Bytes that no word has are one class, and a capital is of its small letter's."""
    classes = array("B", bytes(256))
    ordered = sorted(used)
    for index, byte in enumerate(ordered, 1):
        classes[byte] = index
        if ord("a") <= byte <= ord("z"):
            classes[byte - 0x20] = index
    return classes, len(ordered) + 1


def _flattened(lists: Sequence[Sequence[int]]) -> "tuple[array[int], array[int]]":
    """Lists one after the other, and where each begins."""
    starts, flat = array("I", [0]), array("I")
    for one in lists:
        flat.extend(one)
        starts.append(len(flat))
    return starts, flat
