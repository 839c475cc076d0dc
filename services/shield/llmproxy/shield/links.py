"""What makes an address suspicious, in requests and answers alike: where it leads, and what it carries there."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from html import unescape
from importlib import resources
from ipaddress import IPv6Address, ip_address
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from llmproxy.common.addresses import METADATA_NAMES, NEVER, inside
from llmproxy.common.answers import Links

URL_CHARS_MAX = 2_048
SCRIPTS = ("javascript:", "vbscript:", "data:", "file:")
SCHEME = re.compile(r"[\x00-\x20]*([a-zA-Z][a-zA-Z0-9+.\t\r\n-]{0,30}):")
ADDRESS = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]{0,30}:)?[/\\]{2}([^/\\?#\s]*)([^?#\s]*)(\?[^#\s]*)?", re.ASCII)
SPECIAL = re.compile(r"(https?|ftp|wss?):[/\\]*(?=[^/\\])", re.IGNORECASE)
"""Browsers take any number of slashes for two, and none, where the scheme is one of these: WHATWG URL, section 4.4."""

UNSEEN = re.compile(r"[\t\r\n]")  # What browsers leave out of an address.
FORBIDDEN = re.compile(r"[/?#@\\]|:(?![^\[]*\])")  # In a host, once its escapes and wide letters are undone.
DOTS = str.maketrans("\u3002\uff0e\uff61", "...")
NUMERIC_HOST = re.compile(r"(?:0x[0-9a-f]+|\d+)(?:\.(?:0x[0-9a-f]+|\d+)){0,3}", re.IGNORECASE)
"""As browsers read them: one number, octal and hexadecimal parts."""

LINK_PAYLOAD_CHARS_MIN, IMAGE_PAYLOAD_CHARS_MIN = 65, 40
"""Of one part of a path or a query. A link may carry a SHA-256; an image is fetched unasked, so it may carry less."""

PAYLOAD = re.compile(rf"[A-Za-z0-9+_=-]{{{IMAGE_PAYLOAD_CHARS_MIN},}}")
LABEL_PAYLOAD = re.compile(r"[a-z0-9-]{32,}", re.IGNORECASE)  # Names are looked up before anything is fetched.
ESCAPED_SIGN = re.compile(r"\\([!-/:-@\[-`{-~])")
"""Markdown leaves the backslash out; whoever does not, reads the other spelling."""

CARRIED = re.compile(r"\[[A-Z_]{1,32}_[0-9a-f]{16}")
"""What stands for a masked value. The value comes back behind all guards, wherever its placeholder is: in an address it would leave."""

HYPHENATED = re.compile(r"(?:[A-Za-z]{1,20}|\d{1,10})(?:[-_](?:[A-Za-z]{1,20}|\d{1,10}))*")
"""A title in an address (`how-to-build-a-gateway-for-language-models`) is none."""

ESCAPES = re.compile(r"(?:%[0-9a-fA-F]{2}){8,}")
SCRIPT_OF = (
    ("latin", re.compile("[a-zA-Z\u00c0-\u024f]")),
    ("greek", re.compile("[\u0370-\u03ff]")),
    ("cyrillic", re.compile("[\u0400-\u052f]")),
    ("armenian", re.compile("[\u0530-\u058f]")),
)
"""Alphabets with letters that look alike."""


class Address(Struct, frozen=True):
    """An address taken apart as a browser would."""

    scheme: str
    host: str = ""
    user: str = ""
    path: str = ""
    query: str = ""


def parsed(url: str) -> Address | None:
    """None when it leads nowhere else: a fragment, a path of the page it is shown on."""
    scheme = SCHEME.match(url)
    named = UNSEEN.sub("", scheme[1]).lower() if scheme is not None else ""
    place = ADDRESS.match(SPECIAL.sub(r"\1://", UNSEEN.sub("", url).strip(), count=1))
    if place is None:
        return Address(named) if named else None
    user, _, host = place[1].rpartition("@")
    if not host.startswith("["):
        head, colon, port = host.rpartition(":")
        host = head if colon and (port == "" or port.isdecimal()) else host
    return Address(named or "https", spelled(host), user, place[2] or "", (place[3] or "")[1:])


def spelled(host: str) -> str:
    """A host in the one spelling that all others come to: escapes and wide letters undone, no last dot, small letters."""
    if not host.isascii() or "%" in host:
        host = unicodedata.normalize("NFKC", _unquoted(host)).translate(DOTS)
        host = "".join(sign for sign in host if unicodedata.category(sign) != "Cf")
    return host.rstrip(".").lower()


def canonical(host: str) -> str:
    """As `spelled`, with names in their ASCII form and numbers as addresses: what two spellings of one host have in common."""
    host = spelled(host)
    if host.startswith("["):
        try:
            number = IPv6Address(host[1:-1].partition("%")[0])
        except ValueError:
            return host
        return str(number.ipv4_mapped or f"[{number}]")
    if NUMERIC_HOST.fullmatch(host) is not None:
        return _number(host)
    if host.isascii():
        return host
    return ".".join(label if label.isascii() else _punycode(label) for label in host.split("."))


def is_plain(url: str) -> bool:
    """Whether every program reads the same host in it: signs that end a host, made of other signs, are read by some and not by others."""
    address = parsed(url)
    if address is None or FORBIDDEN.search(address.host):
        return False
    behind = url.partition("\\")[2]
    return "@" not in behind.partition("?")[0]


def _punycode(label: str) -> str:
    return "xn--" + unicodedata.normalize("NFC", label).encode("punycode", "replace").decode()


def _number(host: str) -> str:
    """As browsers and `inet_aton` read it: the last part fills what is left of four bytes."""
    try:
        *first, last = [_part(part) for part in host.split(".")]
    except ValueError:
        return host
    rest = 4 - len(first)
    if any(part > 255 for part in first) or last >= 256**rest:
        return host
    return ".".join(map(str, (*first, *last.to_bytes(rest, "big"))))


def _part(written: str) -> int:
    if written[:2].lower() == "0x":
        return int(written, 16)
    return int(written, 8 if len(written) > 1 and written[0] == "0" else 10)


def link_reason(url: str, links: Links, is_known: Callable[[str], bool]) -> str:
    """Why a link is suspicious; "" when it is not. `is_known`: whether the request itself names a host."""
    return next((found for one in spellings(url) if (found := _link_reason(one, links, is_known))), "")


def spellings(url: str) -> tuple[str, ...]:
    """As it is written, and as Markdown and HTML read it."""
    read = _undone(url) if "\\" in url or "&" in url else url
    return (url, read) if read != url else (url,)


def _undone(written: str) -> str:
    return ESCAPED_SIGN.sub(r"\1", unescape(written))


def _link_reason(url: str, links: Links, is_known: Callable[[str], bool]) -> str:
    address = parsed(url)
    if address is None:
        return ""
    if f"{address.scheme}:" in SCRIPTS:
        return "" if url.lower().lstrip().startswith("data:image/") else "script"
    if not address.host:
        return ""
    return _of_host(address, links) or _unless_known(address, links, is_known, _carrying(url, _of_link))


def image_reason(url: str, links: Links, is_known: Callable[[str], bool]) -> str:
    """Why an image, which is fetched unasked, is suspicious: anything beside a plain path may carry something away."""
    return next((found for one in spellings(url) if (found := _image_reason(one, links, is_known))), "")


def _image_reason(url: str, links: Links, is_known: Callable[[str], bool]) -> str:
    address = parsed(url)
    if address is None or not address.host:
        return "script" if address is not None and address.scheme in ("javascript", "vbscript") else ""
    return _of_host(address, links) or _unless_known(address, links, is_known, _carrying(url, _of_image))


def _carrying(url: str, reason: Callable[[Address], str]) -> Callable[[Address], str]:
    return (lambda _: "payload") if CARRIED.search(url) else reason


def _unless_known(
    address: Address, links: Links, is_known: Callable[[str], bool], reason: Callable[[Address], str]
) -> str:
    found = reason(address)
    return "" if not found or is_within(address.host, links.allowed) or is_known(address.host) else found


def _of_host(address: Address, links: Links) -> str:
    return "denied" if links.denied and is_within(address.host, links.denied) else ""


def _of_link(address: Address) -> str:
    if address.user:
        return "userinfo"
    if is_public_number(address.host):
        return "address"
    if is_lookalike(address.host):
        return "lookalike"
    return "payload" if has_payload(address, LINK_PAYLOAD_CHARS_MIN) else ""


def _of_image(address: Address) -> str:
    found = _of_link(address)
    if found:
        return found
    if address.query:
        return "query"
    carries = has_payload(address, IMAGE_PAYLOAD_CHARS_MIN) or _is_label_payload(address.host)
    return "payload" if carries else ""


def is_within(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def is_public_number(host: str) -> bool:
    """An address without a name, that is not one of the reader's own network."""
    written = host[1:-1] if host.startswith("[") else host
    if ":" not in written and NUMERIC_HOST.fullmatch(written) is None:
        return False
    try:
        return ip_address(written).is_global
    except ValueError:
        return ":" not in written  # A spelling that only a browser understands.


