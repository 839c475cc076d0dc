"""vLLM, and whatever else speaks OpenAI's format. https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html

What such a server knows is its own affair, so everything is passed on. A key is optional.
"""

from llmproxy.provider_workers.compatible import Compatible
from llmproxy.provider_workers.natives.completions import Completions
from llmproxy.provider_workers.natives.embeddings import Embeddings
from llmproxy.provider_workers.natives.rerank import Rerank
from llmproxy.provider_workers.natives.transcriptions import Transcriptions

URL = "http://127.0.0.1:8000/v1"

VLLM = Compatible(
    name="vllm",
    vendor="the server",
    default_url=URL,
    natives={
        "completions": Completions(URL),
        "embeddings": Embeddings(URL),
        "rerank": Rerank(URL),
        "transcriptions": Transcriptions(URL),
    },
)
