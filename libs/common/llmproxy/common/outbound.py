"""How a provider is reached: through which proxy, with whose certificates, with which headers; checked with the fix in the message."""

import re
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from llmproxy.common.auth import HEADER_NAME, OURS, REFERENCES

PROXY_SCHEMES = ("http", "socks5", "socks5h")
RULES_MAX = 32
VALUE_CHARS_MAX = 4_096
TEXT = re.compile(r"[\x20-\x7e]*", re.ASCII)
CREDENTIALS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key", "proxy-authorization", "cookie"})
FRAMING = OURS | {"accept-encoding", "expect", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"}


class Proxy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An HTTP proxy that takes CONNECT, or a SOCKS5 proxy. It resolves the endpoint's name."""

    url: str  # http://host:port or socks5://host:port
    user: str = ""
    password: str = ""  # A reference.


class Tls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whom to believe, and who we are. There is no way to believe everybody."""

    ca_file: str = ""  # PEM, instead of the system's authorities.
    certificate_file: str = ""  # PEM, ours, with the chain.
    key_file: str = ""  # PEM; "" when it is in the same file.
    server_name: str = ""  # That the certificate must be for, when it is not the URL's host.
    minimum: Literal["1.2", "1.3"] = "1.2"

    @property
    def files(self) -> dict[str, str]:
        """Field -> path, of those that are given."""
        given = {"ca_file": self.ca_file, "certificate_file": self.certificate_file, "key_file": self.key_file}
        return {field: path for field, path in given.items() if path}


class HeaderRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What of a request's headers is changed. Values may be references."""

    insert: dict[str, str] = {}  # Where there is none of the name.
    replace: dict[str, str] = {}  # Whatever there is.
    remove: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, str]:
        return {**self.insert, **self.replace}


def proxy_problem(proxy: Proxy) -> tuple[str, str] | None:
    """(field, what is wrong with it and the fix); None when nothing is. The URL is parsed here for what any URL must not
    have been refused for."""
    at = urlsplit(proxy.url)
    if at.scheme not in PROXY_SCHEMES or at.port is None or at.path not in ("", "/") or at.query:
        return "url", "write http://host:port or socks5://host:port"
    if proxy.password and not proxy.password.startswith(REFERENCES):
        return "password", "write a reference, env:NAME or file:PATH, not the password itself"
    if bool(proxy.user) != bool(proxy.password):
        return "user", "a proxy wants a user and a password, or neither"
    return None


def tls_problem(tls: Tls) -> tuple[str, str] | None:
    if tls.key_file and not tls.certificate_file:
        return "certificate_file", "a key is of use with its certificate only"
    if tls.server_name and not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", tls.server_name, re.ASCII):
        return "server_name", f"{tls.server_name!r} is not the name of a server"
    return None


def headers_problem(headers: HeaderRules, credential: str = "") -> tuple[str, str] | None:
    """`credential`: the header in which this endpoint is shown its key, where that is not a usual one."""
    names = [*headers.insert, *headers.replace, *headers.remove]
    if len(names) > RULES_MAX:
        return "insert", f"at most {RULES_MAX} headers can be changed; there are {len(names)}"
    seen: set[str] = set()
    for name in names:
        field = "insert" if name in headers.insert else "replace" if name in headers.replace else "remove"
        lower = name.lower()
        if not HEADER_NAME.fullmatch(name):
            return field, f"{name!r} is not the name of a header"
        if lower in CREDENTIALS or lower == credential.lower() or lower.startswith("x-amz-"):
            return field, f"{lower} shows a credential; use key or auth"
        if lower in FRAMING:
            return field, f"{lower} is the gateway's own"
        if lower == "user-agent":
            return field, "use user_agent"
        if lower in seen:
            return field, f"{lower} is changed twice; keep one"
        seen.add(lower)
    for name, value in headers.values.items():
        if len(value) > VALUE_CHARS_MAX or not TEXT.fullmatch(value):
            return "insert" if name in headers.insert else "replace", f"the value of {name} is not printable ASCII"
    return None
