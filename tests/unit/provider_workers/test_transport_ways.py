"""The ways to an endpoint: proxies, certificates, headers, compressed answers, reused connections. All against real servers."""

import asyncio
import gzip
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, server_context
from patience import PATIENCE_S
from prometheus_client import REGISTRY
from scripted_upstream import STREAM_HEAD, Script, Upstream, always, answer, upstream

from llmproxy.common.addresses import LOOPBACK
from llmproxy.common.config import Endpoint
from llmproxy.common.errors import GatewayError
from llmproxy.common.outbound import HeaderRules, Proxy, Tls
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import HttpRequest
from llmproxy.provider_workers.connections import Names
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.destinations import Destination
from llmproxy.provider_workers.transport import Transport
from llmproxy.provider_workers.trust import LOOK_AGAIN_S, Trust

OK = always(answer(200, b"ok"))
ENVIRONMENT = {"KEY": "sk-1", "PASSWORD": "pw", "TENANT": "blue team"}


def kept(url: str, **fields: Any) -> Destination:
    endpoint = Endpoint(
        **{
            "provider": "openai",
            "url": url,
            "key": "env:KEY",
            "models": ("*",),
            "connect_ms": 1000 * int(PATIENCE_S),
            **fields,
        }
    )
    return Destination("ways", endpoint, ADAPTERS["openai"], Credentials(ENVIRONMENT), networks=LOOPBACK)


async def body_of(transport: Transport, destination: Destination) -> bytes:
    url = f"{destination.endpoint.url}/chat/completions"
    request = HttpRequest(method="POST", url=url, headers=(("content-type", "application/json"),), body=b"{}")
    reply = await transport.call(destination, request)
    try:
        return await reply.read_all()
    finally:
        reply.close()


def within(scenario: Callable[[Transport], Awaitable[None]], names: Names | None = None) -> None:
    async def bounded() -> None:
        transport = Transport(names)
        try:
            await asyncio.wait_for(scenario(transport), PATIENCE_S)
        finally:
            await transport.close()

    asyncio.run(bounded())


# -- proxies


class Served:
    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    there, back = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(pipe(reader, back), pipe(there, writer))


