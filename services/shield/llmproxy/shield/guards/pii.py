"""Personal data with a form that can be checked: e-mail, phone, social security number, card, IBAN, IP address.

Every pattern is followed by a validator, because a wrong finding changes what the model reads: a card passes Luhn, an IBAN
its country's length and mod 97, an address `ipaddress`.
"""

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address

from llmproxy.common.segments import Segment
from llmproxy.shield.verdict import Finding, Verdict, found

CANDIDATE = re.compile(
    r"\d(?:[ ()./-]{0,3}\d){6}"  # Seven digits: phone, card, social security number, most IBANs.
    r"|\d\.\d{1,3}\.\d{1,3}\.\d"
    r"|\d\d[ -]?[A-Za-z]{4}[ -]?[A-Za-z]{0,4}\d"  # IBANs with a bank in letters.
)
"""Every branch begins with a digit, so that the search skips prose as fast as it can."""

GROUPED = re.compile(r":[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:|::")


class Pii:
    """Masks personal data in any text."""

    name = "pii"

    def may_hold(self, text: str) -> bool:
        return "@" in text or CANDIDATE.search(text) is not None or GROUPED.search(text) is not None

    def inspect(self, segment: Segment) -> Verdict:
        text = segment.text
        findings = list(_emails(text))
        if GROUPED.search(text) is not None:
            findings += _ip6s(text)
        if CANDIDATE.search(text) is not None:
            for detect in (_cards, _ibans, _ssns, _ip4s, _phones):
                findings += detect(text)
        return found(findings)


# -- e-mail

DOMAIN = re.compile(r"@[^\W_](?:[\w-]{0,62})(?:\.[^\W_][\w-]{0,62}){1,8}")
LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}\Z")
LOCAL_CHARS_MAX = 64
LOCAL_FIRST = re.compile(r"[\w]")
FILE_SUFFIXES = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "ico",
        "css",
        "js",
        "ts",
        "jsx",
        "tsx",
        "py",
        "rb",
        "go",
        "rs",
        "md",
        "txt",
        "html",
        "htm",
        "json",
        "xml",
        "yaml",
        "yml",
        "pdf",
        "zip",
        "gz",
    ]
)
"""`icon@2x.png` is a file. Some of these are countries too (md, py, rs): those are told by the name before the dot."""


def _emails(text: str) -> Iterator[Finding]:
    if "@" not in text:
        return
    for domain in DOMAIN.finditer(text):
        local = LOCAL.search(text[max(0, domain.start() - LOCAL_CHARS_MAX) : domain.start()])
        if local is None:
            continue
        name = _local(local[0])
        host = domain[0][1:].rstrip("-_")
        suffix = host.rpartition(".")[2]
        if not name or not _is_top_level(suffix) or (suffix.lower() in FILE_SUFFIXES and host[0].isdigit()):
            continue
        yield Finding("email", domain.start() - len(name), domain.start() + 1 + len(host))


def _local(name: str) -> str:
    """Without what stands before the address rather than in it: quotes, `key=`, dots."""
    name = re.split(r"[=/|{}`'?&]", name)[-1]
    first = LOCAL_FIRST.search(name)
    return name[first.start() :] if first else ""


def _is_top_level(suffix: str) -> bool:
    return len(suffix) >= 2 and (suffix.isalpha() or suffix.lower().startswith("xn--"))


# -- cards

CARD = re.compile(
    r"\d(?<!\d\d)(?<!\d[ .-]\d)(?:"  # A digit first, and then what must not stand before it: the search is five times as fast.
    r"\d{3}[ ./-]{0,3}\d{4}[ ./-]{0,3}\d{4}[ ./-]{0,3}\d{1,4}(?:[ ./-]?\d{1,3})?"
    r"|\d{3}[ ./-]{0,3}\d{6}[ ./-]{0,3}\d{4,5}"
    r"|(?:[ -]\d){12,18}"
    r")(?!\d)"
)
CARD_INSIDE = re.compile(r"\d(?<!\d\d)\d{3}([ -])(?:\d{4}\1\d{4}\1\d{4}|\d{6}\1\d{5})(?!\d)")
"""The usual spelling, also after other digits (`Order 12 4111 1111 1111 1111`)."""

ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12,15}"  # Discover
    r"|(?:30[0-5]|36\d|3[89]\d|309)\d{11}"  # Diners Club
    r"|35(?:2[89]|[3-8]\d)\d{12,15}"  # JCB
    r"|62\d{14,17}"  # UnionPay
    r"|(?:50\d\d|5[6-8]\d\d|6304|67\d\d)\d{8,15}"  # Maestro
)


def _cards(text: str) -> Iterator[Finding]:
    for pattern in (CARD, CARD_INSIDE):
        for match in pattern.finditer(text):
            digits = _only_digits(match[0])
            if ISSUERS.fullmatch(digits) and is_luhn(digits):
                yield Finding("credit_card", match.start(), match.end())


DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def is_luhn(digits: str) -> bool:
    """The checksum of card numbers (ISO/IEC 7812)."""
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(DOUBLED[number] for number in numbers[1::2])) % 10 == 0 and len(set(digits)) > 1


# -- IBAN

IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d\d(?=[ -]?[A-Za-z0-9])")
IBAN_REST = re.compile(r"(?:[ -]?[A-Za-z0-9]){11,30}")
IBAN_CHARS_MAX = 34 * 2

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


