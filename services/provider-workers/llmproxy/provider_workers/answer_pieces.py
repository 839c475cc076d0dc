"""Pieces of a canonical answer, whole or one of its chunks, as the APIs of callers read them.

Answers of OpenAI's format pass through their adapter, so anything may be null here that clients take as null.
"""

from msgspec import Struct

from llmproxy.common.frames import Usage
from llmproxy.provider_workers.reading import tokens


class Function(Struct, frozen=True):
    """Of a call; in a chunk, what is new of it."""

    name: str | None = None
    arguments: str | None = None


class Numbering:
    """Tells the calls of one streamed choice apart: some servers give all of them the index 0, and some give none."""

    __slots__ = ("_ids", "_numbers")

    def __init__(self) -> None:
        self._numbers: dict[int | None, int] = {}  # The server's index -> which call it means now.
        self._ids: list[str | None] = []  # Of each call.

    def of(self, index: int | None, id: str | None, name: str | None) -> int:
        """Which call a fragment belongs to, counted from 0."""
        number = self._numbers.get(index)
        if number is None or self._is_another(index, id, name, self._ids[number]):
            number = self._numbers[index] = len(self._ids)
            self._ids.append(id)
        return number

    def _is_another(self, index: int | None, id: str | None, name: str | None, known: str | None) -> bool:
        return bool(id or name) if index is None else bool(id and name and id != known)


class TopLogprob(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int] | None = None


class Logprob(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] | None = None


class Logprobs(Struct, frozen=True):
    content: list[Logprob] | None = None


class PromptDetails(Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None


class CompletionDetails(Struct, frozen=True):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class Counts(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


def usage_of(counts: Counts | None) -> Usage:
    if counts is None:
        return Usage()
    prompt = counts.prompt_tokens_details or PromptDetails()
    completion = counts.completion_tokens_details or CompletionDetails()
    return Usage(
        input=tokens(counts.prompt_tokens),
        output=tokens(counts.completion_tokens),
        cache_read=tokens(prompt.cached_tokens),
        cache_write=tokens(prompt.cache_write_tokens),
        reasoning=tokens(completion.reasoning_tokens),
        audio_input=tokens(prompt.audio_tokens),
        audio_output=tokens(completion.audio_tokens),
    )
