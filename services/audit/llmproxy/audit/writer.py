"""From the stream to the ledger: one instance at a time, in order, nothing lost, nothing twice.

The instance that holds the lock consumes, and only while it does; the others wait for the lock. A batch is acknowledged after
it was committed, so it comes again when anything fails in between, and a record that is there already is skipped. What a writer
held when it was killed comes to its successor when the stream stops waiting for the acknowledgement, a few seconds later.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

from llmproxy.audit import checkpoint, continuing, metrics, pruning
from llmproxy.audit.checkpoint import CheckpointError, Signer
from llmproxy.audit.ledger import GENESIS, Head
from llmproxy.audit.record import columns, spell
from llmproxy.audit.store import Broken, Writer
from llmproxy.common.bus import Bus, Stored, Subscription
from llmproxy.common.channels import AUDIT, EVENT_LEDGER_ADVANCED
from llmproxy.common.errors import Unavailable
from llmproxy.common.probes import Readiness
from llmproxy.common.records import AuditBatch, AuditRecord

DURABLE = "audit"
RECORDS_PER_COPY = 350  # Spelling, hashing and encoding this many holds the loop for about 3 ms.
STANDBY_POLL_S = 0.5
RECONNECT_S = 0.5
BROKEN_POLL_S = 5.0
CHECKPOINT_EVERY_S = 0.2
REPEAT_EVERY_S = 10.0
PRUNE_EVERY_S = 600.0
DAY_MS = 86_400_000

log = logging.getLogger(__name__)


class LedgerWriter:
    """Takes the writer's lock when it is free, and then feeds the ledger until the session ends."""

    def __init__(
        self,
        bus: Bus,
        readiness: Readiness,
        folder: Path,
        connect: Callable[[], Awaitable[Writer]],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`folder` is where the signing key and the checkpoint are."""
        self._now = now
        self._bus, self._readiness, self._folder, self._connect = bus, readiness, folder, connect
        self._checkpoint = folder / checkpoint.FILE
        self._signer: Signer | None = None  # Known with the ledger: a key is made for an empty one alone.
        self.retention_days = 0  # For ever.
        self._turn = asyncio.Lock()  # Of who uses the writer's one connection.
        self._signing = asyncio.Lock()  # Of who writes the checkpoint.
        self._writer: Writer | None = None
        self._finishing = False
        self._consuming: Subscription | None = None
        self._advanced = asyncio.Event()
        self._signed = 0

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sign_heads())
            group.create_task(self._write())
            group.create_task(self._prune())

    async def _write(self) -> None:
        while True:
            pause_s = RECONNECT_S
            try:
                await self._session()
            except Unavailable as error:
                log.warning("%s; trying again", error.message)
                self._readiness.note("ledger", f"{error.message}; records wait in JetStream")
            except (Broken, CheckpointError) as error:
                pause_s = BROKEN_POLL_S
                log.error("%s", error)
                self._readiness.block("ledger", str(error))
            except OSError as error:  # Of the folder: a full disk, say.
                why = f"{self._folder} cannot be written: {error.strerror}"
                log.error("%s; trying again", why)
                self._readiness.note("ledger", f"{why}; records wait in JetStream")
            await asyncio.sleep(pause_s)

    async def _session(self) -> None:
        """One connection to Postgres, from standing by to its loss."""
        writer = await self._connect()
        try:
            await writer.migrate()
            await self._take_lock(writer)
            signed = await self._begin(writer)
            self._signed = signed.seq
            self._writer = writer
            self._readiness.note("ledger", "")
            self._readiness.block("ledger", "")
            metrics.WRITING.set(1)
            metrics.SEQUENCE.set(writer.head.seq)
            log.info("this instance writes the ledger, after entry %d", writer.head.seq)
            if writer.head.seq > self._signed:  # A writer was killed between the two, or somebody else wrote them.
                log.warning("entries %d to %d were not signed; they are now", self._signed + 1, writer.head.seq)
            self._advanced.set()
            if not self._finishing:
                self._consuming = await self._bus.consume(AUDIT, DURABLE, self.receive)
            await writer.ended()
            if writer.broken is not None:
                raise writer.broken
            raise Unavailable("audit_unavailable", "the connection to Postgres was lost")
        finally:
            try:
                await self._stop_consuming()
            finally:
                self._writer = None
                metrics.WRITING.set(0)
                writer.close()

    async def _begin(self, writer: Writer) -> Head:
        """The head that was signed last. The first is signed before anything is written, so that there always is one."""
        self._signer, signed = await continuing.begin(writer, self._folder)
        if signed is not None:
            return signed
        self._signer, self._signed = checkpoint.open_signer(self._folder), 0
        if not await self._sign(GENESIS):
            raise Unavailable("audit_unavailable", f"{self._checkpoint} cannot be written")
        return GENESIS

    async def _take_lock(self, writer: Writer) -> None:
        while not await writer.take_lock():
            self._readiness.note("ledger", "standing by; another instance writes the ledger")
            await asyncio.sleep(STANDBY_POLL_S)

    async def _stop_consuming(self) -> None:
        """Gives back at once what is not written, so that whoever writes next has it first and in order."""
        if self._consuming is not None:
            consuming, self._consuming = self._consuming, None
            await consuming.drain()

    async def receive(self, batches: list[Stored[AuditBatch]]) -> None:
        """Returns when every record is in the ledger. Raises Unavailable; asking again is safe."""
        records = [record for stored in batches for record in stored.message.records]
        for start in range(0, len(records), RECORDS_PER_COPY):
            await self._append(records[start : start + RECORDS_PER_COPY])

    async def _append(self, records: list[AuditRecord]) -> None:
        writer = self._writer
        if writer is None:
            raise Unavailable("audit_unavailable", "this instance does not write the ledger now")
        spelled = [(columns(record), text) for record, text in map(spell, records)]
        async with self._turn:
            before, duplicates = writer.head.seq, writer.duplicates
            head = await writer.append(spelled)
        metrics.RECORDS.inc(head.seq - before)
        metrics.DUPLICATES.inc(writer.duplicates - duplicates)
        metrics.SEQUENCE.set(head.seq)
        self._advanced.set()

    async def _prune(self) -> None:
        """Now and then, what is older than `retention_days`; some entries at a time, so that what arrives need not wait."""
        while True:
            await asyncio.sleep(PRUNE_EVERY_S)
            try:
                while self.retention_days and self._writer is not None and await self._prune_some(self._writer):
                    pass
            except (Unavailable, Broken) as error:
                log.error("nothing more is pruned: %s", error)
                self._readiness.note("retention", f"nothing is pruned: {error}")
            else:
                self._readiness.note("retention", "")

    async def _prune_some(self, writer: Writer) -> int:
        now_ms = int(self._now() * 1000)
        before_ms = now_ms - self.retention_days * DAY_MS
        async with self._turn:
            assert self._signer is not None, "a session finds the key before its head"
            pruned = await pruning.prune(writer, self._signer, self._sign, before_ms, now_ms=now_ms, id=str(uuid4()))
        metrics.PRUNED.inc(pruned)
        return pruned

    async def _sign_heads(self) -> None:
        """After each batch, at most every CHECKPOINT_EVERY_S; and now and then, so that who came late knows the head too."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPEAT_EVERY_S):  # Before 3.12 `wait_for` could lose its task's end.
                    await self._advanced.wait()
            self._advanced.clear()
            writer = self._writer
            if writer is not None:
                await self._sign(writer.head)
            await asyncio.sleep(CHECKPOINT_EVERY_S)

    async def _sign(self, head: Head) -> bool:
        """Whether it could be written. A later head is never followed by an earlier one."""
        assert self._signer is not None, "a session finds the key before its head"
        async with self._signing:
            if head.seq < self._signed:
                return True
            note, signature = self._signer.sign(head)
            writing = asyncio.ensure_future(asyncio.to_thread(checkpoint.write, self._checkpoint, note))
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:  # Its thread would go on, and write over what somebody else signs next.
                await asyncio.gather(writing, return_exceptions=True)
                raise
            except OSError as error:
                why = error.strerror or type(error).__name__
                log.error("the checkpoint cannot be written: %s", why)
                self._readiness.note("checkpoint", f"cannot be written to {self._checkpoint}: {why}")
                self._advanced.set()
                return False
            self._signed = head.seq
        self._readiness.note("checkpoint", "")
        metrics.SIGNED.set(head.seq)
        self._bus.event(EVENT_LEDGER_ADVANCED, seq=head.seq, head=head.hash.hex(), signature=signature)
        return True

    async def finish(self) -> None:
        """Writes and signs what was delivered, and takes no more."""
        self._finishing = True
        await self._stop_consuming()
        if self._writer is not None and self._writer.head.seq > self._signed:
            await self._sign(self._writer.head)
