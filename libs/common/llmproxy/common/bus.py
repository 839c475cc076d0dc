"""The bus: typed channels over a wire, with bounded concurrency, deadlines, heartbeats, cancellation and drain.

Handlers never see NATS. The bus owns what every stage would otherwise do by hand: it decodes, drops what is late, refuses
what is too much, tells the edge who holds its request, cancels on demand, answers for a handler that failed, and finishes
what is held before it closes.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from llmproxy.common import channels, frames, metrics
from llmproxy.common.channels import CONTROL, HOLDING, REPLY, Channel
from llmproxy.common.envelope import ENCODER, INLINE_BYTES_MAX, Envelope
from llmproxy.common.errors import GatewayError, Unavailable, place
from llmproxy.common.frames import Cancel, Failure, Frame, Holding, Packet
from llmproxy.common.records import Event

T = TypeVar("T")
A = TypeVar("A")

ANNOUNCE_NEW_S = 0.05  # A new holder is known to the edge within this time (and the next), so that a cancel finds it.
ALIVE_S = 1.0
EVENTS_GATHER_S = 0.05  # Events of one subject that come within this time share a message, one JSON object a line.
EVENTS_PER_MESSAGE = 500  # Under the server's limit for a message.
EVENTS_MAX = 10_000  # Gathered at once; what is more is not told.
DRAIN_S = 60.0
ASK_AGAIN_S = 0.1  # A question that nobody is there to answer.
DISCARDS_S = 1.0  # For bodies that nobody needs any more, when a service leaves; what is left goes by its age.
QUESTIONS_S = 10.0  # For the answers to questions that had arrived when a service leaves.

LATE, FULL, UNDECODABLE, BUG = map(metrics.UNHANDLED.labels, ("late", "full", "undecodable", "bug"))
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
LINES = msgspec.json.Encoder()

log = logging.getLogger(__name__)


def unhandled(error: Exception) -> None:
    """Of a message: its kind alone, for its words may quote a prompt."""
    BUG.inc()
    log.error("a message could not be handled: %s at %s", type(error).__name__, place(error))


Receive = Callable[[bytes, bytes], None]
"""What a wire calls for each message: subject, payload. Must not block and must not raise."""


class Stored(msgspec.Struct, Generic[T], frozen=True):
    """A message kept by a stream, and its number there."""

    sequence: int
    message: T


class Subscription(Protocol):
    async def drain(self) -> None:
        """No more messages from the server; those already received are delivered first."""


class Bucket(Protocol):
    """A versioned key-value bucket."""

    async def get(self, key: str) -> tuple[bytes, int] | None: ...
    async def put(self, key: str, value: bytes) -> int: ...
    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Compare and set (0: must not exist). Raises GatewayError("conflict")."""

    async def delete(self, key: str) -> None: ...
    async def watch(self, changed: Callable[[str, bytes | None], None]) -> Subscription:
        """Calls `changed(key, value or None)`; returns when everything that was there has been delivered."""


class Waiting(msgspec.Struct, frozen=True):
    """What a stream holds that nobody has acknowledged."""

    messages: int
    oldest_s: float  # How long the first of them has been there; 0 where there is none.


class Wire(Protocol):
    """What carries bytes: NATS, or a fake that passes the same conformance suite. Raises Unavailable."""

    @property
    def connected(self) -> bool: ...
    def publish(self, subject: str, payload: bytes, reply: str = "") -> None: ...
    async def subscribe(self, subject: str, receive: Receive, queue: str = "") -> Subscription: ...
    async def commit(self, subject: str, payload: bytes, message_id: str) -> int: ...
    async def consume(
        self, stream: str, durable: str, subject: str, handle: Callable[[list[tuple[int, bytes]]], Awaitable[None]]
    ) -> Subscription: ...
    async def waiting(self, stream: str) -> Waiting: ...
    async def bucket(self, name: str) -> Bucket: ...
    async def deposit(self, bucket: str, name: str, payload: bytes) -> None: ...
    async def withdraw(self, bucket: str, name: str) -> bytes: ...
    async def discard(self, bucket: str, name: str) -> None:
        """Never raises: what stays is gone after the bucket's time to live."""

    async def provision(self) -> None:
        """Creates or updates the streams and buckets of `topology`."""

    async def flush(self) -> None: ...
    async def close(self) -> None: ...


