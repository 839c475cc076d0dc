"""What an answer is measured by: what was used, how it was rated, how likely its tokens were. In a form that is known it is not read.

A vendor adds to it as to anything else; whatever does not have one of these forms is read like the rest.
"""

import re
from typing import Any, Literal

import msgspec
from msgspec import Struct

NAME = re.compile(r"[A-Za-z_-]{1,64}")
"""A name without digits and spaces is nobody's key, number or address, and quotes nothing."""

PLAIN_NAME_CHARS = 15
"""A name that is no longer and could stand in a program is not looked at: what guards look for has more characters, or others."""

TOKENS = frozenset({"token", "tokens", "top_logprobs"})
"""Under these names stand the tokens of a text that is read anyway."""

Number = float | None


class Details(Struct, gc=False, forbid_unknown_fields=True):
    cached_tokens: Number = None
    cache_write_tokens: Number = None
    reasoning_tokens: Number = None
    text_tokens: Number = None
    image_tokens: Number = None
    audio_tokens: Number = None
    accepted_prediction_tokens: Number = None
    rejected_prediction_tokens: Number = None
    ephemeral_5m_input_tokens: Number = None
    ephemeral_1h_input_tokens: Number = None
    web_search_requests: Number = None
    web_fetch_requests: Number = None


class Usage(Struct, gc=False, forbid_unknown_fields=True):
    """As OpenAI, Anthropic and who copies them have it."""

    prompt_tokens: Number = None
    completion_tokens: Number = None
    total_tokens: Number = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    prompt_cache_hit_tokens: Number = None
    prompt_cache_miss_tokens: Number = None
    input_tokens: Number = None
    input_tokens_details: Details | None = None
    output_tokens: Number = None
    output_tokens_details: Details | None = None
    cache_creation_input_tokens: Number = None
    cache_read_input_tokens: Number = None
    cache_creation: Details | None = None
    server_tool_use: Details | None = None
    service_tier: Literal["standard", "priority", "batch"] | None = None


class OfKind(Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    modality: Literal["TEXT", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT"]
    token_count: Number = None


class UsageMetadata(Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    prompt_token_count: Number = None
    candidates_token_count: Number = None
    total_token_count: Number = None
    thoughts_token_count: Number = None
    cached_content_token_count: Number = None
    tool_use_prompt_token_count: Number = None
    prompt_tokens_details: list[OfKind] = []
    candidates_tokens_details: list[OfKind] = []
    cache_tokens_details: list[OfKind] = []
    tool_use_prompt_tokens_details: list[OfKind] = []
    traffic_type: Literal["ON_DEMAND", "PROVISIONED_THROUGHPUT"] | None = None


class Rating(Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    category: Literal[
        "HARM_CATEGORY_HARASSMENT", "HARM_CATEGORY_HATE_SPEECH", "HARM_CATEGORY_SEXUALLY_EXPLICIT",
        "HARM_CATEGORY_DANGEROUS_CONTENT", "HARM_CATEGORY_CIVIC_INTEGRITY",
    ]  # fmt: skip
    probability: Literal["NEGLIGIBLE", "LOW", "MEDIUM", "HIGH"]
    blocked: bool = False


class Token(Struct, gc=False, forbid_unknown_fields=True):
    token: str
    logprob: Number = None
    bytes: list[int] | None = None
    top_logprobs: "list[Token] | None" = None


class Weights(Struct, gc=False, forbid_unknown_fields=True):
    """As chats and completions have them."""

    content: list[Token] | None = None
    refusal: list[Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[Number] | None = None
    top_logprobs: list[dict[str, Number] | None] | None = None
    text_offset: list[int] | None = None


class Candidate(Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    token: str = ""
    token_id: int | None = None
    log_probability: Number = None


class Candidates(Struct, gc=False, forbid_unknown_fields=True):
    candidates: list[Candidate] = []


class LogprobsResult(Struct, gc=False, forbid_unknown_fields=True, rename="camel"):
    top_candidates: list[Candidates] = []
    chosen_candidates: list[Candidate] = []
    log_probability_sum: Number = None


FORMS: dict[str, msgspec.json.Decoder[Any]] = {
    "usage": msgspec.json.Decoder(Usage),
    "usageMetadata": msgspec.json.Decoder(UsageMetadata),
    "safetyRatings": msgspec.json.Decoder(list[Rating]),
    "logprobs": msgspec.json.Decoder(Weights | list[Token]),
    "logprobsResult": msgspec.json.Decoder(LogprobsResult),
}


def is_measure(name: str, value: Any) -> bool:
    """Whether what stands under a name has a form that it is known to have there."""
    form = FORMS.get(name)
    if form is None:
        return False
    try:  # From bytes it takes half as long as from a tree, and a fifth as long as a walk.
        form.decode(msgspec.json.encode(value))
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def is_plain(name: str) -> bool:
    """A promise that a name holds nothing that any guard looks for."""
    return (len(name) <= PLAIN_NAME_CHARS and name.isidentifier()) or NAME.fullmatch(name) is not None
