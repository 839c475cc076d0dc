"""Runs of digits, with what may stand between the groups of a number: each is a card, a number of a person, a phone, or nothing."""

import re
from collections.abc import Iterator

from llmproxy.shield.personal import cards, identities, phones, ssns
from llmproxy.shield.personal.page import Page
from llmproxy.shield.personal.runs import Run
from llmproxy.shield.verdict import Finding

RUN = re.compile(rb"0(?:[ ()./_-]{0,3}0){5,}")  # Of a shape: what begins with one byte is found five times as fast.
MOMENT = re.compile(rb"0000(?:([-/])00(?:\1)000?|\.00\.00)(?: 00)?|00\.0{3,9}")  # A date; seconds with their fraction.


def find(page: Page) -> Iterator[Finding]:
    """In every run of six digits and more. Of two findings in one place the first counts."""
    yield from cards.broken(page)
    for shaped in RUN.finditer(page.shape):
        start, end = shaped.span()
        if MOMENT.fullmatch(page.shape, start, end) is None:
            yield from _in_run(Run(page, start, end, page.shape.count(b"0", start, end)))


def _in_run(run: Run) -> Iterator[Finding]:
    """A checksum tells more than the form of a phone, and that more than a word."""
    known: list[Finding] = []
    if run.count >= 12:
        known += cards.find(run)
        yield from known
    if run.count >= 9 and (run.is_spaced or b"ssn" in run.before or b"social" in run.before):
        yield from ssns.find(run)
    told: list[Finding] = []
    for one in identities.find(run):
        if one.kind in identities.ONE_LINE:
            told.append(one)
        else:
            yield one
    for rest in run.beside([(one.start, one.end) for one in known]) if known else (run,):
        if rest.count >= 7:
            yield from phones.find(rest)
    yield from told
