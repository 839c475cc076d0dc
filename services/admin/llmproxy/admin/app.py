"""The admin API over HTTP: authentication before anything else, then decoding, the handler, and one shape of answer."""

import asyncio
import hashlib
import hmac
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from llmproxy.admin import metrics, problems
from llmproxy.admin.problems import Problem
from llmproxy.admin.routes import BODY_BYTES_MAX, Actor, Call, Reply, Route
from llmproxy.common import quiet_http, segments
from llmproxy.common.errors import GatewayError, place

BODY_TIMEOUT_S = 10.0
SHUTDOWN_S = 5.0
PRINCIPAL = "admin token"  # There is one token, so there is one principal.
IDENTITY = "identity"
METHODS = {"GET": ("GET", "HEAD")}  # What watches a page asks for its head.
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": quiet_http.SERVER}

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Token:
    """The admin token, compared in constant time and kept as its hash."""

    def __init__(self, token: str) -> None:
        self._digest = hashlib.sha256(token.encode()).digest()

    def admits(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        digest = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        return hmac.compare_digest(digest, self._digest) and scheme.lower() == "bearer"


def build(routes: Sequence[Route], token: Token) -> web.Application:
    """Deny by default: only the routes that the table calls public answer without the token, not even 404 does."""
    public: set[web.AbstractRoute] = set()
    names: dict[web.AbstractRoute, str] = {}

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        matched = request.match_info.route
        try:
            if matched not in public and not token.admits(request.headers.get("Authorization", "")):
                raise problems.unauthorized()
            answer = await handler(request)
        except Problem as problem:
            answer = _refusal(problem)
        except GatewayError as error:
            answer = _refusal(problems.from_gateway(error))
        except msgspec.DecodeError as error:
            answer = _refusal(problems.from_validation(error))
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            answer = _refusal(Problem(405, "method_not_allowed", f"use {allowed} here"))
            answer.headers["Allow"] = allowed
        except web.HTTPException as error:
            answer = _refusal(_from_http(error))
        except Exception as error:  # noqa: BLE001 - a bug must not answer with its own words, which may quote a key
            log.error("%s: %s at %s", names.get(matched, "?"), type(error).__name__, place(error))
            answer = _refusal(Problem(500, "server_error", "admin failed on this request; see its log"))
        metrics.REQUESTS.labels(request.method, names.get(matched, "unknown"), answer.status).inc()
        answer.headers.update(HEADERS)
        return answer

    app = web.Application(middlewares=[guarded], client_max_size=BODY_BYTES_MAX)
    for route in routes:
        handler = _handler(route)
        for method in METHODS.get(route.method, (route.method,)):
            added = app.router.add_route(method, route.path, handler)
            names[added] = route.path
            if route.is_public:
                public.add(added)
    return app


async def listen(app: web.Application, *, fd: int, host: str, port: int) -> web.AppRunner:
    """On the inherited socket, or on host and port. `runner.addresses` says where."""
    runner = quiet_http.Runner(app, access_log=None, shutdown_timeout=SHUTDOWN_S, auto_decompress=False)
    await runner.setup()
    site: web.BaseSite = web.SockSite(runner, socket.socket(fileno=fd)) if fd >= 0 else web.TCPSite(runner, host, port)
    await site.start()
    return runner


def _handler(route: Route) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        call = Call(
            actor=Actor(PRINCIPAL, request.remote or ""),
            path=request.match_info,
            headers=request.headers,
            query=_query(route, request),
            body=await _body(route, request),
        )
        answer = await route.handle(call)
        return _response(route, answer if isinstance(answer, Reply) else Reply(body=answer))

    return handle


def _query(route: Route, request: web.Request) -> Any:
    if route.query is None:
        if request.query:
            name = next(iter(request.query))
            raise Problem(400, "unknown_parameter", f"this route has no parameter {name!r}", name)
        return None
    if len(set(request.query)) != len(request.query):
        raise Problem(400, "invalid_parameter", "a parameter was given twice; give it once")
    return msgspec.convert(dict(request.query), route.query, strict=False)


async def _body(route: Route, request: web.Request) -> Any:
    if route.request is None:
        return None
    if request.headers.get("Content-Encoding", IDENTITY).lower() != IDENTITY:
        raise Problem(400, "invalid_encoding", "send the body uncompressed; no Content-Encoding is accepted")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            raw = await request.read()
    except TimeoutError:
        raise Problem(408, "timeout", f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Problem(400, "invalid_encoding", "the body is not UTF-8") from None
    if route.is_text:
        return text
    decoded = msgspec.json.decode(text, type=route.request)
    # Refuses a key given twice: msgspec keeps the last one, others the first.
    segments.texts(segments.decode(raw), raw)
    return decoded


def _response(route: Route, reply: Reply) -> web.Response:
    content = msgspec.json.encode(reply.body) if isinstance(reply.body, Struct) else reply.body
    headers = {"Content-Type": route.media, **reply.headers}
    return web.Response(body=content, status=reply.status or route.status, headers=headers)


def _refusal(problem: Problem) -> web.Response:
    headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}
    return web.Response(
        body=msgspec.json.encode(problem.body),
        status=problem.status,
        content_type="application/json",
        headers=headers,
    )


def _from_http(error: web.HTTPException) -> Problem:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return Problem(413, "request_too_large", f"the body is above {BODY_BYTES_MAX} bytes")
    if isinstance(error, web.HTTPNotFound):
        return problems.not_found("there is nothing here; see /openapi.json")
    return Problem(error.status, "http_error", error.reason)
