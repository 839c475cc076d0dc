"""OpenAI's embeddings: texts or token arrays in, floats or base64 out. https://platform.openai.com/docs/api-reference/embeddings

Google and Ollama have APIs of their own for the same; there it is translated.
"""

import sys
from array import array
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Raw, Struct

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.canonical import METADATA
from llmproxy.provider_workers.compatible_requests import read_fields
from llmproxy.provider_workers.gemini_answers import VENDOR as GEMINI
from llmproxy.provider_workers.gemini_answers import WireError, error_of, method_url
from llmproxy.provider_workers.natives.passing import Passing
from llmproxy.provider_workers.reading import UNREADABLE, decode_request, decode_vendor, invalid, tokens, unsupported
from llmproxy.provider_workers.vendor_errors import vendor_error
from llmproxy.provider_workers.wire import (
    ENCODER,
    JSON_HEADERS,
    Answer,
    HttpRequest,
    Origin,
    StreamTranslator,
    Target,
    failed,
)

INPUTS_MAX = 2048  # OpenAI's own limit.
READS = frozenset({"model", "input", "dimensions", "encoding_format"})
OLLAMA = "Ollama"


class Embeddings(Passing):
    path = "embeddings"


# -- translated


class Asked(Struct, frozen=True, kw_only=True):
    input: str | list[Any]
    dimensions: int | None = None
    encoding_format: str | None = None


class EmbeddingOut(Struct, frozen=True, kw_only=True):
    object: str = "embedding"
    index: int
    embedding: Raw | str


class UsageOut(Struct, frozen=True, kw_only=True):
    prompt_tokens: int
    total_tokens: int


class AnswerOut(Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: list[EmbeddingOut]
    model: str
    usage: UsageOut


ASKED = msgspec.json.Decoder(Asked)
FLOATS = msgspec.json.Decoder(list[float])


def read(body: bytes, vendor: str) -> tuple[list[str], int | None, tuple[str, ...]]:
    """(texts, dimensions, dropped fields). Raises GatewayError naming what only OpenAI's own models can do."""
    dropped = []
    for name, value in read_fields(body).items():
        if name not in READS and bytes(value) != b"null":
            if name not in METADATA:
                raise unsupported(vendor, name)
            dropped.append(name)
    asked = decode_request(ASKED, body)
    if asked.encoding_format not in (None, "float", "base64"):
        raise invalid("encoding_format", "must be float or base64")
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    if not 1 <= len(texts) <= INPUTS_MAX:
        raise invalid("input", f"must hold between 1 and {INPUTS_MAX} texts")
    if not all(isinstance(text, str) for text in texts):
        raise unsupported(vendor, "input", f"{vendor} takes texts, not tokens of another vendor's tokenizer")
    return texts, asked.dimensions, tuple(sorted(dropped))


def answer(vectors: Sequence[Raw], usage: Usage, request: Origin, vendor: str) -> Answer:
    """OpenAI's answer for vectors that are JSON arrays; as base64 when the caller asked for that."""
    if not vectors:
        return failed(GatewayError("provider_bad_answer", f"{vendor} sent an answer without embeddings"))
    try:
        is_base64 = bool(request.asked) and ASKED.decode(request.asked).encoding_format == "base64"
        data = [
            EmbeddingOut(index=index, embedding=packed(vector) if is_base64 else vector)
            for index, vector in enumerate(vectors)
        ]
    except UNREADABLE:
        return failed(GatewayError("provider_bad_answer", f"{vendor} sent an embedding that is no list of numbers"))
    counted = UsageOut(prompt_tokens=usage.input, total_tokens=usage.input)
    return Answer(json=ENCODER.encode(AnswerOut(data=data, model=request.model, usage=counted)), usage=usage)


def packed(vector: Raw) -> str:
    """Little-endian 32-bit floats in base64, as OpenAI packs them."""
    numbers = array("f", FLOATS.decode(vector))
    if sys.byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers.tobytes()).decode()


