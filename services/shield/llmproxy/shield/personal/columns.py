"""Tables whose first line names their columns (CSV, Markdown): what stands under a name is called by it."""

import re
from collections.abc import Callable, Generator, Iterator

from llmproxy.shield import glance
from llmproxy.shield.ids import NUMBERS
from llmproxy.shield.ids.form import Number
from llmproxy.shield.personal import births, identities, phones, ssns
from llmproxy.shield.personal.page import Page
from llmproxy.shield.verdict import Finding

MARKS = (",", "\t", ";", "|")
COLUMNS_MAX = 64
NAMES = (
    b"birth", b"dob", b"geb", b"naiss", b"nac", b"nasc", b"urodz", b"mrn", b"patient", b"record", b"ssn", b"social", b"passport", b"licen", b"account",
    b"acct", b"konto", b"phone", b"mobil", b"tel", b"cell", b"fax", b"steuer", b"bsn", b"pesel", b"cpf", b"nhs", b"sin", b"tfn",
)  # fmt: skip
"""Of which a first line has one."""

PHONE = re.compile(
    r"(?<![a-z])(?:tele?(?:ph|f)one?|phone(?!s)|mobil|cell(?![a-z])|tel(?![a-z])|handy|fax|whatsapp|msisdn)",
    re.IGNORECASE,
)
TITLE = re.compile(r"[^\d\n]{0,40}")
EDGE = " \t\r\"'"

Column = tuple[str, Callable[[str], bool]]
"""A kind, and whether a cell holds it."""


def find(page: Page) -> Iterator[Finding]:
    lines = page.data.count(b"\n")
    marks = [mark for mark in MARKS if page.data.count(mark.encode()) >= max(lines, 2)] if lines else []
    if not marks:
        return
    done, known = 0, dict[str, list[Column]]()
    for at in sorted(at for name in NAMES for at in glance.places(page.lower, name)):
        if at < done:
            continue
        done = _end_of_line(page, at) + 1
        for mark in marks:
            columns = _columns(page, page.data.rfind(b"\n", 0, at) + 1, done - 1, mark, known)
            if any(columns):
                done = yield from _rows(page, done, mark, columns)
                break


def _end_of_line(page: Page, at: int) -> int:
    end = page.data.find(b"\n", at)
    return end if end >= 0 else len(page.data)


def _columns(page: Page, start: int, end: int, mark: str, known: dict[str, list[Column]]) -> list[list[Column]]:
    """What each column of a first line holds; nothing if this is none. `known`: what is under each title that was seen."""
    cells = [page.text[first:last] for first, last in _cells(page.text, start, end, mark)]
    if len(cells) < 2 or not all(TITLE.fullmatch(cell) for cell in cells):
        return []
    for cell in cells:
        if cell not in known:
            known[cell] = list(_kinds(cell))
    return [known[cell] for cell in cells]


def _kinds(title: str) -> Iterator[Column]:
    if births.SAID.search(title) is not None:
        yield "date_of_birth", lambda cell: births.DATE.fullmatch(cell) is not None
    if PHONE.search(title) is not None:
        yield "phone", _is_phone
    if ssns.SSN_CONTEXT.search(title) is not None:
        yield "us_ssn", lambda cell: ssns.SSN_STATED.fullmatch(cell) is not None
    plain = glance.plain(title).lower().replace(b"_", b" ")
    said = {word for word in identities.WORDS if word in plain and identities.is_whole(word, plain)}
    for number in NUMBERS if said else ():
        if not said.isdisjoint(number.words):
            yield number.kind, _holder(number)


def _is_phone(cell: str) -> bool:
    return phones.IN_CONTEXT.fullmatch(cell) is not None and phones.is_likely(cell)


def _holder(number: Number) -> Callable[[str], bool]:
    return lambda cell: number.pattern.fullmatch(cell) is not None and number.holds(cell)


def _rows(page: Page, at: int, mark: str, columns: list[list[Column]]) -> Generator[Finding, None, int]:
    """Of all lines that have as many cells; where they end."""
    while at < len(page.text):
        end = _end_of_line(page, at)
        cells = _cells(page.text, at, end, mark)
        if len(cells) != len(columns):
            break
        for (first, last), column in zip(cells, columns, strict=True):
            cell = page.text[first:last]
            kind = next((kind for kind, holds in column if holds(cell)), None)
            if kind is not None:
                yield Finding(kind, first, last)
        at = end + 1
    return at


def _cells(text: str, start: int, end: int, mark: str) -> list[tuple[int, int]]:
    """Where each cell's value is, without the quotes; at most one more than there may be."""
    cells: list[tuple[int, int]] = []
    at = start
    while at <= end and len(cells) <= COLUMNS_MAX:
        quoted = text.find('"', at + 1, end) if text.startswith('"', at) else -1
        stop = text.find(mark, max(at, quoted), end)
        stop = end if stop < 0 else stop
        cell = text[at:stop]
        cells.append((at + len(cell) - len(cell.lstrip(EDGE)), at + len(cell.rstrip(EDGE))))
        at = stop + 1
    return cells
