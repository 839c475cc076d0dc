"""Reads a text in windows and as a whole, as the injection model does: native/windows.c with the tables that it needs."""

import ctypes
import re
import unicodedata
from array import array
from itertools import pairwise

from llmproxy.common import native

FILTER_BYTES = 8_192
ENTRY_BYTES, KEY_BYTES = 16, 8
WEIGHT_BYTES = 4  # A feature's weight in a window and in a text, 16 bits each.
NUMBERS_PER_BYTE_MAX = 64  # In training.

ACCENTS = re.compile("[\u0300-\u036f]+")


class _Model(ctypes.Structure):
    """`Model` of native/windows.c."""

    _fields_ = (
        ("entries", ctypes.c_char_p),
        ("filter", ctypes.c_char_p),
        ("weights", ctypes.c_char_p),
        ("tags", ctypes.c_char_p),
        ("mask", ctypes.c_uint32),
    )


class _Window(ctypes.Structure):
    """`Window` of native/windows.c."""

    _fields_ = (
        ("score", ctypes.c_float),
        ("start", ctypes.c_uint32),
        ("end", ctypes.c_uint32),
        ("others", ctypes.c_float),
        ("windows", ctypes.c_uint32),
        ("whole", ctypes.c_float),
    )


_Text = (ctypes.POINTER(_Model), ctypes.c_char_p, ctypes.c_size_t)
_Numbers = (ctypes.c_void_p, ctypes.c_uint32)
_worst = native.function("llmproxy_worst_window", ctypes.c_int, *_Text, ctypes.POINTER(_Window))
_blocks = native.function("llmproxy_block_numbers", ctypes.c_uint32, *_Text, *_Numbers, *_Numbers)

FEATURES: int = native.function("llmproxy_features", ctypes.c_uint32)()
COUNT_MIN: int = native.function("llmproxy_count_min", ctypes.c_uint32)()

word_key = native.function("llmproxy_word_key", ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
"""The key of a word in UTF-8, its length in bytes, and whether it is only the beginning of words."""


def fold(text: str) -> str:
    """Lower case without accents, compatibility forms resolved."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return unicodedata.normalize("NFC", ACCENTS.sub("", decomposed))


Worst = tuple[float, int, int, float, int, float]
"""The score of the most suspicious window in steps of a weight, where it stands, in bytes, the mean score of all others, how many
windows there are, and the score of the whole text, in steps of its own."""


class Reader:
    """Immutable, and any number of threads may use one."""

    def __init__(self, entries: bytes, known: bytes, weights: bytes) -> None:
        """`entries`: what words mean, by open addressing; `known`: a bit for each of their keys; `weights`: of
        each feature WEIGHT_BYTES. ValueError if they do not belong to these features."""
        slots = len(entries) // ENTRY_BYTES
        if len(weights) != WEIGHT_BYTES * FEATURES or len(known) != FILTER_BYTES or not slots or slots & (slots - 1):
            raise ValueError("the weights belong to other features; train the model again")
        tags = bytearray(2 * slots)  # The first byte of each key and its last: little enough to stay in a cache.
        tags[::2], tags[1::2] = entries[::ENTRY_BYTES], entries[KEY_BYTES - 1 :: ENTRY_BYTES]
        self._kept = (entries, known, weights, bytes(tags))  # As long as their addresses are.
        self.pointer = ctypes.pointer(_Model(*self._kept, slots - 1))

    def worst(self, folded: bytes) -> Worst | None:
        """None without a word."""
        window = _Window()
        if not _worst(self.pointer, folded, len(folded), window):
            return None
        return window.score, window.start, window.end, window.others, window.windows, window.whole

    def blocks(self, folded: bytes) -> "list[array[int]]":
        """For training: the feature numbers of each block."""
        # A token is a byte at least, and has no more than these.
        most, blocks = NUMBERS_PER_BYTE_MAX * len(folded) + 1, len(folded) + 1
        numbers, ends = (ctypes.c_uint32 * most)(), (ctypes.c_uint32 * blocks)()
        count = _blocks(self.pointer, folded, len(folded), numbers, most, ends, blocks)
        begins = [0, *ends[:count]]
        return [array("I", numbers[begin:end]) for begin, end in pairwise(begins)]
