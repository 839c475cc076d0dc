"""The first look at the texts of a request, in one native call (native/sweep.c): which of them are clear, or were a moment ago (docs/adr/0031), and
what the guards of secrets and personal data may find in any of them."""

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, structs

from llmproxy.common import native
from llmproxy.common.recent import MEMORY_BYTES, Recent, Table
from llmproxy.common.signatures import Budget
from llmproxy.shield import look
from llmproxy.shield.injection.quiet import Quiet
from llmproxy.shield.injection.sweep import (
    BORDER,
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
"""`Glance` of native/sweep.c; before the first one stand three numbers, of all together."""

_HEAD_BYTES = 12
_Out = ctypes.c_uint32 * ((_HEAD_BYTES + TEXTS_MAX * _GLANCE.size + CANDIDATES_MAX * CANDIDATE.size) // 4)


class _First(ctypes.Structure):
    """`First` of native/sweep.c."""

    _fields_ = (
        ("sweeping", ctypes.POINTER(Sweeping)),
        ("literals", ctypes.POINTER(look.Literals)),
        ("recent", Table),
        *((name, ctypes.c_double) for name in ("below", "weight", "least")),
    )


_first_look = native.function(
    "llmproxy_first_look",
    None,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_uint32,
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_uint32,
    ctypes.c_uint32,
    _Out,
)


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
        self._outs: list[Any] = []  # Of calls that are over. To make one takes longer than to look at a short text.

    def over(self, tenant: bytes, texts: Sequence[str], budget: Budget) -> tuple[int, list[Open]]:
        """The bits of all texts, as of `look.at`, and those that are to be weighed. What is clear is remembered of the tenant."""
        if len(texts) <= TEXTS_MAX:
            return self._over(self.recent.key(tenant), texts, budget)
        bits, opened = 0, list[Open]()
        for first in range(0, len(texts), TEXTS_MAX):
            more, others = self._over(self.recent.key(tenant), texts[first : first + TEXTS_MAX], budget)
            bits |= more
            opened += others
        return bits, opened

    def _over(self, key: bytes, texts: Sequence[str], budget: Budget) -> tuple[int, list[Open]]:
        raw = BORDER.join([text.encode("utf-8", "surrogatepass") for text in texts])
        out = self._outs.pop() if self._outs else _Out()
        _first_look(self._address, key, len(texts), raw, len(raw), max(0, budget.words), CANDIDATES_MAX, out)
        bits, is_any_open, words = out[:3]
        budget.words -= words
        opened = _read(memoryview(out).cast("B"), texts) if is_any_open else CLEAR
        self._outs.append(out)
        return bits, opened


CLEAR: list[Open] = []


def _read(out: memoryview, texts: Sequence[str]) -> list[Open]:
    opened: list[Open] = []
    at = _HEAD_BYTES + len(texts) * _GLANCE.size
    glances = _GLANCE.iter_unpack(out[_HEAD_BYTES:at])
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