class Answer(msgspec.Struct, eq=False):  # A struct is made in half the time of another object.
    """The numbered packets that one stage sends for one attempt."""

    _bus: "Bus"
    _envelope: Envelope
    written: bytes = b""
    """The envelope as it came."""
    _seq: int = 0

    @property
    def begun(self) -> bool:
        return self._seq > 0

    def send(self, *sent: Frame) -> None:
        envelope, seq = self._envelope, self._seq
        packet = Packet(id=envelope.id, attempt=envelope.attempt, seq=seq, frames=[*sent])
        payload = frames.ENCODER.encode(packet)
        self._seq = seq + 1  # Not before: what cannot be written is no gap, and whoever waits is told what it was.
        self._bus.wire.publish(REPLY.at(envelope.reply_to), payload)

    def fail(self, error: GatewayError, *, again: bool = False) -> None:
        failure = error.failure(self._bus.service, again=again)
        self.send(
            msgspec.structs.replace(failure, findings=self._envelope.findings, explained=self._envelope.explained)
        )


Role = Literal["chain", "return"]


class Hold:
    """A request that this instance holds, until `release`. The edge hears of it while it lasts."""

    __slots__ = ("_bus", "attend", "cancelled", "edge", "is_released", "place", "task")

    def __init__(self, bus: "Bus", edge: str, place: tuple[str, int, Role]) -> None:
        self._bus, self.edge = bus, edge
        self.place = place  # Among `Bus.holds`.
        self.task: asyncio.Task[None] | None = None
        self.attend: Callable[[], None] | None = None  # Gives what has begun without a task one, with `Bus.run`.
        self.cancelled: Callable[[], None] | None = None
        self.is_released = False

    def cancel(self) -> None:
        if self.attend is not None:
            self.attend()
            self._bus.loop.call_soon(self.cancel)  # When the task has begun: it has something to end.
            return
        if self.task is not None:
            self.task.add_done_callback(self.release)  # One that has not begun ends without a step of its own.
            self.task.cancel()
        if self.cancelled is not None:
            self.cancelled()

    def release(self, _: object = None) -> None:
        if self.is_released:
            return
        self.is_released = True
        # The announcer looks at it once more; what it led to is not kept for that.
        self.task = self.attend = self.cancelled = None
        holds = self._bus.holds
        if holds.pop(self.place, None) is not None and not holds:
            self._bus.idle.set()


class _Expected:
    __slots__ = ("attempt", "receive", "seq")

    def __init__(self, attempt: int, receive: Callable[[Sequence[Frame]], None]) -> None:
        self.attempt, self.receive, self.seq = attempt, receive, 0


Facts = dict[str, str | int | bool]


class _Told(msgspec.Struct, frozen=True):
    """An event that waits for its message."""

    at_ms: int
    id: str
    tenant: str
    about: Any
    facts: Callable[[Any], Facts]


Handler = Callable[[Envelope, Answer], Coroutine[Any, Any, None] | None]
"""Handles a request: either at once (returns None), perhaps holding it for longer, or as a coroutine, which then runs as a bounded, held task."""


