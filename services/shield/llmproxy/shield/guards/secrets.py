"""Credentials that somebody pasted: vendor keys by their documented form, private keys, connection strings, assignments.

Every rule hangs on something rare: a vendor's prefix, a word like `password`, `://`. The text is searched for those at
memory speed, and a pattern is tried only there. That is what makes a clean text cheap and every rule linear.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable, Iterator

from llmproxy.common import keyring
from llmproxy.common.segments import Segment
from llmproxy.shield import encoded, glance, look, passwords
from llmproxy.shield.drawn import CAMEL_BYTES, DIGITS_MIN, TURNS_MIN, entropy_bits, is_drawn, says_where
from llmproxy.shield.guards.base import Sighted
from llmproxy.shield.look import Look
from llmproxy.shield.vendors import VENDORS, Vendor
from llmproxy.shield.verdict import Finding, Verdict, found
from llmproxy.shield.words import NAMES, VENDOR_NAMES

WORD_CHARS_MIN = 16
"""Every vendor key and every drawn token has this many characters without a space: few words of prose have them."""

OURS = Look.VENDOR | Look.ASSIGNED | Look.BASIC | Look.URL | Look.PRIVATE | Look.PASSWORD | Look.PASSWORD_BEYOND


class Secrets(Sighted):
    """Masks credentials in any text. Kinds are `secret.<rule>`."""

    name = "secrets"
    needs = OURS | Look.ENCODED

    def may_hold(self, text: str) -> bool:
        return next(find(text, look.at(text)), None) is not None or encoded.may_hold(text, find)

    def inspect(self, segment: Segment) -> Verdict:
        text = segment.text
        return found([*find(text, look.at(text)), *encoded.found(text, find)])


def find(text: str, bits: int) -> Iterator[Finding]:
    """Each rule is tried only where its bit says that it may hold."""
    if not bits & OURS:
        return
    data = glance.plain(text)
    lower = data.lower()
    if bits & (Look.VENDOR | Look.ASSIGNED | Look.BASIC):
        cased, words = [], []
        for start, end in glance.long_words(data, WORD_CHARS_MIN):
            word = data[start:end]
            if _may_be_drawn(word):
                words.append((start, end))
            elif not word.islower():  # One key in twenty of sixteen letters and digits has no digit.
                cased.append((start, end))
        if bits & Look.VENDOR:
            yield from _vendor_keys(text, data, words + cased)
        if bits & Look.ASSIGNED:
            yield from _assigned(text, lower, words)
        if bits & Look.BASIC and words:
            yield from _basic(text, lower)
    if bits & Look.URL and bits & Look.AT:
        yield from _urls(text, data)
    if bits & Look.PRIVATE:
        yield from _private_keys(text, data)
    if bits & Look.PASSWORD:
        yield from (Finding("secret.password", *span) for span in passwords.find(text, lower))
    if bits & Look.PASSWORD_BEYOND:
        yield from (Finding("secret.password", *span) for span in passwords.find_beyond(text, lower))


RUNS = re.compile(rb"[A-Za-z0-9]{8,}")
ALTERNATING = re.compile(rb"[A-Za-z]\d[A-Za-z]\d")


def _may_be_drawn(word: bytes) -> bool:
    """Letters and digits mixed, or many changes of case: no other word holds a key."""
    for run in RUNS.findall(word):
        if run.isupper() and len(run) >= WORD_CHARS_MIN:  # An AWS key in fifty has no digit.
            return True
        if not run.isalpha() and not (run.isdigit() and len(run) < DIGITS_MIN):
            return True
    if ALTERNATING.search(word) is not None:
        return True
    return not word.islower() and len(CAMEL_BYTES.findall(word)) >= TURNS_MIN


# -- checks


def _is_key(vendor: Vendor, key: str) -> bool:
    """Not a word of an example such as `sk-xxxxxxxxxxxxxxxxxxxxxxxx`.

    A well-formed token with a wrong checksum is still masked when it looks random: no vendor promises the checksum for
    ever, and to leave a real key in costs more than to mask a false one. Our own key is known by it alone.
    """
    if vendor.name == "llmproxy":
        return keyring.is_well_formed(key)
    return entropy_bits(key) >= vendor.entropy_min


# -- vendor keys


def _vendor_keys(text: str, data: bytes, words: list[tuple[int, int]]) -> Iterator[Finding]:
    for first, end in words:
        done = first
        for begin in BEGINS.finditer(data, first, end):
            start = begin.start()
            for vendor in BY_HEAD.get(data[start : start + HEAD_CHARS], ()) if start >= done else ():
                match = vendor.pattern.match(text, start) if data.startswith(vendor.literals, start) else None
                if match is not None and _is_key(vendor, match[match.lastindex or 0]):
                    yield Finding(f"secret.{vendor.name}", *match.span(match.lastindex or 0))
                    done = match.end()
                    break
    said = b" ".join([data[first:end] for first, end in words])
    yield from _glued(text, data, said)
    for vendor in INSIDE:
        for literal in vendor.literals:
            if literal in said or (vendor.in_prose and literal in data):
                yield from _around(vendor, literal, text, data)


def _glued(text: str, data: bytes, said: bytes) -> Iterator[Finding]:
    """Directly behind a letter or a digit: `KEYghp_...`."""
    for literal, vendor in _told(said):
        for start in glance.places(data, literal):
            if data[start - 1 : start].isalnum() and b"%" not in data[max(0, start - ESCAPE_CHARS) : start]:
                match = vendor.pattern.match(text[start : start + vendor.chars_max])
                if match is not None and _is_key(vendor, match[0]):
                    yield Finding(f"secret.{vendor.name}", start, start + match.end())


def _told(said: bytes) -> Iterable[tuple[bytes, Vendor]]:
    """The telling literals that stand in it: each ends with a sign, of which there are few."""
    ends = [one.end() for one in SIGNS.finditer(said)]
    there = {said[end - chars : end] for end in ends for chars in TELLING_CHARS if end >= chars}
    return [told for told in TELLING if told[0] in there] if not there.isdisjoint(TELLING_LITERALS) else ()


def _around(vendor: Vendor, literal: bytes, text: str, data: bytes) -> Iterator[Finding]:
    """A key whose telling part is not its beginning."""
    done = 0
    for at in glance.places(data, literal):
        if at >= done:
            match = vendor.pattern.search(text, max(at - vendor.before, done), at + vendor.chars_max)
            if (
                match is None or match.start() > at
            ):  # One that begins behind it may be cut off here, and has a literal of its own.
                continue
            if _is_key(vendor, match[match.lastindex or 0]):
                yield Finding(f"secret.{vendor.name}", *match.span(match.lastindex or 0))
                done = match.end()


HEAD_CHARS = 2
BEGINS = re.compile(rb"(?<![A-Za-z0-9])[A-Za-z0-9]")
ESCAPE_CHARS = 5  # `%2520` ends a word, too: what is behind it is found where escapes are read (encoded.py).
TELLING = tuple((literal, vendor) for vendor in VENDORS for literal in vendor.telling)
TELLING_LITERALS = frozenset(literal for literal, _ in TELLING)
TELLING_CHARS = sorted({len(literal) for literal in TELLING_LITERALS})
SIGNS = re.compile(rb"[_-]")
INSIDE = tuple(vendor for vendor in VENDORS if vendor.before)


def _by_head() -> dict[bytes, tuple[Vendor, ...]]:
    heads: dict[bytes, tuple[Vendor, ...]] = {}
    for vendor in VENDORS:
        for head in {literal[:HEAD_CHARS] for literal in vendor.literals if not vendor.before}:
            heads[head] = (*heads.get(head, ()), vendor)
    return heads


BY_HEAD = _by_head()
"""The first two characters of a key -> whose it may be."""


# -- what somebody assigns, or says that it is one

VENDOR_NAMED_CHARS_MIN = 24
NAME_CHARS = 48  # How far before a value its name may begin.
OPENED = r"\\{0,3}[\"'`]"  # A quote, of a text within a text too.
ASSIGNED = re.compile(
    r"(?:secret|token|passw(?:or)?d|passwd|pwd|api|key|private|access|credentials?|auth(?:orization)?|bearer|session(?!\s{0,3}:(?!=)|\s)|sessid|cookie"
    r"|(?<![a-z\"])sid|(?<=[ _-])pat(?![a-z])|(?-i:(?<=[a-z])Pat(?![a-z])))(?![a-z]{3})[\w-]{0,12}?(?:\\{0,3}[\"'`\])}*]){0,3}"
    r"(?:\s{0,3}(?:=>|->|→|:=|==?|[:：])\s{0,3}"
    r"|:\s?[&'A-Za-z][\w |?]{0,16}\s?=\s?"  # `KEY: str =`
    rf"|(?:,\s?|\s{{1,40}})(?:{OPENED})?value(?:{OPENED})?\s?[:=]\s?"  # `{{"name": "KEY", "value": ...}}`, `name: KEY` above `value:`
    rf"|\s--(?:body|value)[ =]|(?<!oauth)(?<!api)(?<!session)(?<!cookie)\((?={OPENED})|>(?=[^<>\s]{{16,512}}</)|</t[dh]>\s{{0,20}}<t[dh]>| \(|\s?\|{{1,2}}\s?"
    r"|,\s?|\s(?:is|was|to|ist|lautet|es|est|è|é)\s:?\s?|\s?(?:是|为|為|は|는|은)\s?|[\s-]|(?<!api)(?<!apis)(?<!keys)\.)"
    rf"(?:{OPENED})?(?:(?:bearer|basic|token|ssws|api-?key|bot|splunk|geniekey)\s)?"
    rf"(?:{OPENED})?(?=([^\s\"'`,;<>(){{}}\[\]|\\]{{16,512}}))",
    re.IGNORECASE,
)
"""`Session: ...` in a log or a sentence says which session; `session=`, `session_id`, `"session"` is how a program holds the credential."""

WORDS = re.compile(rb"[a-z][a-z0-9]{3,15}")
VENDOR_NAMED = re.compile(
    r"(?<![A-Za-z])([A-Za-z][A-Za-z0-9]{3,15})[\s\"'=:_.-]{1,4}(?:[A-Za-z_]{0,12}[\s\"'=:-]{1,4})?"
    r"(?=([^\s\"'`,;<>(){}\[\]|\\/#]{24,200}))"
)
"""A vendor's name directly before a token is a name for it."""

