"""The HTTP server: aiohttp's protocol without its application layer, and a drain that loses no request."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import ERROR, RequestHandler, _ErrInfo
from multidict import CIMultiDictProxy

from llmproxy.common.quiet_http import QuietHandler
from llmproxy.edge import metrics
from llmproxy.edge.replies import Reply, Sent

CONNECTIONS_MAX = 16_384  # More are closed at once: each costs memory before it has shown a key.
KEEPALIVE_S = 75.0  # An idle connection, and the time that a client has for its request line and headers.
LINE_BYTES_MAX = 8_190
HEADER_BYTES_MAX = 16_384
HEADERS_MAX = 100
READ_BYTES = 1 << 18
UNREAD_BODY_S = 2.0  # After an early answer: how long what the client still sends is read away, so that it sees it.
HALF_CLOSED_S = 0.5  # What is answered so soon is answered, although the client has shut down its sending side.
BACKLOG = 4_096
LINGER_S = 3.0  # Kept connections are served so long after SIGTERM, each answer saying `connection: close`.
LINGER_STEP_S = 0.02
ENDING_S = 1.0  # For the last bytes of answers.


class Request:
    """A request whose target is read as it was sent: routing decides on those very bytes."""

    __slots__ = (
        "headers",
        "http10",
        "method",
        "path",
        "payload",
        "protocol",
        "query",
        "remote",
        "reply",
        "wants_close",
    )

    def __init__(self, message: RawRequestMessage, payload: StreamReader, protocol: "_Protocol") -> None:
        self.payload, self.protocol, self.remote = payload, protocol, protocol.remote
        self.method: str = message.method
        self.headers: CIMultiDictProxy[str] = message.headers
        self.http10: bool = message.version is not HttpVersion11 and message.version < HttpVersion11
        self.wants_close: bool = message.should_close
        self.reply: Reply | None = None  # Set once we have begun to answer.
        target = message.path
        if not target.startswith("/") and "://" in target:  # Absolute, as in `GET http://host/path`.
            target = "/" + target.partition("://")[2].partition("/")[2]
        self.path, _, self.query = target.partition("?")

    # What aiohttp's protocol object asks of a request:

    def _cancel(self, error: BaseException) -> None:
        """The client has left: whoever reads the body hears of it."""
        self.payload.set_exception(error)

    def _finish(self) -> None:
        return


Handle = Callable[[Request], Awaitable[Sent]]
Malformed = Callable[["Request", int], Sent]
"""Answers what is not HTTP, or a bug; must not raise."""


class _Protocol(QuietHandler):
    """aiohttp's own error answers quote the offending header line, which may be a key; ours do not."""

    __slots__ = ("remote",)
    remote: str
    """The address at the other end; "" when it is no address."""

    async def start(self) -> None:
        """One request after the other, in this one task: aiohttp's own way, without the task, the writer and the request
        object that it makes for each of them, which cost as much as reading it."""
        server, loop = cast("Server", self._manager), self._loop
        handle = cast(Handle, server.request_handler)
        try:
            while not self._force_close:
                if not self._messages:
                    self._waiter = loop.create_future()
                    try:
                        await self._waiter
                    finally:
                        self._waiter = None
                message, payload = self._messages.popleft()
                if self._parser is not None:
                    self._parser.message_consumed()
                if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                    self._resume_reading_if_drained()
                server.requests_count += 1
                wrong = None
                if isinstance(message, _ErrInfo):
                    wrong, message = message, ERROR
                request = Request(message, payload, self)
                self._request_in_progress, self._current_request = True, request  # type: ignore[assignment]
                try:
                    sent = await handle(request) if wrong is None else self._told(request, wrong.status, wrong.exc)
                except Exception as bug:  # noqa: BLE001 - one bad answer must not end the connection without a word
                    if self.transport is None:  # To nobody: the client has left.
                        break
                    sent = self._told(request, 500, bug)
                finally:
                    self._request_in_progress, self._current_request = False, None
                    if self._handler_waiter is not None:
                        self._handler_waiter.set_result(None)
                if self._upgraded:  # What came behind a declined upgrade has still to be read.
                    await self.finish_response(request, sent, None)  # type: ignore[arg-type]
                if not payload.is_eof():
                    await self._read_away(payload)
                self._keepalive = sent.keep_alive
                if not self._keepalive or self._close:
                    break
                # They would be kept for as long as the connection waits for its next request.
                del message, payload, request, sent, wrong
                self._next_keepalive_close_time = loop.time() + self._keepalive_timeout
                if self._keepalive_handle is None:
                    self._keepalive_handle = loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        finally:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    def _told(self, request: Request, status: int, error: BaseException) -> Sent:
        """The answer to what is not HTTP, and to a bug of ours."""
        return cast(Sent, self.handle_error(cast(web.BaseRequest, request), status, error))

    async def _read_away(self, payload: StreamReader) -> None:
        """What a client still sends after an early answer, for a moment: a connection that is reset loses the answer."""
        try:
            async with asyncio.timeout(self._lingering_time):
                while not payload.is_eof():
                    await payload.readany()
        except (TimeoutError, web.RequestPayloadError):
            self.close()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._break_off()

    def _break_off(self) -> None:
        """What is broken in the middle of a body ends that body: aiohttp only says so behind its request, which would wait for the rest."""
        current = cast(Request | None, self._current_request)
        if len(self._messages) > 1:
            unfinished = self._messages[-2][1]
        elif current is not None:
            unfinished = current.payload
        else:
            return
        if not unfinished.is_eof():
            unfinished.set_exception(web.RequestPayloadError())

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:  # aiohttp asks with every read.
            super().resume_reading(resume_parser)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = self.peername
        self.remote = str(peer[0]) if isinstance(peer, tuple) else peer or ""
        manager = cast("Server", self._manager)
        metrics.CONNECTIONS.inc()
        if manager.is_full:
            self.force_close()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks whether the transport is to be kept.
        """A client that will say nothing more may wait for its answer, or have left: only its silence can tell them apart. For a moment
        it is taken at its word; then a call of a provider is not paid for on the chance (docs/adr/0034)."""
        if not self._messages and not self._request_in_progress:
            return False
        self._loop.call_later(HALF_CLOSED_S, self._leave)
        return True

    def _leave(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._manager is not None:
            metrics.CONNECTIONS.dec()
        super().connection_lost(exc)

    def answer(self, request: web.BaseRequest, status: int) -> web.StreamResponse:
        answered = cast("Server", self._manager).malformed(cast(Request, request), status)
        return cast(web.StreamResponse, answered)


class Server(web.Server):
    def __init__(self, handle: Handle, malformed: Malformed) -> None:
        super().__init__(
            cast(Any, handle),
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
        self.pre_shutdown()  # Who asks for nothing need not be waited for.
        await self.shutdown(timeout=ENDING_S)


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
