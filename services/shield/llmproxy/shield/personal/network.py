"""What devices are called in a network: MAC, IPv4 and IPv6 addresses."""

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from llmproxy.shield import glance
from llmproxy.shield.personal.page import Page
from llmproxy.shield.verdict import Finding

MAC = re.compile(
    r"(?<![0-9A-Za-z:-])[0-9A-Fa-f]{2}(?:(:)|-)[0-9A-Fa-f]{2}(?:(?(1):|-)[0-9A-Fa-f]{2}){4}(?![0-9A-Za-z]|[:-][0-9A-Fa-f]{2}(?![0-9A-Za-z]))"
)
MAC_GROUP = re.compile(r"\.[0-9A-Fa-f]{4}\.")
MAC_DOTTED = re.compile(
    r"(?<![0-9A-Za-z.:_-])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![0-9A-Za-z:_-]|\.[0-9A-Za-z])"
)
"""As Cisco's devices write it."""

MAC_WORDS = re.compile(rb"(?<![a-z])(?:mac|hw-?addr|hardware|ether(?:net)?|arpa?|bia|vlan|lladdr)(?![a-z])")
OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
IP4 = re.compile(rf"(?<![\w.])(?<!\d-){OCTET}(?:\.{OCTET}){{3}}(?![\w]|\.\d)", re.ASCII)
SHAPED_IP4 = re.compile(rb"(?<![0a_.])0{1,3}(?:\.0{1,3}){3}")
"""Where one may be: nothing inside such a place can be the beginning of another."""

VERSION_BEFORE = re.compile(
    r"(?:\bv|\bver\.?|versions?|(?:up|down)grad(?:e|ed|es|ing)(?: (?:from|to))?|\boids?|\.net|\brequires|release|revision|build|firmware|driver|\bchapter|\bsection|\bclause|\barticle|\bparagraph|\bappendix|\btable|\bfigure|\bfig\.|§"
    r"|\b(?:kernel|linux|openssl|glibc|gcc|cuda|chrom(?:e|ium)|firefox|electron|android|ios|macos|php|python|java|jdk|sdk|framework))(?: (?:is|to|from|of|number|no\.?))?"
    r"[\"']?\(?[ :=]{0,3}[\"'^~<>]?\Z|[A-Za-z]-\Z|\w[=~]=\Z|\b(?-i:[A-Z])[A-Za-z]{2,}/\Z",
    re.IGNORECASE,
)
"""What makes four numbers a version or a clause: a word for it, software that no host is named after, or a name to which they are tied."""

HOST_BEFORE = re.compile(r"(?:ip|ipv4|addr|address|host|node|server)-\Z", re.IGNORECASE)
VERSION_CHARS = 20
VERSIONS_BETWEEN = re.compile(r"\s?(?:,|/|-|–|->|→|\b(?:to|and|or|until|bis|auf|und|oder|à|et|ou|a|y|e)\b)\s?")
"""`from 4.1.2.0 to 4.2.0.1`: what stands beside a version is one."""

NETWORK = re.compile(r"/(?:[12]?\d|3[0-2])(?!\d)")
FULL_IP6 = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){6}(?:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})(?![\w:])",
    re.ASCII,
)
IP6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{3,39}(?:\.\d{1,3}){0,3}(?![\w:])", re.ASCII)
IP6_CHARS_MAX = 45
PAIRS = re.compile(r"(?:[0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}")
"""Eight pairs are a device's EUI-64, a port's WWN or a part of a fingerprint: no address that is in use begins with them."""


def with_colons(page: Page) -> Iterator[Finding]:
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
            if _is_mac(match[0]) and (_is_mixed(match[0]) or MAC_WORDS.search(page.before(match.start())) is not None):
                yield Finding("mac_address", *match.span())


def _is_mac(address: str) -> bool:
    """Not all zeroes, and one device's: the last bit of the first octet says that a group listens, of whom none sends under it (IEEE 802, 8.2.2)."""
    return int(address[1], 16) & 1 == 0 and len(set(address.lower()) - set(":-.")) > 1


def _is_mixed(address: str) -> bool:
    """Neither digits alone, as a version or a number, nor letters alone, as words have them."""
    signs = address.replace(".", "")
    return not signs.isdigit() and not signs.isalpha()


def _ip6s(page: Page) -> Iterator[Finding]:
    """Those with a gap: `::` and what stands around it."""
    done = 0
    for at in glance.places(page.data, b"::"):
        if at < done:
            continue
        begin = max(at - IP6_CHARS_MAX, done)
        match = IP6.match(page.text, glance.begin_of(page.data, at, begin))
        if match is None:
            # From where this run of signs begins no address follows: not to be looked for at its every gap.
            done = at + 2
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


def _is_ip6(candidate: str) -> bool:
    if PAIRS.fullmatch(candidate) is not None:
        return False
    try:
        IPv6Address(candidate)
    except AddressValueError:
        return False
    return True


def with_dots(page: Page) -> Iterator[Finding]:
    text, version_end = page.text, -1
    for shaped in SHAPED_IP4.finditer(page.shape):
        match = IP4.match(text, shaped.start())
        if match is None:
            continue
        if _is_a_version(text, match.start(), version_end):
            version_end = match.end()
        elif not _is_nobodys(match[0], NETWORK.match(text, match.end())):
            yield Finding("ip_address", *match.span())


def _is_a_version(text: str, at: int, version_end: int) -> bool:
    if version_end >= 0 and VERSIONS_BETWEEN.fullmatch(text, version_end, at) is not None:
        return True
    before = text[max(0, at - VERSION_CHARS) : at]
    return VERSION_BEFORE.search(before) is not None and HOST_BEFORE.search(before) is None


def _is_nobodys(address: str, network: re.Match[str] | None) -> bool:
    """The unspecified address and loopback, masks and broadcast (RFC 1122, 3.2.1.3), what routers talk among themselves on (RFC 5771), and what names a network (RFC 4632)."""
    value = int(IPv4Address(address))
    inverse = value ^ 0xFFFFFFFF
    if value >> 24 in (0, 127) or value >> 8 == 0xE00000 or (value >> 24 == 0xFF and inverse & (inverse + 1) == 0):
        return True
    return network is not None and int(network[0][1:]) < 32 and value & (0xFFFFFFFF >> int(network[0][1:])) == 0
