"""OpenAI's embeddings at vendors that have an API of their own."""

import json
from base64 import b64decode
from struct import unpack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama import EmbedResponse
from openai.types import CreateEmbeddingResponse

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.adapters.google import Google
from llmproxy.provider_workers.adapters.ollama import Ollama
from llmproxy.provider_workers.natives.embeddings import embed_url, packed
from llmproxy.provider_workers.wire import Origin, Target, Wire

GOOGLE, OLLAMA = Google.natives["embeddings"], Ollama.natives["embeddings"]
WIRES = {"google": GOOGLE, "ollama": OLLAMA}
both = pytest.mark.parametrize("vendor", WIRES)


def ask(wire: Wire, **fields: Any) -> Any:
    made = wire.request(json.dumps({"model": "mine", **fields}).encode(), Target(model="embed-1"))
    return json.loads(made.body), made.url, made.dropped


def replied(vendor: str, *vectors: Any) -> bytes:
    if vendor == "google":
        return json.dumps({"embeddings": [{"values": vector} for vector in vectors]}).encode()
    return json.dumps({"model": "x", "embeddings": vectors, "prompt_eval_count": 8}).encode()


def origin(**asked: Any) -> Origin:
    return Origin(id="r", model="mine", created=1, asked=json.dumps({"model": "mine", "input": "x", **asked}).encode())


def test_every_text_is_embedded_by_google() -> None:
    body, url, dropped = ask(GOOGLE, input=["a", "b"], dimensions=64, user="u")
    assert url == "https://generativelanguage.googleapis.com/v1beta/models/embed-1:batchEmbedContents"
    assert body == {
        "requests": [
            {"model": "models/embed-1", "content": {"parts": [{"text": text}]}, "outputDimensionality": 64}
            for text in ("a", "b")
        ]
    }
    assert dropped == ("user",)


def test_ollama_is_told_not_to_cut() -> None:
    body, url, _ = ask(OLLAMA, input="a", dimensions=64)
    assert url == "http://localhost:11434/api/embed"
    assert body == {"model": "embed-1", "input": ["a"], "truncate": False, "dimensions": 64}


@pytest.mark.parametrize("base", ["http://h", "http://h/", "http://h/v1", "http://h/api", "http://h/api/chat"])
def test_ollamas_address_is_found_from_any_base(base: str) -> None:
    assert embed_url(base) == "http://h/api/embed"


@both
@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_required_parameter", "input"),
        ({"input": []}, "invalid_value", "input"),
        ({"input": ["a"] * 2049}, "invalid_value", "input"),
        ({"input": [1, 2]}, "unsupported_parameter", "input"),
        ({"input": [[1], [2]]}, "unsupported_parameter", "input"),
        ({"input": 5}, "invalid_type", "input"),
        ({"input": "a", "encoding_format": "int8"}, "invalid_value", "encoding_format"),
        ({"input": "a", "task": "query"}, "unsupported_parameter", "task"),
        ({"input": "a", "dimensions": "many"}, "invalid_type", "dimensions"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(vendor: str, fields: Any, code: str, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        ask(WIRES[vendor], **fields)
    assert (caught.value.code, caught.value.param) == (code, param)


@both
def test_answers_are_what_the_openai_package_expects(vendor: str) -> None:
    answer = WIRES[vendor].response(replied(vendor, [0.5, -1.25], [3, 4.0]), origin())
    found = CreateEmbeddingResponse.model_validate_json(answer.json, strict=True)
    assert [(one.index, one.embedding) for one in found.data] == [(0, [0.5, -1.25]), (1, [3.0, 4.0])]
    assert found.model == "mine"
    assert answer.usage == (Usage(input=8) if vendor == "ollama" else Usage())


@both
def test_base64_is_given_to_who_asked_for_it(vendor: str) -> None:
    answer = WIRES[vendor].response(replied(vendor, [0.5, -1.25]), origin(encoding_format="base64"))
    text = json.loads(answer.json)["data"][0]["embedding"]
    assert unpack("<2f", b64decode(text)) == (0.5, -1.25)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_packing_loses_nothing(vector: list[float]) -> None:
    text = packed(json.dumps(vector).encode())  # type: ignore[arg-type]
    assert list(unpack(f"<{len(vector)}f", b64decode(text))) == vector


@both
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"embeddings": []}', b'{"embeddings": 5}', b"\xff"])
def test_an_answer_without_embeddings_is_a_failure(vendor: str, body: bytes) -> None:
    answer = WIRES[vendor].response(body, origin())
    assert answer.failure is not None
    assert answer.failure.code == "provider_bad_answer"


@both
def test_what_is_no_vector_is_a_failure_when_it_must_be_packed(vendor: str) -> None:
    answer = WIRES[vendor].response(replied(vendor, "text"), origin(encoding_format="base64"))
    assert answer.failure is not None


def test_errors_inside_a_200_are_failures() -> None:
    google = GOOGLE.response(b'{"error": {"code": 429, "message": "x", "status": "RESOURCE_EXHAUSTED"}}', origin())
    assert google.failure is not None
    assert google.failure.code == "provider_rate_limited"
    ollama = OLLAMA.response(b'{"error": "boom"}', origin())
    assert ollama.failure is not None
    assert ollama.failure.code == "provider_error"


@both
def test_embeddings_have_no_stream(vendor: str) -> None:
    with pytest.raises(GatewayError) as caught:
        WIRES[vendor].request(b'{"model": "m", "input": "x"}', Target(model="m", stream=True))
    assert caught.value.param == "stream"


def test_google_counts_where_it_does() -> None:
    body = b'{"embeddings": [{"values": [1]}], "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}}'
    assert GOOGLE.response(body, origin()).usage == Usage(input=7)


def test_ollamas_answer_is_its_packages_type() -> None:
    EmbedResponse.model_validate_json(replied("ollama", [0.5]))
