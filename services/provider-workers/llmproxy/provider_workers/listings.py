"""Where each vendor lists its models, and how its list is read. Pure."""

from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Struct

from llmproxy.common.config import Provider
from llmproxy.common.model_lists import tidy
from llmproxy.provider_workers.compatible_requests import VERSION
from llmproxy.provider_workers.reading import UNREADABLE
from llmproxy.provider_workers.wire import HttpRequest


class Place(Struct, frozen=True):
    path: str  # Behind the version, where there is one.
    version: str = "v1"
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()


OPENAIS = Place("models")
PLACES: Mapping[Provider, Place] = {
    **dict.fromkeys(
        ("openai", "openai-responses", "deepseek", "fireworks", "groq", "mistral", "openrouter", "sambanova"), OPENAIS
    ),
    **dict.fromkeys(("together", "vllm", "xai"), OPENAIS),
    "anthropic": Place("models", query="limit=1000", headers=(("anthropic-version", "2023-06-01"),)),
    "google": Place("models", version="v1beta", query="pageSize=1000"),
    "ollama": Place("tags", version="api"),
    "cohere": Place("models", query="page_size=1000"),
}
"""Not the clouds, which list what could be deployed and not what is; nor Perplexity, which has no list."""


class Entry(Struct, frozen=True):
    """OpenAI's and Anthropic's `id`; Google's, Ollama's and Cohere's `name`."""

    id: str | None = None
    name: str | None = None


class Listed(Struct, frozen=True):
    data: list[Entry] | None = None
    models: list[Entry] | None = None


LISTED = msgspec.json.Decoder(Listed | list[Entry])  # Together sends the list alone.


def request(provider: Provider, base: str) -> HttpRequest | None:
    """None where nobody knows a list. `base` with or without its version path."""
    place = PLACES.get(provider)
    if place is None:
        return None
    at = urlsplit(base)
    stem = at.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/api/chat")
    if not VERSION.search(stem):
        stem += f"/{place.version}"
    url = urlunsplit((at.scheme, at.netloc, f"{stem}/{place.path}", place.query, ""))
    return HttpRequest(method="GET", url=url, headers=place.headers, body=b"")


def names(body: bytes) -> tuple[str, ...] | None:
    """None when it cannot be read; a list of nothing is a list."""
    try:
        found = LISTED.decode(body)
    except UNREADABLE:
        return None
    entries = found if isinstance(found, list) else (found.data if found.data is not None else found.models)
    if entries is None:
        return None
    return tidy((one.id or one.name or "").removeprefix("models/") for one in entries)
