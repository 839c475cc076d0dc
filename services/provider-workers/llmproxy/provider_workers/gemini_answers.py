"""What Gemini's generateContent answers, whole and streamed, as a canonical chat. https://ai.google.dev/api/generate-content"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
from msgspec import UNSET, Raw, Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.canonical_answers import (
    ChoiceOut,
    Chunks,
    Delta,
    MessageOut,
    ToolCallOut,
    call_id,
    called,
    completion,
    finish_or_calls,
    logprobs_out,
    token_out,
)
from llmproxy.provider_workers.reading import ABSENT, UNREADABLE, decode_vendor, given, tokens
from llmproxy.provider_workers.sse import EventStream
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.vendor_errors import vendor_error
from llmproxy.provider_workers.wire import ENCODER, Answer, Origin, StreamTranslator, failed

VENDOR = "Gemini"

FINISH_REASONS: dict[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
VERSION = re.compile(r"/v\d+[a-z0-9]*$")


class WireFunctionCall(Struct, frozen=True, rename="camel"):
    name: str
    args: Raw = Raw(b"{}")
    id: str = ""


class WireBlob(Struct, frozen=True, rename="camel"):
    mime_type: str = "application/octet-stream"
    data: str = ""


class WirePart(Struct, frozen=True, rename="camel"):
    text: str = ""
    thought: bool = False
    thought_signature: str = ""
    function_call: WireFunctionCall | None = None
    inline_data: WireBlob | None = None


class WireContent(Struct, frozen=True, rename="camel"):
    parts: list[WirePart] | None = None


class WireToken(Struct, frozen=True, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class WireTop(Struct, frozen=True, rename="camel"):
    candidates: list[WireToken] = []


class WireLogprobs(Struct, frozen=True, rename="camel"):
    chosen_candidates: list[WireToken] | None = None
    top_candidates: list[WireTop] | None = None


class WireCitation(Struct, frozen=True, rename="camel"):
    start_index: int = 0
    end_index: int = 0
    uri: str = ""
    title: str = ""


class WireCitations(Struct, frozen=True, rename="camel"):
    citations: list[WireCitation] | None = None
    citation_sources: list[WireCitation] | None = None  # The same in older versions of the API.


class WireCandidate(Struct, frozen=True, rename="camel"):
    content: WireContent | None = None
    finish_reason: str | None = None
    index: int = 0
    logprobs_result: WireLogprobs | None = None
    citation_metadata: WireCitations | None = None
    grounding_metadata: Raw = ABSENT
    url_context_metadata: Raw = ABSENT


class WireModality(Struct, frozen=True, rename="camel"):
    modality: str = ""
    token_count: int | None = None


class WireUsage(Struct, frozen=True, rename="camel"):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    prompt_tokens_details: list[WireModality] | None = None
    candidates_tokens_details: list[WireModality] | None = None


class PromptFeedback(Struct, frozen=True, rename="camel"):
    block_reason: str | None = None


class Violation(Struct, frozen=True, rename="camel"):
    quota_id: str = ""


class ErrorDetail(Struct, frozen=True, rename="camel"):
    reason: str = ""
    retry_delay: str = ""
    violations: list[Violation] = []


class WireError(Struct, frozen=True, rename="camel"):
    code: int = 500
    message: str = ""
    status: str = ""
    details: list[ErrorDetail] = []


class ErrorBody(Struct, frozen=True):
    error: WireError = WireError()


class Reply(Struct, frozen=True, rename="camel"):
    candidates: list[WireCandidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: WireUsage | None = None
    error: WireError | None = None


REPLY = msgspec.json.Decoder(Reply)
ERROR = msgspec.json.Decoder(ErrorBody)
ERRORS = msgspec.json.Decoder(list[ErrorBody])


def model_url(base: str, model: str, stream: bool) -> str:
    if stream:
        return method_url(base, model, "streamGenerateContent", "alt=sse")
    return method_url(base, model, "generateContent")


@lru_cache(maxsize=1024)
def method_url(base: str, model: str, method: str, query: str = "") -> str:
    """The model's name is the caller's word: quoted, so that it stays one step of the path."""
    at = urlsplit(base)
    path = at.path.rstrip("/")
    if not VERSION.search(path):
        path += "/v1beta"
    kind, _, name = model.rpartition("/")
    collection = kind if kind in ("models", "tunedModels") else "models"
    path += f"/{collection}/{quote(name if kind == collection else model, safe='')}:{method}"
    return urlunsplit((at.scheme, at.netloc, path, "&".join(filter(None, (at.query, query))), ""))


def answer_of(body: bytes, request: Origin) -> Answer:
    try:
        reply = decode_vendor(REPLY, body, VENDOR)
    except GatewayError as error:
        return failed(error)
    if reply.error is not None:
        return failed(error_of(reply.error.code, {}, reply.error))
    choices = choices_of(reply, request)
    if not choices:
        return failed(GatewayError("provider_bad_answer", f"{VENDOR} sent an answer without candidates"))
    finish: Finish = choices[0].finish_reason  # type: ignore[assignment]
    return completion(request, choices, usage_of(reply.usage_metadata), finish)


def error_answer(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    try:
        # A streamed call without `alt=sse` is answered by an array, its error too.
        error = ERRORS.decode(body)[0].error if body.lstrip()[:1] == b"[" else ERROR.decode(body).error
    except (*UNREADABLE, IndexError):
        error = WireError()
    return error_of(status, headers, error)


def choices_of(reply: Reply, origin: Origin) -> list[ChoiceOut]:
    ids = CallIds(origin)
    if not reply.candidates:
        if reply.prompt_feedback is None or reply.prompt_feedback.block_reason is None:
            return []
        return [ChoiceOut(message=MessageOut(), finish_reason="content_filter")]
    return [choice_of(candidate, ids) for candidate in reply.candidates]


def choice_of(candidate: WireCandidate, ids: "CallIds") -> ChoiceOut:
    said, thought, calling, images, signature = [], [], [], [], ""
    for part in (candidate.content.parts if candidate.content else None) or []:
        if part.function_call is not None:
            calling.append(call_of(part.function_call, part.thought_signature, ids))
        elif part.thought:
            thought.append(part.text)
        else:
            if part.inline_data is not None:
                images.append(picture(part.inline_data))
            said.append(part.text)
            signature = part.thought_signature or signature
    message = MessageOut(
        content="".join(said) if said or not calling else None,
        annotations=annotations(candidate) or UNSET,
        images=images or UNSET,
        reasoning_content="".join(thought) if thought else UNSET,
        tool_calls=calling or UNSET,
        extra_content=extra_content(signature, grounds(candidate)) or UNSET,
    )
    finish = finish_of_candidate(candidate.finish_reason or "", bool(calling))
    return ChoiceOut(index=candidate.index, message=message, logprobs=logprobs_of(candidate), finish_reason=finish)


def finish_of_candidate(reason: str, has_called: bool) -> Finish:
    """Gemini says STOP when it calls a tool, too."""
    return finish_or_calls(FINISH_REASONS, reason, has_called)


class CallIds:
    """Ids for tool calls: Gemini's own where it gives one, else the request's with a number."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._count = 0

    def of(self, call: WireFunctionCall) -> str:
        self._count += 1
        return call.id or call_id(self._origin, self._count - 1)


