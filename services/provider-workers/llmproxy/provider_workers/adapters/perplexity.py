"""Perplexity's Sonar. https://docs.perplexity.ai/api-reference/chat-completions-post

What was searched (`citations`, `search_results`) stays in the answer, and the charge that it names is what is booked.
"""

from itertools import groupby

from llmproxy.provider_workers.adapters.base import Capability
from llmproxy.provider_workers.canonical import METADATA
from llmproxy.provider_workers.compatible import Compatible, charged
from llmproxy.provider_workers.compatible_requests import Fields, Messages, encode, format_of, objects, text_in
from llmproxy.provider_workers.reading import unsupported
from llmproxy.provider_workers.wire import Target

NAME = "Perplexity"
URL = "https://api.perplexity.ai"
NO_TOOLS = "Sonar models search by themselves and call no tools"


def rewrite(fields: Fields, target: Target, dropped: list[str]) -> None:
    if format_of(fields) == "json_object":
        raise unsupported(NAME, "response_format", f"{NAME} wants a schema with json_schema")


def url(target: Target) -> str:
    """Its path has no version, wherever it is."""
    base = (target.url or URL).rstrip("/")
    return base if base.endswith("/chat/completions") else f"{base}/chat/completions"


def reshape(messages: list[Fields], fields: Fields, dropped: list[str]) -> list[Fields]:
    """It wants the roles to alternate, so what one of them said in a row is one message."""
    for index, message in enumerate(messages):
        if objects(message.get("tool_calls")):
            raise unsupported(NAME, f"messages[{index}].tool_calls", NO_TOOLS)
        if text_in(message, "role") == "tool":
            raise unsupported(NAME, f"messages[{index}].role", NO_TOOLS)
    if any("tool_calls" in message for message in messages):
        messages = [{name: said for name, said in message.items() if name != "tool_calls"} for message in messages]
    runs = [list(run) for _, run in groupby(messages, key=lambda message: bytes(message.get("role", b"")))]
    return messages if len(runs) == len(messages) else [_joined(run) for run in runs]


def _joined(run: list[Fields]) -> Fields:
    if len(run) == 1:
        return run[0]
    texts = [text_in(message, "content") for message in run]
    if None not in texts:
        return {**run[0], "content": encode("\n\n".join(text for text in texts if text))}
    parts: list[object] = []
    for message, text in zip(run, texts, strict=True):
        parts += objects(message.get("content")) or [] if text is None else [{"type": "text", "text": text}]
    return {**run[0], "content": encode(parts)}


PERPLEXITY = Compatible(
    name="perplexity",
    vendor=NAME,
    default_url=URL,
    capabilities=frozenset(
        {
            Capability.CHAT,
            Capability.STREAM,
            Capability.IMAGES,
            Capability.IMAGE_URLS,
            Capability.JSON_SCHEMA,
            Capability.REASONING,
        }
    ),
    lacks=METADATA
    | {"audio", "function_call", "functions", "logit_bias", "logprobs", "modalities", "n", "parallel_tool_calls"}
    | {"seed", "thinking", "tool_choice", "tools", "top_logprobs", "verbosity"},
    renamed={"max_completion_tokens": "max_tokens"},
    asks_for_usage=False,  # It always says it, in every chunk.
    messages=Messages(fields=frozenset({"content", "role", "tool_calls"}), developer=False),
    efforts=True,
    rewrite=rewrite,
    reshape=reshape,
    url=url,
    usage=charged,
)
