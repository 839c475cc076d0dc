"""Identity numbers (`ids/`), by their checksum, their form, or the words before them."""

import re
from collections.abc import Iterator
from itertools import islice

from llmproxy.shield import glance, words
from llmproxy.shield.ids import NUMBERS
from llmproxy.shield.ids.form import always
from llmproxy.shield.personal.page import CONTEXT_CHARS, HEAD, Page
from llmproxy.shield.personal.runs import each
from llmproxy.shield.verdict import Finding

PLACE_CHARS_BEFORE = 6

EVIDENT = tuple(number for number in NUMBERS if not number.words)
EVIDENT_DIGITS = tuple(number for number in EVIDENT if number.kind in ("us_itin", "in_aadhaar", "fr_nir"))
EVIDENT_DIGITS_MIN = min(number.digits_min for number in EVIDENT_DIGITS)
WORDS = tuple(sorted({word for number in NUMBERS for word in number.words}))
WORDS_BY_HEAD = {head: tuple(word for word in WORDS if word[:3] == head) for head in {word[:3] for word in WORDS}}
COMPOUNDED = frozenset((b"bank", b"acct"))
WHOLE = {
    word: re.compile(rb"(?<![a-z])" + word + rb"s?(?![a-z])")
    for word in WORDS
    if len(word) <= 4 and word.isalpha() and word not in COMPOUNDED
}
"""Abbreviations: a `sin` is in `since`. The longer words are parts of compounds in half of the languages."""

OTHER_ACCOUNT = re.compile(
    rb"(?<![a-z])(?:aws|amazon|azure|gcp|google|cloud|iam|github|gitlab|twitter|facebook|instagram|e?-?mail|user|service|storage|root|game|player|member)[\s_-]{1,2}account"
)
"""An account at none of whose kind there is money."""

ONE_LINE = frozenset({"bank_account", "passport", "driver_license", "medical_record", "license_plate"})
"""Kinds of which only the words before them tell: those must be on the same line, and of the same field of JSON."""

OTHER_FIELD = re.compile(rb"""\n|["'][a-z0-9_ -]{2,}["']\s{0,2}:""")
STATED = tuple(number for number in NUMBERS if number.digits_min <= 1)
STATED_CHARS = 40


def in_run(page: Page, before: bytes, heads: list[bytes], start: int, end: int, count: int) -> Iterator[Finding]:
    said = [
        word for head in heads for word in WORDS_BY_HEAD.get(head, ()) if word in before and _is_whole(word, before)
    ]
    shape = page.shape
    is_lettered = b"a" in shape[max(0, start - 3) : start] or b"a" in shape[start : end + 2]
    if not said and not is_lettered and count < EVIDENT_DIGITS_MIN:
        return
    first, last = max(0, start - PLACE_CHARS_BEFORE), min(len(page.text), end + 8)
    for number in NUMBERS if said else EVIDENT if is_lettered else EVIDENT_DIGITS:
        if count < number.digits_min or number.pattern.search(page.text, first, last) is None:  # As nearly always.
            continue
        if number.words:
            ends = [before.rfind(word) + len(word) for word in said if word in number.words]
            if not ends or (number.kind in ONE_LINE and OTHER_FIELD.search(before, max(ends)) is not None):
                continue
            if number.kind == "bank_account" and OTHER_ACCOUNT.search(before) is not None:
                continue
        spans = each(number.pattern, page.text, first, end, last, number.is_in)
        found = (Finding(number.kind, *span) for span in spans if span[1] > start)
        # Where only the words before it tell, they tell of one.
        yield from islice(found, 1 if number.holds is always or number.kind in ONE_LINE else None)


def _is_whole(word: bytes, before: bytes) -> bool:
    return word not in WHOLE or WHOLE[word].search(before) is not None


def coded(page: Page) -> Iterator[Finding]:
    """What has its digits apart: PAN, codice fiscale, German passports."""
    shape = page.shape
    for form in (b"aaaaa0000a", b"aaaaaa00a00a000a", b"a00a00a00"):
        for at in glance.places(shape, form):
            before = page.lower[max(0, at - CONTEXT_CHARS) : at]
            yield from in_run(page, before, HEAD.findall(before), at, at + len(form), 7)


def stated(page: Page) -> Iterator[Finding]:
    """What has neither digits enough nor a checksum: bank codes and number plates, directly behind their words."""
    for word in words.STATED:
        for at in glance.places(page.lower, word):
            for number in STATED:
                match = number.pattern.search(page.text, at + len(word), at + STATED_CHARS)
                if match is not None and any(
                    one in page.lower[max(0, at - 14) : match.start()] for one in number.words
                ):
                    yield Finding(number.kind, *match.span())
