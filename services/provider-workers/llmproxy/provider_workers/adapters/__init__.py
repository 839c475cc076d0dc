"""The support matrix: one adapter per wire format, by provider name. A new provider is one file and one line here."""

from llmproxy.provider_workers.adapters.anthropic import Anthropic
from llmproxy.provider_workers.adapters.azure import AZURE
from llmproxy.provider_workers.adapters.base import Adapter
from llmproxy.provider_workers.adapters.bedrock import Bedrock
from llmproxy.provider_workers.adapters.cohere import Cohere
from llmproxy.provider_workers.adapters.deepseek import DEEPSEEK
from llmproxy.provider_workers.adapters.demo import Demo
from llmproxy.provider_workers.adapters.fireworks import FIREWORKS
from llmproxy.provider_workers.adapters.google import Google
from llmproxy.provider_workers.adapters.groq import GROQ
from llmproxy.provider_workers.adapters.mistral import MISTRAL
from llmproxy.provider_workers.adapters.ollama import Ollama
from llmproxy.provider_workers.adapters.openai import ELSEWHERE as OPENAI_ELSEWHERE
from llmproxy.provider_workers.adapters.openai import OPENAI
from llmproxy.provider_workers.adapters.openai_responses import OpenAIResponses
from llmproxy.provider_workers.adapters.openrouter import OPENROUTER
from llmproxy.provider_workers.adapters.perplexity import PERPLEXITY
from llmproxy.provider_workers.adapters.sambanova import SAMBANOVA
from llmproxy.provider_workers.adapters.together import TOGETHER
from llmproxy.provider_workers.adapters.vertex import Vertex
from llmproxy.provider_workers.adapters.vllm import VLLM
from llmproxy.provider_workers.adapters.xai import XAI

ADAPTERS: dict[str, Adapter] = {
    adapter.name: adapter
    for adapter in (
        OPENAI,
        OpenAIResponses(),
        Anthropic(),
        Google(),
        Ollama(),
        Bedrock(),
        Cohere(),
        Vertex(Anthropic()),
        AZURE,
        DEEPSEEK,
        FIREWORKS,
        GROQ,
        MISTRAL,
        OPENROUTER,
        PERPLEXITY,
        SAMBANOVA,
        TOGETHER,
        VLLM,
        XAI,
    )
}

DEMO = Demo()
"""Not among them: it calls nobody. `answer` and `chunks` take the place of a call."""


def at(adapter: Adapter, url: str) -> Adapter:
    """The adapter for this address: what OpenAI's is given another one for need not have all of OpenAI's APIs."""
    return OPENAI_ELSEWHERE if adapter is OPENAI and not OPENAI.is_home(url) else adapter


def speaker(adapter: Adapter, model: str) -> Adapter:
    """Who translates for this model: on Vertex AI, each vendor's models are asked in their vendor's format."""
    return adapter.speaker(model) if isinstance(adapter, Vertex) else adapter
