"""What the worker promises for chats, it promises for every API: passed through, or translated twice."""

import asyncio
import json
from typing import Any

import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from calling_worker import WAIT_S, Gateway, asking, attempt, endpoint, gateway, run
from msgspec import Raw
from openai.types import CreateEmbeddingResponse
from pydantic import TypeAdapter
from scripted_upstream import (
    COMPLETION,
    DONE,
    STREAM_END,
    STREAM_HEAD,
    USAGE,
    Upstream,
    always,
    answer,
    delta,
    event,
    upstream,
)

from llmproxy.common.config import Endpoint
from llmproxy.common.envelope import Attempt, Envelope
from llmproxy.common.frames import Data, End, Failure, Head
from llmproxy.provider_workers.adapters import ADAPTERS, DEMO
from llmproxy.provider_workers.callers import CALLERS
from llmproxy.provider_workers.callers.composed import Composed
from llmproxy.provider_workers.estimates import CHARS_PER_TOKEN
from llmproxy.provider_workers.ways import wire

PROVIDERS = frozenset({"openai", "anthropic", "demo"})
ASKED = {"model": "mine", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}], "brand_new": {"b": 1.50}}
MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"text","text":"hello"}],'
    b'"stop_reason":"end_turn","stop_sequence":null, "novel": 1e3 ,"usage":{"input_tokens":9,"output_tokens":4,'
    b'"cache_read_input_tokens":100,"cache_creation_input_tokens":10}}'
)
CLAUDE = Attempt(endpoint="claude", provider="anthropic", model="claude-x")


def told(type: str, **fields: Any) -> bytes:
    return event(json.dumps({"type": type, **fields}).encode())


BEGUN = told(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 1},
    },
) + told("content_block_start", index=0, content_block={"type": "text", "text": ""})
ENDED = (
    told("content_block_stop", index=0)
    + told("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 30})
    + told("message_stop")
)


def said(text: str) -> bytes:
    return told("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def messages(*plan: Attempt, **fields: Any) -> Envelope:
    body = {name: value for name, value in ASKED.items() if name != "brand_new"} | fields.pop("body", {})
    usual = {"api": "messages", "dialect": "anthropic", "body": Raw(json.dumps(body).encode())}
    return asking(*plan, **{**usual, **fields})


def claude(served: Upstream) -> Endpoint:
    return endpoint(served, provider="anthropic")


def types(asked: Gateway) -> list[str]:
    return [json.loads(bytes(frame.json))["type"] for frame in asked.frames if isinstance(frame, Data)]


# -- passed through


def test_a_vendor_that_speaks_the_api_is_sent_the_callers_own_bytes_and_headers() -> None:
    async def scenario() -> None:
        body = (
            b'{"model":"mine","max_tokens":99, "messages":[{"role":"user","content":"hi","x":1.50}],"brand_new":[1e3]}'
        )
        headers = {"anthropic-beta": "tools-2026-01-01,context", "anthropic-version": "2026-10-21", "cookie": "no"}
        async with (
            upstream(always(answer(200, MESSAGE, "request-id: r-1"))) as served,
            gateway({"claude": claude(served)}, providers=PROVIDERS) as asked,
        ):
            end = await asked.answered(
                asking(CLAUDE, api="messages", dialect="anthropic", body=Raw(body), headers=headers)
            )
            sent = served.asked[0]
            assert sent.line == "POST /v1/messages HTTP/1.1"
            assert sent.body == body.replace(b'"mine"', b'"claude-x"').replace(b"99, ", b"99,")
            assert sent.headers["anthropic-beta"] == headers["anthropic-beta"]
            assert sent.headers["anthropic-version"] == headers["anthropic-version"]
            assert "cookie" not in sent.headers
            [[head, data, _]] = asked.packets
            assert isinstance(head, Head)
            assert isinstance(data, Data)
            assert head.headers == {"request-id": "r-1"}
            assert (head.dropped, head.content_type) == ((), "")
            assert b'"novel":1e3' in bytes(data.json)
            assert json.loads(bytes(data.json))["model"] == "mine"
            assert (end.usage.input, end.usage.cache_read, end.usage.cache_write, end.usage.output) == (119, 100, 10, 4)

    run(scenario)


def test_a_version_that_cannot_stand_in_a_header_is_refused() -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(200, MESSAGE))) as served,
            gateway({"claude": claude(served)}, providers=PROVIDERS) as asked,
        ):
            failure = await asked.answered(messages(CLAUDE, headers={"anthropic-beta": "a\r\nx-api-key: b"}))
            assert (failure.code, failure.param) == ("invalid_value", "anthropic-beta")
            assert served.asked == []

    run(scenario)


