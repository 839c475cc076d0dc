"""Cohere's own API, version 2: chat, embed and rerank. https://docs.cohere.com/reference/chat

What a model says before it calls tools is its `tool_plan` here and its `content` in the canonical form. Citations travel in
`extra_content.cohere.citations`, and are restored from there.
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
    Chat,
    Message,
    Part,
    calls,
    data_url,
    functions,
    image_url,
    read,
    text,
    tool_choice,
    unheard,
)
from llmproxy.provider_workers.canonical_answers import (
    ChoiceOut,
    Chunks,
    Delta,
    FunctionOut,
    MessageOut,
    ToolCallOut,
    completion,
    finish_of,
)
from llmproxy.provider_workers.compatible_answers import one_line
from llmproxy.provider_workers.compatible_requests import read_fields
from llmproxy.provider_workers.natives import embeddings
from llmproxy.provider_workers.natives.passing import whole
from llmproxy.provider_workers.natives.rerank import Rerank
from llmproxy.provider_workers.reading import (
    UNREADABLE,
    decode_error,
    decode_vendor,
    given,
    invalid,
    printable,
    tokens,
    unsupported,
)
from llmproxy.provider_workers.sse import EventStream
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.vendor_errors import vendor_error
from llmproxy.provider_workers.wire import ENCODER, failed, post

VENDOR = "Cohere"
URL = "https://api.cohere.com"

READS = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
    }
)

FINISH_REASONS: dict[str, Finish] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}
FAILED = {"ERROR": 500, "TIMEOUT": 504}  # Reasons for which there is no answer.
INVALID_TOKEN = 498  # A status of Cohere's own.
TRIAL_USED_UP = re.compile(r"trial key.{0,200}month", re.IGNORECASE | re.DOTALL)

BUDGETS = {"minimal": 512, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 31_000, "max": 31_000}
INPUT_TYPE = Raw(b'"search_document"')  # What OpenAI's format does not say and Cohere wants to know.
INPUT_TYPES = frozenset({"search_document", "search_query", "classification", "clustering"})


class Content(Struct, frozen=True):
    type: str = ""
    text: str | None = None
    thinking: str | None = None


class WireFunction(Struct, frozen=True):
    name: str = ""
    arguments: str = ""


class WireCall(Struct, frozen=True):
    id: str = ""
    function: WireFunction = WireFunction()


class ReplyMessage(Struct, frozen=True):
    content: list[Content] | None = None
    tool_plan: str | None = None
    tool_calls: list[WireCall] | None = None
    citations: list[Raw] | None = None


class Counts(Struct, frozen=True):
    """Whole numbers, written as 12.0."""

    input_tokens: float | None = None
    output_tokens: float | None = None


class WireUsage(Struct, frozen=True):
    billed_units: Counts | None = None
    tokens: Counts | None = None
    cached_tokens: float | None = None


class Reply(Struct, frozen=True):
    message: ReplyMessage
    finish_reason: str = ""
    usage: WireUsage | None = None


class DeltaMessage(Struct, frozen=True):
    """What an event adds; which field is set depends on the event's type."""

    content: Content | None = None
    tool_plan: str | None = None
    tool_calls: WireCall | None = None
    citations: Raw = Raw(b"")


class WireDelta(Struct, frozen=True):
    message: DeltaMessage | None = None
    finish_reason: str | None = None
    usage: WireUsage | None = None
    error: str | None = None


class Event(Struct, frozen=True):
    """In `message-start` the message has its lists whole; nothing of it is read."""

    type: str
    delta: Raw = Raw(b"")


class ErrorBody(Struct, frozen=True):
    message: str = ""


class CohereExtra(Struct, frozen=True):
    citations: list[Raw] = []


class Extra(Struct, frozen=True):
    cohere: CohereExtra = CohereExtra()


class Vectors(Struct, frozen=True):
    floats: list[Raw] | None = msgspec.field(name="float", default=None)


