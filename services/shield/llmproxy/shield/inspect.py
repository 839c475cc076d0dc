"""Handles requests to inspect: examines the body, forwards it masked, and stays in the way back of what it masked."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from msgspec import Raw, structs

from llmproxy.common.bus import Answer, Bus, Hold
from llmproxy.common.channels import EVENT_GUARD_ALERTED, EVENT_GUARD_FAILED, EVENT_SEGMENT_MASKED, REQUEST_ROUTE
from llmproxy.common.config import Config
from llmproxy.common.config_watch import ConfigWatch
from llmproxy.common.envelope import INLINE_BYTES_MAX, Api, Envelope
from llmproxy.common.errors import GatewayError
from llmproxy.common.explanations import joined
from llmproxy.common.frames import Data, End, Failure, Frame, Head
from llmproxy.common.plugins.host import Pipeline
from llmproxy.common.policy import Policies
from llmproxy.shield import metrics
from llmproxy.shield.examine import Examined, Order, Refused, examine_within
from llmproxy.shield.offload import INLINE_BYTES_MAX as LOOP_BYTES_MAX
from llmproxy.shield.offload import INLINE_WORK_MAX as LOOP_WORK_MAX
from llmproxy.shield.offload import Offload
from llmproxy.shield.postflight import Passage
from llmproxy.shield.preflight import Inspection
from llmproxy.shield.restore import restorer
from llmproxy.shield.restore.whole import Encoded
from llmproxy.shield.vault import tenant_key

FAREWELL_S = 1.0  # After a cancel: how long the worker's last word, with what was used so far, may take.
NAMED_BY_PATH: frozenset[Api] = frozenset({"gemini"})  # APIs whose bodies do not say the model.
TENANT_KEYS_MAX = 4_096  # Derived keys kept; a tenant beyond them costs one HMAC more for each request.


class Inspect:
    """The handler of `request.inspect`. `sessions` are the answers that this instance must unmask, by request id."""

    def __init__(
        self,
        bus: Bus,
        config: ConfigWatch,
        *,
        preflight: Pipeline[Inspection],
        postflight: Pipeline[Passage],
        offload: Offload,
        mask_secret: bytes,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self._bus, self._config = bus, config
        self._preflight, self._postflight, self._offload = preflight, postflight, offload
        self._mask_secret, self._clock, self._now = mask_secret, clock, now
        self._tenant_keys: dict[str, bytes] = {}
        self._policies = Policies(config.config.policy)
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
        examined = examine_within(LOOP_WORK_MAX, order, self._preflight, self._clock)
        if examined is None:
            return self._large(envelope, answer, body)
        self._proceed(envelope, answer, examined, body_ref="")
        return None

    async def _large(self, envelope: Envelope, answer: Answer, body: bytes) -> None:
        config = self._config.config  # Of the moment the request came; a change applies to the next one.
        if envelope.body_ref:
            body = await self._bus.withdraw(envelope.body_ref)
        metrics.OFFLOADED.inc()
        examined = await self._offload.examine(self._order(envelope, body, config))
        body_ref = envelope.body_ref
        if isinstance(examined, Examined) and examined.masked is not None:
            body_ref = ""
            if len(examined.masked) > INLINE_BYTES_MAX:
                # A name of its own: another attempt of this request may still read the original.
                body_ref = await self._bus.deposit(f"{envelope.id}.{envelope.attempt}.masked", examined.masked)
                examined = structs.replace(examined, masked=b"null")
        self._proceed(envelope, answer, examined, body_ref=body_ref)

    def _order(self, envelope: Envelope, body: bytes, config: Config) -> Order:
        return Order(
            body=body,
            policy=self._policies_of(config).of(envelope),
            key=self._key_of(envelope.tenant),
            max_depth=config.gateway.max_depth,
            model=envelope.model if envelope.api in NAMED_BY_PATH else "",
        )

    def _policies_of(self, config: Config) -> Policies:
        """Made once for each configuration."""
        if self._policies.configured is not config.policy:
            self._policies = Policies(config.policy)
        return self._policies

    def _key_of(self, tenant: str) -> bytes:
        key = self._tenant_keys.get(tenant)
        if key is None:
            if len(self._tenant_keys) >= TENANT_KEYS_MAX:
                self._tenant_keys.clear()
            key = self._tenant_keys[tenant] = tenant_key(self._mask_secret, tenant)
        return key

    def _proceed(self, envelope: Envelope, answer: Answer, examined: Examined | Refused, *, body_ref: str) -> None:
        for kind, count in examined.findings.items():
            metrics.FINDINGS.labels(kind).inc(count)
        if examined.explained is not None:
            envelope = structs.replace(
                envelope,
                findings=_sum(envelope.findings, examined.findings),
                explained=joined(envelope.explained, examined.explained),
            )
            self._alert(envelope, examined)
        if isinstance(examined, Refused):
            self._refuse(envelope, answer, examined)
            return
        if examined.masked is None:
            self._bus.forward(REQUEST_ROUTE, envelope)
            return
        metrics.MASKED.inc()
        self._bus.event(EVENT_SEGMENT_MASKED, id=envelope.id, tenant=envelope.tenant, **examined.findings)
        masked = structs.replace(envelope, body=Raw(examined.masked), body_ref=body_ref)
        if not examined.originals:  # All redacted: nothing comes back.
            self._bus.forward(REQUEST_ROUTE, masked)
            return
        deposited = body_ref if body_ref != envelope.body_ref else ""
        earlier = self.sessions.get(envelope.id)
        if earlier is not None and earlier.attempt > envelope.attempt:
            return  # This one was looked at for so long that the edge has published the request again.
        session = self._open(envelope, answer, examined.originals, envelope.findings, deposited)
        try:
            self._bus.forward(REQUEST_ROUTE, structs.replace(masked, reply_to=self._bus.address))
        except BaseException:
            session.close()
            raise

    def _alert(self, envelope: Envelope, examined: Examined | Refused) -> None:
        assert examined.explained is not None
        alerting = {one.kind for one in examined.explained.findings if one.action == "alert"}
        if alerting:
            counts = {kind: examined.findings[kind] for kind in sorted(alerting)}
            self._bus.event(EVENT_GUARD_ALERTED, id=envelope.id, tenant=envelope.tenant, **counts)

    def _refuse(self, envelope: Envelope, answer: Answer, refused: Refused) -> None:
        metrics.REFUSED.labels(refused.code).inc()
        if refused.code == "guard_unavailable":
            self._bus.event(EVENT_GUARD_FAILED, id=envelope.id, tenant=envelope.tenant, reason=refused.message)
        failure = refused.error().failure(self._bus.service)
        answer.send(structs.replace(failure, findings=envelope.findings, explained=envelope.explained))

    def _open(
        self,
        envelope: Envelope,
        answer: Answer,
        originals: Mapping[str, str],
        findings: dict[str, int],
        deposited: str,
    ) -> "Session":
        earlier = self.sessions.get(envelope.id)
        if earlier is not None:  # The edge has published the request again: nobody reads the older attempt's frames.
            earlier.close()
        passage = Passage(restorer(envelope.api, originals, stream=envelope.stream))
        session = Session(self, envelope, answer, passage, findings, deposited)
        self.sessions[envelope.id] = session
        return session


class Session:
    """One answer on its way back through this instance, until it ends, fails, is cancelled or is too late."""

    def __init__(
        self,
        inspect: Inspect,
        envelope: Envelope,
        answer: Answer,
        passage: Passage,
        findings: dict[str, int],
        deposited: str,
    ) -> None:
        self._inspect, self._bus, self._envelope, self._answer = inspect, inspect._bus, envelope, answer
        self._passage: Passage | None = passage  # None: nobody reads the answer any more.
        self._findings, self._deposited = findings, deposited
        self._late: list[Frame] = []  # Frames behind a large answer that is being fetched or deposited.
        self._aside: asyncio.Task[None] | None = None
        self._parts = 0  # Deposited; each has a name of its own.
        self._closed = False
        self._hold: Hold = self._bus.hold(envelope, role="return")
        self._hold.cancelled = self._cancel
        self._bus.expect(envelope, self.receive)
        remaining_s = envelope.deadline_ms / 1000 - inspect._now()
        self._expiry = asyncio.get_running_loop().call_later(max(0.0, remaining_s), self._expire)

    @property
    def attempt(self) -> int:
        return self._envelope.attempt

    def _expire(self) -> None:
        metrics.EXPIRED.inc()
        self.close()

    def _cancel(self) -> None:
        """Forgets the originals; only the last word still goes through, because it says what was used."""
        self._passage, self._late = None, []
        if self._aside is not None:
            self._aside.cancel()
            self._aside = None
        self._hold.release()
        self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_later(FAREWELL_S, self.close)

    def close(self) -> None:
        """Forgets the originals."""
        if self._closed:
            return
        self._closed = True
        self._expiry.cancel()
        self._hold.release()
        self._bus.forget(self._envelope.id)
        if self._deposited:
            self._bus.discard(self._deposited)
        if self._inspect.sessions.get(self._envelope.id) is self:
            del self._inspect.sessions[self._envelope.id]
        if self._aside is not None:
            self._aside.cancel()

    def receive(self, frames: Sequence[Frame]) -> None:
        """Called by the bus, in order."""
        if self._aside is not None:
            self._late += frames
            return
        sent: list[Frame] = []
        sent_bytes = 0
        for position, frame in enumerate(frames):
            if isinstance(frame, Data) and frame.ref:
                self._step_aside(self._fetch(frame), frames[position + 1 :])
                break
            restored = self._restore(frame)
            sent_bytes += sum(len(bytes(one.json)) for one in restored if isinstance(one, Data))
            if sent_bytes > INLINE_BYTES_MAX:  # What comes back may be a thousand times as long as what stood for it.
                self._step_aside(_settled(restored), frames[position + 1 :])
                break
            sent += restored
            if restored and isinstance(restored[-1], End | Failure):
                self.close()
                break
        if sent:
            self._answer.send(*sent)

    def _restore(self, frame: Frame) -> list[Frame]:
        match frame:
            case Data():
                return self._data(bytes(frame.json))
            case End():
                return [*self._data(b""), frame]
            case Failure():
                message = frame.message if self._passage is None else self._passage.restorer.text(frame.message)
                found = structs.replace(frame, message=message, findings=frame.findings or self._findings)
                return [*self._data(b""), found]
            case Head():
                if frame.content_type.startswith("text/") and self._passage is not None:
                    self._passage.restorer = Encoded(self._passage.restorer.text)
                return [frame if frame.findings else structs.replace(frame, findings=self._findings)]

    def _data(self, event: bytes) -> list[Frame]:
        """One event through ring 4; `b""` is the end of the answer. A step that fails ends the answer with its refusal."""
        passage = self._passage
        if passage is None:
            return []
        refusal = passage.through(self._inspect._postflight, event)
        if refusal is not None:
            return [refusal.failure(self._bus.service)]
        return [Data(Raw(one)) for one in passage.events]

    def _step_aside(self, work: Coroutine[Any, Any, list[Frame]], late: Sequence[Frame]) -> None:
        self._late += late
        self._aside = asyncio.create_task(self._large(work))

    async def _large(self, work: Coroutine[Any, Any, list[Frame]]) -> None:
        """Sends frames one by one, what is too large by claim check, then what came meanwhile."""
        try:
            frames = await work
            for frame in frames:
                self._answer.send(await self._parked(frame))
        except GatewayError as error:
            self._aside = None
            self.close()
            self._answer.fail(error)
            return
        self._aside = None
        if isinstance(frames[-1], End | Failure):
            self.close()
            return
        late, self._late = self._late, []
        if late:
            self.receive(late)

    async def _fetch(self, frame: Data) -> list[Frame]:
        """A large answer: withdrawn, and unmasked off the loop."""
        answer = await self._bus.withdraw(frame.ref)
        self._bus.discard(frame.ref)
        return await asyncio.to_thread(self._data, answer)

    async def _parked(self, frame: Frame) -> Frame:
        if isinstance(frame, Data) and len(bytes(frame.json)) > INLINE_BYTES_MAX:
            self._parts += 1
            name = f"{self._envelope.id}.{self._envelope.attempt}.restored.{self._parts}"
            return Data(ref=await self._bus.deposit(name, bytes(frame.json)))
        return frame


async def _settled(frames: list[Frame]) -> list[Frame]:
    return frames


def _sum(some: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    return {kind: some.get(kind, 0) + more.get(kind, 0) for kind in (*some, *more)}
