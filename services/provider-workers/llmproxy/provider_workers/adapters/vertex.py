"""Vertex AI: models of Google and of Anthropic, each in its vendor's own format, under Google Cloud's addresses.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference,
https://docs.anthropic.com/en/api/claude-on-vertex-ai
"""

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.adapters.base import (
    Adapter,
    Answer,
    Capability,
    Credential,
    HttpRequest,
    Origin,
    StreamTranslator,
    Target,
    Wire,
)
from llmproxy.provider_workers.gemini_answers import answer_of, error_answer, stream_of
from llmproxy.provider_workers.gemini_requests import request_of
from llmproxy.provider_workers.natives import embeddings
from llmproxy.provider_workers.natives.gemini import Gemini
from llmproxy.provider_workers.natives.passing import whole
from llmproxy.provider_workers.reading import decode_vendor, tokens
from llmproxy.provider_workers.wire import JSON_HEADERS, failed, post

VENDOR = "Vertex AI"
URL = "https://aiplatform.googleapis.com/v1"  # For API keys; projects have their region's (`places.py`).
FIRST_VERSION = "2023-06-01"
ANTHROPIC_VERSION = "vertex-2023-10-16"  # The first version's name here.
FIELDS = msgspec.json.Decoder(dict[str, Raw])
GOOGLE, ANTHROPIC = "google", "anthropic"


class Vertex:
    """As itself, Google's own models. `speaker` tells who speaks for another vendor's."""

    name = "vertex"
    default_url = URL
    credential: Credential = "x-goog-api-key"
    capabilities = frozenset(Capability)
    natives: Mapping[Api, Wire]

    def __init__(self, claude: Adapter) -> None:
        self.natives = {"gemini": Gemini(URL, gemini_url), "embeddings": Embeddings()}
        self._claude = VertexClaude(claude)

    def speaker(self, model: str) -> Adapter:
        return self._claude if publisher(model) == ANTHROPIC else self

    def request(self, body: bytes, target: Target) -> HttpRequest:
        made, dropped = request_of(body, target.model)
        url = gemini_url(target.url or URL, target.model, target.stream)
        return HttpRequest(method="POST", url=url, headers=JSON_HEADERS, body=made, dropped=dropped)

    def response(self, body: bytes, request: Origin) -> Answer:
        return answer_of(body, request)

    def events(self, request: Origin) -> StreamTranslator:
        return stream_of(request)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return error_answer(status, headers, body)


class VertexClaude:
    """Anthropic's format with the model in the address and the version in the body; `anthropic` translates."""

    name = "vertex"
    default_url = URL
    credential: Credential = "x-goog-api-key"
    natives: Mapping[Api, Wire]

    def __init__(self, anthropic: Adapter) -> None:
        self._anthropic = anthropic
        self.capabilities = anthropic.capabilities
        native = anthropic.natives.get("messages")
        self.natives = {"messages": Moved(native)} if native is not None else {}

    def request(self, body: bytes, target: Target) -> HttpRequest:
        return moved(self._anthropic.request(body, target), target)

    def response(self, body: bytes, request: Origin) -> Answer:
        return self._anthropic.response(body, request)

    def events(self, request: Origin) -> StreamTranslator:
        return self._anthropic.events(request)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        """What the model's side refuses is told in Anthropic's form, what the platform refuses in Google's."""
        if b'"status"' in body and b'"code"' in body:
            return error_answer(status, headers, body)
        return self._anthropic.error(status, headers, body)


class Moved:
    """Anthropic's own API at Vertex AI's address."""

    def __init__(self, native: Wire) -> None:
        self._native = native

    def request(self, body: bytes, target: Target) -> HttpRequest:
        return moved(self._native.request(body, target), target)

    def response(self, body: bytes, request: Origin) -> Answer:
        return self._native.response(body, request)

    def events(self, request: Origin) -> StreamTranslator:
        return self._native.events(request)


class Statistics(Struct, frozen=True):
    token_count: float | None = None


class Vector(Struct, frozen=True):
    values: Raw
    statistics: Statistics = Statistics()


class Prediction(Struct, frozen=True):
    embeddings: Vector


class Predictions(Struct, frozen=True):
    predictions: list[Prediction] = []


PREDICTIONS = msgspec.json.Decoder(Predictions)


class Embeddings:
    """OpenAI's embeddings by predict. https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api"""

    def request(self, body: bytes, target: Target) -> HttpRequest:
        if target.stream:
            raise embeddings.no_stream(VENDOR)
        texts, dimensions, dropped = embeddings.read(body, VENDOR)
        # By default a long text is cut and nothing is said; OpenAI refuses it.
        more = {} if dimensions is None else {"outputDimensionality": dimensions}
        asked = {"instances": [{"content": text} for text in texts], "parameters": {"autoTruncate": False, **more}}
        return post(predict_url(target.url or URL, target.model), asked, list(dropped))

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(PREDICTIONS, body, VENDOR)
        except GatewayError as error:
            return failed(error)
        vectors = [prediction.embeddings for prediction in reply.predictions]
        usage = Usage(input=tokens(sum(whole(vector.statistics.token_count) for vector in vectors)))
        return embeddings.answer([vector.values for vector in vectors], usage, request, VENDOR)

    def events(self, request: Origin) -> StreamTranslator:
        raise embeddings.no_stream(VENDOR)


def moved(request: HttpRequest, target: Target) -> HttpRequest:
    """The same with the model in the address and the version in the body, where a later version has its own name."""
    fields = FIELDS.decode(request.body)
    fields.pop("model", None)
    said = dict(request.headers).get("anthropic-version", FIRST_VERSION)
    version = ANTHROPIC_VERSION if said == FIRST_VERSION else said
    body = msgspec.json.encode({"anthropic_version": version, **fields})
    headers = tuple(header for header in request.headers if header[0] != "anthropic-version")
    url = claude_url(target.url or URL, target.model, target.stream)
    return replace(request, url=url, headers=headers, body=body)


def publisher(model: str) -> str:
    """`publishers/anthropic/models/claude-…` says it; a bare name tells it."""
    if model.startswith("publishers/"):
        return model.split("/")[1]
    return ANTHROPIC if model.rpartition("/")[2].startswith("claude") else GOOGLE


def gemini_url(base: str, model: str, stream: bool) -> str:
    if stream:
        return _model_url(base, publisher(model), model, "streamGenerateContent", "alt=sse")
    return _model_url(base, publisher(model), model, "generateContent", "")


def predict_url(base: str, model: str) -> str:
    return _model_url(base, publisher(model), model, "predict", "")


def claude_url(base: str, model: str, stream: bool) -> str:
    return _model_url(base, ANTHROPIC, model, "streamRawPredict" if stream else "rawPredict", "")


@lru_cache(maxsize=1024)
def _model_url(base: str, publisher: str, model: str, method: str, query: str) -> str:
    """The model's name is the caller's word: quoted, so that it stays one step of the path."""
    at = urlsplit(base)
    vendor, name = quote(publisher, safe=""), quote(model.rpartition("/")[2], safe="@")
    path = f"{at.path.rstrip('/')}/publishers/{vendor}/models/{name}:{method}"
    return urlunsplit((at.scheme, at.netloc, path, "&".join(filter(None, (at.query, query))), ""))
