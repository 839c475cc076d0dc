"""A provider that takes its time, and clients that say of each request what became of it."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from patience import PATIENCE_S

REQUEST = b'{"model":"slow","messages":[{"role":"user","content":"mail ann@example.org about it"}]}'


class SlowProvider:
    """Speaks OpenAI's format: answers after `delay_s`, or streams `chunks` that many seconds apart."""

    def __init__(self) -> None:
        self.status = 200  # Anything else is answered as an error.
        self.headers: dict[str, str] = {}
        self.delay_s = 0.3
        self.chunks = 20
        self.interval_s = 0.05
        self.holds = False  # Nobody is answered as long as it is set.
        self.asked = 0
        self.open = 0
        self.aborted = 0
        self.bodies: list[bytes] = []

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.bodies.append(body)
        self.asked += 1
        self.open += 1
        try:
            if self.status != 200:
                error = {"error": {"message": "no", "type": "server_error", "param": None, "code": None}}
                return web.json_response(error, status=self.status, headers=self.headers)
            if json.loads(body).get("stream"):
                return await self._stream(request)
            await asyncio.sleep(self.delay_s)
            while self.holds:
                await asyncio.sleep(0.01)
            return web.json_response(completion("all is well"))
        except (asyncio.CancelledError, ConnectionError):
            self.aborted += 1
            raise
        finally:
            self.open -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for number in range(self.chunks):
            await answer.write(event({"content": f"word{number} "}))
            await asyncio.sleep(self.interval_s)
        await answer.write(event({}, "stop") + b"data: [DONE]\n\n")
        return answer


def completion(text: str) -> dict[str, object]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "slow",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    }


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "slow",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


@asynccontextmanager
async def serving(provider: SlowProvider, port: int) -> AsyncIterator[SlowProvider]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", provider.chat)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    try:
        yield provider
    finally:
        await runner.cleanup()


@dataclass
class Result:
    status: int  # 0: the connection broke.
    request_id: str
    body: bytes
    local_port: int

    @property
    def ok(self) -> bool:
        return self.status == 200


class Connection:
    """One client connection, kept alive between requests as long as the gateway keeps it."""

    def __init__(self, port: int, key: str) -> None:
        self._port, self._key = port, key
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, body: bytes = REQUEST) -> Result:
        async with asyncio.timeout(2 * PATIENCE_S):
            if self._reader is None or self._writer is None:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            local_port = int(self._writer.get_extra_info("sockname")[1])
            try:
                return await self._exchange(self._reader, self._writer, body, local_port)
            except (OSError, asyncio.IncompleteReadError):
                self.close()
                return Result(0, "", b"", local_port)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes, local_port: int
    ) -> Result:
        self._send(writer, body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        status = int(head[0].split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        answer = await self._body(reader, headers)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Result(status, headers.get("x-request-id", ""), answer, local_port)

    def _send(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + self._key.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(headers.get("content-length", "0")))
        parts: list[bytes] = []
        while size := int(await reader.readline(), 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readexactly(2)
        return b"".join(parts)

    async def begin(self, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Sends a request and leaves its answer unread, for clients that are slow or go away."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1024)
        self._reader, self._writer = reader, writer
        self._send(writer, body)
        return reader, writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


class Background:
    """A provider served from a thread of its own, for tests that are not asynchronous."""

    def __init__(self, provider: SlowProvider, port: int) -> None:
        self._provider, self._port = provider, port
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> SlowProvider:
        self._thread.start()
        assert self._up.wait(PATIENCE_S)
        return self._provider

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        async def main() -> None:
            async with serving(self._provider, self._port):
                self._up.set()
                await self._stop.wait()

        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(main())
        self._loop.close()
