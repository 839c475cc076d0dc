"""The load generator: raw connections on uvloop, every sample kept, so that percentiles are exact.

Open loop means that requests leave on a constant schedule whether or not answers have come, each on a connection of its
own if need be: a server that stalls is charged with every request that was due meanwhile.
"""

import asyncio
import itertools
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

CLOCK = re.compile(rb"T\[([a-p]{16})\]")
DIGITS = bytes.maketrans(b"abcdefghijklmnop", b"0123456789abcdef")
DONE = b"data: [DONE]"
FAILED = b'"error":'
LATE_NS = 2_000_000  # A timer has a millisecond's grain; what leaves later than this is counted from when it was due.
REQUEST_TIMEOUT_S = 30.0
NONCE_WORDS = [
    "paper",
    "table",
    "music",
    "color",
    "train",
    "story",
    "write",
    "think",
    "build",
    "learn",
    "about",
    "under",
    "after",
    "quite",
    "every",
    "short",
    "clear",
    "draft",
    "river",
    "plans",
    "weeks",
    "house",
    "light",
    "water",
    "green",
    "month",
    "night",
    "point",
    "world",
    "place",
    "small",
    "great",
]
NONCE_LENGTH = 8 * 6 - 1  # Eight of them.
NUMBERS = itertools.count()  # Of all targets and turns: who reads texts may remember what was said before.

WORDS = [
    "the",
    "a",
    "report",
    "plan",
    "team",
    "week",
    "draft",
    "review",
    "short",
    "long",
    "simple",
    "clear",
    "answer",
    "question",
    "customer",
    "garden",
    "river",
    "mountain",
    "paper",
    "table",
    "window",
    "music",
    "engine",
    "design",
    "color",
    "season",
    "travel",
    "kitchen",
    "recipe",
    "history",
    "science",
    "story",
    "chapter",
    "lesson",
    "teacher",
    "student",
    "market",
    "farmer",
    "bridge",
    "station",
    "train",
    "morning",
    "evening",
    "winter",
    "summer",
    "compare",
    "explain",
    "describe",
    "improve",
    "write",
    "read",
    "think",
    "build",
    "measure",
    "learn",
    "help",
    "with",
    "from",
    "about",
    "between",
    "under",
    "over",
    "after",
    "before",
    "while",
    "because",
    "however",
]
PERSONAL = " My address is maria.gonzalez@example.com and my phone is +1 415 555 0132."


# -- bodies


