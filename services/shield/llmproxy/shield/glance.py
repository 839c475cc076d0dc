"""A look at a text in microseconds: one byte for each character, and the places where something long or numeric stands.

`bytes.translate` and `bytes.find` run at memory speed, a regular expression at a few nanoseconds for each character it
tries. So guards look at a skeleton of the text first, and try their patterns only at the places that it shows.
"""

from collections.abc import Iterator
from string import ascii_letters, digits

DIGITS, LETTERS = digits.encode(), ascii_letters.encode()
WORD_BREAKS = b" \t\r\n\x0b\x0c\"'`,;<>(){}[]|\\?"  # What is not ASCII is a question mark here.


def _table(**classes: bytes) -> bytes:
    """A translation: every byte of a class becomes the class's letter; the others stay."""
    table = bytearray(range(256))
    for name, members in classes.items():
        for member in members:
            table[member] = ord(name)
    return bytes(table)


_SHAPE = _table(a=LETTERS, **{"0": DIGITS})
_COLONS = _table(**{":": b"-"})
_HEX_DIGITS = DIGITS + b"abcdefABCDEF"
_HEX_OR_COLON = frozenset(_HEX_DIGITS + b":")
_WORD = bytes(ord("x") if 32 < code < 127 and code not in WORD_BREAKS else ord(" ") for code in range(256))
SEPARATORS = b" ()./-_"


def plain(text: str) -> bytes:
    """One byte for each character, so that places are the same; what is not ASCII becomes a question mark."""
    return text.encode("ascii", "replace")


def shape(data: bytes) -> bytes:
    """Digits as `0`, letters as `a`."""
    return data.translate(_SHAPE)


def joined(data: bytes) -> bytes:
    """The shape without what may stand between the groups of a number. Places are lost."""
    return data.translate(_SHAPE, SEPARATORS)


def gaps(data: bytes) -> bytes:
    """Colons and dashes between hexadecimal digits come together, and other text stays between them."""
    return data.translate(_COLONS, _HEX_DIGITS)


def begin_of(data: bytes, at: int, least: int) -> int:
    """Where the hexadecimal digits and colons before a place begin."""
    while at > least and data[at - 1] in _HEX_OR_COLON:
        at -= 1
    return at


def long_words(data: bytes, at_least: int) -> Iterator[tuple[int, int]]:
    """Where something of this length stands without a space, a quote or a bracket in it."""
    marks, run = data.translate(_WORD), b"x" * at_least
    start = marks.find(run)
    while start >= 0:
        end = marks.find(b" ", start + at_least)
        if end < 0:
            end = len(marks)
        yield start, end
        start = marks.find(run, end)


def places(data: bytes, literal: bytes) -> Iterator[int]:
    """Where a literal stands, overlaps left out."""
    at = data.find(literal)
    while at >= 0:
        yield at
        at = data.find(literal, at + len(literal))
