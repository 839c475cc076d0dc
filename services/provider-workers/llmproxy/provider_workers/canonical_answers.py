"""Canonical answers, whole and in chunks, written from values."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llmproxy.common.frames import Finish, Usage
from llmproxy.provider_workers.wire import ENCODER, Answer, Origin

OUR_CALL_IDS = "call_"
CALL_ID_CHARS = 24  # Of the request's id: the random end of a UUIDv7.


class TokenOut(Struct, frozen=True, kw_only=True):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["TokenOut"] | UnsetType = UNSET


class FunctionOut(Struct, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    arguments: str = ""


class ToolCallOut(Struct, frozen=True, kw_only=True):
    """A call in an answer (no `index`) or in a delta (`index`; id, type and name only in its first)."""

    index: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    function: FunctionOut
    extra_content: Raw | UnsetType = UNSET


class MessageOut(Struct, frozen=True, kw_only=True):
    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    annotations: list[Raw] | UnsetType = UNSET
    images: list[Raw] | UnsetType = UNSET  # OpenRouter's place for pictures that a model made.
    reasoning_content: str | UnsetType = UNSET
    thinking_blocks: list[Raw] | UnsetType = UNSET
    tool_calls: list[ToolCallOut] | UnsetType = UNSET
    extra_content: Raw | UnsetType = UNSET


class ChoiceOut(Struct, frozen=True, kw_only=True):
    index: int = 0
    message: MessageOut
    logprobs: Raw | None = None
    finish_reason: str


class Delta(Struct, frozen=True, kw_only=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    annotations: list[Raw] | UnsetType = UNSET
    images: list[Raw] | UnsetType = UNSET
    refusal: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    thinking_blocks: list[Raw] | UnsetType = UNSET
    tool_calls: list[ToolCallOut] | UnsetType = UNSET
    extra_content: Raw | UnsetType = UNSET


class PromptDetails(Struct, frozen=True, kw_only=True):
    cached_tokens: int = 0
    cache_write_tokens: int | UnsetType = UNSET
    audio_tokens: int | UnsetType = UNSET


class CompletionDetails(Struct, frozen=True, kw_only=True):
    reasoning_tokens: int = 0
    audio_tokens: int | UnsetType = UNSET


class UsageOut(Struct, frozen=True, kw_only=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Completion(Struct, frozen=True, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[ChoiceOut]
    usage: UsageOut
    system_fingerprint: str | UnsetType = UNSET


class DeltaChoice(Struct, frozen=True, kw_only=True):
    index: int = 0
    delta: Delta
    logprobs: Raw | None = None
    finish_reason: str | None = None


class Chunk(Struct, frozen=True, kw_only=True):
    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: list[DeltaChoice]
    usage: UsageOut | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET


NOTHING = Delta()


def completion(origin: Origin, choices: list[ChoiceOut], usage: Usage, finish: Finish, fingerprint: str = "") -> Answer:
    answer = Completion(
        id=completion_id(origin),
        created=origin.created,
        model=origin.model,
        choices=choices,
        usage=usage_out(usage),
        system_fingerprint=fingerprint or UNSET,
    )
    return Answer(json=ENCODER.encode(answer), usage=usage, finish=finish)


def completion_id(origin: Origin) -> str:
    return f"chatcmpl-{origin.id}"


def call_id(origin: Origin, number: int) -> str:
    """An id for a tool call of a vendor that gives none. OpenAI takes at most 40 characters when it comes back."""
    return f"{OUR_CALL_IDS}{origin.id.replace('-', '')[-CALL_ID_CHARS:]}_{number}"


def usage_out(usage: Usage) -> UsageOut:
    return UsageOut(
        prompt_tokens=usage.input,
        completion_tokens=usage.output,
        total_tokens=usage.input + usage.output,
        prompt_tokens_details=PromptDetails(
            cached_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write or UNSET,
            audio_tokens=usage.audio_input or UNSET,
        ),
        completion_tokens_details=CompletionDetails(
            reasoning_tokens=usage.reasoning, audio_tokens=usage.audio_output or UNSET
        ),
    )


def called(name: str, arguments: Raw, id: str, index: int | None = None, extra: Raw | UnsetType = UNSET) -> ToolCallOut:
    """A whole call, of an answer or (with its index) of one chunk, from a vendor whose arguments are an object."""
    return ToolCallOut(
        index=UNSET if index is None else index,
        id=id,
        type="function",
        function=FunctionOut(name=name, arguments=compact(arguments)),
        extra_content=extra,
    )


def compact(arguments: Raw) -> str:
    """A vendor's arguments object as the text that `arguments` is here; numbers keep their spelling."""
    return msgspec.json.format(bytes(arguments), indent=-1).decode()


