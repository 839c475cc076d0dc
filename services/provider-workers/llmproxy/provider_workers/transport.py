"""The one way to a provider: pooled connections, every wait and size bounded.

Foreign exceptions end here. Their texts may quote URLs and headers, so what is raised says only which endpoint, and what.
"""

import asyncio
import functools
import logging
import math
import socket
import ssl

import aiohttp
from aiohttp import StreamReader
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from msgspec.structs import replace
from multidict import CIMultiDictProxy

from llmproxy.common.addresses import KEY_SERVICES, LOOPBACK, Reach
from llmproxy.common.auth import NoAuth, SigV4
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters.base import HttpRequest
from llmproxy.provider_workers.compression import CODINGS, Inflate, Unpackable
from llmproxy.provider_workers.connections import (
    KEEPALIVE_S,
    READ_BUFFER_BYTES,
    AddressRefused,
    Begun,
    Connector,
    Idle,
    Line,
    Names,
    OnlyInformational,
    Waiter,
)
from llmproxy.provider_workers.destinations import UNCHANGED, Destination
from llmproxy.provider_workers.proxies import ProxyRefused
from llmproxy.provider_workers.trust import Trust
from llmproxy.provider_workers.watches import Watches

CONNECTIONS_MAX = 16_384  # Idle ones included: above the requests in flight, so that a call never waits for one.
ANSWER_BYTES_MAX = 32 << 20
ERROR_BYTES_MAX = 1 << 16
TOKEN_BYTES_MAX = 1 << 16  # Of a token endpoint's answer.
STREAM_BYTES_MAX = 256 << 20
FETCHES_MAX = 32  # Of callers' addresses, at a time.
UNDERSTOOD = frozenset({"", "identity", *CODINGS})  # Codings of answers. Asked for is identity alone.

log = logging.getLogger(__name__)


class Reply:
    """A provider's answer, of which only the head has been read."""

    __slots__ = ("_connection", "_content", "_inflate", "_name", "_read", "coding", "headers", "status")

    def __init__(self, name: str, connection: Connection, message: RawResponseMessage, content: StreamReader) -> None:
        self._name, self._connection, self._content = name, connection, content
        self._read = 0
        self.status: int = message.code
        self.headers: CIMultiDictProxy[str] = message.headers
        self.coding: str = self.headers.get("content-encoding", "").lower()
        self._inflate = Inflate(CODINGS[self.coding]) if self.coding in CODINGS else None

    async def read(self, limit: int = STREAM_BYTES_MAX) -> bytes:
        """What has arrived, waiting for something; b"" at the end."""
        try:
            data = await self._content.readany()
            if self._inflate is not None:
                data = await self._unpacked(self._inflate, data)
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise GatewayError(
                "provider_stream_broken", f"endpoint '{self._name}' broke off its answer ({type(error).__name__})"
            ) from error
        self._read += len(data)
        if self._read > limit:
            raise GatewayError(
                "provider_bad_answer", f"endpoint '{self._name}' sent more than {limit >> 20} MiB; that is the limit"
            )
        return data

    async def _unpacked(self, inflate: Inflate, packed: bytes) -> bytes:
        """Of a compressed answer; reads on until something can be told."""
        try:
            while packed:
                data = inflate.feed(packed)
                if data:
                    return data
                packed = await self._content.readany()
        except Unpackable as error:
            raise GatewayError(
                "provider_bad_answer", f"endpoint '{self._name}' compressed its answer, and {error}"
            ) from None
        if not inflate.is_whole:
            raise GatewayError("provider_stream_broken", f"endpoint '{self._name}' broke off its compressed answer")
        return b""

    def arrived(self) -> bytes:
        """All of a short answer that came in one piece, which is the usual case; b"" where it has to be awaited, unpacked or refused."""
        content = self._content
        if self._inflate is not None or not content.is_eof() or not 0 < content.total_bytes <= READ_BUFFER_BYTES:
            return b""
        # Nothing more will come that reading could make room for, which `read_nowait` goes through five functions to do.
        return content._buffer.popleft() if len(content._buffer) == 1 else b""

    def unread(self, body: bytes) -> None:
        """What `arrived` returned is read again."""
        self._content._buffer.appendleft(body)

    async def read_all(self, limit: int = ANSWER_BYTES_MAX) -> bytes:
        data = await self.read(limit)
        if not data:
            return data
        parts = [data]
        while data := await self.read(limit):
            parts.append(data)
        return b"".join(parts)

    async def read_error(self) -> bytes:
        """The beginning of an error body; the rest does not interest."""
        parts: list[bytes] = []
        while self._read < ERROR_BYTES_MAX and (data := await self.read()):
            parts.append(data)
        return b"".join(parts)[:ERROR_BYTES_MAX]

    @property
    def is_finished(self) -> bool:
        return self._content.at_eof()

    def close(self) -> None:
        """The connection has gone back to the pool if the answer came to its end, and is closed if not."""
        if not self._content.is_eof():
            self._connection.close()


