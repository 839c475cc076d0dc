"""One request on the bus, from its publication to the last frame: who holds it, when to publish it again, when to give up.

Everything here is a callback on the loop: no task per request. One ticker looks after all of them.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from llmproxy.common import money
from llmproxy.common.bus import Bus
from llmproxy.common.channels import HOLDING, REQUEST_INSPECT
from llmproxy.common.envelope import Envelope
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import Data, End, Failure, Frame, Head, Holding, Usage
from llmproxy.edge import metrics

LOST_S = 2.5  # No frame and no sign of a holder for so long: it died. Holders say that they live every second.
ATTEMPTS_MAX = 5  # Publications because a holder died.
AGAIN_MAX = 240  # Publications because a stage had no instance or was draining.
AGAIN_BASE_MS = 25
AGAIN_CAP_MS = 250
TICK_S = 0.2
PING_S = 15.0
SETTLE_S = 3.0  # After a client left: how long to wait for the usage of what it had.
CHARS_PER_TOKEN = 4
NOTHING_USED = Usage()
STREAM_BUFFER_BYTES = 1 << 20  # What a client may leave unread before its stream is cancelled.
RETRY_AFTER_MS = 1_000
RETURNING = "shield"  # It may end an answer that another stage is still giving, which then works for nobody.


class Sink(Protocol):
    """Where a stream's events go at once. Writing never blocks; the transport buffers."""

    def begin(self, head: Head, publications: int) -> None: ...
    def send(self, data: Sequence[Data]) -> None: ...
    def ping(self) -> None: ...

    @property
    def unsent_bytes(self) -> int: ...


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's patience; tests are less patient."""

    lost_s: float = LOST_S
    tick_s: float = TICK_S
    ping_s: float = PING_S
    settle_s: float = SETTLE_S
    stream_buffer_bytes: int = STREAM_BUFFER_BYTES


class Exchange(msgspec.Struct, eq=False):
    """What is known of one request. `done` resolves when there is nothing more to wait for."""

    envelope: Envelope
    sink: Sink | None
    done: "asyncio.Future[None]"
    opened_at: float
    chain_seen: float
    return_seen: float
    written_at: float
    publications: int = 1
    head: Head | None = None
    data: list[Data] = []  # Not streamed: the answer.
    end: End | None = None
    failure: Failure | None = None
    events: int = 0  # Streamed.
    begun: bool = False  # Something was sent to the client: this attempt is the last.
    chain_holder: str = ""
    return_holder: str = ""
    first_data_at: float = 0.0
    losses: int = 0
    again: int = 0
    again_until: float = 0.0
    again_for: Failure | None = None  # Why it was published again.
    republishing: asyncio.TimerHandle | None = None
    fetching: list[Frame] | None = None  # Frames waiting behind a claim check that is being fetched.
    on_end: "Callable[[Exchange], bool] | None" = None  # True if `done` is for who was told to resolve.
    is_recorded: bool = False  # Its audit record is written, and safe when `done` has resolved.
    settle_by: float = 0.0  # Set when the client left.
    on_settled: "Callable[[Exchange], None] | None" = None

    def __repr__(self) -> str:  # It holds a body and an answer, which no log may show.
        return f"Exchange({self.envelope.id})"

    @property
    def abandoned(self) -> bool:
        return self.on_settled is not None


