"""Answers and streams of OpenAI's format, from whichever server: passed on as they are, but for what would mislead a client.

What is made whole: reasoning under its common name, finish reasons that only one vendor has, usage that comes with the
content or counts reasoning beside the output, chunks without choices, whole messages repeated in chunks.
"""

from collections.abc import Callable
from decimal import Decimal

import msgspec
from msgspec import Raw, Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.canonical_answers import finish_of
from llmproxy.provider_workers.compatible_requests import FIELDS, OBJECTS, Fields, encode
from llmproxy.provider_workers.reading import ABSENT, UNREADABLE, decode_vendor, tokens
from llmproxy.provider_workers.sse import Event, EventStream
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.vendor_errors import vendor_error
from llmproxy.provider_workers.wire import Answer, Origin, failed

FINISH_REASONS: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

ALIASES: dict[str, Finish] = {
    "eos": "stop",  # Together.
    "model_length": "length",  # Mistral: the context, not max_tokens, was the limit.
}
"""Finish reasons that OpenAI's clients do not know."""

BROKEN_OFF = {"error": 502, "insufficient_system_resource": 503}
"""Finish reasons that mean that there is no answer (Mistral and OpenRouter; DeepSeek) -> the status it amounts to."""

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
    "content_policy_violation": 400,
    "moderation_blocked": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
}


