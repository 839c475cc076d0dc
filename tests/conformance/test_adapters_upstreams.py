"""Every adapter against a server that behaves like its vendor: over a socket, with the vendor's judgement and its faults."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace
from openai.types.chat import ChatCompletion
from patience import PATIENCE_S
from upstreams import MODELS, VENDORS, Behaviour, Upstream, running

from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Usage
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import Capability, Origin, Target

MODEL = {**MODELS, "openai-responses": MODELS["openai"]}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": SCHEMA}}]
PROVIDERS = sorted(ADAPTERS.keys() & VENDORS.keys())


@dataclass
class Outcome:
    """What a client would have seen: the answer assembled, whether it was streamed or not."""

    message: dict[str, Any]
    finish: str
    usage: Usage
    failure: GatewayError | None = None


def credentials(provider: str, key: str) -> dict[str, str]:
    match ADAPTERS[provider].credential:
        case "bearer" | "sigv4":  # Bedrock takes a key of its own, too.
            return {"authorization": f"Bearer {key}"}
        case "none":
            return {}
        case header:
            return {header: key}


async def call(provider: str, url: str, body: dict[str, Any], *, stream: bool, key: str = "upstream-key") -> Outcome:
    """What the provider worker does, without its care."""
    adapter = ADAPTERS[provider]
    request = adapter.request(
        json.dumps({"model": "m", **body, "stream": stream}).encode(),
        Target(model=MODEL[provider], url=url + VENDORS[provider].base, stream=stream),
    )
    origin = Origin(id="0198c0de-0000-7000-8000-000000000001", model="m", created=1700000000)
    headers = {**dict(request.headers), **credentials(provider, key)}
    async with (
        aiohttp.ClientSession() as session,
        session.request(request.method, request.url, headers=headers, data=request.body) as response,
    ):
        if response.status != 200:
            names = {name.lower(): value for name, value in response.headers.items()}
            return Outcome({}, "", Usage(), adapter.error(response.status, names, await response.read()))
        if not stream:
            answer = adapter.response(await response.read(), origin)
            message = json.loads(answer.json)["choices"][0]["message"] if answer.json else {}
            return Outcome(message, answer.finish, answer.usage, answer.failure)
        translator, chunks = adapter.events(origin), []
        try:
            async for data in response.content.iter_any():
                chunks += translator.feed(data)
        except aiohttp.ClientError:
            pass  # The connection broke; the translator must know that the answer is not whole.
        chunks += translator.finish()
        assert translator.complete != (translator.failure is not None)
        return Outcome(assemble(chunks), translator.finish_reason, translator.usage, translator.failure)


def assemble(chunks: list[bytes]) -> dict[str, Any]:
    """The message that the deltas of the first choice make."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in json.loads(chunk)["choices"] or []:
            delta = choice["delta"]
            for name in ("content", "reasoning_content"):
                if delta.get(name):
                    message[name] = (message.get(name) or "") + delta[name]
            if delta.get("thinking_blocks"):
                message.setdefault("thinking_blocks", []).extend(delta["thinking_blocks"])
            for call in delta.get("tool_calls") or []:
                known = calls.setdefault(call["index"], {"type": "function", "function": {"name": "", "arguments": ""}})
                known.update({name: call[name] for name in ("id", "extra_content") if name in call})
                for name, value in call["function"].items():
                    known["function"][name] += value
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message


def against(provider: str, scenario: Callable[[Upstream, str], Awaitable[None]], **behaviour: Any) -> None:
    async def run() -> None:
        upstream = Upstream(VENDORS[provider], Behaviour(**behaviour))
        async with running(upstream) as url:
            await scenario(upstream, url)

    asyncio.run(asyncio.wait_for(run(), 2 * PATIENCE_S))


def said(text: str = "Weather in Paris?", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}], **fields}


def able(*capabilities: Capability) -> list[str]:
    return [name for name in PROVIDERS if ADAPTERS[name].capabilities >= set(capabilities)]


LENIENT = frozenset({"deepseek", "openrouter", "perplexity", "sambanova", "together", "vllm"})  # Of unknown fields.
JSON_FORMS = {"json_object": Capability.JSON_MODE, "json_schema": Capability.JSON_SCHEMA}
# They do not show what was thought, show it in the text, or show a summary to who asks for one, which not every account may.
HIDDEN = frozenset({"azure", "openai", "openai-responses", "perplexity"})

