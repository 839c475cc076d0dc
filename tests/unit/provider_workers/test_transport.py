"""Connections are used again, an answer belongs to its call, and what is no answer is said to be none."""

import asyncio

import pytest
from patience import PATIENCE_S
from scripted_upstream import Script, Upstream, always, answer, upstream

from llmproxy.common.config import Endpoint
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import HttpRequest
from llmproxy.provider_workers.connections import INFORMATIONAL_MAX
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.destinations import Destination
from llmproxy.provider_workers.transport import Transport

HEADERS = (("content-type", "application/json"),)
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nof 0\r\n0\r\n\r\n"


def destination(
    url: str = "https://api.example.com/v1", key: str = "env:KEY", connect_ms: int = 1000 * int(PATIENCE_S)
) -> Destination:
    endpoint = Endpoint(provider="openai", url=url, key=key, models=("*",), connect_ms=connect_ms)
    return Destination("up", endpoint, ADAPTERS["openai"], Credentials({"KEY": "sk-1"}))


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/v1/chat/completions",
        "http://api.example.com/v1/chat/completions",
        "https://api.example.com:8443/v1/chat/completions",
        "https://api.example.com@evil.example.com/v1",
        "//evil.example.com/",
        "https://api.example.com.evil.com/",
        "file:///etc/passwd",
    ],
)
def test_a_call_never_leaves_the_origin_of_its_endpoint(url: str) -> None:
    async def scenario() -> None:
        transport = Transport()
        try:
            with pytest.raises(GatewayError) as raised:
                await transport.call(destination(), HttpRequest(method="POST", url=url, headers=HEADERS, body=b"{}"))
            assert "evil" not in raised.value.message
            assert "sk-1" not in raised.value.message
        finally:
            await transport.close()

    asyncio.run(scenario())


def called(script: Script, *, times: int = 1) -> tuple[list[bytes | str], Upstream]:
    """What `times` calls in a row yield: the body, or the code of the error."""

    async def scenario() -> tuple[list[bytes | str], Upstream]:
        results: list[bytes | str] = []
        async with upstream(script) as served:
            transport, kept = Transport(), destination(served.url)
            request = HttpRequest(method="POST", url=f"{served.url}/chat/completions", headers=HEADERS, body=b"{}")
            for _ in range(times):
                try:
                    reply = await transport.call(kept, request)
                    results.append(await reply.read_all())
                    reply.close()
                except GatewayError as error:
                    results.append(error.code)
            await transport.close()
        return results, served

    return asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_connections_are_used_again() -> None:
    ports = set()

    async def script(_: int, writer: asyncio.StreamWriter) -> None:
        ports.add(writer.get_extra_info("peername"))
        writer.write(answer(200, b"ok"))

    assert called(script, times=5)[0] == [b"ok"] * 5
    assert len(ports) == 1


@pytest.mark.parametrize("unasked", [answer(200, b"of nobody"), b"HTTP/1.1 500 Oops\r\nx-of: "])
def test_an_answer_that_nobody_asked_for_is_not_the_next_callers(unasked: bytes) -> None:
    async def scenario() -> None:
        was_read = asyncio.Event()

        async def script(number: int, writer: asyncio.StreamWriter) -> None:
            writer.write(answer(200, b"of %d" % number))
            if number == 0:
                await was_read.wait()
                writer.write(unasked)

        async with upstream(script) as served:
            transport, kept = Transport(), destination(served.url)
            request = HttpRequest(method="POST", url=f"{served.url}/chat/completions", headers=HEADERS, body=b"{}")
            first = await transport.call(kept, request)
            assert await first.read_all() == b"of 0"
            first.close()
            protocol = first._connection.protocol
            assert protocol is not None
            was_read.set()
            while not protocol.should_close:
                await asyncio.sleep(0.001)
            second = await transport.call(kept, request)
            assert await second.read_all() == b"of 1"
            second.close()
            await transport.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


