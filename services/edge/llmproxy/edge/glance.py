"""The first look at a body, in one native call: what of it is new, and whether that is clear (docs/adr/0042)."""

import ctypes
from collections.abc import Sequence
from secrets import token_bytes
from typing import NamedTuple

from llmproxy.common import lexicon, native
from llmproxy.common.recent import MEMORY_BYTES, SECRET_BYTES, Recent, Table
from llmproxy.common.views import Hint
from llmproxy.common.words import Candidate, Near

ROWS = 8_192  # Of what is remembered: 32,768 beginnings, of which a turn of a conversation has two or three.
BEGINNINGS_MAX, CANDIDATES_MAX = 128, 64  # Of one body, as in native/glance.c.


class _Firewall(ctypes.Structure):
    """`Firewall` of native/glance.c."""

    _fields_ = (
        ("lexicon", ctypes.c_void_p),
        ("words", ctypes.c_void_p),
        ("reach", ctypes.c_uint32),
        ("words_max", ctypes.c_uint32),
        ("recent", Table),
    )


class _New(ctypes.Structure):
    """`New` of native/glance.c."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("begin", "is_seen", "hints", "first", "words", "candidate_count")),
        ("candidates", ctypes.c_uint32 * (3 * CANDIDATES_MAX)),
        ("longer_count", ctypes.c_uint32),
        ("longer", ctypes.c_uint8 * (BEGINNINGS_MAX * MEMORY_BYTES)),
    )


_glance = native.call("glance")
_remember = native.function("llmproxy_remember_beginnings", None, ctypes.POINTER(Table), ctypes.POINTER(_New))


class Seen(NamedTuple):
    """What was seen of what is new: so many words of signatures, what may be there, and what it hides, from `first` on."""

    words: int
    candidates: Sequence[Candidate]
    hints: Hint
    first: int


class New:
    """What is new in a body: from `begin` on. `seen`: None of what was not read yet."""

    __slots__ = ("_found", "_recent", "begin", "seen")

    def __init__(self, found: _New | None = None, recent: Recent | None = None) -> None:
        """`recent` is kept with it: new signatures may have another one while this body is being looked at."""
        self._found, self._recent = found, recent
        self.begin, self.seen = 0, None
        if found is not None:
            self.begin, self.seen = found.begin, _seen(found) if found.is_seen else None

    def remember(self) -> None:
        """All of it has turned out to be clear."""
        if self._recent is not None:
            _remember(self._recent.table, self._found)


def _seen(found: _New) -> Seen:
    places = found.candidates[: 3 * found.candidate_count]
    candidates = list(map(Candidate, places[::3], places[1::3], places[2::3]))
    return Seen(found.words, candidates, Hint(found.hints), found.first)


ALL = New()


class Glance:
    """With one set of signatures, and a secret of its own. For one thread."""

    def __init__(self, near: Near, words_max: int) -> None:
        known, self._recent = lexicon.shipped(), Recent(token_bytes(SECRET_BYTES), ROWS)
        self._kept = (near, known)  # As long as their addresses are.
        pointers = (ctypes.addressof(one.pointer.contents) for one in (known, near))
        self._firewall = _Firewall(*pointers, near.reach, words_max, self._recent.table)
        self._found = _New()
        self._addresses = ctypes.addressof(self._firewall), ctypes.addressof(self._found)

    def at(self, tenant: str, body: bytes) -> New | None:
        """What is to be looked at; None of a body that is clear, as nearly all are."""
        firewall, found = self._addresses
        if _glance(firewall, self._recent.key(tenant.encode()), body, found):
            return None
        return New(_New.from_buffer_copy(self._found), self._recent)