def is_lookalike(host: str) -> bool:
    """Letters of two alphabets in one name, or such a name in its ASCII form."""
    is_ascii_zone = host.isascii() and not host.rpartition(".")[2].startswith("xn--")
    for label in host.split("."):
        written = label
        if label.startswith("xn--"):
            try:
                written = label[4:].encode("ascii").decode("punycode")
            except (UnicodeError, ValueError):
                return True
        if not written.isascii():
            alphabets = [name for name, letters in SCRIPT_OF if letters.search(written)]
            if len(alphabets) > 1 or (alphabets in (["cyrillic"], ["greek"]) and is_ascii_zone):
                return True
    return False


def has_payload(address: Address, chars_min: int) -> bool:
    """A long part of the path or the query that says nothing to a reader."""
    if ESCAPES.search(address.path) or ESCAPES.search(address.query):
        return True
    return any(
        len(part) >= chars_min and HYPHENATED.fullmatch(part) is None
        for written in (address.path, address.query)
        for part in PAYLOAD.findall(_unquoted(written))
    )


def _unquoted(text: str) -> str:
    return unquote_to_bytes(text).decode(errors="replace") if "%" in text else text


def _is_label_payload(host: str) -> bool:
    return any(LABEL_PAYLOAD.fullmatch(label) is not None for label in host.split("."))


