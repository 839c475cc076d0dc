"""What the pass-through APIs of OpenAI's format share: a body aimed at another model, its URL, and what is read of an answer.

Bodies and answers go as they are, unknown fields and key order included; what is read is what counts: usage and errors.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Raw, Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.compatible_answers import WireError, error_inside, one_line
from llmproxy.provider_workers.compatible_requests import FALSE, TRUE, VERSION, read_fields
from llmproxy.provider_workers.reading import decode_vendor, tokens, unsupported
from llmproxy.provider_workers.sse import Event, EventStream
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.wire import JSON_HEADERS, Answer, HttpRequest, Origin, StreamTranslator, Target, failed

VENDOR = "the provider"  # Which of the many servers of this format it is, the endpoint's name says.

Place = Callable[[str, str, str], str]
"""(base, path of the API, model) -> URL. Vendors whose addresses are not like OpenAI's bring their own."""

DONE_EVENTS = frozenset(
    {
        "image_edit.completed",
        "image_generation.completed",
        "speech.audio.done",
        "transcript.text.done",
    }
)
"""The last event of a stream that is not a conversation."""


class PromptDetails(Struct, frozen=True):
    cached_tokens: int | None = None


class WireUsage(Struct, frozen=True):
    """Each of these APIs has its own names for the same counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class BilledUnits(Struct, frozen=True):
    input_tokens: int | float | None = None
    output_tokens: int | float | None = None


class Meta(Struct, frozen=True):
    """Where Cohere, and who copies its rerank, counts."""

    billed_units: BilledUnits | None = None


class Reply(Struct, frozen=True):
    """A whole answer, or one event of a stream, as far as it is read."""

    type: str | None = None
    delta: Any = None
    usage: WireUsage | None = None
    meta: Meta | None = None
    error: WireError | str | None = None


REPLY = msgspec.json.Decoder(Reply)


class Passing:
    """A `Wire` through which everything goes as it is. One API is this with its path."""

    path = ""
    streams = False

    def __init__(self, default_url: str, place: Place | None = None) -> None:
        self.default_url = default_url
        self._place = place or api_url

    def request(self, body: bytes, target: Target) -> HttpRequest:
        if target.stream and not self.streams:
            raise unsupported(VENDOR, "stream", f"{self.path} has no streamed answer")
        return HttpRequest(
            method="POST",
            url=self.url(self.path, target),
            headers=JSON_HEADERS,
            body=aim(read_fields(body), target, body),
        )

    def response(self, body: bytes, request: Origin) -> Answer:
        return answer(body)

    def events(self, request: Origin) -> StreamTranslator:
        return VendorStream(VENDOR, EventStream(), Reading())

    def url(self, path: str, target: Target) -> str:
        return self._place(target.url or self.default_url, path, target.model)


def api_url(base: str, path: str, model: str = "") -> str:
    """`base` with or without its version path, or with that of its chat API."""
    return _api_url(base, path)


@lru_cache(maxsize=1024)
def _api_url(base: str, path: str) -> str:
    at = urlsplit(base)
    stem = at.path.rstrip("/").removesuffix("/chat/completions")
    if not stem.endswith(f"/{path}"):
        stem += f"/{path}" if VERSION.search(stem) or "/deployments/" in stem else f"/v1/{path}"
    return urlunsplit((at.scheme, at.netloc, stem, at.query, ""))


def aim(fields: Mapping[str, Raw], target: Target, body: bytes, more: Mapping[str, Raw] | None = None) -> bytes:
    """The same body for the target's model, with `more` fields. Untouched when it says so already."""
    wanted = {"model": Raw(msgspec.json.encode(target.model)), **(more or {})}
    says = bytes(fields.get("stream", b"false")).strip(b'"')  # In a form it is a text.
    if (says == b"true") != target.stream:
        wanted["stream"] = TRUE if target.stream else FALSE
    changes = {name: value for name, value in wanted.items() if bytes(fields.get(name, b"")) != bytes(value)}
    return msgspec.json.encode({**fields, **changes}) if changes else body


def answer(body: bytes) -> Answer:
    try:
        reply = decode_vendor(REPLY, body, VENDOR)
    except GatewayError as error:
        return failed(error)
    if reply.error is not None:
        return failed(error_inside(reply.error, VENDOR))
    return Answer(json=body, usage=usage_of(reply))


def usage_of(reply: Reply) -> Usage:
    units = reply.meta.billed_units if reply.meta else None
    if reply.usage is None and units is not None:
        return Usage(input=tokens(whole(units.input_tokens)), output=tokens(whole(units.output_tokens)))
    return counted(reply.usage)


def counted(wire: WireUsage | None) -> Usage:
    """Cached tokens are inside the prompt's. Where nothing is written, some servers give the total alone."""
    if wire is None:
        return Usage()
    took, gave = tokens(wire.prompt_tokens or wire.input_tokens), tokens(wire.completion_tokens or wire.output_tokens)
    cached = wire.prompt_tokens_details.cached_tokens if wire.prompt_tokens_details else 0
    return Usage(input=took if took or gave else tokens(wire.total_tokens), output=gave, cache_read=tokens(cached))


def whole(count: int | float | None) -> int:
    """Cohere writes its counts as 12.0; what no count can be is none."""
    return int(count) if count is not None and abs(count) < 1e12 else 0


class Reading:
    """Events pass through; each is read only far enough to know that it is JSON, what it counts, and whether it is the last."""

    __slots__ = ("complete", "finish_reason", "text_chars", "usage")

    def __init__(self) -> None:
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False
        self.text_chars = 0

    def take(self, event: Event, out: list[bytes]) -> None:
        data = event[1]
        if data == b"[DONE]":
            return  # The last event has its own name here; a stream without it is not whole.
        reply = decode_vendor(REPLY, data, VENDOR)
        if reply.error is not None:
            raise error_inside(reply.error, VENDOR)
        if reply.usage is not None:
            self.usage = usage_of(reply)
        # What is not text, such as half an image, is content all the same.
        self.text_chars += len(reply.delta) if isinstance(reply.delta, str) else 1
        if reply.type in DONE_EVENTS:
            self.finish_reason = "stop"
            self.complete = True
        out.append(one_line(data))

    def end(self, out: list[bytes]) -> None:
        """A stream without its last event is not whole."""