class Exchanges:
    """Every request of this edge that is on the bus."""

    def __init__(
        self,
        bus: Bus,
        *,
        random: Callable[[], float],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        grace_ms: Callable[[], int] = lambda: 3_000,
        timings: Timings = Timings(),  # noqa: B008 - frozen
    ) -> None:
        self._bus, self._random, self._wall, self._monotonic = bus, random, wall, monotonic
        self._grace_ms, self._timings = grace_ms, timings
        self._loop = asyncio.get_running_loop()
        self._open: dict[str, Exchange] = {}
        self._fetches: set[asyncio.Task[None]] = set()
        self._is_open = asyncio.Event()  # The ticker sleeps until then.
        self._ticker: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def start(self) -> None:
        await self._bus.subscribe(HOLDING, self._on_holding, address=self._bus.address)
        self._ticker = asyncio.create_task(self._tick())

    async def close(self) -> None:
        """Waits, bounded, for the last words about requests whose clients left."""
        deadline = self._monotonic() + self._timings.settle_s
        while self._open and self._monotonic() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(self._timings.tick_s / 4)
        if self._ticker is not None:
            self._ticker.cancel()

    def open(
        self, envelope: Envelope, sink: Sink | None = None, on_end: Callable[[Exchange], bool] | None = None
    ) -> Exchange:
        """Publishes the request. Await `done`, then read `failure`, or `head`, `data` and `end`. `on_end` is told when the last frame is
        there, and may leave `done` to somebody else."""
        now = self._monotonic()
        exchange = Exchange(envelope, sink, self._loop.create_future(), now, now, now, now)
        exchange.on_end = on_end
        if not self._open:
            self._is_open.set()
        self._open[envelope.id] = exchange
        self._forward(exchange)
        return exchange

    def abandon(self, exchange: Exchange, on_settled: Callable[[Exchange], None]) -> None:
        """The client left: everything stops, and `on_settled` is called once, with the usage if it still came."""
        exchange.on_settled = on_settled
        if exchange.end is not None or exchange.failure is not None:
            self._settle(exchange)
            return
        exchange.settle_by = self._monotonic() + self._timings.settle_s
        if exchange.republishing is not None:  # Nobody holds it.
            self._settle(exchange)
            return
        self._cancel_holders(exchange)

    # -- publishing

    def _publish_next(self, exchange: Exchange) -> None:
        """Again, from the beginning."""
        exchange.envelope = msgspec.structs.replace(exchange.envelope, attempt=exchange.publications)
        exchange.publications += 1
        exchange.republishing = None
        exchange.chain_seen = exchange.return_seen = self._monotonic()
        exchange.chain_holder = exchange.return_holder = ""
        exchange.head, exchange.fetching = None, None
        exchange.data.clear()
        self._forward(exchange)

    def _forward(self, exchange: Exchange) -> None:
        self._bus.expect(exchange.envelope, lambda frames: self._receive(exchange, frames))
        try:
            self._bus.forward(REQUEST_INSPECT, exchange.envelope)
        except GatewayError as error:
            self._again(exchange, error.failure("edge", again=True))

    def _again(self, exchange: Exchange, failure: Failure) -> None:
        """Nothing was done with it: publish again soon, for as long as a restart may take."""
        now = self._monotonic()
        if not exchange.again_until:
            exchange.again_until = now + self._grace_ms() / 1000
        delay_ms = min(AGAIN_CAP_MS, AGAIN_BASE_MS << min(exchange.again, 8)) * (0.5 + self._random() / 2)
        exchange.again += 1
        exchange.again_for = failure
        too_late = now + delay_ms / 1000 > exchange.again_until
        if too_late or exchange.again > AGAIN_MAX:
            retry_after_ms = failure.retry_after_ms or RETRY_AFTER_MS
            self._fail(exchange, msgspec.structs.replace(failure, again=False, retry_after_ms=retry_after_ms))
            return
        metrics.REPUBLISHED.labels(failure.code).inc()
        self._bus.forget(exchange.envelope.id)
        exchange.republishing = self._loop.call_later(delay_ms / 1000, self._publish_next, exchange)

    # -- frames

    def _receive(self, exchange: Exchange, frames: Sequence[Frame]) -> None:
        if exchange.end is not None or exchange.failure is not None:
            return
        exchange.chain_seen = exchange.return_seen = self._monotonic()
        if exchange.fetching is not None:
            exchange.fetching += frames
            return
        ready: list[Data] = []
        coming = iter(frames)
        for frame in coming:
            if isinstance(frame, Data):
                if frame.ref:
                    self._send(exchange, ready)
                    self._fetch(exchange, frame, list(coming))
                    return
                ready.append(frame)
            elif isinstance(frame, Head):
                exchange.head = frame
            else:
                self._send(exchange, ready)
                self._finish(exchange, frame)
                return
        self._send(exchange, ready)

    def _send(self, exchange: Exchange, data: list[Data]) -> None:
        if not data or exchange.on_settled is not None or exchange.failure is not None:
            return
        if not exchange.first_data_at:
            exchange.first_data_at = exchange.chain_seen
        sink = exchange.sink
        if sink is None:
            exchange.data += data
            return
        if not exchange.begun:
            exchange.begun = True
            sink.begin(exchange.head or Head(), exchange.publications)
        # Asked before, not after: one event may be larger than the bound, and that is not the client's fault.
        behind = sink.unsent_bytes > self._timings.stream_buffer_bytes
        sink.send(data)
        exchange.events += len(data)
        exchange.written_at = exchange.chain_seen
        if behind:
            metrics.SLOW_CONSUMERS.inc()
            self._cancel_holders(exchange)
            message = "the client reads too slowly; the stream was cancelled"
            self._fail(exchange, Failure(code="slow_consumer", message=message, stage="edge"))

    def _finish(self, exchange: Exchange, last: End | Failure) -> None:
        if isinstance(last, End):
            exchange.end = last
            self._resolve(exchange)
        elif exchange.begun or exchange.abandoned:
            self._fail(exchange, last)
        elif last.again:
            self._again(exchange, last)
        elif last.code == "stage_lost":  # A gap in the frames: what was missed is gone, and nothing has left yet.
            self._lost(exchange)
        else:
            self._fail(exchange, last)

    def _fetch(self, exchange: Exchange, claim: Data, later: list[Frame]) -> None:
        """What follows a claim check waits behind it, so that the order holds."""
        exchange.fetching = later
        task = asyncio.create_task(self._withdraw(exchange, claim, exchange.envelope.attempt))
        self._fetches.add(task)
        task.add_done_callback(self._fetches.discard)

    async def _withdraw(self, exchange: Exchange, claim: Data, attempt: int) -> None:
        try:
            json = msgspec.Raw(await self._bus.withdraw(claim.ref))
            self._bus.discard(claim.ref)
        except GatewayError as error:
            if exchange.envelope.attempt == attempt:
                self._cancel_holders(exchange)
                self._fail(exchange, error.failure("edge"))
            return
        if exchange.envelope.attempt != attempt or exchange.fetching is None:
            return
        later, exchange.fetching = exchange.fetching, None
        self._receive(exchange, [Data(json), *later])

    def _fail(self, exchange: Exchange, failure: Failure) -> None:
        if exchange.end is None and exchange.failure is None:
            exchange.failure = _settled(exchange, failure) if exchange.begun else failure
            if failure.stage == RETURNING:
                self._cancel_holders(exchange)
            self._resolve(exchange)

    def _resolve(self, exchange: Exchange) -> None:
        if exchange.on_settled is not None:
            self._settle(exchange)
            return
        self._close(exchange)
        if exchange.done.done():
            return
        is_left: bool | None = None
        try:
            is_left = exchange.on_end is not None and exchange.on_end(exchange)
        finally:
            if is_left is None:  # A bug of ours, which the bus logs.
                exchange.done.set_exception(GatewayError("server_error", "the gateway failed on this answer"))
            elif not is_left:
                exchange.done.set_result(None)

    def _settle(self, exchange: Exchange) -> None:
        self._close(exchange)
        if exchange.on_settled is not None:
            exchange.on_settled(exchange)

    def _close(self, exchange: Exchange) -> None:
        envelope = exchange.envelope
        if self._open.pop(envelope.id, None) is not None:
            self._bus.forget(envelope.id)
            if envelope.body_ref:
                self._bus.discard(envelope.body_ref)
        if exchange.republishing is not None:
            exchange.republishing.cancel()

    # -- holders

    def _on_holding(self, holding: Holding) -> None:
        now = self._monotonic()
        for request_id, attempt in holding.held:
            exchange = self._open.get(request_id)
            if exchange is None or attempt != exchange.envelope.attempt or exchange.abandoned:
                self._cancel(holding.address, request_id, attempt)  # Nobody waits for it.
                continue
            exchange.again_until = 0.0  # Somebody took it: a later refusal has its own grace.
            if holding.role == "chain":
                exchange.chain_holder, exchange.chain_seen = holding.address, now
            else:
                exchange.return_holder, exchange.return_seen = holding.address, now

    def _cancel_holders(self, exchange: Exchange) -> None:
        for address in {exchange.chain_holder, exchange.return_holder} - {""}:
            self._cancel(address, exchange.envelope.id, exchange.envelope.attempt)

    def _cancel(self, address: str, request_id: str, attempt: int) -> None:
        try:
            self._bus.cancel(address, request_id, attempt)
        except GatewayError:
            return  # Not connected: the holder finds that out by its deadline.

    # -- time

    async def _tick(self) -> None:
        last = self._monotonic()
        while True:
            if not self._open:
                self._is_open.clear()
                await self._is_open.wait()
                last = self._monotonic()
            await asyncio.sleep(self._timings.tick_s)
            now, wall_ms = self._monotonic(), self._wall() * 1000
            # When this process itself was held up, the signs of life are still in its sockets: read them first.
            fair = now - last < self._timings.tick_s + self._timings.lost_s / 4
            last = now
            for exchange in list(self._open.values()):
                self._look_after(exchange, now, wall_ms, fair)

    def _look_after(self, exchange: Exchange, now: float, wall_ms: float, fair: bool) -> None:
        if exchange.abandoned:
            if now >= exchange.settle_by:
                self._settle(exchange)
            return
        if wall_ms >= exchange.envelope.deadline_ms:
            self._cancel_holders(exchange)
            message = "no answer within gateway.deadline_ms"
            self._fail(exchange, Failure(code="deadline_exceeded", message=message, stage="edge"))
            return
        if exchange.republishing is not None or exchange.fetching is not None:
            return
        if fair and self._is_lost(exchange, now):
            self._lost(exchange)
        elif exchange.begun and exchange.sink is not None and now - exchange.written_at >= self._timings.ping_s:
            exchange.written_at = now
            exchange.sink.ping()

    def _is_lost(self, exchange: Exchange, now: float) -> bool:
        oldest = now - self._timings.lost_s
        return exchange.chain_seen < oldest or (exchange.return_holder != "" and exchange.return_seen < oldest)

    def _lost(self, exchange: Exchange) -> None:
        self._cancel_holders(exchange)
        exchange.losses += 1
        if exchange.begun or exchange.losses >= ATTEMPTS_MAX:
            metrics.LOST.inc()
            message = "the gateway lost this request with the process that held it; retry"
            failure = Failure(code="stage_lost", message=message, stage="edge", retry_after_ms=RETRY_AFTER_MS)
            self._fail(exchange, failure)
            return
        metrics.REPUBLISHED.labels("stage_lost").inc()
        exchange.again, exchange.again_until = 0, 0.0  # It was taken once: what comes now has a grace of its own.
        self._publish_next(exchange)


def _settled(exchange: Exchange, failure: Failure) -> Failure:
    """With what was used up: when nobody can say, about four characters a token went out and one token an event came."""
    if failure.usage != NOTHING_USED or exchange.head is None:
        return failure
    usage = Usage(input=len(bytes(exchange.envelope.body)) // CHARS_PER_TOKEN, output=exchange.events, estimated=True)
    return msgspec.structs.replace(failure, usage=usage, cost=money.cost(usage, exchange.head.price))
