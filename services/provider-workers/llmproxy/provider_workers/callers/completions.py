"""OpenAI's legacy completions, over any chat. https://platform.openai.com/docs/api-reference/completions

The prompt becomes a user's message: a chat answers it where the old models went on with it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.answer_pieces import Logprob, Logprobs
from llmproxy.provider_workers.callers.caller import Asked, Events
from llmproxy.provider_workers.canonical_answers import UsageOut, usage_out
from llmproxy.provider_workers.reading import UNREADABLE, decode_request, invalid, refused
from llmproxy.provider_workers.wire import ENCODER, Origin
from llmproxy.provider_workers.written import renamed

READ = frozenset({"prompt", "suffix", "echo", "best_of", "logprobs"})
"""Fields that a chat has in another form. The others are a chat's own."""

NO_PLACE = (
    "audio",
    "function_call",
    "functions",
    "messages",
    "modalities",
    "parallel_tool_calls",
    "prompt_logprobs",
    "tool_choice",
    "tools",
)
"""What a chat would obey and the answer has no place for."""

FINISH_REASONS = {"length": "length", "content_filter": "content_filter"}


NAMES = {"messages": "prompt", "max_completion_tokens": "max_tokens", "top_logprobs": "logprobs"}


class Request(Struct, frozen=True, kw_only=True):
    prompt: str | list[Any]
    suffix: str | None = None
    echo: bool | None = None
    n: int | None = None
    best_of: int | None = None
    logprobs: int | None = None


