"""The tree of a JSON document. `1e300` is read as Python reads it: msgspec takes 8 us for a number with such an exponent, which is a second
for a megabyte of them."""

from collections.abc import Callable
from math import isinf
from typing import Any

import msgspec


def _number(written: str) -> float:
    number = float(written)
    if isinf(number):
        raise ValueError("Number out of range")
    return number


tree_of: Callable[[bytes | str], Any] = msgspec.json.Decoder(float_hook=_number).decode
"""Raises msgspec.DecodeError, or RecursionError."""
