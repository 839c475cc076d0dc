"""Personal data with a form that can be checked: e-mail, phone, social security number, card, IBAN, IP address.

Every pattern is followed by a validator, because a wrong finding changes what the model reads: a card passes Luhn, an IBAN
its country's length and mod 97, an address `ipaddress`.
"""

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from itertools import islice

from llmproxy.common.segments import Segment
from llmproxy.shield import encoded, glance, look, words
from llmproxy.shield.guards.base import Sighted
from llmproxy.shield.ids import NUMBERS
from llmproxy.shield.ids.form import always
from llmproxy.shield.look import Look
from llmproxy.shield.verdict import Finding, Verdict, found

PLACE_CHARS_BEFORE, PLACE_CHARS_AFTER = 6, 14
"""How far around a run of digits a pattern may look."""


OURS = Look.AT | Look.COLONS | Look.DOTS | Look.CODED | Look.NUMBER | Look.STATED | Look.WALLET


class Pii(Sighted):
    """Masks personal data in any text."""

    name = "pii"
    needs = OURS | Look.YEAR | Look.ENCODED  # A date of birth has a year.

    def may_hold(self, text: str) -> bool:
        return next(find(text, look.at(text)), None) is not None or encoded.may_hold(text, find)

    def inspect(self, segment: Segment) -> Verdict:
        text = segment.text
        return found([*find(text, look.at(text)), *encoded.found(text, find)])


class Page:
    """A text and what the patterns need to know of it, each computed once."""

    __slots__ = ("data", "lower", "shape", "text")

    def __init__(self, text: str) -> None:
        self.text, self.data = text, glance.plain(text)
        self.lower, self.shape = self.data.lower(), glance.shape(self.data)


def find(text: str, bits: int) -> Iterator[Finding]:
    """Each kind is looked for only where its bit says that it may be there."""
    is_birth = bits & Look.YEAR and bits & (Look.BIRTH | Look.BEYOND)
    if not (bits & OURS or is_birth):
        return
    page = Page(text)
    if bits & Look.AT:
        yield from _emails(text)
    if bits & Look.COLONS:
        yield from _colons(page)
    if bits & Look.DOTS:
        yield from _ip4s(page)
    if is_birth:
        yield from _births(page)
    if bits & Look.CODED:
        yield from _coded(page)
    if bits & Look.NUMBER:
        yield from _numbers(page)
    if bits & Look.STATED:
        yield from _stated(page)
    if bits & Look.WALLET:
        yield from _wallets(page)


RUN = re.compile(rb"0(?:[ ()./_-]{0,3}0){5,}")  # Of a shape: what begins with one byte is found five times as fast.
FOLLOWING = re.compile(r"[ ./_-]{1,3}(?=[\d(+])", re.ASCII)
FOLLOWING_CHARS_MAX = 48  # Of the number behind another one.
MOMENT = re.compile(rb"0000([-/.])00(?:\1)000?(?: 00)?|00\.0{3,9}")  # A date; seconds with their fraction.


def _numbers(page: Page) -> Iterator[Finding]:
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
            yield from _cards(text, first, last, start, end)
        if count >= 9 and (is_spaced or b"ssn" in before or b"social" in before):
            yield from _ssns(text, first, last, start, end)
        heads = HEAD.findall(before)
        numbers = list(_ids(page, before, heads, start, end, count))
        yield from (
            one for one in numbers if one.kind not in ONE_LINE
        )  # A checksum tells more than the form of a phone,
        if count >= 7:
            yield from _phones(text, first, last, start, end, before, heads, is_spaced=is_spaced)
        yield from (one for one in numbers if one.kind in ONE_LINE)  # and that more than a word.


def _each(
    pattern: re.Pattern[str], text: str, first: int, end: int, last: int, holds: Callable[[re.Match[str]], bool]
) -> Iterator[tuple[int, int]]:
    """Spans of the matches that begin before `end` and hold.

    One that does not hold hides none that begins inside it. What follows one that does is looked at as if that were not
    there: a list of numbers is not one long number, although what a digit stands before is usually part of something else.
    """
    at = first
    while (match := pattern.search(text, at, last)) is not None and match.start() < end:
        if not holds(match):
            at = match.start() + 1
            continue
        yield match.span()
        at = match.end()
        while (gap := FOLLOWING.match(text, at, last)) is not None:
            start = gap.end()
            following = pattern.match(text[start : min(start + FOLLOWING_CHARS_MAX, last)])
            if following is None or not holds(following):
                break
            at = start + following.end()
            yield start, at