# -- how much speaks against an address

WEIGHTS = {
    "script": 100,  # Runs where it is clicked on.
    "lookalike": 60,  # Letters of two alphabets in one name.
    "userinfo": 60,  # `https://bank.example@elsewhere.example`
    "metadata": 60,  # What hands out a machine's credentials to whoever asks from it: 169.254.169.254 and the like.
    "address": 50,  # A public number in the place of a name.
    "bait": 40,  # Words by which people are asked for passwords, two at least: `secure-login.example`.
    "escaped": 30,  # A host that is written with escapes or wide letters: somebody does not want it to be read.
    "shortener": 30,
    "payload": 30,  # A long part that says nothing to a reader.
    "tld": 30,
    "punycode": 20,
    "subdomains": 20,
    "noise": 20,  # Hyphens or digits as in names that a program has made.
    "port": 20,
}
"""What an address may have, and how much of 100 that says against it. Together at most 100."""

BAIT = frozenset(
    ["account", "alert", "auth", "bank", "banking", "billing", "confirm", "invoice", "login", "logon", "password", "payment", "recover",
     "recovery", "secure", "security", "signin", "support", "suspended", "unlock", "update", "validate", "verification", "verify", "wallet"]
)  # fmt: skip
BAIT_WORDS, HYPHENS_MANY, DIGITS_MANY = 2, 4, 5
LABELS_MANY = 5  # `login.bank.example.com.evil.net` has six.
PORTS = frozenset({"", "80", "443", "8080", "8443"})
PORT = re.compile(r":(\d{1,5})$")


def signals(url: str) -> tuple[str, ...]:
    """What of `WEIGHTS` an address has."""
    address = parsed(url)
    if address is None:
        return ()
    if f"{address.scheme}:" in SCRIPTS:
        return ("script",)
    if not address.host:
        return ()
    return tuple(name for name, has in _SIGNALS if has(address, _authority(url)))


def risk(found: Iterable[str]) -> int:
    return min(100, sum(WEIGHTS[name] for name in found))


def _authority(url: str) -> str:
    """Host and port as they are written."""
    place = ADDRESS.match(SPECIAL.sub(r"\1://", UNSEEN.sub("", url).strip(), count=1))
    return place[1].rpartition("@")[2] if place is not None else ""


def _has_port(_: Address, authority: str) -> bool:
    port = PORT.search(authority)
    return port is not None and port[1] not in PORTS


def _is_metadata(address: Address, _: str) -> bool:
    host = canonical(address.host)
    if host in METADATA_NAMES:
        return True
    try:
        number = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return any(one in network for one in (number, *inside(number)) for network in NEVER)


def _is_bait(address: Address, _: str) -> bool:
    return len(BAIT.intersection(re.split(r"[.-]", address.host))) >= BAIT_WORDS


def _is_noisy(address: Address, _: str) -> bool:
    if address.host.startswith("[") or NUMERIC_HOST.fullmatch(address.host) is not None:
        return False
    hyphens = address.host.count("-") - 2 * address.host.count("xn--")
    return hyphens >= HYPHENS_MANY or sum(map(str.isdecimal, address.host)) >= DIGITS_MANY


