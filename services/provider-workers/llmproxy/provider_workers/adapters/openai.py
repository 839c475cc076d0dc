"""OpenAI Chat Completions, and the many servers that speak it. https://platform.openai.com/docs/api-reference/chat

The canonical form is this one, so bodies pass through: unknown fields, key order and number spelling stay as they are.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Raw, Struct

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.adapters.base import Answer, Capability, Credential, HttpRequest, Origin, Target, Wire
from llmproxy.provider_workers.canonical import UNREADABLE, broken, decode_vendor, failed, finish_of, tokens
from llmproxy.provider_workers.sse import EventStream
from llmproxy.provider_workers.vendor_errors import vendor_error

VENDOR = "the provider"  # Which of the many servers of this format it is, the endpoint's name says.

FINISH_REASONS: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

# In-band errors have no status. OpenRouter's `code` is one; others say it in words.
STATUS_OF_CODE = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "server_is_overloaded": 503,
    "service_unavailable_error": 503,
    "overloaded_error": 503,
    "context_length_exceeded": 400,
    "invalid_request_error": 400,
    "content_filter": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
}

HEADERS = (("content-type", "application/json"),)
VERSION = re.compile(r"/v\d+[a-z0-9]*(?:/|$)")
UNVERSIONED_HOSTS = frozenset({"api.perplexity.ai", "models.github.ai", "models.inference.ai.azure.com"})
TRUE, FALSE = Raw(b"true"), Raw(b"false")


class PromptDetails(Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(Struct, frozen=True):
    reasoning_tokens: int | None = None


class WireUsage(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's name for cached_tokens.


class WireError(Struct, frozen=True):
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class ErrorBody(Struct, frozen=True):
    """`error` is an object at OpenAI, a text at xAI; vLLM and Mistral put its fields on top; FastAPI has `detail`."""

    error: WireError | str | None = None
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None
    detail: str | list[Raw] | None = None


class WireChoice(Struct, frozen=True):
    finish_reason: str | None = None


class WireCompletion(Struct, frozen=True):
    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    error: WireError | str | None = None


class WireFunction(Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class WireCall(Struct, frozen=True):
    function: WireFunction | None = None


class WireDelta(Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # vLLM, OpenRouter and Groq.
    tool_calls: list[WireCall] | None = None


class WireDeltaChoice(Struct, frozen=True):
    index: int = 0
    delta: WireDelta | None = None
    finish_reason: str | None = None


class WireChunk(Struct, frozen=True):
    choices: list[WireDeltaChoice] | None = None
    usage: WireUsage | None = None
    error: WireError | str | None = None


FIELDS = msgspec.json.Decoder(dict[str, Raw])
COMPLETION = msgspec.json.Decoder(WireCompletion)
CHUNK = msgspec.json.Decoder(WireChunk)
ERROR = msgspec.json.Decoder(ErrorBody)


class OpenAI:
    name = "openai"
    default_url = "https://api.openai.com/v1"
    credential: Credential = "bearer"
    capabilities = frozenset(Capability)
    natives: Mapping[Api, Wire] = {}

    def request(self, body: bytes, target: Target) -> HttpRequest:
        return HttpRequest(
            method="POST",
            url=chat_url(target.url or self.default_url),
            headers=HEADERS,
            body=aim(body, target),
        )

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(COMPLETION, body, VENDOR)
        except GatewayError as error:
            return failed(error)
        if reply.error is not None:
            return failed(error_inside(reply.error))
        if not reply.choices:
            return failed(GatewayError("provider_bad_answer", f"{VENDOR} sent an answer without choices"))
        finish = finish_of(FINISH_REASONS, reply.choices[0].finish_reason or "")
        return Answer(json=body, usage=usage_of(reply.usage), finish=finish)

    def events(self, request: Origin) -> "Stream":
        return Stream(request)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        message, code, param = words_of(body)
        return vendor_error(VENDOR, status, headers, message=message, code=code, param=param)


def aim(body: bytes, target: Target) -> bytes:
    """The same body for the target's model, asking a stream for its usage. Untouched when it says so already."""
    try:
        fields = FIELDS.decode(body)
    except UNREADABLE:
        raise GatewayError("invalid_json", "the body is not a valid JSON object") from None
    changes: dict[str, Raw] = {}
    model = msgspec.json.encode(target.model)
    if bytes(fields.get("model", b"")) != model:
        changes["model"] = Raw(model)
    if (bytes(fields.get("stream", b"false")) == b"true") != target.stream:
        changes["stream"] = TRUE if target.stream else FALSE
    if target.stream:
        options = _options(fields.get("stream_options"))
        if bytes(options.get("include_usage", b"")) != b"true":
            changes["stream_options"] = Raw(msgspec.json.encode({**options, "include_usage": TRUE}))
    return msgspec.json.encode({**fields, **changes}) if changes else body


def _options(raw: Raw | None) -> dict[str, Raw]:
    if raw is None or bytes(raw) == b"null":
        return {}
    try:
        return FIELDS.decode(raw)
    except UNREADABLE:
        raise GatewayError("invalid_type", "'stream_options' must be an object", param="stream_options") from None


@lru_cache(maxsize=256)
def chat_url(base: str) -> str:
    """`base` with or without its version path. Azure's deployments and a few hosts have none."""
    at = urlsplit(base)
    path = at.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        versioned = VERSION.search(path) or "/deployments/" in path or at.hostname in UNVERSIONED_HOSTS
        path += "/chat/completions" if versioned else "/v1/chat/completions"
    return urlunsplit((at.scheme, at.netloc, path, at.query, ""))


