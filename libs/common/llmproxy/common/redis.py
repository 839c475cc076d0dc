"""Redis with a time budget: a slow server is treated like one that is gone, and is left alone for a moment."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import hiredis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as Client
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, NoScriptError, RedisError, ResponseError

from llmproxy.common.errors import Unavailable

TIMEOUT_S = 0.05  # Until a configuration says otherwise.
FAILURES_TO_OPEN = 3
OPEN_S = 1.0
CONNECTIONS_MAX = 4  # For everything but scripts, which share a line. Callers beyond them wait, within their budget.
WAITING_MAX = 4_096  # Calls of scripts under way.
RETRIES = 1  # For a connection that the server closed meanwhile; whoever waits longer has other plans.

Value = bytes | int | None
NOT_YET = object()


class Script:
    """A Lua script, called by its hash and loaded again when the server has forgotten it."""

    def __init__(self, redis: "Redis", text: str) -> None:
        self._redis, self.text, self.sha = redis, text, ""

    async def __call__(self, keys: Sequence[str], arguments: Sequence[str | int | float]) -> list[Value]:
        """The script's reply, which must be an array. Raises Unavailable within the time budget."""
        reply = await self._redis.evaluate(self, keys, arguments)
        assert isinstance(reply, list)
        return reply


def packed(*words: str | int | float) -> bytes:
    """A command as Redis reads it (RESP arrays of bulk strings); redis-py's own packing costs five times as much."""
    text = "".join([f"${len(word)}\r\n{word}\r\n" for word in map(str, words)])
    if text.isascii():
        return f"*{len(words)}\r\n{text}".encode("ascii")
    bulks = [b"$%d\r\n%b\r\n" % (len(data), data) for data in (str(word).encode() for word in words)]
    return b"*%d\r\n%b" % (len(words), b"".join(bulks))


def _said(text: str) -> ResponseError:
    return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)


class Line(asyncio.Protocol):
    """A connection that redis-py has made and greeted, and that is ours from then on: commands leave as they come, replies
    arrive in their order. It ends with the first reply that is late, for nobody can tell whose the next one would be."""

    def __init__(self, transport: asyncio.WriteTransport, timeout_s: float) -> None:
        self._transport, self.timeout_s = transport, timeout_s
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=_said, notEnoughData=NOT_YET)
        self._waiting: deque[tuple[asyncio.Future[object], float]] = deque()  # Who, and until when in loop time.
        self._timer: asyncio.TimerHandle | None = None  # Looks after the oldest of them.
        self.is_open = True
        transport.set_protocol(self)

    def wait(self, timeout_s: float) -> None:
        """How long the reply to what is asked from now on may take."""
        self.timeout_s = timeout_s
        if self._timer is not None:  # Set for what was asked before, and perhaps for much later.
            self._timer.cancel()
            self._timer = self._loop.call_later(timeout_s, self._look)

    def ask(self, command: bytes) -> "asyncio.Future[object]":
        """The reply to a packed command. It raises RedisError or TimeoutError; whoever waits may leave."""
        replied: asyncio.Future[object] = self._loop.create_future()
        if not self.is_open or len(self._waiting) >= WAITING_MAX:
            replied.set_exception(ConnectionError("the line to Redis is closed, or full"))
            return replied
        due = self._loop.time() + self.timeout_s
        self._waiting.append((replied, due))
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._look)
        self._transport.write(command)
        return replied

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not NOT_YET:
                if isinstance(reply, hiredis.PushNotification):
                    continue  # Redis tells something that nobody has asked for.
                replied, _ = self._waiting.popleft()
                if replied.done():
                    continue  # Its caller has left.
                if isinstance(reply, ResponseError):
                    replied.set_exception(reply)
                else:
                    replied.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.end(ConnectionError("Redis does not speak its protocol"))

    def connection_lost(self, error: Exception | None) -> None:
        self.end(ConnectionError("Redis has closed the connection"))

    def end(self, why: Exception) -> None:
        self.is_open = False
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._waiting = self._waiting, deque()
        for replied, _ in waiting:
            if not replied.done():
                replied.set_exception(why)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._waiting and self._waiting[0][1] > now:
            self._timer = self._loop.call_at(self._waiting[0][1], self._look)
        elif self._waiting:
            while self._waiting and self._waiting[0][1] <= now:
                replied, _ = self._waiting.popleft()
                if not replied.done():
                    replied.set_exception(TimeoutError())
            self.end(ConnectionError("a reply of Redis was late"))  # The others may ask again, within their own time.