NOT_NAMED = re.compile(
    r"(?:hash|sha\d*|md5|digest|checksum|commit|etag|integrity|public[\s_-]?key(?:[\s_-]?token)?|pub[\s_-]?key|tokens?[\s_-]?(?:count|type|limit)"
    r"|(?<![a-z])(?:cache|primary|foreign|sort|partition|object|s3|redis|correlation|dedup\w{0,12}|routing|lookup|index|row|shard|blob|bucket)[\s_-]?key(?: session)?|key[\s_-]?(?:id|name)|idempotency[\s_-]?key|request[\s_-]?id"
    r"|fingerprint|author|trace|site[\s_-]?key|publishable[\s_-]?key|(?:gpg|pgp)\S{0,4} key)[\"'\])]{0,2}[\s:=-]{1,8}[\"'`]?\Z",
    re.IGNORECASE,
)


PUBLIC = re.compile(r"pk\.eyJ|\S*/[^/\s]{1,200}\.[A-Za-z]{2,4}\Z")
"""A token of Mapbox for browsers; the path of a file."""


def _assigned(text: str, lower: bytes, words: list[tuple[int, int]]) -> Iterator[Finding]:
    for first, end in _parameters(lower, words):
        begin = max(0, first - NAME_CHARS)
        window = lower[begin : min(end, first + NAME_CHARS)]
        span = _first_value(_named(window, text, begin), text, begin, first)
        if (
            span is None
            and end - first >= VENDOR_NAMED_CHARS_MIN
            and not VENDOR_NAMES.isdisjoint(WORDS.findall(window))
        ):
            named = (one for one in VENDOR_NAMED.finditer(text, begin, end) if one[1].lower().encode() in VENDOR_NAMES)
            span = _first_value(named, text, begin, first)
        if span is not None:
            yield Finding("secret.assigned", *span)