def test_a_passed_stream_keeps_its_events_and_ends_in_one_packet_with_its_usage() -> None:
    async def scenario() -> None:
        going_on = asyncio.Event()

        async def script(_: int, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD + BEGUN)
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(said("hel"))
            await going_on.wait()
            writer.write(said("lo") + ENDED + STREAM_END)

        async with upstream(script) as served, gateway({"claude": claude(served)}, providers=PROVIDERS) as asked:
            asked.ask(messages(CLAUDE, stream=True))
            await asyncio.wait_for(asked.arrived.wait(), WAIT_S)
            assert types(asked) == ["message_start", "content_block_start", "content_block_delta"]
            going_on.set()
            await asyncio.wait_for(asked.ended.wait(), WAIT_S)
            assert [json.loads(bytes(frame.json))["type"] for frame in asked.packets[-1][:-1]] == [  # type: ignore[union-attr]
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ]
            assert (asked.last.usage.input, asked.last.usage.output, asked.last.finish) == (9, 30, "stop")

    run(scenario)


# -- translated


def test_a_vendor_that_does_not_speak_it_is_asked_in_its_own_words() -> None:
    async def scenario() -> None:
        async with upstream(always(answer(200, COMPLETION))) as served, gateway({"up": endpoint(served)}) as asked:
            request = messages(attempt(), body={"service_tier": "auto"}, headers={"anthropic-beta": "b"})
            end = await asked.answered(request)
            sent = json.loads(served.asked[0].body)
            assert (sent["model"], sent["messages"]) == ("gpt-4o", [{"role": "user", "content": "hi"}])
            assert "anthropic-beta" not in served.asked[0].headers
            [[head, data, _]] = asked.packets
            assert isinstance(head, Head)
            assert isinstance(data, Data)
            assert "service_tier" in head.dropped
            message = Message.model_validate_json(bytes(data.json), strict=True)
            assert [block.text for block in message.content if block.type == "text"] == ["hello there"]
            assert (end.usage.input, end.usage.output, end.usage.estimated) == (11, 3, False)

    run(scenario)


def test_a_translated_stream_is_in_the_callers_events_and_ends_in_one_packet() -> None:
    async def scenario() -> None:
        pieces = (STREAM_HEAD, event(delta(role="assistant")), event(delta("one ")), event(delta("two", finish="stop")))
        async with (
            upstream(always(*pieces, event(USAGE) + event(DONE), STREAM_END)) as served,
            gateway({"up": endpoint(served)}) as asked,
        ):
            end = await asked.answered(messages(stream=True))
            assert isinstance(end, End)
            found = [frame for frame in asked.frames if isinstance(frame, Data)]
            judge = TypeAdapter[Any](RawMessageStreamEvent)
            for frame in found:
                judge.validate_json(bytes(frame.json), strict=True)
            assert types(asked)[0] == "message_start"
            assert types(asked)[-3:] == ["content_block_stop", "message_delta", "message_stop"]
            assert len(asked.packets[-1]) > 3
            assert (end.usage.input, end.usage.output) == (11, 3)
            assert json.loads(bytes(found[-2].json))["usage"]["input_tokens"] == 11

    run(scenario)


def test_the_same_request_goes_from_a_vendor_that_speaks_it_to_one_that_does_not() -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(529, b'{"type":"error","error":{"type":"overloaded_error"}}'))) as bad,
            upstream(always(answer(200, COMPLETION))) as good,
            gateway({"claude": claude(bad), "up": endpoint(good)}, providers=PROVIDERS) as asked,
        ):
            end = await asked.answered(messages(CLAUDE, attempt()))
            assert isinstance(end, End)
            assert b"claude-x" in bad.asked[0].body
            assert b"hello there" in asked.text
            assert types(asked) == ["message"]

    run(scenario)


def test_what_a_chat_cannot_say_is_tried_where_it_can_be_said() -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(200, COMPLETION))) as never,
            upstream(always(answer(200, MESSAGE))) as good,
            gateway({"claude": claude(good), "up": endpoint(never)}, providers=PROVIDERS) as asked,
        ):
            end = await asked.answered(messages(attempt(), CLAUDE, body={"brand_new": 1}))
            assert isinstance(end, End)
            assert never.asked == []
            failure = await Gateway.answered(asked, messages(attempt(), body={"brand_new": 1}, id="other"))
            assert (failure.code, failure.param) == ("unsupported_parameter", "brand_new")

    run(scenario)


# -- the same guarantees in both ways

WAYS = pytest.mark.parametrize(
    ("plan", "begun", "error"),
    [
        (CLAUDE, BEGUN + said("x" * 40), told("error", error={"type": "overloaded_error", "message": "Overloaded"})),
        (attempt(), event(delta("x" * 40)), event(b'{"error":{"message":"m","type":"server_error","code":503}}')),
    ],
    ids=["passed", "translated"],
)


