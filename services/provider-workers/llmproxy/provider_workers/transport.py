"""The one way to a provider: pooled connections, every wait and size bounded, each key shown to its own origin only.

Foreign exceptions end here. Their texts may quote URLs and headers, so what is raised says only which endpoint, and what.
"""

import asyncio
import io
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import ClientTimeout, DummyCookieJar, TCPConnector
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from llmproxy.common.config import Endpoint
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters.base import Adapter, HttpRequest
from llmproxy.provider_workers.credentials import Credentials

CONNECTIONS_MAX = 4_096  # As many as requests in flight, so that a call never waits for a connection.
KEEPALIVE_S = 30.0
DNS_TTL_S = 30
READ_BUFFER_BYTES = 1 << 16
ANSWER_BYTES_MAX = 32 << 20
ERROR_BYTES_MAX = 1 << 16
STREAM_BYTES_MAX = 256 << 20
LARGE_BODY_BYTES = 1 << 20  # Above it aiohttp wants a file, written in pieces.
STALE_S = (
    0.25  # A pooled connection that the provider was just closing fails this soon; then a fresh one is tried, once.
)
URLS_KEPT_MAX = 256  # Some vendors have the model in the path, and with `*` the model is the caller's choice.
USER_AGENT = "llmproxy"


class Destination:
    """An endpoint as the transport sees it, made once per configuration: parsed URLs and headers are kept here."""

    __slots__ = ("_from", "_headers", "_origin", "_urls", "adapter", "credentials", "endpoint", "name", "timeout")

    def __init__(self, name: str, endpoint: Endpoint, adapter: Adapter, credentials: Credentials) -> None:
        self.name, self.endpoint, self.adapter, self.credentials = name, endpoint, adapter, credentials
        connect_s = endpoint.connect_ms / 1000
        self.timeout = ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s)
        self._origin = URL(endpoint.url or adapter.default_url).origin()
        self._urls: dict[str, URL] = {}
        self._from: tuple[object, ...] = ()
        self._headers: CIMultiDict[str] = CIMultiDict()

    def url(self, text: str) -> URL:
        """Parsed, and on this endpoint's origin: what an adapter builds can never carry the key elsewhere."""
        known = self._urls.get(text)
        if known is not None:
            return known
        try:
            url = URL(text)  # Quotes what must not stand in a request line.
            is_ours = url.origin() == self._origin
        except ValueError:
            is_ours = False
        if not is_ours:
            raise GatewayError(
                "provider_unreachable",
                f"the call for endpoint '{self.name}' would leave its origin; its key stays here. Check endpoints.{self.name}.url",
            )
        if len(self._urls) >= URLS_KEPT_MAX:
            self._urls.clear()
        self._urls[text] = url
        return url

    def headers(self, given: tuple[tuple[str, str], ...], traceparent: str) -> CIMultiDict[str]:
        key = self.credentials.header(self.name, self.endpoint.key, self.adapter.credential)
        if self._from != (given, key):
            self._from = (given, key)
            self._headers = CIMultiDict(given)
            self._headers.update({"accept-encoding": "identity", "accept": "*/*", "user-agent": USER_AGENT})
            if key is not None:
                self._headers[key[0]] = key[1]
        if not traceparent:
            return self._headers
        headers = self._headers.copy()
        headers["traceparent"] = traceparent
        return headers


class Watch:
    """Cancels the task that reads an answer when the answer stays away for too long.

    Re-arming costs an assignment: the one timer looks, when it fires, whether it has become too early.
    """

    __slots__ = ("_deadline", "_due", "_handle", "_loop", "_task", "has_expired")

    def __init__(self, seconds: float, deadline: float) -> None:
        """`deadline` is loop time, and ends the request whatever `extend` says."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._deadline = deadline
        self._due = min(self._loop.time() + seconds, deadline)
        self._handle = self._loop.call_at(self._due, self._look)
        self.has_expired = False

    def extend(self, seconds: float) -> None:
        """From now. Shortening takes effect at once too."""
        self._due = min(self._loop.time() + seconds, self._deadline)
        if self._due < self._handle.when():
            self._handle.cancel()
            self._handle = self._loop.call_at(self._due, self._look)

    @property
    def is_past_deadline(self) -> bool:
        return self._loop.time() >= self._deadline

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Our own cancellation becomes TimeoutError; one that came from outside stays what it is."""
        self._handle.cancel()
        if self.has_expired and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from None

    def _look(self) -> None:
        if self._loop.time() < self._due:
            self._handle = self._loop.call_at(self._due, self._look)
            return
        self.has_expired = True
        self._task.cancel()


