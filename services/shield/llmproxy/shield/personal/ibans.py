"""Account numbers that say their country: its length, and mod 97."""

import re
from collections.abc import Iterator

from llmproxy.shield import glance
from llmproxy.shield.personal.page import Page
from llmproxy.shield.verdict import Finding

IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d\d(?=[ -]?[A-Za-z0-9])")
IBAN_REST = re.compile(r"(?:[ -]?[A-Za-z0-9]){11,30}")
IBAN_CHARS_MAX = 34 * 2
IBAN_SAID = re.compile(r"[A-Z]{2}\d\d(?:[ -]?[A-Z0-9]){11,30}(?![A-Za-z0-9]|[ -][A-Z0-9])")
IBAN_SAID_CHARS = 16
"""What is called one and has its checksum is one, of a country too that has none yet."""

IBAN_LENGTHS = {
    country: int(length)
    for length, countries in {
        "15": "NO", "16": "BE", "18": "DK FI FO FK GL NL SD", "19": "MK SI", "20": "AT BA EE KZ LT LU XK MN",
        "21": "CH HR LI LV", "22": "BG BH CR DE GB GE IE ME RS VA", "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG", "25": "LY PT ST", "26": "IS TR", "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV", "29": "BR EG PS QA UA", "30": "JO KW MU YE", "31": "MT SC",
        "32": "LC", "33": "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""SWIFT's IBAN registry: https://www.swift.com/standards/data-standards/iban-international-bank-account-number"""


def find(page: Page) -> Iterator[Finding]:
    text = page.text
    for at in glance.places(page.shape, b"aa00"):
        start = IBAN_START.match(text, at)
        if start is not None and b"iban" in page.lower[max(0, at - IBAN_SAID_CHARS) : at]:
            said = IBAN_SAID.match(text, at)
            if said is not None and is_iban(said[0]):
                yield Finding("iban", *said.span())
                continue
        length = IBAN_LENGTHS.get(start[0][:2].upper()) if start else None
        rest = IBAN_REST.match(text, at + 4, at + 4 + IBAN_CHARS_MAX) if length else None
        if length is None or rest is None:
            continue
        end = _after(rest[0], length - 4)
        if end and (end == len(rest[0]) or not is_ascii_alnum(rest[0][end])):
            stop = at + 4 + end
            if not is_ascii_alnum(text[stop : stop + 1]) and is_iban(text[at:stop]):
                yield Finding("iban", at, stop)


def is_ascii_alnum(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _after(text: str, count: int) -> int:
    """The index after `count` letters and digits; 0 when there are fewer."""
    for index, character in enumerate(text):
        if character.isalnum():
            count -= 1
            if count == 0:
                return index + 1
    return 0


def is_iban(text: str) -> bool:
    """Mod 97 (ISO 13616); the length is the caller's to check."""
    plain = re.sub(r"[ -]", "", text).upper()
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1