def token_out(token: str, logprob: float, top: list[tuple[str, float]] | None = None) -> TokenOut:
    """One token's log probability; `top` are the alternatives, which every token of an answer has, if only none."""
    others = UNSET if top is None else [token_out(*other) for other in top]
    return TokenOut(token=token, logprob=logprob, bytes=list(token.encode()), top_logprobs=others)


def logprobs_out(tokens: list[TokenOut]) -> Raw | None:
    return Raw(ENCODER.encode({"content": tokens, "refusal": None})) if tokens else None


def finish_of(table: Mapping[str, Finish], reason: str) -> Finish:
    """A reason that is not in the vendor's table yet means that the model ended somehow: `stop` loses nothing."""
    return table.get(reason, "stop")


def finish_or_calls(table: Mapping[str, Finish], reason: str, has_called: bool) -> Finish:
    """For vendors that say that the model stopped when it calls a tool, too."""
    finish = finish_of(table, reason)
    return "tool_calls" if has_called and finish == "stop" else finish


class Chunks:
    """Writes the chunks of one answer, and counts the characters that they deliver."""

    __slots__ = (
        "_after",
        "_before",
        "_created",
        "_fingerprint",
        "_id",
        "_include_usage",
        "_model",
        "_numbers",
        "_started",
        "text_chars",
    )

    def __init__(self, origin: Origin, fingerprint: str = "") -> None:
        self._id = completion_id(origin)
        self._model = origin.model
        self._created = origin.created
        self._include_usage = origin.include_usage
        self._fingerprint: str | UnsetType = fingerprint or UNSET
        self._started: set[int] = set()
        self._numbers: dict[tuple[str, int], int] = {}  # How many entries of a choice's list are told.
        self.text_chars = 0
        # Nearly all chunks differ in their text alone. What follows it in a chunk is ours, so the last NUL is the sample's.
        self._before, _, self._after = self.delta(Delta(content="\0")).rpartition(b'"\\u0000"')

    def start(self, index: int = 0) -> list[bytes]:
        """The chunk that opens a choice with its role; nothing when it is open already."""
        if index in self._started:
            return []
        self._started.add(index)
        return [self.delta(Delta(role="assistant", content=""), index)]

    def delta(self, delta: Delta, index: int = 0, logprobs: Raw | None = None) -> bytes:
        choice = DeltaChoice(index=index, delta=delta, logprobs=logprobs)
        return self._chunk([choice], None if self._include_usage else UNSET)

    def text(self, text: str, index: int = 0, logprobs: Raw | None = None) -> bytes:
        self.text_chars += len(text)
        if index == 0 and logprobs is None:
            return self._before + ENCODER.encode(text) + self._after
        return self.delta(Delta(content=text), index, logprobs)

    def likely_text(self, text: str, logprobs: Raw | None) -> bytes:
        """Text with its probabilities."""
        self.text_chars += len(text)
        choice = DeltaChoice(delta=Delta(content=text), logprobs=logprobs)
        return self._chunk([choice], None if self._include_usage else UNSET)

    def refusal(self, text: str, index: int = 0) -> bytes:
        self.text_chars += len(text)
        return self.delta(Delta(refusal=text), index)

    def reasoning(self, text: str, index: int = 0) -> bytes:
        self.text_chars += len(text)
        return self.delta(Delta(reasoning_content=text), index)

    def thinking_block(self, block: Raw) -> bytes:
        return self.delta(Delta(thinking_blocks=[self._numbered("thinking_blocks", block, 0)]))

    def image(self, image: Raw, index: int = 0) -> bytes:
        return self.delta(Delta(images=[self._numbered("images", image, index)]), index)

    def _numbered(self, name: str, entry: Raw, choice: int) -> Raw:
        """With an `index`: by it OpenAI's package adds up what the lists of several deltas hold, and fails without."""
        number = self._numbers.get((name, choice), 0)
        self._numbers[name, choice] = number + 1
        return Raw(b'{"index":%d,' % number + bytes(entry)[1:])

    def call(self, call: ToolCallOut, index: int = 0) -> bytes:
        self.text_chars += len(call.function.arguments) + len(call.function.name or "")
        return self.delta(Delta(tool_calls=[call]), index)

    def arguments(self, number: int, text: str, index: int = 0) -> bytes:
        """A piece of what the call of this number is given."""
        return self.call(ToolCallOut(index=number, function=FunctionOut(arguments=text)), index)

    def end(self, finish: Finish, index: int = 0) -> bytes:
        choice = DeltaChoice(index=index, delta=NOTHING, finish_reason=finish)
        return self._chunk([choice], None if self._include_usage else UNSET)

    def total(self, usage: Usage) -> list[bytes]:
        """The usage chunk, when it was asked for."""
        return [self._chunk([], usage_out(usage))] if self._include_usage else []

    def _chunk(self, choices: list[DeltaChoice], usage: UsageOut | UnsetType | None) -> bytes:
        chunk = Chunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=usage,
            system_fingerprint=self._fingerprint,
        )
        return ENCODER.encode(chunk)
