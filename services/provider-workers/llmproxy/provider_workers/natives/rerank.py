"""Rerank as Jina, vLLM, Together and others took it over from Cohere. https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"""

from llmproxy.provider_workers.natives.passing import Passing


class Rerank(Passing):
    path = "rerank"