class Meta(Struct, frozen=True):
    billed_units: Counts | None = None


class EmbedReply(Struct, frozen=True):
    embeddings: Vectors
    meta: Meta | None = None


REPLY = msgspec.json.Decoder(Reply)
EVENT = msgspec.json.Decoder(Event)
DELTA = msgspec.json.Decoder(WireDelta)
ERROR = msgspec.json.Decoder(ErrorBody)
EXTRA = msgspec.json.Decoder(Extra)
EMBED_REPLY = msgspec.json.Decoder(EmbedReply)
TEXT = msgspec.json.Decoder(str)


class Cohere:
    name = "cohere"
    default_url = URL
    credential: Credential = "bearer"
    capabilities = frozenset(Capability) - {Capability.CHOICES, Capability.LOGPROBS}
    natives: Mapping[Api, Wire]

    def __init__(self) -> None:
        self.natives = {"embeddings": Embed(), "rerank": Rerank(URL, rerank_url)}

    def request(self, body: bytes, target: Target) -> HttpRequest:
        chat, dropped = read(body, vendor=VENDOR, reads=READS)
        made = {"model": target.model, **translate(chat, dropped), **({"stream": True} if target.stream else {})}
        return post(api_url(target.url or URL, "chat"), made, dropped)

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(REPLY, body, VENDOR)
        except GatewayError as error:
            return failed(error)
        if reply.finish_reason in FAILED:
            return failed(vendor_error(VENDOR, FAILED[reply.finish_reason], {}))
        finish = finish_of(FINISH_REASONS, reply.finish_reason)
        choice = ChoiceOut(message=message_of(reply.message), finish_reason=finish)
        return completion(request, [choice], usage_of(reply.usage), finish)

    def events(self, request: Origin) -> StreamTranslator:
        return VendorStream(VENDOR, EventStream(), Chunked(request))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        message = decode_error(ERROR, body, ErrorBody()).message
        code = "insufficient_quota" if TRIAL_USED_UP.search(message) else ""
        return vendor_error(VENDOR, 401 if status == INVALID_TOKEN else status, headers, message=message, code=code)


@lru_cache(maxsize=256)
def api_url(base: str, path: str) -> str:
    """`base` with or without a version's path; the path of Cohere's layer for OpenAI's format is another API."""
    at = urlsplit(base)
    stem = at.path.rstrip("/").removesuffix(f"/{path}")
    for version in ("/compatibility/v1", "/v1", "/v2"):
        stem = stem.removesuffix(version)
    return urlunsplit((at.scheme, at.netloc, f"{stem}/v2/{path}", at.query, ""))


def rerank_url(base: str, path: str, model: str) -> str:
    return api_url(base, path)


# -- requests


def translate(chat: Chat, dropped: list[str]) -> dict[str, Any]:
    """The vendor's request but for model and stream. Adds to `dropped` what has no place and does not change the answer."""
    request: dict[str, Any] = {"messages": conversation(chat, dropped)}
    dropped += [hint for hint in unheard(chat) if hint == "cache_control"]
    request.update(tools(chat))
    request.update(answer_format(chat))
    if "tools" in request and "response_format" in request:
        raise unsupported(VENDOR, "response_format", f"{VENDOR} takes it only without tools")
    said = {
        "max_tokens": chat.output_tokens_max,
        "temperature": chat.temperature,
        "p": chat.top_p if chat.top_p != 1 else None,  # At most 0.99 here; 1 says nothing.
        "k": chat.top_k,
        "seed": chat.seed,
        "presence_penalty": penalty(chat.presence_penalty, "presence_penalty"),
        "frequency_penalty": penalty(chat.frequency_penalty, "frequency_penalty"),
        "stop_sequences": chat.stops or None,
    }
    request.update({name: value for name, value in said.items() if value is not None})
    if chat.reasoning_effort is not None:
        request["thinking"] = thinking(chat.reasoning_effort)
    return request