def body(
    size: int, *, model: str = "mock", stream: bool = False, personal: bool = False, is_new: bool = False
) -> bytes:
    """A chat of about `size` bytes, with a place for the words that make each request its own: in the last message, as where
    a conversation goes on, or (`is_new`) in every one."""
    chance = random.Random(7)
    place = "@" * NONCE_LENGTH
    opening = f"{place} " if is_new else ""
    system = f"{opening}You are a helpful assistant. Answer in plain words and keep it short."
    messages: list[dict[str, str]] = [{"role": "system", "content": system}]
    request: dict[str, object] = {
        "model": model,
        "messages": messages,
        "temperature": 0.7,
        "max_tokens": 400,
        "stream": stream,
    }
    if stream:
        request["stream_options"] = {"include_usage": True}
    closing = f"Please {place}" + " and explain the second plan." + (PERSONAL if personal else "")
    turns = 4 if size > 4_000 else 2
    room = size - len(json.dumps(request)) - len(closing) - 40 * (turns + 1)
    for turn in range(turns):
        text = opening
        while len(text) < room // turns:
            text += " ".join(chance.choices(WORDS, k=chance.randint(7, 14))).capitalize() + ". "
        messages.append({"role": "assistant" if turn % 2 else "user", "content": text[: room // turns].strip()})
    messages.append({"role": "user", "content": closing})
    return json.dumps(request).encode()


def nonce(number: int) -> str:
    """Ordinary words, others for each number below 2**40; neighbours have hardly one in common."""
    spread = number * 2_654_435_761 & (1 << 40) - 1
    return " ".join(NONCE_WORDS[spread >> 5 * place & 31] for place in range(8))


@dataclass(frozen=True)
class Target:
    """Where requests go."""

    url: str
    key: str

    def requests(self, template: bytes) -> Iterator[bytes]:
        """The same request again and again, each with words in it that no other request of this process has."""
        url = urlsplit(self.url)
        head = (
            f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(template)}\r\n\r\n"
        ).encode()
        parts = template.split(b"@" * NONCE_LENGTH)
        for number in NUMBERS:
            yield head + nonce(number).encode().join(parts)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port


# -- connections


@dataclass
class Reply:
    """One answer and when its parts arrived, on CLOCK_MONOTONIC."""

    status: int = 0
    ended_ns: int = 0
    first_chunk_ns: int = 0  # Of the first content chunk of a stream.
    delays_ns: list[int] = field(default_factory=list)  # One way, of each content chunk.
    arrivals_ns: list[int] = field(default_factory=list)
    complete: bool = False  # A stream: it ended with [DONE] and held no error.
    problem: str = ""


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self._parser = httptools.HttpResponseParser(self)
        self._reply = Reply()
        self._waiting: asyncio.Future[Reply] | None = None
        self._rest = b""
        self._streaming = self._keep_alive = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        self._finish("the connection was closed")

    def data_received(self, data: bytes) -> None:
        self._now_ns = time.monotonic_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._finish(type(error).__name__)
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._streaming = value.startswith(b"text/event-stream")

    def on_body(self, data: bytes) -> None:
        if not self._streaming:
            return
        text = self._rest + data
        cut = text.rfind(b"\n") + 1  # A line counts when it is whole: a client cannot use it before.
        text, self._rest = text[:cut], text[cut:]
        reply = self._reply
        for clock in CLOCK.finditer(text):
            reply.first_chunk_ns = reply.first_chunk_ns or self._now_ns
            reply.delays_ns.append(self._now_ns - int(clock[1].translate(DIGITS), 16))
            reply.arrivals_ns.append(self._now_ns)
        if FAILED in text:
            reply.problem = "an error in the stream"
        if DONE in text:
            reply.complete = not reply.problem

    def on_message_complete(self) -> None:
        self._reply.status = self._parser.get_status_code()
        self._keep_alive = self._parser.should_keep_alive()
        self._finish("")
        self._parser = httptools.HttpResponseParser(self)
        if not self._keep_alive:
            self.closed = True
            self._transport.close()

    async def ask(self, request: bytes, timeout_s: float = REQUEST_TIMEOUT_S) -> Reply:
        self._reply, self._rest, self._streaming = Reply(), b"", False
        self._waiting = asyncio.get_running_loop().create_future()
        timer = asyncio.get_running_loop().call_later(timeout_s, self._time_out)
        self._transport.write(request)
        try:
            return await self._waiting
        finally:
            timer.cancel()

    def _time_out(self) -> None:
        self._finish("no answer in time")
        self._transport.abort()

    def _finish(self, problem: str) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._reply.ended_ns = time.monotonic_ns()
            self._reply.problem = self._reply.problem or problem
            self._waiting.set_result(self._reply)

    def close(self) -> None:
        self._transport.close()


async def connect(target: Target) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, *target.address)
    return connection


def is_good(reply: Reply) -> bool:
    return reply.status == 200 and not reply.problem


# -- loads


@dataclass(frozen=True)
class Load:
    """What was sent and how it went. Durations in milliseconds, sorted."""

    seconds: float
    good: int
    failed: int
    problems: list[str]  # The first few, in words.
    latency_ms: list[float]


def summary(seconds: float, samples: list[tuple[int, Reply]]) -> Load:
    bad = [reply for _, reply in samples if not is_good(reply)]
    return Load(
        seconds=seconds,
        good=len(samples) - len(bad),
        failed=len(bad),
        problems=sorted({reply.problem or f"status {reply.status}" for reply in bad})[:5],
        latency_ms=sorted((reply.ended_ns - began) / 1e6 for began, reply in samples if is_good(reply)),
    )


async def closed_loop(target: Target, template: bytes, connections: int, seconds: float) -> Load:
    """Each connection sends its next request when it has its answer."""
    requests = target.requests(template)
    samples: list[tuple[int, Reply]] = []
    opened = [await connect(target) for _ in range(connections)]
    began = time.monotonic()

    async def work(connection: Connection) -> None:
        while time.monotonic() - began < seconds and not connection.closed:
            sent_ns = time.monotonic_ns()
            samples.append((sent_ns, await connection.ask(next(requests))))

    await asyncio.gather(*(work(connection) for connection in opened))
    taken = time.monotonic() - began
    for connection in opened:
        connection.close()
    return summary(taken, samples)


async def open_loop(target: Target, template: bytes, rate: float, seconds: float) -> Load:
    """One request every 1/rate seconds, whatever comes back."""
    requests = target.requests(template)
    samples: list[tuple[int, Reply]] = []
    idle = [await connect(target) for _ in range(8)]
    began_ns = time.monotonic_ns()

    async def one(due_ns: int) -> None:
        connection = idle.pop() if idle else await connect(target)
        if connection.closed:
            connection = await connect(target)
        sent_ns = time.monotonic_ns()
        reply = await connection.ask(next(requests))
        samples.append((due_ns if sent_ns - due_ns > LATE_NS else sent_ns, reply))
        if not connection.closed:
            idle.append(connection)

    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due_ns = began_ns + int(number * 1e9 / rate)
            await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
            group.create_task(one(due_ns))
    for connection in idle:
        connection.close()
    return summary((time.monotonic_ns() - began_ns) / 1e9, samples)


@dataclass(frozen=True)
class Streams:
    """Many streams at once. Durations in milliseconds, sorted."""

    seconds: float
    good: int
    failed: int
    stalled: int  # Complete, but with a pause longer than allowed between two chunks.
    problems: list[str]
    chunks: int
    first_chunk_ms: list[float]  # From the request to the first content chunk.
    first_delay_ms: list[float]  # From the provider's first content chunk to ours.
    delay_ms: list[float]  # One way, of every content chunk.
    gap_ms: list[float]  # Longest pause between two chunks, of each stream.


async def streams(
    target: Target,
    template: bytes,
    count: int,
    *,
    chunks: int,
    ramp_s: float,
    timeout_s: float,
    stall_ms: float = float("inf"),
    all_sent: Callable[[], None] = lambda: None,
) -> Streams:
    """`count` streams, begun over `ramp_s`, each on a connection of its own, until all have ended."""
    requests = target.requests(template)
    opened = [await connect(target) for _ in range(count)]
    began = time.monotonic()

    async def one(number: int) -> tuple[int, Reply]:
        await asyncio.sleep(ramp_s * number / count)
        sent_ns = time.monotonic_ns()
        if number == count - 1:
            all_sent()
        return sent_ns, await opened[number].ask(next(requests), timeout_s)

    samples = await asyncio.gather(*(one(number) for number in range(count)))
    taken = time.monotonic() - began
    for connection in opened:
        connection.close()
    whole = [
        (sent_ns, one) for sent_ns, one in samples if is_good(one) and one.complete and len(one.delays_ns) == chunks
    ]
    gaps = [max(gaps_ms(reply)) for _, reply in whole]
    wrong = {
        reply.problem or (f"status {reply.status}" if reply.status != 200 else "incomplete")
        for _, reply in samples
        if not (is_good(reply) and reply.complete and len(reply.delays_ns) == chunks)
    }
    return Streams(
        seconds=taken,
        good=len(whole),
        failed=count - len(whole),
        stalled=sum(gap > stall_ms for gap in gaps),
        problems=sorted(wrong)[:5],
        chunks=sum(len(reply.delays_ns) for _, reply in samples),
        first_chunk_ms=sorted((reply.first_chunk_ns - sent_ns) / 1e6 for sent_ns, reply in whole),
        first_delay_ms=sorted(reply.delays_ns[0] / 1e6 for _, reply in whole),
        delay_ms=sorted(delay / 1e6 for _, reply in whole for delay in reply.delays_ns),
        gap_ms=sorted(gaps),
    )


def gaps_ms(reply: Reply) -> list[float]:
    pairs = itertools.pairwise(reply.arrivals_ns)
    return [(later - earlier) / 1e6 for earlier, later in pairs] or [0.0]


def percentile(ordered: list[float], share: float) -> float:
    """The smallest sample that at least `share` of all samples do not exceed; NaN of none."""
    if not ordered:
        return float("nan")
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