def _ids(page: Page, before: bytes, heads: list[bytes], start: int, end: int, count: int) -> Iterator[Finding]:
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
        spans = _each(number.pattern, page.text, first, end, last, number.is_in)
        found = (Finding(number.kind, *span) for span in spans if span[1] > start)
        # Where only the words before it tell, they tell of one.
        yield from islice(found, 1 if number.holds is always or number.kind in ONE_LINE else None)


EVIDENT = tuple(number for number in NUMBERS if not number.words)
EVIDENT_DIGITS = tuple(number for number in EVIDENT if number.kind in ("us_itin", "in_aadhaar", "fr_nir"))
EVIDENT_DIGITS_MIN = min(number.digits_min for number in EVIDENT_DIGITS)
WORDS = tuple(sorted({word for number in NUMBERS for word in number.words}))
HEAD = re.compile(rb"(?<![a-z])(?=([a-z?][a-z?/][a-z?/#: ]))")
"""The first three characters of each word: a set of them is compared faster than sixty words are looked for."""

WORDS_BY_HEAD = {head: tuple(word for word in WORDS if word[:3] == head) for head in {word[:3] for word in WORDS}}
COMPOUNDED = frozenset((b"bank", b"acct"))
WHOLE = {
    word: re.compile(rb"(?<![a-z])" + word + rb"s?(?![a-z])")
    for word in WORDS
    if len(word) <= 4 and word.isalpha() and word not in COMPOUNDED
}
"""Abbreviations: a `sin` is in `since`. The longer words are parts of compounds in half of the languages."""


def _is_whole(word: bytes, before: bytes) -> bool:
    return word not in WHOLE or WHOLE[word].search(before) is not None


OTHER_ACCOUNT = re.compile(
    rb"(?<![a-z])(?:aws|amazon|azure|gcp|google|cloud|iam|github|gitlab|twitter|facebook|instagram|e?-?mail|user|service|storage|root|game|player|member)[\s_-]{1,2}account"
)
"""An account at none of whose kind there is money."""

ONE_LINE = frozenset({"bank_account", "passport", "driver_license", "medical_record", "license_plate"})
"""Kinds of which only the words before them tell: those must be on the same line, and of the same field of JSON."""

OTHER_FIELD = re.compile(rb"""\n|["'][a-z0-9_ -]{2,}["']\s{0,2}:""")


def _coded(page: Page) -> Iterator[Finding]:
    """What has its digits apart: IBANs by their first four, PAN, codice fiscale, German passports."""
    yield from _ibans(page)
    shape = page.shape
    for form in (b"aaaaa0000a", b"aaaaaa00a00a000a", b"a00a00a00"):
        for at in glance.places(shape, form):
            before = page.lower[max(0, at - CONTEXT_CHARS) : at]
            yield from _ids(page, before, HEAD.findall(before), at, at + len(form), 7)


STATED = tuple(number for number in NUMBERS if number.digits_min <= 1)
STATED_CHARS = 40


def _stated(page: Page) -> Iterator[Finding]:
    """What has neither digits enough nor a checksum: bank codes and number plates, directly behind their words."""
    for word in words.STATED:
        for at in glance.places(page.lower, word):
            for number in STATED:
                match = number.pattern.search(page.text, at + len(word), at + STATED_CHARS)
                if match is not None and any(
                    one in page.lower[max(0, at - 14) : match.start()] for one in number.words
                ):
                    yield Finding(number.kind, *match.span())


# -- dates of birth

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


def _births(page: Page) -> Iterator[Finding]:
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


MONTH_HEADS = frozenset(
    b"jan feb mar m?r apr mai may jun jul aug sep okt oct nov dez dec f?v avr jui ao? ago ene abr dic gen mag giu lug set ott mei maa de".split()
)
YEAR_CHARS_BEFORE = 14


def _is_in_a_date(page: Page, year: int) -> bool:
    """Most years of prose are not: a quick look at what stands around one."""
    if page.data[year + 4 : year + 5] in (b"-", b"/", b".") or page.data[year - 1 : year] in (b"-", b"/", b"."):
        return True
    words = page.lower[max(0, year - YEAR_CHARS_BEFORE) : year].replace(b",", b" ").split()
    return bool(words) and (words[-1][:3] in MONTH_HEADS or words[-1][:1].isdigit())


