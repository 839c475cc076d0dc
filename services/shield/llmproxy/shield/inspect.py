"""Handles requests to inspect: examines the body, forwards it masked, and stays in the way back of what it masked or reads."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Raw, structs

from llmproxy.common import money
from llmproxy.common.answers import ANSWER
from llmproxy.common.bus import Answer, Bus, Hold
from llmproxy.common.channels import (
    CONVERSATIONS_BUCKET,
    EVENT_GUARD_ALERTED,
    EVENT_GUARD_FAILED,
    EVENT_SEGMENT_MASKED,
    REQUEST_ROUTE,
)
from llmproxy.common.config import Config
from llmproxy.common.config_watch import ConfigWatch
from llmproxy.common.envelope import INLINE_BYTES_MAX, Api, Envelope
from llmproxy.common.explanations import Explained, joined, summed
from llmproxy.common.frames import Data, End, Failure, Frame, Head, Usage
from llmproxy.common.plugins.host import Pipeline
from llmproxy.common.policy import Policies, Policy
from llmproxy.shield import metrics
from llmproxy.shield.answers.asked import SPOKEN, is_inspected
from llmproxy.shield.answers.guards import Guards
from llmproxy.shield.answers.reading import Reading
from llmproxy.shield.chain import unmeasured
from llmproxy.shield.continuation import Continuation, response_id
from llmproxy.shield.conversations import Conversations, continued, name_of
from llmproxy.shield.embedding.weigh import Weighs, weighed
from llmproxy.shield.examine import Examined, Order, Refused, examine_within
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.inspection import Inspection
from llmproxy.shield.judge import Judges, judged
from llmproxy.shield.made import Made
from llmproxy.shield.offload import INLINE_BYTES_MAX as LOOP_BYTES_MAX
from llmproxy.shield.offload import INLINE_WORK_MAX as LOOP_WORK_MAX
from llmproxy.shield.offload import Offload
from llmproxy.shield.overdue import Overdue
from llmproxy.shield.postflight import Passage
from llmproxy.shield.readers import Readers
from llmproxy.shield.restore import restorer
from llmproxy.shield.restore.whole import Unmasking
from llmproxy.shield.vault import tenant_key
from llmproxy.shield.window import Originals

FAREWELL_S = 1.0  # After a cancel: how long the worker's last word, with what was used so far, may take.
NAMED_BY_PATH: frozenset[Api] = frozenset({"gemini"})  # APIs whose bodies do not say the model.
CONTINUED: frozenset[Api] = frozenset({"responses"})  # APIs whose requests may say the last turn alone.
REPEATING: frozenset[Api] = frozenset({"responses", "transcriptions"})  # APIs whose streams say every text again.
CHARS_PER_TOKEN = 4
# Of one event of a stream that is read in the loop, whatever it says: 0.4 ms for each KiB, and eighty times that for hostile ones. The way to
# a thread costs 0.05 ms.
READ_BYTES_MAX = 512
READ_TOGETHER_MAX = 2 << 10  # Of several that come together.
GLANCE_BYTES_MAX = 4 << 10  # Of an answer of which a glance, in microseconds, may tell that it is prose.
LAST = (End, Failure)
NO_ORIGINALS = Originals({})
NO_FINDINGS: dict[str, int] = {}
TENANT_KEYS_MAX = 4_096  # Derived keys kept; a tenant beyond them costs one HMAC more for each request.


class Inspect:
    """The handler of `request.inspect`. `sessions` are the answers that come through this instance, by request id."""

    def __init__(
        self,
        bus: Bus,
        config: ConfigWatch,
        *,
        preflight: Pipeline[Inspection],
        postflight: Pipeline[Passage],
        offload: Offload,
        judges: Judges | None = None,
        embedding: Weighs | None = None,
        mask_secret: bytes,
        clock: Callable[[], float],
        now: Callable[[], float],
        cpu: Callable[[], float] = unmeasured,
    ) -> None:
        """`cpu` is of the loop's thread: what takes it longer than it may is examined elsewhere."""
        self.sessions: dict[str, Session] = {}
        self._bus, self._config = bus, config
        self._preflight, self._postflight, self._offload = preflight, postflight, offload
        self._judges = judges
        self.embedding = embedding  # From when it is known to be there.
        self.conversations = Conversations(lambda: bus.wire.bucket(CONVERSATIONS_BUCKET))
        self._mask_secret, self._clock, self._now, self._cpu = mask_secret, clock, now, cpu
        self._tenant_keys: dict[str, bytes] = {}
        self._policies = Policies(config.config.policy)
        self._guards = Made[Policy, Guards](lambda policy: Guards(GUARDS, policy))
        self.overdue = Overdue(asyncio.get_running_loop())
        self.readers = Readers()
        metrics.SESSIONS.set_function(lambda: len(self.sessions))

    def __call__(self, envelope: Envelope, answer: Answer) -> Coroutine[Any, Any, None] | None:
        """At once for a small body; a coroutine for one that is large or lies elsewhere."""
        if envelope.api == "probe":
            self._bus.forward(REQUEST_ROUTE, envelope)
            return None
        body = bytes(envelope.body)
        if envelope.body_ref or len(body) > LOOP_BYTES_MAX:
            return self._large(envelope, answer, body)
        order = self._order(envelope, body, self._config.config)
        examined = examine_within(LOOP_WORK_MAX, order, self._preflight, self._clock, loop_cpu=self._cpu)
        if examined is None:
            return self._large(envelope, answer, body)
        if isinstance(examined, Examined) and (examined.uncertain or examined.doubts or examined.continuation):
            return self._in_doubt(envelope, answer, examined, order)
        self._proceed(envelope, answer, examined, order.policy, body_ref="")
        return None

    async def _in_doubt(self, envelope: Envelope, answer: Answer, examined: Examined, order: Order) -> None:
        result = await self._settled(examined, order, _caller(envelope))
        self._proceed(envelope, answer, result, order.policy, body_ref="")

    async def _settled(self, examined: Examined | Refused, order: Order, caller: str) -> Examined | Refused:
        """With what only others know: two models about a doubt, and what was remembered of the conversation."""
        if isinstance(examined, Examined) and examined.uncertain and self.embedding is not None:
            examined = await weighed(examined, order.policy, self.embedding)
        if isinstance(examined, Examined) and examined.doubts:
            examined = await judged(examined, order.policy, order.key, self._judges, caller)
        if isinstance(examined, Examined) and examined.continuation is not None:
            examined = await continued(examined, order.policy, order.key, self.conversations)
        return examined

    async def _large(self, envelope: Envelope, answer: Answer, body: bytes) -> None:
        config = self._config.config  # Of the moment the request came; a change applies to the next one.
        if envelope.body_ref:
            body = await self._bus.withdraw(envelope.body_ref)
        metrics.OFFLOADED.inc()
        order = self._order(envelope, body, config)
        caller = _caller(envelope)
        examined = await self._settled(await self._offload.examine(order, caller), order, caller)
        body_ref = envelope.body_ref
        if isinstance(examined, Examined) and examined.masked is not None:
            body_ref = ""
            if len(examined.masked) > INLINE_BYTES_MAX:
                # A name of its own: another attempt of this request may still read the original.
                body_ref = await self._bus.deposit(f"{envelope.id}.{envelope.attempt}.masked", examined.masked)
                examined = structs.replace(examined, masked=b"null")
        self._proceed(envelope, answer, examined, order.policy, body_ref=body_ref)

    def _order(self, envelope: Envelope, body: bytes, config: Config) -> Order:
        if self._policies.configured is not config.policy:
            self._policies = Policies(config.policy)
        policy = self._policies.of(envelope)
        if self._judges is not None and self._judges.is_own(envelope.key):
            policy = self._judges.exempt(policy)
        return Order(
            body=body,
            policy=policy,
            key=self._tenant_keys.get(envelope.tenant) or self.key_of(envelope.tenant),
            max_depth=config.gateway.max_depth,
            model=envelope.model if envelope.api in NAMED_BY_PATH else "",
            is_continued=envelope.api in CONTINUED,
            is_weighed=self.embedding is not None,
        )

    def key_of(self, tenant: str) -> bytes:
        key = self._tenant_keys.get(tenant)
        if key is None:
            if len(self._tenant_keys) >= TENANT_KEYS_MAX:
                self._tenant_keys.clear()
            key = self._tenant_keys[tenant] = tenant_key(self._mask_secret, tenant)
        return key

    def _proceed(
        self, envelope: Envelope, answer: Answer, examined: Examined | Refused, policy: Policy, *, body_ref: str
    ) -> None:
        if examined.findings:
            for kind, count in examined.findings.items():
                metrics.FINDINGS.labels(kind).inc(count)
        if examined.explained is not None:
            envelope = structs.replace(
                envelope,
                findings=summed(envelope.findings, examined.findings),
                explained=joined(envelope.explained, examined.explained),
            )
            self.alert(envelope, examined.explained, examined.findings)
        if isinstance(examined, Refused):
            self._refuse(envelope, answer, examined)
            return
        onward = envelope
        if examined.masked is not None:
            onward = structs.replace(envelope, body=Raw(examined.masked), body_ref=body_ref)
            if examined.findings:
                metrics.MASKED.inc()
                self._bus.event(EVENT_SEGMENT_MASKED, id=envelope.id, tenant=envelope.tenant, **examined.findings)
        is_masked = bool(examined.originals)
        guards = self._guards.of(policy) if envelope.api in SPOKEN else None
        is_read = guards is not None and is_inspected(
            policy.answers, examined.asked, is_masked=is_masked or guards.has_rails
        )
        going_on = examined.continuation if examined.continuation and examined.continuation.turns else None
        if not (is_masked or is_read or going_on):  # Nothing comes back, and nothing is looked for.
            self._bus.forward(REQUEST_ROUTE, onward)
            return
        deposited = body_ref if body_ref != envelope.body_ref else ""
        earlier = self.sessions.get(envelope.id)
        if earlier is not None and earlier.attempt > envelope.attempt:
            return  # This one was looked at for so long that the edge has published the request again.
        if earlier is not None:  # The edge has published the request again: nobody reads the older attempt's frames.
            earlier.close()
        passage = self._passage(envelope, examined, guards if is_read else None)
        session = self.sessions[envelope.id] = Session(self, envelope, answer, passage, deposited, going_on)
        try:
            self._bus.forward(REQUEST_ROUTE, structs.replace(onward, reply_to=self._bus.address))
        except BaseException:
            session.close()
            raise

    def _passage(self, envelope: Envelope, examined: Examined, guards: Guards | None) -> Passage:
        """`guards`: of answers that are read."""
        if guards is None:
            unmasking = Unmasking(examined.originals)
            return Passage(unmasking, restorer(envelope.api, unmasking, stream=envelope.stream))
        reading = Reading(
            guards,
            examined.asked,
            Originals(examined.originals) if examined.originals else NO_ORIGINALS,
            clock=self._clock,
            is_repeated=envelope.stream and envelope.api in REPEATING,
            key=self._tenant_keys.get(envelope.tenant) or self.key_of(envelope.tenant),
        )
        return Passage(reading, restorer(envelope.api, reading, stream=envelope.stream))

    def alert(self, envelope: Envelope, explained: Explained, findings: Mapping[str, int]) -> None:
        alerting = {
            (ANSWER if one.side == "answer" else "") + one.kind for one in explained.findings if one.action == "alert"
        }
        if alerting:
            counts = {kind: findings[kind] for kind in sorted(alerting)}
            self._bus.event(EVENT_GUARD_ALERTED, id=envelope.id, tenant=envelope.tenant, **counts)

    def _refuse(self, envelope: Envelope, answer: Answer, refused: Refused) -> None:
        metrics.REFUSED.labels(refused.code).inc()
        if refused.code in ("guard_unavailable", "request_too_large"):
            self._bus.event(EVENT_GUARD_FAILED, id=envelope.id, tenant=envelope.tenant, reason=refused.message)
        failure = refused.error().failure(self._bus.service)
        answer.send(structs.replace(failure, findings=envelope.findings, explained=envelope.explained))


