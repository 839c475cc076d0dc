"""The `openai` package through the whole gateway to each vendor: the fakes judge what we send by the vendors' own types,
and what comes back is judged by OpenAI's."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import openai
import pytest
from gateway import Gateway, wait_for
from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from upstreams import ANTHROPIC, GOOGLE, OLLAMA, OPENAI, Behaviour, Upstream, running

VENDORS = {vendor.name: vendor for vendor in (OPENAI, ANTHROPIC, GOOGLE, OLLAMA)}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Vendors:
    """All fake vendors, served from one thread."""

    def __init__(self) -> None:
        self.upstreams = {name: Upstream(vendor) for name, vendor in VENDORS.items()}
        self.urls: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            for name, upstream in self.upstreams.items():
                self.urls[name] = await stack.enter_async_context(running(upstream))
            self._up.set()
            await self._stop.wait()

    def __enter__(self) -> "Vendors":
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@pytest.fixture(scope="module")
def vendors() -> Iterator[Vendors]:
    with Vendors() as serving:
        yield serving


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, vendors: Vendors) -> Iterator[Gateway]:
    """Configured by environment alone."""
    environment: dict[str, str] = {}
    for name, upstream in vendors.upstreams.items():
        prefix = f"LLM_PROXY_ENDPOINT_{name.upper()}"
        environment |= {
            f"{prefix}_URL": vendors.urls[name],
            f"{prefix}_PROVIDER": name,
            f"{prefix}_MODELS": f"{name}-model",
        }
        if upstream.key:
            environment[f"{prefix}_KEY"] = upstream.key
    with Gateway(tmp_path_factory.mktemp("vendors"), environment=environment) as started:
        yield started


@pytest.fixture(params=sorted(VENDORS))
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def upstream(vendors: Vendors, vendor: str) -> Upstream:
    chosen = vendors.upstreams[vendor]
    chosen.behaviour = Behaviour()
    chosen.requests.clear()
    return chosen


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(api_key=gateway.key, base_url=gateway.base_url, max_retries=0) as connected:
        yield connected


def judge_stream(gateway: Gateway, body: dict[str, Any]) -> list[ChatCompletionChunk]:
    """Every chunk, strictly parsed; the stream must end with [DONE]."""
    answer = httpx.post(
        f"{gateway.base_url}/chat/completions",
        json={**body, "stream": True},
        headers={"authorization": f"Bearer {gateway.key}"},
        timeout=30,
    )
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", events[-1]
    return [ChatCompletionChunk.model_validate_json(event) for event in events[:-1]]


def test_chat(client: OpenAI, vendor: str, upstream: Upstream) -> None:
    upstream.behaviour.text = "the answer ünïcode"
    raw = client.chat.completions.with_raw_response.create(
        model=f"{vendor}-model",
        messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "a question"}],
        max_tokens=100,
    )
    answer = ChatCompletion.model_validate_json(raw.content)
    assert answer.choices[0].message.content == "the answer ünïcode"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert raw.headers["x-llmproxy-provider"] == vendor


@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_stream(gateway: Gateway, vendor: str, upstream: Upstream, byte_by_byte: bool) -> None:
    upstream.behaviour.text = "the answer ünïcode, in pieces"
    upstream.behaviour.byte_by_byte = byte_by_byte
    chunks = judge_stream(
        gateway,
        {
            "model": f"{vendor}-model",
            "messages": [{"role": "user", "content": "a question"}],
            "stream_options": {"include_usage": True},
        },
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "the answer ünïcode, in pieces"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_tools_there_and_back(gateway: Gateway, client: OpenAI, vendor: str, upstream: Upstream, stream: bool) -> None:
    upstream.behaviour.tool_arguments = {"city": 'Zürich "old town"'}
    messages: list[Any] = [{"role": "user", "content": "weather?"}]
    body = {"model": f"{vendor}-model", "messages": messages, "tools": [WEATHER]}
    if stream:
        deltas = [c.choices[0].delta for c in judge_stream(gateway, body) if c.choices]
        calls = [call for delta in deltas for call in delta.tool_calls or ()]
        identity, name = calls[0].id, calls[0].function.name if calls[0].function else None
        arguments = "".join((call.function.arguments or "") for call in calls if call.function)
        call_json: dict[str, Any] = {
            "id": identity,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
    else:
        raw = client.chat.completions.with_raw_response.create(**body)  # type: ignore[call-overload]
        answer = ChatCompletion.model_validate_json(raw.content)
        assert answer.choices[0].finish_reason == "tool_calls"
        call_json = json.loads(raw.content)["choices"][0]["message"]["tool_calls"][0]
    assert call_json["function"]["name"] == "weather"
    assert json.loads(call_json["function"]["arguments"]) == {"city": 'Zürich "old town"'}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call_json]},
        {"role": "tool", "tool_call_id": call_json["id"], "content": "sunny"},
    ]
    upstream.behaviour.text = "it is sunny"
    answered = client.chat.completions.create(**body)  # type: ignore[call-overload]
    assert answered.choices[0].message.content == "it is sunny"


def test_an_image(client: OpenAI, vendor: str, upstream: Upstream) -> None:
    content: Any = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    answer = client.chat.completions.create(model=f"{vendor}-model", messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content
    assert PIXEL in upstream.requests[-1].body.decode()


@pytest.mark.parametrize("form", [{"type": "json_object"}, SCHEMA], ids=["json mode", "json schema"])
def test_json_answers(client: OpenAI, vendor: str, upstream: Upstream, form: Any) -> None:
    if vendor == "anthropic" and form["type"] == "json_object":
        pytest.skip("anthropic has no JSON mode without a schema")
    answer = client.chat.completions.create(
        model=f"{vendor}-model", messages=[{"role": "user", "content": "a city, as JSON"}], response_format=form
    )
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_reasoning_is_apart_from_the_answer(client: OpenAI, vendor: str, upstream: Upstream) -> None:
    upstream.behaviour.reasoning, upstream.behaviour.text = "let me think", "42"
    answer = client.chat.completions.create(
        model=f"{vendor}-model",
        messages=[{"role": "user", "content": "think"}],
        reasoning_effort="low",
        max_completion_tokens=8000,
    )
    assert answer.choices[0].message.content == "42"
    if vendor != "openai":  # OpenAI does not show it.
        assert getattr(answer.choices[0].message, "reasoning_content", "") == "let me think"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.InternalServerError),  # Ours to mend, not the caller's.
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_openais(
    client: OpenAI, vendor: str, upstream: Upstream, status: int, kind: type[openai.APIStatusError], stream: bool
) -> None:
    upstream.behaviour.status = status
    with pytest.raises(kind) as failed:
        client.chat.completions.create(
            model=f"{vendor}-model", messages=[{"role": "user", "content": "x"}], stream=stream
        )
    body = failed.value.body
    assert isinstance(body, dict)
    assert set(body) == {"message", "type", "param", "code"}
    # The vendor is well again, which a circuit breaker that counts failures in a row must see.
    upstream.behaviour.status = 0
    client.chat.completions.create(model=f"{vendor}-model", messages=[{"role": "user", "content": "x"}])


def test_a_parameter_that_was_left_out_is_named(client: OpenAI, vendor: str, upstream: Upstream) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=f"{vendor}-model", messages=[{"role": "user", "content": "x"}], store=False
    )
    dropped = raw.headers.get("x-llmproxy-dropped-params", "")
    assert dropped == ("" if vendor == "openai" else "store")


def test_a_stream_that_breaks_ends_with_an_error_and_no_done(gateway: Gateway, vendor: str, upstream: Upstream) -> None:
    upstream.behaviour.text, upstream.behaviour.break_after = "a long answer in many pieces " * 5, 8
    with pytest.raises(AssertionError, match="provider_stream_broken"):
        judge_stream(gateway, {"model": f"{vendor}-model", "messages": [{"role": "user", "content": "x"}]})


def test_a_cancelled_stream_closes_the_vendors_connection(client: OpenAI, vendor: str, upstream: Upstream) -> None:
    upstream.behaviour.text, upstream.behaviour.chunk_delay_s = "word " * 500, 0.02
    before = upstream.disconnects
    stream = client.chat.completions.create(
        model=f"{vendor}-model", messages=[{"role": "user", "content": "x"}], stream=True
    )
    next(iter(stream))
    stream.close()
    wait_for(lambda: upstream.disconnects > before, "the vendor's connection closed", 3)


def test_models_of_all_vendors_are_listed(client: OpenAI) -> None:
    assert {(model.id, model.owned_by) for model in client.models.list()} == {
        (f"{name}-model", name) for name in VENDORS
    }