class Transport:
    """The pools of all endpoints.

    aiohttp's connector makes the connections and its parser reads the answers. Its session is left out: cookies, redirects, proxies, authentication and tracing are what this transport must not do, and
    they are two thirds of what a call through it costs. Between two calls a connection waits here, which costs less than the connector's books.
    """

    def __init__(self, names: Names | None = None) -> None:
        self.names, self.trust, self.watches = names or Names(), Trust(), Watches()
        self._loop = asyncio.get_running_loop()
        self._connector = Connector(self.names, limit=CONNECTIONS_MAX)
        self.once = Connector(self.names, limit=FETCHES_MAX)
        self._idle: set[Idle] = set()  # Where there are connections to run out.
        self._sweep: asyncio.TimerHandle | None = None

    def begin(self, destination: Destination, request: HttpRequest, traceparent: str, waiter: Waiter) -> Line | None:
        """Sends on a connection that is kept; None where one has to be made first, or a credential fetched. Raises GatewayError."""
        if destination.credential.source is not None:
            return None
        head = destination.head(request, traceparent)
        line = destination.route(self.names, self.trust).idle.take(self._loop.time())
        if line is not None:
            destination.reused.inc()
            line.ask(head, request.body, waiter)
        return line

    async def call(
        self,
        destination: Destination,
        request: HttpRequest,
        traceparent: str = "",
        begun: "tuple[Line, asyncio.Future[Begun]] | None" = None,
    ) -> Reply:
        """Sends, and returns when the head of the answer is here. Raises GatewayError. `begun`: it has been sent, and this waits."""
        source = destination.credential.source
        if source is not None:
            await source.fresh(lambda asked: self._ask(destination, asked))
        is_again = False
        try:
            while True:
                if begun is not None:
                    (line, answer), begun, is_fresh = begun, None, False
                else:
                    head = destination.head(request, traceparent)
                    route = destination.route(self.names, self.trust)
                    kept = None if is_again else route.idle.take(self._loop.time())
                    is_fresh = kept is None
                    line = kept or Line(await self._connector.connect(route, [], destination.timeout), route.idle)
                    (destination.opened if is_fresh else destination.reused).inc()
                    answer = self._loop.create_future()
                    line.ask(head, request.body, answer)
                try:
                    message, content = await answer
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    line.close()
                    if is_fresh:
                        raise
                    is_again = True  # The provider was closing an idle connection while we wrote to it, or has taken the request: once more, no oftener.
                    continue
                except BaseException:
                    line.close()
                    raise
                content.on_eof(functools.partial(self.keep, line))
                reply = Reply(destination.name, line.connection, message, content)
                break
        except AddressRefused as error:
            log.warning("endpoint %s is not called: %s", destination.name, error)
            raise _out_of_reach(destination.name, error) from None
        except ProxyRefused as error:
            raise GatewayError(
                "provider_unreachable", f"endpoint '{destination.name}' cannot be reached: its proxy {error}"
            ) from error
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise _translated(destination.name, error) from error
        if source is not None and reply.status == 401:
            source.refused()
        refusal = _refusal(destination.name, reply)
        if refusal is not None:
            reply.close()
            raise refusal
        return reply

    async def _ask(self, destination: Destination, request: HttpRequest) -> tuple[int, bytes]:
        """What a token endpoint says on behalf of `destination`. It has its own origin, and is shown no key but its own."""
        endpoint = replace(destination.endpoint, url=request.url, key="", auth=NoAuth(), headers=UNCHANGED)
        lends = isinstance(destination.endpoint.auth, SigV4)  # AWS's own services on this machine.
        if lends:
            endpoint = replace(endpoint, proxy=None, tls=None)
        place = Destination(
            destination.name,
            endpoint,
            destination.adapter,
            destination.credentials,
            networks=destination.networks,
            named=destination.named,
        )
        if lends:
            place.reach = Reach(LOOPBACK, KEY_SERVICES)
        try:
            reply = await self.call(place, request)
            try:
                return reply.status, await reply.read_all(TOKEN_BYTES_MAX)
            finally:
                reply.close()
        except GatewayError as error:
            raise GatewayError(
                "provider_unauthorized",
                f"endpoint '{destination.name}' got no credential from {place.host}: {error.code}",
            ) from error

    def keep(self, line: Line) -> None:
        """For the next call: its answer has come to its end."""
        idle = line.idle
        idle.keep(line, self._loop.time())
        self._idle.add(idle)
        if self._sweep is None:
            self._sweep = self._loop.call_later(KEEPALIVE_S, self._expire)

    def _expire(self) -> None:
        for idle in self._idle:
            idle.expire(self._loop.time() - KEEPALIVE_S)
        self._idle = {idle for idle in self._idle if len(idle)}
        self._sweep = self._loop.call_later(KEEPALIVE_S, self._expire) if self._idle else None

    async def close(self) -> None:
        self.watches.close()
        if self._sweep is not None:
            self._sweep.cancel()
        for idle in self._idle:
            idle.expire(math.inf)
        await self._connector.close()
        await self.once.close()


