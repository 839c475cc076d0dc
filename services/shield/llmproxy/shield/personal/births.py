"""Dates that the text calls a day of birth."""

import re
from collections.abc import Iterator

from llmproxy.shield import glance, words
from llmproxy.shield.personal.page import HEAD, Page
from llmproxy.shield.verdict import Finding

BIRTH_HEADS = frozenset((b"bir", b"bor", b"dob", b"geb", b"nac", b"nai", b"n? ", b"n?e", b"nat", b"nas", b"uro"))
BIRTH_CHARS = 40
MONTHS = (
    r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz]|janv|f[eé]vr?|avr|juin|juil|ao[uû]t|ene|abr|ago|dic|gen|mag|giu|lug|set|ott|mei|maa)"
    r"[a-zé]{0,9}\.?"
)
BIRTH_DATE = re.compile(
    rf"(?<!\d)(?:(?:19|20)\d\d([-/.])\d{{1,2}}\1\d{{1,2}}|\d{{1,2}}([-/. ])\d{{1,2}}\2(?:19|20)\d\d|\d{{1,2}}(?:st|nd|rd|th|\.|er)?[ -](?:de )?{MONTHS},?[ -](?:de )?(?:19|20)\d\d"
    rf"|{MONTHS} \d{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)\d\d)(?!\d)",
    re.IGNORECASE,
)
CELEBRATION = re.compile(
    rb"birthday (?:part|gift|card|cake|present|bash|brunch|lunch|dinner|celebrat|trip|event|invit|surprise|week)"
)
"""The date of a party is nobody's day of birth."""

OTHER_DAY = re.compile(
    rb"(?<![a-z])(?:updated?|released?|publish|found(?:ed|ing)|created?|modified|issued?|died|death|deceased|since|until|effective|signed|recorded|filed|expir|due|hired|joined|married"
    rb"|graduated|debut|premi|started|admitted|visit)"
)
"""What the date is of, when this stands between it and the word for a birth."""

MONTH_HEADS = frozenset(
    b"jan feb mar m?r apr mai may jun jul aug sep okt oct nov dez dec f?v avr jui ao? ago ene abr dic gen mag giu lug set ott mei maa de".split()
)
YEAR_CHARS_BEFORE = 14


def find(page: Page) -> Iterator[Finding]:
    """A date with a year of four digits that the text calls a day of birth."""
    done = 0
    for at in glance.places(page.shape, b"0000"):
        if at < done or page.data[at : at + 2] not in (b"19", b"20") or not _is_in_a_date(page, at):
            continue
        first = max(0, at - BIRTH_CHARS)
        window = page.lower[first:at]
        if BIRTH_HEADS.isdisjoint(HEAD.findall(window)) or CELEBRATION.search(window) is not None:
            continue
        ends = [place + len(word) for word in words.BIRTH if (place := window.rfind(word)) >= 0]
        if ends and OTHER_DAY.search(window, max(ends)) is None:
            match = BIRTH_DATE.search(page.text, max(first + max(ends), done), at + 10)
            if match is not None and match.start() <= at < match.end():
                yield Finding("date_of_birth", *match.span())
                done = match.end()


def _is_in_a_date(page: Page, year: int) -> bool:
    """Most years of prose are not: a quick look at what stands around one."""
    if page.data[year + 4 : year + 5] in (b"-", b"/", b".") or page.data[year - 1 : year] in (b"-", b"/", b"."):
        return True
    words = page.lower[max(0, year - YEAR_CHARS_BEFORE) : year].replace(b",", b" ").split()
    return bool(words) and (words[-1][:3] in MONTH_HEADS or words[-1][:1].isdigit())