# -- wallets

WALLET_CHARS_MIN = 26
WALLET = re.compile(
    r"(?<![A-Za-z0-9])(?:0x[0-9a-fA-F]{40}|(?:bc1|tb1|ltc1)[02-9ac-hj-np-z]{23,71}|([13LMDT][1-9A-HJ-NP-Za-km-z]{25,34})|4[0-9AB][1-9A-HJ-NP-Za-km-z]{93})(?![A-Za-z0-9])"
)
WALLET_WORDS = (b"btc", b"bitcoin", b"wallet", b"crypto", b"litecoin", b"doge", b"tron", b"usdt", b"ltc")
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def _wallets(page: Page) -> Iterator[Finding]:
    """https://en.bitcoin.it/wiki/Base58Check_encoding, BIP 173, https://ethereum.org/en/developers/docs/accounts/"""
    for first, end in glance.long_words(page.data, WALLET_CHARS_MIN):
        for match in WALLET.finditer(page.text, first, end):
            if not match[1] or is_base58_checked(match[1]) or _is_said_a_wallet(page, match.start(), match[1]):
                yield Finding("crypto", *match.span())


def _is_said_a_wallet(page: Page, start: int, address: str) -> bool:
    before = page.lower[max(0, start - CONTEXT_CHARS) : start]
    return any(word in before for word in WALLET_WORDS) and any(one.isdecimal() for one in address[1:])


def is_base58_checked(address: str) -> bool:
    """The last four bytes are the beginning of the double SHA-256 of the others."""
    value = 0
    for character in address:
        value = value * 58 + BASE58.index(character)
    raw = value.to_bytes(25, "big") if value.bit_length() <= 200 else b""
    return bool(raw) and sha256(sha256(raw[:-4]).digest()).digest()[:4] == raw[-4:]


# -- what stands between colons, or dots: MAC and IPv6 addresses

MAC = re.compile(
    r"(?<![0-9A-Za-z:-])[0-9A-Fa-f]{2}(?:(:)|-)[0-9A-Fa-f]{2}(?:(?(1):|-)[0-9A-Fa-f]{2}){4}(?![0-9A-Za-z]|[:-][0-9A-Fa-f]{2}(?![0-9A-Za-z]))"
)
MAC_GROUP = re.compile(r"\.[0-9A-Fa-f]{4}\.")
MAC_DOTTED = re.compile(
    r"(?<![0-9A-Za-z.:_-])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![0-9A-Za-z:_-]|\.[0-9A-Za-z])"
)
"""As Cisco's devices write it."""

MAC_WORDS = re.compile(rb"(?<![a-z])(?:mac|hw-?addr|hardware|ether(?:net)?|arpa?|bia|vlan|lladdr)(?![a-z])")
FULL_IP6 = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){6}(?:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})(?![\w:])",
    re.ASCII,
)
IP6_CHARS_MAX = 45
GROUPS = re.compile(r"01[:-]?00[:.-]5e|33[:-]?33|01[:-]?80[:.-]c2", re.IGNORECASE)
"""What all of a network listens to: multicast of IPv4 (RFC 1112) and IPv6 (RFC 2464), and bridges (IEEE 802.1Q)."""


def _colons(page: Page) -> Iterator[Finding]:
    text = page.text
    if b"::" in page.data:
        yield from _ip6s(page)
    gaps = glance.gaps(page.data)
    if b":::::" in gaps:
        for match in MAC.finditer(text):
            if _is_mac(match[0]):
                yield Finding("mac_address", *match.span())
        for match in FULL_IP6.finditer(text):
            if _is_ip6(match[0]):
                yield Finding("ip_address", *match.span())
    if MAC_GROUP.search(text) is not None:
        for match in MAC_DOTTED.finditer(text):
            if _is_mac(match[0]) and (
                _is_mixed(match[0]) or MAC_WORDS.search(_before(page, match.start())) is not None
            ):
                yield Finding("mac_address", *match.span())


def _before(page: Page, start: int) -> bytes:
    return page.lower[max(0, start - CONTEXT_CHARS) : start]


