"""What a text can hold at all, in one native pass that all guards share: microseconds for the nearly all texts that hold nothing.

A bit that is not set is a promise that the guard's own search for such things would find none (tested as a law). The words that guards look
for are theirs; here they become one table.
"""

import ctypes
from collections.abc import Iterable
from functools import cache

from llmproxy.common import native
from llmproxy.shield import passwords, words
from llmproxy.shield.personal import emails
from llmproxy.shield.vendors import VENDORS


class Look:
    """Bits, as plain numbers: the arithmetic of an enumeration costs more than the pass. The first eleven and the last three are the pass's own findings (libs/common/native/candidates.c), the others come with words."""

    AT = 1 << 0  # Or what is spelt out for it.
    COLONS = 1 << 1  # `::`, five signs with hexadecimal digits between them, or three groups of four with dots.
    DOTS = 1 << 2
    YEAR = 1 << 3
    CODED = 1 << 4  # Letters and digits as in an IBAN, a PAN, a codice fiscale.
    NUMBER = 1 << 5  # Six digits with little between them that are no date.
    WALLET = 1 << 6
    BEYOND = 1 << 7  # Something is not ASCII.
    VENDOR = 1 << 8
    ASSIGNED = 1 << 9
    DRAWN = 1 << 10
    STATED = 1 << 11
    BIRTH = 1 << 12
    PASSWORD = 1 << 13
    URL = 1 << 14
    PRIVATE = 1 << 15
    BASIC = 1 << 16
    PASSWORD_BEYOND = 1 << 17
    ENCODED = 1 << 18  # A long word with a capital or a digit, or a percent escape.
    MARKUP = 1 << 19  # One of `[]<=`, a backslash, or the sign with which commands to terminals begin.
    LONG = 1 << 20  # Hundreds of characters without a space between them.


DEAR = (
    Look.COLONS | Look.CODED | Look.VENDOR | Look.ASSIGNED | Look.STATED | Look.BIRTH
    | Look.PASSWORD | Look.PASSWORD_BEYOND | Look.ENCODED
)  # fmt: skip
"""What takes a guard microseconds at each place, whether there is something or not."""

ALL = (1 << 27) - 1
NAME, VENDOR_NAME, INSIDE, EXACT = 1 << 27, 1 << 28, 1 << 29, 1 << 30

BUCKETS, FILTER_BITS = 4096, 16
HASH = 0x9E3779B1


class Literals(ctypes.Structure):
    """`Literals` of candidates.c: where literals begin, by the hash of their first letters; 0: nowhere. `filter` has a bit for the first four
    letters of a name."""

    _fields_ = (
        ("filter", ctypes.c_char_p),
        ("names", ctypes.POINTER(ctypes.c_uint16)),
        ("keys", ctypes.POINTER(ctypes.c_uint16)),
        ("chains", ctypes.c_char_p),
    )


_candidates = native.call("candidates")


def at(text: str) -> int:
    """The bits of `Look`."""
    global _last
    known = _last
    if known[0] is text:
        return known[1]
    bits: int = _candidates(_address(), text)
    _last = (text, bits)
    return bits


_last: tuple[str, int] = ("", 0)


@cache
def literals() -> "ctypes._Pointer[Literals]":
    """What guards look for, as the native passes want it."""
    return ctypes.pointer(_literals())


@cache
def _address() -> int:
    return ctypes.addressof(literals().contents)


def _literals() -> Literals:
    chains = bytearray(1)  # So that no chain begins at 0.
    names = _table(_names(), 3, chains)
    keys = _table(
        ((literal, EXACT) for vendor in VENDORS if not vendor.before for literal in vendor.literals), 2, chains
    )
    return Literals(_filter(literal for literal, _ in _names()), names, keys, bytes(chains))


def _filter(literals: Iterable[bytes]) -> bytes:
    """What stands behind a name of three letters may be anything."""
    bits = bytearray(1 << FILTER_BITS - 3)
    for literal in literals:
        for four in [literal[:4]] if len(literal) > 3 else [literal + bytes((code,)) for code in range(256)]:
            number = _hash(four) >> (32 - FILTER_BITS)
            bits[number >> 3] |= 1 << (number & 7)
    return bytes(bits)


def _names() -> Iterable[tuple[bytes, int]]:
    yield from ((name, NAME) for name in words.NAMES)
    yield from ((name, VENDOR_NAME) for name in words.VENDOR_NAMES)
    yield from ((word, Look.STATED) for word in words.STATED)
    yield from ((word.encode(), Look.STATED | EXACT) for word in words.STATED_BEYOND)
    yield from ((word, Look.BIRTH) for word in words.BIRTH)
    yield from ((word.encode(), Look.BIRTH | EXACT) for word in words.BIRTH_BEYOND)
    yield from ((word, Look.PASSWORD) for word in passwords.LITERALS)
    yield from ((stem.encode(), Look.PASSWORD_BEYOND | EXACT) for stem in passwords.STEMS)
    yield from ((at.encode(), Look.AT) for at in emails.SPELT)
    yield from ((b"://", Look.URL), (b"PRIVATE", Look.PRIVATE | EXACT), (b"basic", Look.BASIC))
    for vendor in VENDORS:
        if vendor.before:
            what = EXACT | (Look.VENDOR if vendor.in_prose else INSIDE)
            yield from ((literal, what) for literal in vendor.literals)
        yield from ((literal, EXACT | INSIDE) for literal in vendor.telling)


def _table(literals: Iterable[tuple[bytes, int]], head: int, chains: bytearray) -> "ctypes.Array[ctypes.c_uint16]":
    by_bucket: dict[int, dict[bytes, int]] = {}
    for literal, what in literals:
        assert len(literal) >= head, "a literal is found by its first letters"
        spelled = literal if what & EXACT else literal.lower()
        entries = by_bucket.setdefault(_bucket(literal[:head]), {})
        assert (entries.get(spelled, what) ^ what) & EXACT == 0, "one literal has one spelling"
        entries[spelled] = entries.get(spelled, 0) | what
    table = (ctypes.c_uint16 * BUCKETS)()
    for bucket, entries in by_bucket.items():
        table[bucket] = len(chains)
        for spelled, what in entries.items():
            chains += bytes((len(spelled),)) + what.to_bytes(4, "little") + spelled
        chains.append(0)
    return table


def _bucket(head: bytes) -> int:
    return _hash(head) >> 20


def _hash(head: bytes) -> int:
    """Bit 5 is what a small letter has and a capital has not."""
    folded = bytes(byte | 0x20 for byte in head)
    return int.from_bytes(folded, "little") * HASH & 0xFFFFFFFF
