"""Azure OpenAI. https://learn.microsoft.com/azure/ai-foundry/openai/reference

Two kinds of address: the v1 API (`https://<resource>.openai.azure.com/openai/v1`), where the model's name is the
deployment's, and the older one by deployment and dated version, which is meant by an `api-version` in the endpoint's URL.
The key goes into `api-key`; with `auth: {kind: entra}` a token goes into `authorization`.
"""

from functools import lru_cache
from urllib.parse import quote, urlsplit, urlunsplit

from llmproxy.provider_workers.compatible import Compatible
from llmproxy.provider_workers.compatible_requests import (
    OWN,
    VERSION,
    Messages,
)
from llmproxy.provider_workers.natives.embeddings import Embeddings
from llmproxy.provider_workers.natives.images import Images
from llmproxy.provider_workers.natives.responses import Responses
from llmproxy.provider_workers.natives.speech import Speech
from llmproxy.provider_workers.natives.transcriptions import Transcriptions
from llmproxy.provider_workers.wire import Target

CHAT = "chat/completions"
OF_THE_RESOURCE = frozenset({"responses"})  # APIs that have no address by deployment.


def place(base: str, path: str, model: str) -> str:
    """Where an API of a deployment is. `base` is the resource, or goes on to any point of either kind of address."""
    at = urlsplit(base)
    stem = at.path.rstrip("/")
    if stem.endswith(f"/{path}"):
        return base
    stem = stem.removesuffix(f"/{CHAT}")
    if path in OF_THE_RESOURCE:
        stem = stem.partition("/deployments/")[0]
    if "/deployments/" not in stem and not VERSION.search(stem):
        stem = f"{stem.removesuffix('/openai')}/openai"
        if "api-version=" not in at.query:
            stem += "/v1"
        elif path not in OF_THE_RESOURCE:
            stem += f"/deployments/{quote(model, safe='')}"
    return urlunsplit((at.scheme, at.netloc, f"{stem}/{path}", at.query, ""))


@lru_cache(maxsize=1024)
def _chat_url(base: str, model: str) -> str:
    return place(base, CHAT, model)


def url(target: Target) -> str:
    return _chat_url(target.url, target.model)


AZURE = Compatible(
    name="azure",
    vendor="Azure OpenAI",
    default_url="",  # Every customer has an address of their own.
    credential="api-key",
    lacks=OWN,
    messages=Messages(fields=None),
    efforts=True,
    url=url,
    natives={
        "embeddings": Embeddings("", place),
        "images": Images("", place),
        "responses": Responses("", place),
        "speech": Speech("", place),
        "transcriptions": Transcriptions("", place),
    },
)