def _is_mac(address: str) -> bool:
    """Neither all zeroes, nor broadcast, nor a group's."""
    return len(set(address.lower()) - set(":-.")) > 1 and GROUPS.match(address) is None


def _is_mixed(address: str) -> bool:
    """Neither digits alone, as a version or a number, nor letters alone, as words have them."""
    signs = address.replace(".", "")
    return not signs.isdigit() and not signs.isalpha()


# -- e-mail

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef"
"""Scripts that put no space between an address and the sentence around it: Thai, Lao, Burmese, Khmer, Chinese, Japanese, Korean."""

DOMAIN = re.compile(
    rf"@(?:[A-Za-z0-9][A-Za-z0-9-]{{0,62}}(?:\.[A-Za-z0-9][A-Za-z0-9-]{{0,62}}){{1,8}}(?![\w-]|\.[^\W_])"
    rf"|[A-Za-z0-9][A-Za-z0-9-]{{0,62}}(?:\.[A-Za-z0-9][A-Za-z0-9-]{{0,62}}){{0,7}}\.[A-Za-z]{{2,24}}(?=[{UNSPACED}])"
    r"|[^\W_](?:[\w-]{0,62})(?:\.[^\W_][\w-]{0,62}){1,8})"
)
SENTENCE = re.compile(rf".*[{UNSPACED}]{{4}}(?=[\x21-\x7e]+\Z)")
"""What stands before an address of ASCII letters without a space between them. Fewer letters may be a name that is part of it."""

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
    for domain in DOMAIN.finditer(text):
        host = domain[0][1:].rstrip("-_")
        suffix = host.rpartition(".")[2]
        if not _is_top_level(suffix) or (suffix.lower() in FILE_SUFFIXES and host[0].isdigit()):
            continue
        local = LOCAL.search(text[max(0, domain.start() - LOCAL_CHARS_MAX) : domain.start()])
        name = _local(local[0]) if local is not None else ""
        if not name or (name == "git" and text[domain.start() + 1 + len(host) :][:1] in (":", "/")):
            continue  # `git@host:owner/repository` is where a repository is.
        yield Finding("email", domain.start() - len(name), domain.start() + 1 + len(host))


def _local(name: str) -> str:
    """Without what stands before the address rather than in it: quotes, `key=`, dots."""
    name = SENTENCE.sub("", re.split(r"[=/|{}`'?&]", name)[-1])
    first = LOCAL_FIRST.search(name)
    return name[first.start() :] if first else ""


def _is_top_level(suffix: str) -> bool:
    return len(suffix) >= 2 and (suffix.isalpha() or suffix.lower().startswith("xn--"))


# -- cards

CARD = re.compile(
    r"\d(?<!\d\d)(?<!\d[ .-]\d)(?:"  # A digit first, and then what must not stand before it: the search is five times as fast.
    r"\d{3}[ ./-]{0,3}\d{4}[ ./-]{0,3}\d{4}(?:[ ./-]{0,3}\d{1,4}(?:[ ./-]?\d{1,3})?)?"
    r"|\d{3}[ ./-]{0,3}\d{6}[ ./-]{0,3}\d{4,5}"
    r"|(?:[ -]\d){12,18}"
    r")(?!\d)"
)
CARD_WHOLE = re.compile(r"\d(?<!\d\d)\d{11,18}(?!\d)")
"""In one piece, whatever stands around it."""

CARD_INSIDE = re.compile(r"\d(?<!\d\d)\d{3}([ -])(?:\d{4}\1\d{4}\1\d{4}|\d{6}\1\d{5})(?!\d)")
"""The usual spelling, also after other digits (`Order 12 4111 1111 1111 1111`)."""

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


def _cards(text: str, first: int, last: int, start: int, end: int) -> Iterator[Finding]:
    is_said, is_near = _is_said_a_card(text, start), CARD_NEAR.search(text, max(0, start - CONTEXT_CHARS), start)

    def holds(match: re.Match[str]) -> bool:
        digits = _only_digits(match[0])
        if ISSUERS.fullmatch(digits) is None:
            return is_near is not None and len(digits) in MADE_UP_DIGITS and is_luhn(digits)
        if len(digits) <= SHORT_DIGITS_MAX and is_near is None:
            return False
        return is_said or is_luhn(digits)

    for pattern in (CARD, CARD_WHOLE, CARD_INSIDE):
        for span in _each(pattern, text, first, end, last, holds):
            yield Finding("credit_card", *span)


