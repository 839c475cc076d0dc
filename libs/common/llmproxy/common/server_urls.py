"""Addresses of our own servers, which may hold a password: whether whoever connects can read them."""

import re

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
HOST = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]*)(?::\d{1,5})?")


def problem(url: str, example: str) -> str:
    """What is wrong with it, without a word of it; "" when nothing is.

    A password with `/`, `#` or `?` in it ends the address where it stands: what is behind it would be taken for a path,
    what is before it for a port, and the error would quote it.
    """
    kind = example.partition(":")[0]
    for one in url.split(",") if kind == "nats" else (url,):
        scheme, separator, rest = one.rpartition("://")
        authority, path = re.fullmatch(r"([^/?#]*)([^?]*).*", rest, re.DOTALL).groups()  # type: ignore[union-attr]
        hosts = authority.rpartition("@")[2].split(",")
        if (separator and scheme not in SCHEMES[kind]) or (not separator and kind != "nats"):
            return f"it does not begin with {SCHEMES[kind][0]}://; write it as in {example}"
        if "@" in path or not all(map(HOST.fullmatch, hosts)):
            return (
                f"it cannot be read; write it as in {example}, and / as %2F, # as %23, ? as %3F, @ as %40 in a password"
            )
    return ""
