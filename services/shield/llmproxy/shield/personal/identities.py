"""Identity numbers (`ids/`), by their checksum, their form, or the words before them."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from llmproxy.shield import glance, words
from llmproxy.shield.ids import NUMBERS
from llmproxy.shield.ids.form import Number, always
from llmproxy.shield.personal.page import Page
from llmproxy.shield.personal.runs import Run
from llmproxy.shield.verdict import Finding

CHARS_AFTER = 8  # Fewer than may belong to a phone or a card.

EVIDENT = tuple(number for number in NUMBERS if number.is_evident)
EVIDENT_DIGITS = tuple(
    number for number in EVIDENT if number.kind in ("us_itin", "in_aadhaar", "fr_nir", "br_cpf", "cn_id", "ru_snils")
)
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

OTHER_CODE = re.compile(
    rb"(?<![a-z])(?:blz|bankleitzahl|routing|aba|bic|swift|bsb|ifsc|sort|s/c|branch|cvv|cvc|ref|reference|invoice|vat|tax)(?![a-z])"
)
"""What a number beside an account is called that is none."""

ONE_LINE = frozenset({"bank_account", "passport", "driver_license", "medical_record", "license_plate"})
"""Kinds of which only the words before them tell: those must be on the same line, and of the same field of JSON."""

OTHER_FIELD = re.compile(rb"""\n|["'][a-z0-9_ -]{2,}["']\s{0,2}:""")
OTHER_NUMBER = re.compile(rb"\d{4}[^\n]*?(?<![a-z?])(?!and(?![a-z])|or(?![a-z]))[a-z?]{3}")
"""Behind a number a word, which the next number then belongs to."""

LABEL_LINE = re.compile(rb"^s?(?: (?:no|nr|number|num|id))?[ .:#]{0,3}\r?\n[ \t]*\Z")
"""A form has its labels on lines of their own."""

OTHER_CLAUSE = re.compile(r"""[\n,;，。；、]|["'][\w -]{2,}["']\s{0,2}:""")
CODED = (b"aaaaa0000a", b"aaaaaa00a00a000a", b"a00a00a00")
CODED_DIGITS = 7  # What their letters count for, too.
STATED = tuple(number for number in NUMBERS if number.words and number.digits_min <= 1)
STATED_BEYOND = {word: tuple(one for one in NUMBERS if word in one.beyond) for word in words.STATED_BEYOND}
STATED_CHARS_BEFORE, STATED_CHARS, BEYOND_CHARS, VALUE_CHARS = 14, 40, 14, 24


def find(run: Run) -> Iterator[Finding]:
    """In a run of digits, with the letters that belong to it."""
    shape, start = run.page.shape, run.start
    said = _said(run)
    is_lettered = b"a" in shape[max(0, start - 3) : start] or b"a" in shape[start : run.end + 2]
    if not said and not is_lettered and run.count < EVIDENT_DIGITS_MIN:
        return
    last = min(len(run.text), run.end + CHARS_AFTER)
    for number in NUMBERS if said else EVIDENT if is_lettered else EVIDENT_DIGITS:
        if run.count < number.digits_min or number.pattern.search(run.text, run.first, last) is None:
            continue  # As nearly always.
        if not number.is_evident and not _is_meant(number, said, run.before):
            continue
        spans = run.spans(number.pattern, number.is_in, last)
        found = (Finding(number.kind, *span) for span in spans if span[1] > start)
        # Where only the words before it tell, they tell of one.
        yield from islice(found, 1 if number.holds is always or number.kind in ONE_LINE else None)


def _said(run: Run) -> list[bytes]:
    """The words for a number that stand before it."""
    before = run.before
    return [
        word for head in run.heads for word in WORDS_BY_HEAD.get(head, ()) if word in before and is_whole(word, before)
    ]


def _is_meant(number: Number, said: list[bytes], before: bytes) -> bool:
    """Whether one of the words is for this number, and nothing behind it says that it is for something else."""
    places = [
        (place + len(word), place) for word in said if word in number.words and (place := before.rfind(word)) >= 0
    ]
    if not places:
        return False
    end, start = max(places)
    if number.kind in ONE_LINE:
        between = before[end:]
        if b"\n" in between:
            between = LABEL_LINE.sub(b"", between)
        if OTHER_FIELD.search(between) is not None or OTHER_NUMBER.search(between) is not None:
            return False
    return number.kind != "bank_account" or (OTHER_ACCOUNT.search(before) or OTHER_CODE.search(before, start)) is None


def is_whole(word: bytes, before: bytes) -> bool:
    return word not in WHOLE or WHOLE[word].search(before) is not None


def coded(page: Page) -> Iterator[Finding]:
    """What has its digits apart: PAN, codice fiscale, German passports."""
    for form in CODED:
        for at in glance.places(page.shape, form):
            yield from find(Run(page, at, at + len(form), CODED_DIGITS))


def stated(page: Page) -> Iterator[Finding]:
    """Directly behind their words: what has neither digits enough nor a checksum, as bank codes and number plates, and whatever
    is called so in another script."""
    for word in words.STATED:
        for at in glance.places(page.lower, word):
            before = page.lower[max(0, at - STATED_CHARS_BEFORE) : at + len(word)]
            meant = (one for one in STATED if any(name in before for name in one.words))
            yield from _behind(page, at + len(word), STATED_CHARS, meant)
    if page.text.isascii():
        return
    for name, numbers in STATED_BEYOND.items():
        at = page.text.find(name)
        while at >= 0:
            yield from _behind(page, at + len(name), BEYOND_CHARS, numbers)
            at = page.text.find(name, at + len(name))


def _behind(page: Page, at: int, chars: int, numbers: Iterable[Number]) -> Iterator[Finding]:
    for number in numbers:
        match = number.pattern.search(page.text, at, at + chars + VALUE_CHARS)
        if match is None or match.start() > at + chars or not number.is_in(match):
            continue
        if number.kind not in ONE_LINE or OTHER_CLAUSE.search(page.text, at, match.start()) is None:
            yield Finding(number.kind, *match.span())