CARD_WORDS = re.compile(
    r"(?:credit|debit)[ _-]?card|card (?:number|no\b|#)|for (?:this )?card:?\s\Z|kreditkarte|carte (?:bancaire|de cr)",
    re.IGNORECASE,
)
CARD_NEAR = re.compile(
    r"(?<![a-z])(?:(?:credit|debit|bank|kredit|debet|geld|giro|ec-?)?[ _-]?(?:cards?|kort|kart[aęeiyu]?|kaart|karten?)(?![a-z])|cart[aãe]o?s?(?![a-z])"
    r"|carte|tarjetas?|visa|master ?card|amex|american express|maestro|discover|diners|jcb|union ?pay|cc(?: ?(?:no|num|number|#))?(?![a-z])"
    r"|pan(?![a-z])|pay(?:ment|ing)?|paid|charged?|карт[аыоу]|κάρτα)|卡|カード|카드|بطاقة|כרטיס|कार्ड|บัตร",
    re.IGNORECASE,
)
"""A word for it in some forty languages. Together with a checksum, less is needed than for a number that fails it."""


def _is_said_a_card(text: str, start: int) -> bool:
    """A typing error in what the text itself calls a card is as telling."""
    return CARD_WORDS.search(text, max(0, start - CONTEXT_CHARS), start) is not None


DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def is_luhn(digits: str) -> bool:
    """The checksum of card numbers (ISO/IEC 7812)."""
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(DOUBLED[number] for number in numbers[1::2])) % 10 == 0 and len(set(digits)) > 1


# -- IBAN

IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d\d(?=[ -]?[A-Za-z0-9])")
IBAN_REST = re.compile(r"(?:[ -]?[A-Za-z0-9]){11,30}")
IBAN_CHARS_MAX = 34 * 2
IBAN_SAID = re.compile(r"[A-Z]{2}\d\d(?:[ -]?[A-Z0-9]){11,30}(?![A-Za-z0-9]|[ -][A-Z0-9])")
IBAN_SAID_CHARS = 16
"""What is called one and has its checksum is one, of a country too that has none yet."""

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


def _ibans(page: Page) -> Iterator[Finding]:
    text = page.text
    for at in glance.places(page.shape, b"aa00"):
        start = IBAN_START.match(text, at)
        if start is not None and b"iban" in page.lower[max(0, at - IBAN_SAID_CHARS) : at]:
            said = IBAN_SAID.match(text, at)
            if said is not None and is_iban(said[0]):
                yield Finding("iban", *said.span())
                continue
        length = IBAN_LENGTHS.get(start[0][:2].upper()) if start else None
        rest = IBAN_REST.match(text, at + 4, at + 4 + IBAN_CHARS_MAX) if length else None
        if length is None or rest is None:
            continue
        end = _after(rest[0], length - 4)
        if end and (end == len(rest[0]) or not is_ascii_alnum(rest[0][end])):
            stop = at + 4 + end
            if not is_ascii_alnum(text[stop : stop + 1]) and is_iban(text[at:stop]):
                yield Finding("iban", at, stop)


def is_ascii_alnum(character: str) -> bool:
    return character.isascii() and character.isalnum()


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

SSN = re.compile(
    r"[0-8](?<![\w-][0-8])(?<!\d\.[0-8])\d\d(?<!000)(?<!666)"
    r"(?:-(?!00)\d\d-| (?<!\d \d\d\d )(?!00)\d\d )(?!0000)\d{4}(?![\w]|-\d)",
    re.ASCII,
)
SSN_STATED = re.compile(r"(?<![\w-])\d{3}([ -]?)\d\d\1\d{4}(?![\w]|-\d)", re.ASCII)
"""What the text itself calls one, valid or not: a typing error is as telling, and 9xx is a taxpayer number (ITIN)."""

SSN_CONTEXT = re.compile(r"(?:\b|_)ssns?(?:\b|_)|social.security", re.IGNORECASE)
CONTEXT_CHARS = 40


