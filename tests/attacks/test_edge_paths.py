"""Spellings of paths and hosts that must not change who needs a key."""

import asyncio
import json

import pytest
from unit.edge.edge_gateway import KEY, gateway

from llmproxy.common.config import Config, Endpoint
from llmproxy.edge.routes.table import ROUTES, Action, match

SPELLINGS = (
    "//livez",
    "/livez/",
    "/livez//",
    "/./livez",
    "/x/../livez",
    "/%6civez",
    "/livez;x=1",
    "/livez%00",
    "/livez%2f..%2fv1/models",
    "/LIVEZ",
    "/livez/../v1/chat/completions",
    "/v1/models;x=/livez",
    "/v1/models/..%2f..%2flivez",
    "/v1%2fmodels",
    "//v1/models",
    "/v1//models",
    "/v1/models/",
    "/v1/models/../../livez",
    "/v1/chat/completions/",
    "/v1/chat/completions%3fx=/livez",
    "/v1/chat/completions;/livez",
    "/V1/models",
    "/metrics",
    "/admin",
    "/",
    "/favicon.ico",
    "/health/x",
    "/version#frag",
    "*",
    "livez",
)


@pytest.mark.parametrize("path", SPELLINGS)
def test_no_spelling_of_a_path_is_public_but_the_exact_one(path: str) -> None:
    route, _ = match(path.partition("?")[0])
    assert not route.public


def test_only_the_status_pages_are_public() -> None:
    assert {path for path, route in ROUTES.items() if route.public} == {"/health", "/livez", "/readyz", "/version"}


def test_every_spelling_is_401_without_a_key_over_the_wire() -> None:
    async def run() -> None:
        async with gateway() as edge:
            for number, path in enumerate(SPELLINGS):
                if number % 15 == 0:
                    edge.edge._pipeline.steps[0]._guesses._arrivals.clear()
                answer = await edge.raw(
                    f"GET {path} HTTP/1.1\r\nHost: livez\r\nX-Original-URL: /livez\r\nConnection: close\r\n\r\n".encode()
                )
                # `livez` without a slash is no HTTP target at all.
                assert answer.split(b" ")[1] in ((b"401",) if path.startswith("/") else (b"400", b"401")), path
                if path == "/version#frag":
                    continue
                body = json.loads(answer.partition(b"\r\n\r\n")[2])
                assert set(body["error"]) == {"message", "type", "param", "code"}

    asyncio.run(run())


@pytest.mark.parametrize("host", ["", "livez", "127.0.0.1/livez", "a@b", "x/../livez", "[::1]:80", "x:99999"])
def test_the_host_header_decides_nothing(host: str) -> None:
    async def run() -> None:
        async with gateway() as edge:
            request = f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            assert (await edge.raw(f"{request}\r\n".encode())).split(b" ")[1] in (b"400", b"401")
            answer = await edge.raw(f"{request}x-api-key: {KEY}\r\n\r\n".encode())
            assert answer.split(b" ")[1] in (b"200", b"400")

    asyncio.run(run())


def test_an_absolute_target_is_routed_by_its_path_alone() -> None:
    async def run() -> None:
        async with gateway() as edge:
            for target, status in {
                "http://x/livez": b"200",
                "http://livez/v1/models": b"401",
                "http://livez": b"401",
                "http://x/v1/models?/livez": b"401",
                "http://x@y/livez/": b"401",
            }.items():
                answer = await edge.raw(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                assert (target, answer.split(b" ")[1]) == (target, status)

    asyncio.run(run())


def test_connect_and_trace_are_not_served() -> None:
    async def run() -> None:
        async with gateway() as edge:
            for line in ("CONNECT example.com:443", "TRACE /livez", "PROPFIND /v1/models"):
                answer = await edge.raw(f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                assert answer.split(b" ")[1] in (b"400", b"401", b"405")

    asyncio.run(run())


def test_what_is_not_http_gets_our_error_without_an_echo() -> None:
    async def run() -> None:
        async with gateway() as edge:
            secret = "sk-a-secret-in-a-broken-line"
            for request in (
                f"GET /livez HTTP/1.1\r\nHost: x\r\nAuthorization Bearer {secret}\r\n\r\n",
                f"GET /livez HTTP/1.1\r\nHost: x\r\nx-api-key: {secret}\x01\r\n\r\n",
                f"{secret}\r\n\r\n",
                f"GET /v1/models HTTP/1.1\r\nHost: x\r\nx-api-key: {secret}{'k' * 20_000}\r\n\r\n",
                f"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: {secret}\r\n\r\n",
                "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "GET /livez HTTP/9.9\r\nHost: x\r\n\r\n",
            ):
                answer = await edge.raw(request.encode())
                head, _, body = answer.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 400 "), request[:40]
                assert b"x-request-id: " in head
                assert b"connection: close" in head
                assert json.loads(body)["error"]["message"].startswith("the request is not valid HTTP, or ")
                assert secret.encode() not in answer

    asyncio.run(run())


def test_a_model_id_is_decoded_once() -> None:
    assert match("/v1/models/a%252Fb") == (match("/v1/models/x")[0], "a%2Fb")
    assert match("/v1/models/a/b%20c")[1] == "a/b c"
    assert match("/v1/models/livez")[0].action is Action.MODEL


def test_what_stands_in_the_path_of_a_request_without_a_good_key_is_no_models_name() -> None:
    """Where an endpoint takes any model, whatever somebody has put there would be kept: a key, or eight kilobytes."""

    async def run() -> None:
        any_model = Config(
            endpoints={
                "any": Endpoint(provider="demo", models=("*",)),
                "one": Endpoint(provider="demo", models=("known",)),
            }
        )
        async with gateway(config=any_model) as edge:
            for name, key, kept in (
                ("sk-live-canary", "wrong", ""),
                ("known", "wrong", "known"),
                ("m" * 7_000, KEY, ""),
                ("house", KEY, "house"),
            ):
                for path in (f"/v1beta/models/{name}:generateContent", f"/v1/models/{name}"):
                    await edge.ask(path, "DELETE", key=key)
                    assert edge.records[-1].model == kept

    asyncio.run(run())
