"""Runs a fake vendor: checks the credential, lets the vendor judge the request, and answers as its behaviour says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from upstreams.script import Behaviour, Recorded, Refused, Script, Vendor, write

BODY_BYTES_MAX = 64 << 20


class Upstream:
    """One fake vendor server. `requests` is what it received; `disconnects` how many callers left before the end."""

    def __init__(self, vendor: Vendor, behaviour: Behaviour | None = None) -> None:
        self.vendor = vendor
        self.behaviour = behaviour or Behaviour()
        self.requests: list[Recorded] = []
        self.in_flight = 0
        self.disconnects = 0
        self.disconnected = asyncio.Event()
        self.received = asyncio.Event()  # A request has arrived.
        self.app = web.Application(client_max_size=BODY_BYTES_MAX)
        self.app.router.add_route("*", "/{path:.*}", self._handle)

    @property
    def key(self) -> str:
        return self.vendor.key if self.behaviour.key is None else self.behaviour.key

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        recorded = Recorded(
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
        )
        self.requests.append(recorded)
        self.received.set()
        self.in_flight += 1
        try:
            return await self._answer(request, recorded)
        except (asyncio.CancelledError, ConnectionError):
            self.disconnects += 1
            self.disconnected.set()
            raise
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request, recorded: Recorded) -> web.StreamResponse:
        behaviour, vendor = self.behaviour, self.vendor
        if behaviour.first_byte_s:
            await asyncio.sleep(behaviour.first_byte_s)
        if not vendor.route(recorded.method, recorded.path):
            return self._error(404, f"no route {recorded.method} {recorded.path}")
        if self.key and vendor.credential(recorded.headers) != self.key:
            return self._error(401, "the credential is wrong")
        if behaviour.status and behaviour.fail_times != 0:
            if behaviour.fail_times > 0:
                behaviour.fail_times -= 1
            return self._error(behaviour.status, behaviour.message)
        try:
            asked = vendor.ask(recorded, behaviour)
        except Refused as refused:
            return self._error(refused.status, refused.message, refused.param)
        except (ValueError, RecursionError):
            return self._error(400, "the body is not JSON")
        script = write(asked, behaviour)
        if not asked.stream:
            return self._whole(vendor.answer(script))
        events = vendor.events(script, asked)
        return await self._stream(request, events, script)

    def _whole(self, answer: dict[str, Any]) -> web.Response:
        body = json.dumps(answer).encode()
        if self.behaviour.malformed:
            body = body[: len(body) // 2]
        return web.Response(body=body, content_type="application/json", headers={"x-request-id": "req_fake"})

    def _error(self, status: int, message: str, param: str = "") -> web.Response:
        headers = {"retry-after": self.behaviour.retry_after} if self.behaviour.retry_after else {}
        return web.json_response(self.vendor.error(status, message, param), status=status, headers=headers)

    async def _stream(self, request: web.Request, events: list[bytes], script: Script) -> web.StreamResponse:
        behaviour = self.behaviour
        response = web.StreamResponse(headers={"content-type": self.vendor.stream_type, "x-request-id": "req_fake"})
        await response.prepare(request)
        if behaviour.first_chunk_s:
            await asyncio.sleep(behaviour.first_chunk_s)
        for number, event in enumerate(events):
            if behaviour.break_after == number:
                assert request.transport is not None
                request.transport.abort()
                return response
            if behaviour.error_after == number:
                await self._write(response, self.vendor.error_event(behaviour.message))
                return response
            if behaviour.truncate and number == len(events) // 2:
                return response
            if behaviour.keep_alives and self.vendor.keep_alive and number % 3 == 1:
                await self._write(response, self.vendor.keep_alive)
            await self._write(response, b"data: {broken\n\n" if behaviour.malformed and number == 1 else event)
            if behaviour.chunk_delay_s:
                await asyncio.sleep(behaviour.chunk_delay_s)
        if end := self.vendor.end(script):
            await self._write(response, end)
        await response.write_eof()
        return response

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        if not self.behaviour.byte_by_byte:
            await response.write(data)
            return
        for at in range(len(data)):
            await response.write(data[at : at + 1])
            await asyncio.sleep(0)


@asynccontextmanager
async def running(upstream: Upstream) -> AsyncIterator[str]:
    """Serves it on a free port of the loopback address; gives its base URL, without a path."""
    runner = web.AppRunner(upstream.app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
