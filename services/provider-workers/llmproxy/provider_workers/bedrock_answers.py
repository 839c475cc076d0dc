"""Converse's answers, whole and streamed, as canonical ones, and what its errors mean.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_ResponseElements
"""

import re
from collections.abc import Mapping

import msgspec
from msgspec import UNSET, Raw, Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.aws_events import AwsEvents
from llmproxy.provider_workers.aws_events import Message as EventMessage
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
from llmproxy.provider_workers.streams import VendorStream
from llmproxy.provider_workers.vendor_errors import vendor_error
from llmproxy.provider_workers.wire import ENCODER, Answer, Origin, StreamTranslator, failed

VENDOR = "Bedrock"
JSON_TOOL = "llmproxy_json_answer"  # A call of it is the answer, where a model keeps to a schema in no other way.

FINISH_REASONS: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "malformed_model_output": "stop",
    "malformed_tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
}

# Exceptions say more than their statuses, and inside a stream there is no status. 424 is a model that failed, not the
# caller's mistake; AWS answers 400 to a clock or a token that is too old. What is not here has its status.
STATUS_OF_TYPE = {
    "accessdeniedexception": 403,
    "expiredtokenexception": 403,
    "incompletesignatureexception": 403,
    "invalidsignatureexception": 403,
    "missingauthenticationtokenexception": 403,
    "unrecognizedclientexception": 403,
    "modelerrorexception": 502,
    "modelstreamerrorexception": 502,
    "modelnotreadyexception": 503,
    "modeltimeoutexception": 504,
    "requesttimeoutexception": 504,
    "resourcenotfoundexception": 404,
    "servicequotaexceededexception": 402,
    "serviceunavailableexception": 503,
    "throttlingexception": 429,
    "toomanyrequestsexception": 429,
    "validationexception": 400,
}
UNKNOWN_MODEL = re.compile(r"model identifier is invalid|model id.{0,80}(?:not found|isn.t supported)", re.IGNORECASE)
DAILY = re.compile(r"per day|daily", re.IGNORECASE)


class ReasoningText(Struct, frozen=True):
    text: str = ""
    signature: str = ""


class Reasoning(Struct, frozen=True, rename="camel"):
    reasoning_text: ReasoningText | None = None
    redacted_content: str = ""


class Text(Struct, frozen=True):
    text: str = ""


class Cited(Struct, frozen=True):
    content: list[Text] = []


class ToolUse(Struct, frozen=True, rename="camel"):
    tool_use_id: str
    name: str
    input: Raw = Raw(b"{}")


class Block(Struct, frozen=True, rename="camel"):
    """One block of an answer; which field is set says what it is."""

    text: str | None = None
    tool_use: ToolUse | None = None
    reasoning_content: Reasoning | None = None
    citations_content: Cited | None = None


class ReplyMessage(Struct, frozen=True):
    content: list[Block] = []


class Output(Struct, frozen=True):
    message: ReplyMessage = ReplyMessage()


class WireUsage(Struct, frozen=True, rename="camel"):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class Reply(Struct, frozen=True, rename="camel"):
    output: Output
    stop_reason: str = ""
    usage: WireUsage = WireUsage()


class ToolUseStart(Struct, frozen=True, rename="camel"):
    tool_use_id: str
    name: str


class Start(Struct, frozen=True, rename="camel"):
    tool_use: ToolUseStart | None = None


class BlockStart(Struct, frozen=True, rename="camel"):
    start: Start = Start()


class ToolUseDelta(Struct, frozen=True):
    input: str = ""


class ReasoningDelta(Struct, frozen=True, rename="camel"):
    text: str = ""
    signature: str = ""
    redacted_content: str = ""


class WireDelta(Struct, frozen=True, rename="camel"):
    text: str | None = None
    tool_use: ToolUseDelta | None = None
    reasoning_content: ReasoningDelta | None = None


class BlockDelta(Struct, frozen=True):
    delta: WireDelta = WireDelta()


