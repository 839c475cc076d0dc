"""Routes, models and status pages over real HTTP."""

import asyncio
import contextlib
import gc
import json

import pytest
from patience import PATIENCE_S
from unit.edge.edge_gateway import CHAT, KEY, gateway, held_until, until

from llmproxy.common.config import Config, Endpoint, Group, Target
from llmproxy.edge.replies import Sent
from llmproxy.edge.server import Request


def test_the_models_list_is_what_the_key_may_use() -> None:
    async def run() -> None:
        async with gateway() as edge:
            edge.add_key("sk-narrow", models=("org/model",))
            status, headers, body = await edge.ask("/v1/models", "GET")
            assert status == 200
            assert "x-request-id" in headers
            listed = json.loads(body)
            assert listed["object"] == "list"
            assert [model["id"] for model in listed["data"]] == ["demo", "org/model", "other"]
            apis, abilities = listed["data"][0].pop("apis"), listed["data"][0].pop("capabilities")
            assert listed["data"][0] == {"id": "demo", "owned_by": "demo", "object": "model", "created": 1_700_000_000}
            assert {"chat", "messages", "embeddings"} <= set(apis)
            assert "tools" in abilities
            assert "logprobs" not in abilities
            narrow = json.loads((await edge.ask("/v1/models", "GET", key="sk-narrow"))[2])
            assert [model["id"] for model in narrow["data"]] == ["org/model"]
            assert [(record.verdict, record.api) for record in edge.records] == [("answered", "models")] * 2

    asyncio.run(run())


def test_groups_are_models_and_a_wildcard_is_not_one() -> None:
    async def run() -> None:
        endpoints = {"any": Endpoint(provider="openai", models=("*",))}
        config = Config(endpoints=endpoints, groups={"fast": Group(targets=(Target(endpoint="any"),))})
        async with gateway(config=config) as edge:
            listed = json.loads((await edge.ask("/v1/models", "GET"))[2])["data"]
            assert [(model["id"], model["owned_by"]) for model in listed] == [("fast", "openai")]

    asyncio.run(run())


def test_a_model_is_found_by_its_id_with_or_without_encoded_slashes() -> None:
    async def run() -> None:
        async with gateway() as edge:
            for path in ("/v1/models/org/model", "/v1/models/demo"):
                status, _, body = await edge.ask(path, "GET")
                assert (status, json.loads(body)["id"]) == (200, path[len("/v1/models/") :])
            answer = await edge.raw(
                f"GET /v1/models/org%2Fmodel HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: {KEY}\r\n\r\n".encode()
            )
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            status, _, body = await edge.ask("/v1/models/nope", "GET")
            assert status == 404
            assert json.loads(body) == {
                "error": {
                    "message": "The model `nope` does not exist or you do not have access to it.",
                    "type": "invalid_request_error",
                    "param": "model",
                    "code": "model_not_found",
                }
            }

    asyncio.run(run())


def test_status_pages_need_no_key_and_have_no_record() -> None:
    async def run() -> None:
        async with gateway() as edge:
            for path in ("/health", "/livez", "/version"):
                status, headers, body = await edge.ask(path, "GET", key=None)
                assert status == 200
                assert headers["content-type"] == "application/json"
                assert json.loads(body)
                head = await edge.ask(path, "HEAD", key=None)
                assert (head[0], head[2]) == (200, b"")
                assert int(head[1]["content-length"]) > 0
            version = json.loads((await edge.ask("/version", "GET", key=None))[2])
            assert version == {"version": "1.2.3", "revision": 1, "fingerprint": edge.settled.fingerprint}
            assert edge.records == []

    asyncio.run(run())


def test_a_wrong_method_is_405_with_allow_and_an_unknown_path_404() -> None:
    async def run() -> None:
        async with gateway() as edge:
            for method in ("GET", "PUT", "OPTIONS", "DELETE"):
                status, headers, body = await edge.ask(method=method)
                assert (status, headers["allow"]) == (405, "POST")
                assert json.loads(body)["error"]["code"] == "method_not_allowed"
            status, headers, _ = await edge.ask("/health", "POST", key=None, json={})
            assert (status, headers["allow"]) == (405, "GET, HEAD")
            status, _, body = await edge.ask("/v1/nothing", "GET")
            assert status == 404
            assert json.loads(body) == {
                "error": {
                    "message": "Unknown request URL. Please check the URL for typos.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "unknown_url",
                }
            }
            assert [record.verdict for record in edge.records] == ["refused"] * 5

    asyncio.run(run())


def test_a_query_does_not_change_the_route() -> None:
    async def run() -> None:
        async with gateway() as edge:
            assert (await edge.ask("/v1/chat/completions?api-version=1"))[0] == 200
            assert (await edge.ask("/v1/models?limit=2", "GET"))[0] == 200

    asyncio.run(run())


