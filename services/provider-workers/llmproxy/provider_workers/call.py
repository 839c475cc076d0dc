"""One attempt at one endpoint: ask, translate, stream, and say what it used up."""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from msgspec import Raw, Struct
from msgspec.structs import replace

from llmproxy.common import money
from llmproxy.common.bus import Answer, Bus, Hold
from llmproxy.common.channels import EVENT_ATTEMPT_FAILED
from llmproxy.common.envelope import INLINE_BYTES_MAX, Attempt, Envelope
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Data, End, Finish, Frame, Head, Usage
from llmproxy.common.outcomes import Outcome
from llmproxy.common.prices import FREE_APIS
from llmproxy.provider_workers.adapters import DEMO, speaker
from llmproxy.provider_workers.adapters.base import Adapter, Capability, HttpRequest
from llmproxy.provider_workers.connections import Begun, Line
from llmproxy.provider_workers.contents import ContentsWanted, WithContents
from llmproxy.provider_workers.destinations import Destination
from llmproxy.provider_workers.estimates import SPOKEN, estimate
from llmproxy.provider_workers.fetcher import Fetcher
from llmproxy.provider_workers.retries import counts
from llmproxy.provider_workers.settlement import Settlement
from llmproxy.provider_workers.transport import Reply, Transport
from llmproxy.provider_workers.vendor_headers import reexposed
from llmproxy.provider_workers.watches import Watch
from llmproxy.provider_workers.ways import LOCAL, demo, unserved, wire
from llmproxy.provider_workers.wire import Answer as Whole
from llmproxy.provider_workers.wire import Origin, StreamTranslator, Target, Wire, named

HELD_BACK_MAX = 64  # Chunks without content (a role) that wait for the first one with it.
PACKET_BYTES_MAX = INLINE_BYTES_MAX
TRAILER_S = 0.1  # After the last event: how long the connection may take to become reusable.

UNSAID = Usage()
TAKES_BYTES, WEB_ADDRESS = frozenset({Capability.IMAGES}), Capability.IMAGE_URLS


class Worker(Protocol):
    """What a call needs of who makes it."""

    bus: Bus
    transport: Transport
    settlement: Settlement
    fetcher: Fetcher | None
    is_lenient: bool
    demo_chunk_ms: int
    now: Callable[[], float]

    def destination(self, attempt: Attempt) -> Destination: ...
    def serve(self, envelope: Envelope, answer: Answer, begun: "Call | None" = None) -> Coroutine[Any, Any, None]: ...


class Asked(Struct, frozen=True, eq=False):
    """What a provider is asked, and how its answer is read."""

    destination: Destination
    adapter: Adapter
    wire: Wire
    request: HttpRequest