def call_of(call: WireFunctionCall, signature: str, ids: CallIds, index: int | None = None) -> ToolCallOut:
    return called(call.name, call.args, ids.of(call), index, extra_content(signature) or UNSET)


def extra_content(signature: str, grounded: Mapping[str, Raw] | None = None) -> Raw | None:
    """What only Google says: the signature, and on what the answer is grounded."""
    found: dict[str, object] = {**({"thought_signature": signature} if signature else {}), **(grounded or {})}
    return Raw(ENCODER.encode({"google": found})) if found else None


def grounds(candidate: WireCandidate) -> dict[str, Raw]:
    return {
        name: Raw(msgspec.json.format(bytes(raw), indent=-1))  # A chunk is one line.
        for name in ("grounding_metadata", "url_context_metadata")
        if given(raw := getattr(candidate, name))
    }


def annotations(candidate: WireCandidate) -> list[Raw]:
    """Citations where OpenAI has them."""
    found = candidate.citation_metadata
    return [
        Raw(ENCODER.encode({"type": "url_citation", "url_citation": cited(one)}))
        for one in (found.citations or found.citation_sources or [] if found else [])
        if one.uri
    ]


def cited(one: WireCitation) -> dict[str, Any]:
    return {"start_index": one.start_index, "end_index": one.end_index, "title": one.title, "url": one.uri}


def picture(blob: WireBlob) -> Raw:
    url = f"data:{blob.mime_type};base64,{blob.data}"
    return Raw(ENCODER.encode({"type": "image_url", "image_url": {"url": url}}))


def logprobs_of(candidate: WireCandidate) -> Raw | None:
    found = candidate.logprobs_result
    if found is None:
        return None
    tops = found.top_candidates or []
    made = []
    for number, one in enumerate(found.chosen_candidates or []):
        top = tops[number].candidates if number < len(tops) else []
        made.append(token_out(one.token, one.log_probability, [(other.token, other.log_probability) for other in top]))
    return logprobs_out(made)


def usage_of(wire: WireUsage | None) -> Usage:
    """Thoughts are outside `candidatesTokenCount`, cached content is inside `promptTokenCount`."""
    if wire is None:
        return Usage()
    thoughts = tokens(wire.thoughts_token_count)
    return Usage(
        input=tokens(wire.prompt_token_count) + tokens(wire.tool_use_prompt_token_count),
        output=tokens(wire.candidates_token_count) + thoughts,
        cache_read=tokens(wire.cached_content_token_count),
        reasoning=thoughts,
        audio_input=sound(wire.prompt_tokens_details),
        audio_output=sound(wire.candidates_tokens_details),
    )