def penalty(value: float | None, name: str) -> float | None:
    if value is not None and not 0 <= value <= 1:
        raise unsupported(VENDOR, name, f"{VENDOR} takes 0 to 1")
    return value or None


def thinking(effort: str) -> dict[str, Any]:
    if effort == "none":
        return {"type": "disabled"}
    if effort not in BUDGETS:
        raise invalid("reasoning_effort", f"must be one of none, {', '.join(BUDGETS)}")
    return {"type": "enabled", "token_budget": BUDGETS[effort]}


def answer_format(chat: Chat) -> dict[str, Any]:
    form = chat.response_format
    if form is None or form.type == "text":
        return {}
    if form.type == "json_object":
        return {"response_format": {"type": "json_object"}}
    if form.type == "json_schema" and form.json_schema is not None and form.json_schema.schema is not None:
        return {"response_format": {"type": "json_object", "json_schema": form.json_schema.schema}}
    raise unsupported(VENDOR, "response_format.type")


def tools(chat: Chat) -> dict[str, Any]:
    offered = functions(chat, VENDOR)
    if not offered:
        return {}
    if chat.parallel_tool_calls is False:
        raise unsupported(VENDOR, "parallel_tool_calls", f"{VENDOR} cannot be kept from calling tools in parallel")
    choice = tool_choice(chat, VENDOR)
    mode = choice.mode if choice is not None else ""
    # To be made to call a tool, of one alone, is to be made to call that one.
    if choice is not None and mode == "named":
        offered = [function for function in offered if function.name == choice.name]
        if not offered:
            raise invalid("tool_choice", "must name one of the tools")
    found: dict[str, Any] = {"tools": []}
    for function in offered:
        made: dict[str, Any] = {"name": function.name}
        if function.description:
            made["description"] = function.description
        made["parameters"] = function.parameters if given(function.parameters) else {"type": "object", "properties": {}}
        found["tools"].append({"type": "function", "function": made})
    if mode in ("required", "named"):
        found["tool_choice"] = "REQUIRED"
    if mode == "none":
        found["tool_choice"] = "NONE"
    if any(function.strict for function in offered):
        found["strict_tools"] = True
    return found


def conversation(chat: Chat, dropped: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for index, message in enumerate(chat.messages):
        if message.name is not None and message.role != "tool":
            dropped.append(f"messages[{index}].name")
        match message.role:
            case "system" | "developer":
                made: dict[str, Any] = {"role": "system", "content": text(message, index, VENDOR)}
            case "user":
                made = {"role": "user", "content": user_content(message, index)}
            case "tool":
                made = tool_result(message, index, dropped)
            case "assistant":
                made = assistant(message, index, dropped)
            case _:
                raise unsupported(VENDOR, f"messages[{index}].role")
        if made.get("content", True) or message.role == "tool":  # An empty message says nothing, but a result answers.
            found.append(made)
    if not found:
        raise invalid("messages", "must hold a message that is not empty")
    return found


def user_content(message: Message, index: int) -> str | list[dict[str, Any]]:
    if not isinstance(message.content, list):
        return message.content or ""
    return [user_part(part, f"messages[{index}].content[{i}]") for i, part in enumerate(message.content)]


def user_part(part: Part, at: str) -> dict[str, Any]:
    match part.type:
        case "text":
            return {"type": "text", "text": part.text or ""}
        case "image_url":
            url = image_url(part)
            data_url(url, f"{at}.image_url.url")
            detail = getattr(part.image_url, "detail", None)
            return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}
    raise unsupported(VENDOR, f"{at}.type", f"{VENDOR} has no equivalent of '{printable(part.type, 40)}'")


def tool_result(message: Message, index: int, dropped: list[str]) -> dict[str, Any]:
    at = f"messages[{index}].tool_call_id"
    if not message.tool_call_id:
        raise GatewayError("missing_required_parameter", f"'{at}' is required", param=at)
    if message.is_error:
        dropped.append(f"messages[{index}].is_error")  # The text says it.
    return {"role": "tool", "tool_call_id": message.tool_call_id, "content": text(message, index, VENDOR)}


