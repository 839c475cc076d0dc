"""What in a text gives reason to look for something hidden in it, and common words, spelt right: native/marks.c with its table of words."""

import ctypes
from array import array
from functools import cache
from importlib import resources

from llmproxy.common import native

DATA = "lexicon.txt"
"""Common English words and those of attacks; a word that is written otherwise is read as one of them."""
ANCHOR = "*"  # Behind a word that attacks cannot do without, and that is like no other word.
WORD_LETTERS_MAX = 31  # What five bits hold.
LEET = str.maketrans("013457869@$!+", "oieastbggasit")


class _Lexicon(ctypes.Structure):
    """`Lexicon` of native/marks.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weights", "read", "keys", "places", "letters", "anchors", "begins")),
        ("mask", ctypes.c_uint32),
    )


_Place = ctypes.c_size_t
_marks = native.function(
    "llmproxy_marks",
    ctypes.c_uint32,
    ctypes.POINTER(_Lexicon),
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.POINTER(_Place),
)
_respelt = native.function(
    "llmproxy_respelt",
    ctypes.c_size_t,
    ctypes.POINTER(_Lexicon),
    ctypes.c_char_p,
    ctypes.c_size_t,
    ctypes.c_char_p,
)


class Lexicon:
    """Words to be found however they are spelt. Immutable."""

    def __init__(self, words: list[str]) -> None:
        """Of lower-case ASCII letters; longer ones are left out. Words that end in a star are also found with one letter wrong."""
        words = sorted(word for word in words if len(word.rstrip(ANCHOR)) <= WORD_LETTERS_MAX)
        read, weights = _readings()
        slots = 1 << (2 * len(words) + 1).bit_length()
        keys, places = array("I", bytes(4 * slots)), array("I", bytes(4 * slots))
        letters = array("B")
        anchors, begins = array("I"), array("I", bytes(4 * 27))
        for marked in words:
            word = marked.rstrip(ANCHOR)
            if word != marked:
                anchors.append(len(letters) << 5 | len(word))
                for later in range(ord(word[0]) - ord("a") + 1, 27):
                    begins[later] = len(anchors)
            key = sum(weights[one] for one in word.encode()) & 0xFFFFFFFF
            slot = key & slots - 1
            while keys[slot]:
                slot = slot + 1 & slots - 1
            keys[slot], places[slot] = key, len(letters) << 5 | len(word)
            letters.extend(word.encode())
        tables = (weights, read, keys, places, letters, anchors, begins)
        self._kept = tables  # As long as their addresses are.
        self.pointer = ctypes.pointer(_Lexicon(*(one.buffer_info()[0] for one in tables), slots - 1))

    def marks(self, raw: bytes) -> tuple[int, int]:
        """The bits of views.Hint, and where the first of what they stand for begins."""
        first = _Place()
        return _marks(self.pointer, raw, len(raw), first), first.value

    def respelt(self, raw: bytes) -> bytes:
        """The text with the words spelt right."""
        out = ctypes.create_string_buffer(len(raw) + len(raw) // 5 + 1)
        length = _respelt(self.pointer, raw, len(raw), out)
        return out.raw[:length]


@cache
def shipped() -> Lexicon:
    return Lexicon(resources.files(__package__).joinpath(DATA).read_text(encoding="ascii").split())


def _readings() -> "tuple[array[int], array[int]]":
    """Of each byte the letter that it is read as, and that letter's weight."""
    read, weights = array("B", bytes(256)), array("I", bytes(4 * 256))
    for byte in range(0x21, 0x7F):
        meant = chr(byte).lower().translate(LEET)
        if "a" <= meant <= "z":
            read[byte] = ord(meant)
            weights[byte] = _weight("i" if meant == "l" else meant)
    return read, weights


def _weight(letter: str) -> int:
    """Any numbers whose sums are different; no letter weighs nothing."""
    mixed = (ord(letter) - 96) * 0x9E3779B1 & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 15) * 0x85EBCA77 & 0xFFFFFFFF
    return mixed ^ mixed >> 13 | 1
