"""The audit writer: one record for every outcome, committed in groups, before the answer's end in strict mode."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Literal

import msgspec

from llmproxy.common.bus import Bus, Facts, unhandled
from llmproxy.common.channels import AUDIT, REQUEST_EVENTS
from llmproxy.common.envelope import INLINE_BYTES_MAX
from llmproxy.common.errors import Unavailable
from llmproxy.common.records import AuditBatch, AuditRecord
from llmproxy.edge import metrics
from llmproxy.edge.spool import Spool, Spooled

BATCH_MAX = 500
"""Records, and what explains them, per message: each is about a kilobyte, the message far below its limit."""
COMMIT_PACE_S = 0.001  # After a commit, for each record in it, the next one waits so long: under load one serves many.
COMMIT_PACE_MAX_S = 0.006
PENDING_MAX = 20_000  # Records waiting for an acknowledgement, of one edge.
LANES_MAX = 1_000  # Tenants of whom it is known when the last commit was; then those without a record are forgotten.
NOBODYS_PENDING_MAX = 2_000  # Of them of requests without a good key: what is more is counted (docs/adr/0033).
REPLAY_S = 1.0
NOBODY = "-"  # The tenant of who could not be authenticated.
UNAVAILABLE = "the audit log cannot be written, so no answer may leave; retry"

log = logging.getLogger(__name__)


class _Lane:
    """One tenant's records: a commit under way, what has come since, and when the next commit may be."""

    __slots__ = ("committing", "next_at", "pending")

    def __init__(self) -> None:
        self.pending: list[tuple[AuditRecord, asyncio.Future[None]]] = []
        self.committing = False
        self.next_at = 0.0


