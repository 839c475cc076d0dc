"""One request at the edge, from its first line to its audit record."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from llmproxy.common.bus import Bus
from llmproxy.common.dialects.framing import JSON, Framing
from llmproxy.common.dialects.rendering import FRAMINGS, GEMINI_ARRAY, RENDERINGS, Rendering
from llmproxy.common.envelope import INLINE_BYTES_MAX, Envelope
from llmproxy.common.errors import GatewayError, status_of
from llmproxy.common.frames import Failure, Head
from llmproxy.common.plugins.host import GOES_ON, Block, Pipeline, Respond, Result
from llmproxy.edge import forms, metrics
from llmproxy.edge.binaries import from_base64
from llmproxy.edge.callers import NOTHING_SHOWN, as_array, dialect_of, shown_headers
from llmproxy.edge.conclusions import Conclusions, outcome_of
from llmproxy.edge.condition import Condition
from llmproxy.edge.exchange import Exchange, Exchanges
from llmproxy.edge.ids import Chance, uuid7
from llmproxy.edge.ingress import Bodies, Ingress, Settled, no_such_model
from llmproxy.edge.limits import Limiter
from llmproxy.edge.outcome import LEFT, Outcome, findings_of, refusal
from llmproxy.edge.replies import (
    CLOSES,
    Dates,
    Reply,
    Sent,
    StreamSink,
    dollars,
    findings_header,
    own_headers,
    provider_headers,
    quota_headers,
    safe,
    stream_sink,
)
from llmproxy.edge.routes import models
from llmproxy.edge.routes.table import CALL, Action, Route, match, spoken
from llmproxy.edge.server import HEADER_BYTES_MAX, HEADERS_MAX, LINE_BYTES_MAX, Request
from llmproxy.edge.trace import parent

OVERLOADED = Failure(
    code="server_is_overloaded", message="the gateway is at gateway.max_in_flight; retry", retry_after_ms=1_000
)
BUG = Failure(code="server_error", message="the gateway failed on this request", stage="edge")
NO_ANSWER = Failure(
    code="provider_bad_answer", message="the provider's answer was empty, or not what it said it was", stage="edge"
)
NOT_HTTP = (
    f"the request is not valid HTTP, or its first line is above {LINE_BYTES_MAX} bytes,"
    f" a header above {HEADER_BYTES_MAX}, or there are more than {HEADERS_MAX} headers"
)
BODY_UNREAD = frozenset(
    {"request_too_large", "unsupported_media_type", "request_timeout", "invalid_encoding", "server_is_overloaded"}
)
"""Errors said before the body was read: the rest of it is not worth reading, so the connection ends with them."""
OVERHEAD = metrics.OVERHEAD.labels()


class Edge:
    def __init__(
        self,
        bus: Bus,
        settled: Settled,
        pipeline: Pipeline[Ingress],
        *,
        condition: Condition,
        limiter: Limiter,
        bodies: Bodies,
        exchanges: Exchanges,
        conclusions: Conclusions,
        random: Callable[[], Chance],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus, self._settled, self._pipeline = bus, settled, pipeline
        self._condition, self._limiter, self._bodies = condition, limiter, bodies
        self._exchanges, self._conclusions = exchanges, conclusions
        self._random, self._wall, self._monotonic = random, wall, monotonic
        self._dates = Dates()
        self.in_flight = 0
        self.draining = False
        metrics.IN_FLIGHT.set_function(lambda: self.in_flight)

    def _is_draining(self) -> bool:
        return self.draining

    # -- HTTP

    def handle(self, request: Request) -> Coroutine[Any, Any, Sent]:
        now = self._wall()
        now_ms = int(now * 1000)
        reply = Reply(
            request.protocol,
            self._dates.at(now),
            uuid7(now_ms, self._random()),
            http10=request.http10,
            head_only=request.method == "HEAD",
            close=request.wants_close,
            ending=self._is_draining,
        )
        request.reply = reply
        route, model_id = match(request.path)
        if route.public:
            return self._public(route, request.method, reply)
        if route.is_shared:
            route = spoken(route, dialect_of(request.headers))
        context = Ingress(
            id=reply.request_id,
            started=self._monotonic(),
            now_ms=now_ms,
            method=request.method,
            route=route,
            model_id=model_id,
            query=request.query,
            headers=request.headers,
            content=request.payload,
            ip=self._settled.client_ip(request.remote, request.headers),
            invite=reply.invite,
        )
        return self._private(context, reply)

    def malformed(self, request: Request, status: int) -> Sent:
        """What is not HTTP, and our own bugs. Says nothing of what was sent."""
        now = self._wall()
        begun = request.reply
        if begun is not None and begun.started:
            return CLOSES
        reply = Reply(
            request.protocol,
            self._dates.at(now),
            begun.request_id if begun is not None else uuid7(int(now * 1000), self._random()),
            http10=False,
            head_only=False,
            close=True,
            ending=self._is_draining,
        )
        if status >= 500:
            return reply.error(BUG, RENDERINGS["openai"])
        failure = Failure(code="invalid_value", message=NOT_HTTP, status=status)
        address = self._settled.client_ip(request.remote, request.headers)
        self._conclusions.write_unread(reply.request_id, failure, int(now * 1000), address)
        return reply.error(failure, RENDERINGS["openai"])

    async def _public(self, route: Route, method: str, reply: Reply) -> Sent:
        if method not in route.methods:
            failure = Failure(code="method_not_allowed", message=f"use {route.allow} on {route.name}")
            return reply.error(failure, RENDERINGS["openai"], f"allow: {route.allow}\r\n")
        status, body = await self._condition.answer(route.action, in_flight=self.in_flight, draining=self.draining)
        return reply.whole(status, body)

    # -- what needs a key

    async def _private(self, context: Ingress, reply: Reply) -> Sent:
        if self.in_flight >= self._settled.config.gateway.max_in_flight:
            context.is_flood = True
            return await self._refuse(context, reply, OVERLOADED)
        self.in_flight += 1
        try:
            result = self._pipeline.start(context)
            if isinstance(result, CoroutineType):  # To ask for each kind of result would cost ten times as much.
                result = await result
            if context.route.action is CALL and isinstance(result, GOES_ON):
                sent = await self._call(context, reply)
            else:
                sent = await self._act(context, reply, result)  # type: ignore[arg-type] # A ring awaits nothing else.
            reply.abort_unless_read()
            return sent
        except asyncio.CancelledError:
            if not context.concluded:
                self._conclusions.write(context, Outcome(failure=LEFT, status=status_of(LEFT), cancelled=True))
            raise
        finally:
            self.in_flight -= 1
            self._bodies.give_back(context)
            if context.leased:
                self._limiter.release(context.id)
            if not context.concluded:  # A bug of ours is an outcome too.
                self._conclusions.write(context, refusal(BUG))

    async def _act(self, context: Ingress, reply: Reply, result: Result) -> Sent:
        if isinstance(result, Block):
            failure = Failure(
                code=result.code, message=result.message, param=result.param, retry_after_ms=result.retry_after_ms
            )
            return await self._refuse(context, reply, failure)
        if isinstance(result, Respond):
            return await self._respond(context, reply, result.body, result.status)
        route, known = context.route, context.record
        assert known is not None
        if route.action is Action.MODELS:
            listed = models.listing(self._settled.catalogue.models, known, route.dialect)
            return await self._respond(context, reply, listed, 200)
        found = models.one(self._settled.catalogue.models, known, context.model_id, route.dialect)
        if found is None:
            missing = Failure(code="model_not_found", message=no_such_model(context.model_id), param="model")
            return await self._refuse(context, reply, missing)
        return await self._respond(context, reply, found, 200)

    async def _respond(self, context: Ingress, reply: Reply, body: bytes, status: int) -> Sent:
        withheld = await self._conclusions.commit(context, Outcome(status=status))
        if withheld is not None:
            return self._withheld(context, reply, withheld)
        return reply.whole(status, body, self._headers(context))

    async def _refuse(self, context: Ingress, reply: Reply, failure: Failure, exchange: Exchange | None = None) -> Sent:
        status = self._rendering(context).status(failure)
        outcome = refusal(failure, status) if exchange is None else outcome_of(exchange, status)
        said = await self._conclusions.commit(context, outcome) or failure
        headers = self._headers(context) + findings_header({**findings_of(outcome), **context.findings})
        if exchange is not None:
            headers += f"x-llmproxy-attempts: {exchange.publications}\r\n"
        if failure.code == "method_not_allowed":
            headers += f"allow: {context.route.allow}\r\n"
        reply.close = reply.close or failure.code in BODY_UNREAD
        return reply.error(said, self._rendering(context), headers)

    # -- what goes to a provider

    async def _call(self, context: Ingress, reply: Reply) -> Sent:
        assert context.wanted is not None
        sink: StreamSink | None = None
        try:
            if context.wanted.stream:
                sink = stream_sink(
                    reply,
                    self._framing(context),
                    lambda head, publications: (
                        self._headers(context) + provider_headers(head, publications, context.findings)
                    ),
                )
            reference = ""
            if context.upload is not None or len(context.body) > INLINE_BYTES_MAX:
                reference = await self._deposited(context)
            envelope = self._envelope(context, reference)
        except GatewayError as error:
            return await self._refuse(context, reply, error.failure("edge"))
        exchange = self._exchanges.open(envelope, sink, lambda ended: self._is_recorded(context, ended))
        try:
            await exchange.done
        except asyncio.CancelledError:
            if not exchange.is_recorded:
                context.concluded = True
                self._exchanges.abandon(exchange, lambda settled: self._conclusions.write_cancelled(context, settled))
            raise
        except GatewayError as error:  # What raises it is the record.
            return self._withheld(context, reply, error.failure("edge"))
        if exchange.is_recorded:
            return self._whole(context, reply, exchange, bytes(exchange.data[0].json))
        if exchange.failure is not None and not exchange.begun:
            return await self._refuse(context, reply, exchange.failure, exchange)
        if sink is None:
            return await self._converted(context, reply, exchange)
        if not exchange.begun:  # Complete without a single event.
            sink.begin(exchange.head or Head(), exchange.publications)
        return await self._end_stream(context, exchange, sink)

    def _is_recorded(self, context: Ingress, exchange: Exchange) -> bool:
        """Writes the record of a whole answer when its last frame is there: who waits for it is woken once, when that is safe. False where
        there is more to be done first, or nobody waits for the record."""
        if exchange.sink is not None or exchange.failure is not None or not exchange.data:
            return False
        if exchange.head is not None and exchange.head.content_type:
            return False
        acknowledged = self._conclusions.write(context, outcome_of(exchange, 200), exchange.done)
        exchange.is_recorded = True
        return acknowledged is not None

    async def _converted(self, context: Ingress, reply: Reply, exchange: Exchange) -> Sent:
        """An answer that is not what the worker could send: sound, or nothing."""
        answer = await from_base64(bytes(exchange.data[0].json)) if exchange.data else None
        if answer is None:
            exchange.failure = NO_ANSWER
            return await self._refuse(context, reply, NO_ANSWER, exchange)
        withheld = await self._conclusions.commit(context, outcome_of(exchange, 200))
        if withheld is not None:
            return self._withheld(context, reply, withheld)
        return self._whole(context, reply, exchange, answer)

    def _withheld(self, context: Ingress, reply: Reply, failure: Failure) -> Sent:
        """What is said instead of an answer whose record is not safe."""
        return reply.error(failure, self._rendering(context), self._headers(context))

    def _whole(self, context: Ingress, reply: Reply, exchange: Exchange, answer: bytes) -> Sent:
        end, head = exchange.end, exchange.head or Head()
        assert end is not None
        overhead_ms = (self._monotonic() - context.started) * 1000 - end.provider_ms
        if overhead_ms < 0:  # Two clocks.
            overhead_ms = 0.0
        OVERHEAD.observe(overhead_ms / 1000)
        headers = (
            f"{self._headers(context)}{provider_headers(head, exchange.publications, context.findings)}"
            f"x-llmproxy-cost-usd: {dollars(end.cost)}\r\nx-llmproxy-overhead-ms: {overhead_ms:.1f}\r\n"
        )
        return reply.whole(200, answer, headers, safe(head.content_type) if head.content_type else JSON)

    async def _end_stream(self, context: Ingress, exchange: Exchange, sink: StreamSink) -> Sent:
        """The last word waits for the record: it says that the answer is whole and audited."""
        withheld = await self._conclusions.commit(context, outcome_of(exchange, 200))
        failure = exchange.failure or withheld
        return sink.end() if failure is None else sink.fail(failure)

    def _framing(self, context: Ingress) -> Framing:
        """Raises GatewayError when the caller asks for another than there is."""
        api = context.route.api
        return GEMINI_ARRAY if api == "gemini" and as_array(context.query) else FRAMINGS[api]

    async def _deposited(self, context: Ingress) -> str:
        """The claim check of a large body; "" of a form that is small. Raises GatewayError when it cannot be deposited."""
        if context.upload is not None:
            context.body = await forms.to_json(context.body, context.upload)
            context.upload = None
        if len(context.body) <= INLINE_BYTES_MAX:
            return ""
        reference = await self._bus.deposit(context.id, context.body)
        context.body = b""
        self._bodies.give_back(context)
        return reference

    def _envelope(self, context: Ingress, reference: str) -> Envelope:
        """Raises GatewayError when a header is not well-formed."""
        record, wanted, route = context.record, context.wanted, context.route
        assert record is not None
        assert wanted is not None
        envelope = Envelope(
            id=context.id,
            tenant=record.tenant,
            key=record.id,
            principal=record.principal,
            roles=record.roles,
            client_ip=context.ip,
            api=route.api,
            dialect=route.dialect,
            model=wanted.model,
            max_output_tokens=wanted.max_output_tokens,
            deadline_ms=context.now_ms + self._settled.config.gateway.deadline_ms,
            policy=self._settled.snapshot.revision,
            edge=self._bus.address,
            reply_to=self._bus.address,
            body=Raw(b"null") if reference else Raw(context.body),
        )
        trace = context.headers.get("traceparent", "")
        if not (wanted.stream or wanted.include_usage or reference or trace or route.dialect == "anthropic"):
            return envelope
        return replace(  # By itself: of more arguments than those above Python makes a dictionary.
            envelope,
            stream=wanted.stream,
            include_usage=wanted.include_usage,
            headers=shown_headers(context.headers) if route.dialect == "anthropic" else NOTHING_SHOWN,
            traceparent=parent(trace),
            body_ref=reference,
        )

    # -- what every answer says of itself

    def _rendering(self, context: Ingress) -> Rendering:
        return RENDERINGS[context.route.dialect]

    def _headers(self, context: Ingress) -> str:
        processing_ms = int((self._monotonic() - context.started) * 1000)
        dialect = context.route.dialect
        return (
            f"{own_headers(dialect, context.id, processing_ms)}x-llmproxy-policy: {self._settled.snapshot.revision}\r\n"
            f"{quota_headers(context.quota, dialect, context.now_ms)}"
        )