def _caller(envelope: Envelope) -> str:
    """Who takes turns with others, where several wait."""
    return envelope.key or envelope.tenant


class Session:
    """One answer on its way back through this instance, until it ends, fails, is cancelled or is too late."""

    __slots__ = (
        "_answer", "_aside", "_bus", "_closed", "_deposited", "_envelope", "_events", "_explained", "_found", "_head", "_hold",
        "_inspect", "_is_over", "_late", "_parts", "_passage", "_stopped",
        "going_on",
    )  # fmt: skip

    def __init__(
        self,
        inspect: Inspect,
        envelope: Envelope,
        answer: Answer,
        passage: Passage,
        deposited: str,
        going_on: Continuation | None,
    ) -> None:
        bus = inspect._bus
        self._inspect, self._bus, self._envelope, self._answer = inspect, bus, envelope, answer
        self._passage: Passage | None = passage  # None: nobody reads the answer any more.
        self._deposited = deposited
        self.going_on = going_on  # To be remembered under the answer's id, when it comes.
        self._found = NO_FINDINGS  # In the answer.
        self._explained: Explained | None = None
        self._head = NO_HEAD
        self._events = 0
        self._is_over = False  # What the steps hold has come out.
        self._stopped: Failure | None = None  # Why the answer may not go on, while what was used is waited for.
        self._late: list[Frame] = []  # Frames behind a large answer that is being fetched or deposited.
        self._aside: asyncio.Task[None] | None = None
        self._parts = 0  # Deposited; each has a name of its own.
        self._closed = False
        self._hold: Hold = bus.hold(envelope, role="return")
        self._hold.cancelled = self._cancel
        bus.expect(envelope, self.receive)
        inspect.overdue.expect(self, envelope.deadline_ms / 1000 - inspect._now(), self._expire)

    @property
    def attempt(self) -> int:
        return self._envelope.attempt

    def _expire(self) -> None:
        metrics.EXPIRED.inc()
        self.close()

    def _give_up(self) -> None:
        """The last word of an answer that was stopped has not come."""
        assert self._stopped is not None
        self.close()
        self._answer.send(self._settled(self._stopped))

    def _cancel(self) -> None:
        """Forgets the originals; only the last word still goes through, because it says what was used."""
        self._forget()
        self._late, self._stopped = [], None
        if self._aside is not None:
            self._aside.cancel()
            self._aside = None
        self._hold.release()
        self._inspect.overdue.expect(self, FAREWELL_S, self.close)

    def close(self) -> None:
        """Forgets the originals."""
        if self._closed:
            return
        self._closed = True
        inspect, name = self._inspect, self._envelope.id
        inspect.overdue.forget(self)
        self._hold.release()
        self._bus.forget(name)
        if self._deposited:
            self._bus.discard(self._deposited)
        if inspect.sessions.get(name) is self:
            del inspect.sessions[name]
        if self._aside is not None:
            self._aside.cancel()
        if self._explained is not None:
            inspect.alert(self._envelope, self._explained, self._found)

    def _forget(self) -> None:
        passage, self._passage = self._passage, None
        if passage is not None and (found := passage.counts):
            self._found, self._explained = found, passage.explained

    def receive(self, frames: Sequence[Frame]) -> None:
        """Called by the bus, in order."""
        if self._aside is not None:
            self._late += frames
            return
        sent: list[Frame] = []
        sent_bytes = read_bytes = 0
        for position, frame in enumerate(frames):
            if type(frame) is Data:
                event = bytes(frame.json)
                read_bytes += len(event)
                if (work := self._apart(frame, event, read_bytes)) is not None:
                    self._step_aside(work, frames[position + 1 :])
                    break
                # A stream's end is told by itself: with it comes what was used, should it be refused.
                self._is_over = len(frames) == position + 2 and type(frames[-1]) is End and not self._envelope.stream
                restored = self._data(event, frame)
            elif type(frame) is Head:
                sent.append(self._begun(frame))
                continue
            else:
                passage = self._passage
                if (back := self._untaken(frame)) is not None:
                    self._step_aside(back, frames[position + 1 :])
                    break
                if passage is not None and not self._is_over and passage.is_slow:
                    self._step_aside(self._inspect.readers.read(0, partial(self._last, frame)), frames[position + 1 :])
                    break
                restored = self._last(frame)
            if len(restored) == 1 and restored[0] is frame:  # As nearly all.
                sent.append(frame)
            else:
                sent_bytes += sum(len(memoryview(one.json)) for one in restored if type(one) is Data)
                # What comes back may be a thousand times as long as what stood for it.
                if sent_bytes > INLINE_BYTES_MAX:
                    self._step_aside(_settled(restored), frames[position + 1 :])
                    break
                sent += restored
            if restored and type(restored[-1]) in LAST:
                self.close()
                break
        if sent:
            self._answer.send(*sent)
        if self._stopped is not None:
            self._await_last_word()

    def _await_last_word(self) -> None:
        if self._stopped is not None and not self._closed:
            self._inspect.overdue.expect(self, FAREWELL_S, self._give_up)

    def _begun(self, head: Head) -> Head:
        self._head = head
        if head.content_type and head.content_type.startswith("text/") and self._passage is not None:
            self._passage.reads_plain_text()
        findings = self._envelope.findings
        return structs.replace(head, findings=findings) if findings and not head.findings else head

    def _last(self, frame: Frame) -> list[Frame]:
        if type(frame) is End:
            return self._ended(frame)
        assert type(frame) is Failure, "data goes another way"
        return self._failed(frame)

    def _ended(self, end: End) -> list[Frame]:
        rest = [] if self._is_over else self._data(b"")
        if self._stopped is not None:
            return [structs.replace(self._stopped, usage=end.usage, cost=end.cost)]
        self._count()
        if self._found:
            end = structs.replace(end, findings=self._found, explained=self._explained)
        rest.append(end)
        return rest

    def _failed(self, failure: Failure) -> list[Frame]:
        message = failure.message if self._passage is None else self._passage.texts.words(failure.message)
        rest = self._data(b"")
        if self._stopped is not None:
            return [structs.replace(self._stopped, usage=failure.usage, cost=failure.cost)]
        self._count()
        found = summed(failure.findings or self._envelope.findings, self._found)
        return [
            *rest,
            structs.replace(
                failure, message=message, findings=found, explained=joined(failure.explained, self._explained)
            ),
        ]

    def _count(self) -> None:
        """The answer is over: what was found in it is known."""
        self._forget()
        if self._found:
            for kind, count in self._found.items():
                metrics.FINDINGS.labels(kind).inc(count)

    def _data(self, event: bytes, frame: Data | None = None) -> list[Frame]:
        """One event through ring 4, and the frame that it came in, if that may go on with it; `b""` is the end of the answer, if that was
        not known with its last event. A step that fails ends the answer with its refusal.

        A stream ends at once. A whole answer ends when it is known what was used, which comes with it.
        """
        passage = self._passage
        if passage is None:
            return []
        refusal = passage.through(self._inspect._postflight, event, is_last=self._is_over)
        self._events += 1
        if refusal is None:
            events = passage.events
            if frame is not None and len(events) == 1 and events[0] is event:
                return [frame]
            return [Data(Raw(one)) for one in events]
        self._count()
        envelope = self._envelope
        stopped = structs.replace(
            refusal.failure(self._bus.service),
            findings=summed(envelope.findings, self._found),
            explained=joined(envelope.explained, self._explained),
        )
        metrics.STOPPED.labels(stopped.code).inc()
        if self._envelope.stream and event:
            return [self._settled(stopped)]
        self._stopped = stopped
        return []

    def _settled(self, stopped: Failure) -> Failure:
        """With what was used as far as can be told: the provider has not finished counting."""
        usage = Usage(input=len(bytes(self._envelope.body)) // CHARS_PER_TOKEN, output=self._events, estimated=True)
        return structs.replace(stopped, usage=usage, cost=money.cost(usage, self._head.price))

    def _step_aside(self, work: Coroutine[Any, Any, list[Frame]], late: Sequence[Frame]) -> None:
        self._late += late
        self._aside = asyncio.create_task(self._bus.guarded(self._envelope, self._answer, self._large(work)))

    async def _large(self, work: Coroutine[Any, Any, list[Frame]]) -> None:
        """Sends frames one by one, what is too large by claim check, then what came meanwhile."""
        try:
            frames = await work
            for frame in frames:
                self._answer.send(await self._parked(frame))
        except Exception:
            self._aside = None
            self.close()
            raise
        self._aside = None
        if frames and type(frames[-1]) in LAST:
            self.close()
            return
        late, self._late = self._late, []
        if late:
            self.receive(late)
        else:
            self._await_last_word()

    def _apart(self, frame: Data, event: bytes, read_bytes: int) -> Coroutine[Any, Any, list[Frame]] | None:
        """How to deal with what lies elsewhere or would keep the loop for long; None for the rest. `read_bytes`: of all that has come with it."""
        if self.going_on is not None:
            return self._remember(frame, self.going_on)
        if frame.ref:
            return self._fetch(frame)
        passage = self._passage
        if passage is None or (reading := passage.reading) is None:
            return None
        is_much = not self._envelope.stream or len(event) > READ_BYTES_MAX or read_bytes > READ_TOGETHER_MAX
        if is_much and len(event) <= GLANCE_BYTES_MAX and passage.is_prose(event):
            return None
        if is_much or (reading.may_be_slow and reading.is_slow):
            return self._inspect.readers.read(len(event), partial(self._data, event))
        return None

    async def _remember(self, frame: Data, going_on: Continuation) -> list[Frame]:
        """Before the caller knows the answer's id: a request that goes on from it finds what is known of this one."""
        self.going_on = None
        answer = bytes(frame.json)
        if frame.ref:
            answer = await self._bus.withdraw(frame.ref)
            self._bus.discard(frame.ref)
        if name := response_id(answer):
            key = self._inspect.key_of(self._envelope.tenant)
            await self._inspect.conversations.remember(name_of(key, name), going_on.turns)
        return await self._inspect.readers.read(len(answer), partial(self._data, answer))

    def _untaken(self, last: Frame) -> Coroutine[Any, Any, list[Frame]] | None:
        """How to go on when the vendor has not taken the turn. Of one that was cancelled nobody knows, so it counts."""
        going_on = self.going_on
        if type(last) is not Failure or going_on is None or not going_on.added or self._passage is None:
            return None
        self.going_on = None
        return self._taken_back(last, going_on)

    async def _taken_back(self, last: Frame, going_on: Continuation) -> list[Frame]:
        key = self._inspect.key_of(self._envelope.tenant)
        await self._inspect.conversations.take_back(name_of(key, going_on.conversation), going_on.added)
        return await self._inspect.readers.read(0, partial(self._last, last))

    async def _fetch(self, frame: Data) -> list[Frame]:
        """A large answer: withdrawn, and read off the loop."""
        answer = await self._bus.withdraw(frame.ref)
        self._bus.discard(frame.ref)
        return await self._inspect.readers.read(len(answer), partial(self._data, answer))

    async def _parked(self, frame: Frame) -> Frame:
        if isinstance(frame, Data) and len(bytes(frame.json)) > INLINE_BYTES_MAX:
            self._parts += 1
            name = f"{self._envelope.id}.{self._envelope.attempt}.restored.{self._parts}"
            return Data(ref=await self._bus.deposit(name, bytes(frame.json)))
        return frame


NO_HEAD = Head()


async def _settled(frames: list[Frame]) -> list[Frame]:
    return frames
