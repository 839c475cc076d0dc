"""Every family there is a fake of, by the provider name that the gateway's configuration has for it."""

from llmproxy.fakes.anthropic import ANTHROPIC
from llmproxy.fakes.bedrock import BEDROCK
from llmproxy.fakes.cohere import COHERE
from llmproxy.fakes.google import GOOGLE
from llmproxy.fakes.ollama import OLLAMA
from llmproxy.fakes.openai.vendors import OPENAI_COMPATIBLE
from llmproxy.fakes.vendor import Vendor
from llmproxy.fakes.vertex import VERTEX

VENDORS: tuple[Vendor, ...] = (*OPENAI_COMPATIBLE, ANTHROPIC, GOOGLE, OLLAMA, BEDROCK, COHERE, VERTEX)
FAMILIES: dict[str, Vendor] = {vendor.name: vendor for vendor in VENDORS}

MODELS: dict[str, str] = {
    "openai": "gpt-5",
    "anthropic": "claude-opus-4-6",
    "google": "gemini-3-pro",
    "azure": "gpt-5",
    "ollama": "qwen3",
    "groq": "openai/gpt-oss-120b",
    "together": "meta-llama/Llama-4-Maverick",
    "mistral": "mistral-large-latest",
    "deepseek": "deepseek-reasoner",
    "xai": "grok-4",
    "perplexity": "sonar-pro",
    "fireworks": "accounts/fireworks/models/kimi-k2",
    "openrouter": "anthropic/claude-sonnet-4.5",
    "sambanova": "Meta-Llama-3.3-70B-Instruct",
    "vllm": "Qwen/Qwen3-32B",
    "bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "cohere": "command-a-reasoning-08-2025",
    "vertex": "gemini-3-pro",
}
"""A name of each family's own, for examples and tests."""
