"""Every route that calls a provider: what is published for it, how its stream looks, and how it fails."""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from unit.edge.edge_examples import AUDIO, BODIES, CALLS, error_of, options, path
from unit.edge.edge_gateway import CONFIG, END, HEAD, KEY, WHOLE, gateway

from llmproxy.common.bus import Answer
from llmproxy.common.config import Config, Endpoint, Limit, Limits
from llmproxy.common.dialects.rendering import FRAMINGS
from llmproxy.common.envelope import Dialect, Envelope
from llmproxy.common.frames import Data, End, Failure, Head
from llmproxy.edge import body
from llmproxy.edge.routes.table import NOT_SERVED, ROUTES, Route

NAMES = sorted(CALLS)
EVENTS: dict[str, list[bytes]] = {
    "chat": [b'{"choices":[]}', b'{"choices":[]}'],
    "completions": [b'{"choices":[]}', b'{"choices":[]}'],
    "responses": [b'{"type":"response.created"}', b'{"type":"response.completed"}'],
    "messages": [b'{"type":"message_start"}', b'{"type":"message_stop"}'],
    "gemini": [b'{"candidates":[{}]}', b'{"candidates":[{"finishReason":"STOP"}]}'],
    "images": [b'{"type":"image_generation.partial_image"}', b'{"type":"image_generation.completed"}'],
    "speech": [b'{"type":"speech.audio.delta"}', b'{"type":"speech.audio.done"}'],
    "transcriptions": [b'{"type":"transcript.text.delta"}', b'{"type":"transcript.text.done"}'],
}
"""A stream of each API that streams: something, and what says that it is whole."""
ASKS_STREAM: dict[str, dict[str, Any]] = {
    **{api: {"stream": True} for api in ("chat", "completions", "responses", "messages", "images")},
    "speech": {"stream_format": "sse"},
    "transcriptions": {"stream": "true"},
    "gemini": {},
}
STREAMS = [name for name in NAMES if CALLS[name].api in EVENTS and (CALLS[name].api != "gemini" or CALLS[name].streams)]


def asks_stream(route: Route) -> tuple[str, dict[str, Any]]:
    return path(route) + ("?alt=sse" if route.streams else ""), options(route, **ASKS_STREAM[route.api])


def scripted(*last: End | Failure) -> Callable[[Envelope, Answer], None]:
    def script(envelope: Envelope, answer: Answer) -> None:
        first, closing = EVENTS[envelope.api]
        answer.send(HEAD, Data(msgspec.Raw(first)))
        answer.send(Data(msgspec.Raw(closing)), *last)

    return script


def test_every_api_has_a_body_an_example_and_if_it_streams_a_framing() -> None:
    apis = {route.api for route in CALLS.values()}
    assert apis == set(BODIES) == set(body.BODIES)
    assert set(EVENTS) == set(ASKS_STREAM) == set(FRAMINGS)