def _parameters(lower: bytes, words: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The words, and of one that is a query each part that has a name of its own."""
    for first, end in words:
        if lower.find(b"&", first, end) < 0:
            yield first, end
        else:
            for part in PARAMETER.finditer(lower, first, end):
                yield part.span()


def _named(window: bytes, text: str, begin: int) -> Iterator[re.Match[str]]:
    for name in NAMES:
        at = window.find(name)
        while at >= 0:
            match = ASSIGNED.match(text, begin + at)
            if match is not None:
                yield match
            at = window.find(name, at + len(name))


def _first_value(matches: Iterable[re.Match[str]], text: str, begin: int, first: int) -> tuple[int, int] | None:
    """The first match whose value reaches into the word at `first`, and was drawn by a machine."""
    for match in matches:
        start, stop = _trim(text, *match.span(match.lastindex or 0))
        if (
            stop > first
            and stop - start >= WORD_CHARS_MIN
            and text[stop : stop + 1] != "("
            and NOT_NAMED.search(text, max(begin, start - NAME_CHARS), start) is None
            and PUBLIC.match(text, start, stop) is None
            and is_drawn(text[start:stop])
        ):
            return start, stop
    return None


PARAMETER = re.compile(rb"[^&]{%d,}" % WORD_CHARS_MIN)
STILL_NAME = re.compile(r"[A-Za-z_]{1,24}[=:]{1,2}|(?:key|token|secret)[-_=:]")


def _trim(text: str, start: int, stop: int) -> tuple[int, int]:
    """Without a name that is still before the value (`key-`, `token=`), the next parameter, and the end of the sentence."""
    inner = STILL_NAME.match(text, start, stop)
    if inner is not None and stop - inner.end() >= WORD_CHARS_MIN:
        start = inner.end()
    behind = passwords.NEXT_PARAMETER.search(text, start, stop)
    if behind is not None:
        stop = behind.start()
    while stop > start and text[stop - 1] in ".:?!":
        stop -= 1
    return start, stop


# -- connection strings

URL = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]{1,30})://[^\s:/@\"'<>`]{0,100}:([^\s/\"'<>`]{1,200})@[^\s@\"'<>`?#,;)\]}]{1,253}",
    re.ASCII,
)
SCHEME_CHARS = 32
URL_TOKEN = re.compile(
    r"https?://([A-Za-z0-9_-]{20,128})@(?!o\d{1,12}\.ingest\.)[A-Za-z0-9][^\s@\"'<>`?#,;)\]}]{1,252}", re.ASCII
)
"""A token as the user, without a password: how git is told one. Sentry's, for the browsers of everybody, is none:
https://docs.sentry.io/concepts/key-terms/dsn-explainer/"""


def _urls(text: str, data: bytes) -> Iterator[Finding]:
    """The whole of it, because user, host and database of a connection string are nobody's business either."""
    done = 0
    for at in glance.places(data, b"://"):
        start = at
        while start > max(done, at - SCHEME_CHARS) and (data[start - 1 : start].isalnum() or data[start - 1] in b"+.-"):
            start -= 1
        match = URL.match(text, start) if at >= done else None
        if match is not None and len(match[2]) >= 3 and not _is_url_stand_in(match[2]):
            end = match.end() - (match[0][-1] in ".:!")
            yield Finding("secret.url_password", start, end)
            done = end
        elif at >= done and (token := URL_TOKEN.match(text, start)) is not None and is_drawn(token[1]):
            yield Finding("secret.url_password", *token.span())
            done = token.end()


def _is_url_stand_in(password: str) -> bool:
    return says_where(password) or password.lower() in ("password", "pass", "pwd", "secret", "token")


# -- private keys

PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[^-]|-(?!----END)){16,20000}(?:-----END (?:[A-Z0-9]{1,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----)?"
)
BEGIN_CHARS = 64


def _private_keys(text: str, data: bytes) -> Iterator[Finding]:
    """PKCS#1, PKCS#8 and SEC 1 (RFC 7468), OpenSSH, PGP, PuTTY."""
    done = 0
    for at in glance.places(data, b"PRIVATE"):
        begin = data.rfind(b"-----BEGIN ", max(done, at - BEGIN_CHARS), at)
        if begin >= 0:
            match = PRIVATE_KEY.match(text, begin)
            if match is not None:
                yield Finding("secret.private_key", *match.span())
                done = match.end()


# -- basic authentication

BASIC = re.compile(r"basic\s{1,3}([A-Za-z0-9+/_-]{14,400}={0,2})", re.IGNORECASE | re.ASCII)


def _basic(text: str, lower: bytes) -> Iterator[Finding]:
    """RFC 7617: base64 of `user:password`."""
    for at in glance.places(lower, b"basic"):
        match = BASIC.match(text, at)
        if match is not None and _is_user_and_password(match[1]):
            yield Finding("secret.basic_auth", *match.span(1))


def _is_user_and_password(encoded: str) -> bool:
    try:
        decoded = b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (NotBase64, ValueError):
        return False
    return b":" in decoded and all(32 <= byte < 127 for byte in decoded)