class PromptDetails(Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class CompletionDetails(Struct, frozen=True):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class ItemisedCost(Struct, frozen=True):
    """Perplexity's."""

    total_cost: Decimal | None = None


class WireUsage(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek's name for cached_tokens.
    cost: Raw = ABSENT  # OpenRouter's, in dollars; Perplexity's is itemised.


class WireError(Struct, frozen=True):
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class FlatError(WireError, frozen=True):
    """As vLLM and Mistral say it where an answer or a chunk should be."""

    object: str = ""


class Wrong(Struct, frozen=True):
    """One finding of FastAPI's validation."""

    msg: str | None = None
    loc: list[str | int] = []


class Validation(Struct, frozen=True):
    detail: list[Wrong] = []


class ErrorBody(Struct, frozen=True):
    """`error` is an object at OpenAI, a text at xAI; vLLM and Mistral put its fields on top; FastAPI has `detail`."""

    error: WireError | str | None = None
    message: str | Validation | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None
    detail: str | list[Wrong] | None = None


class Said(Struct, frozen=True):
    reasoning_content: str | None = None
    reasoning: str | None = None  # vLLM, OpenRouter, Groq and Together.


class WireChoice(Struct, frozen=True):
    finish_reason: str | None = None
    message: Said | None = None
    error: WireError | str | None = None  # OpenRouter's.


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
    reasoning: str | None = None
    tool_calls: list[WireCall] | None = None


class WireDeltaChoice(Struct, frozen=True):
    index: int = 0
    delta: WireDelta | None = None
    finish_reason: str | None = None
    message: Raw = ABSENT  # Perplexity repeats here all that was said so far.


class WireChunk(Struct, frozen=True):
    choices: list[WireDeltaChoice] | None = None
    usage: WireUsage | None = None
    error: WireError | str | None = None


HELD_MAX = 64  # Fields of chunks without choices.

COMPLETION = msgspec.json.Decoder(WireCompletion)
CHUNK = msgspec.json.Decoder(WireChunk)
ERROR = msgspec.json.Decoder(ErrorBody)
FLAT = msgspec.json.Decoder(FlatError)
ITEMISED = msgspec.json.Decoder(ItemisedCost)

Inward = Callable[[bytes], bytes]
"""What one vendor says otherwise -> OpenAI's format, of a whole answer or of one chunk."""


def usage_of(wire: WireUsage | None) -> Usage:
    """Cache and reasoning tokens are inside the totals, but for xAI's reasoning, which its own total gives away."""
    if wire is None:
        return Usage()
    prompt, output = tokens(wire.prompt_tokens), tokens(wire.completion_tokens)
    if not (wire.prompt_tokens_details or wire.completion_tokens_details or wire.prompt_cache_hit_tokens):
        return Usage(input=prompt, output=output)
    details = wire.prompt_tokens_details or PromptDetails()
    written = wire.completion_tokens_details or CompletionDetails()
    reasoning = tokens(written.reasoning_tokens)
    if reasoning and wire.total_tokens == prompt + output + reasoning:
        output += reasoning
    return Usage(
        input=prompt,
        output=output,
        cache_read=tokens(details.cached_tokens or wire.prompt_cache_hit_tokens),
        cache_write=tokens(details.cache_write_tokens),
        reasoning=reasoning,
        audio_input=tokens(details.audio_tokens),
        audio_output=tokens(written.audio_tokens),
    )


def response(body: bytes, vendor: str, usage: Callable[[WireUsage | None], Usage]) -> Answer:
    """The answer, in the bytes that came where nothing in it would mislead."""
    try:
        reply, body = completion_of(body, vendor)
    except GatewayError as error:
        return failed(error)
    if reply.error is not None:
        return failed(error_inside(reply.error, vendor))
    if not reply.choices:
        return failed(instead_of_choices(body, vendor) or without_choices(vendor))
    is_strange = False
    for choice in reply.choices:
        if choice.error is not None or choice.finish_reason in BROKEN_OFF:
            return failed(broken_off(choice.finish_reason, choice.error, vendor))
        is_strange = is_strange or _is_strange(choice.finish_reason, choice.message)
    used = usage(reply.usage)
    if is_strange or _hides(reply.usage, used):
        body = msgspec.json.encode(_normal(FIELDS.decode(body), "message", used))
    finish = finish_of(FINISH_REASONS, _plain(reply.choices[0].finish_reason))
    return Answer(json=body, usage=used, finish=finish)


def completion_of(body: bytes, vendor: str) -> tuple[WireCompletion, bytes]:
    """An answer is paid for, however it is counted: one whose usage cannot be read becomes one without."""
    try:
        return decode_vendor(COMPLETION, body, vendor), body
    except GatewayError:
        fields = decode_vendor(FIELDS, body, vendor)
        if fields.pop("usage", None) is None:
            raise
        body = msgspec.json.encode(fields)
        return decode_vendor(COMPLETION, body, vendor), body


def _is_strange(finish: str | None, said: Said | WireDelta | None) -> bool:
    return finish in ALIASES or (said is not None and bool(said.reasoning) and not said.reasoning_content)


def _hides(wire: WireUsage | None, used: Usage) -> bool:
    """It counts reasoning beside the output, where OpenAI's clients expect it inside."""
    if wire is None or wire.completion_tokens == used.output:
        return False
    return tokens(wire.completion_tokens) != used.output


def _plain(finish: str | None) -> str:
    return ALIASES.get(finish or "", finish or "")


def _normal(fields: Fields, said_in: str, used: Usage) -> Fields:
    """The answer or chunk as OpenAI's clients understand it. What they do not know stays beside it."""
    try:
        choices = OBJECTS.decode(fields.get("choices", b"[]"))
        fields["choices"] = encode([_normal_choice(choice, said_in) for choice in choices])
        if bytes(fields.get("usage", b"null")) != b"null":
            fields["usage"] = encode(_normal_usage(FIELDS.decode(fields["usage"]), used))
    except UNREADABLE:
        return fields  # Null among the choices: odd, and not ours to repair.
    return fields


def _normal_choice(choice: Fields, said_in: str) -> Fields:
    finish = bytes(choice.get("finish_reason", b"null"))
    if finish[:1] == b'"':
        choice["finish_reason"] = encode(_plain(msgspec.json.decode(finish)))
    if said_in == "delta":
        choice.pop("message", None)
        if finish == UNFINISHED:
            choice["finish_reason"] = NULL
    said = FIELDS.decode(choice[said_in]) if bytes(choice.get(said_in, b"null")) != b"null" else {}
    if bytes(said.get("reasoning", b"null")) != b"null" and bytes(said.get("reasoning_content", b"null")) in UNSAID:
        choice[said_in] = encode({**said, "reasoning_content": said["reasoning"]})
    return choice


UNSAID = frozenset({b"null", b'""'})
# How some vendors say in a chunk that there is more to come, and how OpenAI does.
UNFINISHED, NULL = b'""', Raw(b"null")


def _normal_usage(usage: Fields, used: Usage) -> Fields:
    return {
        **usage,
        "prompt_tokens": encode(used.input),
        "completion_tokens": encode(used.output),
        "total_tokens": encode(used.input + used.output),
    }


# -- errors


def words_of(body: bytes) -> tuple[str, str, str]:
    """(message, code, param) of an error body, whoever's."""
    try:
        reply = ERROR.decode(body)
    except UNREADABLE:
        return "", "", ""
    inner = reply.error
    if isinstance(inner, WireError):
        return inner.message or "", f"{inner.code or ''} {inner.type or ''}".strip(), inner.param or ""
    wrong = reply.message.detail if isinstance(reply.message, Validation) else reply.detail
    if isinstance(wrong, list) and wrong:
        place = ".".join(str(step) for step in wrong[0].loc if step != "body")
        return wrong[0].msg or "", f"{reply.type or ''}", place
    texts = (text for text in (inner, reply.message, reply.detail) if isinstance(text, str) and text)
    return next(texts, ""), f"{reply.code or ''} {reply.type or ''}".strip(), reply.param or ""


def error_inside(error: WireError | str, vendor: str) -> GatewayError:
    """An error that came with status 200."""
    if isinstance(error, str):
        return vendor_error(vendor, 500, {}, message=error)
    status = error.code if isinstance(error.code, int) else STATUS_OF_CODE.get(error.code or "")
    if status is None or not 400 <= status < 600:
        status = STATUS_OF_CODE.get(error.type or "", 500)
    code = f"{error.code or ''} {error.type or ''}".strip()
    return vendor_error(vendor, status, {}, message=error.message or "", code=code, param=error.param or "")


def instead_of_choices(body: bytes, vendor: str) -> GatewayError | None:
    """The error that stands flat where choices should be; None when something else does."""
    try:
        found = FLAT.decode(body)
    except UNREADABLE:
        return None
    return error_inside(found, vendor) if found.object == "error" else None


def without_choices(vendor: str) -> GatewayError:
    return GatewayError("provider_bad_answer", f"{vendor} sent an answer without choices")


def broken_off(finish: str | None, error: WireError | str | None, vendor: str) -> GatewayError:
    """A choice that ended without an answer."""
    return error_inside(error, vendor) if error else vendor_error(vendor, BROKEN_OFF.get(finish or "", 502), {})


# -- streams


def stream(
    origin: Origin,
    vendor: str,
    usage: Callable[[WireUsage | None], Usage] = usage_of,
    inward: Inward | None = None,
) -> VendorStream[Event]:
    return VendorStream(vendor, EventStream(), Reading(origin, vendor, usage, inward))


class Reading:
    """Chunks pass through as they are; each is read only far enough to know that it is JSON, and what it counts."""

    __slots__ = (
        "_asked",
        "_has_begun",
        "_held",
        "_include_usage",
        "_inward",
        "_open",
        "_usage_of",
        "_vendor",
        "complete",
        "finish_reason",
        "text_chars",
        "usage",
    )

    def __init__(
        self, origin: Origin, vendor: str, usage: Callable[[WireUsage | None], Usage], inward: Inward | None
    ) -> None:
        self._vendor, self._usage_of, self._inward = vendor, usage, inward
        self._include_usage = origin.include_usage
        self._asked: bytes | None = None  # The usage that came with the content: the last such chunk's, for the end.
        self._held: Fields = {}  # Of chunks without choices (Azure's prompt filter): goes into the next one with them.
        self._has_begun = False  # Some choice has.
        self._open: set[int] = set()  # Choices that have begun and not finished.
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False
        self.text_chars = 0

    def take(self, event: Event, out: list[bytes]) -> None:
        _, data = event
        if data == b"[DONE]":
            if not self._has_begun:
                raise without_choices(self._vendor)
            self._complete(out)
            return
        try:
            if not data.isascii():
                data.decode()  # What is passed on unread must be UTF-8 too, which the decoder does not check.
            if self._inward is not None:
                data = self._inward(data)
            chunk = CHUNK.decode(data)
        except msgspec.ValidationError:
            decode_vendor(FIELDS, data, self._vendor)  # Unusual, but an object: the client may know what it means.
            self._has_begun = True
            out.append(one_line(data))
            return
        except UNREADABLE:
            raise GatewayError("provider_bad_answer", f"{self._vendor} sent an event that is not JSON") from None
        if chunk.error is not None:
            raise error_inside(chunk.error, self._vendor)
        if chunk.usage is not None:
            self.usage = self._usage_of(chunk.usage)
        if chunk.choices:
            self._pass_on(chunk, chunk.choices, data, out)
        elif chunk.usage is not None:
            self._asked = None  # It came with the content too.
            if self._include_usage:
                out.append(self._usage_chunk(data, chunk))
        elif (flat := instead_of_choices(data, self._vendor)) is not None:
            raise flat
        elif len(self._held) < HELD_MAX:
            self._held = {**self._held, **FIELDS.decode(data)}

    def end(self, out: list[bytes]) -> None:
        """Some servers forget [DONE]; an answer whose choices have all finished is whole all the same."""
        if self.finish_reason and not self._open:
            self._complete(out)

    def _complete(self, out: list[bytes]) -> None:
        self.complete = True
        if self._asked is not None:
            out.append(self._asked)

    def _pass_on(self, chunk: WireChunk, choices: list[WireDeltaChoice], data: bytes, out: list[bytes]) -> None:
        self._has_begun = True
        self._count(choices)
        if self._held or chunk.usage is not None or any(_is_odd(choice) for choice in choices):
            fields = {**self._held, **FIELDS.decode(data)}
            self._held = {}
            if chunk.usage is not None:
                if self._include_usage:
                    whole = {**fields, "choices": Raw(b"[]")}
                    self._asked = msgspec.json.encode(_normal(whole, "delta", self.usage))
                del fields["usage"]
            data = msgspec.json.encode(_normal(fields, "delta", self.usage))
        out.append(data if b"\n" not in data else one_line(data))

    def _usage_chunk(self, data: bytes, chunk: WireChunk) -> bytes:
        """Forks of vLLM send `choices: null` with the usage; clients expect a list."""
        if chunk.choices is None or _hides(chunk.usage, self.usage):
            data = msgspec.json.encode(_normal({**FIELDS.decode(data), "choices": Raw(b"[]")}, "delta", self.usage))
        return data if b"\n" not in data else one_line(data)

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
            if not choice.finish_reason:
                self._open.add(choice.index)
            elif choice.finish_reason in BROKEN_OFF:
                raise broken_off(choice.finish_reason, None, self._vendor)
            else:
                self._open.discard(choice.index)
                self.finish_reason = self.finish_reason or finish_of(FINISH_REASONS, _plain(choice.finish_reason))


def _is_odd(choice: WireDeltaChoice) -> bool:
    return choice.finish_reason == "" or _is_strange(choice.finish_reason, choice.delta) or bytes(choice.message) != b""


def _chars(function: WireFunction | None) -> int:
    return len(function.arguments or "") + len(function.name or "") if function else 0


def one_line(data: bytes) -> bytes:
    """The same JSON without the newlines that a multi-line event may bring."""
    return msgspec.json.format(data, indent=-1) if b"\n" in data else data