def assistant(message: Message, index: int, dropped: list[str]) -> dict[str, Any]:
    if given(message.audio):
        raise unsupported(VENDOR, f"messages[{index}].audio")
    if message.thinking_blocks:
        dropped.append(f"messages[{index}].thinking_blocks")  # Other vendors' signatures.
    made: dict[str, Any] = {"role": "assistant"}
    said = text(message, index, VENDOR) or message.refusal or ""
    called = calls(message, index, VENDOR)
    content: list[dict[str, Any]] = []
    if message.reasoning_content:
        content.append({"type": "thinking", "thinking": message.reasoning_content})
    if said and not called:
        content.append({"type": "text", "text": said})
    if content:
        made["content"] = content
    elif not called:
        made["content"] = ""  # Left out with the rest of what is empty.
    if called:
        if said:
            made["tool_plan"] = said
        made["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": function.name, "arguments": bytes(arguments).decode()},
            }
            for call, function, arguments in called
        ]
    if found := citations_in(message.extra_content):
        made["citations"] = found
    return made


def citations_in(extra: Raw) -> list[Raw]:
    if not given(extra):
        return []
    try:
        return EXTRA.decode(extra).cohere.citations
    except UNREADABLE:
        return []  # Another vendor's.


# -- answers


def message_of(message: ReplyMessage) -> MessageOut:
    parts = message.content or []
    said = (message.tool_plan or "") + "".join(part.text or "" for part in parts)
    thought = "".join(part.thinking or "" for part in parts)
    calling = [
        ToolCallOut(
            id=call.id, type="function", function=FunctionOut(name=call.function.name, arguments=arguments(call))
        )
        for call in message.tool_calls or []
    ]
    return MessageOut(
        content=said if said or not calling else None,
        reasoning_content=thought or UNSET,
        tool_calls=calling or UNSET,
        extra_content=cited(message.citations) if message.citations else UNSET,
    )


def arguments(call: WireCall) -> str:
    return call.function.arguments or "{}"


def cited(citations: list[Raw]) -> Raw:
    return Raw(ENCODER.encode({"cohere": {"citations": citations}}))


def usage_of(wire: WireUsage | None) -> Usage:
    """What is billed, because it becomes money; `tokens` counts Cohere's own preamble too. Thinking is inside the output."""
    counts = (wire.billed_units or wire.tokens) if wire is not None else None
    if wire is None or counts is None:
        return Usage()
    took = count(counts.input_tokens)
    return Usage(input=took, output=count(counts.output_tokens), cache_read=min(count(wire.cached_tokens), took))


def count(number: float | None) -> int:
    return tokens(whole(number))