everywhere = pytest.mark.parametrize("provider", PROVIDERS)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@everywhere
@both_ways
def test_a_text_goes_there_and_an_answer_comes_back(provider: str, stream: bool) -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        outcome = await call(provider, url, said("Grüße 👋"), stream=stream)
        assert outcome.failure is None
        assert outcome.message["content"] == "You said: Grüße 👋"
        assert outcome.finish == "stop"
        assert replace(outcome.usage, reasoning=0, charged=None) == Usage(input=12, output=7)
        (recorded,) = upstream.requests
        assert recorded.headers["content-type"] == "application/json"

    against(provider, scenario)


@pytest.mark.parametrize("provider", able(Capability.TOOLS))
@both_ways
@pytest.mark.parametrize("parallel", [1, 3])
def test_a_whole_turn_with_tools(provider: str, stream: bool, parallel: int) -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        first = await call(provider, url, said(tools=TOOLS), stream=stream)
        assert first.failure is None
        assert first.finish == "tool_calls"
        calls = first.message["tool_calls"]
        assert [json.loads(one["function"]["arguments"]) for one in calls] == [{"city": "Weather in Paris?"}] * parallel
        assert len({one["id"] for one in calls}) == parallel
        results = [{"role": "tool", "tool_call_id": one["id"], "content": "18"} for one in calls]
        history = [*said()["messages"], first.message, *results]
        second = await call(provider, url, {"messages": history, "tools": TOOLS}, stream=stream)
        assert second.failure is None
        assert second.finish == "stop"

    against(provider, scenario, parallel_calls=parallel)


# All pairs of those that differ most, and each of the others before and after one of these.
APART = [name for name in ("openai", "anthropic", "google", "ollama") if name in PROVIDERS]
PAIRS = [(first, second) for first in APART for second in APART]
PAIRS += [
    pair for name in able(Capability.TOOLS) if name not in APART for pair in ((name, "anthropic"), ("anthropic", name))
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
@both_ways
def test_a_conversation_begun_at_one_vendor_goes_on_at_another(first: str, second: str, stream: bool) -> None:
    """A fallback in mid-conversation: the second vendor's own types judge the first's answer as history."""

    async def scenario(upstream: Upstream, url: str) -> None:
        thinking = {"reasoning_effort": "low"} if Capability.REASONING in ADAPTERS[first].capabilities else {}
        begun = await call(first, url, said(tools=TOOLS, **thinking), stream=stream)
        assert begun.failure is None
        calls = begun.message["tool_calls"]
        results = [{"role": "tool", "tool_call_id": one["id"], "content": '{"degrees":18}'} for one in calls]
        history = [*said()["messages"], begun.message, *results, {"role": "user", "content": "Thanks"}]
        other = Upstream(VENDORS[second])
        async with running(other) as there:
            # OpenAI itself refuses fields that it does not know in a message; the servers of its format do not.
            gone_on = await call(second, there, {"messages": history, "tools": TOOLS}, stream=stream)
        assert gone_on.failure is None

    against(first, scenario, parallel_calls=2)


@everywhere
@both_ways
def test_json_is_asked_for_in_the_vendors_way(provider: str, stream: bool) -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        for form in (
            {"type": "json_object"},
            {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        ):
            if JSON_FORMS[form["type"]] not in ADAPTERS[provider].capabilities:
                continue
            outcome = await call(provider, url, said("Weather in Paris, as JSON?", response_format=form), stream=stream)
            assert outcome.failure is None
            assert isinstance(json.loads(outcome.message["content"]), dict)

    against(provider, scenario)


@pytest.mark.parametrize("provider", [name for name in able(Capability.REASONING) if name not in HIDDEN])
@both_ways
def test_thinking_is_asked_for_and_told_apart_from_the_answer(provider: str, stream: bool) -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        outcome = await call(provider, url, said(reasoning_effort="low"), stream=stream)
        assert outcome.failure is None
        assert outcome.message["reasoning_content"] == "Let me think."
        assert outcome.message["content"] == "You said: Weather in Paris?"

    against(provider, scenario)


def test_signed_thinking_goes_back_untouched() -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        first = await call("anthropic", url, said(reasoning_effort="low", tools=TOOLS), stream=True)
        (one,) = first.message["tool_calls"]
        result = {"role": "tool", "tool_call_id": one["id"], "content": "18"}
        history = [*said()["messages"], first.message, result]
        again = await call("anthropic", url, {"messages": history, "tools": TOOLS}, stream=True)
        assert again.failure is None
        thinking = upstream.requests[-1].json["messages"][1]["content"][0]
        assert thinking == {"type": "thinking", "thinking": "Let me think.", "signature": "c2lnbmF0dXJl"}

    against("anthropic", scenario)


@everywhere
def test_a_wrong_credential_is_the_gateways_fault(provider: str) -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        outcome = await call(provider, url, said(), stream=False, key="wrong-key-0123456789")
        assert outcome.failure is not None
        assert (outcome.failure.code, outcome.failure.status) == ("provider_unauthorized", 502)
        assert "wrong-key" not in outcome.failure.message

    against(provider, scenario, key="right")


@everywhere
@both_ways
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "provider_rejected"),
        (413, "request_too_large"),
        (429, "provider_rate_limited"),
        (500, "provider_error"),
        (503, "provider_overloaded"),
    ],
)
def test_an_error_status_has_its_code(provider: str, stream: bool, status: int, code: str) -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        outcome = await call(provider, url, said(), stream=stream)
        assert outcome.failure is not None
        assert (outcome.failure.code, outcome.failure.retry_after_ms) == (code, 2000 if status >= 429 else 0)
        upstream.behaviour.status = 0
        assert (await call(provider, url, said(), stream=stream)).failure is None

    against(provider, scenario, status=status, retry_after="2", message="no such thing")


