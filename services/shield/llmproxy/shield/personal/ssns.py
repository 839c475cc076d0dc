"""Social security numbers of the United States."""

import re
from collections.abc import Iterator

from llmproxy.shield.ids.form import always
from llmproxy.shield.personal.page import CONTEXT_CHARS
from llmproxy.shield.personal.phones import is_said_a_phone
from llmproxy.shield.personal.runs import Run
from llmproxy.shield.verdict import Finding

SSN = re.compile(
    r"[0-8](?<![\w-][0-8])(?<!\d\.[0-8])\d\d(?<!000)(?<!666)"
    r"(?:-(?!00)\d\d-| (?<!\d \d\d\d )(?!00)\d\d )(?!0000)\d{4}(?![\w]|-\d)",
    re.ASCII,
)
SSN_STATED = re.compile(r"(?<![\w-])\d{3}([ -]?)\d\d\1\d{4}(?![\w]|-\d)", re.ASCII)
"""What the text itself calls one, valid or not: a typing error is as telling, and 9xx is a taxpayer number (ITIN)."""

SSN_CONTEXT = re.compile(r"(?:\b|_)ssns?(?:\b|_)|social.security", re.IGNORECASE)
OTHER_NUMBER = re.compile(r"\d{4}\b.*?\b(?!and\b|or\b)[^\W\d_]{2,}")
"""Behind one that is stated another thing has a name."""


def find(run: Run) -> Iterator[Finding]:
    """https://www.ssa.gov/employer/randomization.html: no area 000, 666 or 9xx, no group 00, no serial 0000."""
    for span in run.spans(SSN, always):
        yield Finding("us_ssn", *span)
    if _is_said_one(run.text, run.start):
        for match in SSN_STATED.finditer(run.text, run.first, run.last):
            at = match.start()
            if at < run.end and _is_said_one(run.text, at) and not is_said_a_phone(run.text, at):
                yield Finding("us_ssn", *match.span())


def _is_said_one(text: str, at: int) -> bool:
    first = max(0, at - CONTEXT_CHARS)
    if SSN_CONTEXT.search(text, first, at) is None:  # As nearly always.
        return False
    *_, stated = SSN_CONTEXT.finditer(text, first, at)
    return OTHER_NUMBER.search(text, stated.end(), at) is None