def usage_of(wire: WireUsage | None) -> Usage:
    """Cache and reasoning tokens are inside the totals, but for xAI's reasoning, which its own total gives away."""
    if wire is None:
        return Usage()
    prompt, output = tokens(wire.prompt_tokens), tokens(wire.completion_tokens)
    details = wire.prompt_tokens_details or PromptDetails()
    reasoning = tokens(wire.completion_tokens_details.reasoning_tokens) if wire.completion_tokens_details else 0
    if reasoning and wire.total_tokens == prompt + output + reasoning:
        output += reasoning
    return Usage(
        input=prompt,
        output=output,
        cache_read=tokens(details.cached_tokens or wire.prompt_cache_hit_tokens),
        cache_write=tokens(details.cache_write_tokens),
        reasoning=reasoning,
    )


def words_of(body: bytes) -> tuple[str, str, str]:
    """(message, code, param) of an error body, whoever's."""
    try:
        reply = ERROR.decode(body)
    except UNREADABLE:
        return "", "", ""
    inner = reply.error
    if isinstance(inner, WireError):
        return inner.message or "", f"{inner.code or ''} {inner.type or ''}".strip(), inner.param or ""
    detail = reply.detail if isinstance(reply.detail, str) else ""
    message = (inner if isinstance(inner, str) else "") or reply.message or detail
    return message, f"{reply.code or ''} {reply.type or ''}".strip(), reply.param or ""


def error_inside(error: WireError | str) -> GatewayError:
    """An error that came with status 200."""
    if isinstance(error, str):
        return vendor_error(VENDOR, 500, {}, message=error)
    status = error.code if isinstance(error.code, int) else STATUS_OF_CODE.get(error.code or "")
    if status is None or not 400 <= status < 600:
        status = STATUS_OF_CODE.get(error.type or "", 500)
    code = f"{error.code or ''} {error.type or ''}".strip()
    return vendor_error(VENDOR, status, {}, message=error.message or "", code=code, param=error.param or "")


class Stream:
    """Chunks pass through as they are; each is read only as far as to know that it is JSON, and what it counts."""

    __slots__ = ("_include_usage", "_open", "_parser", "complete", "failure", "finish_reason", "text_chars", "usage")

    def __init__(self, origin: Origin) -> None:
        self._parser = EventStream()
        self._include_usage = origin.include_usage
        self._open: set[int] = set()  # Choices that have begun and not finished.
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False
        self.failure: GatewayError | None = None
        self.text_chars = 0

    def feed(self, data: bytes) -> list[bytes]:
        if self.failure is not None:
            return []
        out: list[bytes] = []
        try:
            for _, event in self._parser.feed(data):
                self._take(event, out)
        except GatewayError as error:
            self.failure = error
        return out

    def finish(self) -> list[bytes]:
        out: list[bytes] = []
        if self.failure is None and not self.complete:
            try:
                for _, event in self._parser.finish():
                    self._take(event, out)
            except GatewayError:
                self.failure = broken(VENDOR)  # The rest was half an event.
                return out
            # Some servers forget [DONE]; an answer whose choices have all finished is whole all the same.
            self.complete = self.complete or (bool(self.finish_reason) and not self._open)
            if not self.complete and self.failure is None:
                self.failure = broken(VENDOR)
        return out

    def _take(self, data: bytes, out: list[bytes]) -> None:
        if self.complete or self.failure is not None:
            return
        if data == b"[DONE]":
            self.complete = True
            return
        try:
            if not data.isascii():
                data.decode()  # What is passed on unread must be UTF-8 too, which the decoder does not check.
            chunk = CHUNK.decode(data)
        except msgspec.ValidationError:
            decode_vendor(FIELDS, data, VENDOR)  # Unusual, but an object: the client may know what it means.
            out.append(one_line(data))
            return
        except UNREADABLE:
            raise GatewayError("provider_bad_answer", f"{VENDOR} sent an event that is not JSON") from None
        if chunk.error is not None:
            self.failure = error_inside(chunk.error)
            return
        if chunk.choices:
            self._count(chunk.choices)
        if chunk.usage is not None:
            self.usage = usage_of(chunk.usage)
            if not chunk.choices:
                if not self._include_usage:
                    return
                data = data if chunk.choices is not None else with_choices(data)
        out.append(data if b"\n" not in data else one_line(data))

    def _count(self, choices: list[WireDeltaChoice]) -> None:
        for choice in choices:
            delta = choice.delta
            if delta is not None:
                if delta.content:
                    self.text_chars += len(delta.content)
                elif delta.tool_calls:
                    self.text_chars += sum(_chars(call.function) for call in delta.tool_calls)
                elif reasoning := delta.reasoning_content or delta.reasoning:
                    self.text_chars += len(reasoning)
            if choice.finish_reason is None:
                self._open.add(choice.index)
            else:
                self._open.discard(choice.index)
                self.finish_reason = self.finish_reason or finish_of(FINISH_REASONS, choice.finish_reason)


def _chars(function: WireFunction | None) -> int:
    return len(function.arguments or "") + len(function.name or "") if function else 0


def one_line(data: bytes) -> bytes:
    """The same JSON without the newlines that a multi-line event may bring."""
    return msgspec.json.format(data, indent=-1)


def with_choices(data: bytes) -> bytes:
    """Forks of vLLM send `choices: null` with the usage; clients expect a list."""
    return msgspec.json.encode({**FIELDS.decode(data), "choices": []})
