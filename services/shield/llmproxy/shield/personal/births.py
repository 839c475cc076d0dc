"""Dates that the text calls a day of birth."""

import re
from collections.abc import Iterator

from llmproxy.shield import glance, words
from llmproxy.shield.personal.page import Page
from llmproxy.shield.verdict import Finding

BIRTH_CHARS, DATE_CHARS_AFTER = 40, 16
SAID = re.compile(  # Nothing that `words` has not: the first look knows those.
    r"(?ai:birth|b-?day|gebor|geboorte|geburt|geb datum|gebdat|naiss|nascid|nascim|nascita|nasceu|urodz|narozen|naroden|rojen|lahir|synty|synt\. "
    r"|(?<![a-z])(?:born|dobs?|d\.o\.b)(?![a-z])|(?-i:(?<=[a-z])D(?:OB|ob)(?![a-z]))|\(b\. | ur\. "
    r"|(?<![a-z])(?:geb[.:]|nac\.|nasc(?![a-z])|naci(?:d[oa]|miento|(?= e[ln] ))|(?-i:[Nn]at[oa]) (?:il|l'|a [a-z' ]{2,30} il) ))"
    rf"|{'|'.join(map(re.escape, words.BIRTH_BEYOND))}"
)
SAID_BEHIND = re.compile(r"\s?(?:生まれ|出生|년생|(?:года|г\.) рожден|\((?ai:dob|date of birth|birthday|born)\))")
CELEBRATION = re.compile(
    rb"birthday (?:part|gift|card|cake|present|bash|brunch|lunch|dinner|celebrat|trip|event|invit|surprise|week)"
)
"""The date of a party is nobody's day of birth."""

OTHER_DAY = re.compile(
    rb"(?<![a-z])(?:updated?|released?|publish|found(?:ed|ing)|created?|modified|issued?|died|death|deceased|since|until|effective|signed|recorded|filed|expir|due|hired|joined|married"
    rb"|graduated|debut|premi|started|admitted|visit|valid|g\?ltig|wa\?n[ay]|scaden|vencim|caduc|verval|ausgestellt|emi(?:tid|ss)|d\?livr|rilasciat|afgegeven)"
)
"""What the date is of, when this stands between it and the word for a birth."""

ANOTHER = re.compile(r"\b(?!and\b|und\b|oder\b)[^\W\d_]{3}")
"""Between two dates: the second has a name of its own."""

YEAR = r"(?:19|20)\d\d"
DAY, MONTH = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
MONTHS = (
    r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz]|f[eé]vr?|avr|jui|ao[uû]|ene|abr|ago|dic|gen|mag|giu|lug|set|ott|mei|maa)"
    r"[a-zé]{0,9}\.?"
)
ERA = r"(?:明治|大正|昭和|平成|令和) ?(?:\d{1,2}|元)年 ?\d{1,2}月 ?\d{1,2}日"
DATE = re.compile(
    rf"(?<!\d)(?:{YEAR}([-/.])\d{{1,2}}\1\d{{1,2}}|\d{{1,2}}([-/ ])\d{{1,2}}\2{YEAR}|\d{{1,2}}\. ?\d{{1,2}}\. ?{YEAR}"
    # Between a day and a year stands a month, in whatever language.
    rf"|\d{{1,2}}(?:st|nd|rd|th|\.|er|º)?[ -](?:of |de )?[^\s\d!-@\[-`{{-~]{{3,12}}\.?,?[ -](?:de |del )?{YEAR}"
    rf"|{MONTHS} \d{{1,2}}(?:st|nd|rd|th)?,? {YEAR}"
    rf"|{YEAR} ?[年년] ?\d{{1,2}} ?[月월] ?\d{{1,2}} ?[日일]|{ERA}"
    rf"|{YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    rf"|(?={MONTH}[-/.]|\d\d?[-/.]{MONTH}[-/.]){DAY}([-/.]){DAY}\3\d\d(?![-/.]\d))(?!\d)",
    re.IGNORECASE,
)
ERAS = re.compile(ERA)
SHORT = re.compile(rb"(?<![0a./-])0?0([-/.])0?0\1(?=00(?!0|[-/.]0))")
"""Of a shape: the day and the month before a year of two digits."""

SHORT_CHARS_MAX = 6
MONTH_CHARS = 24  # Of a month's name, and the day before it.


def find(page: Page) -> Iterator[Finding]:
    done = 0
    for at in _years(page):
        match = _called(page, at, done) if at >= done else None
        if match is not None:
            yield Finding("date_of_birth", *match.span())
            done = match.end()


def _years(page: Page) -> list[int]:
    """Where a year is that may be a date's."""
    data, shape = page.data, page.shape
    years = [
        at
        for at in glance.places(shape, b"0000")
        if data[at : at + 2] in (b"19", b"20") and _is_in_a_date(data, shape, at)
    ]
    for mark in (b"/00", b".00", b"-00"):
        for at in glance.places(shape, mark):
            short = SHORT.search(shape, max(0, at + 1 - SHORT_CHARS_MAX), at + 6)
            if short is not None and short.end() == at + 1:
                years.append(at + 1)
    years += [era.start() for era in ERAS.finditer(page.text)] if "年" in page.text else []
    return sorted(years)


def _is_in_a_date(data: bytes, shape: bytes, year: int) -> bool:
    """Most years of prose are not: a quick look at what stands around one."""
    before, behind = data[year - 1 : year], shape[year + 4 : year + 5]
    if (behind and behind in b"-/.?0") or (before and before in b"-/."):
        return True
    return b"0" in shape[max(0, year - MONTH_CHARS) : year]


def _called(page: Page, year: int, done: int) -> re.Match[str] | None:
    """The date that this year is in, if it is called a day of birth."""
    text, first = page.text, max(0, year - BIRTH_CHARS)
    said = [word.end() for word in SAID.finditer(text, first, year)]
    if said and OTHER_DAY.search(page.lower, said[-1], year) is None:
        match = DATE.search(text, max(said[-1], done), year + DATE_CHARS_AFTER)
        if match is not None and match.start() <= year < match.end():
            is_another = done > said[-1] and ANOTHER.search(text, done, match.start()) is not None
            return match if not is_another and CELEBRATION.search(page.lower, first, year) is None else None
    for match in DATE.finditer(text, max(done, year - MONTH_CHARS), year + DATE_CHARS_AFTER):
        if match.start() <= year < match.end() and SAID_BEHIND.match(text, match.end()) is not None:
            return match
    return None