def sound(details: list[WireModality] | None) -> int:
    return sum(tokens(one.token_count) for one in details or [] if one.modality == "AUDIO")


def error_of(status: int, headers: Mapping[str, str], error: WireError) -> GatewayError:
    reasons = " ".join(detail.reason for detail in error.details)
    quotas = " ".join(violation.quota_id for detail in error.details for violation in detail.violations)
    delay = next((detail.retry_delay for detail in error.details if detail.retry_delay), "")
    return vendor_error(
        VENDOR,
        status,
        headers,
        # The words of a 429 speak of quota and billing even when a minute's rate is meant; its quota's id tells.
        message="" if status == 429 else error.message,
        code=f"{error.status} {reasons} {quotas}".strip(),
        retry_after_ms=milliseconds(delay),
    )


def milliseconds(duration: str) -> int:
    """A protobuf duration such as `34.5s`."""
    try:
        return max(int(float(duration.removesuffix("s")) * 1000), 0)
    except (ValueError, OverflowError):
        return 0


def stream_of(request: Origin) -> StreamTranslator:
    return VendorStream(VENDOR, EventStream(), Chunked(request))


class Chunked:
    """A stream as canonical chunks. Each event is a whole GenerateContentResponse with the parts that are new; nothing but a finish reason ends it."""

    __slots__ = ("_beside", "_called", "_chunks", "_ends", "_ids", "_open", "complete", "finish_reason", "usage")

    def __init__(self, origin: Origin) -> None:
        self._chunks = Chunks(origin)
        self._ids = CallIds(origin)
        self._called: dict[int, int] = {}  # Candidate -> tool calls so far.
        self._beside: dict[int, Beside] = {}
        self._open: set[int] = set()
        self._ends: dict[int, Finish] = {}
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False

    @property
    def text_chars(self) -> int:
        return self._chunks.text_chars

    def end(self, out: list[bytes]) -> None:
        """Usage may come after the finish reason, and some say one in every event, so nothing is over before the stream is."""
        if not self._ends or self._open:
            return
        for index, finish in self._ends.items():
            if index in self._beside:
                out.extend(self._beside[index].told(self._chunks, index))
            out.append(self._chunks.end(finish, index))
        out.extend(self._chunks.total(self.usage))
        self.complete = True

    def take(self, event: tuple[bytes, bytes], out: list[bytes]) -> None:
        reply = decode_vendor(REPLY, event[1], VENDOR)
        if reply.error is not None:
            raise error_of(reply.error.code, {}, reply.error)
        if reply.usage_metadata is not None:
            self.usage = usage_of(reply.usage_metadata)
        for candidate in reply.candidates or []:
            self._candidate(candidate, out)
        if reply.prompt_feedback is not None and reply.prompt_feedback.block_reason and not self.finish_reason:
            out.extend(self._chunks.start())
            self._end("content_filter", 0)

    def _candidate(self, candidate: WireCandidate, out: list[bytes]) -> None:
        index = candidate.index
        out.extend(self._chunks.start(index))
        if index not in self._ends:
            self._open.add(index)
        beside = self._beside.setdefault(index, Beside())
        beside.hear(candidate)
        logprobs = logprobs_of(candidate)
        for part in (candidate.content.parts if candidate.content else None) or []:
            if part.function_call is not None:
                number = self._called.get(index, 0)
                self._called[index] = number + 1
                call = call_of(part.function_call, part.thought_signature, self._ids, number)
                out.append(self._chunks.call(call, index))
            elif part.thought:
                if part.text:
                    out.append(self._chunks.reasoning(part.text, index))
            else:
                if part.text:
                    out.append(self._chunks.text(part.text, index, logprobs))
                    logprobs = None
                if part.inline_data is not None:
                    out.append(self._chunks.image(picture(part.inline_data), index))
                beside.signature = part.thought_signature or beside.signature
        if logprobs is not None:
            out.append(self._chunks.delta(Delta(), index, logprobs))
        if candidate.finish_reason is not None:
            self._end(finish_of_candidate(candidate.finish_reason, index in self._called), index)

    def _end(self, finish: Finish, index: int) -> None:
        self._open.discard(index)
        self._ends[index] = finish
        self.finish_reason = self._ends.get(0, finish)


class Beside:
    """What is said about a candidate's text, rather than in it: told once, because OpenAI's package would put the pieces
    together as if they were text."""

    __slots__ = ("cited", "grounded", "signature")

    def __init__(self) -> None:
        self.signature = ""
        self.cited: list[Raw] = []
        self.grounded: dict[str, Raw] = {}

    def hear(self, candidate: WireCandidate) -> None:
        self.cited += annotations(candidate)
        self.grounded.update(grounds(candidate))

    def told(self, chunks: Chunks, index: int) -> list[bytes]:
        extra = extra_content(self.signature, self.grounded)
        if not (extra or self.cited):
            return []
        return [chunks.delta(Delta(annotations=self.cited or UNSET, extra_content=extra or UNSET), index)]