@pytest.mark.parametrize("name", NAMES)
def test_a_good_request_is_published_with_its_api_its_dialect_and_its_own_bytes(name: str) -> None:
    route = CALLS[name]

    async def run() -> None:
        async with gateway(lambda _, answer: answer.send(HEAD, Data(msgspec.Raw(WHOLE)), END)) as edge:
            status, headers, _ = await edge.ask(path(route), **options(route))
            assert status == (200)
            (envelope,), (record,) = edge.seen, edge.records
            assert (envelope.api, envelope.dialect, envelope.model) == (route.api, route.dialect, "demo")
            assert envelope.stream == route.streams
            sent = json.loads(bytes(envelope.body))
            if route.takes_form:
                assert base64.b64decode(sent.pop("file")["data"]) == AUDIO
            assert sent == BODIES[route.api]
            assert (record.route, record.api, record.verdict, record.stream) == (
                route.name,
                route.api,
                "answered",
                route.streams,
            )
            assert headers["x-request-id"] == record.id
            assert headers["x-llmproxy-findings"] == "email=1"
            assert ("request-id" in headers) == (route.dialect == "anthropic")
            assert ("openai-version" in headers) == ("openai-processing-ms" in headers) == (route.dialect == "openai")

    asyncio.run(run())


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_has_its_apis_events_and_ends_with_its_own_last_word(name: str) -> None:
    route = CALLS[name]

    async def run() -> None:
        async with gateway(scripted(END)) as edge:
            target, asked = asks_stream(route)
            status, headers, got = await edge.ask(target, **asked)
            assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            expected = b""
            for event in EVENTS[route.api]:
                kind = json.loads(event).get("type")
                expected += (f"event: {kind}\n".encode() if kind else b"") + b"data: " + event + b"\n\n"
            assert got == expected + (b"data: [DONE]\n\n" if route.api in ("chat", "completions") else b"")
            assert (edge.records[0].stream, edge.seen[0].stream) == (True, True)

    asyncio.run(run())


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("reason", ["provider", "audit"])
def test_a_stream_that_breaks_or_is_not_recorded_ends_with_one_error_and_never_with_its_last_word(
    name: str, reason: str
) -> None:
    route = CALLS[name]
    last = END if reason == "audit" else Failure(code="provider_stream_broken", message="it broke")

    async def run() -> None:
        async with gateway(scripted(last)) as edge:
            edge.broker.jetstream_down = reason == "audit"
            target, asked = asks_stream(route)
            status, _, got = await edge.ask(target, **asked)
            assert status == 200
            closing = EVENTS[route.api][1]
            if route.api in ("chat", "completions"):
                assert b"[DONE]" not in got
            else:
                assert closing not in got
            *_, error = [json.loads(line[6:]) for line in got.split(b"\n") if line.startswith(b"data: ")]
            assert got.count(b'"error":') == 1
            message = error["error"]["message"]
            assert message == "it broke" if reason == "provider" else "audit" in message
            if route.api not in ("chat", "completions", "gemini"):
                assert got.count(b"event: error\n") == 1
                assert error["type"] == "error"

    asyncio.run(run())


@pytest.mark.parametrize("name", NAMES)
def test_an_error_is_in_the_dialect_of_the_route(name: str) -> None:
    route = CALLS[name]

    def script(_: Envelope, answer: Answer) -> None:
        answer.send(Failure(code="provider_rate_limited", message="slow down", retry_after_ms=1500))

    async def run() -> None:
        async with gateway(script) as edge:
            for key, extra, status, kinds in (
                (None, {}, 401, ("invalid_request_error", "authentication_error", "UNAUTHENTICATED")),
                (KEY, {"pad": "x" * 64}, 429, ("rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED")),
            ):
                got, headers, answered = await edge.ask(path(route), key=key, **options(route, **extra))
                assert got == status
                _, kind = error_of(route.dialect, json.loads(answered))
                assert kind == dict(zip(("openai", "anthropic", "google"), kinds, strict=True))[route.dialect]
                assert headers["content-type"] == "application/json"
                if route.dialect == "anthropic":
                    assert headers["request-id"] == headers["x-request-id"] == json.loads(answered)["request_id"]
            assert headers["retry-after-ms"] == "1500"

    asyncio.run(run())


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_looked_up_and_allowed_on_every_route(name: str) -> None:
    route = CALLS[name]

    async def run() -> None:
        async with gateway() as edge:
            edge.add_key("sk-narrow", models=("other",))
            fields = {} if "{model}" in route.name else {"model": "nope"}
            status, _, answered = await edge.ask(path(route, "nope"), **options(route, **fields))
            assert status == 404
            assert "`nope`" in error_of(route.dialect, json.loads(answered))[0]
            status, _, answered = await edge.ask(path(route), key="sk-narrow", **options(route))
            assert status == 403
            error_of(route.dialect, json.loads(answered))
            assert edge.seen == []

    asyncio.run(run())


def test_geminis_model_is_in_the_path_and_may_not_be_another_in_the_body() -> None:
    async def run() -> None:
        async with gateway() as edge:
            body = {**BODIES["gemini"], "generationConfig": {"maxOutputTokens": 9}}
            for target in ("/v1/models/demo:generateContent", "/v1beta/models/org%2Fmodel:generateContent"):
                assert (await edge.ask(target, json=body))[0] == 200
            assert (await edge.ask("/v1beta/models/demo:generateContent", json={**body, "model": "models/demo"}))[
                0
            ] == 200
            assert [envelope.model for envelope in edge.seen] == ["demo", "org/model", "demo"]
            assert edge.seen[0].max_output_tokens == 9
            status, _, answered = await edge.ask("/v1beta/models/demo:generateContent", json={**body, "model": "other"})
            assert status == 400
            assert "not the one in the path" in error_of("google", json.loads(answered))[0]

    asyncio.run(run())


