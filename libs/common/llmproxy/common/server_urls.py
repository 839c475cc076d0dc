"""Addresses of our own servers, which may hold a password: whether whoever connects can read them."""

import re
from urllib.parse import urlsplit

EXAMPLES = {
    "nats_url": "nats://host:4222",
    "redis_url": "redis://:password@host:6379/0",
    "postgres_dsn": "postgresql://user:password@host:5432/database",
}
"""The setting, and what an address looks like in it."""

SCHEMES = {
    "nats": ("nats", "tls", "ws", "wss"),
    "redis": ("redis", "rediss", "unix"),
    "postgresql": ("postgresql", "postgres"),
}
HOST = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]*)(?::(\d{1,5}))?")
PORT_MAX = 65_535


def problem(url: str, example: str) -> str:
    """What is wrong with it, without a word of it; "" when nothing is.

    A password with `/`, `#` or `?` in it ends the address where it stands: what is behind it would be taken for a path,
    what is before it for a port, and the error would quote it. Several hosts are for PostgreSQL alone.
    """
    kind = example.partition(":")[0]
    if "://" not in url and kind == "nats":  # As nats-py takes it.
        url = f"nats://{url}"
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES[kind]:
        return f"it does not begin with {SCHEMES[kind][0]}://; write it as in {example}"
    authority, path = re.fullmatch(r"([^/?#]*)([^?]*).*", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    user, _, where = authority.rpartition("@")
    hosts = where.split(",") if kind == "postgresql" else [where]
    if "@" in path or not all(_is_readable(user, host) for host in hosts):
        return f"it cannot be read; write it as in {example}, and / as %2F, # as %23, ? as %3F, @ as %40, [ as %5B in a password"
    return ""


def _is_readable(user: str, host: str) -> bool:
    found = HOST.fullmatch(host)
    if found is None or int(found[1] or 0) > PORT_MAX:
        return False
    try:
        urlsplit(f"//{user}@{host}")  # As the clients do; it refuses what may be taken for another sign, and quotes it.
    except ValueError:
        return False
    return True
