"""The first look at the texts of a request, in one native call (native/sweep.c): which of them are clear, or were a moment ago (docs/adr/0031), and
what the guards of secrets and personal data may find in any of them."""

import ctypes
import struct
from collections.abc import Sequence

from msgspec import Struct, structs

from llmproxy.common import native
from llmproxy.common.recent import MEMORY_BYTES, Recent, Table
from llmproxy.shield import look
from llmproxy.shield.injection.quiet import Quiet
from llmproxy.shield.injection.sweep import (
    CANDIDATE,
    CANDIDATES_MAX,
    SEEN,
    TEXTS_MAX,
    Seen,
    Sweep,
    Sweeping,
    candidates,
)

ROWS = 2_048  # Of what is remembered: 8,192 texts.
REMEMBERED_BYTES_MIN = 32  # As in native/sweep.c: a shorter text is read as quickly as its digest is made.

_GLANCE = struct.Struct(f"={MEMORY_BYTES}sI{SEEN}")
"""`Glance` of native/sweep.c."""

_Out = ctypes.c_uint32 * ((TEXTS_MAX * _GLANCE.size + CANDIDATES_MAX * CANDIDATE.size) // 4)


class _First(ctypes.Structure):
    """`First` of native/sweep.c."""

    _fields_ = (
        ("sweeping", ctypes.POINTER(Sweeping)),
        ("literals", ctypes.POINTER(look.Literals)),
        ("recent", Table),
        *((name, ctypes.c_double) for name in ("below", "weight", "least")),
    )


_first_look = native.call("first_look")
OPEN, WORDS = 1 << 31, 32
"""Of what it returns: whether a text is open, and from which bit on stands how many words were seen; below are the bits of `look.Look`."""


class Open(Struct, frozen=True):
    """A text that is not clear at the first look. `seen`: what the model has seen of it; None where it is to be looked at by itself."""

    text: str
    seen: Seen | None
    memory: bytes  # How it is remembered, if it is clear after all.


class First:
    def __init__(self, sweep: Sweep, quiet: Quiet, recent: Recent) -> None:
        self.recent = recent
        literals = look.literals()
        first = _First(sweep.pointer, literals, recent.table, *structs.astuple(quiet))
        self._kept, self._address = (sweep, literals, first), ctypes.addressof(first)  # As long as their addresses are.
        self._outs: list[_Room] = []  # Of calls that are over. To make one takes longer than to look at a short text.

    def over(self, tenant: bytes, texts: list[str], words_max: int) -> tuple[int, list[Open], int]:
        """The bits of all texts, as of `look.at`, those that are to be weighed, and how many words of signatures were seen, `words_max` at
        most. What is clear is remembered of the tenant."""
        if len(texts) > TEXTS_MAX:
            return self._in_turns(tenant, texts, words_max)
        key = self.recent.key(tenant)
        room = self._outs.pop() if self._outs else _Room()
        found = _first_look(self._address, key, texts, words_max if words_max > 0 else 0, CANDIDATES_MAX, room.address)
        opened = _read(memoryview(room.out).cast("B"), texts) if found & OPEN else CLEAR
        self._outs.append(room)
        return found & look.ALL, opened, found >> WORDS

    def _in_turns(self, tenant: bytes, texts: list[str], words_max: int) -> tuple[int, list[Open], int]:
        bits, opened, words = 0, list[Open](), 0
        for first in range(0, len(texts), TEXTS_MAX):
            more, others, seen = self.over(tenant, texts[first : first + TEXTS_MAX], words_max - words)
            bits |= more
            opened += others
            words += seen
        return bits, opened, words


class _Room:
    """For what is said of texts."""

    __slots__ = ("address", "out")

    def __init__(self) -> None:
        self.out = _Out()
        self.address = ctypes.addressof(self.out)


CLEAR: list[Open] = []


def _read(out: memoryview, texts: Sequence[str]) -> list[Open]:
    opened: list[Open] = []
    at = len(texts) * _GLANCE.size
    glances = _GLANCE.iter_unpack(out[:at])
    for text, (memory, is_open, is_apart, score, start, end, others, windows, whole, near) in zip(
        texts, glances, strict=True
    ):
        if not is_open:
            continue
        if is_apart:
            opened.append(Open(text, None, memory))
            continue
        found, at = candidates(out, at, near)
        opened.append(Open(text, ((score, start, end, others, windows, whole), found), memory))
    return opened