def test_a_gemini_stream_without_alt_sse_is_one_json_array() -> None:
    async def run() -> None:
        async with gateway(scripted(END)) as edge:
            target = "/v1beta/models/demo:streamGenerateContent"
            for query in ("", "?alt=json", "?prettyPrint=false"):
                status, headers, got = await edge.ask(target + query, json=BODIES["gemini"])
                assert (status, headers["content-type"]) == (200, "application/json")
                assert json.loads(got) == [json.loads(event) for event in EVENTS["gemini"]]
            status, _, answered = await edge.ask(target + "?alt=proto", json=BODIES["gemini"])
            assert status == 400
            assert "'alt'" in error_of("google", json.loads(answered))[0]
        async with gateway(scripted(Failure(code="provider_error", message="it broke"))) as edge:
            *_, last = json.loads((await edge.ask(target, json=BODIES["gemini"]))[2])
            assert last["error"]["message"] == "it broke"

    asyncio.run(run())


def test_what_comes_after_geminis_first_finish_is_one_event_behind_and_complete() -> None:
    def script(_: Envelope, answer: Answer) -> None:
        finishing = b'{"candidates":[{"finishReason":"STOP"}]}'
        answer.send(HEAD, *[Data(msgspec.Raw(event)) for event in (finishing, b'{"n":1}', finishing, b'{"n":2}')], END)

    async def run() -> None:
        async with gateway(script) as edge:
            _, _, got = await edge.ask("/v1beta/models/demo:streamGenerateContent", json=BODIES["gemini"])
            assert [event.get("n") for event in json.loads(got)] == [None, 1, None, 2]
            edge.broker.jetstream_down = True
            _, _, got = await edge.ask("/v1beta/models/demo:streamGenerateContent", json=BODIES["gemini"])
            assert [set(event) for event in json.loads(got)] == [{"candidates"}, {"n"}, {"candidates"}, {"error"}]

    asyncio.run(run())


def test_an_answer_that_is_not_json_arrives_as_its_bytes_with_its_type() -> None:
    sound = bytes(range(256)) * 9000  # More than is decoded at once.
    said = [msgspec.json.encode(sound)]

    async def script(_: Envelope, answer: Answer) -> None:
        head = Head(provider="demo", content_type="audio/mpeg")
        if len(said[0]) > 1 << 20:
            answer.send(head, Data(ref=await stages[0].deposit("sound", said[0])), END)
        else:
            answer.send(head, Data(msgspec.Raw(said[0])), END)

    stages: list[Any] = []

    async def run() -> None:
        async with gateway(script) as edge:
            stages.append(edge.stage)
            status, headers, got = await edge.ask("/v1/audio/speech", json=BODIES["speech"])
            assert (status, headers["content-type"], got) == (200, "audio/mpeg", sound)
            for wrong in (b'"*"', b'"YQ"', b"{}", b"null"):
                said[0] = wrong
                status, _, answered = await edge.ask("/v1/audio/speech", json=BODIES["speech"])
                assert (status, json.loads(answered)["error"]["code"]) == (502, "provider_bad_answer")

    asyncio.run(run())


def test_the_caller_of_messages_has_its_version_and_features_shown_and_nothing_else() -> None:
    async def run() -> None:
        async with gateway() as edge:
            headers = {
                "anthropic-version": "2023-06-01",
                "anthropic-beta": "claude-code-20250219, context-1m-2025-08-07,",
                "x-app": "cli",
                "cookie": "a=b",
            }
            for target in ("/v1/messages?beta=true", "/v1/messages/count_tokens"):
                assert (await edge.ask(target, json=BODIES["messages"], headers=headers))[0] == 200
            assert [envelope.headers for envelope in edge.seen] == [
                {"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219,context-1m-2025-08-07"}
            ] * 2
            await edge.ask(headers=headers)
            assert edge.seen[-1].headers == {}
            for name, value in (
                ("anthropic-version", "latest"),
                ("anthropic-beta", "a b"),
                ("anthropic-beta", "x" * 65),
                ("anthropic-beta", ",".join(["x"] * 33)),
            ):
                status, _, answered = await edge.ask("/v1/messages", json=BODIES["messages"], headers={name: value})
                message, kind = error_of("anthropic", json.loads(answered))
                assert (status, kind) == (400, "invalid_request_error")
                assert f"'{name}'" in message
                assert value not in message

    asyncio.run(run())


