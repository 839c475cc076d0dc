"""What makes an address in an answer suspicious: where it leads, and what it carries there."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from llmproxy.common.answers import Links

URL_CHARS_MAX = 2_048
SCRIPTS = ("javascript:", "vbscript:", "data:", "file:")
SCHEME = re.compile(r"[\x00-\x20]*([a-zA-Z][a-zA-Z0-9+.\t\r\n-]{0,30}):")
ADDRESS = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]{0,30}:)?[/\\]{2}([^/\\?#\s]*)([^?#\s]*)(\?[^#\s]*)?", re.ASCII)
NUMERIC_HOST = re.compile(r"(?:0x[0-9a-f]+|\d+)(?:\.(?:0x[0-9a-f]+|\d+)){0,3}", re.IGNORECASE)
"""As browsers read them: one number, octal and hexadecimal parts."""

LINK_PAYLOAD_CHARS_MIN, IMAGE_PAYLOAD_CHARS_MIN = 65, 40
"""Of one part of a path or a query. A link may carry a SHA-256; an image is fetched unasked, so it may carry less."""

PAYLOAD = re.compile(rf"[A-Za-z0-9+_=-]{{{IMAGE_PAYLOAD_CHARS_MIN},}}")
LABEL_PAYLOAD = re.compile(r"[a-z0-9-]{32,}", re.IGNORECASE)  # Names are looked up before anything is fetched.
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
    named = re.sub(r"[\t\r\n]", "", scheme[1]).lower() if scheme is not None else ""
    place = ADDRESS.match(url.strip())
    if place is None:
        return Address(named) if named else None
    user, _, host = place[1].rpartition("@")
    if not host.startswith("["):
        host = host.rpartition(":")[0] or host
    return Address(named or "https", host.rstrip(".").lower(), user, place[2] or "", (place[3] or "")[1:])


def link_reason(url: str, links: Links, is_known: Callable[[str], bool]) -> str:
    """Why a link is suspicious; "" when it is not. `is_known`: whether the request itself names a host."""
    address = parsed(url)
    if address is None:
        return ""
    if f"{address.scheme}:" in SCRIPTS:
        return "" if url.lower().lstrip().startswith("data:image/") else "script"
    if not address.host:
        return ""
    return _of_host(address, links) or _unless_known(address, links, is_known, _of_link)


def image_reason(url: str, links: Links, is_known: Callable[[str], bool]) -> str:
    """Why an image, which is fetched unasked, is suspicious: anything beside a plain path may carry something away."""
    address = parsed(url)
    if address is None or not address.host:
        return "script" if address is not None and address.scheme in ("javascript", "vbscript") else ""
    return _of_host(address, links) or _unless_known(address, links, is_known, _of_image)


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