class Journal:
    def __init__(
        self,
        bus: Bus,
        spool: Spool | None,
        *,
        boot: str,
        mode: Callable[[], Literal["strict", "relaxed"]],
        troubled: Callable[[str], None] = lambda _: None,
        replay_s: float = REPLAY_S,
    ) -> None:
        """`boot` is unique to this start of the process: without it a restarted counter would look like a duplicate.
        `troubled` is told why commits fail, each time, and "" when they succeed again."""
        self._bus, self._spool, self._mode = bus, spool, mode
        self._prefix = f"{bus.instance}-{boot}"
        self._replay_s = replay_s
        self._troubled = troubled
        self._loop = asyncio.get_running_loop()
        self._counter = 0
        self._lanes: dict[str, _Lane] = {}
        self._pending = 0
        self._commits: set[asyncio.Task[None]] = set()
        self._replaying: asyncio.Task[None] | None = None
        self._disk = asyncio.Lock()  # The spool is one file; this is never taken while JetStream answers.
        self._unrecorded = 0  # Requests of nobody, since the last of them that has a record.
        self.trouble = ""  # Why the last commit failed; "" while commits succeed.

    def start(self) -> None:
        if self._spool is not None and self._spool.bytes:
            self._replay_soon()

    def write(
        self, record: AuditRecord, acknowledged: "asyncio.Future[None] | None" = None
    ) -> "asyncio.Future[None] | None":
        """Takes the record, tells the event, and returns what a strict answer must await before its end leaves: `acknowledged`, if whoever
        writes it waits for that already.

        It raises Unavailable(audit_unavailable) after at most two commits' time: the one under way, and its own.
        """
        lane_name = record.tenant or NOBODY
        lane = self._lanes.get(lane_name)
        if lane_name == NOBODY:
            if lane is not None and len(lane.pending) >= NOBODYS_PENDING_MAX:
                metrics.AUDIT_UNRECORDED.inc()
                self._unrecorded += 1
                return None
            if self._unrecorded:
                record = msgspec.structs.replace(record, unrecorded=self._unrecorded)
                self._unrecorded = 0
        self._bus.tell(REQUEST_EVENTS[record.verdict], record, facts, id=record.id, tenant=record.tenant)
        if self._pending >= PENDING_MAX:
            metrics.AUDIT_LOST.inc()
            if self._mode() != "strict":
                return None
            acknowledged = acknowledged or self._loop.create_future()
            acknowledged.set_exception(Unavailable("audit_unavailable", UNAVAILABLE, retry_after_ms=1000))
            acknowledged.exception()
            return acknowledged
        if lane is None:
            lane = self._new_lane(lane_name)
        acknowledged = acknowledged or self._loop.create_future()
        lane.pending.append((record, acknowledged))
        self._pending += 1
        if not lane.committing:
            lane.committing = True
            task = self._loop.create_task(self._commit(lane_name, lane))
            self._commits.add(task)
            task.add_done_callback(self._commits.discard)
        return acknowledged if self._mode() == "strict" else None

    async def close(self) -> None:
        """Every record that was taken is committed or on disk."""
        while self._commits:
            await asyncio.wait(set(self._commits))
        async with self._disk:  # What is cancelled in a thread goes on there, with a file that must not be closed yet.
            if self._replaying is not None:
                self._replaying.cancel()
                await asyncio.wait({self._replaying})
            if self._spool is not None:
                await asyncio.to_thread(self._spool.close)

    def _new_lane(self, tenant: str) -> _Lane:
        if len(self._lanes) >= LANES_MAX:
            self._lanes = {name: lane for name, lane in self._lanes.items() if lane.committing}
        lane = self._lanes[tenant] = _Lane()
        return lane

    async def _commit(self, tenant: str, lane: _Lane) -> None:
        while lane.pending:
            wait_s = lane.next_at - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            try:
                await self._commit_some(tenant, lane)
            except Exception as error:  # noqa: BLE001 - a bug of ours with some records; others wait for theirs
                unhandled(error)
        lane.committing = False

    async def _commit_some(self, tenant: str, lane: _Lane) -> None:
        count = batch_of([record for record, _ in lane.pending[:BATCH_MAX]])
        taken, lane.pending = lane.pending[:count], lane.pending[count:]
        batch = AuditBatch(self._bus.instance, [record for record, _ in taken])
        started = time.monotonic()
        self._counter += 1
        message_id = f"{self._prefix}-{self._counter}"
        is_safe = False
        try:
            is_safe = await self._commit_batch(tenant, message_id, batch) is None
        finally:
            self._pending -= len(taken)
            for _, acknowledged in taken:
                if acknowledged.done():
                    continue
                if is_safe:
                    acknowledged.set_result(None)
                else:
                    acknowledged.set_exception(Unavailable("audit_unavailable", UNAVAILABLE, retry_after_ms=1000))
                    acknowledged.exception()  # Whoever waited may have left.
        lane.next_at = started + min(COMMIT_PACE_S * count, COMMIT_PACE_MAX_S)

    async def _commit_batch(self, tenant: str, message_id: str, batch: AuditBatch) -> Unavailable | None:
        strict = self._mode() == "strict"
        if not strict and self._spool is not None and self._spool.bytes:
            return await self._keep(Spooled(tenant, message_id, batch))  # Order: behind what waits already.
        started = time.monotonic()
        try:
            await self._bus.commit(AUDIT, batch, message_id, tenant=tenant)
        except Unavailable as error:
            metrics.AUDIT_FAILURES.inc()
            self._note(error.message)
            # The callers of strict answers are told 503. Should JetStream have the first version nevertheless, the
            # same message id keeps this one out: one record per request, and never one that says less than happened.
            kept = AuditBatch(batch.instance, [withheld(one) for one in batch.records]) if strict else batch
            lost = await self._keep(Spooled(tenant, message_id, kept))
            return error if strict else lost
        metrics.AUDIT_COMMIT.observe(time.monotonic() - started)
        if self.trouble:
            self._note("")
        return None

    def _note(self, trouble: str) -> None:
        self.trouble = trouble
        self._troubled(trouble)

    async def _keep(self, spooled: Spooled) -> Unavailable | None:
        if self._spool is not None:
            try:
                async with self._disk:
                    kept = await asyncio.to_thread(self._spool.append, spooled)
            except OSError as error:
                log.error("the audit spool cannot be written: %s", type(error).__name__)
                kept = False
            if kept:
                metrics.AUDIT_SPOOLED.set(self._spool.bytes)
                self._replay_soon()
                return None
        metrics.AUDIT_LOST.inc(len(spooled.batch.records))
        self._replay_soon()  # Nothing waits, but somebody must find out when JetStream is back.
        return Unavailable("audit_unavailable", UNAVAILABLE)

    def _replay_soon(self) -> None:
        if self._replaying is None or self._replaying.done():
            self._replaying = asyncio.create_task(self._replay())

    async def _replay(self) -> None:
        """From the oldest, until JetStream has everything; a batch that was committed before is dropped by its id.

        Where nothing waits and the last commit failed, an empty batch is tried: who heeds /readyz sends no request that
        would show that JetStream is back."""
        offset = 0
        while True:
            batches, after = await self._waiting(offset)
            if after == offset:
                if not self.trouble:
                    return
                self._counter += 1
                nothing = AuditBatch(self._bus.instance, [])
                batches = [Spooled(NOBODY, f"{self._prefix}-{self._counter}", nothing)]
            try:
                for one in chain.from_iterable(map(committable, batches)):
                    await self._bus.commit(AUDIT, one.batch, one.message_id, tenant=one.tenant)
            except Unavailable as error:
                self._note(error.message)
                await asyncio.sleep(self._replay_s)
                continue
            self._note("")
            offset = after

    async def _waiting(self, offset: int) -> tuple[list[Spooled], int]:
        """What the spool holds from there on, and where that ends; when that is nothing and all is well, it is emptied."""
        if self._spool is None:
            return [], offset
        async with self._disk:
            batches, after = await asyncio.to_thread(self._spool.read, offset)
            if after == offset and not self.trouble:
                await asyncio.to_thread(self._spool.clear)
                metrics.AUDIT_SPOOLED.set(0)
            return batches, after


def facts(record: AuditRecord) -> Facts:
    """What operators are told of a request at once."""
    return {
        "route": record.route,
        "api": record.api,
        "model": record.model,
        "endpoint": record.endpoint,
        "provider": record.provider,
        "status": record.status,
        "code": record.code,
        "stream": record.stream,
        "masked": record.masked,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "cost": record.cost,
        "unpriced": record.unpriced,
        "latency_ms": record.latency_ms,
    }


def batch_of(records: Sequence[AuditRecord]) -> int:
    """How many of these, from the first on, go into one message; at least one."""
    weight = 0
    for index, record in enumerate(records):
        weight += 1 if record.explained is None else 1 + len(record.explained.findings)
        if weight > BATCH_MAX:
            return max(1, index)
    return len(records)


def committable(spooled: Spooled) -> Iterator[Spooled]:
    """It, in as many messages as NATS takes: what can never be committed would keep everything behind it."""
    records, batch = spooled.batch.records, spooled.batch
    if len(records) < 2 or len(msgspec.json.encode(batch)) <= INLINE_BYTES_MAX:
        yield spooled
        return
    half = len(records) // 2
    for part, some in enumerate((records[:half], records[half:])):
        yield from committable(
            Spooled(spooled.tenant, f"{spooled.message_id}.{part}", AuditBatch(batch.instance, some))
        )


def withheld(record: AuditRecord) -> AuditRecord:
    """What became of an answer whose record could not be committed in time: it did not leave whole."""
    if record.verdict != "answered":
        return record
    return msgspec.structs.replace(record, verdict="failed", status=503, code="audit_unavailable")
