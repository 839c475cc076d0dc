"""What Bedrock, Cohere and Vertex AI are sent, and what their cases say that they answer, judged by the vendors' own packages."""

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import aws_stream
import pytest
from anthropic.lib.vertex import _client as anthropic_vertex
from botocore.model import ServiceModel, Shape
from botocore.session import get_session
from botocore.validate import ParamValidator
from cohere import types as cohere_types
from cohere.v2.client import V2Client
from cohere.v2.types.v2chat_response import V2ChatResponse
from cohere.v2.types.v2chat_stream_response import V2ChatStreamResponse
from openai.types import CreateEmbeddingResponse
from pydantic import BaseModel, TypeAdapter
from yarl import URL

from llmproxy.common.frames import Usage
from llmproxy.provider_workers.adapters import ADAPTERS, speaker
from llmproxy.provider_workers.wire import Origin, Target

WIRE = Path(__file__).parent / "wire"
CLOUDS = ("bedrock", "cohere", "vertex")
STREAMS = [path.parent for cloud in CLOUDS for path in sorted((WIRE / cloud).glob("*/vendor_stream.txt"))]


def cases(cloud: str, name: str) -> list[Path]:
    return sorted(path.parent for path in (WIRE / cloud).glob(f"*/{name}"))


def read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def ids(paths: list[Path]) -> list[str]:
    return [f"{path.parent.name}-{path.name}" for path in paths]


# -- Bedrock


@cache
def bedrock() -> ServiceModel:
    return get_session().get_service_model("bedrock-runtime")


def misfits(shape: Shape, value: Any) -> str:
    """What botocore finds wrong with a value; fields that it does not know, too."""
    return str(ParamValidator().validate(value, shape).generate_report())


def test_botocore_would_find_a_misfit() -> None:
    shape = bedrock().operation_model("Converse").input_shape
    sound = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    assert not misfits(shape, sound)
    assert "Unknown parameter" in misfits(shape, {**sound, "temperature": 1})
    assert "Missing required parameter" in misfits(shape, {**sound, "messages": [{"role": "user"}]})
    assert "Invalid type" in misfits(shape, {**sound, "system": "text"})


@pytest.mark.parametrize("case", cases("bedrock", "case.json"), ids=ids(cases("bedrock", "case.json")))
def test_botocores_model_of_the_service_accepts_the_request(case: Path) -> None:
    facts = read(case / "case.json")
    name = "ConverseStream" if (case / "vendor_stream.txt").exists() else "Converse"
    operation = bedrock().operation_model(name)
    assert not misfits(operation.input_shape, {"modelId": facts["target_model"], **read(case / "vendor_request.json")})
    path = operation.http["requestUri"].replace(
        "{modelId}", facts["target_model"].replace(":", "%3A").replace("/", "%2F")
    )
    assert facts["url"] == f"{facts['base']}{path}"


@pytest.mark.parametrize(
    "case", cases("bedrock", "vendor_response.json"), ids=ids(cases("bedrock", "vendor_response.json"))
)
def test_the_answers_are_such_as_botocore_knows(case: Path) -> None:
    shape = bedrock().operation_model("Converse").output_shape
    assert not misfits(shape, read(case / "vendor_response.json"))


@pytest.mark.parametrize("case", cases("bedrock", "vendor_stream.txt"), ids=ids(cases("bedrock", "vendor_stream.txt")))
def test_the_events_are_such_as_botocore_knows(case: Path) -> None:
    events = bedrock().operation_model("ConverseStream").output_shape.members["stream"].members
    for line in (case / "vendor_stream.txt").read_text().splitlines():
        name, _, payload = line.partition(" ")
        event = json.loads(payload)
        event.pop("p", None)  # Padding, which the model does not mention.
        assert not misfits(events[name], event)


# -- Cohere


@cache
def cohere_fields() -> frozenset[str]:
    return frozenset(get_type_hints(V2Client.chat)) - {"return", "request_options"}


def fits(kind: Any, value: Any) -> None:
    """Cohere's models keep what they do not know, so that is looked for; unions are told apart by their tag."""
    tag = value.get("type") or value.get("role")
    union = get_args(kind)
    members = [one for one in (get_args(union[0]) if union else (kind,)) if isinstance(one, type)]
    tagged = [one for one in members if not union or default_of(one) == tag]
    assert tagged, f"{tag!r} is none of {members}"
    model = TypeAdapter(tagged[0]).validate_python(value)
    unknown = value.keys() - {field.alias or name for name, field in type(model).model_fields.items()}
    assert not unknown, f"{tagged[0].__name__} has no {sorted(unknown)}"


def default_of(model: type[BaseModel]) -> Any:
    for name in ("type", "role"):
        if name in model.model_fields:
            return model.model_fields[name].default
    return None