def test_a_moderation_without_a_model_asks_for_the_usual_one() -> None:
    async def run() -> None:
        config = Config(endpoints={"any": Endpoint(provider="openai", models=("*",))})
        async with gateway(config=config) as edge:
            assert (await edge.ask("/v1/moderations", json={"input": "hello"}))[0] == 200
            assert edge.seen[0].model == body.MODERATION_MODEL

    asyncio.run(run())


@pytest.mark.parametrize("prefix", sorted(NOT_SERVED))
def test_a_path_that_we_know_and_do_not_serve_says_what_is_served(prefix: str) -> None:
    route = NOT_SERVED[prefix]

    async def run() -> None:
        async with gateway() as edge:
            for method, target in (("GET", f"{prefix}/some-id"), ("POST", f"{prefix}/some-id/cancel")):
                status, headers, answered = await edge.ask(target, method)
                assert status == 404
                assert headers["x-should-retry"] == "false"
                message, _ = error_of(route.dialect, json.loads(answered))
                assert "is not served" in message
                assert "it serves /v1" in message
                assert "some-id" not in message
            assert {record.route for record in edge.records} == {route.name}

    asyncio.run(run())


def test_a_method_of_googles_that_is_not_served_is_told_from_a_model() -> None:
    async def run() -> None:
        async with gateway() as edge:
            for target, hint in (
                ("/v1beta/models/demo:countTokens", "use /v1/messages/count_tokens"),
                ("/v1/models/demo:embedContent", "use /v1/embeddings"),
            ):
                status, _, answered = await edge.ask(target, json={})
                message, kind = error_of("google", json.loads(answered))
                assert (status, kind) == (404, "NOT_FOUND")
                method = target.partition(":")[2]
                assert message.startswith(f"/v1beta/models/{{model}}:{method} is not served by this gateway ({hint}); ")
                assert ":generateContent" in message
            status, _, answered = await edge.ask("/v1/models/llama3:8b", "GET")
            assert "`llama3:8b`" in error_of("openai", json.loads(answered))[0]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("target", "dialect", "meant"),
    [
        ("/chat/completions", "openai", "/v1/chat/completions"),
        ("/v1/chat/completions/", "openai", "/v1/chat/completions"),
        ("/v1//embeddings", "openai", "/v1/embeddings"),
        ("/v1/v1/responses", "openai", "/v1/responses"),
        ("/v1/models/", "openai", "/v1/models"),
        ("/models/demo", "openai", "/v1/models/{id}"),
        ("/v1/v1/messages", "anthropic", "/v1/messages"),
        ("/v1/messages/", "anthropic", "/v1/messages"),
        ("/v1beta/v1beta/models/demo:generateContent", "google", "/v1beta/models/{model}:generateContent"),
        ("/v1/nothing", "openai", ""),
        ("/models/demo:countTokens", "openai", ""),
        ("/v1/health", "openai", ""),
    ],
)
def test_a_base_url_with_a_version_too_many_or_none_is_named(target: str, dialect: Dialect, meant: str) -> None:
    async def run() -> None:
        async with gateway() as edge:
            headers = {"anthropic-version": "2023-06-01"} if dialect == "anthropic" else {}
            status, _, answered = await edge.ask(target, json={}, headers=headers)
            message, _ = error_of(dialect, json.loads(answered))
            assert status == 404
            assert message.removeprefix("Unknown request URL. Please check the URL for typos.") == (
                f" Did you mean {meant}?" if meant else ""
            )
            assert [record.route for record in edge.records] == ["unknown"]

    asyncio.run(run())


