"""Every text of a request in one native call (native/sweep.c): whether something is hidden in it, how suspicious it is, and which
signatures may be in it."""

import ctypes
import struct
from collections.abc import Sequence
from itertools import starmap

from llmproxy.common import lexicon, native
from llmproxy.common.words import NOTHING, Candidate, Near
from llmproxy.shield.injection.windows import Reader, Worst, fold

BORDER = b"\xff"  # As in native/sweep.c: no text in UTF-8 has it.
TEXTS_MAX, CANDIDATES_MAX = 32, 64  # In one call.
SEEN = "If2IfIfI"
"""`Seen` of native/sweep.c, as `struct` writes it."""

_SEEN = struct.Struct(f"={SEEN}")
CANDIDATE = struct.Struct("=3I")
_Out = ctypes.c_char * (TEXTS_MAX * _SEEN.size + CANDIDATES_MAX * CANDIDATE.size)


class Sweeping(ctypes.Structure):
    """`Sweeping` of native/sweep.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("lexicon", "model", "words")),
        ("reach", ctypes.c_uint32),
    )


_Texts = (ctypes.c_char_p, ctypes.c_size_t) * 3
_sweep = native.function(
    "llmproxy_sweep",
    ctypes.c_uint32,
    ctypes.POINTER(Sweeping),
    ctypes.c_uint32,
    *_Texts,
    ctypes.c_uint32,
    ctypes.c_uint32,
    _Out,
)


Seen = tuple[Worst, Sequence[Candidate]]
"""Of one text: its most suspicious window (with a score of minus infinity where it has no word), and what may be in it."""


class Sweep:
    """Immutable, and any number of threads may use one."""

    def __init__(self, reader: Reader, near: Near) -> None:
        known = lexicon.shipped()
        self._kept = (reader, near, known)  # As long as their addresses are.
        pointers = (ctypes.addressof(one.pointer.contents) for one in (known, reader, near))
        self.pointer = ctypes.pointer(Sweeping(*pointers, near.reach))

    def over(self, texts: Sequence[str], words_max: int) -> tuple[list[Seen | None], int]:
        """What is seen of each text, of TEXTS_MAX at most, and how many words of signatures they have, `words_max` at most.
        None for a text that is to be looked at by itself."""
        if len(texts) > TEXTS_MAX:
            raise ValueError(f"more than {TEXTS_MAX} texts have no room in one call")
        raw = BORDER.join([text.encode("utf-8", "surrogatepass") for text in texts])
        folded = lower = None  # As it makes them itself of what is ASCII.
        if not all(map(str.isascii, texts)):
            folded = BORDER.join([fold(text).encode("utf-8", "replace") for text in texts])
            lower = BORDER.join([lowered(text) for text in texts])
        out, count, sizes = _Out(), len(texts), (len(raw), len(folded or b""), len(lower or b""))
        words = _sweep(
            self.pointer,
            count,
            raw,
            sizes[0],
            folded,
            sizes[1],
            lower,
            sizes[2],
            max(0, words_max),
            CANDIDATES_MAX,
            out,
        )
        return _read(out, count), words


def lowered(text: str) -> bytes:
    """As signatures are looked for in it."""
    return text.lower().encode("utf-8", "replace")


def candidates(out: memoryview, at: int, count: int) -> tuple[Sequence[Candidate], int]:
    """So many that stand there, and what is behind them."""
    if not count:
        return NOTHING, at
    behind = at + count * CANDIDATE.size
    return list(starmap(Candidate, CANDIDATE.iter_unpack(out[at:behind]))), behind


def _read(out: "ctypes.Array[ctypes.c_char]", count: int) -> list[Seen | None]:
    found: list[Seen | None] = []
    data = memoryview(out)
    at = count * _SEEN.size
    for is_apart, score, start, end, others, windows, whole, near in _SEEN.iter_unpack(data[:at]):
        if is_apart:
            found.append(None)
            continue
        some, at = candidates(data, at, near)
        found.append(((score, start, end, others, windows, whole), some))
    return found
