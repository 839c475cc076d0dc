"""aiohttp's server without its own words: of what is not HTTP it answers with, and logs, the very line, which may hold a token."""

import logging
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from msgspec import json

from llmproxy.common.errors import place

SERVER = "llmproxy"
NOT_HTTP = "the request is not valid HTTP, or its first line or a header is above 8 KB"
IDLE_S = (
    75.0  # An idle connection, and the time that a client has for its request line and headers; aiohttp gives an hour.
)
UNEXPECTED = "of `Expect` only 100-continue is known here"
FAILED = "the server failed on this request; see its log"

log = logging.getLogger(__name__)


class QuietHandler(RequestHandler):
    """Of what it could not read or answer it logs the kind of error and its place alone."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status >= 500:
            log.error("a request handler failed: %s at %s", type(exc).__name__, place(exc))
        return self.answer(request, status)

    def answer(self, request: web.BaseRequest, status: int) -> web.StreamResponse:
        """What the client is told."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun; nothing else can be said")
        error = (
            {"code": "invalid_value", "message": NOT_HTTP}
            if status < 500
            else {"code": "server_error", "message": FAILED}
        )
        body = json.encode({"error": {**error, "param": None}})
        response = web.Response(status=status, body=body, content_type="application/json", headers={"Server": SERVER})
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        exc = kwargs.get("exc_info")
        if isinstance(exc, BaseException):
            log.error("the HTTP server failed: %s at %s", type(exc).__name__, place(exc))


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return QuietHandler(self, loop=self._loop, **self._kwargs)


async def _reworded(_: web.Request, response: web.StreamResponse) -> None:
    """What a client expects that is not `100-continue`, aiohttp quotes, before it asks any handler."""
    if isinstance(response, web.HTTPExpectationFailed):
        response.text = UNEXPECTED
        response.headers["Server"] = SERVER


class Runner(web.AppRunner):
    """Runs an application as AppRunner does."""

    __slots__ = ()

    def __init__(self, app: web.Application, **options: Any) -> None:
        app.on_response_prepare.append(_reworded)
        super().__init__(app, keepalive_timeout=IDLE_S, **options)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            **made._kwargs,
        )