def served_as(plan: Attempt, served: Upstream) -> dict[str, Endpoint]:
    return {plan.endpoint: endpoint(served, provider=plan.provider)}


@WAYS
def test_an_error_inside_a_stream_is_a_failure_and_no_other_vendor_is_asked(
    plan: Attempt, begun: bytes, error: bytes
) -> None:
    async def scenario() -> None:
        async with (
            upstream(always(STREAM_HEAD, begun, error, STREAM_END)) as bad,
            upstream(always(answer(200, COMPLETION))) as other,
            gateway({**served_as(plan, bad), "other": endpoint(other)}, providers=PROVIDERS) as asked,
        ):
            failure = await asked.answered(messages(plan, attempt("other"), stream=True))
            assert isinstance(failure, Failure)
            assert failure.code == "provider_overloaded"
            assert (failure.usage.output, failure.usage.estimated) == (40 // CHARS_PER_TOKEN, True)
            assert types(asked)[:2] == ["message_start", "content_block_start"]
            assert "message_stop" not in types(asked)
            assert other.asked == []

    run(scenario)


@WAYS
def test_an_error_before_the_first_content_is_tried_elsewhere(plan: Attempt, begun: bytes, error: bytes) -> None:
    async def scenario() -> None:
        before = BEGUN if plan is CLAUDE else event(delta(role="assistant"))
        good = (STREAM_HEAD, event(delta("fine", finish="stop")), event(DONE), STREAM_END)
        async with (
            upstream(always(STREAM_HEAD, before, error, STREAM_END)) as bad,
            upstream(always(*good)) as other,
            gateway({**served_as(plan, bad), "other": endpoint(other)}, providers=PROVIDERS) as asked,
        ):
            end = await asked.answered(messages(plan, attempt("other"), stream=True))
            assert isinstance(end, End)
            assert types(asked).count("message_start") == 1
            assert b"fine" in asked.text

    run(scenario)


@WAYS
def test_a_stream_without_its_end_is_broken(plan: Attempt, begun: bytes, error: bytes) -> None:
    async def scenario() -> None:
        async with (
            upstream(always(STREAM_HEAD, begun, STREAM_END)) as served,
            gateway(served_as(plan, served), providers=PROVIDERS) as asked,
        ):
            failure = await asked.answered(messages(plan, stream=True))
            assert failure.code == "provider_stream_broken"
            assert "message_stop" not in types(asked)

    run(scenario)


@WAYS
def test_a_vendor_that_falls_silent_is_given_up(plan: Attempt, begun: bytes, error: bytes) -> None:
    async def scenario() -> None:
        async def silent(_: int, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD + begun)
            await asyncio.Event().wait()

        impatient = Attempt(endpoint=plan.endpoint, provider=plan.provider, model=plan.model, idle_ms=40)
        async with (
            upstream(silent) as served,
            gateway(served_as(plan, served), providers=PROVIDERS) as asked,
        ):
            failure = await asked.answered(messages(impatient, stream=True))
            assert failure.code == "provider_timeout"

    run(scenario)


@WAYS
def test_a_caller_who_leaves_frees_the_vendor_and_pays_for_what_came(plan: Attempt, begun: bytes, error: bytes) -> None:
    async def scenario() -> None:
        async def endless(_: int, writer: asyncio.StreamWriter) -> None:
            writer.write(STREAM_HEAD + begun)
            await asyncio.Event().wait()

        async with upstream(endless) as served, gateway(served_as(plan, served), providers=PROVIDERS) as asked:
            request = messages(plan, stream=True)
            asked.ask(request)
            await asyncio.wait_for(asked.arrived.wait(), WAIT_S)
            asked.edge.cancel(asked.worker.address, request.id, request.attempt)
            await asyncio.wait_for(served.left.wait(), WAIT_S)
            await asyncio.wait_for(asked.ended.wait(), WAIT_S)
            assert (asked.last.finish, asked.last.usage.output) == ("cancelled", 40 // CHARS_PER_TOKEN)
            assert asked.last.usage.estimated

    run(scenario)


# -- counting tokens


def test_tokens_are_counted_where_the_vendor_counts_and_cost_nothing() -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(200, b'{"input_tokens":2095}'))) as served,
            gateway({"claude": claude(served)}, providers=PROVIDERS) as asked,
        ):
            end = await asked.answered(messages(CLAUDE, api="count_tokens"))
            assert served.asked[0].line == "POST /v1/messages/count_tokens HTTP/1.1"
            assert asked.text == b'{"input_tokens":2095}'
            assert (end.usage.input, end.usage.output, end.cost) == (0, 0, 0)

    run(scenario)