@asynccontextmanager
async def proxy(kind: str, port: int) -> AsyncIterator[Served]:
    """A proxy that leads to `port`, whatever it is asked for, and remembers what that was."""
    tasks: set[asyncio.Task[None]] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        served.asked.append(head)
        if "proxy-authorization: basic dtpwdw==" not in head.lower():  # u:pw
            writer.write(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await joined(reader, writer, port)

    async def socks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        methods = await reader.readexactly((await reader.readexactly(2))[1])
        assert 2 in methods
        writer.write(b"\x05\x02")
        await reader.readexactly(1)
        user = await reader.readexactly((await reader.readexactly(1))[0])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        if (user, password) != (b"u", b"pw"):
            writer.write(b"\x01\x01")
            writer.close()
            return
        writer.write(b"\x01\x00")
        *_, kind = await reader.readexactly(4)
        host = await reader.readexactly((await reader.readexactly(1))[0] if kind == 3 else 4)
        served.asked.append(f"{host.decode() if kind == 3 else '.'.join(map(str, host))}")
        await reader.readexactly(2)
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await joined(reader, writer, port)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await (connect if kind == "http" else socks)(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    served = Served(f"{kind}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield served
    finally:
        server.close()
        for task in tasks:
            task.cancel()


def port_of(served: Upstream) -> int:
    return int(served.url.rpartition(":")[2].partition("/")[0])


async def unresolved(host: str) -> list[str]:
    raise AssertionError(f"{host} was resolved here, and not by the proxy")


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_proxy_resolves_the_name_and_carries_the_call_and_the_next_one(kind: str) -> None:
    async def scenario(transport: Transport) -> None:
        async with upstream(OK) as served, proxy(kind, port_of(served)) as way:
            through = Proxy(url=way.url, user="u", password="env:PASSWORD")
            destination = kept("http://models.example.com/v1", proxy=through)
            assert [await body_of(transport, destination) for _ in range(3)] == [b"ok"] * 3
            assert len(way.asked) == 1
            assert "models.example.com" in way.asked[0]
            assert served.asked[0].headers["host"] == "models.example.com"
            assert "sk-1" not in way.asked[0]

    within(scenario, Names(unresolved))


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_a_proxy_that_refuses_is_named_and_the_provider_is_not_called(kind: str) -> None:
    async def scenario(transport: Transport) -> None:
        async with upstream(OK) as served, proxy(kind, port_of(served)) as way:
            through = Proxy(url=way.url, user="wrong", password="env:PASSWORD")
            with pytest.raises(GatewayError, match="its proxy did not let it through") as caught:
                await body_of(transport, kept("http://models.example.com/v1", proxy=through))
            assert caught.value.code == "provider_unreachable"
            assert served.asked == []

    within(scenario)


def test_a_proxy_that_is_not_there_is_not_gone_around() -> None:
    async def scenario(transport: Transport) -> None:
        async with upstream(OK) as served:
            gone = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
            port = gone.sockets[0].getsockname()[1]
            gone.close()
            await gone.wait_closed()
            with pytest.raises(GatewayError, match="its proxy cannot be reached"):
                await body_of(transport, kept(served.url, proxy=Proxy(url=f"socks5://127.0.0.1:{port}")))
            assert served.asked == []

    within(scenario)


def test_a_proxy_leads_to_no_address_that_the_endpoint_may_not_have() -> None:
    async def scenario(transport: Transport) -> None:
        async with upstream(OK) as served, proxy("http", port_of(served)) as way:
            through = Proxy(url=way.url, user="u", password="env:PASSWORD")
            with pytest.raises(GatewayError, match="private_networks"):
                await body_of(transport, kept("http://10.0.0.1/v1", proxy=through))
            assert way.asked == []

    within(scenario)


# -- certificates


@asynccontextmanager
async def secured(context: ssl.SSLContext) -> AsyncIterator[str]:
    """A server that answers `ok` and the name of its client's certificate."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r")[0]))
                subject = (writer.get_extra_info("peercert") or {}).get("subject", ())
                writer.write(answer(200, b"ok" + "".join(f" {value}" for ((_, value),) in subject).encode()))
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://models.test:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


async def here(host: str) -> list[str]:
    return ["127.0.0.1"]


def secured_call(context: ssl.SSLContext, tls: Tls | None, **fields: Any) -> bytes | GatewayError:
    outcome: list[bytes | GatewayError] = []

    async def scenario(transport: Transport) -> None:
        async with secured(context) as url:
            try:
                outcome.append(await body_of(transport, kept(url, tls=tls, **fields)))
            except GatewayError as error:
                outcome.append(error)

    within(scenario, Names(here))
    return outcome[0]


def refused(result: bytes | GatewayError) -> bool:
    return isinstance(result, GatewayError) and result.code == "provider_unreachable"


def test_a_private_authority_is_believed_where_it_is_named_and_nowhere_else(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    context = server_context(ours)
    assert secured_call(context, Tls(ca_file=ours.file)) == b"ok"
    assert refused(secured_call(context, None))
    assert refused(secured_call(context, Tls()))
    assert refused(secured_call(context, Tls(ca_file=other.file)))


def test_the_certificate_must_be_for_the_host_or_for_the_name_that_is_said(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    context = server_context(ours, "inner.test")
    assert refused(secured_call(context, Tls(ca_file=ours.file)))
    assert secured_call(context, Tls(ca_file=ours.file, server_name="inner.test")) == b"ok"


def test_the_oldest_version_is_a_floor(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    context = server_context(ours)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert secured_call(context, Tls(ca_file=ours.file)) == b"ok"
    assert refused(secured_call(context, Tls(ca_file=ours.file, minimum="1.3")))


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    ours, clients = Authority(tmp_path, "ours"), Authority(tmp_path, "clients")
    certificate, key = clients.issue("gateway")
    context = server_context(ours, clients=clients)
    shown = Tls(ca_file=ours.file, certificate_file=certificate, key_file=key)
    assert secured_call(context, shown) == b"ok gateway"
    assert refused(secured_call(context, Tls(ca_file=ours.file)))


def test_tls_goes_through_a_proxy_end_to_end(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")

    async def scenario(transport: Transport) -> None:
        async with secured(server_context(ours)) as url, proxy("http", int(url.rpartition(":")[2][:-3])) as way:
            through = Proxy(url=way.url, user="u", password="env:PASSWORD")
            destination = kept(url, tls=Tls(ca_file=ours.file), proxy=through)
            assert await body_of(transport, destination) == b"ok"
            assert "CONNECT models.test:" in way.asked[0]

    within(scenario, Names(unresolved))


@pytest.mark.parametrize("field", ["ca_file", "certificate_file"])
@pytest.mark.parametrize("content", [None, "not PEM", ""])
def test_files_that_cannot_be_used_are_said_by_their_setting(tmp_path: Path, field: str, content: str | None) -> None:
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_text(content)
    result = secured_call(server_context(Authority(tmp_path, "ours")), Tls(**{field: str(path)}))
    assert isinstance(result, GatewayError)
    assert "endpoints.ways.tls" in result.message
    assert str(tmp_path) not in result.message


def test_a_renewed_certificate_is_used_after_a_while_and_until_then_nothing_is_read(tmp_path: Path) -> None:
    clients = Authority(tmp_path, "clients")
    certificate, key = clients.issue("one", "client")
    now = [0.0]
    trust, tls = Trust(lambda: now[0]), Tls(certificate_file=certificate, key_file=key)
    first = trust.of("ways", tls)
    now[0] = LOOK_AGAIN_S + 1
    assert trust.of("ways", tls) is first
    clients.issue("two", "client")
    os.utime(certificate, ns=(1, 1))
    assert trust.of("ways", tls) is first
    now[0] += LOOK_AGAIN_S + 1
    assert trust.of("ways", tls) is not first


# -- headers


def asked_with(**fields: Any) -> dict[str, str]:
    seen: list[dict[str, str]] = []

    async def scenario(transport: Transport) -> None:
        async with upstream(OK) as served:
            await body_of(transport, kept(served.url, **fields))
            seen.append(served.asked[0].headers)

    within(scenario)
    return seen[0]


def test_headers_are_inserted_replaced_and_removed() -> None:
    rules = HeaderRules(
        insert={"X-Team": "env:TENANT", "Content-Type": "text/plain"},
        replace={"Accept": "text/html"},
        remove=("Traceparent",),
    )
    headers = asked_with(headers=rules)
    assert headers["x-team"] == "blue team"
    assert headers["content-type"] == "application/json"  # Was there.
    assert headers["accept"] == "text/html"
    assert headers["authorization"] == "Bearer sk-1"
    removed = asked_with(headers=HeaderRules(remove=("accept", "Content-Type")))
    assert not {"accept", "content-type"} & set(removed)
    assert removed["authorization"] == "Bearer sk-1"


def test_the_user_agent_is_ours_unless_another_is_said() -> None:
    assert asked_with()["user-agent"] == "llmproxy"
    assert asked_with(user_agent="acme/1.0 (x)")["user-agent"] == "acme/1.0 (x)"


def test_a_value_that_is_read_again_is_in_the_next_call(tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_text("one")

    async def scenario(transport: Transport) -> None:
        async with upstream(OK) as served:
            destination = kept(served.url, headers=HeaderRules(replace={"x-team": f"file:{path}"}))
            await body_of(transport, destination)
            path.write_text("two")
            os.utime(path, ns=(1, 1))
            await body_of(transport, destination)
            path.write_text("a\r\nx-evil: 1")
            os.utime(path, ns=(2, 2))
            with pytest.raises(GatewayError) as caught:
                await body_of(transport, destination)
            assert "x-evil" not in caught.value.message
            assert [asked.headers["x-team"] for asked in served.asked] == ["one", "two"]

    within(scenario)


# -- answers


def answered(script: Script) -> bytes | str:
    outcome: list[bytes | str] = []

    async def scenario(transport: Transport) -> None:
        async with upstream(script) as served:
            try:
                outcome.append(await body_of(transport, kept(served.url)))
            except GatewayError as error:
                outcome.append(error.code)
            assert served.asked[0].headers["accept-encoding"] == "identity"

    within(scenario)
    return outcome[0]


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip"])
def test_a_server_that_compresses_all_the_same_is_understood(coding: str) -> None:
    body = b'{"choices":[]}' * 100
    assert answered(always(answer(200, gzip.compress(body), f"content-encoding: {coding}"))) == body


def test_a_compressed_stream_is_read_to_its_end() -> None:
    packed = gzip.compress(b"data: 1\n\n" * 500)
    pieces = [packed[start : start + 7] for start in range(0, len(packed), 7)]
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    assert answered(always(head, *chunks, b"0\r\n\r\n")) == b"data: 1\n\n" * 500


@pytest.mark.parametrize(
    ("body", "coding", "code"),
    [
        (gzip.compress(bytes(40 << 20), mtime=0), "gzip", "provider_bad_answer"),
        (b"not packed", "gzip", "provider_bad_answer"),
        (b"whatever", "br", "provider_bad_answer"),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "gzip, gzip", "provider_bad_answer"),
        (gzip.compress(b"whole" * 50, mtime=0)[:-9], "gzip", "provider_stream_broken"),
    ],
)
def test_what_is_packed_to_do_harm_is_refused(body: bytes, coding: str, code: str) -> None:
    assert answered(always(answer(200, body, f"content-encoding: {coding}"))) == code


# -- connections


def counted(state: str) -> float:
    labels = {"endpoint": "ways", "state": state}
    return REGISTRY.get_sample_value("llmproxy_provider_connections_total", labels) or 0.0


def test_connections_are_counted_as_opened_and_reused() -> None:
    before = counted("opened"), counted("reused")

    async def scenario(transport: Transport) -> None:
        async with upstream(OK) as served:
            destination = kept(served.url)
            for _ in range(5):
                await body_of(transport, destination)

    within(scenario)
    assert (counted("opened") - before[0], counted("reused") - before[1]) == (1.0, 4.0)


def test_two_endpoints_at_one_place_do_not_share_connections() -> None:
    async def scenario(transport: Transport) -> None:
        peers = set()

        async def script(_: int, writer: asyncio.StreamWriter) -> None:
            peers.add(writer.get_extra_info("peername"))
            writer.write(answer(200, b"ok"))

        async with upstream(script) as served:
            one, other = kept(served.url), kept(served.url)
            other.name = "another"
            for destination in (one, other, one, other):
                await body_of(transport, destination)
        assert len(peers) == 2

    within(scenario)