@everywhere
def test_a_connection_cut_in_mid_stream_is_a_broken_stream(provider: str) -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        outcome = await call(provider, url, said(), stream=True)
        assert outcome.failure is not None
        assert outcome.failure.code == "provider_stream_broken"

    against(provider, scenario, break_after=3, chunk_delay_s=0.005)
    against(provider, scenario, truncate=True)


@everywhere
def test_an_error_in_mid_stream_keeps_what_came_before(provider: str) -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        outcome = await call(provider, url, said(), stream=True)
        assert outcome.failure is not None
        assert outcome.failure.code in ("provider_error", "provider_overloaded")
        assert "You said: Weather in Paris?".startswith(outcome.message["content"])

    against(provider, scenario, error_after=5)


@everywhere
@both_ways
def test_malformed_json_is_a_bad_answer(provider: str, stream: bool) -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        outcome = await call(provider, url, said(), stream=stream)
        assert outcome.failure is not None
        assert outcome.failure.code == "provider_bad_answer"

    against(provider, scenario, malformed=True)


@pytest.mark.parametrize("provider", able(Capability.TOOLS))
def test_a_stream_byte_by_byte_is_the_same_stream(provider: str) -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        outcome = await call(provider, url, said("é👋", tools=TOOLS), stream=True)
        assert outcome.failure is None
        assert json.loads(outcome.message["tool_calls"][0]["function"]["arguments"]) == {"city": "é👋"}

    against(provider, scenario, byte_by_byte=True)


@everywhere
def test_the_fake_refuses_what_the_vendor_would(provider: str) -> None:
    """A judge that accepts everything proves nothing."""

    async def scenario(upstream: Upstream, url: str) -> None:
        adapter = ADAPTERS[provider]
        target = Target(model=MODEL[provider], url=url + VENDORS[provider].base)
        made = adapter.request(json.dumps({"model": "m", **said()}).encode(), target)
        body = json.loads(made.body)
        wrong = {**body, "no_such_field": 1}, {**body, "messages": 5, "contents": 5}, {"model": "m"}
        async with aiohttp.ClientSession() as session:
            for one in wrong:
                headers = {**dict(made.headers), **credentials(provider, "upstream-key")}
                async with session.post(made.url, headers=headers, json=one) as response:
                    if one is wrong[0] and response.status == 200:
                        assert provider in LENIENT
                        continue
                    assert response.status in (400, 422), one
                    assert adapter.error(400, {}, await response.read()).code == "provider_rejected"

    against(provider, scenario)


@pytest.mark.parametrize("provider", able(Capability.TOOLS))
def test_an_assembled_stream_is_a_message_of_the_openai_package(provider: str) -> None:
    async def scenario(upstream: Upstream, url: str) -> None:
        outcome = await call(provider, url, said(tools=TOOLS), stream=True)
        choice = {"index": 0, "finish_reason": outcome.finish, "message": outcome.message}
        head = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
        ChatCompletion.model_validate({**head, "choices": [choice]}, strict=True)

    against(provider, scenario)