class Bus:
    def __init__(
        self,
        wire: Wire,
        *,
        service: str,
        instance: str,
        now: Callable[[], float] = time.time,
        announce_new_s: float = ANNOUNCE_NEW_S,
        alive_s: float = ALIVE_S,
    ) -> None:
        self.wire = wire
        self.loop = asyncio.get_running_loop()  # To ask for it again costs a system call, before Python 3.12.
        self.service = service
        self.instance = instance
        self.address = channels.address(service, instance)
        self.holds: dict[tuple[str, int, str], Hold] = {}
        self.idle = asyncio.Event()  # Set when the last held request was released; only `drain` waits for it.
        self._now = now
        self._announce_new_s, self._alive_s = announce_new_s, alive_s
        self._fresh: list[Hold] = []
        self._is_holding = asyncio.Event()  # The announcer sleeps until then.
        self._expected: dict[str, _Expected] = {}
        self._serving: list[Subscription] = []
        self._subscriptions: list[Subscription] = []
        self._events: dict[str, list[_Told]] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._questions: list[asyncio.Queue[Any]] = []
        self._ticker: asyncio.Task[None] | None = None
        self._discards: set[asyncio.Task[None]] = set()
        self._bounce_prefix = f"{channels.ROOT}.bounce.{self.address}."

    async def start(self) -> None:
        """Listens for cancels, bounces and replies, and begins to announce what is held."""
        self._subscriptions.append(await self._listen(CONTROL.filter(address=self.address), self._on_control))
        self._subscriptions.append(await self._listen(f"{self._bounce_prefix}>", self._on_bounce))
        if self.service in ("edge", "shield"):
            self._subscriptions.append(await self.wire.subscribe(REPLY.filter(address=self.address), self._on_reply))
        self._ticker = asyncio.create_task(self._announce())

    # -- sending

    def publish(self, channel: Channel[T], message: T, **tokens: str) -> None:
        """Sent and forgotten. Raises Unavailable when there is no connection."""
        self.wire.publish(channel.subject(**tokens), msgspec.json.encode(message))

    def event(self, channel: Channel[Event], *, id: str = "", tenant: str = "", **facts: str | int | bool) -> None:
        """Never fails a request."""
        self._gather(channel, _Told(int(self._now() * 1000), id, tenant, facts, dict))

    def tell(
        self, channel: Channel[Event], about: A, facts: Callable[[A], Facts], *, id: str = "", tenant: str = ""
    ) -> None:
        """An event of what happens with every request: its facts are asked for when the message leaves, together with all others."""
        self._gather(channel, _Told(int(self._now() * 1000), id, tenant, about, facts))

    def _gather(self, channel: Channel[Event], told: "_Told") -> None:
        gathered = self._events.get(channel.pattern)
        if gathered is None:
            if not self._events:
                self.loop.call_later(EVENTS_GATHER_S, self._publish_events)
            gathered = self._events[channel.pattern] = []
        if len(gathered) < EVENTS_MAX:
            gathered.append(told)

    def _publish_events(self) -> None:
        events, self._events = self._events, {}
        for pattern, gathered in events.items():
            for start in range(0, len(gathered), EVENTS_PER_MESSAGE):
                lines = LINES.encode_lines(list(map(self._event, gathered[start : start + EVENTS_PER_MESSAGE])))
                try:
                    self.wire.publish(f"{channels.ROOT}.{pattern}", lines[:-1])  # Without the end of the last one.
                except Unavailable:
                    return

    def _event(self, told: "_Told") -> Event:
        return Event(
            at_ms=told.at_ms,
            service=self.service,
            instance=self.instance,
            id=told.id,
            tenant=told.tenant,
            facts=told.facts(told.about),
        )

    def forward(self, channel: Channel[Envelope], envelope: Envelope, provider: str = "", written: bytes = b"") -> None:
        """To the next stage; REQUEST_CALL wants to know which `provider`. If nobody serves it, whoever `reply_to` names gets a
        Failure with `again` at once. `written`: the envelope, where it is written already.

        NATS tells only the publisher that there are no responders, so the reply subject is ours and says whom to tell.
        """
        bounce = f"{self._bounce_prefix}{envelope.reply_to}.{channel.queue}.{envelope.id}.{envelope.attempt}"
        self.wire.publish(channel.only or channel.at(provider), written or ENCODER.encode(envelope), bounce)

    async def commit(self, channel: Channel[T], message: T, message_id: str, **tokens: str) -> int:
        """Onto a stream; returns its sequence once JetStream has it. Raises Unavailable."""
        payload = msgspec.json.encode(message)
        return await self.wire.commit(channel.subject(**tokens), payload, message_id)

    def cancel(self, holder: str, envelope_id: str, attempt: int) -> None:
        self.publish(CONTROL, Cancel(envelope_id, attempt), address=holder)

    # -- receiving

    async def _listen(self, subject: str, receive: Receive, queue: str = "") -> Subscription:
        """What a receiver raises would end the wire's reader, and with it everything else that this instance does.

        Nobody needs to be told here: who waits for a reply is told by `_on_reply`, and a holder that gave up is silent.
        """

        def guarded(subject: bytes, payload: bytes) -> None:
            try:
                receive(subject, payload)
            except Exception as error:  # noqa: BLE001 - as said; its words may quote a prompt
                unhandled(error)

        return await self.wire.subscribe(subject, guarded, queue)

    async def subscribe(self, channel: Channel[T], handle: Callable[[T], None], **tokens: str) -> None:
        """Every message of a channel, to every instance; a message that does not decode is counted and dropped.

        Events that came together share a message, one JSON object a line; each is handled by itself.
        """

        def receive(_: bytes, payload: bytes) -> None:
            for line in payload.split(b"\n"):
                try:
                    message = channel.decode(line)
                except msgspec.DecodeError:
                    UNDECODABLE.inc()
                else:
                    handle(message)

        self._subscriptions.append(await self._listen(channel.filter(**tokens), receive))

    async def serve(self, channel: Channel[Envelope], handle: Handler, *, max_in_flight: int, **tokens: str) -> None:
        """Shares the channel's requests with the other instances of this service."""

        decode, now, holds = channel.decode, self._now, self.holds

        def receive(_: bytes, payload: bytes) -> None:
            try:
                envelope = decode(payload)
            except UNREADABLE:
                UNDECODABLE.inc()
                return
            if envelope.deadline_ms < now() * 1000:
                LATE.inc()
                return
            answer = Answer(self, envelope, payload)
            try:
                if len(holds) >= max_in_flight:
                    FULL.inc()
                    raise GatewayError(
                        "server_is_overloaded", f"every {self.service} is busy; retry", retry_after_ms=1000
                    )
                work = handle(envelope, answer)
                if work is not None:
                    self.run(self.hold(envelope), envelope, answer, work)
            except Exception as error:  # noqa: BLE001 - a bug must answer its caller; its words may quote a prompt
                self._fail(envelope, answer, error)

        self._serving.append(await self.wire.subscribe(channel.filter(**tokens), receive, channel.queue))

    async def consume(
        self, channel: Channel[T], durable: str, handle: Callable[[list[Stored[T]]], Awaitable[None]]
    ) -> Subscription:
        """Batches from a stream, acknowledged when `handle` returns; when it raises Unavailable they come again.

        Ends when the bus leaves, or before that when the subscription is drained."""

        async def batch(messages: list[tuple[int, bytes]]) -> None:
            decoded: list[Stored[T]] = []
            for sequence, payload in messages:
                try:
                    decoded.append(Stored(sequence, channel.decode(payload)))
                except UNREADABLE:
                    UNDECODABLE.inc()
                    log.error("stream %s: message %d does not decode; skipped", channel.stream, sequence)
            await handle(decoded)

        subscription = await self.wire.consume(channel.stream, durable, channel.filter(), batch)
        self._serving.append(subscription)
        return subscription

    async def waiting(self, channel: Channel[Any]) -> Waiting:
        """In the stream of a channel that is a queue of work. Raises Unavailable."""
        return await self.wire.waiting(channel.stream)

    def expect(self, envelope: Envelope, receive: Callable[[Sequence[Frame]], None]) -> None:
        """Frames for this attempt go to `receive`, in order. Older attempts are dropped; a gap arrives as a Failure."""
        self._expected[envelope.id] = _Expected(envelope.attempt, receive)

    def forget(self, envelope_id: str) -> None:
        self._expected.pop(envelope_id, None)

    async def ask(self, channel: Channel[A], question: A, answers: Channel[T], id: str, timeout_s: float) -> T:
        """One question to whoever serves it, one answer. Raises Unavailable when nobody answers in time.

        While nobody serves it (NATS says so at once, with an empty message), it is asked again: an instance may be about to come.
        """
        arrived: asyncio.Queue[bytes] = asyncio.Queue()
        place = answers.subject(address=self.address, id=id)
        subscription = await self.wire.subscribe(place, lambda _, payload: arrived.put_nowait(payload))
        try:
            async with asyncio.timeout(timeout_s):
                self.wire.publish(channel.subject(), msgspec.json.encode(question), place)
                while not (payload := await arrived.get()):
                    await asyncio.sleep(ASK_AGAIN_S)
                    self.wire.publish(channel.subject(), msgspec.json.encode(question), place)
                return answers.decode(payload)
        except TimeoutError:
            raise Unavailable("stage_unavailable", f"nobody answered {channel.pattern} in {timeout_s:g} s") from None
        finally:
            await subscription.drain()

    async def answer_questions(self, channel: Channel[A], handle: Callable[[A], Coroutine[Any, Any, None]]) -> None:
        """Serves `ask`: `handle` publishes the answer itself. One at a time is enough for the control plane."""
        queue: asyncio.Queue[A] = asyncio.Queue(maxsize=64)

        def receive(_: bytes, payload: bytes) -> None:
            try:
                queue.put_nowait(channel.decode(payload))
            except msgspec.DecodeError:
                UNDECODABLE.inc()
            except asyncio.QueueFull:
                FULL.inc()

        async def work() -> None:
            while True:
                question = await queue.get()
                try:
                    await handle(question)
                except GatewayError as error:
                    log.warning("%s: %s", channel.pattern, error.message)
                except Exception as error:  # noqa: BLE001 - the next question must find somebody; as in serve
                    BUG.inc()
                    log.error("%s: %s at %s", channel.pattern, type(error).__name__, place(error))
                finally:
                    queue.task_done()

        self._serving.append(await self._listen(channel.filter(), receive, channel.queue))
        self._questions.append(queue)
        self._workers.append(asyncio.create_task(work()))

    # -- holding

    def hold(self, envelope: Envelope, role: Role = "chain") -> Hold:
        place = (envelope.id, envelope.attempt, role)
        self.holds[place] = held = Hold(self, envelope.edge, place)
        if not self._fresh:
            self._is_holding.set()
        self._fresh.append(held)
        return held

    def run(self, held: Hold, envelope: Envelope, answer: Answer, work: Coroutine[Any, Any, None]) -> None:
        """`held` until the work on it ends."""
        held.attend = None
        held.task = self.loop.create_task(self.guarded(envelope, answer, work, held))

    async def guarded(
        self, envelope: Envelope, answer: Answer, work: Coroutine[Any, Any, None], held: Hold | None = None
    ) -> None:
        """Work on a request that nobody waits for: whatever it raises ends the answer, and what is `held` is released."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - as in serve
            self._fail(envelope, answer, error)
        finally:
            if held is not None:  # Here, for a task's callback is one more turn of the loop.
                held.release()

    def goes_on(self, held: Hold, envelope: Envelope, answer: Answer, take: Callable[[A], bool], came: A) -> bool:
        """Whether `held` is held on when `take` has had what came for it, which waits without a task. Whatever it raises ends the
        answer."""
        try:
            is_held = take(came)
        except Exception as error:  # noqa: BLE001 - as in serve
            is_held = False
            self._fail(envelope, answer, error)
        if not is_held:
            held.release()
        return is_held

    def _fail(self, envelope: Envelope, answer: Answer, error: Exception) -> None:
        if not isinstance(error, GatewayError):
            BUG.inc()
            log.error("request %s: %s at %s", envelope.id, type(error).__name__, place(error))
            error = GatewayError("server_error", f"the {self.service} failed on this request")
        with contextlib.suppress(Unavailable):  # Without a bus the edge learns of it by our silence.
            answer.fail(error)

    async def _announce(self) -> None:
        """New holders soon, all holders every second, one message for each edge."""
        pending: list[Hold] = []
        last = time.monotonic()
        while True:
            if not (pending or self._fresh or self.holds):
                self._is_holding.clear()
                await self._is_holding.wait()
                last = time.monotonic()
            await asyncio.sleep(self._announce_new_s)
            now = time.monotonic()
            if now - last >= self._alive_s:
                last = now
                self._tell(list(self.holds.values()))
            else:
                self._tell([held for held in pending if not held.is_released])
            pending, self._fresh = self._fresh, []

    def _tell(self, held: list[Hold]) -> None:
        by_edge: dict[tuple[str, Role], list[tuple[str, int]]] = {}
        for one in held:
            id_, attempt, role = one.place
            by_edge.setdefault((one.edge, role), []).append((id_, attempt))
        for (edge, role), keys in by_edge.items():
            try:
                self.publish(HOLDING, Holding(address=self.address, role=role, held=keys), address=edge)
            except Unavailable:
                return

    def _on_control(self, _: bytes, payload: bytes) -> None:
        try:
            cancel = CONTROL.decode(payload)
        except msgspec.DecodeError:
            UNDECODABLE.inc()
            return
        for role in ("chain", "return"):
            held = self.holds.get((cancel.id, cancel.attempt, role))
            if held is not None:
                held.cancel()

    def _on_bounce(self, subject: bytes, _: bytes) -> None:
        service, instance, stage, id_, attempt = subject[len(self._bounce_prefix) :].decode().split(".")
        failure = Failure(
            code="stage_unavailable", message=f"no {stage} is running; start one", stage=stage, again=True
        )
        packet = Packet(id=id_, attempt=int(attempt), frames=[failure])
        self.publish(REPLY, packet, address=f"{service}.{instance}")

    def _on_reply(self, _: bytes, payload: bytes) -> None:
        """Raises nothing, see `_listen`. Two of a request's five messages come here, so there is no function around it."""
        try:
            packet = frames.DECODER.decode(payload)
        except UNREADABLE:
            UNDECODABLE.inc()
            return
        expected = self._expected.get(packet.id)
        if expected is None or packet.attempt != expected.attempt or packet.seq < expected.seq:
            return
        received = packet.frames
        if packet.seq > expected.seq:
            del self._expected[packet.id]
            received = [Failure(code="stage_lost", message="part of the answer was lost inside the gateway; retry")]
        expected.seq += 1
        try:
            expected.receive(received)
        except Exception as error:  # noqa: BLE001 - as in _listen
            unhandled(error)
            self._give_up(packet.id, expected)

    def _give_up(self, id_: str, expected: _Expected) -> None:
        """What was to receive an answer has failed on it."""
        self._expected.pop(id_, None)
        said = f"the {self.service} failed on this answer"
        try:
            expected.receive([Failure(code="server_error", message=said, stage=self.service)])
        except Exception as error:  # noqa: BLE001 - as in _listen
            unhandled(error)

    # -- ending

    async def deposit(self, envelope_id: str, payload: bytes) -> str:
        """Claim check for what is above INLINE_BYTES_MAX; returns its reference."""
        assert len(payload) > INLINE_BYTES_MAX
        await self.wire.deposit(channels.BODIES_BUCKET, envelope_id, payload)
        return envelope_id

    async def withdraw(self, reference: str) -> bytes:
        return await self.wire.withdraw(channels.BODIES_BUCKET, reference)

    def discard(self, reference: str) -> None:
        """Nobody will withdraw it any more. The bucket is bounded: what stayed would keep other large bodies out."""
        task = asyncio.create_task(self.wire.discard(channels.BODIES_BUCKET, reference))
        self._discards.add(task)
        task.add_done_callback(self._discards.discard)

    async def leave(self) -> None:
        """Takes no new work; what was already delivered is still handled. Afterwards all that is held and can be waited for has a task."""
        serving, self._serving = self._serving, []
        for subscription in serving:
            await subscription.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUESTIONS_S):
                for questions in self._questions:
                    await questions.join()
        for held in [*self.holds.values()]:
            if held.attend is not None:
                held.attend()

    async def drain(self, timeout_s: float = DRAIN_S) -> None:
        """Leaves, finishes what is held, flushes and closes. What is still held after `timeout_s` is cancelled."""
        await self.leave()
        self.idle.clear()
        if self.holds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self.idle.wait()
        tasks = [held.task for held in self.holds.values() if held.task is not None]
        for task in (*tasks, *self._workers):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        if self._ticker is not None:
            self._ticker.cancel()
        if self._discards:
            await asyncio.wait(self._discards, timeout=DISCARDS_S)
        if self.wire.connected:
            self._publish_events()
            # It went away meanwhile; what it has not been told no longer concerns anybody.
            with contextlib.suppress(Unavailable):
                await self.wire.flush()
        await self.wire.close()
