"""Redis with a time budget: a slow server is treated like one that is gone, and is left alone for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as Client
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, NoScriptError, RedisError, ResponseError

from llmproxy.common.errors import Unavailable

TIMEOUT_S = 0.05
FAILURES_TO_OPEN = 3
OPEN_S = 1.0
CONNECTIONS_MAX = 16  # Callers beyond them wait, within their budget.
LINES_MAX = 12  # Of them, for scripts; the rest is for everything else.
RETRIES = 1  # For a connection that the server closed meanwhile; whoever waits longer has other plans.

Value = bytes | int | None


class Script:
    """A Lua script, called by its hash and loaded again when the server has forgotten it."""

    def __init__(self, redis: "Redis", text: str) -> None:
        self._redis, self._text, self._sha = redis, text, ""

    async def __call__(self, keys: Sequence[str], arguments: Sequence[str | int | float | bytes]) -> list[Value]:
        """The script's reply, which must be an array. Raises Unavailable within the time budget."""
        reply = await self._redis.guarded(lambda client: self._call(client, keys, arguments))
        assert isinstance(reply, list)
        return reply

    async def _call(
        self, client: Client, keys: Sequence[str], arguments: Sequence[str | int | float | bytes]
    ) -> object:
        if not self._sha:
            self._sha = await client.script_load(self._text)
        command = packed("EVALSHA", self._sha, len(keys), *keys, *arguments)
        try:
            return await self._redis.exchange(command)
        except NoScriptError:
            await client.script_load(self._text)
            return await self._redis.exchange(command)


def packed(*words: str | int | float | bytes) -> bytes:
    """A command as Redis reads it (RESP arrays of bulk strings); redis-py's own packing costs three times as much."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


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
        self._free = asyncio.Semaphore(LINES_MAX)  # Lines are kept, not given back: the pool would never wake a waiter.
        self._lines: list[AbstractConnection] = []  # Connected, and between two script calls.
        self._timeout_s, self._monotonic = timeout_s, monotonic
        self._failures = 0
        self._retry_at = 0.0

    @property
    def available(self) -> bool:
        return self._failures < FAILURES_TO_OPEN

    def script(self, text: str) -> Script:
        return Script(self, text)

    async def ping(self) -> None:
        await self.guarded(lambda client: client.ping())

    async def guarded(self, call: Callable[[Client], Awaitable[object]]) -> object:
        """The reply of `call`. Raises Unavailable within the time budget, or at once while Redis is left alone."""
        if not self.available:
            if self._monotonic() < self._retry_at:
                raise Unavailable("limits_unavailable", "Redis does not answer; check that redis-server runs")
            self._retry_at = self._monotonic() + OPEN_S  # This call finds out; the others need not wait for it.
        task = asyncio.current_task()
        assert task is not None
        cancelled_before = task.cancelling()
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await call(self._client)
        except (RedisError, OSError, TimeoutError) as error:
            if task.cancelling() > cancelled_before:
                raise asyncio.CancelledError from error
            self._failures += 1
            self._retry_at = self._monotonic() + OPEN_S
            raise Unavailable("limits_unavailable", f"Redis does not answer ({type(error).__name__})") from error
        if task.cancelling() > cancelled_before:  # asyncio.wait_for, which redis-py uses, may lose it (Python 3.11).
            raise asyncio.CancelledError
        self._failures = 0
        return reply

    async def exchange(self, command: bytes) -> object:
        """One packed command and its reply, on a connection that is kept: the client's own way costs as much again.

        A kept connection that the server has closed meanwhile is replaced, once, as redis-py does.
        """
        async with self._free:
            return await self._exchange(command)

    async def _exchange(self, command: bytes) -> object:
        while True:
            kept = bool(self._lines)
            line = self._lines.pop() if kept else await self._pool.get_connection()  # type: ignore[no-untyped-call]
            try:
                await line.send_packed_command(command, check_health=False)
                reply = await line.read_response()
            except ResponseError:
                self._lines.append(line)
                raise
            except BaseException as error:  # A reply may still be under way: nobody else must read it.
                await line.disconnect(nowait=True)
                await self._pool.release(line)
                if kept and isinstance(error, ConnectionError):
                    continue
                raise
            self._lines.append(line)
            return cast("object", reply)

    async def close(self) -> None:
        for line in self._lines:
            await line.disconnect(nowait=True)
        await self._client.aclose()