def _ssns(text: str, first: int, last: int, start: int, end: int) -> Iterator[Finding]:
    """https://www.ssa.gov/employer/randomization.html: no area 000, 666 or 9xx, no group 00, no serial 0000."""
    for span in _each(SSN, text, first, end, last, always):
        yield Finding("us_ssn", *span)
    if SSN_CONTEXT.search(text, max(0, start - CONTEXT_CHARS), start):
        for match in SSN_STATED.finditer(text, first, last):
            if match.start() >= end or _is_said_a_phone(text, match.start()):
                continue
            if SSN_CONTEXT.search(text, max(0, match.start() - CONTEXT_CHARS), match.start()):
                yield Finding("us_ssn", *match.span())


# -- IP addresses

OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
IP4 = re.compile(rf"(?<![\w.])(?<!\d-){OCTET}(?:\.{OCTET}){{3}}(?![\w]|\.\d)", re.ASCII)
VERSION_BEFORE = re.compile(
    r"(?:\bv|\bver\.?|versions?|release|revision|build|firmware|driver|\bchapter|\bsection|\bclause|\barticle|\bparagraph|\bappendix|\btable|\bfigure|\bfig\.|§"
    r"|\b(?:kernel|linux|openssl|glibc|gcc|cuda|chrom(?:e|ium)|firefox|electron|android|ios|macos|php|python|java|jdk|sdk|framework))(?: (?:is|to|from|of|number|no\.?))?"
    r"[\"']?\(?[ :=]{0,3}[\"'^~<>]?\Z|[A-Za-z]-\Z|\w[=~]=\Z|\b(?-i:[A-Z])[A-Za-z]{2,}/\Z",
    re.IGNORECASE,
)
"""What makes four numbers a version or a clause: a word for it, software that no host is named after, or a name to which they are tied."""

HOST_BEFORE = re.compile(r"(?:ip|ipv4|addr|address|host|node|server)-\Z", re.IGNORECASE)
VERSION_CHARS = 20
NETWORK = re.compile(r"/(?:[12]?\d|3[0-2])(?!\d)")
IP6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{3,39}(?:\.\d{1,3}){0,3}(?![\w:])", re.ASCII)


SHAPED_IP4 = re.compile(rb"(?<![0a_.])0{1,3}(?:\.0{1,3}){3}")
"""Where one may be: nothing inside such a place can be the beginning of another."""


def _ip4s(page: Page) -> Iterator[Finding]:
    text = page.text
    for shaped in SHAPED_IP4.finditer(page.shape):
        match = IP4.match(text, shaped.start())
        if match is None:
            continue
        before = text[max(0, match.start() - VERSION_CHARS) : match.start()]
        if VERSION_BEFORE.search(before) is not None and HOST_BEFORE.search(before) is None:
            continue
        if not _is_nobodys(match[0], NETWORK.match(text, match.end())):
            yield Finding("ip_address", *match.span())


def _is_nobodys(address: str, network: re.Match[str] | None) -> bool:
    """The unspecified address and loopback, masks and broadcast (RFC 1122, 3.2.1.3), what routers talk among themselves on (RFC 5771), and what names a network (RFC 4632)."""
    value = int(IPv4Address(address))
    inverse = value ^ 0xFFFFFFFF
    if value >> 24 in (0, 127) or value >> 8 == 0xE00000 or (value >> 24 == 0xFF and inverse & (inverse + 1) == 0):
        return True
    return network is not None and int(network[0][1:]) < 32 and value & (0xFFFFFFFF >> int(network[0][1:])) == 0


def _ip6s(page: Page) -> Iterator[Finding]:
    """Those with a gap: `::` and what stands around it."""
    done = 0
    for at in glance.places(page.data, b"::"):
        if at < done:
            continue
        begin = max(at - IP6_CHARS_MAX, done)
        match = IP6.match(page.text, glance.begin_of(page.data, at, begin))
        if match is None:
            done = (
                at + 2
            )  # From where this run of signs begins no address follows: not to be looked for at its every gap.
            continue
        candidate = match[0]
        if candidate.endswith(":") and not candidate.endswith("::"):
            candidate = candidate[:-1]  # A colon of the sentence.
        groups = [group for group in candidate.split(":") if group]
        # `a::b` and `::add` are scopes in a program, `::` is the unspecified address: not what identifies anybody.
        if len(groups) < 2 or not any(character.isdigit() for character in candidate) or not _is_ip6(candidate):
            done = max(done, match.end())  # Another gap in the same run of signs makes it no address, either.
            continue
        yield Finding("ip_address", match.start(), match.start() + len(candidate))
        done = match.end()