class Chunked:
    """A stream as canonical chunks. Typed events in; `message-end` ends them."""

    __slots__ = ("_argued", "_calls", "_chunks", "_cited", "complete", "finish_reason", "usage")

    def __init__(self, origin: Origin) -> None:
        self._chunks = Chunks(origin)
        self._calls = 0  # Tool calls begun.
        self._argued = False  # The open call has arguments.
        self._cited: list[Raw] = []  # Told at once, at the end: OpenAI's package cannot add up lists without numbers.
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False

    @property
    def text_chars(self) -> int:
        return self._chunks.text_chars

    def take(self, event: tuple[bytes, bytes], out: list[bytes]) -> None:
        data = event[1]
        if data == b"[DONE]":
            return
        read = decode_vendor(EVENT, data, VENDOR)
        match read.type:
            case "content-delta" | "content-start" | "tool-plan-delta" | "tool-call-start" | "tool-call-delta":
                delta = decode_vendor(DELTA, bytes(read.delta), VENDOR)
                if delta.message is not None:
                    self._said(read.type, delta.message, out)
            case "tool-call-end" if self._calls and not self._argued:
                out.append(self._chunks.arguments(self._calls - 1, "{}"))
            case "citation-start":
                delta = decode_vendor(DELTA, bytes(read.delta), VENDOR)
                if delta.message is not None and given(delta.message.citations):
                    self._cited.append(Raw(one_line(bytes(delta.message.citations))))
            case "message-start":
                out.extend(self._chunks.start())
            case "message-end":
                self._last(decode_vendor(DELTA, bytes(read.delta), VENDOR), out)

    def end(self, out: list[bytes]) -> None:
        """Nothing but `message-end` has the reason."""

    def _said(self, kind: str, message: DeltaMessage, out: list[bytes]) -> None:
        out.extend(self._chunks.start())
        if message.content is not None:
            if message.content.text:
                out.append(self._chunks.text(message.content.text))
            if message.content.thinking:
                out.append(self._chunks.reasoning(message.content.thinking))
        if message.tool_plan:
            out.append(self._chunks.text(message.tool_plan))
        if message.tool_calls is not None:
            self._call(kind, message.tool_calls, out)

    def _call(self, kind: str, call: WireCall, out: list[bytes]) -> None:
        if kind == "tool-call-start":
            self._calls += 1
            self._argued = bool(call.function.arguments)
            function = FunctionOut(name=call.function.name, arguments=call.function.arguments)
            out.append(
                self._chunks.call(ToolCallOut(index=self._calls - 1, id=call.id, type="function", function=function))
            )
        elif call.function.arguments and self._calls:
            self._argued = True
            out.append(self._chunks.arguments(self._calls - 1, call.function.arguments))

    def _last(self, delta: WireDelta, out: list[bytes]) -> None:
        self.usage = usage_of(delta.usage)
        reason = delta.finish_reason or ""
        if reason in FAILED or delta.error:
            raise vendor_error(VENDOR, FAILED.get(reason, 500), {})
        out.extend(self._chunks.start())
        if self._cited:
            out.append(self._chunks.delta(Delta(extra_content=cited(self._cited))))
        self.finish_reason = finish_of(FINISH_REASONS, reason)
        out.append(self._chunks.end(self.finish_reason))
        out.extend(self._chunks.total(self.usage))
        self.complete = True


# -- embeddings


class Embed:
    """OpenAI's embeddings by Cohere's embed. `input_type` is Cohere's own field, and taken beside OpenAI's.

    https://docs.cohere.com/reference/embed
    """

    def request(self, body: bytes, target: Target) -> HttpRequest:
        if target.stream:
            raise embeddings.no_stream(VENDOR)
        fields = read_fields(body)
        kind = fields.pop("input_type", INPUT_TYPE)
        try:
            is_known = TEXT.decode(kind) in INPUT_TYPES
        except UNREADABLE:
            is_known = False
        if not is_known:
            raise invalid("input_type", f"must be one of {', '.join(sorted(INPUT_TYPES))}")
        texts, dimensions, dropped = embeddings.read(ENCODER.encode(fields), VENDOR)
        made: dict[str, Any] = {
            "model": target.model,
            "texts": texts,
            "input_type": kind,
            "embedding_types": ["float"],
            "truncate": "NONE",  # By default Cohere cuts a long text and says nothing; OpenAI refuses it.
        }
        if dimensions is not None:
            made["output_dimension"] = dimensions
        return post(api_url(target.url or URL, "embed"), made, list(dropped))

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(EMBED_REPLY, body, VENDOR)
        except GatewayError as error:
            return failed(error)
        units = reply.meta.billed_units if reply.meta is not None else None
        usage = Usage(input=count(units.input_tokens) if units is not None else 0)
        return embeddings.answer(reply.embeddings.floats or [], usage, request, VENDOR)

    def events(self, request: Origin) -> StreamTranslator:
        raise embeddings.no_stream(VENDOR)
