"""What leaves: HTTP/1.1 answers as bytes, written to the transport in one piece, and streams as they come.

The head is text that we compose ourselves: an answer has twenty headers, nearly all of them constants, and the general
machinery would cost as much as the rest of the edge. Every value that is not ours goes through `safe`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from itertools import islice
from typing import Protocol
from urllib.parse import quote

from msgspec import Struct

from llmproxy.common.dialects.framing import JSON, Framing
from llmproxy.common.dialects.rendering import Rendering
from llmproxy.common.envelope import Dialect
from llmproxy.common.errors import kind_of, status_of
from llmproxy.common.frames import Data, Failure, Head
from llmproxy.edge.quotas import Quota

NOT_STORED = "no-store"
CONSTANT = (
    "server: llmproxy\r\n"
    "x-content-type-options: nosniff\r\n"
    "content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"
    "referrer-policy: no-referrer\r\n"
)
REASONS = {status.value: status.phrase for status in HTTPStatus}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
VALUE_CHARACTERS_MAX = 512
OWN = "x-llmproxy-"
UPSTREAM_HEADERS_MAX = 32
UPSTREAM_NAMES_KEPT_MAX = 256  # A provider sends the same ones with every answer.
BEGINNINGS_KEPT_MAX = 64  # Of answers.
ANSWERERS_KEPT_MAX = 256  # Who answered, as headers: few, unless an endpoint takes every model name.
RETRY_AFTER_MS = 1_000  # Said with every error that is worth a retry and names no time itself.
DRAIN_S = 30.0  # A client that takes longer to read the last part of its answer is cut off.


class Sent:
    """Tells the HTTP server that the answer is on its way already."""

    __slots__ = ("keep_alive",)

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, _: object) -> None:
        return

    async def write_eof(self) -> None:
        return


KEEPS, CLOSES = Sent(True), Sent(False)


class Connection(Protocol):
    """What an answer is written to: aiohttp's protocol object."""

    transport: asyncio.Transport | None


def safe(value: str) -> str:
    """A header value that cannot be structure: printable ASCII, bounded; anything else is percent-encoded."""
    value = value[:VALUE_CHARACTERS_MAX]
    return value if value.isascii() and value.isprintable() else quote(value, safe=" :/")


def header(name: str, value: str) -> str:
    return f"{name}: {safe(value)}\r\n"


def dollars(nano: int) -> str:
    digits = str(nano).zfill(10)
    return f"{digits[:-9]}.{digits[-9:]}"


def duration(milliseconds: int) -> str:
    """As OpenAI writes resets: `20ms`, `1s`, `6m0s`."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    seconds = -(-milliseconds // 1000)
    return f"{seconds}s" if seconds < 60 else f"{seconds // 60}m{seconds % 60}s"


def quota_headers(quota: Quota, dialect: Dialect, now_ms: int) -> str:
    """The limit of the dimension that decides, as the dialect's clients read it; nothing when no rate applies."""
    if quota.kind != "rate":
        return ""
    if dialect == "anthropic":
        reset = datetime.fromtimestamp((now_ms + quota.reset_ms) // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (
            f"anthropic-ratelimit-requests-limit: {quota.limit}\r\n"
            f"anthropic-ratelimit-requests-remaining: {quota.remaining}\r\n"
            f"anthropic-ratelimit-requests-reset: {reset}\r\n"
        )
    return (
        f"x-ratelimit-limit-requests: {quota.limit}\r\n"
        f"x-ratelimit-remaining-requests: {quota.remaining}\r\n"
        f"x-ratelimit-reset-requests: {duration(quota.reset_ms)}\r\n"
    )


def own_headers(dialect: Dialect, request_id: str, processing_ms: int) -> str:
    """What the clients of a dialect look for in every answer."""
    match dialect:
        case "openai":
            return f"openai-version: 2020-10-01\r\nopenai-processing-ms: {processing_ms}\r\n"
        case "anthropic":
            return f"request-id: {request_id}\r\n"
        case "google":
            return f"server-timing: llmproxy;dur={processing_ms}\r\n"


