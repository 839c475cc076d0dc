"""A canonical answer, whole or streamed, as Anthropic's Messages API tells it. https://docs.anthropic.com/en/api/messages-streaming

Content blocks come one after the other there, each opened, told and closed before the next; calls whose fragments are
interleaved wait for each other. Usage leaves out of `input_tokens` what the cache read and wrote.
"""

from collections.abc import Set
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.answer_pieces import Counts, Function, Numbering, usage_of
from llmproxy.provider_workers.canonical import unnumbered
from llmproxy.provider_workers.canonical_answers import call_id
from llmproxy.provider_workers.carried import Carried, pack
from llmproxy.provider_workers.reading import ABSENT, UNREADABLE, decode_vendor, given
from llmproxy.provider_workers.wire import ENCODER, Origin

VENDOR = "the provider"

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
UNPARSED = "INVALID_JSON"  # Where the vendor's guide puts arguments that are not an object, so that they are not lost.

# -- what a canonical answer says


class Call(Struct, frozen=True):
    index: int | None = None  # Only in deltas.
    id: str | None = None
    function: Function = Function()
    extra_content: Raw = ABSENT


class Said(Struct, frozen=True):
    """A message, or a delta of one."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # vLLM's, OpenRouter's and Groq's name for it.
    thinking_blocks: list[Raw] | None = None
    tool_calls: list[Call] | None = None
    extra_content: Raw = ABSENT

    @property
    def thought(self) -> str:
        return self.reasoning_content or self.reasoning or ""


class Choice(Struct, frozen=True):
    index: int = 0
    message: Said = Said()
    delta: Said = Said()
    finish_reason: str | None = None
    stop_reason: Raw = ABSENT  # vLLM: the stop sequence that was met.


class Completion(Struct, frozen=True):
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Counts | None = None


class Thinking(Struct, frozen=True):
    type: str = ""
    thinking: str = ""
    signature: str = ""


COMPLETION = msgspec.json.Decoder(Completion)
THINKING = msgspec.json.Decoder(Thinking)
OBJECT = msgspec.json.Decoder(dict[str, Raw])


# -- what a message says


class OutputDetails(Struct, frozen=True):
    thinking_tokens: int


class UsageOut(Struct, frozen=True, kw_only=True):
    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: OutputDetails | UnsetType = UNSET


class StopDetails(Struct, frozen=True, kw_only=True):
    type: str = "refusal"
    category: None = None
    explanation: str | None = None


class Message(Struct, frozen=True, kw_only=True):
    id: str
    type: str = "message"
    role: str = "assistant"
    model: str
    content: list[Any]
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | UnsetType = UNSET
    usage: UsageOut


class TextBlock(Struct, frozen=True, tag="text"):
    text: str


class ThinkingBlock(Struct, frozen=True, tag="thinking"):
    thinking: str
    signature: str


class ToolUse(Struct, frozen=True, tag="tool_use"):
    id: str
    name: str
    input: Raw


def usage_out(usage: Usage) -> UsageOut:
    return UsageOut(
        input_tokens=max(usage.input - usage.cache_read - usage.cache_write, 0),
        cache_creation_input_tokens=usage.cache_write,
        cache_read_input_tokens=usage.cache_read,
        output_tokens=usage.output,
        output_tokens_details=OutputDetails(usage.reasoning) if usage.reasoning else UNSET,
    )


def message_id(origin: Origin) -> str:
    return f"msg_{origin.id.replace('-', '')}"


class Ending(Struct, frozen=True):
    """How it ended, from what is known of it by then."""

    finish: str = ""
    met: str | None = None  # The stop sequence.
    has_called: bool = False
    refusal: str | None = None

    @property
    def stop_reason(self) -> str:
        """Some servers say that the model stopped when it calls a tool, and some the reverse."""
        if self.refusal is not None:
            return "refusal"
        if self.met is not None:
            return "stop_sequence"
        reason = STOP_REASONS.get(self.finish, "end_turn")
        if reason in ("end_turn", "tool_use"):
            return "tool_use" if self.has_called else "end_turn"
        return reason

    @property
    def stop_details(self) -> StopDetails | UnsetType:
        return StopDetails(explanation=self.refusal) if self.stop_reason == "refusal" else UNSET


def met(choice: Choice, stops: Set[str]) -> str | None:
    """The stop sequence that ended the answer, from servers that say it and only if it was asked for."""
    if not stops or bytes(choice.stop_reason)[:1] != b'"':
        return None
    found: str = msgspec.json.decode(choice.stop_reason)
    return found if found in stops else None


# -- whole


def message_of(answer: bytes, origin: Origin, stops: Set[str]) -> bytes:
    """Raises GatewayError of an answer that no client could read either."""
    completion = decode_vendor(COMPLETION, answer, VENDOR)
    if not completion.choices:
        raise GatewayError("provider_bad_answer", f"{VENDOR} sent an answer without choices")
    choice = completion.choices[0]
    said = choice.message
    ending = Ending(choice.finish_reason or "", met(choice, stops), bool(said.tool_calls), said.refusal or None)
    return ENCODER.encode(
        Message(
            id=message_id(origin),
            model=completion.model or origin.model,
            content=blocks_of(said, origin),
            stop_reason=ending.stop_reason,
            stop_sequence=ending.met,
            stop_details=ending.stop_details,
            usage=usage_out(usage_of(completion.usage)),
        )
    )


def blocks_of(said: Said, origin: Origin) -> list[Any]:
    blocks: list[Any] = list(said.thinking_blocks or [])
    if said.thought and not any(thinking_in(raw).type == "thinking" for raw in blocks):
        blocks.insert(0, ThinkingBlock(said.thought, pack(Carried())))
    blocks += [TextBlock(text) for text in (said.content, said.refusal) if text]
    for number, call in enumerate(said.tool_calls or []):
        id = call.id or call_id(origin, number)
        if given(call.extra_content):
            blocks.append(ThinkingBlock("", pack(Carried(calls={id: call.extra_content}))))
        blocks.append(ToolUse(id, call.function.name or "", input_of(call.function.arguments or "")))
    if given(said.extra_content):
        blocks.append(ThinkingBlock("", pack(Carried(message=said.extra_content))))
    return blocks


def thinking_in(raw: Raw) -> Thinking:
    return decode_vendor(THINKING, bytes(raw), VENDOR)


def input_of(arguments: str) -> Raw:
    """The object that the text holds; what holds none is kept as a text."""
    if not arguments.strip():
        return Raw(b"{}")
    return Raw(arguments.encode()) if is_object(arguments) else Raw(ENCODER.encode({UNPARSED: arguments}))


def is_object(text: str) -> bool:
    try:
        OBJECT.decode(text)
    except UNREADABLE:
        return False
    return True


# -- streamed

BEFORE_TEXT, AFTER_TEXT = (
    b'{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":',
    b"}}",
)
"""Nearly all events differ in their text alone."""

STOP = b'{"type":"message_stop"}'


class OpenCall:
    """A call that is being told, or that waits until the one before it is whole."""

    __slots__ = ("extra", "id", "name", "pieces")

    def __init__(self, id: str, name: str) -> None:
        self.id, self.name = id, name
        self.pieces: list[str] = []
        self.extra = ABSENT

    @property
    def is_whole(self) -> bool:
        return is_object("".join(self.pieces))


class Teller:
    """Events of one answer in the API's order."""

    __slots__ = (
        "_calls",
        "_extra",
        "_finish",
        "_has_started",
        "_index",
        "_kind",
        "_live",
        "_met",
        "_numbering",
        "_origin",
        "_refusal",
        "_stops",
        "_thought",
        "_waiting",
    )

    def __init__(self, origin: Origin, stops: Set[str]) -> None:
        self._origin, self._stops = origin, stops
        self._has_started = False
        self._index = -1  # Of the block that is open, or was last.
        self._kind = ""  # Of the block that is open.
        self._thought: list[str] = []  # What the open thinking block has told.
        self._calls: list[OpenCall] = []
        self._numbering = Numbering()
        self._live: OpenCall | None = None  # The one whose block is open.
        self._waiting: list[OpenCall] = []
        self._refusal: list[str] = []
        self._extra = ABSENT
        self._finish = ""
        self._met: str | None = None

    def chunk(self, chunk: bytes) -> list[bytes]:
        found = decode_vendor(COMPLETION, chunk, VENDOR)
        out: list[bytes] = []
        self._start(found.model, out)
        for choice in found.choices or ():
            if choice.index == 0:
                self._take(choice, out)
        return out

    def end(self, usage: Usage) -> list[bytes]:
        out: list[bytes] = []
        self._start(None, out)
        self._close_all(out)
        if given(self._extra):
            self._seal(Carried(message=self._extra), out)
        refusal = "".join(self._refusal) or None
        ending = Ending(self._finish, self._met, bool(self._calls), refusal)
        delta: dict[str, Any] = {"stop_reason": ending.stop_reason, "stop_sequence": ending.met}
        if ending.stop_details is not UNSET:
            delta["stop_details"] = ending.stop_details
        out.append(ENCODER.encode({"type": "message_delta", "delta": delta, "usage": usage_out(usage)}))
        out.append(STOP)
        return out

    # -- what comes

    def _start(self, model: str | None, out: list[bytes]) -> None:
        """The usage comes with the end: nobody has said it yet."""
        if self._has_started:
            return
        self._has_started = True
        message = Message(
            id=message_id(self._origin), model=model or self._origin.model, content=[], usage=usage_out(Usage())
        )
        out.append(ENCODER.encode({"type": "message_start", "message": message}))

    def _take(self, choice: Choice, out: list[bytes]) -> None:
        said = choice.delta
        if said.thought:
            self._think(said.thought, out)
        for raw in said.thinking_blocks or ():
            self._whole_thought(raw, out)
        if said.content:
            self._text(said.content, out)
        if said.refusal:
            self._refusal.append(said.refusal)
            self._text(said.refusal, out)
        for call in said.tool_calls or ():
            self._call(call, out)
        if given(said.extra_content):
            self._extra = said.extra_content
        if choice.finish_reason is not None:
            self._finish = self._finish or choice.finish_reason
            self._met = met(choice, self._stops)

    def _text(self, text: str, out: list[bytes]) -> None:
        if self._kind != "text":
            self._open(TextBlock(""), out)
        out.append(BEFORE_TEXT % self._index + ENCODER.encode(text) + AFTER_TEXT)

    def _think(self, text: str, out: list[bytes]) -> None:
        if self._kind != "thinking":
            self._open(ThinkingBlock("", ""), out)
        self._thought.append(text)
        self._delta({"type": "thinking_delta", "thinking": text}, out)

    def _whole_thought(self, raw: Raw, out: list[bytes]) -> None:
        """A signed block comes whole, after its text was told in pieces; its signature is what is missing."""
        block = thinking_in(raw)
        if block.type != "thinking":
            self._open(unnumbered(raw), out, kind=block.type)
            self._close(out)
            return
        if self._kind != "thinking" or "".join(self._thought) != block.thinking:
            self._open(ThinkingBlock("", ""), out)
            if block.thinking:
                self._think(block.thinking, out)
        self._sign(block.signature, out)

    def _call(self, call: Call, out: list[bytes]) -> None:
        number = self._numbering.of(call.index, call.id, call.function.name)
        if number == len(self._calls):
            opened = OpenCall(call.id or call_id(self._origin, number), call.function.name or "")
            self._calls.append(opened)
            self._waiting.append(opened)
        known = self._calls[number]
        if given(call.extra_content):
            known.extra = call.extra_content
        piece = call.function.arguments
        if piece:
            known.pieces.append(piece)
            if known is self._live:
                self._delta({"type": "input_json_delta", "partial_json": piece}, out)
            elif known not in self._waiting and piece.strip():
                raise GatewayError("provider_bad_answer", f"{VENDOR} sent arguments after their call was whole")
        self._go_on(out)

    def _go_on(self, out: list[bytes]) -> None:
        """Opens what waits, as soon as nothing more can belong to what is open."""
        while self._waiting and (self._live is None or self._live.is_whole):
            self._open_call(self._waiting.pop(0), out)

    # -- blocks

    def _open_call(self, call: OpenCall, out: list[bytes]) -> None:
        self._close(out)
        if given(call.extra):
            self._seal(Carried(calls={call.id: call.extra}), out)
        self._open(ToolUse(call.id, call.name, Raw(b"{}")), out, kind="tool_use")
        self._live = call
        if call.pieces:
            self._delta({"type": "input_json_delta", "partial_json": "".join(call.pieces)}, out)

    def _open(self, block: Any, out: list[bytes], kind: str = "") -> None:
        if self._live is not None:
            self._close_all(out)
        self._close(out)
        self._index += 1
        self._kind = kind or ("text" if isinstance(block, TextBlock) else "thinking")
        out.append(ENCODER.encode({"type": "content_block_start", "index": self._index, "content_block": block}))

    def _close(self, out: list[bytes]) -> None:
        if self._kind == "thinking":
            self._sign(pack(Carried()), out)  # Nobody has signed it.
        elif self._kind:
            self._stop(out)

    def _close_all(self, out: list[bytes]) -> None:
        """Whatever is open or waits, whole or not: nothing more comes."""
        self._close(out)
        while self._waiting:
            self._open_call(self._waiting.pop(0), out)
            self._close(out)

    def _seal(self, carried: Carried, out: list[bytes]) -> None:
        """A block of thinking without words, for what must come back."""
        self._open(ThinkingBlock("", ""), out)
        self._sign(pack(carried), out)

    def _sign(self, signature: str, out: list[bytes]) -> None:
        self._delta({"type": "signature_delta", "signature": signature}, out)
        self._stop(out)

    def _stop(self, out: list[bytes]) -> None:
        out.append(b'{"type":"content_block_stop","index":%d}' % self._index)
        self._kind, self._live = "", None
        self._thought.clear()

    def _delta(self, delta: dict[str, str], out: list[bytes]) -> None:
        out.append(ENCODER.encode({"type": "content_block_delta", "index": self._index, "delta": delta}))
