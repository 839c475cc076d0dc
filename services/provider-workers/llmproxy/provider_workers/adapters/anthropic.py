"""Anthropic Messages API. https://docs.anthropic.com/en/api/messages

Signed thinking must come back exactly as it was sent: it leaves as `reasoning_content` for readers and, whole, in
`thinking_blocks`, and is restored from there.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import UNSET, Raw, Struct

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.adapters.base import (
    Answer,
    Capability,
    Credential,
    HttpRequest,
    Origin,
    StreamTranslator,
    Target,
    Wire,
)
from llmproxy.provider_workers.canonical import (
    ENCODER,
    UNREADABLE,
    Chat,
    ChoiceOut,
    Chunks,
    Delta,
    FunctionOut,
    Message,
    MessageOut,
    Part,
    ToolCallOut,
    called,
    calls,
    compact,
    completion,
    data_url,
    decode_error,
    decode_vendor,
    failed,
    finish_of,
    given,
    image_url,
    invalid,
    parts,
    post,
    printable,
    read,
    text_of,
    tokens,
    tool_choice,
    unsupported,
)
from llmproxy.provider_workers.claude import JSON_ONLY, MAX_TOKENS, reasoning
from llmproxy.provider_workers.sse import EventStream
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.vendor_errors import vendor_error

VENDOR = "Anthropic"
API_VERSION = "2023-06-01"  # The version with sampling fields; the SDK's of late 2026 has none.

READS = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "thinking",
        "user",
    }
)

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

NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
CALL_ID = re.compile(r"[^a-zA-Z0-9_-]")  # Ids of other vendors in a history may hold characters that are refused here.


class WireUsage(Struct, frozen=True):
    """Counts of a stream are cumulative, and absent where they have not changed."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: "OutputDetails | None" = None


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


class Anthropic:
    name = "anthropic"
    default_url = "https://api.anthropic.com"
    credential: Credential = "x-api-key"
    capabilities = frozenset(Capability) - {Capability.CHOICES, Capability.LOGPROBS}
    natives: Mapping[Api, Wire] = {}

    def request(self, body: bytes, target: Target) -> HttpRequest:
        chat, dropped = read(body, vendor=VENDOR, reads=READS)
        return post(messages_url(target.url or self.default_url), translate(chat, target, dropped), dropped, HEADERS)

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(REPLY, body, VENDOR)
            message = message_of(reply)
        except GatewayError as error:
            return failed(error)
        finish = finish_of(FINISH_REASONS, reply.stop_reason or "")
        return completion(request, [ChoiceOut(message=message, finish_reason=finish)], usage_of(reply.usage), finish)

    def events(self, request: Origin) -> StreamTranslator:
        return VendorStream(VENDOR, EventStream(), Chunked(request))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        error = decode_error(ERROR, body, ErrorBody()).error
        return vendor_error(VENDOR, status, headers, message=error.message, code=error.type)


@lru_cache(maxsize=256)
def messages_url(base: str) -> str:
    at = urlsplit(base)
    path = at.path.rstrip("/")
    if not path.endswith("/v1/messages"):
        path = path.removesuffix("/v1") + "/v1/messages"
    return urlunsplit((at.scheme, at.netloc, path, at.query, ""))


# --- Requests ---------------------------------------------------------------------------------------------------------


def translate(chat: Chat, target: Target, dropped: list[str]) -> dict[str, Any]:
    """The vendor's request. Adds to `dropped` what has no place and does not change the answer."""
    system, turns = conversation(chat, dropped)
    effort = reasoning(chat, target.model, dropped, is_forced=is_forced(chat))
    if chat.response_format is not None:
        system, effort = answer_format(chat, system, effort)
    request: dict[str, Any] = {"model": target.model, "max_tokens": chat.output_tokens_max or MAX_TOKENS}
    request.update(effort)
    if system:
        request["system"] = system
    request["messages"] = turns
    if chat.tools:
        request["tools"] = tools(chat)
        if (choice := choice_of(chat)) is not None:
            request["tool_choice"] = choice
    request.update(sampling(chat))
    if chat.user:
        request["metadata"] = {"user_id": chat.user}
    if target.stream:
        request["stream"] = True
    return request