@pytest.mark.parametrize("case", cases("cohere", "case.json"), ids=ids(cases("cohere", "case.json")))
def test_coheres_own_types_accept_the_request(case: Path) -> None:
    request = read(case / "vendor_request.json")
    assert not request.keys() - cohere_fields() - {"stream"}
    for message in request["messages"]:
        fits(cohere_types.ChatMessageV2, message)
        for part in message["content"] if isinstance(message.get("content"), list) else []:
            fits(
                cohere_types.AssistantMessageV2ContentOneItem
                if message["role"] == "assistant"
                else cohere_types.Content,
                part,
            )
    for tool in request.get("tools", []):
        fits(cohere_types.ToolV2, tool)
        fits(cohere_types.ToolV2Function, tool["function"])
    if "thinking" in request:
        fits(cohere_types.Thinking, request["thinking"])
    if "response_format" in request:
        fits(cohere_types.ResponseFormatV2, request["response_format"])
    assert request.get("tool_choice", "NONE") in ("NONE", "REQUIRED")


@pytest.mark.parametrize(
    "case", cases("cohere", "vendor_response.json"), ids=ids(cases("cohere", "vendor_response.json"))
)
def test_the_answers_are_such_as_coheres_package_reads(case: Path) -> None:
    answer = V2ChatResponse.model_validate(read(case / "vendor_response.json"))
    assert answer.message.role == "assistant"


@pytest.mark.parametrize("case", cases("cohere", "vendor_stream.txt"), ids=ids(cases("cohere", "vendor_stream.txt")))
def test_the_events_are_such_as_coheres_package_reads(case: Path) -> None:
    for line in (case / "vendor_stream.txt").read_text().splitlines():
        if line.startswith("data: {"):
            fits(V2ChatStreamResponse, json.loads(line.removeprefix("data: ")))


# -- Vertex AI

CLAUDE = [case for case in cases("vertex", "case.json") if case.name.startswith("claude_")]


@pytest.mark.parametrize("case", CLAUDE, ids=ids(CLAUDE))
def test_the_anthropic_package_asks_vertex_at_the_same_place(case: Path) -> None:
    """Its own rewriting of a request is given ours in Anthropic's form."""
    facts, request = read(case / "case.json"), read(case / "vendor_request.json")
    options = anthropic_vertex.FinalRequestOptions.construct(
        method="post", url="/v1/messages", json_data={"model": facts["target_model"], **request}
    )
    made = anthropic_vertex._prepare_options(options, project_id="acme", region="europe-west1")
    assert made.json_data == request
    base = "https://europe-west1-aiplatform.googleapis.com/v1"
    assert URL(base + made.url) == URL(facts["url"])


def test_a_model_is_asked_in_its_publishers_format() -> None:
    vertex = ADAPTERS["vertex"]
    for model in ("gemini-2.5-flash", "google/gemini-2.5-flash", "publishers/google/models/gemini-2.5-flash"):
        assert speaker(vertex, model) is vertex
    for model in (
        "claude-sonnet-4-5@20250929",
        "anthropic/claude-opus-4-6",
        "publishers/anthropic/models/claude-opus-4-6",
    ):
        claude = speaker(vertex, model)
        assert set(claude.natives) == {"messages"}
        assert claude.name == "vertex"


def test_claudes_own_api_goes_to_vertex_as_it_is() -> None:
    native = speaker(ADAPTERS["vertex"], "claude-opus-4-6").natives["messages"]
    body = (
        b'{"model":"mine","max_tokens":8,"messages":[{"role":"user","content":[{"type":"text","text":"Hi",'
        b'"cache_control":{"type":"ephemeral"}}]}],"a_field_of_tomorrow":{"x":1.0}}'
    )
    target = Target(
        model="claude-opus-4-6",
        url="https://h/v1/projects/p/locations/l",
        headers=(("anthropic-beta", "context-1m-2025-08-07"),),
    )
    made = native.request(body, target)
    assert made.url == "https://h/v1/projects/p/locations/l/publishers/anthropic/models/claude-opus-4-6:rawPredict"
    assert json.loads(made.body) == {
        "anthropic_version": "vertex-2023-10-16",
        **{name: value for name, value in json.loads(body).items() if name != "model"},
    }
    assert b'"x":1.0' in made.body
    assert dict(made.headers)["anthropic-beta"] == "context-1m-2025-08-07"
    assert "anthropic-version" not in dict(made.headers)


@pytest.mark.parametrize(
    ("header", "version"),
    [("", "vertex-2023-10-16"), ("2023-06-01", "vertex-2023-10-16"), ("2026-10-21", "2026-10-21")],
)
def test_a_later_version_of_claudes_api_is_told_in_the_body(header: str, version: str) -> None:
    native = speaker(ADAPTERS["vertex"], "claude-opus-4-6").natives["messages"]
    headers = (("anthropic-version", header),) if header else ()
    body = b'{"model":"mine","max_tokens":8,"messages":[{"role":"user","content":"Hi"}]}'
    made = native.request(body, Target(model="claude-opus-4-6", headers=headers))
    assert json.loads(made.body)["anthropic_version"] == version
    assert "anthropic-version" not in dict(made.headers)


