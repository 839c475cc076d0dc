"""Runs a fake vendor: checks the credential, lets the vendor judge the request, and answers as its behaviour says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

from aiohttp import web

from llmproxy.fakes.conversation import Asked, Behaviour, Recorded, Refused, Script, write
from llmproxy.fakes.vendor import Operation, Vendor

BODY_BYTES_MAX = 64 << 20
RECORDED_MAX = 10_000  # Requests that are remembered for a test; the oldest go.
SEED = 0  # Failures by rate come in the same order at every start.

Judge = Callable[[Vendor, Recorded], None]
"""A second opinion on a request. Raises Refused."""


class Upstream:
    """One fake vendor server. `requests` is what it received; `disconnects` how many callers left before the end."""

    def __init__(
        self,
        vendor: Vendor,
        behaviour: Behaviour | None = None,
        *,
        judge: Judge | None = None,
        remember: int = RECORDED_MAX,
    ) -> None:
        self.vendor = vendor
        self.behaviour = behaviour or Behaviour()
        self.requests: list[Recorded] = []
        self.in_flight = 0
        self.disconnects = 0
        self.disconnected = asyncio.Event()
        self.received = asyncio.Event()  # A request has arrived.
        self.on_answer: Callable[[Recorded, int], None] = lambda recorded, status: None
        self._judge = judge
        self._remember = remember
        self._random = Random(SEED)  # noqa: S311 - nothing is secret here
        self.app = web.Application(client_max_size=BODY_BYTES_MAX)
        self.app.router.add_route("*", "/{path:.*}", self._handle)

    @property
    def key(self) -> str:
        return self.vendor.key if self.behaviour.key is None else self.behaviour.key

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        recorded = Recorded(
            method=request.method,
            path=request.path,
            raw_path=request.raw_path.partition("?")[0],
            query=request.query_string,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
        )
        self.requests.append(recorded)
        del self.requests[: max(0, len(self.requests) - self._remember)]
        self.received.set()
        self.in_flight += 1
        try:
            response = await self._answer(request, recorded)
            self.on_answer(recorded, response.status)
            return response
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
        operation = vendor.operation(recorded.method, recorded.path)
        try:
            if operation is None:
                raise Refused(f"no route {recorded.method} {recorded.path}", 404)
            if self.key and not vendor.accepts(recorded, self.key):
                raise Refused("the credential is wrong", 401)
            self._fail(behaviour)
            asked, script, behaviour = self._decide(operation, recorded)
        except Refused as refused:
            return self._error(refused, behaviour)
        except (ValueError, RecursionError):
            return self._error(Refused("the body is not JSON"), behaviour)
        if not asked.stream:
            return self._whole(operation, script, asked, behaviour)
        return await self._stream(request, operation, script, asked, behaviour)

    def _fail(self, behaviour: Behaviour) -> None:
        """Raises Refused when this request is to fail."""
        if behaviour.status and behaviour.fail_times != 0:
            if behaviour.fail_times > 0:
                behaviour.fail_times -= 1
            raise Refused(behaviour.message, behaviour.status)
        if behaviour.error_rate and self._random.random() < behaviour.error_rate:
            raise Refused(behaviour.message, self._random.choice((429, 500, self.vendor.overloaded)))

    def _decide(self, operation: Operation, recorded: Recorded) -> tuple[Asked, Script, Behaviour]:
        """What was asked, what is said to it, and how."""
        behaviour = self.behaviour
        if self._judge is not None:
            self._judge(self.vendor, recorded)
        asked = operation.ask(recorded, behaviour)
        saying = behaviour.mind(asked) if behaviour.mind is not None else None
        if saying is not None and saying.faults:
            behaviour = replace(behaviour, **saying.faults)
            if behaviour.status:
                raise Failed(behaviour)
        return asked, write(asked, saying, behaviour, self.vendor.call_id), behaviour

    def _whole(self, operation: Operation, script: Script, asked: Asked, behaviour: Behaviour) -> web.Response:
        body = operation.answer(script, asked)
        data = body.data[: len(body.data) // 2] if behaviour.malformed else body.data
        return web.Response(body=data, content_type=body.content_type, headers={"x-request-id": "req_fake"})

    def _error(self, refused: Refused, behaviour: Behaviour) -> web.Response:
        if isinstance(refused, Failed):
            behaviour = refused.behaviour
        headers = {"retry-after": behaviour.retry_after} if behaviour.retry_after else {}
        error: dict[str, Any] = self.vendor.error(refused)
        if kind := error.get("__type"):  # AWS says it in a header.
            headers["x-amzn-errortype"] = kind
            error = {"message": error["message"]}
        return web.Response(
            body=json.dumps(error).encode(), status=refused.status, content_type="application/json", headers=headers
        )

    async def _stream(
        self, request: web.Request, operation: Operation, script: Script, asked: Asked, behaviour: Behaviour
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": operation.stream_type, "x-request-id": "req_fake"})
        await response.prepare(request)
        if behaviour.first_chunk_s:
            await asyncio.sleep(behaviour.first_chunk_s)
        events = operation.events(script, asked)
        for number, event in enumerate(events):
            if behaviour.break_after == number:
                assert request.transport is not None
                request.transport.abort()
                return response
            if behaviour.error_after == number:
                await write_out(response, operation.error_event(behaviour.message), behaviour)
                return response
            if behaviour.truncate and number == len(events) // 2:
                return response
            if behaviour.keep_alives and operation.keep_alive and number % 3 == 1:
                await write_out(response, operation.keep_alive, behaviour)
            broken = behaviour.malformed and number == 1
            await write_out(response, b"data: {broken\n\n" if broken else event, behaviour)
            if behaviour.chunk_delay_s:
                await asyncio.sleep(behaviour.chunk_delay_s)
        if end := operation.end(script, asked):
            await write_out(response, end, behaviour)
        await response.write_eof()
        return response


class Failed(Refused):
    """A failure that a script asked for."""

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(behaviour.message, behaviour.status)
        self.behaviour = behaviour


async def write_out(response: web.StreamResponse, data: bytes, behaviour: Behaviour) -> None:
    if not behaviour.byte_by_byte:
        await response.write(data)
        return
    for at in range(len(data)):
        await response.write(data[at : at + 1])
        await asyncio.sleep(0)


@asynccontextmanager
async def running(upstream: Upstream, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serves it, by default on a free port of the loopback address; gives its base URL, without a path."""
    runner = web.AppRunner(upstream.app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    try:
        bound = runner.addresses[0][:2]
        yield f"http://{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()
