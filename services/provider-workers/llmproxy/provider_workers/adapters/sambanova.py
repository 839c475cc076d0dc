"""SambaNova. https://docs.sambanova.ai/docs/en/features/openai-compatibility"""

from llmproxy.provider_workers.adapters.base import Capability
from llmproxy.provider_workers.canonical import METADATA
from llmproxy.provider_workers.compatible import Compatible
from llmproxy.provider_workers.compatible_requests import RARE, Messages
from llmproxy.provider_workers.natives.embeddings import Embeddings

URL = "https://api.sambanova.ai/v1"


SAMBANOVA = Compatible(
    name="sambanova",
    vendor="SambaNova",
    default_url=URL,
    capabilities=frozenset(Capability) - {Capability.CHOICES, Capability.LOGPROBS, Capability.CACHE_USAGE},
    # It ignores these, which would be silence.
    lacks=RARE
    | METADATA
    | {"frequency_penalty", "logit_bias", "logprobs", "n", "presence_penalty", "seed", "thinking", "top_logprobs"},
    renamed={"max_completion_tokens": "max_tokens"},
    messages=Messages(developer=False),
    efforts=True,
    natives={"embeddings": Embeddings(URL)},
)
