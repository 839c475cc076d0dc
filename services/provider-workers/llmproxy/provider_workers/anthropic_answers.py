"""What Anthropic's Messages API answers, whole and streamed, as a canonical chat. https://docs.anthropic.com/en/api/messages"""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import UNSET, Raw, Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.canonical_answers import (
    ChoiceOut,
    Chunks,
    FunctionOut,
    MessageOut,
    ToolCallOut,
    called,
    compact,
    completion,
    finish_of,
)
from llmproxy.provider_workers.reading import decode_error, decode_vendor, tokens
from llmproxy.provider_workers.sse import EventStream
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.vendor_errors import vendor_error
from llmproxy.provider_workers.wire import ENCODER, Answer, Origin, StreamTranslator, failed

VENDOR = "Anthropic"
API_VERSION = "2023-06-01"  # The version with sampling fields; the SDK's of late 2026 has none.

FINISH_REASONS: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}

HEADERS = (("content-type", "application/json"), ("anthropic-version", API_VERSION))


class WireUsage(Struct, frozen=True):
    """Counts of a stream are cumulative, and absent where they have not changed."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: "CacheCreation | None" = None
    output_tokens_details: "OutputDetails | None" = None


class CacheCreation(Struct, frozen=True):
    """Of `cache_creation_input_tokens`, by how long it is kept."""

    ephemeral_1h_input_tokens: int | None = None


class OutputDetails(Struct, frozen=True):
    thinking_tokens: int | None = None


class Block(Struct, frozen=True):
    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")


class Reply(Struct, frozen=True):
    content: list[Raw]
    stop_reason: str | None = None
    usage: WireUsage = WireUsage()


class WireError(Struct, frozen=True):
    type: str = ""
    message: str = ""


class ErrorBody(Struct, frozen=True):
    error: WireError = WireError()


class EventMessage(Struct, frozen=True):
    usage: WireUsage = WireUsage()


class EventDelta(Struct, frozen=True):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class Event(Struct, frozen=True):
    """Any event of a stream; which field is set depends on `type`."""

    type: str
    index: int = 0
    message: EventMessage | None = None
    content_block: Block | None = None
    delta: EventDelta | None = None
    usage: WireUsage | None = None
    error: WireError | None = None


REPLY = msgspec.json.Decoder(Reply)
BLOCK = msgspec.json.Decoder(Block)
EVENT = msgspec.json.Decoder(Event)
ERROR = msgspec.json.Decoder(ErrorBody)


@lru_cache(maxsize=256)
def messages_url(base: str) -> str:
    at = urlsplit(base)
    path = at.path.rstrip("/")
    if not path.endswith("/v1/messages"):
        path = path.removesuffix("/v1") + "/v1/messages"
    return urlunsplit((at.scheme, at.netloc, path, at.query, ""))


def answer_of(body: bytes, request: Origin) -> Answer:
    try:
        reply = decode_vendor(REPLY, body, VENDOR)
        message = message_of(reply)
    except GatewayError as error:
        return failed(error)
    finish = finish_of(FINISH_REASONS, reply.stop_reason or "")
    return completion(request, [ChoiceOut(message=message, finish_reason=finish)], usage_of(reply.usage), finish)


def stream_of(request: Origin) -> StreamTranslator:
    return VendorStream(VENDOR, EventStream(), Chunked(request))


def error_answer(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    error = decode_error(ERROR, body, ErrorBody()).error
    return vendor_error(VENDOR, status, headers, message=error.message, code=error.type)


def error_inside(event: Event) -> GatewayError:
    """An error that came with status 200, in a stream."""
    error = event.error or WireError()
    return vendor_error(VENDOR, STATUS_OF_TYPE.get(error.type, 500), {}, message=error.message, code=error.type)


def message_of(reply: Reply) -> MessageOut:
    text, thought, thinking, calling = [], [], [], []
    for raw in reply.content:
        block = decode_vendor(BLOCK, bytes(raw), VENDOR)
        match block.type:
            case "text":
                text.append(block.text)
            case "thinking":
                thought.append(block.thinking)
                thinking.append(raw)
            case "redacted_thinking":
                thinking.append(raw)
            case "tool_use":
                calling.append(called(block.name, block.input, block.id))
    return MessageOut(
        content="".join(text) if text or not calling else None,
        reasoning_content="".join(thought) if thought else UNSET,
        thinking_blocks=thinking or UNSET,
        tool_calls=calling or UNSET,
    )


def usage_of(wire: WireUsage) -> Usage:
    """Cache tokens are outside `input_tokens` here; thinking is inside `output_tokens`."""
    cache_read, cache_write = tokens(wire.cache_read_input_tokens), tokens(wire.cache_creation_input_tokens)
    return Usage(
        input=tokens(wire.input_tokens) + cache_read + cache_write,
        output=tokens(wire.output_tokens),
        cache_read=cache_read,
        cache_write=cache_write,
        cache_write_hour=tokens(wire.cache_creation.ephemeral_1h_input_tokens) if wire.cache_creation else 0,
        reasoning=tokens(wire.output_tokens_details.thinking_tokens) if wire.output_tokens_details else 0,
    )


def later(before: WireUsage, after: WireUsage) -> WireUsage:
    """`before`, with what `after` says."""
    said = {name: value for name in WireUsage.__struct_fields__ if (value := getattr(after, name)) is not None}
    return msgspec.structs.replace(before, **said)


class Chunked:
    """A stream as canonical chunks. Typed events in; `message_stop` ends them. Content blocks come one after the other, never interleaved."""

    __slots__ = (
        "_argued",
        "_block",
        "_calls",
        "_chunks",
        "_signature",
        "_thinking",
        "_usage",
        "complete",
        "finish_reason",
    )

    def __init__(self, origin: Origin) -> None:
        self._chunks = Chunks(origin)
        self._usage = WireUsage()
        self._block: Block | None = None  # The content block that is open.
        self._calls = 0  # Tool calls begun.
        self._argued = False  # The open tool call has arguments.
        self._thinking: list[str] = []
        self._signature = ""
        self.finish_reason: Finish = ""
        self.complete = False

    @property
    def usage(self) -> Usage:
        return usage_of(self._usage)

    @property
    def text_chars(self) -> int:
        return self._chunks.text_chars

    def end(self, out: list[bytes]) -> None:
        if self.finish_reason:
            self._stop(out)

    def take(self, event: tuple[bytes, bytes], out: list[bytes]) -> None:
        self._take(decode_vendor(EVENT, event[1], VENDOR), out)

    def _take(self, event: Event, out: list[bytes]) -> None:
        delta = event.delta
        match event.type:
            case "content_block_delta" if delta is not None:
                self._delta(delta, out)
            case "content_block_start" if event.content_block is not None:
                self._open(event.content_block, out)
            case "content_block_stop":
                self._close(out)
            case "message_start" if event.message is not None:
                self._usage = event.message.usage
                out.extend(self._chunks.start())
            case "message_delta":
                if event.usage is not None:
                    self._usage = later(self._usage, event.usage)
                if delta is not None and delta.stop_reason is not None:
                    self.finish_reason = finish_of(FINISH_REASONS, delta.stop_reason)
                    out.append(self._chunks.end(self.finish_reason))
            case "message_stop":
                self._stop(out)
            case "error":
                raise error_inside(event)

    def _delta(self, delta: EventDelta, out: list[bytes]) -> None:
        match delta.type:
            case "text_delta":
                out.append(self._chunks.text(delta.text))
            case "input_json_delta" if (
                delta.partial_json and self._block is not None and self._block.type == "tool_use"
            ):
                self._argued = True
                out.append(self._chunks.arguments(self._calls - 1, delta.partial_json))
            case "thinking_delta":
                self._thinking.append(delta.thinking)
                out.append(self._chunks.reasoning(delta.thinking))
            case "signature_delta":
                self._signature += delta.signature

    def _open(self, block: Block, out: list[bytes]) -> None:
        self._block = block
        match block.type:
            case "text" if block.text:
                out.append(self._chunks.text(block.text))
            case "tool_use":
                self._calls += 1
                self._argued = False
                call = ToolCallOut(
                    index=self._calls - 1, id=block.id, type="function", function=FunctionOut(name=block.name)
                )
                out.append(self._chunks.call(call))
            case "thinking":
                self._thinking = [block.thinking] if block.thinking else []
                self._signature = block.signature
                if block.thinking:
                    out.append(self._chunks.reasoning(block.thinking))
            case "redacted_thinking":
                redacted = Raw(ENCODER.encode({"type": "redacted_thinking", "data": block.data}))
                out.append(self._chunks.thinking_block(redacted))

    def _close(self, out: list[bytes]) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        if block.type == "tool_use" and not self._argued:
            # A call without arguments has no delta.
            out.append(self._chunks.arguments(self._calls - 1, compact(block.input)))
        if block.type == "thinking":
            whole = {"type": "thinking", "thinking": "".join(self._thinking), "signature": self._signature}
            out.append(self._chunks.thinking_block(Raw(ENCODER.encode(whole))))
            self._thinking = []

    def _stop(self, out: list[bytes]) -> None:
        out.extend(self._chunks.total(self.usage))
        self.complete = True
