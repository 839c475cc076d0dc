"""What the gateway owes a caller whatever the provider: streams cut anywhere, what was left out, who left, what there is."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from e2e.families import FAMILIES, Fakes, model_of
from gateway import Gateway
from openai import OpenAI
from openai.types.chat import ChatCompletionChunk
from patience import PATIENCE_S, wait_for

from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import Capability

SAID: list[Any] = [{"role": "user", "content": "a question"}]
PASSES_STORE_ON = frozenset({"openai", "azure"})


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, fakes: Fakes) -> str:
    fakes.behave(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def openai_client(families: Gateway) -> Iterator[OpenAI]:
    with OpenAI(api_key=families.key, base_url=families.base_url, max_retries=0) as connected:
        yield connected


def events(gateway: Gateway, body: dict[str, Any]) -> list[str]:
    answer = httpx.post(
        f"{gateway.base_url}/chat/completions",
        json={"messages": SAID, **body, "stream": True},
        headers={"authorization": f"Bearer {gateway.key}"},
        timeout=PATIENCE_S,
    )
    return [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]


def test_a_stream_byte_by_byte_is_the_same_stream(families: Gateway, family: str, fakes: Fakes) -> None:
    fakes.behave(family, text="ünïcode, in pieces 👋", byte_by_byte=True)
    *chunks, done = events(families, {"model": family, "stream_options": {"include_usage": True}})
    assert done == "[DONE]"
    read = [ChatCompletionChunk.model_validate_json(chunk) for chunk in chunks]
    assert "".join(one.choices[0].delta.content or "" for one in read if one.choices) == "ünïcode, in pieces 👋"
    assert read[-1].usage is not None


def test_usage_is_not_shown_to_who_did_not_ask(families: Gateway, family: str, fakes: Fakes) -> None:
    *chunks, done = events(families, {"model": family})
    assert done == "[DONE]"
    assert all(json.loads(chunk)["choices"] for chunk in chunks)


@pytest.mark.parametrize("fault", [{"break_after": 8}, {"truncate": True}], ids=["cut", "without its end"])
def test_a_stream_that_breaks_has_no_done(families: Gateway, family: str, fakes: Fakes, fault: dict[str, Any]) -> None:
    fakes.behave(family, text="a long answer in many pieces " * 5, **fault)
    last = json.loads(events(families, {"model": family})[-1])
    assert last["error"]["code"] == "provider_stream_broken"


def test_a_parameter_that_was_left_out_is_named(openai_client: OpenAI, family: str) -> None:
    raw = openai_client.chat.completions.with_raw_response.create(model=family, messages=SAID, store=False)
    dropped = raw.headers.get("x-llmproxy-dropped-params", "")
    assert dropped in ("", "store")
    if dropped == "" and family not in PASSES_STORE_ON:
        pytest.skip(f"{family} takes 'store'")


def test_a_cancelled_stream_closes_the_providers_connection(openai_client: OpenAI, family: str, fakes: Fakes) -> None:
    upstream = fakes.behave(family, text="word " * 500, chunk_delay_s=0.02)
    before = upstream.disconnects
    stream = openai_client.chat.completions.create(model=family, messages=SAID, stream=True)
    next(iter(stream))
    stream.close()
    wait_for(lambda: upstream.disconnects > before, "the provider's connection closed")


@pytest.mark.parametrize("form", ["json_object", "text"])
def test_json_mode(openai_client: OpenAI, family: str, form: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "a city, as JSON"}]
    if form == "json_object" and Capability.JSON_MODE not in ADAPTERS[FAMILIES[family].provider].capabilities:
        pytest.skip(f"{family} declares that it has no JSON mode")
    kind: Any = {"type": form}
    answer = openai_client.chat.completions.create(model=family, messages=messages, response_format=kind)
    text = answer.choices[0].message.content or ""
    if form == "json_object":
        assert isinstance(json.loads(text), dict)
    else:
        assert text == "You said: a city, as JSON"


def test_models_of_all_families_are_listed(openai_client: OpenAI) -> None:
    listed = {model.id for model in openai_client.models.list()}
    assert {*FAMILIES, *(model_of(name) for name in FAMILIES)} <= listed
