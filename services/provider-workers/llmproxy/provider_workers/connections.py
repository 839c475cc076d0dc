"""Connections: names are resolved once, what they lead to is checked, and what was checked is connected to.

aiohttp pools connections and speaks HTTP over them; making one is ours, so that no second lookup of a name can lead
elsewhere than the first (docs/adr/0014).
"""

import asyncio
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any, Protocol, cast

from aiohappyeyeballs import start_connection
from aiohttp import BaseConnector, ClientPayloadError, ClientTimeout, StreamReader
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.connector import Connection
from aiohttp.helpers import EMPTY_BODY_STATUS_CODES
from aiohttp.http import HttpResponseParser
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD
from yarl import URL

from llmproxy.common.addresses import Address, Reach, literal
from llmproxy.provider_workers import trust
from llmproxy.provider_workers.proxies import Tunnel

NAMES_MAX = 1_024
NAME_TTL_S = 30.0
KEEPALIVE_S = 30.0  # How long a connection may be idle.
READ_BUFFER_BYTES = 1 << 16
JOINED_BYTES_MAX = 1 << 16  # Up to here copying a body is cheaper than a second write.
NEXT_ADDRESS_S = 0.25  # RFC 8305: when the next address is tried beside one that does not answer.
INFORMATIONAL_MAX = 16  # Before an answer: an endless run of them is read as fast as it comes, and would hold the loop.

Begun = tuple[RawResponseMessage, StreamReader]
"""An answer whose head is here."""


class Waiter(Protocol):
    """Who is told of an answer when its head is here, or why none comes. A future of asyncio's is one."""

    def done(self) -> bool: ...
    def set_result(self, begun: Begun, /) -> None: ...
    def set_exception(self, error: BaseException, /) -> None: ...


Resolve = Callable[[str], Awaitable[list[str]]]
"""The addresses of a name. Raises OSError."""


class AddressRefused(Exception):
    """Not connected: where the name leads. The texts are for the operator; a caller learns no address."""

    def __init__(self, host: str, address: str, why: str) -> None:
        super().__init__(f"{host} leads to {address}, {why}")
        self.why = why


async def system_addresses(host: str) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # What is no name: an empty label, or one of more than 63 characters.
        raise socket.gaierror(socket.EAI_NONAME, "not a name") from None
    return [str(address[0]) for _, _, _, _, address in found]


