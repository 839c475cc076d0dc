"""What a vendor's request means, read back by somebody who has never seen the adapter that wrote it.

A family that speaks OpenAI's format is read as OpenAI's; the others each have a file.
"""

from collections.abc import Callable, Mapping
from typing import Any

from inverses.anthropic import anthropic
from inverses.bedrock import bedrock
from inverses.cohere import cohere
from inverses.compatible import compatible, mistral
from inverses.google import google
from inverses.meaning import Meaning
from inverses.ollama import ollama
from inverses.responses import responses

INVERSES: Mapping[str, Callable[[dict[str, Any]], Meaning]] = {
    "anthropic": anthropic,
    "google": google,
    "vertex": google,
    "ollama": ollama,
    "bedrock": bedrock,
    "cohere": cohere,
    "openai-responses": responses,
    "mistral": mistral,
}


def meaning(provider: str, body: dict[str, Any]) -> Meaning:
    """Of a request to this provider."""
    return INVERSES.get(provider, compatible)(body)