def test_an_unknown_path_answers_in_the_dialect_that_it_lies_in() -> None:
    async def run() -> None:
        async with gateway() as edge:
            for target, headers, dialect in (
                ("/v1/messages/nothing", {}, "anthropic"),
                ("/v1beta/nothing", {}, "google"),
                ("/v1alpha/models/x:generateContent", {}, "google"),
                ("/v1/nothing", {}, "openai"),
                ("/v1/nothing", {"anthropic-version": "2023-06-01"}, "anthropic"),
                ("/v1/nothing", {"x-goog-api-key": KEY}, "google"),
                ("/v1/files", {"anthropic-version": "2023-06-01"}, "anthropic"),
            ):
                status, _, answered = await edge.ask(target, "GET", headers=headers)
                assert status == 404, target
                error_of(dialect, json.loads(answered))

    asyncio.run(run())


def test_the_models_are_listed_in_the_dialect_of_who_asks() -> None:
    async def run() -> None:
        async with gateway() as edge:
            anthropic = {"anthropic-version": "2023-06-01"}
            listed = json.loads((await edge.ask("/v1/models", "GET", headers=anthropic))[2])
            assert [model["id"] for model in listed["data"]] == ["demo", "org/model", "other"]
            assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("demo", "other", False)
            assert {model["type"] for model in listed["data"]} == {"model"}
            for target, headers in (("/v1beta/models", {}), ("/v1/models", {"x-goog-api-key": KEY})):
                listed = json.loads((await edge.ask(target, "GET", headers=headers))[2])
                assert [model["name"] for model in listed["models"]] == [
                    "models/demo",
                    "models/org/model",
                    "models/other",
                ]
            one = json.loads((await edge.ask("/v1beta/models/demo", "GET"))[2])
            assert "streamGenerateContent" in one["supportedGenerationMethods"]
            assert (
                json.loads((await edge.ask("/v1/models/demo", "GET", headers=anthropic))[2])["display_name"] == "demo"
            )
            edge.add_key("sk-none", models=("nothing",))
            listed = json.loads((await edge.ask("/v1/models", "GET", key="sk-none", headers=anthropic))[2])
            assert listed == {"data": [], "first_id": None, "last_id": None, "has_more": False}
            status, _, answered = await edge.ask("/v1beta/models/nope", "GET")
            assert (status, error_of("google", json.loads(answered))[1]) == (404, "NOT_FOUND")

    asyncio.run(run())


def test_a_limit_is_told_in_the_dialects_own_headers() -> None:
    async def run() -> None:
        limited = msgspec.structs.replace(CONFIG, limits=Limits(key=Limit(requests_per_minute=60, burst=10)))
        async with gateway(config=limited) as edge:
            _, headers, _ = await edge.ask("/v1/messages", json=BODIES["messages"])
            assert headers["anthropic-ratelimit-requests-limit"].isdigit()
            assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")
            assert not any(name.lower().startswith("x-ratelimit") for name in headers)
            _, headers, _ = await edge.ask()
            assert headers["x-ratelimit-limit-requests"].isdigit()

    asyncio.run(run())


def test_a_silent_stream_of_messages_is_kept_open_with_its_own_pings() -> None:
    async def run() -> None:
        ready = asyncio.Event()

        async def script(envelope: Envelope, answer: Answer) -> None:
            first, last = EVENTS["messages"]
            answer.send(HEAD, Data(msgspec.Raw(first)))
            await ready.wait()
            answer.send(Data(msgspec.Raw(last)), END)

        async with gateway(script) as edge:
            body = {**BODIES["messages"], "stream": True}
            async with edge.session.post(f"{edge.url}/v1/messages", json=body, headers={"x-api-key": KEY}) as got:
                assert (
                    await got.content.readuntil(b"\n\n") == b'event: message_start\ndata: {"type":"message_start"}\n\n'
                )
                assert await got.content.readuntil(b"\n\n") == b'event: ping\ndata: {"type":"ping"}\n\n'
                ready.set()
                rest = (await got.read()).replace(b'event: ping\ndata: {"type":"ping"}\n\n', b"")
                assert rest == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    asyncio.run(run())


def test_every_route_of_the_table_is_named_by_its_path() -> None:
    assert all(path == route.name for path, route in ROUTES.items())


def test_every_route_and_its_dialect_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "endpoints.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith(("| `POST ", "| `GET "))]
    for route in (*ROUTES.values(), *CALLS.values()):
        (row,) = [row for row in rows if f"{route.name}`" in row.split("|")[1]]
        assert route.public or route.is_shared or route.dialect in row.lower(), route.name
