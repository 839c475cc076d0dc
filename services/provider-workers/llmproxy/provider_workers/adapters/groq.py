"""Groq. https://console.groq.com/docs/openai"""

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct

from llmproxy.provider_workers.adapters.base import Capability
from llmproxy.provider_workers.canonical import METADATA
from llmproxy.provider_workers.compatible import Compatible
from llmproxy.provider_workers.compatible_requests import (
    BASIC_MESSAGE,
    FIELDS,
    OWN,
    Fields,
    Messages,
    encode,
    text_in,
)
from llmproxy.provider_workers.natives.speech import Speech
from llmproxy.provider_workers.natives.transcriptions import Transcriptions
from llmproxy.provider_workers.wire import Target

URL = "https://api.groq.com/openai/v1"
SWITCHED = ("qwen",)  # Models that think or do not, without degrees.


class Extra(Struct, frozen=True):
    usage: Raw = Raw(b"null")


class Shown(Struct, frozen=True):
    usage: Any = None
    x_groq: Extra | None = None


TIERS = {"default": "on_demand", "priority": "performance"}
"""OpenAI's names for service tiers -> Groq's."""
TIER = re.compile(rb'"service_tier"\s*:\s*"(on_demand|performance)"')  # Quotes inside a text are escaped.
TIERS_BACK = {ours.encode(): b'"service_tier":"%s"' % theirs.encode() for theirs, ours in TIERS.items()}

SHOWN = msgspec.json.Decoder(Shown)


def rewrite(fields: Fields, target: Target, dropped: list[str]) -> None:
    tier = text_in(fields, "service_tier")
    if tier in TIERS:
        fields["service_tier"] = encode(TIERS[tier])
    if any(name in target.model for name in SWITCHED) and "reasoning_effort" in fields:
        if text_in(fields, "reasoning_effort") != "none":
            fields["reasoning_effort"] = encode("default")
        fields.setdefault("reasoning_format", encode("parsed"))  # Otherwise the thoughts stand in the text.


def inward(data: bytes) -> bytes:
    """The usage of a stream may be in Groq's own field alone."""
    data = TIER.sub(lambda found: TIERS_BACK[found[1]], data)
    if b'"x_groq"' not in data:
        return data
    shown = SHOWN.decode(data)
    if shown.usage is not None or shown.x_groq is None or bytes(shown.x_groq.usage) == b"null":
        return data
    return msgspec.json.encode({**FIELDS.decode(data), "usage": shown.x_groq.usage})


GROQ = Compatible(
    name="groq",
    vendor="Groq",
    default_url=URL,
    capabilities=frozenset(Capability) - {Capability.LOGPROBS, Capability.CHOICES},
    lacks=OWN
    | (METADATA - {"service_tier", "user"})
    | {"audio", "modalities", "verbosity", "web_search_options"}
    | {"logit_bias", "logprobs", "n", "top_logprobs"},
    messages=Messages(fields=(BASIC_MESSAGE - {"name"}) | {"reasoning"}, reasoning="reasoning"),
    efforts=True,
    rewrite=rewrite,
    inward=inward,
    statuses={498: 503},  # The flex tier has no room.
    natives={"speech": Speech(URL), "transcriptions": Transcriptions(URL)},
)