def _ibans(text: str) -> Iterator[Finding]:
    for start in IBAN_START.finditer(text):
        length = IBAN_LENGTHS.get(start[0][:2].upper())
        rest = IBAN_REST.match(text[start.end() : start.end() + IBAN_CHARS_MAX]) if length else None
        if length is None or rest is None:
            continue
        end = _after(rest[0], length - 4)
        if end and (end == len(rest[0]) or not rest[0][end].isalnum()):
            stop = start.end() + end
            if text[stop : stop + 1].isalnum() is False and is_iban(text[start.start() : stop]):
                yield Finding("iban", start.start(), stop)


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


# -- social security numbers

SSN = re.compile(r"[0-8](?<![\w-][0-8])(?<!\d[. ][0-8])\d\d(?<!000)(?<!666)([ -])(?!00)\d\d\1(?!0000)\d{4}(?![\w]|-\d)")
SSN_STATED = re.compile(r"(?<![\w-])\d{3}([ -]?)\d\d\1\d{4}(?![\w]|-\d)")
"""What the text itself calls one, valid or not: a typing error is as telling, and 9xx is a taxpayer number (ITIN)."""

SSN_CONTEXT = re.compile(r"(?:\b|_)ssns?(?:\b|_)|social.security", re.IGNORECASE)
CONTEXT_CHARS = 40


def _ssns(text: str) -> Iterator[Finding]:
    """https://www.ssa.gov/employer/randomization.html: no area 000, 666 or 9xx, no group 00, no serial 0000."""
    for match in SSN.finditer(text):
        yield Finding("us_ssn", *match.span())
    if SSN_CONTEXT.search(text):
        for match in SSN_STATED.finditer(text):
            if SSN_CONTEXT.search(text[max(0, match.start() - CONTEXT_CHARS) : match.start()]):
                yield Finding("us_ssn", *match.span())


# -- IP addresses

OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
IP4 = re.compile(rf"(?<![\w.])(?<!\d-){OCTET}(?:\.{OCTET}){{3}}(?![\w]|\.\d)")
VERSION_BEFORE = re.compile(r"(?:\bv|\bver\.?|version|release|build|firmware|chapter|section|§)[ :=]*\Z", re.IGNORECASE)
VERSION_CHARS = 16
UNSPECIFIED = ".".join("0000")  # What servers bind to; nobody's address.
IP6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{3,39}(?:\.\d{1,3}){0,3}(?![\w:])")


def _ip4s(text: str) -> Iterator[Finding]:
    for match in IP4.finditer(text):
        if match[0] != UNSPECIFIED and not VERSION_BEFORE.search(
            text[max(0, match.start() - VERSION_CHARS) : match.start()]
        ):
            yield Finding("ip_address", *match.span())


def _ip6s(text: str) -> Iterator[Finding]:
    for match in IP6.finditer(text):
        candidate = match[0]
        if candidate.endswith(":") and not candidate.endswith("::"):
            candidate = candidate[:-1]  # A colon of the sentence.
        groups = [group for group in candidate.split(":") if group]
        # `a::b` and `::add` are scopes in a program, `::` is the unspecified address: not what identifies anybody.
        if candidate.count(":") < 2 or len(groups) < 2 or not any(character.isdigit() for character in candidate):
            continue
        try:
            IPv6Address(candidate)
        except AddressValueError:
            continue
        yield Finding("ip_address", match.start(), match.start() + len(candidate))


# -- phone numbers

EXTENSION = r"(?:\s?(?:x|ext\.?)\s?\d{1,6})?"
INTERNATIONAL = re.compile(rf"(?<![\w+])(?:\+|00)[1-9](?:[ ()./-]{{0,3}}\d){{6,14}}{EXTENSION}(?!\w|[.-]\d)")
NORTH_AMERICAN = re.compile(
    r"(?<![\w.+-])(?<!\d )(?:1[ .-]?)?(?:\([2-9]\d\d\)[ .-]?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}"
    rf"{EXTENSION}(?![\w]|[.-]\d)"
)
TRUNK = re.compile(
    r"(?<![\w.+/-])(?<!\d )(?:"
    r"0[1-9](?:[ .-]\d\d){4}"  # France
    r"|\(?0\d{2,4}\)?[ /-]\d{3,4}[ -]?\d{3,4}"  # United Kingdom, Germany, Australia, Japan
    r"|0\d{3,4}[ /-]\d{5,8}"
    r")(?![\w]|[.-]\d)"
)
IN_CONTEXT = re.compile(rf"(?<![\w.+-])\(?\d(?:[ ().-]{{0,2}}\d){{6,13}}{EXTENSION}(?!\w|[.-]\d)")
PHONE_CONTEXT = re.compile(
    r"\b(?:phone|tel|telephone|telefon|teléfono|téléphone|telefono|mobile|mobil|cell|fax|whatsapp|hotline|call|sms|text)"
    r"(?: (?:number|no|me|us|at|on|is|number is|me at|us at|me back at|us back at))?\b[\s.:#=\"']{0,4}(?:at |on |is )?\Z|(?:电话|手机|電話)[ :：]{0,3}\Z",
    re.IGNORECASE,
)
PHONE_CONTEXT_CHARS = 28
DATE = re.compile(r"\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{4}")


def _phones(text: str) -> Iterator[Finding]:
    for pattern in (INTERNATIONAL, NORTH_AMERICAN, TRUNK):
        for match in pattern.finditer(text):
            digits = _only_digits(match[0])
            if 8 <= len(digits) <= 21 and len(set(digits)) > 2:
                yield Finding("phone", *match.span())
    for match in IN_CONTEXT.finditer(text):
        before = text[max(0, match.start() - PHONE_CONTEXT_CHARS) : match.start()]
        if PHONE_CONTEXT.search(before) and not DATE.match(match[0]):
            yield Finding("phone", *match.span())


def _only_digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())