@pytest.mark.parametrize("provider", ["openai", "demo"])
def test_tokens_are_estimated_where_nobody_counts_and_the_answer_says_so(provider: str) -> None:
    async def scenario() -> None:
        async with (
            upstream(always(answer(500, b"{}"))) as served,
            gateway({"up": endpoint(served, provider=provider)}, providers=PROVIDERS) as asked,
        ):
            text = "abcd" * 250
            body = {"messages": [{"role": "user", "content": text}], "system": "Be brief."}
            end = await asked.answered(messages(attempt(provider=provider), api="count_tokens", body=body))
            assert served.asked == []
            head = asked.frames[0]
            assert isinstance(head, Head)
            assert head.headers == {"x-llmproxy-token-count": "estimated"}
            count = MessageTokensCount.model_validate_json(asked.text, strict=True)
            assert 250 < count.input_tokens < 270
            assert (end.usage.input, end.cost) == (0, 0)

    run(scenario)


def test_an_api_that_nobody_here_serves_is_refused_and_tried_elsewhere() -> None:
    async def scenario() -> None:
        async with gateway({"demo": Endpoint(provider="demo", models=("*",))}, providers=PROVIDERS) as asked:
            plan = Attempt(endpoint="demo", provider="demo", model="demo")
            failure = await asked.answered(asking(plan, api="rerank"))
            assert failure.code == "unsupported_endpoint"

    run(scenario)


# -- the demo provider

CONVERSATIONS: dict[Any, dict[str, Any]] = {
    "messages": ASKED | {"brand_new": None},
    "responses": {"model": "demo", "input": "hi"},
    "completions": {"model": "demo", "prompt": "hi"},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}


def test_every_conversation_is_shown_with_the_demo() -> None:
    assert set(CONVERSATIONS) == set(CALLERS)


@pytest.mark.parametrize("api", CONVERSATIONS)
@pytest.mark.parametrize("stream", [False, True])
def test_the_demo_answers_every_conversation(api: Any, stream: bool) -> None:
    async def scenario() -> None:
        plan = Attempt(endpoint="demo", provider="demo", model="demo")
        async with gateway({"demo": Endpoint(provider="demo", models=("*",))}, providers=PROVIDERS) as asked:
            body = Raw(json.dumps(CONVERSATIONS[api]).encode())
            end = await asked.answered(asking(plan, api=api, stream=stream, body=body))
            assert isinstance(end, End)
            assert b"demo" in asked.text
            assert end.usage.output > 0
            assert isinstance(asked.packets[-1][-2], Data)  # What closes the answer comes with its end.
            if not stream:
                assert len(asked.packets) == 1

    run(scenario)


def test_the_demos_embeddings_are_deterministic_and_near_where_words_are_shared() -> None:
    async def scenario() -> None:
        plan = Attempt(endpoint="demo", provider="demo", model="demo")
        body = {"model": "demo", "input": ["the red fox", "a red fox", "quantum law"]}
        async with gateway({"demo": Endpoint(provider="demo", models=("*",))}, providers=PROVIDERS) as asked:
            await asked.answered(asking(plan, api="embeddings", body=Raw(json.dumps(body).encode())))
            found = CreateEmbeddingResponse.model_validate_json(asked.text, strict=True)
            first, near, far = (one.embedding for one in found.data)
            assert sum(a * b for a, b in zip(first, near, strict=True)) > sum(
                a * b for a, b in zip(first, far, strict=True)
            )
            assert abs(sum(a * a for a in first) - 1) < 1e-9

    run(scenario)


# -- values


def test_a_chat_is_the_adapters_own_and_costs_no_composition() -> None:
    assert wire(ADAPTERS["openai"], "chat") is ADAPTERS["openai"]
    assert wire(ADAPTERS["anthropic"], "messages") is ADAPTERS["anthropic"].natives["messages"]
    assert isinstance(wire(ADAPTERS["openai"], "messages"), Composed)
    assert wire(ADAPTERS["anthropic"], "rerank") is None


def test_the_demos_other_apis_are_no_conversations() -> None:
    assert not set(DEMO.others) & set(CALLERS)


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_vendor_says_is_wrong_is_named_as_the_caller_wrote_it(stream: bool) -> None:
    said = b'{"error":{"message":"Invalid type for \'messages[1].content\'.","param":"messages[1].content","type":"x"}}'

    async def scenario() -> None:
        async with (
            upstream(always(answer(400, said))) as served,
            gateway({"up": endpoint(served)}, providers=PROVIDERS) as asked,
        ):
            body = json.dumps({**ASKED, "system": "s", "stream": stream, "brand_new": None}).encode()
            error = await asked.answered(asking(attempt(), api="messages", stream=stream, body=Raw(body)))
            assert isinstance(error, Failure)
            assert (error.code, error.param) == ("provider_rejected", "messages[0].content")
            assert "'messages[0].content'" in error.message

    run(scenario)
