"""Whole answers of the chat API that say a text and nothing else, as nearly all do: where it stands is known without a walk through them."""

import msgspec
from msgspec import Struct

from llmproxy.shield.answers.measures import Usage

Name = str | float | None
"""Stands under one of `answers.names.NAMES`, so it is no text; only a structure would be read."""

Nothing = tuple[()] | None


class Message(Struct, gc=False, forbid_unknown_fields=True):
    role: Name = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    annotations: Nothing = None
    audio: Nothing = None
    function_call: Nothing = None
    tool_calls: Nothing = None


class Choice(Struct, gc=False, forbid_unknown_fields=True):
    message: Message
    index: int = 0
    finish_reason: Name = None
    logprobs: None = None


class Answer(Struct, gc=False, forbid_unknown_fields=True):
    choices: list[Choice]
    id: Name = None
    object: Name = None
    created: Name = None
    model: Name = None
    service_tier: Name = None
    system_fingerprint: Name = None
    usage: Usage | None = None


DECODER = msgspec.json.Decoder(Answer)


def texts(answer: bytes) -> list[str] | None:
    """What it says; None where there is, or may be, more to read."""
    try:
        choices = DECODER.decode(answer).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found: list[str] = []
    for choice in choices:
        said = choice.message
        found += filter(None, (said.content, said.refusal, said.reasoning_content))
    return found
