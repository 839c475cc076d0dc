"""What a fake vendor is: a credential, error bodies, and operations; each operation reads a request and writes answers."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from llmproxy.fakes.conversation import UNKNOWN_MODEL, Asked, Behaviour, Recorded, Refused, Script


class Operation(Protocol):
    """One API of a vendor, from the server's side."""

    @property
    def stream_type(self) -> str: ...

    @property
    def keep_alive(self) -> bytes:
        """What the vendor sends between events to keep a connection open; empty where it sends nothing."""
        ...

    def ask(self, recorded: Recorded, behaviour: Behaviour) -> Asked:
        """Raises Refused for what the vendor would refuse."""
        ...

    def answer(self, script: Script, asked: Asked) -> "Body": ...
    def events(self, script: Script, asked: Asked) -> list[bytes]: ...
    def end(self, script: Script, asked: Asked) -> bytes:
        """The marker after the last event; empty where there is none."""
        ...

    def error_event(self, message: str) -> bytes:
        """An error in mid-stream, with status 200 already sent."""
        ...


class Vendor(Protocol):
    """One vendor's server."""

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str:
        """The credential it wants by default; empty: none."""
        ...

    @property
    def base(self) -> str:
        """The path to write behind the server's address in the gateway's `url`."""
        ...

    @property
    def overloaded(self) -> int:
        """The status that says: not now."""
        ...

    @property
    def call_id(self) -> str:
        """Formats the number of a tool call."""
        ...

    def operation(self, method: str, path: str) -> Operation | None: ...
    def accepts(self, recorded: Recorded, key: str) -> bool:
        """Whether it was shown the credential."""
        ...

    def error(self, refused: Refused) -> dict[str, Any]: ...


class Body:
    """A whole answer as it leaves."""

    __slots__ = ("content_type", "data")

    def __init__(self, data: bytes, content_type: str = "application/json") -> None:
        self.data, self.content_type = data, content_type


def as_json(value: Any) -> Body:
    return Body(json.dumps(value, ensure_ascii=False).encode())


def sse(value: Any, name: str = "", newline: str = "\n") -> bytes:
    """One server-sent event."""
    head = f"event: {name}{newline}" if name else ""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"{head}data: {data}{newline}{newline}".encode()


def split(text: str, size: int = 6) -> list[str]:
    """What a stream sends in pieces."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def bearer(headers: Mapping[str, str]) -> str:
    return headers.get("authorization", "").removeprefix("Bearer ")


def check_model(model: str, behaviour: Behaviour, unknown: str) -> None:
    """Raises Refused with 404 for a model that is not served."""
    if model == UNKNOWN_MODEL or (behaviour.models and model not in behaviour.models):
        raise Refused(unknown, 404, "model", "model_not_found")


class Whole:
    """What an operation without a stream need not say."""

    stream_type = "application/json"
    keep_alive = b""

    def events(self, script: Script, asked: Asked) -> list[bytes]:
        raise AssertionError("this operation does not stream")

    def end(self, script: Script, asked: Asked) -> bytes:
        return b""

    def error_event(self, message: str) -> bytes:
        return b""
