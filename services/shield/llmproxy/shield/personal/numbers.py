"""Runs of digits, with what may stand between the groups of a number: each is a card, a number of a person, a phone, or nothing."""

import re
from collections.abc import Iterator

from llmproxy.shield.personal import cards, identities, phones, ssns
from llmproxy.shield.personal.page import CONTEXT_CHARS, HEAD, Page
from llmproxy.shield.verdict import Finding

PLACE_CHARS_BEFORE, PLACE_CHARS_AFTER = 6, 14
"""How far around a run of digits a pattern may look."""

RUN = re.compile(rb"0(?:[ ()./_-]{0,3}0){5,}")  # Of a shape: what begins with one byte is found five times as fast.
MOMENT = re.compile(rb"0000([-/.])00(?:\1)000?(?: 00)?|00\.0{3,9}")  # A date; seconds with their fraction.


def find(page: Page) -> Iterator[Finding]:
    """Every run of six digits and more, with what may stand between the groups of a number."""
    text = page.text
    for run in RUN.finditer(page.shape):
        start, end = run.span()
        if MOMENT.fullmatch(page.shape, start, end) is not None:
            continue
        count = page.shape.count(b"0", start, end)
        first, last = max(0, start - PLACE_CHARS_BEFORE), min(len(text), end + PLACE_CHARS_AFTER)
        is_spaced = count < end - start
        before = page.lower[max(0, start - CONTEXT_CHARS) : start]
        if count >= 12:
            yield from cards.find(text, first, last, start, end)
        if count >= 9 and (is_spaced or b"ssn" in before or b"social" in before):
            yield from ssns.find(text, first, last, start, end)
        heads = HEAD.findall(before)
        numbers = list(identities.in_run(page, before, heads, start, end, count))
        yield from (
            one for one in numbers if one.kind not in identities.ONE_LINE
        )  # A checksum tells more than the form of a phone,
        if count >= 7:
            yield from phones.find(text, first, last, start, end, before, heads, is_spaced=is_spaced)
        yield from (one for one in numbers if one.kind in identities.ONE_LINE)  # and that more than a word.
