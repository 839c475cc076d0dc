"""The support matrix: one adapter per wire format, by provider name. A new provider is one file and one line here."""

from llmproxy.provider_workers.adapters.base import Adapter
from llmproxy.provider_workers.adapters.demo import Demo
from llmproxy.provider_workers.adapters.openai import OpenAI

ADAPTERS: dict[str, Adapter] = {adapter.name: adapter for adapter in (OpenAI(),)}

DEMO = Demo()
