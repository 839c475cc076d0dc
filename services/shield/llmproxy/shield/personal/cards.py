"""Cards: an issuer's range and Luhn, or what the text itself calls a card."""

import re
from collections.abc import Iterator

from llmproxy.shield.ids.form import is_luhn
from llmproxy.shield.personal.page import CONTEXT_CHARS, Page
from llmproxy.shield.personal.runs import Run, only_digits
from llmproxy.shield.verdict import Finding

CARD = re.compile(
    r"\d(?<!\d\d)(?<!\d[ ._-]\d)(?:"  # A digit first, and then what must not stand before it: the search is five times as fast.
    r"\d{3}[ ._/-]{0,3}\d{4}[ ._/-]{0,3}\d{4}(?:[ ._/-]{0,3}\d{1,4}(?:[ ._/-]?\d{1,3})?)?"
    r"|\d{3}[ ._/-]{0,3}\d{6}[ ._/-]{0,3}\d{4,5}"
    r"|(?:[ _-]\d){12,18}"
    r")(?!\d)"
)
CARD_WHOLE = re.compile(r"\d(?<!\d\d)\d{11,18}(?!\d)")
"""In one piece, whatever stands around it."""

CARD_INSIDE = re.compile(r"\d(?<!\d\d)\d{3}([ _-])(?:\d{4}\1\d{4}\1\d{4}|\d{6}\1\d{5})(?!\d)")
"""The usual spelling, also after other digits (`Order 12 4111 1111 1111 1111`)."""

_GAP = rb"(?:[ ._-]{0,3}|[ ._-]{0,2}\r?\n[ \t>]{0,8})"
BROKEN = re.compile(rb"0000(?<!00000)%b(?:0000%b0000%b0000|000000%b00000)(?!0)" % ((_GAP,) * 4))
"""Of a shape: the groups of a card, which a line may break. Columns of numbers look so too."""

ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12,15}"  # Discover
    r"|(?:30[0-5]|36\d|3[89]\d|309)\d{11}"  # Diners Club
    r"|35(?:2[89]|[3-8]\d)\d{12,15}|(?:1800|2131)\d{11}"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|(?:50\d\d|5[6-8]\d\d|6304|639\d|67\d\d|0604)\d{8,15}"  # Maestro
)
SHORT_DIGITS_MAX = 13
"""Maestro and the first Visa cards have twelve and thirteen digits. So have many article and parcel numbers, of which one in
ten passes Luhn: such a short one needs a word too."""

MADE_UP_DIGITS = range(14, 20)
"""What passes Luhn and is called a card is one, also from a range that nobody issues: test data, new issuers."""

CARD_WORDS = re.compile(
    r"(?:credit|debit)[ _-]?card|card (?:number|no\b|#)|for (?:this )?card:?\s\Z|kreditkarte|carte (?:bancaire|de cr)",
    re.IGNORECASE,
)
"""A typing error in what the text itself calls a card is as telling as a checksum."""

CARD_NEAR = re.compile(
    r"(?<![a-z])(?:(?:credit|debit|bank|kredit|debet|geld|giro|ec-?)?[ _-]?(?:cards?|kort|kart[aęeiyu]?|kaart|karten?)(?![a-z])|cart[aãe]o?s?(?![a-z])"
    r"|carte|tarjetas?|visa|master ?card|amex|american express|maestro|discover|diners|jcb|union ?pay|cc(?: ?(?:no|num|number|#))?(?![a-z])"
    r"|pan(?![a-z])|pay(?:ment|ing)?|paid|charged?|карт[аыоу]|κάρτα)|卡|カード|카드|بطاقة|כרטיס|कार्ड|บัตร",
    re.IGNORECASE,
)
"""A word for it in some forty languages. Together with a checksum, less is needed than for a number that fails it."""


def find(run: Run) -> Iterator[Finding]:
    context = max(0, run.start - CONTEXT_CHARS)
    is_said = CARD_WORDS.search(run.text, context, run.start) is not None
    is_near = CARD_NEAR.search(run.text, context, run.start) is not None

    def holds(match: re.Match[str]) -> bool:
        digits = only_digits(match[0])
        if ISSUERS.fullmatch(digits) is None:
            return is_near and len(digits) in MADE_UP_DIGITS and _is_checked(digits)
        if len(digits) <= SHORT_DIGITS_MAX and not is_near:
            return False
        return is_said or _is_checked(digits)

    for pattern in (CARD, CARD_WHOLE, CARD_INSIDE):
        for span in run.spans(pattern, holds):
            yield Finding("credit_card", *span)


def broken(page: Page) -> Iterator[Finding]:
    """In two lines, if a word says that it is a card."""
    if b"\n" not in page.shape:
        return
    for match in BROKEN.finditer(page.shape):
        start, end = match.span()
        digits = only_digits(page.text[start:end])
        if page.shape.count(b"\n", start, end) != 1 or ISSUERS.fullmatch(digits) is None or not _is_checked(digits):
            continue
        if CARD_NEAR.search(page.text, max(0, start - CONTEXT_CHARS), start) is not None:
            yield Finding("credit_card", start, end)


def _is_checked(digits: str) -> bool:
    """One digit again and again is no card, whatever its sum."""
    return len(set(digits)) > 1 and is_luhn(digits)