def provider_headers(head: Head, publications: int, found: Mapping[str, int]) -> str:
    """Who answered, and what of the provider's own headers is worth knowing. `found` is what the edge itself found."""
    findings = {**head.findings, **found} if found else head.findings
    text = _who(head.provider, head.endpoint, head.model, publications, head.retries)
    if findings:
        text += findings_header(findings)
    if head.dropped:
        text += header("x-llmproxy-dropped-params", ",".join(head.dropped))
    for name, value in islice(head.headers.items(), UPSTREAM_HEADERS_MAX):
        shown_as = _upstream(name)
        if shown_as:
            text += f"{shown_as}: {safe(value)}\r\n"
    return text


@lru_cache(UPSTREAM_NAMES_KEPT_MAX)
def _upstream(name: str) -> str:
    """As what a header of the provider's is shown; "" of what is no name."""
    if not (name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
        return ""
    # The worker's own are of an answer that it made itself.
    return name if name.startswith(OWN) else f"x-llmproxy-upstream-{name.lower()}"


@lru_cache(ANSWERERS_KEPT_MAX)
def _who(provider: str, endpoint: str, model: str, publications: int, retries: int) -> str:
    return (
        header("x-llmproxy-provider", provider)
        + header("x-llmproxy-endpoint", endpoint)
        + header("x-llmproxy-model", model)
        + f"x-llmproxy-attempts: {publications}\r\nx-llmproxy-retries: {retries}\r\n"
    )


def findings_header(findings: Mapping[str, int]) -> str:
    if not findings:
        return ""
    return header("x-llmproxy-findings", ",".join(f"{kind}={count}" for kind, count in sorted(findings.items())))


def error_headers(failure: Failure) -> str:
    """When to come again, and whether; SDKs obey `x-should-retry` before anything else."""
    retryable = kind_of(failure).retryable
    text = f"x-should-retry: {'true' if retryable else 'false'}\r\n"
    wait_ms = failure.retry_after_ms or (RETRY_AFTER_MS if retryable else 0)
    if wait_ms:
        text += f"retry-after: {-(-wait_ms // 1000)}\r\nretry-after-ms: {wait_ms}\r\n"
    if status_of(failure) == 401:
        text += "www-authenticate: Bearer\r\n"
    return text


class Reply(Struct, eq=False):
    """One answer on one connection. `close` says that the connection ends with it; `ending`, that every one does."""

    connection: Connection
    date: str
    request_id: str
    http10: bool
    head_only: bool
    close: bool
    ending: Callable[[], bool]
    started: bool = False

    def whole(self, status: int, body: bytes, headers: str = "", content_type: str = JSON) -> Sent:
        """Head and body in one write."""
        closes = self.close or self.ending()
        begin = _begin(status, content_type, NOT_STORED, closes, self.date)
        text = f"{begin}x-request-id: {self.request_id}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
        head = text.encode("ascii")
        self._write(head if self.head_only else head + body)
        return CLOSES if closes else KEEPS

    def error(self, failure: Failure, rendering: Rendering, headers: str = "") -> Sent:
        body = rendering.error(failure, self.request_id)
        return self.whole(rendering.status(failure), body, error_headers(failure) + headers)

    def invite(self) -> None:
        """Tells a client that waits for it to send its body."""
        transport = self.connection.transport
        if transport is not None:
            transport.write(CONTINUE)

    def begin_stream(self, content_type: str, headers: str) -> None:
        """From here on the status is 200, whatever happens."""
        if self.http10:
            self.close = True
        framing = "" if self.http10 else "transfer-encoding: chunked\r\n"
        begin = _begin(200, content_type, "no-cache", self.close or self.ending(), self.date)
        text = f"{begin}x-request-id: {self.request_id}\r\nx-accel-buffering: no\r\n{framing}{headers}\r\n"
        self._write(text.encode("ascii"))

    def stream(self, events: bytes) -> None:
        self._write(self._chunk(events))

    def end_stream(self, events: bytes, *, close: bool = False) -> Sent:
        """The last events and the end of the body in one write."""
        self.close = self.close or close
        self._write(self._chunk(events) + (b"" if self.http10 else LAST_CHUNK))
        return CLOSES if self.close or self.ending() else KEEPS

    @property
    def unsent_bytes(self) -> int:
        transport = self.connection.transport
        return transport.get_write_buffer_size() if transport is not None else 0

    def abort_unless_read(self) -> None:
        """Cuts the connection off if its client has not read the answer by then; costs nothing when it has."""
        transport = self.connection.transport
        if transport is None or not transport.get_write_buffer_size():
            return
        loop = asyncio.get_running_loop()

        def look(unsent_before: int) -> None:
            unsent = transport.get_write_buffer_size()
            if unsent and (transport.is_closing() or unsent >= unsent_before):
                transport.abort()
            elif unsent:
                loop.call_later(DRAIN_S, look, unsent)

        loop.call_later(DRAIN_S, look, transport.get_write_buffer_size())

    def _chunk(self, events: bytes) -> bytes:
        if self.http10 or not events:
            return events
        return b"%x\r\n%b\r\n" % (len(events), events)

    def _write(self, data: bytes) -> None:
        transport = self.connection.transport
        self.started = True
        if transport is None:
            raise ConnectionResetError("the client has left")
        transport.write(data)


@lru_cache(BEGINNINGS_KEPT_MAX)
def _begin(status: int, content_type: str, cache: str, closes: bool, date: str) -> str:
    """What the answers of a second have in common."""
    return (
        f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\n{CONSTANT}date: {date}\r\n"
        f"content-type: {content_type}\r\ncache-control: {cache}\r\n"
        f"connection: {'close' if closes else 'keep-alive'}\r\n"
    )


class StreamSink:
    """A stream's events, written as they come from the bus."""

    __slots__ = ("_framing", "_headers", "_reply", "_sent")

    def __init__(self, reply: Reply, framing: Framing, headers: Callable[[Head, int], str]) -> None:
        self._reply, self._framing, self._headers = reply, framing, headers
        self._sent = 0

    def begin(self, head: Head, publications: int) -> None:
        try:
            self._reply.begin_stream(self._framing.content_type, self._headers(head, publications))
        except ConnectionResetError:
            return  # The handler is about to hear of it.

    def send(self, data: Sequence[Data]) -> None:
        sent = self._sent
        self._sent = sent + len(data)
        try:
            self._reply.stream(self._framing.events(data, sent))
        except ConnectionResetError:
            return

    def ping(self) -> None:
        try:
            self._reply.stream(self._framing.ping)
        except ConnectionResetError:
            return

    def end(self) -> Sent:
        """The last word, which says that the answer is whole."""
        return self._reply.end_stream(self._framing.done(self._sent))

    def fail(self, failure: Failure) -> Sent:
        """The last word, which says that it is not. The body is whole HTTP all the same, and its head has promised to keep
        the connection: who has pooled it would lose the next request. Only who did not read this one is left."""
        event = self._framing.error_event(failure, self._reply.request_id, self._sent)
        return self._reply.end_stream(event, close=failure.code == "slow_consumer")

    @property
    def unsent_bytes(self) -> int:
        return self._reply.unsent_bytes


class HoldingSink(StreamSink):
    """Of an API where one of the events says that the answer is whole: it waits for `end`."""

    __slots__ = ("_completes", "_held")

    def __init__(
        self, reply: Reply, framing: Framing, headers: Callable[[Head, int], str], completes: Callable[[bytes], bool]
    ) -> None:
        super().__init__(reply, framing, headers)
        self._completes = completes
        self._held: list[Data] = []

    def send(self, data: Sequence[Data]) -> None:
        ready: list[Data] = []
        for one in data:
            if not self._held:
                (self._held if self._completes(bytes(one.json)) else ready).append(one)
                continue
            self._held.append(one)
            if not self._framing.is_final:  # It was not the last: what came now may be.
                ready.append(self._held.pop(0))
        if ready:
            super().send(ready)

    def end(self) -> Sent:
        sent = self._sent + len(self._held)
        last = self._framing.events(self._held, self._sent) + self._framing.done(sent)
        return self._reply.end_stream(last)


def stream_sink(reply: Reply, framing: Framing, headers: Callable[[Head, int], str]) -> StreamSink:
    completes = framing.completes
    if completes is None:
        return StreamSink(reply, framing, headers)
    return HoldingSink(reply, framing, headers, completes)


class Dates:
    """The `date` header, made anew when the second has changed."""

    def __init__(self) -> None:
        self.text, self._second = "", -1

    def at(self, now_s: float) -> str:
        second = int(now_s)
        if second != self._second:
            self.text, self._second = formatdate(second, usegmt=True), second
        return self.text