class Message(Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None


class Choice(Struct, frozen=True):
    index: int = 0
    message: Message | None = None
    delta: Message | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class Answer(Struct, frozen=True):
    choices: list[Choice]
    created: int | None = None
    model: str | None = None
    usage: Raw = Raw(b"")
    system_fingerprint: str | None = None


class LogprobsOut(Struct, frozen=True, kw_only=True):
    text_offset: list[int]
    token_logprobs: list[float]
    tokens: list[str]
    top_logprobs: list[dict[str, float]] | None


class ChoiceOut(Struct, frozen=True, kw_only=True):
    text: str
    index: int
    logprobs: LogprobsOut | None = None
    finish_reason: str | None


class AnswerOut(Struct, frozen=True, kw_only=True):
    """A whole answer, or one chunk of it."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[ChoiceOut]
    usage: Raw | UsageOut | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET


REQUEST = msgspec.json.Decoder(Request)
FIELDS = msgspec.json.Decoder(dict[str, Raw])
ANSWER = msgspec.json.Decoder(Answer)


class Completions:
    api: Api = "completions"
    names: Mapping[str, str] = NAMES

    def read(self, body: bytes, *, stream: bool) -> Asked:
        asked = decode_request(REQUEST, body)
        fields: dict[str, Raw] = decode_request(FIELDS, body)
        for name in NO_PLACE:
            if bytes(fields.get(name, b"null")) != b"null":
                raise refused(name, "a completion has no place for it; use /v1/chat/completions")
        prompt = prompt_of(asked)
        check(asked)
        chat: dict[str, Any] = {name: value for name, value in fields.items() if name not in READ}
        if "max_tokens" in chat:  # The name that models which think take too.
            chat["max_completion_tokens"] = chat.pop("max_tokens")
        chat["messages"] = [{"role": "user", "content": prompt}]
        if asked.logprobs is not None:
            chat["logprobs"] = True
            chat["top_logprobs"] = asked.logprobs
        return CompletionsAsked(ENCODER.encode(chat), prompt if asked.echo else "")

    def place(self, body: bytes, path: str) -> str:
        return "prompt" if path.startswith("messages") else renamed(NAMES, path)


def prompt_of(asked: Request) -> str:
    """One text; a list of one is the same."""
    given = asked.prompt
    if isinstance(given, str):
        return given
    if not given:
        raise invalid("prompt", "must not be empty")
    if len(given) == 1 and isinstance(given[0], str):
        return given[0]
    if all(isinstance(one, str) for one in given):
        raise refused("prompt", "a chat answers one prompt; send a request for each")
    raise refused("prompt", "it takes text, not tokens of another vendor's tokenizer")


def check(asked: Request) -> None:
    if asked.suffix:
        raise refused("suffix", "a chat cannot fill in before a text that is given")
    if asked.best_of is not None and asked.best_of != (1 if asked.n is None else asked.n):
        raise refused("best_of", "a chat returns every choice that it makes; use n")
    if asked.echo and asked.logprobs is not None:
        raise refused("echo", "a chat says nothing about the tokens of the prompt; leave out logprobs or echo")


class CompletionsAsked:
    __slots__ = ("_echo", "canonical", "dropped")

    def __init__(self, canonical: bytes, echo: str) -> None:
        self.canonical, self._echo = canonical, echo
        self.dropped: tuple[str, ...] = ()

    def response(self, answer: bytes, origin: Origin) -> bytes:
        found = decode(answer)
        choices = [
            choice_out(choice, choice.message or Message(), self._echo, finish_of(choice.finish_reason or "stop"), 0)
            for choice in found.choices
        ]
        return ENCODER.encode(
            AnswerOut(
                id=completion_id(origin),
                created=origin.created if found.created is None else found.created,
                model=found.model or origin.model,
                choices=choices,
                usage=found.usage if bytes(found.usage) not in (b"", b"null") else UNSET,
                system_fingerprint=found.system_fingerprint or UNSET,
            )
        )

    def events(self, origin: Origin) -> Events:
        return CompletionsEvents(origin, self._echo)


def decode(data: bytes) -> Answer:
    try:
        return ANSWER.decode(data)
    except UNREADABLE:
        raise GatewayError("provider_bad_answer", "the provider sent an answer that cannot be read") from None


def completion_id(origin: Origin) -> str:
    return f"cmpl-{origin.id}"


def finish_of(reason: str) -> str:
    return FINISH_REASONS.get(reason, "stop")


def choice_out(choice: Choice, said: Message, before: str, finish: str | None, offset: int) -> ChoiceOut:
    tokens = choice.logprobs.content if choice.logprobs else None
    return ChoiceOut(
        text=before + (said.content or said.refusal or ""),
        index=choice.index,
        logprobs=logprobs_out(tokens, offset) if tokens else None,
        finish_reason=finish,
    )


def logprobs_out(tokens: list[Logprob], offset: int) -> LogprobsOut:
    """`offset` is where the first token begins in the choice's text."""
    offsets = []
    for one in tokens:
        offsets.append(offset)
        offset += len(one.token)
    top = [{other.token: other.logprob for other in one.top_logprobs or []} for one in tokens]
    return LogprobsOut(
        text_offset=offsets,
        token_logprobs=[one.logprob for one in tokens],
        tokens=[one.token for one in tokens],
        top_logprobs=top if any(top) else None,
    )


class CompletionsEvents:
    __slots__ = ("_after", "_before", "_echo", "_include_usage", "_model", "_offsets", "_origin")

    def __init__(self, origin: Origin, echo: str) -> None:
        self._origin, self._echo = origin, echo
        self._include_usage = origin.include_usage
        self._offsets: dict[int, int] = {}  # Choice -> characters so far.
        self._model = ""
        self._before = self._after = b""

    def chunk(self, chunk: bytes) -> list[bytes]:
        answer = decode(chunk)
        if not self._model:
            self._named(answer.model or self._origin.model)
        out: list[bytes] = []
        for choice in answer.choices:
            self._take(choice, out)
        return out

    def end(self, usage: Usage) -> list[bytes]:
        return [self._chunk([], usage_out(usage))] if self._include_usage else []

    def _named(self, model: str) -> None:
        self._model = model
        # Nearly all chunks differ in their text alone, which is the first thing in a choice.
        sample = self._chunk([ChoiceOut(text="\0", index=0, finish_reason=None)])
        self._before, _, self._after = sample.rpartition(b'"\\u0000"')

    def _take(self, choice: Choice, out: list[bytes]) -> None:
        said = choice.delta or Message()
        offset = self._offsets.get(choice.index)
        before = self._echo if offset is None else ""
        text = said.content or said.refusal or ""
        self._offsets[choice.index] = (offset or 0) + len(text)
        if choice.finish_reason is None and choice.logprobs is None:
            if not (before or text):
                return  # A role has no place here.
            if choice.index == 0:
                out.append(self._before + ENCODER.encode(before + text) + self._after)
                return
        finish = None if choice.finish_reason is None else finish_of(choice.finish_reason)
        out.append(self._chunk([choice_out(choice, said, before, finish, offset or 0)]))

    def _chunk(self, choices: list[ChoiceOut], usage: UsageOut | None = None) -> bytes:
        return ENCODER.encode(
            AnswerOut(
                id=completion_id(self._origin),
                created=self._origin.created,
                model=self._model or self._origin.model,
                choices=choices,
                usage=usage if self._include_usage else UNSET,
            )
        )