def test_an_error_of_vertex_is_read_in_either_vendors_form() -> None:
    claude = speaker(ADAPTERS["vertex"], "claude-opus-4-6")
    theirs = b'{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: Field required"}}'
    googles = b'{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}'
    assert "Field required" in claude.error(400, {}, theirs).message
    assert claude.error(429, {}, googles).code == "provider_rate_limited"
    assert claude.error(403, {}, b"<html>").code == "provider_unauthorized"


# -- all three


def random_cuts(data: bytes, chance: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = chance.choice((1, 2, 7, 30, 200, 2000))
        yield data[at : at + size]
        at += size


@pytest.mark.parametrize("case", STREAMS, ids=ids(STREAMS))
def test_a_stream_says_the_same_under_random_cuts(case: Path) -> None:
    data = (case / "vendor_stream.txt").read_bytes()
    data = aws_stream.lines(data) if case.parent.name == "bedrock" else data
    adapter = speaker(ADAPTERS[case.parent.name], read(case / "case.json")["target_model"])
    asked = read(case / "canonical_request.json")
    include_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
    for seed in range(20):
        translator = adapter.events(
            Origin(id="req-1", model=asked["model"], created=1700000000, include_usage=include_usage)
        )
        out = [chunk for piece in random_cuts(data, random.Random(seed)) for chunk in translator.feed(piece)]
        assert b"\n".join(out + translator.finish()) + b"\n" == (case / "canonical_chunks.jsonl").read_bytes()


ORIGIN = Origin(id="r", model="mine", created=1)
VECTORS = b"[[0.25,-1.0],[1e-3,2]]"


@pytest.mark.parametrize(
    ("provider", "model", "url", "sent", "answer"),
    [
        (
            "cohere",
            "embed-v4.0",
            "https://api.cohere.com/v2/embed",
            {
                "model": "embed-v4.0",
                "texts": ["a", "b"],
                "input_type": "search_document",
                "embedding_types": ["float"],
                "truncate": "NONE",
                "output_dimension": 2,
            },
            b'{"id":"x","embeddings":{"float":'
            + VECTORS
            + b'},"texts":["a","b"],"meta":{"billed_units":{"input_tokens":5.0}}}',
        ),
        (
            "vertex",
            "text-embedding-005",
            "https://aiplatform.googleapis.com/v1/publishers/google/models/text-embedding-005:predict",
            {
                "instances": [{"content": "a"}, {"content": "b"}],
                "parameters": {"autoTruncate": False, "outputDimensionality": 2},
            },
            b'{"predictions":[{"embeddings":{"values":[0.25,-1.0],"statistics":{"token_count":2,"truncated":false}}},'
            b'{"embeddings":{"values":[1e-3,2],"statistics":{"token_count":3.0}}}]}',
        ),
    ],
)
def test_embeddings_are_openais_in_and_out(
    provider: str, model: str, url: str, sent: dict[str, Any], answer: bytes
) -> None:
    native = ADAPTERS[provider].natives["embeddings"]
    made = native.request(b'{"model":"mine","input":["a","b"],"dimensions":2}', Target(model=model))
    assert made.url == url
    assert json.loads(made.body) == sent
    found = native.response(answer, ORIGIN)
    assert found.usage == Usage(input=5)
    read = CreateEmbeddingResponse.model_validate_json(found.json, strict=True)
    assert [one.embedding for one in read.data] == [[0.25, -1.0], [0.001, 2.0]]
    assert read.usage.total_tokens == 5
    for bad in (b"", b"{}", b'{"embeddings":{"float":[]}}', b'{"predictions":[]}'):
        broken = native.response(bad, ORIGIN)
        assert broken.failure is not None
        assert broken.failure.code == "provider_bad_answer"


def test_coheres_rerank_goes_as_it_is() -> None:
    native = ADAPTERS["cohere"].natives["rerank"]
    body = b'{"model":"mine","query":"q","documents":["a","b"],"top_n":1,"priority":2}'
    made = native.request(body, Target(model="rerank-v3.5", url="https://api.cohere.com/v1"))
    assert made.url == "https://api.cohere.com/v2/rerank"
    assert json.loads(made.body) == {**json.loads(body), "model": "rerank-v3.5"}
    answer = b'{"id":"x","results":[{"index":1,"relevance_score":0.9}],"meta":{"billed_units":{"search_units":1.0}}}'
    assert native.response(answer, ORIGIN).json == answer
