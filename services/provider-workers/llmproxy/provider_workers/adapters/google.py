"""Gemini API, generateContent. https://ai.google.dev/api/generate-content"""

from collections.abc import Mapping

from llmproxy.common.envelope import Api
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters.base import (
    Answer,
    Capability,
    Credential,
    HttpRequest,
    Origin,
    StreamTranslator,
    Target,
    Wire,
)
from llmproxy.provider_workers.gemini_answers import answer_of, error_answer, model_url, stream_of
from llmproxy.provider_workers.gemini_requests import request_of
from llmproxy.provider_workers.natives.embeddings import GoogleEmbeddings
from llmproxy.provider_workers.natives.gemini import Gemini
from llmproxy.provider_workers.wire import JSON_HEADERS


class Google:
    name = "google"
    default_url = "https://generativelanguage.googleapis.com"
    credential: Credential = "x-goog-api-key"
    capabilities = frozenset(Capability)
    natives: Mapping[Api, Wire] = {"gemini": Gemini(default_url), "embeddings": GoogleEmbeddings(default_url)}

    def request(self, body: bytes, target: Target) -> HttpRequest:
        made, dropped = request_of(body, target.model)
        url = model_url(target.url or self.default_url, target.model, target.stream)
        return HttpRequest(method="POST", url=url, headers=JSON_HEADERS, body=made, dropped=dropped)

    def response(self, body: bytes, request: Origin) -> Answer:
        return answer_of(body, request)

    def events(self, request: Origin) -> StreamTranslator:
        return stream_of(request)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        return error_answer(status, headers, body)
