"""A web server over TLS, and a fetcher that believes it: names lead where a test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from certificates import Authority, server_context
from scripted_upstream import Script

from llmproxy.common.config import Fetch
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.connections import Connector, Names, Resolve
from llmproxy.provider_workers.contents import Place
from llmproxy.provider_workers.fetcher import Fetcher

HOST = "pictures.test"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
PDF = b"%PDF-1.7\n" + bytes(64)
WHERE = "messages[0].content[1].image_url.url"


@cache
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's; made once, in a folder that is gone again."""
    with TemporaryDirectory() as folder:
        authority = Authority(Path(folder), "web")
        client = ssl.create_default_context(cafile=authority.file)
        return server_context(authority, HOST), client


class Web:
    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[str] = []

    def url(self, path: str = "/cat.png", host: str = HOST) -> str:
        return f"https://{host}:{self.port}{path}"


@asynccontextmanager
async def web(script: Script) -> AsyncIterator[Web]:
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            served.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            await script(len(served.asked) - 1, writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificates()[0])
    served = Web(server.sockets[0].getsockname()[1])
    try:
        yield served
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def home(host: str) -> list[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def fetcher(
    served: Web | None,
    resolve: Resolve = home,
    *,
    body_bytes_max: int = 1 << 20,
    inside: tuple[str, ...] = ("127.0.0.1",),
    **limits: Any,
) -> AsyncIterator[Fetcher]:
    """`inside`: the private addresses that it may fetch from."""
    ports = (443, served.port) if served is not None else (443,)
    connector = Connector(Names(resolve), limit=8, context=certificates()[1])
    settings = Fetch(**{"enabled": True, "ports": ports, "private_networks": inside, "timeout_ms": 30_000, **limits})
    try:
        yield Fetcher(settings, connector, body_bytes_max=body_bytes_max)
    finally:
        await connector.close()


def said(error: GatewayError) -> str:
    """Why it was not fetched; the rest of the error is the same each time."""
    assert (error.code, error.param) == ("invalid_value", WHERE)
    assert HOST not in error.message
    start, _, why = error.message.partition(" could not be fetched: ")
    assert start == f"'{WHERE}'"
    return why


def wanted(*urls: str, kind: Any = "image") -> dict[str, Place]:
    return {url: Place(WHERE, kind) for url in urls}
