"""What a bus promises, proven over the fake wire and over NATS."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from msgspec import Raw
from nats.js.kv import KeyValue
from patience import PATIENCE_S

from llmproxy.common import metrics
from llmproxy.common.bus import Answer, Bus, Waiting
from llmproxy.common.channels import (
    AUDIT,
    BODIES_BUCKET,
    CONFIG_BUCKET,
    EVENT_CIRCUIT_OPENED,
    EVENT_REQUEST_ANSWERED,
    HOLDING,
    KEYS_BUCKET,
    LEDGER_ANSWER,
    LEDGER_QUERY,
    REQUEST_CALL,
    REQUEST_INSPECT,
    REQUEST_ROUTE,
)
from llmproxy.common.envelope import INLINE_BYTES_MAX, Envelope
from llmproxy.common.errors import GatewayError, Unavailable
from llmproxy.common.frames import Data, End, Failure, Frame, Head
from llmproxy.common.ledger_questions import LedgerPage, LedgerQuery
from llmproxy.common.nats_buckets import KvBucket
from llmproxy.common.nats_wire import unheard
from llmproxy.common.records import AuditBatch, AuditRecord
from llmproxy.common.testing import PAYLOAD_BYTES_MAX, envelope

Opened = Callable[[], Any]


def run(scenario: Callable[[Any], Awaitable[None]], opened: Opened) -> None:
    async def main() -> None:
        async with opened() as wires, asyncio.timeout(2 * PATIENCE_S):
            await scenario(wires)

    asyncio.run(main())


async def started(wires: Any, service: str, **options: Any) -> Bus:
    bus = Bus(await wires.connect(service), service=service, instance=f"{service}-{uuid.uuid4().hex[:8]}", **options)
    await bus.start()
    return bus


def request_to(edge: Bus, **fields: Any) -> Envelope:
    return envelope(id=str(uuid.uuid4()), edge=edge.address, reply_to=edge.address, **fields)


class Inbox:
    """Frames as they arrive."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()

    def __call__(self, frames: Any) -> None:
        for frame in frames:
            self.frames.put_nowait(frame)

    async def next(self) -> Frame:
        return await asyncio.wait_for(self.frames.get(), PATIENCE_S)


