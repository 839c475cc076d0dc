"""One API at one vendor, in the small: what is asked for, what is sent, and what comes back. Pure: no client, no clock, no log."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage

ENCODER = msgspec.json.Encoder()
JSON_HEADERS = (("content-type", "application/json"),)


class Target(Struct, frozen=True, kw_only=True):
    """Where this attempt goes."""

    model: str  # As the provider knows it.
    url: str = ""  # The endpoint's base as configured, with or without version path; "" is the vendor's own.
    stream: bool = False
    headers: tuple[tuple[str, str], ...] = ()  # The caller's, for an API that passes through (`anthropic-beta`).


class HttpRequest(Struct, frozen=True, kw_only=True):
    """What to send, but for the credential."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    # Fields of the request that the vendor has no place for and that do not change the answer.
    dropped: tuple[str, ...] = ()


def post(
    url: str, request: Mapping[str, Any], dropped: list[str], headers: tuple[tuple[str, str], ...] = JSON_HEADERS
) -> HttpRequest:
    return HttpRequest(method="POST", url=url, headers=headers, body=ENCODER.encode(request), dropped=tuple(dropped))


class Origin(Struct, frozen=True, kw_only=True):
    """Whose answer it is: what a canonical answer says that a vendor's does not."""

    id: str  # The request's.
    model: str  # As the caller wrote it.
    created: int  # Unix seconds.
    include_usage: bool = False  # Streams: the caller asked for the usage chunk.
    asked: bytes = b""  # The caller's body, where its wishes decide the form of the answer.


class Answer(Struct, frozen=True, kw_only=True):
    """A whole answer. When `failure` is set (an error inside a 200), `json` is empty."""

    json: bytes  # In the form of the API that was asked: for the canonical one a chat.completion.
    content_type: str = ""  # Of an answer that is not JSON, such as speech: `json` is then a string of its base64.
    headers: tuple[tuple[str, str], ...] = ()  # What the caller is told besides the provider's own headers.
    usage: Usage = Usage()
    finish: Finish = "stop"
    failure: GatewayError | None = None


def failed(error: GatewayError) -> Answer:
    return Answer(json=b"", finish="error", failure=error)


class StreamTranslator(Protocol):
    """One stream's translation: network bytes in, at any split, canonical events out.

    Never raises on what a vendor sends: a malformed or oversized stream sets `failure`, and later bytes are ignored.
    """

    @property
    def usage(self) -> Usage:
        """What the vendor said so far; all zero when it said nothing."""
        ...

    @property
    def finish_reason(self) -> Finish:
        """Empty until the vendor gave one."""
        ...

    @property
    def complete(self) -> bool:
        """The answer is whole: the vendor's terminal marker was seen, or the stream ended after its finish reason."""
        ...

    @property
    def failure(self) -> GatewayError | None:
        """An error inside the stream. What was returned before it is still good."""
        ...

    @property
    def text_chars(self) -> int:
        """Of output, delivered so far (text, reasoning, arguments): to estimate an interrupted usage."""
        ...

    def feed(self, data: bytes) -> list[bytes]:
        """Complete canonical chat.completion.chunk objects, one JSON text without newlines each; never `[DONE]`."""
        ...

    def finish(self) -> list[bytes]:
        """The network stream has ended: what is left. Afterwards exactly one of `complete` and `failure` is set."""
        ...


class Wire(Protocol):
    """One API at one vendor: what to send for a body of that API, and what comes back in its form."""

    def request(self, body: bytes, target: Target) -> HttpRequest:
        """The vendor's request. Raises GatewayError naming the field that cannot be expressed."""
        ...

    def response(self, body: bytes, request: Origin) -> Answer:
        """The answer for a vendor's 2xx body. An unreadable one is a `failure`, not an exception."""
        ...

    def events(self, request: Origin) -> StreamTranslator:
        """A new translator for one stream."""
        ...


@runtime_checkable
class Naming(Protocol):
    """A `Wire` whose vendor has other names for fields than the caller."""

    def named(self, error: GatewayError) -> GatewayError:
        """A vendor's error, naming the field as it was asked."""
        ...


def named(wire: Wire, error: GatewayError) -> GatewayError:
    return wire.named(error) if isinstance(wire, Naming) else error