def sampling(chat: Chat) -> dict[str, Any]:
    """The range of temperature is 0 to 1 here. Recent models refuse the field, so the default is not sent."""
    found: dict[str, Any] = {}
    if chat.temperature is not None and chat.temperature != 1:
        if not 0 <= chat.temperature <= 1:
            raise unsupported(VENDOR, "temperature", f"{VENDOR} takes 0 to 1")
        found["temperature"] = chat.temperature
    if chat.top_p is not None and chat.top_p != 1:
        found["top_p"] = chat.top_p
    if chat.top_k is not None:
        found["top_k"] = chat.top_k
    if chat.stops:
        if not all(stop.strip() for stop in chat.stops):
            raise unsupported(VENDOR, "stop", f"{VENDOR} takes no stop sequence that is only white space")
        found["stop_sequences"] = chat.stops
    return found


def is_forced(chat: Chat) -> bool:
    """The model has no choice but to call a tool."""
    return bool(chat.tools) and chat.tool_choice not in (None, "auto", "none")


def answer_format(
    chat: Chat, system: list[dict[str, Any]], effort: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """`response_format` added to the system prompt or to `output_config`."""
    form = chat.response_format
    assert form is not None
    match form.type:
        case "text":
            return system, effort
        case "json_object":
            return [*system, {"type": "text", "text": JSON_ONLY}], effort
        case "json_schema" if form.json_schema is not None and form.json_schema.schema is not None:
            wanted = {"type": "json_schema", "schema": form.json_schema.schema}
            config = {**effort.get("output_config", {}), "format": wanted}
            return system, {**effort, "output_config": config}
    raise unsupported(VENDOR, "response_format.type")


def tools(chat: Chat) -> list[dict[str, Any]]:
    found = []
    for index, tool in enumerate(chat.tools or []):
        function = tool.function
        if tool.type != "function" or function is None:
            raise unsupported(VENDOR, f"tools[{index}].type", "only tools of type 'function' can be translated")
        made: dict[str, Any] = {"name": function.name}
        if function.description:
            made["description"] = function.description
        made["input_schema"] = function.parameters if given(function.parameters) else NO_PARAMETERS
        if function.strict:
            made["strict"] = True
        if given(tool.cache_control):
            made["cache_control"] = tool.cache_control
        found.append(made)
    return found


def choice_of(chat: Chat) -> dict[str, Any] | None:
    choice = tool_choice(chat, VENDOR)
    one_at_a_time = {"disable_parallel_tool_use": True} if chat.parallel_tool_calls is False else {}
    match choice.mode if choice is not None else "":
        case "":
            return {"type": "auto", **one_at_a_time} if one_at_a_time else None
        case "none":
            return {"type": "none"}
        case "required":
            return {"type": "any", **one_at_a_time}
        case "named":
            assert choice is not None
            return {"type": "tool", "name": choice.name, **one_at_a_time}
    return {"type": "auto", **one_at_a_time}


def conversation(chat: Chat, dropped: list[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(system blocks, alternating turns). Consecutive messages of one side are one turn here."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(chat.messages):
        if message.name is not None and message.role != "tool":
            dropped.append(f"messages[{index}].name")
        match message.role:
            case "system" | "developer":
                system.extend(texts(message, index))
                continue
            case "user":
                role, blocks = "user", user_blocks(message, index)
            case "tool":
                role, blocks = "user", [tool_result(message, index)]
            case "assistant":
                role, blocks = "assistant", assistant_blocks(message, index, dropped)
            case _:
                raise unsupported(VENDOR, f"messages[{index}].role")
        if not blocks:
            continue  # An empty message says nothing, and an empty block is refused.
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    if turns and turns[-1]["role"] == "assistant":
        trim(turns[-1]["content"])
    if not turns:
        raise invalid(
            "messages", f"must hold a user message that is not empty: {VENDOR} answers no system prompt alone"
        )
    return system, turns


def trim(blocks: list[Any]) -> None:
    """The API refuses white space at the end of an answer that it is to go on with."""
    if isinstance(blocks[-1], dict) and blocks[-1]["type"] == "text":
        blocks[-1]["text"] = blocks[-1]["text"].rstrip()


def texts(message: Message, index: int) -> list[dict[str, Any]]:
    at = f"messages[{index}].content"
    return [
        block
        for i, part in enumerate(parts(message))
        if (block := text_block(part, text_of(part, f"{at}[{i}]", VENDOR)))
    ]


def text_block(part: Part, text: str) -> dict[str, Any]:
    """Empty for blank text, which the API refuses as a block."""
    if not text.strip():
        return {}
    return {"type": "text", "text": text, **cache(part)}


def cache(part: Part) -> dict[str, Any]:
    return {"cache_control": part.cache_control} if given(part.cache_control) else {}


def user_blocks(message: Message, index: int) -> list[dict[str, Any]]:
    found = (user_block(part, f"messages[{index}].content[{i}]") for i, part in enumerate(parts(message)))
    return [block for block in found if block]


def user_block(part: Part, at: str) -> dict[str, Any]:
    match part.type:
        case "text":
            return text_block(part, part.text or "")
        case "image_url":
            return {"type": "image", "source": source(image_url(part), f"{at}.image_url.url"), **cache(part)}
        case "file" if part.file is not None and part.file.file_data is not None:
            found = source(part.file.file_data, f"{at}.file.file_data")
            if found.get("media_type") != "application/pdf":
                raise unsupported(VENDOR, f"{at}.file", f"{VENDOR} takes PDF files")
            return {"type": "document", "source": found, **cache(part)}
    raise unsupported(VENDOR, f"{at}.type", f"{VENDOR} has no equivalent of '{printable(part.type, 40)}'")


def source(url: str, at: str) -> dict[str, Any]:
    found = data_url(url, at)
    if found is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": found[0], "data": found[1]}


def tool_result(message: Message, index: int) -> dict[str, Any]:
    if not message.tool_call_id:
        raise GatewayError(
            "missing_required_parameter",
            f"'messages[{index}].tool_call_id' is required",
            param=f"messages[{index}].tool_call_id",
        )
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": CALL_ID.sub("_", message.tool_call_id)}
    content = message.content if isinstance(message.content, str) else user_blocks(message, index)
    if content:
        result["content"] = content
    if message.is_error:
        result["is_error"] = True
    return result


def assistant_blocks(message: Message, index: int, dropped: list[str]) -> list[dict[str, Any]]:
    if given(message.audio):
        raise unsupported(VENDOR, f"messages[{index}].audio")
    blocks: list[Any] = []
    for number, raw in enumerate(message.thinking_blocks or []):
        check_thinking(raw, f"messages[{index}].thinking_blocks[{number}]")
        blocks.append(raw)  # Untouched: the signature covers it.
    if message.reasoning_content and not message.thinking_blocks:
        dropped.append(f"messages[{index}].reasoning_content")  # Unsigned, so it would be refused.
    blocks.extend(texts(message, index))
    if message.refusal:
        blocks.append({"type": "text", "text": message.refusal})
    for call, function, arguments in calls(message, index, VENDOR):
        blocks.append({"type": "tool_use", "id": CALL_ID.sub("_", call.id), "name": function.name, "input": arguments})
    return blocks


def check_thinking(raw: Raw, at: str) -> None:
    try:
        kind = BLOCK.decode(raw).type
    except UNREADABLE:
        kind = ""
    if kind not in ("thinking", "redacted_thinking"):
        raise invalid(at, "must be a block of type thinking or redacted_thinking, as it was received")


# --- Answers ----------------------------------------------------------------------------------------------------------


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
                error = event.error or WireError()
                status = STATUS_OF_TYPE.get(error.type, 500)
                raise vendor_error(VENDOR, status, {}, message=error.message, code=error.type)

    def _delta(self, delta: EventDelta, out: list[bytes]) -> None:
        match delta.type:
            case "text_delta":
                out.append(self._chunks.text(delta.text))
            case "input_json_delta" if delta.partial_json:
                self._argued = True
                out.append(self._arguments(delta.partial_json))
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
                out.append(self._chunks.delta(Delta(thinking_blocks=[redacted])))

    def _close(self, out: list[bytes]) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        if block.type == "tool_use" and not self._argued:
            out.append(self._arguments(compact(block.input)))  # A call without arguments has no delta.
        if block.type == "thinking":
            whole = {"type": "thinking", "thinking": "".join(self._thinking), "signature": self._signature}
            out.append(self._chunks.delta(Delta(thinking_blocks=[Raw(ENCODER.encode(whole))])))
            self._thinking = []

    def _arguments(self, text: str) -> bytes:
        return self._chunks.call(ToolCallOut(index=self._calls - 1, function=FunctionOut(arguments=text)))

    def _stop(self, out: list[bytes]) -> None:
        out.extend(self._chunks.total(self.usage))
        self.complete = True
