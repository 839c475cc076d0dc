"""Anthropic's Messages API for vendors that speak it. https://docs.anthropic.com/en/api/messages

Bodies and events pass through: fields and block types that are new tomorrow, `cache_control`, the order of keys and the
signatures of thinking reach the vendor and the caller as they were written. What is read is what counts.
"""

import re
from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.anthropic_answers import (
    EVENT,
    FINISH_REASONS,
    HEADERS,
    VENDOR,
    Event,
    EventDelta,
    WireUsage,
    error_inside,
    later,
    messages_url,
    usage_of,
)
from llmproxy.provider_workers.canonical_answers import finish_of
from llmproxy.provider_workers.carried import OURS
from llmproxy.provider_workers.compatible_answers import one_line
from llmproxy.provider_workers.compatible_requests import FIELDS, read_fields
from llmproxy.provider_workers.natives.passing import aim
from llmproxy.provider_workers.reading import UNREADABLE, decode_vendor
from llmproxy.provider_workers.sse import EventStream
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.wire import ENCODER, Answer, HttpRequest, Origin, StreamTranslator, Target, failed

Place = Callable[[str], str]
"""base -> URL."""

FORWARDED = frozenset({"anthropic-beta", "anthropic-version"})
HEADER_TEXT = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,2046}[\x21-\x7e])?", re.ASCII)
CARRIED = OURS.encode()
NOTHING = Raw(b"[]")


class Reply(Struct, frozen=True):
    """A whole answer, as far as it is read."""

    content: list[Raw]
    model: str = ""
    stop_reason: str | None = None
    usage: WireUsage = WireUsage()


REPLY = msgspec.json.Decoder(Reply)
OBJECTS = msgspec.json.Decoder(list[dict[str, Raw]])


class Messages:
    def __init__(self, default_url: str, place: Place = messages_url) -> None:
        self.default_url = default_url
        self._place = place

    def request(self, body: bytes, target: Target) -> HttpRequest:
        if CARRIED in body:
            body = without_ours(body)
        url = self._place(target.url or self.default_url)
        return HttpRequest(method="POST", url=url, headers=headers(target), body=aim(read_fields(body), target, body))

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(REPLY, body, VENDOR)
        except GatewayError as error:
            return failed(error)
        return Answer(
            json=body if reply.model == request.model else _named(body, request.model),
            usage=usage_of(reply.usage),
            finish=finish_of(FINISH_REASONS, reply.stop_reason or ""),
        )

    def events(self, request: Origin) -> StreamTranslator:
        return VendorStream(VENDOR, EventStream(), Passed(request))


def headers(target: Target) -> tuple[tuple[str, str], ...]:
    """Ours, with what the caller says of versions and betas. Raises GatewayError of what cannot stand in a header."""
    if not target.headers:
        return HEADERS
    said = {name.lower(): value for name, value in target.headers if name.lower() in FORWARDED}
    for name, value in said.items():
        if not HEADER_TEXT.fullmatch(value):
            raise GatewayError("invalid_value", f"header '{name}' holds characters that no version has", param=name)
    return tuple({**dict(HEADERS), **said}.items())


def without_ours(body: bytes) -> bytes:
    """The same conversation without the thinking that was another vendor's: its signatures are ours, and refused here."""
    fields = read_fields(body)
    try:
        turns = [_own(turn) for turn in OBJECTS.decode(fields["messages"])]
    except (KeyError, *UNREADABLE):
        return body  # The vendor says what is wrong with it.
    return ENCODER.encode({**fields, "messages": [turn for turn in turns if turn.get("content") != NOTHING]})


def _own(turn: dict[str, Raw]) -> dict[str, Raw]:
    content = bytes(turn.get("content", b""))
    if CARRIED not in content or content[:1] != b"[":
        return turn
    blocks = OBJECTS.decode(content)
    kept = [block for block in blocks if not bytes(block.get("signature", b"")).startswith(b'"' + CARRIED)]
    return {**turn, "content": Raw(ENCODER.encode(kept))}


def _named(message: bytes, model: str) -> bytes:
    """The answer under the name that the caller asked for."""
    return ENCODER.encode({**FIELDS.decode(message), "model": model})


class Passed:
    """A stream as it comes. It is whole with `message_stop`, and not before."""

    __slots__ = ("_model", "_usage", "complete", "finish_reason", "text_chars")

    def __init__(self, origin: Origin) -> None:
        self._model = origin.model
        self._usage = WireUsage()
        self.text_chars = 0
        self.finish_reason: Finish = ""
        self.complete = False

    @property
    def usage(self) -> Usage:
        return usage_of(self._usage)

    def end(self, out: list[bytes]) -> None:
        """Nothing but its terminal event ends it."""

    def take(self, event: tuple[bytes, bytes], out: list[bytes]) -> None:
        data = event[1]
        self._read(decode_vendor(EVENT, data, VENDOR), data, out)

    def _read(self, event: Event, data: bytes, out: list[bytes]) -> None:
        match event.type:
            case "content_block_delta" if event.delta is not None:
                self.text_chars += _chars(event.delta)
            case "content_block_start" if event.content_block is not None:
                block = event.content_block
                # What is neither text nor the start of it (redacted thinking, a server's tool) is content as it stands.
                self.text_chars += len(block.text) + len(block.thinking) + len(block.data) + len(block.name)
            case "message_start" if event.message is not None:
                self._usage = event.message.usage
                data = self._start(data)
            case "message_delta":
                if event.usage is not None:
                    self._usage = later(self._usage, event.usage)
                if event.delta is not None and event.delta.stop_reason is not None:
                    self.finish_reason = finish_of(FINISH_REASONS, event.delta.stop_reason)
            case "message_stop":
                self.complete = True
            case "error":
                raise error_inside(event)
        out.append(one_line(data))

    def _start(self, data: bytes) -> bytes:
        fields = FIELDS.decode(data)
        return ENCODER.encode({**fields, "message": Raw(_named(bytes(fields["message"]), self._model))})


def _chars(delta: EventDelta) -> int:
    return len(delta.text) + len(delta.thinking) + len(delta.partial_json)
