"""Which addresses may be connected to: public ones and those the operator listed; never a cloud's metadata service.

What counts is the address that a connection is made to, so whoever connects asks here after resolving the name, and then
connects to what was asked about (docs/adr/0014). The networks are those of IANA's special-purpose registries:
https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from msgspec import Struct

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def networks(*texts: str) -> tuple[Network, ...]:
    """Raises ValueError of what is neither an address nor a network."""
    return tuple(ip_network(text, strict=False) for text in texts)


LOOPBACK = networks("127.0.0.0/8", "::1")
PRIVATE = (*LOOPBACK, *networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
"""Where an operator's own servers are."""

NEVER = networks(
    *("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::", "ff00::/8"),  # No destinations of a connection.
    *("169.254.0.0/16", "fe80::/10"),  # Link-local: AWS, Azure, Google, Oracle and others keep their metadata there.
    *("fd00:ec2::/32", "fd20:ce::/32", "fd00:42::42"),  # AWS, Google, Scaleway.
    *("100.100.100.200", "168.63.129.16", "192.0.0.192"),  # Alibaba, Azure's wire server, Oracle.
)
METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
KEY_SERVICES = networks("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23")
"""Those that lend AWS keys: asked by the credentials alone, never by an endpoint."""

NOT_PUBLIC = networks(
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    "168.63.129.16",
    *("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
)
UNICAST = IPv6Network("2000::/3")  # All that is assigned; the rest of IPv6 is special.
NAT64 = IPv6Network("64:ff9b::/96")  # How networks without IPv4 reach it: as public as what is inside.
INSIDE_LOW = (NAT64, IPv6Network("::ffff:0:0/96"), IPv6Network("::ffff:0:0:0/96"), IPv6Network("::/96"))
SIX_TO_FOUR = IPv6Network("2002::/16")
TEREDO = IPv6Network("2001::/32")
ISATAP = (0x00005EFE, 0x02005EFE)

LOCAL_NAME = re.compile(r"[^.]+|.*\.(?:localhost|local|internal|lan|svc|home\.arpa)", re.ASCII)
"""Names that the public DNS does not serve, so nobody outside can decide where they lead."""
NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.ASCII | re.IGNORECASE)
"""Ends in a number: an address in some spelling, to whoever resolves it (https://url.spec.whatwg.org/#ends-in-a-number-checker)."""
UNSEEN = re.compile(r"[\x00-\x20\x7f\\]")


class Reach(Struct, frozen=True):
    """What a connection may lead to, besides public addresses."""

    networks: tuple[Network, ...] = LOOPBACK
    services: tuple[Network, ...] = ()  # Of NEVER, what is allowed all the same.

    def problem(self, address: Address) -> str:
        """Why not; empty when it may be connected to."""
        if any(address in network for network in self.services):
            return ""
        if any(one in network for one in (address, *inside(address)) for network in NEVER):
            return "a metadata service or no destination at all, which is never called"
        if is_public(address) or any(address in network for network in self.networks):
            return ""
        return "a private address"


EVERYWHERE = networks("0.0.0.0/0", "::/0")


def reach(allowed: tuple[Network, ...], host: str, *, named: bool) -> Reach:
    """Of an endpoint at `host`. `named`: the operator wrote it, in the file or the environment; a private
    address, or a name that only the operator's resolver knows, is then meant as it stands."""
    if not named:
        return Reach(allowed)
    try:
        own = literal(host)
    except ValueError:
        return Reach(allowed)
    if own is not None:
        return Reach((*allowed, *networks(str(own))))
    return Reach((*allowed, *PRIVATE)) if LOCAL_NAME.fullmatch(host.lower().rstrip(".")) else Reach(allowed)


@lru_cache(4_096)
def is_public(address: Address) -> bool:
    if address.version == 6 and address not in UNICAST:
        return address in NAT64 and all(map(is_public, inside(address)))
    if any(address in network for network in NOT_PUBLIC):
        return False
    return all(map(is_public, inside(address)))


def inside(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 address carries, for a gateway on the way to unpack."""
    if isinstance(address, IPv4Address):
        return ()
    bits = int(address)
    low = bits & 0xFFFFFFFF
    if bits > 1 and any(address in network for network in INSIDE_LOW):  # Not :: and ::1.
        return (IPv4Address(low),)
    if address in SIX_TO_FOUR:
        return (IPv4Address(bits >> 80 & 0xFFFFFFFF),)
    if address in TEREDO:
        return (IPv4Address(bits >> 64 & 0xFFFFFFFF), IPv4Address(low ^ 0xFFFFFFFF))
    return (IPv4Address(low),) if bits >> 32 & 0xFFFFFFFF in ISATAP else ()


def literal(host: str) -> Address | None:
    """The address that `host` is, without brackets; None of a name. Raises ValueError of an address in any other spelling
    than its usual one: two programs would read it differently."""
    if ":" in host:
        address = ip_address(host)
        if "%" in host:
            raise ValueError("an address with a zone")
        return address
    try:
        return IPv4Address(host)
    except ValueError:
        if NUMERIC.fullmatch(host):
            raise
        return None


def problem(url: str) -> str:
    """What is wrong with the address of a server that a key is to be shown to, with the fix; empty when nothing is.
    The URL is not quoted: it may hold a password."""
    if not url.isascii() or UNSEEN.search(url):
        return "has characters that a URL is written without; write a name of another script as xn--…"
    try:
        at = urlsplit(url)
        host = at.hostname or ""
        at.port  # noqa: B018 - it is parsed when it is asked for
        address = literal(host)
    except ValueError:
        return "has no host that can be read; write a name, or an address as 192.0.2.1 or [2001:db8::1]"
    if "@" in at.netloc:
        return "has a user or password in it; use key, or auth with kind basic"
    if "#" in url:
        return "has a fragment (#), which no server sees; remove it"
    if not host:
        return "has no host"
    if host.rstrip(".") in METADATA_NAMES:
        return "leads to a metadata service, which is never called"
    never = Reach(EVERYWHERE).problem(address) if address is not None else ""
    return f"leads to {never}" if never else ""


def private_literal(url: str, allowed: tuple[Network, ...]) -> bool:
    """Whether it names an address that is neither public nor allowed. Names are judged when they have been resolved."""
    try:
        address = literal(urlsplit(url).hostname or "")
    except ValueError:
        return True
    return address is not None and bool(Reach(allowed).problem(address))
