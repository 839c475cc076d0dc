"""What an identity number is: a form, a checksum, and the words that stand before it."""

import re
from collections.abc import Callable

from msgspec import Struct

LETTER = re.compile("[a-z]")


def digits_of(text: str) -> list[int]:
    return [int(character) for character in text if character.isdecimal()]


def always(_: object) -> bool:
    """The form says enough, or the words before it do."""
    return True


class Number(Struct, frozen=True):
    """A `kind` where `pattern` matches, `holds` agrees and, when there are words for it, one of them stands before it."""

    kind: str
    pattern: re.Pattern[str]
    holds: Callable[[str], bool]
    words: tuple[bytes, ...] = ()  # Lower case; what is not ASCII in them is written `?`.
    digits_min: int = 6
    beyond: tuple[str, ...] = ()  # Words without a letter of ASCII, as they are written.

    @property
    def is_evident(self) -> bool:
        return not self.words and not self.beyond

    def is_in(self, match: re.Match[str]) -> bool:
        return self.holds(match[0])


def number(
    kind: str, pattern: str, holds: Callable[[str], bool] = always, words: str = "", digits_min: int = 6
) -> Number:
    """`words` are separated by commas."""
    every = [word.strip() for word in words.split(",") if word.strip()]
    spelled = tuple(word.encode("ascii", "replace") for word in every if LETTER.search(word) is not None)
    compiled = re.compile(
        rf"(?<![A-Za-z0-9])(?<!\d[.,-])(?:{pattern})(?![A-Za-z0-9]|[.,-]\d)", re.ASCII | re.IGNORECASE
    )
    return Number(
        kind, compiled, holds, spelled, digits_min, tuple(word for word in every if LETTER.search(word) is None)
    )


def weighted(numbers: list[int], weights: tuple[int, ...]) -> int:
    return sum(digit * weight for digit, weight in zip(numbers, weights, strict=False))


DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
"""Twice a digit, and the sum of the digits of that."""


def is_luhn(text: str) -> bool:
    """ISO/IEC 7812-1. Noughts alone are no number."""
    numbers = digits_of(text)[::-1]
    return (sum(numbers[::2]) + sum([DOUBLED[digit] for digit in numbers[1::2]])) % 10 == 0 and any(numbers)


def is_mod_11_10(text: str) -> bool:
    """ISO/IEC 7064, MOD 11,10: German tax numbers."""
    product = 10
    numbers = digits_of(text)
    for digit in numbers[:-1]:
        product = ((digit + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == numbers[-1]
