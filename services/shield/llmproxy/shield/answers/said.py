"""What a request says, as the answer to it is compared with it: an answer may ask hundreds of times."""

import ctypes
import re
from collections.abc import Iterator
from functools import cached_property

from llmproxy.common import native
from llmproxy.shield.answers.asked import Asked
from llmproxy.shield.answers.leak import UNSPACED, words_of

SHORT_CHARS = 16 << 10  # To search through so many takes no longer than to ask an index.
SEARCHES_MAX = 8  # Of a longer one, until it has an index: to make one takes as long as some ten searches.
GRAM_BYTES = 6  # As in native/said.c: what is shorter is searched for.
BITS_PER_GRAM, BITS_MIN, BITS_MAX = 8, 1 << 16, 1 << 24
BITS_PER_PLACE = 16
PIECE_CHARS = 4 << 10  # Whose words are told apart in a millisecond or two.
WORD_ENDS = re.compile(rf"\W|{UNSPACED.pattern}")

LONG_CHARS, LONG_CHARS_BEYOND = 256 << 10, 32 << 10
"""To bring so many into the form in which an answer is compared with them takes 10 ms. What is not ASCII takes longer."""


class _Grams(ctypes.Structure):
    """`Grams` of native/said.c."""

    _fields_ = (
        ("bits", ctypes.c_void_p),
        ("places", ctypes.c_void_p),
        ("bits_mask", ctypes.c_uint32),
        ("places_mask", ctypes.c_uint32),
    )


_learn = native.function("llmproxy_learn_said", None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, long=True)
_says = native.function(
    "llmproxy_says", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t
)


class Index:
    """3 MB for a text of 1 MB, and at most 6."""

    __slots__ = ("_address", "_kept", "_text")

    def __init__(self, text: str) -> None:
        self._text = _bytes(text)
        bits = min(BITS_MAX, max(BITS_MIN, 1 << (BITS_PER_GRAM * len(text)).bit_length()))
        places = bits // BITS_PER_PLACE
        room = ctypes.create_string_buffer(bits // 8), ctypes.create_string_buffer(places * 4)
        known = _Grams(*map(ctypes.addressof, room), bits - 1, places - 1)
        self._kept, self._address = (*room, known), ctypes.addressof(known)
        _learn(self._address, self._text, len(self._text))

    def says(self, value: str) -> bool:
        wanted = _bytes(value)
        told: int = _says(self._address, self._text, len(self._text), wanted, len(wanted))
        return wanted in self._text if told > 1 else bool(told)


def is_long(asked: Asked) -> bool:
    """Whether the first question may take longer than an event loop has."""
    if len(asked.said) + len(asked.users) + len(asked.system) <= LONG_CHARS_BEYOND:  # As nearly all.
        return False
    texts = asked.said, asked.users, asked.system
    return any(len(text) > (LONG_CHARS if text.isascii() else LONG_CHARS_BEYOND) for text in texts)


class Said:
    """One text."""

    __slots__ = ("_index", "_searches", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._searches = 0
        self._index: Index | None = None

    def __contains__(self, value: str) -> bool:
        if len(self.text) <= SHORT_CHARS:
            return value in self.text
        if self._index is None:
            self._searches += 1
            if self._searches <= SEARCHES_MAX:
                return value in self.text
            self._index = Index(self.text)
        return self._index.says(value)


class Request:
    """Each from when it is asked."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    @cached_property
    def said(self) -> Said:
        return Said(self._asked.said.lower())

    @cached_property
    def trusted(self) -> Said:
        """The operator and the users."""
        return Said(f"{self._asked.system}\n{self._asked.users}".lower())

    @cached_property
    def users(self) -> Said:
        """Words with a space around each. To tell them apart takes 0.6 s of a long text, in which others want to work, too."""
        pieces = (" ".join(words_of(piece)) for piece in _pieces(self._asked.users.casefold()))
        return Said(f" {' '.join(filter(None, pieces))} ")

    @cached_property
    def definitions(self) -> Said:
        return Said(self._asked.definitions)


def _pieces(text: str) -> Iterator[str]:
    """Between words."""
    at = 0
    while at < len(text):
        found = WORD_ENDS.search(text, at + PIECE_CHARS)
        end = found.end() if found is not None else len(text)
        yield text[at:end]
        at = end


def _bytes(text: str) -> bytes:
    """What says a character in them says no part of another one."""
    return text.encode("utf-8", "surrogatepass")