class MessageStop(Struct, frozen=True, rename="camel"):
    stop_reason: str = ""


class Metadata(Struct, frozen=True):
    usage: WireUsage = WireUsage()


class ErrorBody(Struct, frozen=True):
    message: str = ""
    Message: str = ""
    type: str = msgspec.field(name="__type", default="")


REPLY = msgspec.json.Decoder(Reply)
BLOCK_START = msgspec.json.Decoder(BlockStart)
BLOCK_DELTA = msgspec.json.Decoder(BlockDelta)
MESSAGE_STOP = msgspec.json.Decoder(MessageStop)
METADATA = msgspec.json.Decoder(Metadata)
ERROR = msgspec.json.Decoder(ErrorBody)


def answer_of(body: bytes, request: Origin) -> Answer:
    try:
        reply = decode_vendor(REPLY, body, VENDOR)
    except GatewayError as error:
        return failed(error)
    message = message_of(reply)
    finish = finish_with(reply.stop_reason, has_called=message.tool_calls is not UNSET)
    return completion(request, [ChoiceOut(message=message, finish_reason=finish)], usage_of(reply.usage), finish)


def stream_of(request: Origin) -> StreamTranslator:
    return VendorStream(VENDOR, AwsEvents(), Chunked(request))


def error_answer(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    said = decode_error(ERROR, body, ErrorBody())
    kind = headers.get("x-amzn-errortype", "").partition(":")[0] or said.type.rpartition("#")[2]
    return error_of(kind, said.message or said.Message, status, headers)


def message_of(reply: Reply) -> MessageOut:
    text, thoughts, blocks, calling = [], [], [], []
    for block in reply.output.message.content:
        if block.text is not None:
            text.append(block.text)
        elif block.tool_use is not None and block.tool_use.name == JSON_TOOL:
            text.append(compact(block.tool_use.input))
        elif block.tool_use is not None:
            calling.append(called(block.tool_use.name, block.tool_use.input, block.tool_use.tool_use_id))
        elif block.citations_content is not None:
            text.extend(part.text for part in block.citations_content.content)
        elif block.reasoning_content is not None:
            said = block.reasoning_content.reasoning_text or ReasoningText()
            thoughts.append(said.text)
            blocks.extend(thinking_block(said.text, said.signature, block.reasoning_content.redacted_content))
    return MessageOut(
        content="".join(text) if text or not calling else None,
        reasoning_content="".join(thoughts) if any(thoughts) else UNSET,
        thinking_blocks=blocks or UNSET,
        tool_calls=calling or UNSET,
    )


def thinking_block(text: str, signature: str, redacted: str) -> list[Raw]:
    """What has to come back: thinking that is signed or hidden. Models that sign nothing want nothing back."""
    if redacted:
        return [Raw(ENCODER.encode({"type": "redacted_thinking", "data": redacted}))]
    if signature:
        return [Raw(ENCODER.encode({"type": "thinking", "thinking": text, "signature": signature}))]
    return []


def finish_with(reason: str, *, has_called: bool) -> Finish:
    """An answer that was made to be a tool call is an answer."""
    finish = finish_of(FINISH_REASONS, reason)
    return "stop" if finish == "tool_calls" and not has_called else finish


def usage_of(wire: WireUsage) -> Usage:
    """Cache tokens are outside `inputTokens` here; thinking is inside `outputTokens`, and not told apart."""
    cache_read, cache_write = tokens(wire.cache_read_input_tokens), tokens(wire.cache_write_input_tokens)
    return Usage(
        input=tokens(wire.input_tokens) + cache_read + cache_write,
        output=tokens(wire.output_tokens),
        cache_read=cache_read,
        cache_write=cache_write,
    )


def error_of(kind: str, message: str, status: int, headers: Mapping[str, str]) -> GatewayError:
    """By the exception's type where it is known, by `status` where not. Words about our account are not passed on."""
    status = STATUS_OF_TYPE.get(kind.lower(), status)
    if status == 429 and DAILY.search(message):
        status = 402
    if status == 400 and UNKNOWN_MODEL.search(message):
        status = 404
    return vendor_error(VENDOR, status, headers, message="" if status in (401, 402, 403, 429) else message, code=kind)


class Chunked:
    """A stream as canonical chunks. `messageStop` has the reason, `metadata` after it the usage."""

    __slots__ = (
        "_argued",
        "_calls",
        "_chunks",
        "_in_answer",
        "_in_call",
        "_redacted",
        "_signature",
        "_thinking",
        "complete",
        "finish_reason",
        "usage",
    )

    def __init__(self, origin: Origin) -> None:
        self._chunks = Chunks(origin)
        self._calls = 0  # Tool calls begun.
        self._in_call = self._in_answer = False  # The open block is a tool call; a call that is the answer.
        self._argued = False  # The open call has arguments.
        self._thinking: list[str] = []
        self._signature = self._redacted = ""
        self.usage = Usage()
        self.finish_reason: Finish = ""
        self.complete = False

    @property
    def text_chars(self) -> int:
        return self._chunks.text_chars

    def take(self, event: EventMessage, out: list[bytes]) -> None:
        if event.kind != "event":
            raise self._error(event)
        match event.type:
            case "contentBlockDelta":
                self._delta(decode_vendor(BLOCK_DELTA, event.payload, VENDOR).delta, out)
            case "contentBlockStart":
                self._open(decode_vendor(BLOCK_START, event.payload, VENDOR).start, out)
            case "contentBlockStop":
                self._close(out)
            case "messageStart":
                out.extend(self._chunks.start())
            case "messageStop":
                stop = decode_vendor(MESSAGE_STOP, event.payload, VENDOR)
                self.finish_reason = finish_with(stop.stop_reason, has_called=self._calls > 0)
                out.append(self._chunks.end(self.finish_reason))
            case "metadata":
                self.usage = usage_of(decode_vendor(METADATA, event.payload, VENDOR).usage)
                self.end(out)

    def end(self, out: list[bytes]) -> None:
        if self.finish_reason and not self.complete:
            out.extend(self._chunks.total(self.usage))
            self.complete = True

    def _delta(self, delta: WireDelta, out: list[bytes]) -> None:
        if delta.text is not None:
            out.append(self._chunks.text(delta.text))
        elif delta.tool_use is not None and delta.tool_use.input:
            self._argued = True
            arguments = delta.tool_use.input
            out.append(
                self._chunks.text(arguments) if self._in_answer else self._chunks.arguments(self._calls - 1, arguments)
            )
        elif delta.reasoning_content is not None:
            thought = delta.reasoning_content
            self._signature += thought.signature
            self._redacted += thought.redacted_content
            if thought.text:
                self._thinking.append(thought.text)
                out.append(self._chunks.reasoning(thought.text))

    def _open(self, start: Start, out: list[bytes]) -> None:
        if start.tool_use is None:
            return
        self._argued = False
        self._in_answer = start.tool_use.name == JSON_TOOL
        self._in_call = not self._in_answer
        if self._in_call:
            self._calls += 1
            function = FunctionOut(name=start.tool_use.name)
            call = ToolCallOut(index=self._calls - 1, id=start.tool_use.tool_use_id, type="function", function=function)
            out.append(self._chunks.call(call))

    def _close(self, out: list[bytes]) -> None:
        if self._in_call and not self._argued:
            out.append(self._chunks.arguments(self._calls - 1, "{}"))  # A call without arguments has no delta.
        self._in_call = self._in_answer = False
        for block in thinking_block("".join(self._thinking), self._signature, self._redacted):
            out.append(self._chunks.thinking_block(block))
        self._thinking, self._signature, self._redacted = [], "", ""

    def _error(self, event: EventMessage) -> GatewayError:
        said = decode_error(ERROR, event.payload, ErrorBody())
        return error_of(event.type, event.says or said.message or said.Message, 500, {})
