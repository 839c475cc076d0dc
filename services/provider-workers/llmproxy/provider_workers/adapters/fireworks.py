"""Fireworks AI. https://docs.fireworks.ai/api-reference/post-chatcompletions

It refuses every field that it does not know ("Extra inputs are not permitted").
"""

from llmproxy.provider_workers.adapters.base import Capability
from llmproxy.provider_workers.canonical import METADATA
from llmproxy.provider_workers.compatible import Compatible
from llmproxy.provider_workers.compatible_requests import (
    BASIC_MESSAGE,
    RARE,
    Messages,
)
from llmproxy.provider_workers.natives.completions import Completions
from llmproxy.provider_workers.natives.embeddings import Embeddings
from llmproxy.provider_workers.natives.rerank import Rerank

URL = "https://api.fireworks.ai/inference/v1"


FIREWORKS = Compatible(
    name="fireworks",
    vendor="Fireworks",
    default_url=URL,
    capabilities=frozenset(Capability),
    lacks=RARE | (METADATA - {"user"}) | {"seed", "thinking"},
    renamed={"max_completion_tokens": "max_tokens"},
    messages=Messages(fields=BASIC_MESSAGE | {"reasoning_content"}, reasoning="reasoning_content", developer=False),
    efforts=True,
    natives={"completions": Completions(URL), "embeddings": Embeddings(URL), "rerank": Rerank(URL)},
)
