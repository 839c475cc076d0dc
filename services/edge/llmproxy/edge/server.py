"""The HTTP server: aiohttp's protocol without its application layer, and a drain that loses no request."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from llmproxy.common.errors import place
from llmproxy.edge import metrics
from llmproxy.edge.replies import Reply, Sent

CONNECTIONS_MAX = 16_384  # More are closed at once: each costs memory before it has shown a key.
KEEPALIVE_S = 75.0  # An idle connection, and the time that a client has for its request line and headers.
LINE_BYTES_MAX = 8_190
HEADER_BYTES_MAX = 16_384
HEADERS_MAX = 100
READ_BYTES = 1 << 18
UNREAD_BODY_S = 2.0  # After an early answer: how long what the client still sends is read away, so that it sees it.
BACKLOG = 4_096
LINGER_S = 3.0  # Kept connections are served so long after SIGTERM, each answer saying `connection: close`.
LINGER_STEP_S = 0.02

log = logging.getLogger(__name__)


class Request(web.BaseRequest):
    """A request whose target is read as it was sent: routing decides on those very bytes."""

    reply: Reply | None = None  # Set once we have begun to answer.

    @property
    def target(self) -> tuple[str, str]:
        """Path and query; of an absolute target (`GET http://host/path`), its path."""
        target = self._message.path
        if not target.startswith("/") and "://" in target:
            target = "/" + target.partition("://")[2].partition("/")[2]
        path, _, query = target.partition("?")
        return path, query

    @property
    def payload(self) -> StreamReader:
        return self._payload

    @property
    def http10(self) -> bool:
        return self._message.version < (1, 1)

    @property
    def wants_close(self) -> bool:
        return self._message.should_close


Handle = Callable[[Request], Awaitable[Sent]]
Malformed = Callable[["Request", int], Sent]
"""Answers what is not HTTP, or a bug; must not raise."""


class _Protocol(RequestHandler):
    """aiohttp's own error answers quote the offending header line, which may be a key; ours do not."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        manager = cast("Server", self._manager)
        metrics.CONNECTIONS.inc()
        if manager.is_full:
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._manager is not None:
            metrics.CONNECTIONS.dec()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500:
            log.error("a request handler failed: %s at %s", type(exc).__name__, place(exc))
        answered = cast("Server", self._manager).malformed(cast(Request, request), status)
        return cast(web.StreamResponse, answered)

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        exc = kwargs.get("exc_info")
        if isinstance(exc, BaseException):
            log.error("the HTTP server failed: %s at %s", type(exc).__name__, place(exc))


class Server(web.Server):
    def __init__(self, handle: Handle, malformed: Malformed) -> None:
        super().__init__(
            cast(Any, handle),
            request_factory=cast(Any, self._request),
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_S,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            read_bufsize=READ_BYTES,
            lingering_time=UNREAD_BODY_S,
        )
        self.malformed = malformed

    @property
    def is_full(self) -> bool:
        return len(self._connections) > CONNECTIONS_MAX

    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> Request:
        return Request(message, payload, protocol, writer, task, self._loop)

    async def drain(self, in_flight: Callable[[], int], linger_s: float, timeout_s: float) -> None:
        """After the listener has closed: answers what still comes on open connections, and finishes what is held.

        A client that keeps its connection learns with its next answer that it ends; one that stays silent for the whole
        linger is closed while idle.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        while self._connections and loop.time() < start + linger_s:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(LINGER_STEP_S)
        while in_flight() and loop.time() < start + timeout_s:  # noqa: ASYNC110 - as above
            await asyncio.sleep(LINGER_STEP_S)
        await self.shutdown(timeout=1.0)


def listening_socket(fd: int, host: str, port: int) -> socket.socket:
    """The inherited socket, which the supervisor keeps open between our lives, or one of our own."""
    if fd >= 0:
        inherited = socket.socket(fileno=fd)
        inherited.setblocking(False)
        return inherited
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    own = socket.socket(family, socket.SOCK_STREAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.bind((host, port))
    own.setblocking(False)
    return own
