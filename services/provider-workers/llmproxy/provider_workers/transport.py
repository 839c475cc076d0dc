"""The one way to a provider: pooled connections, every wait and size bounded, each key shown to its own origin only.

Foreign exceptions end here. Their texts may quote URLs and headers, so what is raised says only which endpoint, and what.
"""

import asyncio
import functools
import logging
import math
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import ClientTimeout, StreamReader
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from msgspec.structs import replace
from multidict import CIMultiDictProxy
from yarl import URL

from llmproxy.common.addresses import KEY_SERVICES, LOOPBACK, Network, Reach, reach
from llmproxy.common.auth import REFERENCES, NoAuth, SigV4
from llmproxy.common.config import Endpoint
from llmproxy.common.errors import GatewayError
from llmproxy.common.outbound import HeaderRules, Tls
from llmproxy.provider_workers import metrics
from llmproxy.provider_workers.adapters.base import Adapter, HttpRequest
from llmproxy.provider_workers.compression import CODINGS, Inflate, Unpackable
from llmproxy.provider_workers.connections import (
    KEEPALIVE_S,
    AddressRefused,
    Connector,
    Idle,
    Names,
    Route,
    checked,
)
from llmproxy.provider_workers.credentials import Credentials, Signer
from llmproxy.provider_workers.places import located
from llmproxy.provider_workers.proxies import ProxyRefused, Tunnel
from llmproxy.provider_workers.trust import Trust

CONNECTIONS_MAX = 16_384  # Idle ones included: above the requests in flight, so that a call never waits for one.
READ_BUFFER_BYTES = 1 << 16
JOINED_BYTES_MAX = 1 << 16  # Up to here copying a body is cheaper than a second write.
ANSWER_BYTES_MAX = 32 << 20
ERROR_BYTES_MAX = 1 << 16
TOKEN_BYTES_MAX = 1 << 16  # Of a token endpoint's answer.
STREAM_BYTES_MAX = 256 << 20
FETCHES_MAX = 32  # Of callers' addresses, at a time.
HEADS_KEPT_MAX = 256  # Some vendors have the model in the path, and with `*` the model is the caller's choice.
USER_AGENT = "llmproxy"
UNCHANGED = HeaderRules()
UNDERSTOOD = frozenset({"", "identity", *CODINGS})  # Codings of answers. Asked for is identity alone.
INFORMATIONAL_MAX = 16  # Before an answer: an endless run of them is read as fast as it comes, and would hold the loop.
HEADER_TEXT = re.compile(r"[\x20-\x7e]*", re.ASCII)
AS_IT_IS = re.compile(r"[A-Za-z0-9:/?&=%._~\[\]-]*", re.ASCII)  # Of a URL: nothing that wants quoting.
TRACEPARENT = re.compile(r"[0-9a-f-]{1,64}", re.ASCII)

log = logging.getLogger(__name__)