def test_a_request_is_served_and_its_frames_come_back_in_order(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, shield = await started(w, "edge"), await started(w, "shield")

        def handle(sent: Envelope, answer: Answer) -> None:
            answer.send(Head(provider="p"))
            answer.send(Data(sent.body), Data(Raw(b"2")))
            answer.send(End())

        await shield.serve(REQUEST_INSPECT, handle, max_in_flight=10)
        inbox, sent = Inbox(), request_to(edge)
        edge.expect(sent, inbox)
        edge.forward(REQUEST_INSPECT, sent)
        kinds = [type(await inbox.next()) for _ in range(4)]
        assert kinds == [Head, Data, Data, End]

    run(scenario, wires)


def test_a_stage_without_an_instance_is_known_at_once_however_far_down_the_chain(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, shield = await started(w, "edge"), await started(w, "shield")

        def handle(sent: Envelope, _: Answer) -> None:
            shield.forward(REQUEST_ROUTE, sent)

        await shield.serve(REQUEST_INSPECT, handle, max_in_flight=10)
        inbox, sent = Inbox(), request_to(edge, attempt=2)
        edge.expect(sent, inbox)
        edge.forward(REQUEST_INSPECT, sent)
        failure = await inbox.next()
        assert isinstance(failure, Failure)
        assert (failure.code, failure.stage, failure.again) == ("stage_unavailable", "router", True)

    run(scenario, wires)


def test_each_request_reaches_one_instance_of_a_queue_group(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge = await started(w, "edge")
        served: list[str] = []
        for _ in range(2):
            shield = await started(w, "shield")

            def handle(sent: Envelope, answer: Answer, name: str = shield.instance) -> None:
                served.append(name)
                answer.send(End())

            await shield.serve(REQUEST_INSPECT, handle, max_in_flight=100)
        inbox = Inbox()
        for _ in range(40):
            sent = request_to(edge)
            edge.expect(sent, inbox)
            edge.forward(REQUEST_INSPECT, sent)
        for _ in range(40):
            await inbox.next()
        assert len(served) == 40
        assert len(set(served)) == 2

    run(scenario, wires)


def test_a_late_request_is_dropped(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, shield = await started(w, "edge"), await started(w, "shield")
        await shield.serve(REQUEST_INSPECT, lambda _, answer: answer.send(End()), max_in_flight=10)
        dropped = metrics.UNHANDLED.labels("late").value
        inbox, late, timely = Inbox(), request_to(edge, deadline_ms=1), request_to(edge)
        for sent in (late, timely):
            edge.expect(sent, inbox)
            edge.forward(REQUEST_INSPECT, sent)
        assert isinstance(await inbox.next(), End)
        assert inbox.frames.empty()
        assert metrics.UNHANDLED.labels("late").value == dropped + 1

    run(scenario, wires)


def test_more_than_the_bound_is_refused_at_once(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, shield = await started(w, "edge"), await started(w, "shield")
        gate = asyncio.Event()

        async def wait(answer: Answer) -> None:
            await gate.wait()
            answer.send(End())

        await shield.serve(REQUEST_INSPECT, lambda _, answer: wait(answer), max_in_flight=2)
        inbox = Inbox()
        for _ in range(3):
            sent = request_to(edge)
            edge.expect(sent, inbox)
            edge.forward(REQUEST_INSPECT, sent)
        refused = await inbox.next()
        assert isinstance(refused, Failure)
        assert refused.code == "server_is_overloaded"
        gate.set()
        assert [type(await inbox.next()) for _ in range(2)] == [End, End]

    run(scenario, wires)


def test_a_handler_that_raises_answers_and_its_words_stay_inside(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, shield = await started(w, "edge"), await started(w, "shield")

        def at_once(sent: Envelope, answer: Answer) -> Any:
            if sent.model == "later":
                return later()
            raise RuntimeError("the prompt said hunter2")

        async def later() -> None:
            await asyncio.sleep(0)
            raise RuntimeError("the prompt said hunter2")

        await shield.serve(REQUEST_INSPECT, at_once, max_in_flight=10)
        inbox = Inbox()
        bugs = metrics.UNHANDLED.labels("bug").value
        for model in ("now", "later"):
            sent = request_to(edge, model=model)
            edge.expect(sent, inbox)
            edge.forward(REQUEST_INSPECT, sent)
            failure = await inbox.next()
            assert isinstance(failure, Failure)
            assert failure.code == "server_error"
            assert "hunter2" not in failure.message
        assert not shield.holds
        assert metrics.UNHANDLED.labels("bug").value == bugs + 2

    run(scenario, wires)


def test_a_frame_that_cannot_be_written_is_a_failure_and_no_gap(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, shield = await started(w, "edge"), await started(w, "shield")

        def handle(sent: Envelope, answer: Answer) -> None:
            answer.send(Head(headers={"request-id": "\udcff"}))

        await shield.serve(REQUEST_INSPECT, handle, max_in_flight=10)
        inbox, sent = Inbox(), request_to(edge)
        edge.expect(sent, inbox)
        edge.forward(REQUEST_INSPECT, sent)
        failure = await inbox.next()
        assert isinstance(failure, Failure)
        assert failure.code == "server_error"  # Of a gap the edge would publish the request again.

    run(scenario, wires)


def test_a_held_request_is_announced_to_its_edge_until_it_ends_and_a_cancel_reaches_it(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge = await started(w, "edge")
        shield = await started(w, "shield", announce_new_s=0.01, alive_s=0.05)
        announced: asyncio.Queue[Any] = asyncio.Queue()
        await edge.subscribe(HOLDING, announced.put_nowait, address=edge.address)
        cancelled = asyncio.Event()

        async def hold() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        await shield.serve(REQUEST_INSPECT, lambda _, answer: hold(), max_in_flight=10)
        sent = request_to(edge, attempt=3)
        edge.expect(sent, Inbox())
        edge.forward(REQUEST_INSPECT, sent)
        for _ in range(2):
            holding = await asyncio.wait_for(announced.get(), PATIENCE_S)
            assert holding.held == [(sent.id, 3)]
        edge.cancel(holding.address, sent.id, 2)  # An older attempt: not this one.
        edge.cancel(holding.address, sent.id, 3)
        await asyncio.wait_for(cancelled.wait(), PATIENCE_S)

    run(scenario, wires)


def test_frames_of_an_older_attempt_are_dropped_and_a_gap_is_a_failure(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, shield = await started(w, "edge"), await started(w, "shield")
        inbox, sent = Inbox(), request_to(edge, attempt=1)
        edge.expect(sent, inbox)
        old = Answer(shield, envelope(id=sent.id, reply_to=edge.address, attempt=0))
        old.send(Head(provider="old"))
        gap = Answer(shield, sent)
        gap._seq = 1
        gap.send(Data(Raw(b"1")))
        failure = await inbox.next()
        assert isinstance(failure, Failure)
        assert failure.code == "stage_lost"

    run(scenario, wires)


def test_leaving_finishes_what_is_held_and_sends_new_requests_elsewhere(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, first = await started(w, "edge"), await started(w, "shield")
        gate, entered = asyncio.Event(), asyncio.Event()

        async def wait(answer: Answer) -> None:
            entered.set()
            await gate.wait()
            answer.send(End(finish="length"))

        await first.serve(REQUEST_INSPECT, lambda _, answer: wait(answer), max_in_flight=10)
        inbox, held = Inbox(), request_to(edge)
        edge.expect(held, inbox)
        edge.forward(REQUEST_INSPECT, held)
        await asyncio.wait_for(entered.wait(), PATIENCE_S)
        second = await started(w, "shield")
        await second.serve(REQUEST_INSPECT, lambda _, answer: answer.send(End()), max_in_flight=10)
        draining = asyncio.create_task(first.drain(PATIENCE_S))
        await first.leave()
        for _ in range(5):
            sent = request_to(edge)
            edge.expect(sent, inbox)
            edge.forward(REQUEST_INSPECT, sent)
            end = await inbox.next()
            assert isinstance(end, End)
            assert end.finish == "stop"
        gate.set()
        end = await inbox.next()
        assert isinstance(end, End)
        assert end.finish == "length"
        await draining

    run(scenario, wires)


def test_a_provider_name_in_a_subject_reaches_its_workers_only_by_that_name(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        router, edge, workers = (
            await started(w, "router"),
            await started(w, "edge"),
            await started(w, "provider-workers"),
        )
        await workers.serve(REQUEST_CALL, lambda _, answer: answer.send(End()), max_in_flight=10, provider="demo")
        inbox = Inbox()
        sent = request_to(edge)
        edge.expect(sent, inbox)
        router.forward(REQUEST_CALL, sent, provider="demo")
        assert isinstance(await inbox.next(), End)
        other = request_to(edge)
        edge.expect(other, inbox)
        router.forward(REQUEST_CALL, other, provider="a > b.*")
        failure = await inbox.next()
        assert isinstance(failure, Failure)
        assert failure.code == "stage_unavailable"

    run(scenario, wires)


def test_what_is_committed_is_consumed_once_in_order_and_again_only_when_it_was_not_handled(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, audit = await started(w, "edge"), await started(w, "audit")
        tenant = uuid.uuid4().hex
        seen: list[str] = []
        done = asyncio.Event()
        refusals = 2

        async def handle(batch: Any) -> None:
            nonlocal refusals
            if refusals:
                refusals -= 1
                raise Unavailable("audit_unavailable", "not now")
            ids = [record.id for stored in batch for record in stored.message.records]
            seen.extend(one for one in ids if one.startswith(tenant))
            if len(seen) >= 10:
                done.set()

        for number in range(10):
            record = AuditRecord(id=f"{tenant}-{number}", at_ms=1, verdict="answered")
            await edge.commit(AUDIT, AuditBatch(edge.instance, [record]), f"{tenant}-{number}", tenant=tenant)
        await edge.commit(AUDIT, AuditBatch(edge.instance, []), f"{tenant}-9", tenant=tenant)  # The same message id.
        await audit.consume(AUDIT, "audit", handle)
        await asyncio.wait_for(done.wait(), PATIENCE_S)
        assert seen == [f"{tenant}-{number}" for number in range(10)]
        await audit.leave()

    run(scenario, wires)


def test_what_waits_in_a_stream_and_for_how_long_is_known_until_it_was_handled(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, audit = await started(w, "edge"), await started(w, "audit")

        async def handle(_: Any) -> None:
            pass

        consuming = await audit.consume(AUDIT, "audit", handle)  # What other tests have left.
        async with asyncio.timeout(PATIENCE_S):
            while (await audit.waiting(AUDIT)).messages:
                await asyncio.sleep(0.01)
            await consuming.drain()
            assert await audit.waiting(AUDIT) == Waiting(0, 0.0)
            for _ in range(2):
                await edge.commit(AUDIT, AuditBatch(edge.instance, []), uuid.uuid4().hex, tenant="acme")
            first = await audit.waiting(AUDIT)
            assert first.messages == 2
            while (later := await audit.waiting(AUDIT)).oldest_s <= first.oldest_s:
                await asyncio.sleep(0.01)
            assert 0 <= first.oldest_s < later.oldest_s < PATIENCE_S
            await audit.consume(AUDIT, "audit", handle)
            while (await audit.waiting(AUDIT)).messages:
                await asyncio.sleep(0.01)
        await audit.leave()

    run(scenario, wires)


def test_a_bucket_is_compared_and_set_and_watched(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        admin, edge = await started(w, "admin"), await started(w, "edge")
        bucket = await admin.wire.bucket(KEYS_BUCKET)
        before, after = uuid.uuid4().hex, uuid.uuid4().hex
        revision = await bucket.update(before, b"1", 0)
        with pytest.raises(GatewayError, match="changed by somebody else"):
            await bucket.update(before, b"2", 0)
        await bucket.update(before, b"2", revision)
        changes: asyncio.Queue[tuple[str, bytes | None]] = asyncio.Queue()
        watched = await edge.wire.bucket(KEYS_BUCKET)
        await watched.watch(lambda key, value: changes.put_nowait((key, value)))
        initial = {changes.get_nowait() for _ in range(changes.qsize())}
        assert (before, b"2") in initial
        await bucket.put(after, b"3")
        assert await asyncio.wait_for(changes.get(), PATIENCE_S) == (after, b"3")
        await bucket.delete(after)  # Only now: a bucket keeps the last value, and a watch may miss those before it.
        assert await asyncio.wait_for(changes.get(), PATIENCE_S) == (after, None)
        assert await bucket.get(after) is None
        assert (await bucket.get(before) or (b"",))[0] == b"2"

    run(scenario, wires)


def test_a_large_body_goes_by_claim_check(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, workers = await started(w, "edge"), await started(w, "provider-workers")
        body = bytes(range(256)) * (INLINE_BYTES_MAX // 128)
        reference = await edge.deposit(str(uuid.uuid4()), body)
        assert await workers.withdraw(reference) == body
        with pytest.raises(Unavailable):
            await workers.withdraw(str(uuid.uuid4()))

    run(scenario, wires)


def test_a_body_that_goes_while_it_is_read_ends_the_reading(real_nats: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmproxy.common.nats_wire.WITHDRAW_TIMEOUT_S", 0.3)

    async def scenario() -> None:
        admin, edge = await real_nats.connect("admin"), await real_nats.connect("edge")
        await admin.provision()
        await edge.deposit(BODIES_BUCKET, "going", b"x" * (INLINE_BYTES_MAX + 1))
        await edge._jetstream.purge_stream(f"OBJ_{BODIES_BUCKET}", subject=f"$O.{BODIES_BUCKET}.C.>")
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(Unavailable):
                await edge.withdraw(BODIES_BUCKET, "going")
        await edge.close()
        await admin.close()

    asyncio.run(scenario())


def test_a_batch_that_is_too_large_for_a_message_is_refused(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge = await started(w, "edge")
        record = AuditRecord(id="i", at_ms=1, verdict="answered", model="m" * PAYLOAD_BYTES_MAX)
        with pytest.raises(Unavailable, match="max_payload"):
            await edge.commit(AUDIT, AuditBatch("edge-1", [record]), str(uuid.uuid4()), tenant="acme")

    run(scenario, wires)


def test_a_body_that_is_discarded_makes_room(wires: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmproxy.common.bus.DISCARDS_S", PATIENCE_S)

    async def scenario(w: Any) -> None:
        edge, shield, workers = [await started(w, name) for name in ("edge", "shield", "provider-workers")]
        for bus in (edge, shield, workers):
            reference = await bus.deposit(str(uuid.uuid4()), b"x" * (INLINE_BYTES_MAX + 1))
            bus.discard(reference)
            bus.discard("never deposited")
            await bus.drain(PATIENCE_S)
            with pytest.raises(Unavailable):
                await (await started(w, "edge")).withdraw(reference)

    run(scenario, wires)


def test_operators_see_events_and_nothing_else(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, operator = await started(w, "edge"), await w.connect("operator")
        seen: asyncio.Queue[bytes] = asyncio.Queue()
        await operator.subscribe("llmproxy.v1.event.>", lambda subject, _: seen.put_nowait(subject))
        edge.event(EVENT_REQUEST_ANSWERED, id="1", tenant="t", tokens=3)
        assert await asyncio.wait_for(seen.get(), PATIENCE_S) == b"llmproxy.v1.event.request.answered"

    run(scenario, wires)


def test_events_that_come_together_are_handled_one_by_one(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        router, admin = await started(w, "router"), await started(w, "admin")
        seen: asyncio.Queue[Any] = asyncio.Queue()
        await admin.subscribe(EVENT_CIRCUIT_OPENED, seen.put_nowait)
        for endpoint in ("a", "b", "c"):
            router.event(EVENT_CIRCUIT_OPENED, endpoint=endpoint)
        heard = [(await asyncio.wait_for(seen.get(), PATIENCE_S)).facts["endpoint"] for _ in range(3)]
        assert heard == ["a", "b", "c"]

    run(scenario, wires)


def test_a_receiver_that_raises_ends_nothing_but_its_own_message(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, shield = await started(w, "edge"), await started(w, "shield")

        def broken(_: Any) -> None:
            raise LookupError("prompt text")

        await shield.serve(REQUEST_INSPECT, lambda _, answer: answer.send(End()), max_in_flight=10)
        first, second, inbox = request_to(edge), request_to(edge), Inbox()
        edge.expect(first, broken)
        edge.forward(REQUEST_INSPECT, first)
        edge.expect(second, inbox)
        edge.forward(REQUEST_INSPECT, second)
        assert isinstance(await inbox.next(), End)

    run(scenario, wires)


@pytest.mark.parametrize(
    "payload", [b"{", b'{"id":"\xff"}', b'{"id":"i","x":' + b"[" * 100_000], ids=["cut", "no text", "deep"]
)
def test_a_request_that_cannot_be_read_ends_nothing(wires: Opened, payload: bytes) -> None:
    async def scenario(w: Any) -> None:
        edge, shield = await started(w, "edge"), await started(w, "shield")
        await shield.serve(REQUEST_INSPECT, lambda _, answer: answer.send(End()), max_in_flight=10)
        sent, inbox, unread = request_to(edge), Inbox(), metrics.UNHANDLED.labels("undecodable").value
        edge.expect(sent, inbox)
        edge.wire.publish(REQUEST_INSPECT.only, payload)
        edge.forward(REQUEST_INSPECT, sent)
        assert isinstance(await inbox.next(), End)
        assert metrics.UNHANDLED.labels("undecodable").value == unread + 1

    run(scenario, wires)


def test_who_waits_for_an_answer_that_could_not_be_handled_is_told_and_others_are_not_touched(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, shield = await started(w, "edge"), await started(w, "shield")
        await shield.serve(REQUEST_INSPECT, lambda _, answer: answer.send(End()), max_in_flight=10)
        failed, inbox = Inbox(), Inbox()

        def receive(frames: Sequence[Frame]) -> None:
            if isinstance(frames[0], End):
                raise RuntimeError("the answer said hunter2")
            failed(frames)

        first, second = request_to(edge), request_to(edge)
        edge.expect(first, receive)
        edge.expect(second, inbox)
        for sent in (first, second):
            edge.forward(REQUEST_INSPECT, sent)
        failure = await failed.next()
        assert isinstance(failure, Failure)
        assert failure.code == "server_error"
        assert "hunter2" not in failure.message
        assert isinstance(await inbox.next(), End)

    run(scenario, wires)


def test_what_is_too_large_for_the_bus_is_refused_and_the_connection_lives(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        edge, shield = await started(w, "edge"), await started(w, "shield")
        await shield.serve(REQUEST_INSPECT, lambda _, answer: answer.send(End()), max_in_flight=10)
        with pytest.raises(Unavailable, match="max_payload"):
            edge.forward(REQUEST_INSPECT, request_to(edge, body=Raw(b'"' + b"x" * (3 << 20) + b'"')))
        inbox, sent = Inbox(), request_to(edge)
        edge.expect(sent, inbox)
        edge.forward(REQUEST_INSPECT, sent)
        assert isinstance(await inbox.next(), End)

    run(scenario, wires)


def test_a_connection_that_the_server_ends_with_a_complaint_comes_back(real_nats: Any) -> None:
    async def scenario() -> None:
        wire = await real_nats.connect("shield")
        heard = asyncio.Event()
        await wire.subscribe("llmproxy.v1.request.inspect", lambda *_: heard.set(), "shield")
        wire._client._max_payload = 4 << 20  # It is wrong about the server, which takes no more than it has said.
        wire.publish("llmproxy.v1.request.route", b"x" * (3 << 20))
        edge = await real_nats.connect("edge")
        async with asyncio.timeout(PATIENCE_S):
            while not heard.is_set():
                edge.publish("llmproxy.v1.request.inspect", b"null")
                await asyncio.sleep(0.05)
        await wire.close()
        await edge.close()

    asyncio.run(scenario())


def test_questions_are_answered_by_who_leaves_and_after_one_that_failed(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        admin, audit = await started(w, "admin"), await started(w, "audit")
        entered = asyncio.Event()

        async def answer(question: LedgerQuery) -> None:
            if question.tenant == "broken":
                raise RuntimeError("a bug")
            entered.set()
            await asyncio.sleep(0.05)  # It is still at work when its service leaves.
            audit.publish(LEDGER_ANSWER, LedgerPage(), address=question.address, id=question.id)

        await audit.answer_questions(LEDGER_QUERY, answer)

        def ask(tenant: str, timeout_s: float) -> Any:
            question = LedgerQuery(address=admin.address, id=uuid.uuid4().hex, tenant=tenant)
            return admin.ask(LEDGER_QUERY, question, LEDGER_ANSWER, question.id, timeout_s)

        with pytest.raises(Unavailable):
            await ask("broken", 0.1)
        asking = asyncio.create_task(ask("fine", PATIENCE_S))
        await asyncio.wait_for(entered.wait(), PATIENCE_S)
        await audit.leave()
        assert await asking == LedgerPage()

    run(scenario, wires)


class Told:
    """A wire that says when something was published."""

    def __init__(self, wire: Any) -> None:
        self._wire = wire
        self.published = asyncio.Event()

    def publish(self, *message: Any) -> None:
        self._wire.publish(*message)
        self.published.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)


def test_a_question_is_asked_until_somebody_is_there_to_answer(wires: Opened) -> None:
    """A service whose only instance is being replaced is away for a moment."""

    async def scenario(w: Any) -> None:
        admin, audit = await started(w, "admin"), await started(w, "audit")
        admin.wire = told = Told(admin.wire)
        question = LedgerQuery(id=uuid.uuid4().hex, address=admin.address)

        async def answer(asked: LedgerQuery) -> None:
            audit.publish(LEDGER_ANSWER, LedgerPage(problem="found"), address=asked.address, id=asked.id)

        asking = asyncio.create_task(admin.ask(LEDGER_QUERY, question, LEDGER_ANSWER, question.id, PATIENCE_S))
        await asyncio.wait_for(told.published.wait(), PATIENCE_S)
        await admin.wire.flush()
        await audit.answer_questions(LEDGER_QUERY, answer)
        assert await asking == LedgerPage(problem="found")

    run(scenario, wires)


def test_the_configuration_bucket_can_be_read_by_every_service(wires: Opened) -> None:
    async def scenario(w: Any) -> None:
        admin = await w.connect("admin")
        value = uuid.uuid4().hex.encode()
        await (await admin.bucket(CONFIG_BUCKET)).put("test", value)
        for service in ("edge", "shield", "router", "provider-workers", "audit"):
            wire = await w.connect(service)
            found: dict[str, bytes | None] = {}
            await (await wire.bucket(CONFIG_BUCKET)).watch(found.__setitem__)
            assert found["test"] == value

    run(scenario, wires)


def test_a_watch_whose_callback_raises_is_told_of_and_not_silent(real_nats: Any) -> None:
    async def scenario() -> None:
        admin = await real_nats.connect("admin")
        await admin.provision()
        failures: asyncio.Queue[BaseException] = asyncio.Queue()
        edge = await real_nats.connect("edge", failed=failures.put_nowait)
        bad = uuid.uuid4().hex

        def changed(key: str, value: bytes | None) -> None:
            if key == bad and value == b"2":
                raise ZeroDivisionError

        keys = await admin.bucket(KEYS_BUCKET)
        await keys.put(bad, b"1")
        await (await edge.bucket(KEYS_BUCKET)).watch(changed)
        await keys.put(bad, b"2")
        async with asyncio.timeout(PATIENCE_S):
            assert isinstance(await failures.get(), ZeroDivisionError)
            edge._watch_again()  # As after a reconnection: everything is delivered once more.
            assert isinstance(await failures.get(), ZeroDivisionError)
        await keys.delete(bad)
        await edge.close()
        await admin.close()

    asyncio.run(scenario())


def test_a_watch_that_could_not_begin_hears_of_nothing_after_a_reconnection(
    real_nats: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        admin = await real_nats.connect("admin")
        await admin.provision()
        edge = await real_nats.connect("edge")
        bucket = await edge.bucket(KEYS_BUCKET)
        late, heard = AsyncMock(side_effect=TimeoutError), asyncio.Queue[str]()
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(KeyValue, "watchall", late)
            with pytest.raises(Unavailable):
                await bucket.watch(lambda key, _: heard.put_nowait(f"first {key}"))
        await bucket.watch(lambda key, _: heard.put_nowait(f"second {key}"))
        key = uuid.uuid4().hex
        await (await admin.bucket(KEYS_BUCKET)).put(key, b"1")
        edge._watch_again()
        await asyncio.gather(*edge._tasks)  # What was there has been delivered once more.
        said = {heard.get_nowait() for _ in range(heard.qsize())}
        assert f"second {key}" in said
        assert f"first {key}" not in said
        await (await admin.bucket(KEYS_BUCKET)).delete(key)
        await edge.close()
        await admin.close()

    asyncio.run(scenario())


def test_a_body_whose_sender_left_while_it_was_stored_leaves_nothing_behind(
    real_nats: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        admin, edge = await real_nats.connect("admin"), await real_nats.connect("edge")
        await admin.provision()

        async def stored_bytes() -> int:
            info = await edge._jetstream.stream_info(f"OBJ_{BODIES_BUCKET}")
            return int(info.state.bytes)

        publish, published, may_go_on = edge._jetstream.publish, asyncio.Semaphore(0), asyncio.Event()

        async def hesitant(*message: Any, **options: Any) -> Any:
            acknowledged = await publish(*message, **options)
            published.release()
            await may_go_on.wait()
            return acknowledged

        before = await stored_bytes()
        monkeypatch.setattr(edge._jetstream, "publish", hesitant)
        sending = asyncio.create_task(edge.deposit(BODIES_BUCKET, str(uuid.uuid4()), bytes(8 << 20)))
        async with asyncio.timeout(PATIENCE_S):
            await published.acquire()
        assert await stored_bytes() > before + (1 << 16)
        assert sending.cancel()
        await asyncio.wait({sending})
        may_go_on.set()
        async with asyncio.timeout(PATIENCE_S):
            while await stored_bytes() > before + (1 << 16):  # A deleted object's marker stays for its time to live.
                await asyncio.sleep(0.05)
        await edge.close()
        await admin.close()

    asyncio.run(main())


@pytest.mark.parametrize("what", ["deposit", "withdraw", "get", "put"])
def test_who_leaves_while_nats_answers_has_left(real_nats: Any, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    async def main() -> None:
        edge = await real_nats.connect("edge")
        asked, answered = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def hesitant(*_: Any) -> Any:
            asked.set()
            return await asyncio.wait_for(answered, PATIENCE_S)  # As nats-py waits for an answer.

        monkeypatch.setattr(edge._jetstream, "object_store", hesitant)
        bucket = KvBucket(SimpleNamespace(get=hesitant, put=hesitant), edge._watch, unheard, PATIENCE_S)
        asking = asyncio.create_task(
            {
                "deposit": partial(edge.deposit, BODIES_BUCKET, str(uuid.uuid4()), b"x"),
                "withdraw": partial(edge.withdraw, BODIES_BUCKET, str(uuid.uuid4())),
                "get": partial(bucket.get, "key"),
                "put": partial(bucket.put, "key", b"x"),
            }[what]()
        )
        await asked.wait()
        answered.set_exception(TimeoutError())
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        await edge.close()

    asyncio.run(main())