@pytest.mark.parametrize("first", [answer(200, b"of 0"), CHUNKED], ids=["with its length", "chunked"])
def test_a_second_answer_at_once_ends_the_connection(first: bytes) -> None:
    async def scenario() -> None:
        ports = set()

        async def script(number: int, writer: asyncio.StreamWriter) -> None:
            ports.add(writer.get_extra_info("peername"))
            if (
                number == 0
            ):  # Of the first one the beginning alone, so that its end is seen while there is more to read.
                writer.write(first[:-1])
                await was_begun.wait()
                writer.write(first[-1:] + answer(200, b"of nobody"))
            else:
                writer.write(answer(200, b"of 1"))

        was_begun = asyncio.Event()
        async with upstream(script) as served:
            transport, kept = Transport(), destination(served.url)
            request = HttpRequest(method="POST", url=f"{served.url}/chat/completions", headers=HEADERS, body=b"{}")
            begun = await transport.call(kept, request)
            was_begun.set()
            assert await begun.read_all() == b"of 0"
            begun.close()
            assert await (await transport.call(kept, request)).read_all() == b"of 1"
            assert len(ports) == 2
            await transport.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_what_a_provider_says_too_much_is_not_the_beginning_of_the_next_answer() -> None:
    nobodys = answer(200, b"of nobody")

    async def scenario() -> None:
        async def script(number: int, writer: asyncio.StreamWriter) -> None:
            if number == 0:
                writer.write(answer(200, b"of 0") + nobodys[:30])
            else:
                writer.write(nobodys[30:] + answer(200, b"of 1"))

        async with upstream(script) as served:
            transport, kept = Transport(), destination(served.url)
            request = HttpRequest(method="POST", url=f"{served.url}/chat/completions", headers=HEADERS, body=b"{}")
            assert await (await transport.call(kept, request)).read_all() == b"of 0"
            with pytest.raises(GatewayError) as raised:
                await transport.call(kept, request)
            assert raised.value.code == "provider_bad_answer"
            await transport.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_a_server_that_speaks_first_is_none_of_http() -> None:
    async def scenario() -> str:
        has_spoken = asyncio.Event()

        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example.com ESMTP\r\n")
            await has_spoken.wait()
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            transport, kept = Transport(), destination(url)
            request = HttpRequest(method="POST", url=f"{url}/chat/completions", headers=HEADERS, body=b"{}")
            with pytest.raises(GatewayError) as raised:
                await transport.call(kept, request)
            has_spoken.set()
            await transport.close()
        return raised.value.code

    assert asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S)) == "provider_bad_answer"


def test_a_provider_that_hangs_up_on_a_fresh_connection_is_not_asked_twice() -> None:
    async def script(_: int, writer: asyncio.StreamWriter) -> None:
        writer.close()

    results, served = called(script)
    assert results == ["provider_unreachable"]
    assert len(served.asked) == 1


def test_a_provider_that_hangs_up_on_a_used_connection_is_asked_once_more_on_a_fresh_one() -> None:
    async def script(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            writer.close()
        else:
            writer.write(answer(200, b"ok"))

    results, served = called(script, times=2)
    assert results == [b"ok", b"ok"]
    assert len(served.asked) == 3


def test_a_request_that_a_provider_hangs_up_on_is_asked_twice_however_many_connections_are_kept() -> None:
    async def scenario() -> None:
        all_here = asyncio.Event()

        async def script(number: int, writer: asyncio.StreamWriter) -> None:
            if number >= 3:
                writer.close()
                return
            if number == 2:
                all_here.set()
            await all_here.wait()
            writer.write(answer(200, b"ok"))

        async with upstream(script) as served:
            transport, kept = Transport(), destination(served.url)
            request = HttpRequest(method="POST", url=f"{served.url}/chat/completions", headers=HEADERS, body=b"{}")
            for reply in await asyncio.gather(*(transport.call(kept, request) for _ in range(3))):
                assert await reply.read_all() == b"ok"
            with pytest.raises(GatewayError) as raised:
                await transport.call(kept, request)
            assert raised.value.code == "provider_unreachable"
            assert len(served.asked) == 5
            await transport.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_an_informational_answer_is_not_the_answer() -> None:
    assert called(always(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n", answer(200, b"ok")))[0] == [b"ok"]


def test_informational_answers_without_end_are_a_bad_answer() -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert called(always(hints * INFORMATIONAL_MAX, answer(200, b"ok")))[0] == [b"ok"]
    assert called(always(hints * (INFORMATIONAL_MAX + 1), answer(200, b"ok")))[0] == ["provider_bad_answer"]


@pytest.mark.parametrize(
    "answered",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http_is_a_bad_answer(answered: bytes) -> None:
    assert called(always(answered))[0] == ["provider_bad_answer"]


def test_a_body_that_is_shorter_than_announced_is_a_broken_answer() -> None:
    async def script(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    assert called(script)[0] == ["provider_stream_broken"]


def test_a_name_that_does_not_resolve_and_a_port_that_does_not_speak_tls_are_unreachable() -> None:
    async def scenario() -> None:
        async with upstream(always(answer(200, b"ok"))) as served:
            transport = Transport()
            for url in ("http://no-such-host.invalid/v1", served.url.replace("http:", "https:")):
                request = HttpRequest(method="POST", url=f"{url}/chat/completions", headers=HEADERS, body=b"{}")
                with pytest.raises(GatewayError) as raised:
                    await transport.call(destination(url, connect_ms=200), request)
                assert raised.value.code == "provider_unreachable"
                assert "127.0.0.1" not in raised.value.message
                assert ".invalid" not in raised.value.message
            await transport.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))
