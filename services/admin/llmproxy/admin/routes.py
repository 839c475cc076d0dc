"""A route is data: what it answers to, what goes in and out, and who may call it. Routing and OpenAPI both read it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

JSON = "application/json"
YAML = "application/yaml"
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]*$"
"""Names appear in tables and logs, where a sign that turns or hides others would make one look like another; Postgres holds no NUL."""
BODY_BYTES_MAX = 256 << 10  # The largest is a configuration; it must also fit into one message of the bus.


@dataclass(frozen=True)
class Actor:
    """Who asked for a change, as the ledger records it."""

    principal: str
    client_ip: str = ""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request after it was authenticated and decoded: `query` and `body` are of the route's types."""

    actor: Actor
    path: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Any = None
    body: Any = None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer with something besides a JSON body."""

    body: Struct | bytes
    status: int | None = None  # None: the route's own.
    headers: Mapping[str, str] = field(default_factory=dict)


Handle = Callable[[Call], Awaitable[Struct | Reply]]


@dataclass(frozen=True, kw_only=True)
class Route:
    method: str
    path: str
    handle: Handle
    summary: str
    response: Any  # A msgspec type, or None for text and ready-made JSON.
    status: int = 200
    request: Any = None
    accepts: tuple[str, ...] = (JSON,)
    is_text: bool = False  # The handler takes the body as text and parses it itself.
    query: type[Struct] | None = None
    media: str = JSON
    is_public: bool = False  # Without a token. Everything else needs one.
    problems: tuple[int, ...] = ()  # Besides 400, 401 and 500.
