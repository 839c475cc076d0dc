"""A canonical answer as the Responses API tells it, whole or event by event: the same writer makes both.

What must come back untouched in the next request and has no place in an item (signed thinking, signatures of calls)
leaves in the `encrypted_content` of reasoning items, which clients of this API return as they got it.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.answer_pieces import Counts, Function, Logprob, Logprobs, Numbering, TopLogprob, usage_of
from llmproxy.provider_workers.canonical_answers import call_id
from llmproxy.provider_workers.carried import Carried, pack
from llmproxy.provider_workers.reading import ABSENT, decode_vendor, given
from llmproxy.provider_workers.wire import ENCODER, Origin

VENDOR = "the provider"

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reasons of an answer that is not whole, and this API's word for why."""

TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})
"""What the SDK's type takes; other vendors have their own names."""

EMPTY_LIST, EMPTY_OBJECT = Raw(b"[]"), Raw(b"{}")


# -- what a canonical answer says


class Call(Struct, frozen=True):
    index: int | None = None  # Only in deltas.
    id: str | None = None
    function: Function | None = None
    extra_content: Raw = ABSENT


class UrlCitation(Struct, frozen=True):
    url: str = ""
    title: str = ""
    start_index: int = 0
    end_index: int = 0


class Annotation(Struct, frozen=True):
    type: str = ""
    url_citation: UrlCitation | None = None


