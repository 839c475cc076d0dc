"""Which provider can serve which APIs: those it speaks itself, and every conversation, because one can be translated.

Data, so that the router knows it without knowing the adapters. `tests/conformance/test_offers.py` holds it against what
the provider workers really do.
"""

from collections.abc import Mapping

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