def no_stream(vendor: str) -> GatewayError:
    return unsupported(vendor, "stream", "embeddings have no streamed answer")


class GoogleVector(Struct, frozen=True):
    values: Raw


class GoogleUsage(Struct, frozen=True, rename="camel"):
    prompt_token_count: int | None = None
    total_token_count: int | None = None


class GoogleReply(Struct, frozen=True, rename="camel"):
    embeddings: list[GoogleVector] | None = None
    usage_metadata: GoogleUsage | None = None
    error: WireError | None = None


GOOGLE_REPLY = msgspec.json.Decoder(GoogleReply)


class GoogleEmbeddings:
    """batchEmbedContents. https://ai.google.dev/api/embeddings#method:-models.batchembedcontents"""

    def __init__(self, default_url: str) -> None:
        self.default_url = default_url

    def request(self, body: bytes, target: Target) -> HttpRequest:
        if target.stream:
            raise no_stream(GEMINI)
        texts, dimensions, dropped = read(body, GEMINI)
        name = target.model if "/" in target.model else f"models/{target.model}"
        more = {} if dimensions is None else {"outputDimensionality": dimensions}
        return HttpRequest(
            method="POST",
            url=method_url(target.url or self.default_url, target.model, "batchEmbedContents"),
            headers=JSON_HEADERS,
            body=ENCODER.encode(
                {"requests": [{"model": name, "content": {"parts": [{"text": text}]}, **more} for text in texts]}
            ),
            dropped=dropped,
        )

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(GOOGLE_REPLY, body, GEMINI)
        except GatewayError as error:
            return failed(error)
        if reply.error is not None:
            return failed(error_of(reply.error.code, {}, reply.error))
        counts = reply.usage_metadata or GoogleUsage()
        usage = Usage(input=tokens(counts.prompt_token_count or counts.total_token_count))
        return answer([vector.values for vector in reply.embeddings or []], usage, request, GEMINI)

    def events(self, request: Origin) -> StreamTranslator:
        raise no_stream(GEMINI)


class OllamaReply(Struct, frozen=True):
    embeddings: list[Raw] | None = None
    prompt_eval_count: int | None = None
    error: str | None = None


OLLAMA_REPLY = msgspec.json.Decoder(OllamaReply)


class OllamaEmbeddings:
    """https://github.com/ollama/ollama/blob/main/docs/api.md#generate-embeddings"""

    def __init__(self, default_url: str) -> None:
        self.default_url = default_url

    def request(self, body: bytes, target: Target) -> HttpRequest:
        if target.stream:
            raise no_stream(OLLAMA)
        texts, dimensions, dropped = read(body, OLLAMA)
        more = {} if dimensions is None else {"dimensions": dimensions}
        return HttpRequest(
            method="POST",
            url=embed_url(target.url or self.default_url),
            headers=JSON_HEADERS,
            # By default Ollama cuts a long text and says nothing; OpenAI refuses it.
            body=ENCODER.encode({"model": target.model, "input": texts, "truncate": False, **more}),
            dropped=dropped,
        )

    def response(self, body: bytes, request: Origin) -> Answer:
        try:
            reply = decode_vendor(OLLAMA_REPLY, body, OLLAMA)
        except GatewayError as error:
            return failed(error)
        if reply.error is not None:
            return failed(vendor_error(OLLAMA, 500, {}, message=reply.error))
        return answer(reply.embeddings or [], Usage(input=tokens(reply.prompt_eval_count)), request, OLLAMA)

    def events(self, request: Origin) -> StreamTranslator:
        raise no_stream(OLLAMA)


@lru_cache(maxsize=256)
def embed_url(base: str) -> str:
    at = urlsplit(base)
    path = at.path.rstrip("/").removesuffix("/chat").removesuffix("/v1").removesuffix("/api") + "/api/embed"
    return urlunsplit((at.scheme, at.netloc, path, at.query, ""))