def test_requests_one_after_the_other_on_one_connection_each_have_their_answer() -> None:
    async def run() -> None:
        async with gateway() as edge:
            body = json.dumps(CHAT).encode()
            one = (
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"x-api-key: %b\r\nContent-Length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body)
            )
            last = f"GET /livez HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\nConnection: close\r\n\r\n".encode()
            answer = await edge.raw(one + one + last)
            assert answer.count(b"HTTP/1.1 200 OK\r\n") == 3
            assert answer.endswith(b'{"status":"ok"}')

    asyncio.run(run())


def test_a_client_of_http_1_0_gets_its_stream_without_chunks() -> None:
    async def run() -> None:
        async with gateway() as edge:
            body = json.dumps({**CHAT, "stream": True}).encode()
            answer = await edge.raw(
                b"POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\n"
                b"x-api-key: %b\r\nContent-Length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body)
            )
            head, _, events = answer.partition(b"\r\n\r\n")
            assert b"transfer-encoding" not in head.lower()
            assert b"connection: close" in head
            assert events.startswith(b"data: {")
            assert events.endswith(b"data: [DONE]\n\n")

    asyncio.run(run())


def test_a_client_that_asks_first_is_told_to_continue_only_with_a_good_key() -> None:
    async def run() -> None:
        async with gateway() as edge:
            body = json.dumps(CHAT).encode()

            def head(key: str) -> bytes:
                return (
                    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    b"Expect: 100-continue\r\nConnection: close\r\nx-api-key: %b\r\nContent-Length: %d\r\n\r\n"
                    % (key.encode(), len(body))
                )

            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(head(KEY))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(head("wrong"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
            writer.close()

    asyncio.run(run())


def test_what_is_not_http_has_a_record_under_the_id_of_its_answer() -> None:
    async def run() -> None:
        async with gateway() as edge:
            answer = await edge.raw(b"POST /v1/messages HTTP/1.1\r\nHost x\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 400 ")
            (record,) = edge.records
            assert f"x-request-id: {record.id}".encode() in answer
            assert (record.verdict, record.code, record.status) == ("refused", "invalid_value", 400)
            assert (record.client_ip, record.method, record.route) == ("127.0.0.1", "", "unknown")

    asyncio.run(run())


def test_a_body_that_breaks_in_the_middle_is_refused_at_once_and_recorded() -> None:
    async def run() -> None:
        async with gateway() as edge:
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(
                b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: %b\r\nContent-Type: application/json\r\n"
                b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n" % KEY.encode()
            )
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")  # It waits for the body.
            writer.write(b'5\r\n{"a":\r\nzz\r\n')
            async with asyncio.timeout(PATIENCE_S):
                answer = await reader.read()
            writer.close()
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert answer.count(b"HTTP/1.1") == 1
            assert b"the transfer encoding of the body is broken" in answer
            assert [(record.verdict, record.code) for record in edge.records] == [("refused", "invalid_encoding")]

    asyncio.run(run())


def test_a_client_that_shuts_down_its_sending_side_gets_what_is_answered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llmproxy.edge.server.HALF_CLOSED_S", 3.0)

    async def run() -> None:
        async with gateway() as edge:

            async def said_to(head: bytes) -> bytes:
                reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
                writer.write(head)
                writer.write_eof()
                async with asyncio.timeout(PATIENCE_S):
                    answer = await reader.read()  # And then the connection is closed.
                writer.close()
                return answer

            models = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nx-api-key: %b\r\n\r\n"
            live, good, wrong = await asyncio.gather(
                said_to(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
                said_to(models % KEY.encode()),
                said_to(models % b"wrong"),
            )
            assert live.startswith(b"HTTP/1.1 200 OK\r\n")
            assert good.startswith(b"HTTP/1.1 200 OK\r\n")
            assert wrong.startswith(b"HTTP/1.1 401 ")

    asyncio.run(run())


def test_a_client_that_shuts_down_its_sending_side_is_taken_to_have_left_when_its_answer_takes_long() -> None:
    cancelled = asyncio.Event()

    async def run() -> None:
        async with gateway(held_until(cancelled)) as edge:
            body = json.dumps(CHAT).encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nx-api-key: %b\r\nContent-Length: %d\r\n\r\n%b"
                % (KEY.encode(), len(body), body)
            )
            writer.write_eof()
            async with asyncio.timeout(PATIENCE_S):
                assert await reader.read() == b""
                await cancelled.wait()
            writer.close()
            await until(lambda: [record.verdict for record in edge.records] == ["cancelled"])

    asyncio.run(run())


def test_who_has_left_is_told_nothing_and_nobody_is_told_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """However long somebody works on: a library may lose the end of the task."""

    async def run() -> None:
        gave_up = asyncio.Event()
        async with gateway() as edge:

            async def works_on(request: Request) -> Sent:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                gave_up.set()
                raise ConnectionResetError("the client has left")

            edge.server.request_handler = works_on  # type: ignore[assignment]
            _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: edge.server.requests_count == 1)
            writer.transport.abort()
            async with asyncio.timeout(PATIENCE_S):
                await gave_up.wait()
        gc.collect()  # What a task raises and nobody fetches is told when it goes.

    asyncio.run(run())
    assert not caplog.records
