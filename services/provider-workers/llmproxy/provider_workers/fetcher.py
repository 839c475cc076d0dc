"""Fetches what callers' addresses lead to, for providers that take bytes alone: from public servers, a little, once.

A caller decides where this connects to, so it is the gateway's most exposed place: https only, addresses checked where they
are connected to and again at each redirect, no credentials, no cookies, nothing kept; what arrives is a picture or a PDF by
its own first bytes, or it is not passed on. Off unless the configuration says so (docs/adr/0015).
"""

import asyncio
import socket
from base64 import b64encode
from collections.abc import Mapping

import aiohttp
from aiohttp import ClientTimeout
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from llmproxy.common import addresses
from llmproxy.common.addresses import Reach
from llmproxy.common.config import Fetch
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.connections import AddressRefused, Begun, Connector, Route, answers_on
from llmproxy.provider_workers.contents import Place
from llmproxy.provider_workers.destinations import USER_AGENT
from llmproxy.provider_workers.proxies import ProxyRefused, Tunnel
from llmproxy.provider_workers.transport import Reply

NAME = "fetch"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
URL_CHARS_MAX = 8_192
SAID_TYPES = ("image/", "application/pdf", "application/octet-stream", "binary/octet-stream")
SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"%PDF-": "application/pdf",
}
NOT_PUBLIC = "its host has no public address"  # Also when it has none at all: who asks learns no names of ours.


class NotFetched(Exception):
    """Its text is for the caller: no address, nothing of the answer."""


class Budget:
    """Bytes that the contents of one request may have together."""

    def __init__(self, total: int) -> None:
        self.left = total

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise NotFetched("the contents of this request are larger together than a request may be")


class Fetcher:
    def __init__(self, limits: Fetch, connector: Connector, *, body_bytes_max: int) -> None:
        """`connector` keeps no connections; its limit is that of fetches at a time."""
        self._limits, self._connector, self._total = limits, connector, body_bytes_max * 3 // 4  # Of base64.
        self._reach = Reach(addresses.networks(*limits.private_networks))
        seconds = limits.timeout_ms / 1000
        self._timeout = ClientTimeout(total=None, connect=seconds)

    async def fetch(self, places: Mapping[str, Place], tunnel: Tunnel | None = None) -> dict[str, str]:
        """Data URLs by address. Raises GatewayError invalid_value, naming the part."""
        if len(places) > self._limits.addresses_max:
            param = list(places.values())[self._limits.addresses_max].param
            raise _failed(param, f"a request may have {self._limits.addresses_max} contents fetched")
        budget = Budget(self._total)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {url: group.create_task(self._one(url, place, budget, tunnel)) for url, place in places.items()}
        except* GatewayError as errors:
            raise _first(errors) from None
        return {url: task.result() for url, task in tasks.items()}

    async def _one(self, url: str, place: Place, budget: Budget, tunnel: Tunnel | None) -> str:
        try:
            async with asyncio.timeout(self._limits.timeout_ms / 1000):
                data = await self._followed(url, budget, tunnel)
            media = media_type(data)
            if (media == "application/pdf") != (place.kind == "file") or not media:
                wanted = "a PDF" if place.kind == "file" else "a picture (PNG, JPEG, GIF, WebP)"
                raise NotFetched(f"what is there is not {wanted}")
        except NotFetched as error:
            raise _failed(place.param, str(error)) from None
        except (AddressRefused, aiohttp.ClientError, HttpProcessingError, ProxyRefused, OSError, GatewayError) as error:
            raise _failed(place.param, _why(error)) from error
        return f"data:{media};base64,{b64encode(data).decode()}"

    async def _followed(self, url: str, budget: Budget, tunnel: Tunnel | None) -> bytes:
        for _ in range(self._limits.redirects_max + 1):
            at = self._address(url)
            reply = await self._get(at, tunnel)
            try:
                if reply.status not in REDIRECTS:
                    return await self._read(reply, budget)
                url = _moved(at, reply.headers.get("location", ""))
            finally:
                reply.close()
        raise NotFetched(f"it redirects more than {self._limits.redirects_max} times")

    def _address(self, url: str) -> URL:
        """Raises NotFetched."""
        if len(url) > URL_CHARS_MAX:
            raise NotFetched("its address is too long")
        wrong = addresses.problem(url)
        if wrong:
            raise NotFetched(f"its address {wrong}")
        try:
            at = URL(url)
        except ValueError:
            raise NotFetched("its address cannot be read") from None
        if at.scheme != "https":
            raise NotFetched("it is not at an https:// address")
        if at.port not in self._limits.ports:
            raise NotFetched("its address has a port that is not fetched from")
        return at

    async def _get(self, at: URL, tunnel: Tunnel | None) -> Reply:
        head = (
            f"GET {at.raw_path_qs} HTTP/1.1\r\nhost: {at.host_port_subcomponent}\r\naccept: image/*, application/pdf\r\n"
            f"accept-encoding: identity\r\nuser-agent: {USER_AGENT}\r\nconnection: close\r\n\r\n"
        )
        route = Route(NAME, at.origin(), self._reach, tunnel=tunnel, is_pinned=True)
        connection = await self._connector.connect(route, [], self._timeout)
        answer: asyncio.Future[Begun] = asyncio.get_running_loop().create_future()
        try:
            answers_on(connection).ask(head.encode("ascii"), b"", answer)
            message, content = await answer
        except BaseException:
            connection.close()
            raise
        content.on_eof(connection.release)
        return Reply(NAME, connection, message, content)

    async def _read(self, reply: Reply, budget: Budget) -> bytes:
        if reply.status != 200:
            raise NotFetched(f"its server answers with status {reply.status}")
        said = reply.headers.get("content-type", SAID_TYPES[0]).lower()
        if not said.startswith(SAID_TYPES):
            raise NotFetched("its server does not call it a picture or a PDF")
        parts, size = [], 0
        while data := await reply.read():
            size += len(data)
            budget.take(len(data))
            if size > self._limits.max_bytes:
                raise NotFetched(f"it is larger than {self._limits.max_bytes} bytes")
            parts.append(data)
        return b"".join(parts)


def media_type(data: bytes) -> str:
    """By its first bytes; empty of anything else than pictures and PDF."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((media for signature, media in SIGNATURES.items() if data.startswith(signature)), "")


def _moved(at: URL, location: str) -> str:
    """Where to, whole. Backslashes and the like are refused when it is looked at."""
    if not location:
        raise NotFetched("it redirects to nowhere")
    if "\\" in location or "#" in location:
        raise NotFetched("it redirects to an address that cannot be read")
    try:
        return str(at.join(URL(location, encoded=True)))
    except ValueError:
        raise NotFetched("it redirects to an address that cannot be read") from None


def _why(error: Exception) -> str:
    match error:
        case AddressRefused():
            return NOT_PUBLIC
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientError() | HttpProcessingError() | GatewayError():
            return "its server broke off"
        case TimeoutError():
            return "it took too long"
        case ProxyRefused():
            return "the way out is closed"
        case socket.gaierror():
            return NOT_PUBLIC
    return "its server cannot be reached over TLS"


def _failed(param: str, why: str) -> GatewayError:
    return GatewayError("invalid_value", f"'{param}' could not be fetched: {why}", param=param)


def _first(errors: BaseExceptionGroup[GatewayError]) -> GatewayError:
    error = errors.exceptions[0]
    return error if isinstance(error, GatewayError) else _first(error)
