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
