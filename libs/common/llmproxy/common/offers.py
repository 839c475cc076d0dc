"""Which provider can serve which APIs (those it speaks itself, and every conversation, because one can be translated),
and what of a chat it can express.

Data, so that the router and the list of models know it without knowing the adapters. `tests/conformance/test_offers.py`
holds it against what the provider workers really do.
"""

from collections.abc import Mapping
from enum import StrEnum

from llmproxy.common.config import Provider
from llmproxy.common.envelope import Api

CONVERSATIONS: frozenset[Api] = frozenset({"chat", "completions", "responses", "messages", "gemini"})
"""Whoever answers a chat answers these: the worker translates (`callers/`)."""

EVERYWHERE: frozenset[Api] = CONVERSATIONS | {"count_tokens"}  # Estimated where the provider does not count.

BESIDES: Mapping[Provider, frozenset[Api]] = {
    "openai": frozenset({"embeddings", "moderations", "images", "speech", "transcriptions"}),
    "openai-responses": frozenset(),
    "anthropic": frozenset(),
    "google": frozenset({"embeddings"}),
    "ollama": frozenset({"embeddings"}),
    "demo": frozenset({"embeddings", "moderations"}),
    "azure": frozenset({"embeddings", "images", "speech", "transcriptions"}),
    "groq": frozenset({"speech", "transcriptions"}),
    "together": frozenset({"embeddings", "rerank", "images", "speech", "transcriptions"}),
    "mistral": frozenset({"embeddings", "moderations", "transcriptions"}),
    "deepseek": frozenset(),
    "xai": frozenset({"images"}),
    "perplexity": frozenset(),
    "fireworks": frozenset({"embeddings", "rerank"}),
    "openrouter": frozenset({"embeddings"}),
    "sambanova": frozenset({"embeddings"}),
    "vllm": frozenset({"embeddings", "rerank", "transcriptions"}),
    "bedrock": frozenset(),
    "cohere": frozenset({"embeddings", "rerank"}),
    "vertex": frozenset({"embeddings"}),
}
"""What each provider serves besides conversations."""

OFFERS: Mapping[Provider, frozenset[Api]] = {provider: EVERYWHERE | more for provider, more in BESIDES.items()}


def serves(provider: Provider, api: Api) -> bool:
    return api in OFFERS[provider]


class Capability(StrEnum):
    """What of a chat can be translated. The conformance suite skips, by name, what an adapter does not declare."""

    CHAT = "chat"
    STREAM = "stream"
    TOOLS = "tools"
    PARALLEL_TOOLS = "parallel_tools"
    TOOL_CHOICE = "tool_choice"
    IMAGES = "images"
    IMAGE_URLS = "image_urls"
    JSON_MODE = "json_mode"
    JSON_SCHEMA = "json_schema"
    REASONING = "reasoning"
    CACHE_USAGE = "cache_usage"
    CHOICES = "choices"  # n > 1
    LOGPROBS = "logprobs"


LACKS: Mapping[Provider, frozenset[Capability]] = {
    "openai": frozenset(),
    "openai-responses": frozenset({Capability.CHOICES}),
    "anthropic": frozenset({Capability.CHOICES, Capability.LOGPROBS}),
    "google": frozenset(),
    "ollama": frozenset({Capability.CACHE_USAGE, Capability.CHOICES, Capability.IMAGE_URLS, Capability.TOOL_CHOICE}),
    "demo": frozenset({Capability.CACHE_USAGE, Capability.IMAGE_URLS, Capability.LOGPROBS, Capability.REASONING}),
    "azure": frozenset(),
    "groq": frozenset({Capability.CHOICES, Capability.LOGPROBS}),
    "together": frozenset({Capability.LOGPROBS}),
    "mistral": frozenset({Capability.LOGPROBS}),
    "deepseek": frozenset({Capability.CHOICES, Capability.IMAGE_URLS, Capability.IMAGES, Capability.JSON_SCHEMA}),
    "xai": frozenset(),
    "perplexity": frozenset(
        {
            Capability.CACHE_USAGE,
            Capability.CHOICES,
            Capability.JSON_MODE,
            Capability.LOGPROBS,
            Capability.PARALLEL_TOOLS,
            Capability.TOOL_CHOICE,
            Capability.TOOLS,
        }
    ),
    "fireworks": frozenset(),
    "openrouter": frozenset(),
    "sambanova": frozenset({Capability.CACHE_USAGE, Capability.CHOICES, Capability.LOGPROBS}),
    "vllm": frozenset(),
    "bedrock": frozenset({Capability.CHOICES, Capability.IMAGE_URLS, Capability.LOGPROBS}),
    "cohere": frozenset({Capability.CHOICES, Capability.LOGPROBS}),
    "vertex": frozenset(),
}
"""What a provider has no word for. Of its models some have less: what a model can is the vendor's to say."""


def capabilities(provider: Provider) -> frozenset[Capability]:
    return frozenset(Capability) - LACKS[provider]