@cache
def _listed(name: str) -> tuple[str, ...]:
    lines = resources.files(__package__).joinpath(name).read_text(encoding="utf-8").splitlines()
    return tuple(word for line in lines if not line.startswith("#") for word in line.split())


_SIGNALS: tuple[tuple[str, Callable[[Address, str], bool]], ...] = (
    ("lookalike", lambda address, _: is_lookalike(address.host)),
    ("userinfo", lambda address, _: bool(address.user)),
    ("metadata", _is_metadata),
    ("address", lambda address, _: is_public_number(address.host)),
    ("bait", _is_bait),
    ("escaped", lambda _, authority: "%" in authority or any(unicodedata.normalize("NFKC", sign) != sign for sign in authority)),
    ("shortener", lambda address, _: is_within(address.host, _listed("shorteners.txt"))),
    ("payload", lambda address, _: has_payload(address, LINK_PAYLOAD_CHARS_MIN)),
    ("tld", lambda address, _: address.host.rpartition(".")[2] in _listed("tlds.txt")),
    ("punycode", lambda address, _: any(label.startswith("xn--") for label in canonical(address.host).split("."))),
    ("subdomains", lambda address, _: address.host.count(".") >= LABELS_MANY and NUMERIC_HOST.fullmatch(address.host) is None),
    ("noise", _is_noisy),
    ("port", _has_port),
)  # fmt: skip


# -- where addresses stand in a text

LINK = re.compile(
    rf"(?:(?<![a-zA-Z0-9])[a-zA-Z][a-zA-Z0-9+.-]{{1,30}}:[/\\]{{1,4}}|(?<![\w:/\\.])[/\\]{{2}}(?=[\w\[%])|(?<![a-zA-Z0-9])https?:(?=[\w\[%]))[^\s\"'<>`|{{}}]{{1,{URL_CHARS_MAX}}}"
    rf"|(?<![a-zA-Z0-9])(?:javascript|vbscript|data):[^\s\"'<>`]{{1,{URL_CHARS_MAX}}}",
    re.IGNORECASE,
)
BARE = re.compile(r"(?<![\w.-])(?:[\w%-]{1,63}[.\u3002\uff0e\uff61]){1,10}(?:[\w-]{2,24}|\d{1,3})(?![\w-])")
"""A name without a scheme, which many programs make a link of."""

DOTTED = re.compile(r"[.\u3002\uff0e\uff61][\w-]")
UNDONE = re.compile(r"&(?:#[0-9xX]|[A-Za-z]{2,31};)|\\[.:@-]")
"""What Markdown or HTML read otherwise, and may be a sign of an address."""

RUN = re.compile(r"[^\s\"'<>`|{}()\[\]]+")
SLASHES = ("//", "\\\\", "/\\", "\\/", ":/", ":\\")
SCHEMES = ("http:", "https:", "script:", "data:")


def may_stand(text: str) -> bool:
    """Whether there is anything in a text that every address has one of."""
    if any(slashes in text for slashes in SLASHES):
        return True
    if DOTTED.search(text) is not None or UNDONE.search(text) is not None:
        return True
    lower = text.lower() if ":" in text else ""
    return any(scheme in lower for scheme in SCHEMES)


def places(text: str, *, bare: bool) -> Iterator[tuple[int, int]]:
    """Where addresses stand; without a scheme only if asked for."""
    end = 0
    for found in LINK.finditer(text):
        if bare:
            yield from (one.span() for one in BARE.finditer(text, end, found.start()))
        end = found.start() + len(_trimmed(found[0]))
        yield found.start(), end
    if bare:
        yield from (one.span() for one in BARE.finditer(text, end))


def hidden(text: str, *, bare: bool) -> Iterator[tuple[int, int, str, bool]]:
    """Addresses that stand there once entities and backslashes are undone: the place of what they stand in, each as it is read, and
    whether there is nothing else in that place."""
    if UNDONE.search(text) is None:
        return
    for run in RUN.finditer(text):
        written = _trimmed(run[0])
        if UNDONE.search(written) is None:
            continue
        read = UNSEEN.sub("", _undone(written))
        for start, end in places(read, bare=bare):
            yield run.start(), run.start() + len(written), read[start:end], end - start == len(read)


def _trimmed(url: str) -> str:
    """Without what belongs to the sentence."""
    url = url.rstrip(".,;:!?*_")
    while url.endswith((")", "]")) and url.count(url[-1]) > url.count({")": "(", "]": "["}[url[-1]]):
        url = url[:-1].rstrip(".,;:!?*_")
    return url