class Redis:
    """One client of one service. After several failures in a row it refuses at once, and tries again a second later."""

    def __init__(
        self, url: str, *, timeout_s: float = TIMEOUT_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=None,  # `guarded` bounds the whole call.
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), RETRIES),
            decode_responses=False,
        )
        self._pool = pool
        self._client: Client = Client.from_pool(pool)
        self._line: Line | None = None  # For scripts,
        self._greeted: AbstractConnection | None = None  # the connection whose it is,
        self._connecting = asyncio.Lock()  # and who is making it.
        self._timeout_s, self._monotonic = timeout_s, monotonic
        self._failures = 0
        self._retry_at = 0.0

    def wait(self, timeout_ms: int) -> None:
        """How long a call may take from now on (`limits.redis_timeout_ms`)."""
        self._timeout_s = timeout_ms / 1000
        self._pool.connection_kwargs["socket_connect_timeout"] = self._timeout_s
        if self._line is not None:
            self._line.wait(self._timeout_s)

    @property
    def available(self) -> bool:
        return self._failures < FAILURES_TO_OPEN

    def script(self, text: str) -> Script:
        return Script(self, text)

    async def ping(self) -> None:
        await self.guarded(lambda client: client.ping())

    async def guarded(self, call: Callable[[Client], Awaitable[object]], until: float | None = None) -> object:
        """The reply of `call`. Raises Unavailable within the time budget, or at once while Redis is left alone.

        `until` is loop time, for a call that has begun before.
        """
        if not self.available:
            if self._monotonic() < self._retry_at:
                raise Unavailable("limits_unavailable", "Redis does not answer; check that redis-server runs")
            self._retry_at = self._monotonic() + OPEN_S  # This call finds out; the others need not wait for it.
        task = asyncio.current_task()
        assert task is not None
        cancelled_before = task.cancelling()
        try:
            async with asyncio.timeout_at(until or asyncio.get_running_loop().time() + self._timeout_s):
                reply = await call(self._client)
        except (RedisError, OSError, TimeoutError) as error:
            if task.cancelling() > cancelled_before:
                raise asyncio.CancelledError from error
            raise self._failed(error) from error
        if task.cancelling() > cancelled_before:  # asyncio.wait_for, which redis-py uses, may lose it (Python 3.11).
            raise asyncio.CancelledError
        self._failures = 0
        return reply

    def _failed(self, error: Exception) -> Unavailable:
        self._failures += 1
        self._retry_at = self._monotonic() + OPEN_S
        return Unavailable("limits_unavailable", f"Redis does not answer ({type(error).__name__})")

    async def evaluate(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int | float]) -> object:
        """A script's reply. Raises Unavailable within the time budget.

        The usual case goes without redis-py, which costs more than all the rest of a call. A connection that the server
        has closed meanwhile is replaced, once, as redis-py does, and a script that it has forgotten is loaded again.
        """
        line, until = self._line, asyncio.get_running_loop().time() + self._timeout_s
        if line is not None and line.is_open and script.sha and self.available:
            try:
                reply = await line.ask(packed("EVALSHA", script.sha, len(keys), *keys, *arguments))
            except (ConnectionError, NoScriptError):
                pass
            except (RedisError, TimeoutError) as error:
                raise self._failed(error) from error
            else:
                self._failures = 0
                return reply
        return await self.guarded(lambda client: self._load_and_ask(client, script, keys, arguments), until)

    async def _load_and_ask(
        self, client: Client, script: Script, keys: Sequence[str], arguments: Sequence[str | int | float]
    ) -> object:
        script.sha = await client.script_load(script.text)
        line = await self._connected()
        return await line.ask(packed("EVALSHA", script.sha, len(keys), *keys, *arguments))

    async def _connected(self) -> Line:
        async with self._connecting:
            if self._line is None or not self._line.is_open:
                await self._disconnect()
                self._greeted = self._pool.make_connection()  # type: ignore[no-untyped-call]
                await self._greeted.connect()
                writer = self._greeted._writer
                assert writer is not None
                self._line = Line(writer.transport, self._timeout_s)
            return self._line

    async def _disconnect(self) -> None:
        if self._greeted is not None:
            await self._greeted.disconnect(nowait=True)

    async def close(self) -> None:
        if self._line is not None:
            self._line.end(ConnectionError("closed"))
        await self._disconnect()
        await self._client.aclose()