class Destination:
    """An endpoint as the transport sees it, made once per configuration: what a request's head looks like is kept here."""

    __slots__ = (
        "_from",
        "_heads",
        "_route",
        "_tunnel",
        "adapter",
        "credential",
        "credentials",
        "endpoint",
        "name",
        "named",
        "networks",
        "opened",
        "origin",
        "reach",
        "reused",
        "timeout",
    )

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        adapter: Adapter,
        credentials: Credentials,
        *,
        networks: tuple[Network, ...] = LOOPBACK,
        named: bool = False,
    ) -> None:
        """`networks` and `named`: where it may be besides public addresses, see `addresses.reach`."""
        endpoint = located(endpoint)
        self.name, self.endpoint, self.adapter, self.credentials = name, endpoint, adapter, credentials
        self.credential = credentials.of(name, endpoint, adapter.credential)
        connect_s = endpoint.connect_ms / 1000
        self.timeout = ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s)
        self.origin = _origin(endpoint.url or adapter.default_url)
        self.networks, self.named = networks, named
        self.reach = reach(networks, self.host, named=named)
        self.opened = metrics.CONNECTIONS.labels(name, "opened")
        self.reused = metrics.CONNECTIONS.labels(name, "reused")
        self._route: Route | None = None
        self._tunnel: Tunnel | None = None
        self._from: tuple[object, ...] = ()
        self._heads: dict[tuple[str, str], bytes] = {}

    @property
    def host(self) -> str:
        return self.origin.raw_host or "" if self.origin is not None else ""

    def route(self, names: Names, trust: Trust) -> Route:
        """What the connection pool wants to know. Raises GatewayError of certificates that cannot be used."""
        tls, route = self.endpoint.tls, self._route
        if route is not None and tls is None:
            return route
        context = trust.of(self.name, self._permitted(tls)) if tls is not None and self.is_tls else None
        if route is None or route.context is not context:
            assert self.origin is not None, "a head was made first"
            server_name = tls.server_name if tls is not None else ""
            route = self._route = Route(
                self.name,
                self.origin,
                self.reach,
                context=context,
                server_name=server_name,
                tunnel=self.tunnel(names),
            )
        return route

    def _permitted(self, tls: Tls) -> Tls:
        return replace(tls, **{field: self.credentials.permit(self.name, path) for field, path in tls.files.items()})

    @property
    def is_tls(self) -> bool:
        return self.origin is not None and self.origin.scheme == "https"

    def tunnel(self, names: Names) -> Tunnel | None:
        proxy = self.endpoint.proxy
        if proxy is not None and self._tunnel is None:
            self._tunnel = Tunnel(
                proxy,
                lambda: self.credentials.text(self.name, proxy.password),
                lambda host: checked(names, host, reach(self.networks, host, named=self.named)),
            )
        return self._tunnel

    def head(self, request: HttpRequest, traceparent: str) -> bytes:
        """The request up to its body."""
        signer = self.credential.signer
        if signer is not None:
            return self._end(self._signed(request, signer), request, traceparent)
        key = self.credential.header()
        rules = self.endpoint.headers
        changed = self._changed() if rules.insert or rules.replace else ()
        if self._from != (request.headers, key, changed):
            self._from = (request.headers, key, changed)
            self._heads.clear()
        place = (request.method, request.url)
        head = self._heads.get(place)
        if head is None:
            if len(self._heads) >= HEADS_KEPT_MAX:
                self._heads.clear()
            url = self._ours(request.url)
            head = self._heads[place] = self._compose(request, url, url.raw_path_qs, [key] if key is not None else ())
        return self._end(head, request, traceparent)

    def _end(self, head: bytes, request: HttpRequest, traceparent: str) -> bytes:
        if traceparent and TRACEPARENT.fullmatch(traceparent):
            return b"%straceparent: %s\r\ncontent-length: %d\r\n\r\n" % (head, traceparent.encode(), len(request.body))
        return b"%scontent-length: %d\r\n\r\n" % (head, len(request.body))

    def _signed(self, request: HttpRequest, signer: Signer) -> bytes:
        """A signature is good for one body and one moment, so this head is not kept."""
        if self.endpoint.headers != UNCHANGED:  # What is signed is what is sent.
            request = replace(request, headers=tuple(self._ruled(dict(request.headers)).items()))
        url = self._ours(request.url)
        # AWS reads the escapes of the path as they were signed.
        exact = URL(request.url, encoded=True) if AS_IT_IS.fullmatch(request.url) else url
        headers = [("host", url.host_port_subcomponent or ""), *request.headers]
        added = signer.sign(request.method, exact.raw_path, exact.raw_query_string, headers, request.body)
        return self._compose(request, url, exact.raw_path_qs, added)

    def _compose(self, request: HttpRequest, url: URL, path: str, credential: Iterable[tuple[str, str]]) -> bytes:
        headers = {
            "host": url.host_port_subcomponent or "",
            "accept": "*/*",
            "accept-encoding": "identity",
            "user-agent": self.endpoint.user_agent or USER_AGENT,
            **dict(request.headers),
        }
        if self.endpoint.headers != UNCHANGED:
            headers = self._ruled(headers)
        headers.update(credential)
        lines = [f"{request.method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
        assert all(HEADER_TEXT.fullmatch(line) for line in lines), "an adapter's header has a control character"
        return "".join(f"{line}\r\n" for line in lines).encode("ascii")

    def _changed(self) -> tuple[tuple[str, str], ...]:
        """The values of inserted and replaced headers, as they are now."""
        return tuple(
            (name.lower(), self.credentials.text(self.name, value) if value.startswith(REFERENCES) else value)
            for name, value in self.endpoint.headers.values.items()
        )

    def _ruled(self, headers: dict[str, str]) -> dict[str, str]:
        rules = self.endpoint.headers
        removed = {name.lower() for name in rules.remove}
        kept = {name: text for name, text in headers.items() if name.lower() not in removed}
        present, replaced = {name.lower() for name in kept}, {name.lower() for name in rules.replace}
        changed = {name: text for name, text in self._changed() if name in replaced or name not in present}
        return {name: text for name, text in kept.items() if name.lower() not in replaced} | changed

    def _ours(self, text: str) -> URL:
        """Parsed, and on this endpoint's origin: what an adapter builds can never carry the key elsewhere."""
        try:
            url = URL(text)  # Quotes what must not stand in a request line.
            is_ours = self.origin is not None and url.origin() == self.origin
        except ValueError:
            is_ours = False
        if not is_ours:
            raise GatewayError(
                "provider_unreachable",
                f"the call for endpoint '{self.name}' would leave its origin; its key stays here."
                f" Check endpoints.{self.name}.url",
            )
        return url


def _origin(url: str) -> URL | None:
    """None when it is no address; then nothing is sent anywhere, and the error of each call says what to fix."""
    try:
        return URL(url).origin()
    except ValueError:
        return None


class Watch:
    """Cancels the task that reads an answer when the answer stays away for too long. Made by `Watches.over`."""

    __slots__ = ("_deadline", "_loop", "_task", "_watches", "due", "has_expired")

    def __init__(self, watches: "Watches", task: "asyncio.Task[Any]", due: float, deadline: float) -> None:
        self._watches, self._loop, self._task = watches, watches.loop, task
        self.due, self._deadline = due, deadline
        self.has_expired = False

    def extend(self, seconds: float) -> None:
        """From now. Shortening takes effect at once too."""
        self.due = min(self._loop.time() + seconds, self._deadline)
        self._watches.look_by(self.due)

    @property
    def is_past_deadline(self) -> bool:
        return self._loop.time() >= self._deadline

    def expire(self) -> None:
        self.has_expired = True
        self._task.cancel()

    def __enter__(self) -> Self:
        self._watches.under_way.add(self)
        self._watches.look_by(self.due)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Our own cancellation becomes TimeoutError; one that came from outside stays what it is."""
        self._watches.under_way.discard(self)
        if self.has_expired and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from None


class Watches:
    """All waits of one worker under one timer, which is set for the first of them that may be late. Nearly none ever is: a timer
    for each would be made and thrown away with every call."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.under_way: set[Watch] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf  # In loop time.

    def over(self, seconds: float, left_s: float) -> Watch:
        """Over the current task, while it is in the context. After `left_s` the request ends, whatever `extend` says."""
        task = asyncio.current_task(self.loop)
        assert task is not None
        now = self.loop.time()
        return Watch(self, task, now + min(seconds, left_s), now + left_s)

    def look_by(self, due: float) -> None:
        if due >= self._looks_at:
            return
        self.close()
        self._looks_at = due
        self._timer = self.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer, self._looks_at = None, math.inf
        now = self.loop.time()
        for late in [one for one in self.under_way if one.due <= now]:
            self.under_way.discard(late)
            late.expire()
        if self.under_way:
            self.look_by(min(one.due for one in self.under_way))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


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
        if self._inflate is not None or not content.is_eof() or content.total_bytes > READ_BUFFER_BYTES:
            return b""
        return content.read_nowait()

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
    def has_arrived(self) -> bool:
        """All of it is in memory, read or not."""
        return self._content.is_eof()

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

    async def call(self, destination: Destination, request: HttpRequest, traceparent: str = "") -> Reply:
        """Sends, and returns when the head of the answer is here. Raises GatewayError."""
        source = destination.credential.source
        if source is not None:
            await source.fresh(lambda asked: self._ask(destination, asked))
        head = destination.head(request, traceparent)
        route = destination.route(self.names, self.trust)
        try:
            while True:
                kept = route.idle.take(self._loop.time())
                is_fresh = kept is None
                connection = kept or await self._connector.connect(route, [], destination.timeout)
                (destination.opened if is_fresh else destination.reused).inc()
                try:
                    ended = functools.partial(self._keep, route.idle, connection)
                    reply = await exchange(destination.name, connection, head, request.body, ended)
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                    connection.close()
                    if is_fresh:
                        raise
                    continue  # The provider was closing an idle connection while we wrote to it; those run out.
                except BaseException:
                    connection.close()
                    raise
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

    def _keep(self, idle: Idle, connection: Connection) -> None:
        idle.keep(connection, self._loop.time())
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


async def exchange(name: str, connection: Connection, head: bytes, body: bytes, ended: Callable[[], None]) -> Reply:
    """`ended` is called as soon as all of the answer is here."""
    protocol = connection.protocol
    assert protocol is not None
    assert protocol.transport is not None
    protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_bufsize=READ_BUFFER_BYTES)
    if len(body) <= JOINED_BYTES_MAX:
        protocol.transport.write(head + body)
    else:
        protocol.transport.write(head)
        protocol.transport.write(body)
    for _ in range(1 + INFORMATIONAL_MAX):
        message, content = await protocol.read()
        if message.code >= 200:
            content.on_eof(ended)
            return Reply(name, connection, message, content)
    raise GatewayError("provider_bad_answer", f"endpoint '{name}' sends informational answers and no other")


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