def _refusal(name: str, reply: Reply) -> GatewayError | None:
    """Answers that are not looked into."""
    if 300 <= reply.status < 400:
        return GatewayError(
            "provider_bad_answer",
            f"endpoint '{name}' answered with a redirect, which is not followed;"
            f" set endpoints.{name}.url to the final address",
        )
    if reply.coding not in UNDERSTOOD:
        return GatewayError(
            "provider_bad_answer",
            f"endpoint '{name}' compressed its answer in a way that it was not asked for and that is not unpacked here",
        )
    return None


def _out_of_reach(name: str, error: AddressRefused) -> GatewayError:
    return GatewayError(
        "provider_unreachable",
        f"endpoint '{name}' is not called: endpoints.{name}.url leads to {error.why};"
        " if it is meant to, add its network to gateway.private_networks",
    )


def _translated(name: str, error: Exception) -> GatewayError:
    """Before the head of an answer. The order matters: nearly all of them inherit from OSError."""
    match error:
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            says = "it closed the connection without an answer"
        case OnlyInformational():
            return GatewayError("provider_bad_answer", f"endpoint '{name}' sends informational answers and no other")
        case HttpProcessingError() | aiohttp.ClientPayloadError():
            return GatewayError("provider_bad_answer", f"endpoint '{name}' does not answer in HTTP")
        case ssl.SSLError():
            says = "its TLS certificate or protocol was not accepted"
        case socket.gaierror():
            says = "its host name does not resolve"
        case TimeoutError():
            says = "no connection within connect_ms"
        case OSError():
            says = "it refuses connections"
        case _:
            says = type(error).__name__
    return GatewayError("provider_unreachable", f"endpoint '{name}' cannot be reached: {says}")