class Said(Struct, frozen=True):
    """A message, or a part of one."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # The same from servers whose chunks pass through (vLLM, OpenRouter, Groq).
    thinking_blocks: list[Raw] | None = None
    tool_calls: list[Call] | None = None
    annotations: list[Annotation] | None = None
    extra_content: Raw = ABSENT


class Choice(Struct, frozen=True):
    index: int = 0
    message: Said | None = None
    delta: Said | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class Canonical(Struct, frozen=True):
    """A chat.completion or one of its chunks."""

    choices: list[Choice] | None = None
    usage: Counts | None = None
    service_tier: str | None = None


CANONICAL = msgspec.json.Decoder(Canonical)


# -- what the caller is told


class InputDetails(Struct, frozen=True, kw_only=True):
    cached_tokens: int
    cache_write_tokens: int


class OutputDetails(Struct, frozen=True, kw_only=True):
    reasoning_tokens: int


class UsageOut(Struct, frozen=True, kw_only=True):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class IncompleteDetails(Struct, frozen=True):
    reason: str


class LogprobOut(Struct, frozen=True, kw_only=True):
    token: str
    bytes: list[int]
    logprob: float
    top_logprobs: list["LogprobOut"]


class UrlCitationOut(Struct, frozen=True, kw_only=True, tag_field="type", tag="url_citation"):
    start_index: int
    end_index: int
    url: str
    title: str


class OutputText(Struct, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    annotations: list[UrlCitationOut] = []
    logprobs: list[LogprobOut] = []
    text: str = ""


class Refusal(Struct, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    refusal: str = ""


class Message(Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    id: str
    status: str = "in_progress"
    role: str = "assistant"
    content: list[OutputText | Refusal] = []


class Summary(Struct, frozen=True, kw_only=True, tag_field="type", tag="summary_text"):
    text: str = ""


class Reasoning(Struct, frozen=True, kw_only=True, tag_field="type", tag="reasoning"):
    id: str
    status: str = "in_progress"
    summary: list[Summary] = []
    encrypted_content: str | None = None


class FunctionCall(Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    id: str
    status: str = "in_progress"
    call_id: str
    name: str
    arguments: str = ""


Item = Message | Reasoning | FunctionCall


class Response(Struct, frozen=True, kw_only=True):
    """Everything that the API says about an answer; what the request asked for is said back."""

    id: str = ""
    object: str = "response"
    created_at: int = 0
    status: str = "in_progress"
    background: bool = False
    error: None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    model: str = ""
    output: list[Item] = []
    parallel_tool_calls: bool = True
    previous_response_id: None = None
    prompt_cache_key: str | None = None
    reasoning: dict[str, Any] = {}
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool = False  # Nothing is kept, whatever the API's own default.
    temperature: int | float = 1
    text: dict[str, Any] = {}
    tool_choice: Raw = Raw(b'"auto"')
    tools: list[dict[str, Any]] = []
    top_logprobs: int = 0
    top_p: int | float = 1
    truncation: str = "disabled"
    usage: UsageOut | None = None
    user: str | None = None
    metadata: Raw = EMPTY_OBJECT


def usage_out(usage: Usage) -> UsageOut:
    return UsageOut(
        input_tokens=usage.input,
        input_tokens_details=InputDetails(cached_tokens=usage.cache_read, cache_write_tokens=usage.cache_write),
        output_tokens=usage.output,
        output_tokens_details=OutputDetails(reasoning_tokens=usage.reasoning),
        total_tokens=usage.input + usage.output,
    )


def logprob_out(one: Logprob | TopLogprob) -> LogprobOut:
    others = (one.top_logprobs or []) if isinstance(one, Logprob) else []
    return LogprobOut(
        token=one.token,
        bytes=list(one.token.encode()) if one.bytes is None else one.bytes,
        logprob=one.logprob,
        top_logprobs=[logprob_out(other) for other in others],
    )


# -- the writer


class OpenMessage:
    """The message item that is being written: finished parts, and the one that is open."""

    __slots__ = ("annotations", "before", "is_refusal", "item", "logprobs", "output_index", "parts", "pieces")

    def __init__(self, item: Message, output_index: int) -> None:
        self.item, self.output_index = item, output_index
        self.parts: list[OutputText | Refusal] = []
        self.pieces: list[str] = []
        self.logprobs: list[LogprobOut] = []
        self.annotations: list[UrlCitationOut] = []
        self.is_refusal: bool | None = None  # Of the open part; None when none is open.
        self.before = b""

    @property
    def at(self) -> dict[str, Any]:
        return {"item_id": self.item.id, "output_index": self.output_index, "content_index": len(self.parts)}


class OpenReasoning:
    __slots__ = ("blocks", "calls", "item", "message", "output_index", "pieces")

    def __init__(self, item: Reasoning, output_index: int) -> None:
        self.item, self.output_index = item, output_index
        self.pieces: list[str] = []
        self.blocks: list[Raw] = []
        self.calls: dict[str, Raw] = {}
        self.message = ABSENT

    @property
    def at(self) -> dict[str, Any]:
        return {"item_id": self.item.id, "output_index": self.output_index, "summary_index": 0}

    @property
    def sealed(self) -> str | None:
        if not (self.blocks or self.calls or given(self.message)):
            return None
        return pack(Carried(thinking_blocks=self.blocks, calls=self.calls, message=self.message))


class OpenCall:
    __slots__ = ("item", "output_index", "pieces")

    def __init__(self, item: FunctionCall, output_index: int) -> None:
        self.item, self.output_index = item, output_index
        self.pieces: list[str] = []

    @property
    def at(self) -> dict[str, Any]:
        return {"item_id": self.item.id, "output_index": self.output_index}


class Writer:
    """Events of one answer, in the API's order. Text and reasoning are one item at a time; calls stay open, because
    fragments of parallel calls may be interleaved.
    """

    __slots__ = (
        "_calls",
        "_extra",
        "_finish",
        "_message",
        "_numbering",
        "_origin",
        "_output",
        "_reasoning",
        "_response",
        "_sequence",
        "_started",
    )

    def __init__(self, told: Response, origin: Origin) -> None:
        self._origin = origin
        self._response = replace(
            told, id=f"resp_{origin.id.replace('-', '')}", created_at=origin.created, model=origin.model
        )
        self._sequence = 0
        self._started = False
        self._output: list[Item] = []  # By output index; open ones as they began.
        self._message: OpenMessage | None = None
        self._reasoning: OpenReasoning | None = None
        self._calls: dict[int, OpenCall] = {}  # Open ones.
        self._numbering = Numbering()
        self._extra = ABSENT  # The message's extension, until an item can carry it.
        self._finish = ""

    def chunk(self, chunk: bytes) -> list[bytes]:
        said = decode_vendor(CANONICAL, chunk, VENDOR)
        out = [] if self._started else self._start()
        self._take(said, out)
        return out

    def end(self, usage: Usage) -> list[bytes]:
        out = [] if self._started else self._start()
        final = self._close(usage, out)
        out.append(self._event(f"response.{final.status}", response=final))
        return out

    def whole(self, answer: bytes) -> bytes:
        said = decode_vendor(CANONICAL, answer, VENDOR)
        unsent: list[bytes] = []
        self._take(said, unsent)
        return ENCODER.encode(self._close(usage_of(said.usage), unsent))

    # -- what was said

    def _take(self, said: Canonical, out: list[bytes]) -> None:
        if said.service_tier in TIERS:
            self._response = replace(self._response, service_tier=said.service_tier)
        for choice in said.choices or ():
            if choice.index:
                continue  # More than one was never asked for.
            delta = choice.delta or choice.message
            if delta is not None:
                self._say(delta, choice.logprobs, out)
            if choice.finish_reason is not None:
                self._finish = choice.finish_reason

    def _say(self, said: Said, logprobs: Logprobs | None, out: list[bytes]) -> None:
        thought = said.reasoning_content or said.reasoning
        if thought or said.thinking_blocks:
            self._think(thought or "", said.thinking_blocks or [], out)
        if said.content:
            self._text(said.content, logprobs, out)
        if said.annotations:
            self._cite(said.annotations, out)
        if said.refusal:
            self._refuse(said.refusal, out)
        if given(said.extra_content):
            self._extra = said.extra_content
        for call in said.tool_calls or ():
            self._call(call, out)

    def _think(self, text: str, blocks: list[Raw], out: list[bytes]) -> None:
        self._end_message(out)
        self._end_calls(out)
        reasoning = self._reasoning or self._open_reasoning(out)
        reasoning.blocks += blocks
        if not text:
            return
        if not reasoning.pieces:
            out.append(self._event("response.reasoning_summary_part.added", **reasoning.at, part=Summary()))
        reasoning.pieces.append(text)
        out.append(self._event("response.reasoning_summary_text.delta", **reasoning.at, delta=text))

    def _text(self, text: str, logprobs: Logprobs | None, out: list[bytes]) -> None:
        message = self._message
        if message is None or message.is_refusal is not False:
            message = self._open_part(out, is_refusal=False)
        message.pieces.append(text)
        likely = [logprob_out(one) for one in (logprobs.content or ())] if logprobs is not None else []
        message.logprobs += likely
        sequence, self._sequence = self._sequence, self._sequence + 1
        out.append(
            b'{"type":"response.output_text.delta","sequence_number":%d%b%b,"logprobs":%b}'
            % (sequence, message.before, ENCODER.encode(text), ENCODER.encode(likely) if likely else EMPTY_LIST)
        )

    def _refuse(self, text: str, out: list[bytes]) -> None:
        message = self._message
        if message is None or message.is_refusal is not True:
            message = self._open_part(out, is_refusal=True)
        message.pieces.append(text)
        out.append(self._event("response.refusal.delta", **message.at, delta=text))

    def _cite(self, annotations: list[Annotation], out: list[bytes]) -> None:
        for annotation in annotations:
            cited = annotation.url_citation
            if cited is None:
                continue
            message = self._message
            if message is None or message.is_refusal is not False:
                message = self._open_part(out, is_refusal=False)
            made = UrlCitationOut(
                start_index=cited.start_index, end_index=cited.end_index, url=cited.url, title=cited.title
            )
            number = len(message.annotations)
            message.annotations.append(made)
            out.append(
                self._event(
                    "response.output_text.annotation.added", **message.at, annotation_index=number, annotation=made
                )
            )

    def _call(self, call: Call, out: list[bytes]) -> None:
        function = call.function or Function()
        number = self._numbering.of(call.index, call.id, function.name)
        known = self._calls.get(number) or self._open_call(number, call, function, out)
        if function.arguments:
            known.pieces.append(function.arguments)
            out.append(self._event("response.function_call_arguments.delta", **known.at, delta=function.arguments))

    # -- items

    def _open_call(self, number: int, call: Call, function: Function, out: list[bytes]) -> OpenCall:
        self._end_message(out)
        named = call.id or call_id(self._origin, len(self._output))
        if given(call.extra_content):
            (self._reasoning or self._open_reasoning(out)).calls[named] = call.extra_content
        self._end_reasoning(out)
        item = FunctionCall(id=self._item_id("fc"), call_id=named, name=function.name or "")
        opened = self._calls[number] = OpenCall(item, self._add(item, out))
        return opened

    def _open_reasoning(self, out: list[bytes]) -> OpenReasoning:
        item = Reasoning(id=self._item_id("rs"))
        opened = self._reasoning = OpenReasoning(item, self._add(item, out))
        return opened

    def _open_part(self, out: list[bytes], *, is_refusal: bool) -> OpenMessage:
        self._end_reasoning(out)
        self._end_calls(out)
        message = self._message
        if message is None:
            item = Message(id=self._item_id("msg"))
            message = self._message = OpenMessage(item, self._add(item, out))
        self._end_part(message, out)
        message.is_refusal = is_refusal
        part = Refusal() if is_refusal else OutputText()
        out.append(self._event("response.content_part.added", **message.at, part=part))
        # Nearly all events of a stream are deltas of text that differ in the text and the number alone.
        message.before = b"," + ENCODER.encode(message.at)[1:-1] + b',"delta":'
        return message

    def _end_part(self, message: OpenMessage, out: list[bytes]) -> None:
        if message.is_refusal is None:
            return
        text, at = "".join(message.pieces), message.at
        part: OutputText | Refusal
        if message.is_refusal:
            part = Refusal(refusal=text)
            out.append(self._event("response.refusal.done", **at, refusal=text))
        else:
            part = OutputText(text=text, annotations=message.annotations, logprobs=message.logprobs)
            out.append(self._event("response.output_text.done", **at, text=text, logprobs=message.logprobs))
        out.append(self._event("response.content_part.done", **at, part=part))
        message.parts.append(part)
        message.is_refusal, message.pieces, message.logprobs, message.annotations = None, [], [], []

    def _end_message(self, out: list[bytes], status: str = "completed") -> None:
        message, self._message = self._message, None
        if message is not None:
            self._end_part(message, out)
            self._done(message.output_index, replace(message.item, status=status, content=message.parts), out)

    def _end_reasoning(self, out: list[bytes], status: str = "completed") -> None:
        reasoning = self._reasoning
        if reasoning is None:
            return
        reasoning.message, self._extra = self._extra, ABSENT
        self._reasoning = None
        summary = []
        if reasoning.pieces:
            text, at = "".join(reasoning.pieces), reasoning.at
            summary = [Summary(text=text)]
            out.append(self._event("response.reasoning_summary_text.done", **at, text=text))
            out.append(self._event("response.reasoning_summary_part.done", **at, part=summary[0]))
        item = replace(reasoning.item, status=status, summary=summary, encrypted_content=reasoning.sealed)
        self._done(reasoning.output_index, item, out)

    def _end_calls(self, out: list[bytes], status: str = "completed") -> None:
        for call in self._calls.values():
            self._end_call(call, out, status)
        self._calls.clear()

    def _end_call(self, call: OpenCall, out: list[bytes], status: str = "completed") -> None:
        if not call.pieces and status == "completed":
            call.pieces.append("{}")  # What no arguments at all mean; clients read them as JSON.
            out.append(self._event("response.function_call_arguments.delta", **call.at, delta="{}"))
        arguments = "".join(call.pieces)
        done = {**call.at, "name": call.item.name, "arguments": arguments}
        out.append(self._event("response.function_call_arguments.done", **done))
        self._done(call.output_index, replace(call.item, status=status, arguments=arguments), out)

    def _add(self, item: Item, out: list[bytes]) -> int:
        self._output.append(item)
        at = len(self._output) - 1
        out.append(self._event("response.output_item.added", output_index=at, item=item))
        return at

    def _done(self, at: int, item: Item, out: list[bytes]) -> None:
        self._output[at] = item
        out.append(self._event("response.output_item.done", output_index=at, item=item))

    def _item_id(self, kind: str) -> str:
        return f"{kind}_{self._origin.id.replace('-', '')}_{len(self._output)}"

    # -- the response

    def _start(self) -> list[bytes]:
        self._started = True
        return [
            self._event("response.created", response=self._response),
            self._event("response.in_progress", response=self._response),
        ]

    def _close(self, usage: Usage, out: list[bytes]) -> Response:
        """The response as it ends, after the events that end its items."""
        reason = INCOMPLETE.get(self._finish)
        status = "incomplete" if reason else "completed"
        self._end_message(out, status)
        self._end_calls(out, status)
        self._end_reasoning(out, status)
        if given(self._extra):
            self._open_reasoning(out)
            self._end_reasoning(out)
        return replace(
            self._response,
            status=status,
            incomplete_details=IncompleteDetails(reason) if reason else None,
            output=self._output,
            usage=usage_out(usage),
        )

    def _event(self, kind: str, **fields: Any) -> bytes:
        sequence, self._sequence = self._sequence, self._sequence + 1
        return ENCODER.encode({"type": kind, "sequence_number": sequence, **fields})


def unreadable(param: str) -> GatewayError:
    return GatewayError("invalid_value", f"'{param}' must come back as it was received", param=param)