class Call:
    """One attempt at one endpoint."""

    __slots__ = (
        "_answer",
        "_asked",
        "_body",
        "_chars",
        "_coming",
        "_dropped",
        "_envelope",
        "_first_at",
        "_has_ended",
        "_has_sent",
        "_held",
        "_is_abandoned",
        "_line",
        "_parts",
        "_started",
        "_usage",
        "_work",
        "attempt",
        "due",
    )

    def __init__(self, work: Worker, envelope: Envelope, body: bytes, answer: Answer) -> None:
        self._work, self._envelope, self._body, self._answer = work, envelope, body, answer
        self.attempt = envelope.plan[envelope.step]
        self._started = time.monotonic()
        self._first_at = 0.0
        self._has_sent = False  # From then on the provider counts tokens.
        self._has_ended = False
        self._is_abandoned = False  # By the caller; a worker that is told to stop cancels too.
        self._usage = UNSAID  # What the provider said so far.
        self._chars = 0  # Delivered, for what it did not say.
        self._parts = 0
        self._dropped: tuple[str, ...] = ()  # Fields that the provider has no word for and the answer does not need.
        self._asked: Asked | None = None  # By `begin`, until a task has taken over, and so are the following.
        self._line: Line
        self._held: Hold
        self._coming: asyncio.Future[Begun]
        self.due: float  # In loop time.

    # -- without a task

    def begin(self) -> bool:
        """Sends the request, if nothing has to be waited for before that. Its answer is then waited for without a task, which
        would cost a tenth of all that a call does. A whole answer in one piece, which most are, is passed on from here.

        With everything else a task takes over: another answer, none, one that is late, a caller who leaves, a worker that is
        to stop. It goes on as if it had sent the request itself, so that what is to be done then is written once.
        """
        work, envelope, attempt = self._work, self._envelope, self.attempt
        try:
            destination = work.destination(attempt)
            adapter = speaker(destination.adapter, attempt.model)
            asked = wire(adapter, envelope.api, lenient=work.is_lenient)
            if asked is None:
                return False
            request = asked.request(self._body, self._target(destination))
            line = work.transport.begin(destination, request, envelope.traceparent, self)
        except GatewayError:
            return False  # The task meets it too, and says so.
        if line is None:
            return False
        self._asked, self._line = Asked(destination, adapter, asked, request), line
        self._dropped, self._has_sent = request.dropped, True
        watches = work.transport.watches
        first_byte_s, left_s = attempt.first_byte_ms / 1000, envelope.deadline_ms / 1000 - work.now()
        self.due = watches.loop.time() + (first_byte_s if first_byte_s < left_s else left_s)
        watches.add(self)
        self._held = held = work.bus.hold(envelope)
        held.attend = self.expire
        return True

    def done(self) -> bool:
        return False

    def set_result(self, begun: Begun, /) -> None:
        """An answer's head is here, and nearly always all of it."""
        work = self._work
        work.transport.watches.under_way.discard(self)
        if work.bus.goes_on(self._held, self._envelope, self._answer, self._needs_task, begun):
            self._attend().set_result(begun)

    def set_exception(self, error: BaseException, /) -> None:
        """There will be no answer."""
        self._attend().set_exception(error)

    def expire(self) -> None:
        """It is late, or has to be cancelled."""
        self._line.answers.tell(self._attend())

    def _needs_task(self, begun: Begun) -> bool:
        """True of an answer that has to be awaited, refused or tried again elsewhere; any other is passed on."""
        asked, line = self._asked, self._line
        assert asked is not None
        message, content = begun
        reply = Reply(asked.destination.name, line.connection, message, content)
        body = reply.arrived() if 200 <= reply.status < 300 and not reply.coding else b""
        if not body:
            return True
        try:
            result = asked.wire.response(body, self._origin())
            if result.failure is not None or len(result.json) > INLINE_BYTES_MAX:
                reply.unread(body)
                return True
            self._arrived()
            self._work.transport.keep(line)
            self._deliver(reply, result, Data(Raw(result.json)))
        except BaseException:
            line.close()
            raise
        return False

    def _attend(self) -> "asyncio.Future[Begun]":
        """A task takes over. Returns what it waits for first."""
        work, held = self._work, self._held
        work.transport.watches.under_way.discard(self)
        self._coming = work.bus.loop.create_future()
        serving = work.serve(self._envelope, self._answer, self)
        work.bus.run(held, self._envelope, self._answer, serving)
        assert held.task is not None
        held.task.add_done_callback(functools.partial(self._left, serving))
        return self._coming

    def _left(self, serving: Coroutine[Any, Any, None], _: object) -> None:
        """By its task, which may have been cancelled before it began."""
        if self._asked is not None:
            serving.close()
            self._line.close()

    # -- in a task

    async def run(self) -> GatewayError | None:
        """None when the answer has ended, well or not; an error while nothing has left for the caller."""
        envelope, attempt = self._envelope, self.attempt
        left_s = envelope.deadline_ms / 1000 - self._work.now()
        watch = self._work.transport.watches.over(attempt.first_byte_ms / 1000, left_s)
        if self._asked is not None:
            watch.due = min(self.due, watch.due)
        try:
            with watch:
                await (self._demo() if attempt.provider == DEMO.name else self._call(watch))
        except TimeoutError:
            return self._failed(self._late(watch))
        except GatewayError as error:
            return self._failed(error)
        except asyncio.CancelledError:
            if not self._has_ended:
                ended = self._last("cancelled", self._used())
                self._settle(ended, ok=False, code="client_closed_request", counts=False)
                self._stop()
            raise
        return None

    async def rest(self, ms: int) -> None:
        """Between this attempt and the next one."""
        try:
            await asyncio.sleep(ms / 1000)
        except asyncio.CancelledError:
            self._stop()
            raise

    def abandon(self) -> None:
        """The caller has left."""
        self._is_abandoned = True

    def fail(self, error: GatewayError, *, again: bool = False) -> None:
        """The answer cannot come, or cannot go on."""
        attempt, usage = self.attempt, self._used() if self._answer.begun else Usage()
        self._answer.send(
            replace(
                error.failure(self._work.bus.service, again=again),
                endpoint=attempt.endpoint,
                provider=attempt.provider,
                model=attempt.model,
                retries=self._envelope.step,
                usage=usage,
                cost=money.cost(usage, attempt.price),
                findings=self._envelope.findings,
                explained=self._envelope.explained,
            )
        )

    # -- calling

    async def _call(self, watch: Watch) -> None:
        work, envelope = self._work, self._envelope
        if self._asked is not None:
            asked, begun, self._asked = self._asked, (self._line, self._coming), None
        else:
            found, begun = await self._ask(), None
            if found is None:
                await self._here(LOCAL[envelope.api](self._body, self._origin()))
                return
            asked = found
        self._dropped = asked.request.dropped
        self._has_sent = True
        reply = await work.transport.call(asked.destination, asked.request, envelope.traceparent, begun)
        try:
            if not 200 <= reply.status < 300:
                refused = asked.adapter.error(reply.status, _lower(reply.headers), await reply.read_error())
                raise named(asked.wire, refused)
            if envelope.stream:
                await self._stream(reply, asked.wire.events(self._origin()), watch)
            else:
                await self._whole(reply, asked.wire, watch)
        finally:
            reply.close()

    async def _ask(self) -> Asked | None:
        """The request for this endpoint; None of one that is answered here."""
        work, envelope = self._work, self._envelope
        destination = work.destination(self.attempt)
        contents: dict[str, str] = {}
        adapter = speaker(destination.adapter, self.attempt.model)
        if work.fetcher is not None and adapter.capabilities >= TAKES_BYTES and WEB_ADDRESS not in adapter.capabilities:
            adapter = WithContents(adapter, contents)
        asked = wire(adapter, envelope.api, lenient=work.is_lenient)
        if asked is None:
            if envelope.api not in LOCAL:
                raise unserved(envelope.api, self.attempt.endpoint)
            return None
        target = self._target(destination)
        try:
            request = asked.request(self._body, target)
        except ContentsWanted as wanted:
            assert work.fetcher is not None, "nobody else wants contents"
            tunnel = destination.tunnel(work.transport.names)
            contents.update(await work.fetcher.fetch(wanted.places, tunnel))
            request = asked.request(self._body, target)
        return Asked(destination, adapter, asked, request)

    def _target(self, destination: Destination) -> Target:
        envelope = self._envelope
        return Target(
            model=self.attempt.model,
            url=destination.endpoint.url,
            stream=envelope.stream,
            headers=tuple(envelope.headers.items()) if envelope.headers else (),
        )

    async def _whole(self, reply: Reply, asked: Wire, watch: Watch) -> None:
        self._arrived()
        body = reply.arrived()
        if not body:
            watch.extend(self.attempt.idle_ms / 1000)
            body = await reply.read_all()
        result = asked.response(body, self._origin())
        if result.failure is not None:
            raise result.failure
        data = Data(Raw(result.json)) if len(result.json) <= INLINE_BYTES_MAX else await self._data(result.json)
        self._deliver(reply, result, data)

    def _deliver(self, reply: Reply, result: Whole, data: Data) -> None:
        self._usage, self._chars = result.usage, len(result.json) if self._envelope.api in SPOKEN else 0
        self._end(result.finish, self._head(reply.headers, result), data)

    async def _here(self, result: Whole) -> None:
        """An answer that no provider was asked for."""
        if result.failure is not None:
            raise result.failure
        self._arrived()
        self._usage = result.usage
        self._end(result.finish, self._head({}, result), await self._data(result.json))

    async def _stream(self, reply: Reply, translator: StreamTranslator, watch: Watch) -> None:
        """What one read brings leaves in one packet. Chunks without content (a role) wait, so that a failure can be retried."""
        idle_s = self.attempt.idle_ms / 1000
        begin: tuple[Frame, ...] = (self._head(reply.headers),)
        held: list[bytes] = []
        is_over = False
        while not is_over:
            data = await reply.read()
            chunks = translator.feed(data) if data else translator.finish()
            failure = translator.failure
            is_over = translator.complete or failure is not None
            if begin:
                held += chunks
                if not (translator.text_chars or translator.finish_reason or translator.complete or _is_full(held)):
                    if failure is not None:
                        raise failure
                    continue
                self._arrived()
                chunks = held
            self._usage, self._chars = translator.usage, translator.text_chars
            frames = await self._packed(begin, chunks)
            begin = ()
            if failure is not None:
                if frames:
                    self._answer.send(*frames)
                raise failure
            if is_over:
                self._end(translator.finish_reason or "stop", *frames)
            elif frames:
                self._answer.send(*frames)
            watch.extend(TRAILER_S if is_over else idle_s)
        await _drain(reply)

    async def _demo(self) -> None:
        """Streams at its own small pace; there is nothing to wait for."""
        origin, pause_s, api = self._origin(), self._work.demo_chunk_ms / 1000, self._envelope.api
        if api in DEMO.others or api in LOCAL:
            await self._here((DEMO.others.get(api) or LOCAL[api])(self._body, origin))
            return
        asked = demo(api)
        if not self._envelope.stream:
            await self._here(asked.answer(self._body, origin))
            return
        begin: tuple[Frame, ...] = (self._head({}),)
        chunks = list(asked.chunks(self._body, origin))
        usage, finish = asked.usage(self._body, origin)
        self._arrived()
        *shown, closing = chunks
        for sent, chunk in enumerate(shown, 1):
            self._usage = replace(usage, output=usage.output * sent // len(chunks))
            self._answer.send(*begin, *await self._packed((), [chunk]))
            begin = ()
            await asyncio.sleep(pause_s)
        self._usage = usage
        self._end(finish, *begin, *await self._packed((), [closing]))

    # -- sending

    def _head(self, headers: Mapping[str, str], whole: Whole | None = None) -> Head:
        attempt = self.attempt
        shown = reexposed(headers)
        return Head(
            endpoint=attempt.endpoint,
            provider=attempt.provider,
            model=attempt.model,
            retries=self._envelope.step,
            headers=shown if whole is None or not whole.headers else {**shown, **dict(whole.headers)},
            findings=self._envelope.findings,
            explained=self._envelope.explained,
            price=attempt.price,
            dropped=self._dropped,
            content_type="" if whole is None else whole.content_type,
        )

    async def _packed(self, begin: tuple[Frame, ...], chunks: list[bytes]) -> list[Frame]:
        """What fits into one packet, to be sent; more than that leaves at once, in several."""
        if sum(map(len, chunks)) <= PACKET_BYTES_MAX:
            return [*begin, *[Data(Raw(chunk)) for chunk in chunks]]
        if begin:
            self._answer.send(*begin)
        for chunk in chunks:
            self._answer.send(await self._data(chunk))
        return []

    async def _data(self, json: bytes) -> Data:
        if len(json) <= INLINE_BYTES_MAX:
            return Data(Raw(json))
        self._parts += 1
        envelope = self._envelope
        return Data(ref=await self._work.bus.deposit(f"{envelope.id}-{envelope.attempt}-answer-{self._parts}", json))

    def _end(self, finish: Finish, *frames: Frame) -> None:
        self._has_ended = True
        last = self._last(finish, self._used())
        self._answer.send(*frames, last)
        self._settle(last)

    def _stop(self) -> None:
        """The caller gets what was used so far; a caller who still waits gets an error instead of half an answer."""
        if not self._is_abandoned:
            lost = GatewayError("stage_lost", "the worker that held this request was stopped; retry")
            self.fail(lost, again=not self._answer.begun)
            return
        begin = () if self._answer.begun else (self._head({}),)
        self._answer.send(*begin, self._last("cancelled", self._used()))

    def _last(self, finish: Finish, usage: Usage) -> End:
        return End(
            usage=usage,
            cost=money.cost(usage, self.attempt.price),
            finish=finish,
            provider_ms=_ms_since(self._started),
            first_byte_ms=self._first_byte_ms(),
        )

    # -- accounting

    def _late(self, watch: Watch) -> GatewayError:
        if watch.is_past_deadline:
            return GatewayError("deadline_exceeded", "the request's deadline passed before its answer was complete")
        attempt = self.attempt
        name, ms = ("idle_ms", attempt.idle_ms) if self._first_at else ("first_byte_ms", attempt.first_byte_ms)
        return GatewayError(
            "provider_timeout", f"endpoint '{attempt.endpoint}' sent no content for {ms} ms, its {name}"
        )

    def _arrived(self) -> None:
        self._first_at = time.monotonic()

    def _first_byte_ms(self) -> int:
        return int((self._first_at - self._started) * 1000) if self._first_at else 0

    def _used(self) -> Usage:
        """What the provider said; where it said nothing, or was interrupted before its last word, our estimate."""
        said = self._usage
        if not self._has_sent or (self._has_ended and (said.input or said.output)) or self._envelope.api in FREE_APIS:
            return said
        guess = estimate(self._body, self._chars)
        return replace(said, input=said.input or guess.input, output=max(said.output, guess.output), estimated=True)

    def _failed(self, error: GatewayError) -> GatewayError | None:
        if self._has_ended:
            return None  # Whatever happened to the connection afterwards.
        bus, envelope, attempt = self._work.bus, self._envelope, self.attempt
        usage = self._used() if self._answer.begun else Usage()  # Who sent nothing has, as a rule, counted nothing.
        ended = self._last("error", usage)
        self._settle(ended, ok=False, code=error.code, counts=counts(error), retry_after_ms=error.retry_after_ms)
        bus.event(
            EVENT_ATTEMPT_FAILED,
            id=envelope.id,
            tenant=envelope.tenant,
            endpoint=attempt.endpoint,
            provider=attempt.provider,
            code=error.code,
        )
        if not self._answer.begun:
            return error
        self.fail(error)
        return None

    def _settle(
        self, ended: End, *, ok: bool = True, code: str = "", counts: bool = True, retry_after_ms: int = 0
    ) -> None:
        envelope, attempt, usage = self._envelope, self.attempt, ended.usage
        self._work.settlement.add(
            Outcome(
                id=envelope.id,
                tenant=envelope.tenant,
                endpoint=attempt.endpoint,
                provider=attempt.provider,
                model=attempt.model,
                ok=ok,
                code=code,
                counts=counts,
                probe=attempt.probe,
                retry_after_ms=retry_after_ms,
                first_byte_ms=ended.first_byte_ms,
                total_ms=ended.provider_ms,
                input_tokens=usage.input,
                output_tokens=usage.output,
                cost=ended.cost,
            )
        )

    def _origin(self) -> Origin:
        envelope = self._envelope
        return Origin(
            id=envelope.id,
            model=envelope.model,
            created=int(self._work.now()),
            include_usage=envelope.include_usage,
            asked=self._body,
        )


async def _drain(reply: Reply) -> None:
    """Reads the rest of a finished stream (the chunked body's own end), so that its connection can be used again."""
    while not reply.is_finished:
        if not await reply.read():
            return


def _is_full(held: list[bytes]) -> bool:
    return len(held) > HELD_BACK_MAX or sum(map(len, held)) > PACKET_BYTES_MAX


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _ms_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