class Names:
    """What names lead to, remembered for NAME_TTL_S; those who ask for the same one at the same time share the question."""

    def __init__(self, resolve: Resolve = system_addresses) -> None:
        self._resolve = resolve
        self._known: dict[str, tuple[float, list[str]]] = {}
        self._asked: dict[str, asyncio.Task[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        known = self._known.get(host)
        if known is not None and known[0] > asyncio.get_running_loop().time():
            return known[1]
        task = self._asked.get(host)
        if task is None:
            task = self._asked[host] = asyncio.create_task(self._ask(host))
            task.add_done_callback(lambda done: self._answered(host, done))
        return await asyncio.shield(task)

    async def _ask(self, host: str) -> list[str]:
        found = await self._resolve(host)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        if len(self._known) >= NAMES_MAX:
            self._known.clear()
        self._known[host] = (asyncio.get_running_loop().time() + NAME_TTL_S, found)
        return found

    def _answered(self, host: str, task: asyncio.Task[list[str]]) -> None:
        del self._asked[host]
        if not task.cancelled():
            task.exception()  # Whoever waited has it; when nobody does any more, it is nobody's.


class Line:
    """A connection of a route, for as long as it is open."""

    __slots__ = ("answers", "connection", "idle", "since")

    def __init__(self, connection: Connection, idle: "Idle") -> None:
        self.connection, self.idle = connection, idle
        self.answers = answers_on(connection)
        self.since = 0.0  # When it was last given back, in loop time.

    def ask(self, head: bytes, body: bytes, waiter: Waiter) -> None:
        try:
            self.answers.ask(head, body, waiter)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        self.connection.close()


class Idle:
    """Connections of one route between two calls. The one used last goes first: it is warm, and those beyond what is needed
    run out."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[Line] = []

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, now: float) -> Line | None:
        """One that is open, or None. What was said on it since was said to nobody and has closed it."""
        while self._kept:
            line = self._kept.pop()
            if now - line.since <= KEEPALIVE_S and line.answers.is_connected():
                return line
            line.close()
        return None

    def keep(self, line: Line, now: float) -> None:
        answers = line.answers
        if answers.should_close:
            line.close()
        else:
            answers.is_asked, line.since = False, now
            self._kept.append(line)

    def expire(self, before: float) -> None:
        """Closes those that have not been used since."""
        late = [line for line in self._kept if line.since < before]
        self._kept = [line for line in self._kept if line.since >= before]
        for line in late:
            line.close()


class Route(ClientRequest):
    """Where a connection leads and how it is made: what the pool knows connections by."""

    def __init__(
        self,
        name: str,
        origin: URL,
        reach: Reach,
        *,
        context: ssl.SSLContext | None = None,
        server_name: str = "",
        tunnel: Tunnel | None = None,
        is_pinned: bool = False,
    ) -> None:
        """`is_pinned`: resolved here even where a proxy could resolve it, which then sees the address alone."""
        super().__init__("POST", origin, loop=asyncio.get_running_loop(), ssl=context or True)
        self.reach, self.context, self.server_name = reach, context, server_name
        self.tunnel, self.is_pinned = tunnel, is_pinned
        self.idle = Idle()
        is_tls = origin.scheme == "https"
        # The name is the endpoint's: what one endpoint's connections are good for is no other endpoint's.
        self._key = ConnectionKey(
            f"{name} {origin.raw_host}",
            origin.port,
            is_tls,
            context or True,
            None,
            None,
            hash((reach, tunnel.proxy if tunnel is not None else None)),
            server_name,
        )

    @property
    def connection_key(self) -> ConnectionKey:
        return self._key


class OnlyInformational(HttpProcessingError):
    """Informational answers, and no other."""


class Answers(ResponseHandler):
    """aiohttp's protocol object of a connection, without its queue, timers and websockets: one answer is waited for at a time."""

    is_asked = True  # Between two calls it is not. What a server says before the first one is its answer to that.
    _informational = 0  # Such answers since it was asked.

    def ask(self, head: bytes, body: bytes, waiter: Waiter) -> None:
        """Sends a request; what comes from now on is its answer. Each has a parser of its own: one for all would take what a
        provider says too much for the beginning of the next answer."""
        assert self.transport is not None
        self.is_asked, self._informational = True, 0
        self._waiter = waiter  # type: ignore[assignment] # aiohttp tells it when the connection is lost.
        self._parser = HttpResponseParser(
            self,
            self._loop,
            READ_BUFFER_BYTES,
            payload_exception=ClientPayloadError,
            read_until_eof=True,
            auto_decompress=False,
        )
        if self._tail:
            self._drain_tail()  # It spoke first.
        if len(body) <= JOINED_BYTES_MAX:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)

    def tell(self, waiter: Waiter) -> None:
        """Of the answer that somebody else has waited for until now."""
        self._waiter = waiter  # type: ignore[assignment] # As in `ask`.

    def data_received(self, data: bytes) -> None:
        if not self.is_asked:
            self.close()  # Said to nobody.
            return
        if self._parser is None or self._upgraded:
            super().data_received(data)
            return
        try:
            messages, self._upgraded, _ = self._parser.feed_data(data)
        except HttpProcessingError as error:
            self.set_exception(HttpProcessingError(), error)  # Its words may quote the answer.
            if self.transport is not None:
                self.transport.close()
            return
        for message, content in messages:
            self._begin(message, content)

    def _begin(self, message: RawResponseMessage, content: StreamReader) -> None:
        answer: Waiter | None = self._waiter  # type: ignore[assignment] # As in `ask`.
        if answer is None:
            self.close()  # Said to nobody, together with an answer.
            return
        self._payload = content
        if message.should_close:
            self._should_close = True
        if answer.done():
            return
        if message.code >= 200:
            self._waiter = None
            answer.set_result((message, EMPTY_PAYLOAD if message.code in EMPTY_BODY_STATUS_CODES else content))
        elif self._informational < INFORMATIONAL_MAX:
            self._informational += 1
        else:
            self.set_exception(OnlyInformational())

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:  # aiohttp asks with every read.
            super().resume_reading(resume_parser)


def answers_on(connection: Connection) -> Answers:
    protocol = connection.protocol
    assert isinstance(protocol, Answers)
    return protocol


class Connector(BaseConnector):
    """Makes connections, at most so many at a time, and keeps none: who made one may keep it. `Route`s only."""

    def __init__(
        self,
        names: Names,
        *,
        limit: int,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`context` is for routes without one of their own; the system's authorities when left out."""
        super().__init__(limit=limit, force_close=True)
        self._factory = cast("functools.partial[ResponseHandler]", functools.partial(Answers, loop=self._loop))
        self._names, self._context = names, context

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Any],
        timeout: ClientTimeout,  # noqa: ASYNC109 - aiohttp names it
    ) -> ResponseHandler:
        """aiohttp's extension point for connectors; it bounds the time itself. Raises OSError and AddressRefused."""
        assert isinstance(req, Route), "only routes are checked"
        host, port = req.url.raw_host, req.url.port
        assert host is not None
        assert port is not None
        sock = await self._socket(req, host, port)
        context = (req.context or self._default()) if req.is_ssl() else None
        server_name = (req.server_name or host).rstrip(".") if context is not None else None
        _, protocol = await self._loop.create_connection(
            self._factory, sock=sock, ssl=context, server_hostname=server_name
        )
        return protocol

    async def _socket(self, route: Route, host: str, port: int) -> socket.socket:
        if route.tunnel is not None and not route.is_pinned and _literal(host) is None:
            return await route.tunnel.open(host, port)
        addresses = await checked(self._names, host, route.reach)
        if route.tunnel is not None:
            return await route.tunnel.open(addresses[0], port)
        return await start_connection([_addr_info(one, port) for one in addresses], happy_eyeballs_delay=NEXT_ADDRESS_S)

    def _default(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = trust.context()
        return self._context


async def checked(names: Names, host: str, reach: Reach) -> list[str]:
    """What `host` leads to, all of which may be connected to: one bad address among good ones is how rebinding looks.
    Raises AddressRefused, OSError."""
    own = _literal(host)
    found = [str(own)] if own is not None else await names.addresses(host)
    for address in found:
        why = reach.problem(ip_address(address))
        if why:
            raise AddressRefused(host, address, why)
    return found


def _literal(host: str) -> Address | None:
    try:
        return literal(host)
    except ValueError:
        raise AddressRefused(host, "an address", "an address in an unusual spelling") from None


def _addr_info(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