PAIRS = re.compile(r"(?:[0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}")
"""Eight pairs are a device's EUI-64, a port's WWN or a part of a fingerprint: no address that is in use begins with them."""


def _is_ip6(candidate: str) -> bool:
    if PAIRS.fullmatch(candidate) is not None:
        return False
    try:
        IPv6Address(candidate)
    except AddressValueError:
        return False
    return True


# -- phone numbers

EXTENSION = r"(?:\s?(?:x|ext\.?|#)\s?\d{1,6})?"
END_OF_PHONE = r"(?!\w|[.-]\d)"
INTERNATIONAL = re.compile(
    rf"(?<![\w+])(?:\+ ?\(?|(?<!-)00|\(\+(?=\d{{1,3}}\)))[1-9](?:[ ()./-]{{0,3}}\d){{6,14}}{EXTENSION}{END_OF_PHONE}",
    re.ASCII,
)
NORTH_AMERICAN = re.compile(  # And Russian: the same groups after an 8.
    r"(?<![\w.+-])(?<!\d )(?:[18][ .-]?)?(?:\([2-9]\d\d\)[ .-]?|[2-9]\d\d[ .-])[2-9]\d\d[ .-](?:\d{4}|\d\d[ -]\d\d)"
    rf"{EXTENSION}{END_OF_PHONE}",
    re.ASCII,
)
TRUNK = re.compile(
    r"(?<![\w.+/-])(?<!\d )(?:"
    r"0[1-9](?:[ .-]\d\d){4}"  # France
    r"|\(?0[1-9]\d{1,3}\)?[ /-]\d{3,4}[ -]?\d{3,4}"  # United Kingdom, Germany, Australia, Japan
    r"|0[1-9]\d{2,3}[ /-]\d{5,8}"
    r"|0[1-9]\d{0,3}[ /.-]{1,2}\d{2,4}([ .-])\d{2,4}(?:\1\d{2,4}){0,2}"  # Area, then groups with one kind of sign between.
    rf"){END_OF_PHONE}",
    re.ASCII,
)
AREA = re.compile(
    r"(?<![\w.+-])\((?!19\d\d\)|20\d\d\))0?[1-9]\d{1,4}\)[ /-]{0,2}(?!\d{4}[./-]\d\d?[./-])\d{2,6}(?:[ -]?\d{2,6}){0,3}"
    rf"{EXTENSION}{END_OF_PHONE}",
    re.ASCII,
)
"""An area in brackets is how people write telephone numbers, and nothing else that is not a year."""

IN_CONTEXT = re.compile(rf"(?<![\w.+-])\(?\d(?:[ ()./-]{{0,2}}\d){{6,13}}{EXTENSION}{END_OF_PHONE}", re.ASCII)
PHONE_SAID = re.compile(
    r"(?:(?<![^\W_])(?:(?:tele)?phone|tel|tele?foon(?:nummer)?|telefon(?:o|nummer|nr|nummeret)?|telefone|handy(?:nummer)?|gsm|mobil(?:nummer|telefon|numret)?|m[oó]vil|num[eé]ro|desk|office|tel[eé]fono|t[eé]l[eé]phone|mobile?|mobiel|cell(?:ulare|phone|ular)?"
    r"|celular|portable|kom[oó]rka|rufnummer|numer telefonu|puhelinnumero|fax|whatsapp|hotline|helpline|(?:contact|kontakt)(?=:| (?:number|nr|no|me|us|him|her|them|at|on))|call|ring|dial|reach(?= (?:me|us|him|her|them|at|on)\b)|sms|text(?=\s)|puhelin|telefonszám|điện thoại|sđt"
    r"|телефону?|тел|моб(?:ильный)?|звоните|τηλ(?:έφωνο)?|κινητό)s?\d?"
    r"(?: (?:number|nr|no|num|me|us|him|her|them|at|on|is|number is|(?:me |us |him |her |them )?(?:back )?(?:at|on)))?(?![^\W_])[\s.:#=\"']{0,4}"
    r"(?:at |on |is |est le |est |ist |es |è |é |to |lautet |jest |er |är |on )?"
    r"|(?:电话|手机|联系方式|電話番号|電話|携帯|手機|전화(?:번호)?|휴대폰|연락처|טלפון|נייד|هاتف|جوال|موبايل|โทร(?:ศัพท์)?|เบอร์|फ़ोन|फोन|मोबाइल)[號号码碼是はは은는이:：为為\s]{0,5})\Z",
    re.IGNORECASE,
)
PHONE_HEADS = frozenset(
    b"pho tel mob cel fax wha hot hel cal sms tex num m?v mov t?l des off han cid gsm por kom ruf con kon rin dia rea puh s?t".split()
) | {b"??" + after for after in (b"?", b":", b" ")}  # The last three: words in other scripts.
PHONE_CONTEXT_CHARS = 28
PHONE_DIGITS_MIN, NATIONAL_DIGITS_MIN = 8, 9  # Shorter ones need a word.
DIALLED_DIGITS_MAX = 15  # `00`, and what nearly all countries have behind it, in one piece.
NO_PHONE_CHARS = 12
NO_PHONE = re.compile(
    r"(?<![a-z])(?:sku|isbn(?:-?1[03])?|issn|ean|gtin|upc|order|invoice|ticket|tracking|serial|model|article|item|part|row|batch|lot|patent|doi|oid|case|bestell\w{0,8}|artikel\w{0,4}"
    r"|rechnung\w{0,6}|facture|commande|pedido|factura)(?: ?(?:no|nr|num(?:ber)?|id|code)\b\.?)?[\s:#=\"'.°º-]{1,4}\+?\(?\Z",
    re.IGNORECASE,
)
"""What says that the groups of digits behind it are something else."""