class Reply:
    """A provider's answer, of which only the head has been read."""

    __slots__ = ("_content", "_name", "_read", "_response", "headers", "status")

    def __init__(self, name: str, response: aiohttp.ClientResponse) -> None:
        self._name, self._response, self._content = name, response, response.content
        self._read = 0
        self.status: int = response.status
        self.headers: CIMultiDictProxy[str] = response.headers

    async def read(self, limit: int = STREAM_BYTES_MAX) -> bytes:
        """What has arrived, waiting for something; b"" at the end."""
        try:
            data = await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise GatewayError(
                "provider_stream_broken", f"endpoint '{self._name}' broke off its answer ({type(error).__name__})"
            ) from error
        self._read += len(data)
        if self._read > limit:
            raise GatewayError(
                "provider_bad_answer", f"endpoint '{self._name}' sent more than {limit >> 20} MiB; that is the limit"
            )
        return data

    async def read_all(self, limit: int = ANSWER_BYTES_MAX) -> bytes:
        data = await self.read(limit)
        if not data or self._content.at_eof():  # One read is the usual case.
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
        """The connection goes back to the pool if the answer was read to its end, and is closed if not."""
        if self._content.is_eof():
            self._response.release()
        else:
            self._response.close()


class Transport:
    """One session for all endpoints."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=DNS_TTL_S),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BUFFER_BYTES,
        )

    async def call(self, destination: Destination, request: HttpRequest, traceparent: str = "") -> Reply:
        """Sends, and returns when the head of the answer is here. Raises GatewayError."""
        url = destination.url(request.url)
        headers = destination.headers(request.headers, traceparent)
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            try:
                response = await self._send(destination, request, url, headers)
            except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                if loop.time() - started > STALE_S:
                    raise
                response = await self._send(destination, request, url, headers)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _translated(destination.name, error) from error
        refusal = _refusal(destination.name, response)
        if refusal is not None:
            response.close()
            raise refusal
        return Reply(destination.name, response)

    async def close(self) -> None:
        await self._session.close()

    async def _send(
        self, destination: Destination, request: HttpRequest, url: URL, headers: CIMultiDict[str]
    ) -> aiohttp.ClientResponse:
        body = request.body
        return await self._session.request(
            request.method,
            url,
            data=body if len(body) < LARGE_BODY_BYTES else io.BytesIO(body),
            headers=headers,
            allow_redirects=False,
            timeout=destination.timeout,
        )


def _refusal(name: str, response: aiohttp.ClientResponse) -> GatewayError | None:
    """Answers that are not looked into."""
    if 300 <= response.status < 400:
        return GatewayError(
            "provider_bad_answer",
            f"endpoint '{name}' answered with a redirect, which is not followed; set endpoints.{name}.url to the final address",
        )
    if response.headers.get("content-encoding", "identity") != "identity":
        return GatewayError(  # What we did not ask for could unpack to any size.
            "provider_bad_answer", f"endpoint '{name}' compressed its answer although it was asked not to"
        )
    return None


def _translated(name: str, error: Exception) -> GatewayError:
    """Before the head of an answer. The order matters: aiohttp's errors inherit from each other and from OSError."""
    match error:
        case aiohttp.ClientSSLError():
            says = "its TLS certificate or protocol was not accepted"
        case aiohttp.ClientConnectorDNSError():
            says = "its host name does not resolve"
        case aiohttp.ConnectionTimeoutError():
            says = "no connection within connect_ms"
        case aiohttp.ClientConnectorError():
            says = "it refuses connections"
        case aiohttp.ServerDisconnectedError() | ConnectionResetError():
            says = "it closed the connection without an answer"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return GatewayError("provider_bad_answer", f"endpoint '{name}' does not answer in HTTP")
        case _:
            says = type(error).__name__
    return GatewayError("provider_unreachable", f"endpoint '{name}' cannot be reached: {says}")
