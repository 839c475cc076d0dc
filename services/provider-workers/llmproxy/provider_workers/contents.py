"""Web addresses in a canonical chat, put in the place of what they lead to: for providers that take bytes alone. Pure."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.common.segments.tree import tree_of
from llmproxy.provider_workers.adapters.base import Adapter
from llmproxy.provider_workers.reading import UNREADABLE
from llmproxy.provider_workers.wire import Answer, HttpRequest, Origin, StreamTranslator, Target, Wire, named

FIELDS = msgspec.json.Decoder(dict[str, Raw])
LIST = msgspec.json.Decoder(list[dict[str, Raw]])
PLACES = {"image_url": "url", "file": "file_data"}


class Place(Struct, frozen=True):
    """Where an address stands first, and what it must lead to there."""

    param: str
    kind: Literal["image", "file"]


class ContentsWanted(Exception):
    """Addresses whose contents are not here yet."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        super().__init__(f"{len(places)} addresses")
        self.places = places


class WithContents:
    """The adapter, given the contents instead of addresses."""

    def __init__(self, adapter: Adapter, contents: Mapping[str, str]) -> None:
        """`contents`: data URLs by address; may grow between two calls."""
        self._adapter, self._contents = adapter, contents
        self.name, self.default_url, self.credential = adapter.name, adapter.default_url, adapter.credential
        self.capabilities = adapter.capabilities
        self.natives: Mapping[Api, Wire] = adapter.natives

    def request(self, body: bytes, target: Target) -> HttpRequest:
        """Raises ContentsWanted, besides what the adapter does."""
        return self._adapter.request(placed(body, self._contents), target)

    def response(self, body: bytes, request: Origin) -> Answer:
        return self._adapter.response(body, request)

    def events(self, request: Origin) -> StreamTranslator:
        return self._adapter.events(request)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return self._adapter.error(status, headers, body)

    def named(self, error: GatewayError) -> GatewayError:
        return named(self._adapter, error)


def placed(body: bytes, contents: Mapping[str, str]) -> bytes:
    """The body with the contents. Raises ContentsWanted when some are missing. What is not a chat is left to the adapter,
    who says what is wrong with it."""
    wanted: dict[str, Place] = {}
    try:
        fields = FIELDS.decode(body)
        messages = LIST.decode(fields["messages"])
        changed = [_message(message, f"messages[{i}]", contents, wanted) for i, message in enumerate(messages)]
    except (*UNREADABLE, KeyError):
        return body
    if wanted:
        raise ContentsWanted(wanted)
    return msgspec.json.encode({**fields, "messages": messages}) if any(changed) else body


def _message(message: dict[str, Any], at: str, contents: Mapping[str, str], wanted: dict[str, Place]) -> bool:
    """Whether it was changed, in place."""
    content = message.get("content")
    if content is None or bytes(content)[:1] != b"[":
        return False
    parts = LIST.decode(content)
    changed = [_part(part, f"{at}.content[{i}]", contents, wanted) for i, part in enumerate(parts)]
    if not any(changed):
        return False
    message["content"] = parts
    return True


def _part(part: dict[str, Any], at: str, contents: Mapping[str, str], wanted: dict[str, Place]) -> bool:
    for field, inner in PLACES.items():
        if field not in part:
            continue
        value = tree_of(part[field])
        url = value.get(inner) if isinstance(value, dict) else value if field == "image_url" else None
        if not isinstance(url, str) or url[:8].lower() != "https://":
            continue
        found = contents.get(url)
        if found is None:
            kind: Literal["image", "file"] = "image" if field == "image_url" else "file"
            wanted.setdefault(url, Place(f"{at}.{field}.{inner}", kind))
            continue
        part[field] = {**value, inner: found} if isinstance(value, dict) else found
        return True
    return False