DATE = re.compile(r"\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{4}")


def _phones(
    text: str, first: int, last: int, start: int, end: int, before: bytes, heads: list[bytes], *, is_spaced: bool
) -> Iterator[Finding]:
    patterns = []
    if "+" in text[first:start] or (text.startswith("00", start) and (is_spaced or end - start <= DIALLED_DIGITS_MAX)):
        patterns.append(INTERNATIONAL)
    if is_spaced:
        patterns.append(NORTH_AMERICAN)
        if text[start] == "0":
            patterns.append(TRUNK)
        if text[start - 1 : start] == "(":
            patterns.append(AREA)
    if patterns and NO_PHONE.search(text, max(0, first - NO_PHONE_CHARS), start) is None:
        for pattern in patterns:
            holds = HOLDS.get(pattern, _is_a_national_phone)
            for span in _each(pattern, text, first, end, last, holds):
                yield Finding("phone", *span)
    if b"phone" in before or not PHONE_HEADS.isdisjoint(heads):
        for match in IN_CONTEXT.finditer(text, first, last):
            if match.start() >= end:
                break
            if (
                len(set(_only_digits(match[0]))) > 2
                and not DATE.match(match[0])
                and _is_said_a_phone(text, match.start())
            ):
                yield Finding("phone", *match.span())


def _is_said_a_phone(text: str, start: int) -> bool:
    return PHONE_SAID.search(text[max(0, start - PHONE_CONTEXT_CHARS) : start]) is not None


DIALLED = re.compile(r"00[ ()./-]{0,3}(\d{1,3})(?!\d)")
COUNTRY = re.compile(
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|21[1-368]|2[2-69]\d|3[578]\d|42[013]|5[09]\d|6[789]\d|80[08]|8[578]\d|9[679]\d"
)
"""ITU-T E.164 (Annex to the Operational Bulletin no. 1114); where a block of ten is partly assigned, all of it."""


def _is_an_international_phone(match: re.Match[str]) -> bool:
    """What begins with `00` is as often an id that is filled up with zeros: its first group is a country's, if it is a number."""
    dialled = DIALLED.match(match[0])
    return _is_a_phone(match) and (dialled is None or COUNTRY.fullmatch(dialled[1]) is not None)


def _is_a_national_phone(match: re.Match[str]) -> bool:
    return _is_a_phone(match) and len(_only_digits(match[0])) >= NATIONAL_DIGITS_MIN


def _is_a_phone(match: re.Match[str]) -> bool:
    digits = _only_digits(match[0])
    return PHONE_DIGITS_MIN <= len(digits) <= 21 and len(set(digits)) > 2 and DATE.match(match[0]) is None


HOLDS = {INTERNATIONAL: _is_an_international_phone, NORTH_AMERICAN: _is_a_phone}


def _only_digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())
