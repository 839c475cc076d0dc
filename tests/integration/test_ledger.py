"""The ledger in a real Postgres: each record once, one writer, nothing lost when the server is killed, all tampering seen."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from patience import PATIENCE_S

from llmproxy.audit import checkpoint
from llmproxy.audit.answers import Answers
from llmproxy.audit.ledger import GENESIS, Verification, extend
from llmproxy.audit.record import Columns, canonical, columns
from llmproxy.audit.store import Reader, Writer, entries
from llmproxy.audit.verify import verify
from llmproxy.audit.writer import LedgerWriter
from llmproxy.common import database
from llmproxy.common.bus import Bus
from llmproxy.common.channels import AUDIT, EVENT_LEDGER_ADVANCED, LEDGER_ANSWER, LEDGER_QUERY, LEDGER_VERIFY
from llmproxy.common.database import load_migrations
from llmproxy.common.errors import Unavailable
from llmproxy.common.ledger_questions import LedgerPage, LedgerQuery, LedgerVerified, LedgerVerify
from llmproxy.common.probes import Readiness
from llmproxy.common.records import AuditBatch, AuditRecord
from llmproxy.common.testing import FakeBroker, fake_bus
from llmproxy.launcher.embedded import EmbeddedServers


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(tmp_path_factory.mktemp("ledger"), durable=False, which=("postgres",)) as running:
        yield running


def record(n: int, **fields: Any) -> AuditRecord:
    given: dict[str, Any] = {"id": f"id-{n}", "at_ms": 1_732_000_000_000 + n, "verdict": "answered", "tenant": "acme"}
    return AuditRecord(**{**given, **fields})


def spelled(numbers: range) -> list[tuple[Columns, bytes]]:
    return [(columns(one), canonical(one)) for one in map(record, numbers)]


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.02)


async def run_sql(dsn: str, statement: str, *arguments: object, timeout_s: float = PATIENCE_S) -> list[Any]:
    connection = await asyncpg.connect(dsn, timeout=timeout_s)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


async def opened(dsn: str) -> Writer:
    writer = await Writer.connect(dsn)
    await writer.migrate()
    assert await writer.take_lock()
    await writer.begin(None)
    return writer


class Audit:
    """One instance of the service, without its process."""

    def __init__(self, bus: Bus, readiness: Readiness, ledger: LedgerWriter) -> None:
        self.bus, self.readiness, self.ledger = bus, readiness, ledger

    @classmethod
    @asynccontextmanager
    async def start(cls, broker: FakeBroker, dsn: str, folder: Path, instance: str = "a") -> AsyncIterator["Audit"]:
        bus, readiness = await fake_bus(broker, "audit", instance), Readiness()
        ledger = LedgerWriter(bus, readiness, folder, partial(Writer.connect, dsn))
        task = asyncio.create_task(ledger.run())
        try:
            yield cls(bus, readiness, ledger)
        finally:
            await ledger.finish()
            assert task.cancel(), task
            await asyncio.wait({task})
            await bus.drain(1)


async def commit(bus: Bus, numbers: range, size: int = 10) -> None:
    for start in range(numbers.start, numbers.stop, size):
        batch = AuditBatch(bus.instance, [record(n) for n in range(start, min(start + size, numbers.stop))])
        await bus.commit(AUDIT, batch, uuid4().hex, tenant="acme")


async def holds(dsn: str, count: int) -> bool:
    try:
        # It is asked again, and a dead server's socket may still take connections.
        found = await run_sql(dsn, "SELECT count(*) FROM ledger", timeout_s=5)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return bool(found[0][0] == count)


async def checked(dsn: str, folder: Path) -> Verification:
    return await verify(dsn, folder / checkpoint.FILE, folder / checkpoint.PUBLIC_FILE)


def test_a_record_that_comes_again_is_written_once(dsn: str) -> None:
    async def scenario() -> None:
        writer = await opened(dsn)
        await writer.append(spelled(range(1, 6)))
        await writer.append([*spelled(range(3, 9)), *spelled(range(8, 10))])
        await writer.append(spelled(range(1, 10)))
        assert (writer.head.seq, writer.duplicates) == (9, 13)
        writer.close()
        async with entries(dsn) as stored:
            assert [entry async for entry in stored] == extend(GENESIS, spelled(range(1, 10)))

    asyncio.run(scenario())


def test_before_the_audit_service_has_begun_it_is_said_that_there_is_no_ledger_yet(dsn: str) -> None:
    async def scenario() -> None:
        async with Reader.open(dsn) as reader:
            with pytest.raises(Unavailable, match="no table yet"):
                await reader.page(LedgerQuery(address="a", id="q"))

    asyncio.run(scenario())


def test_a_ledger_of_the_first_release_is_taken_over_and_proved(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        with monkeypatch.context() as first:
            first.setattr(database, "load_migrations", lambda package: load_migrations(package)[:1])
            writer = await opened(dsn)
        head = await writer.append(spelled(range(1, 6)))
        signer = checkpoint.open_signer(tmp_path)
        checkpoint.write(tmp_path / checkpoint.FILE, signer.sign(head)[0])
        writer.close()
        writer = await Writer.connect(dsn)
        await writer.migrate()
        assert (await checked(dsn, tmp_path)).ok
        assert await writer.take_lock()
        await writer.begin(head)
        unpriced = record(6, unpriced=True)
        await writer.append([(columns(unpriced), canonical(unpriced))])
        writer.close()
        found = await checked(dsn, tmp_path)
        assert (found.ok, found.records, found.unsigned) == (True, 6, 1)
        told = await run_sql(dsn, "SELECT unpriced FROM ledger_entry ORDER BY seq")
        assert [row[0] for row in told] == [False] * 5 + [True]

    asyncio.run(scenario())


def test_text_that_postgres_cannot_hold_does_not_stop_the_ledger(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        async with Audit.start(broker, dsn, tmp_path) as audit:
            strange = [record(1, model="a\0b"), record(2, id="x" * 5_000), record(3, model="m" * 100_000, at_ms=2**63)]
            await audit.bus.commit(AUDIT, AuditBatch("edge-1", strange), "1", tenant="acme")
            await eventually(partial(holds, dsn, 3), "three strange records are stored")
        assert (await checked(dsn, tmp_path)).ok

    asyncio.run(scenario())


def test_the_second_instance_writes_only_when_the_first_is_gone(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        edge = await fake_bus(broker, "edge")
        async with Audit.start(broker, dsn, tmp_path, "b") as second:
            async with Audit.start(broker, dsn, tmp_path, "a") as first:

                async def one_of_them_waits() -> bool:
                    notes = [one.readiness.notes.get("ledger", "") for one in (first, second)]
                    return sum(note.startswith("standing by") for note in notes) == 1

                await eventually(one_of_them_waits, "one stands by")
                await commit(edge, range(1, 200))
                await eventually(partial(holds, dsn, 199), "the writer has written")
            await commit(edge, range(200, 300))
            await eventually(partial(holds, dsn, 299), "the other one has taken over")
        found = await checked(dsn, tmp_path)
        assert (found.ok, found.records) == (True, 299)

    asyncio.run(scenario())


def test_a_session_without_the_lock_cannot_get_it_until_the_writer_is_gone(dsn: str) -> None:
    async def scenario() -> None:
        writer, other = await opened(dsn), await Writer.connect(dsn)
        assert not await other.take_lock()
        writer.close()
        await eventually(other.take_lock, "the lock is free")
        other.close()

    asyncio.run(scenario())


def test_nothing_is_lost_or_doubled_when_postgres_is_killed_between_and_in_batches(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path / "pg", durable=False, which=("postgres",)) as own:
        dsn = own.postgres_dsn

        async def scenario() -> None:
            broker = FakeBroker()
            edge = await fake_bus(broker, "edge")
            async with Audit.start(broker, dsn, tmp_path / "audit") as audit:
                await eventually(partial(holds, dsn, 0), "the table is there")
                sending = asyncio.create_task(commit(edge, range(1, 3_001), size=5))
                for _ in range(3):
                    await asyncio.sleep(0)  # Somewhere in between.
                    own.kill("postgres")
                    await eventually(noted(audit, True), "the outage is noted")
                    own.restart("postgres")
                    await eventually(noted(audit, False), "the note is gone")
                await sending
                await eventually(partial(holds, dsn, 3_000), "all 3,000 are there")
                ids = await run_sql(dsn, "SELECT id FROM ledger ORDER BY seq")
                assert [row[0] for row in ids] == [f"id-{n}" for n in range(1, 3_001)]  # In the order of the stream.
            found = await checked(dsn, tmp_path / "audit")
            assert (found.ok, found.records) == (True, 3_000)

        asyncio.run(scenario())


def noted(audit: Audit, is_noted: bool) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return ("ledger" in audit.readiness.notes) is is_noted

    return look


TAMPERINGS = [
    (
        "UPDATE ledger SET record = convert_to(replace(convert_from(record, 'UTF8'), 'acme', 'evil'), 'UTF8') WHERE seq=7",
        7,
    ),
    ("UPDATE ledger SET tenant = 'evil' WHERE seq = 7", 7),
    ("UPDATE ledger SET key = 'evil' WHERE seq = 7", 7),
    ("UPDATE ledger SET model = 'evil' WHERE seq = 7", 7),
    ("UPDATE ledger SET verdict = 'blocked' WHERE seq = 7", 7),
    ("UPDATE ledger SET at_ms = at_ms + 1 WHERE seq = 7", 7),
    ("UPDATE ledger SET id = 'evil' WHERE seq = 7", 7),
    ("UPDATE ledger SET prev_hash = sha256('evil') WHERE seq = 7", 7),
    ("UPDATE ledger SET entry_hash = sha256('evil') WHERE seq = 7", 7),
    ("UPDATE ledger SET seq = 70 WHERE seq = 7", 7),
    ("DELETE FROM ledger WHERE seq = 7", 7),
    ("DELETE FROM ledger WHERE seq <= 7", 1),
    ("DELETE FROM ledger WHERE seq > 7", 8),
    ("DELETE FROM ledger", 1),
    (
        "UPDATE ledger SET (record, entry_hash) = (SELECT o.record, o.entry_hash FROM ledger o WHERE o.seq = 8) WHERE seq=7",
        7,
    ),
]


@pytest.fixture(scope="module")
def sound(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A ledger of ten entries with its checkpoint; who tampers with it puts it back."""
    folder = tmp_path_factory.mktemp("sound")

    async def fill() -> None:
        writer = await opened(servers.postgres_dsn)
        head = await writer.append(spelled(range(1, 11)))
        signer = checkpoint.open_signer(folder)
        checkpoint.write(folder / checkpoint.FILE, signer.sign(head)[0])
        writer.close()

    asyncio.run(fill())
    return servers.postgres_dsn, folder


@pytest.mark.parametrize(("statement", "at_seq"), TAMPERINGS)
def test_what_somebody_with_the_database_password_changes_is_found(
    sound: tuple[str, Path], statement: str, at_seq: int
) -> None:
    dsn, folder = sound

    async def scenario() -> None:
        assert (await checked(dsn, folder)).ok
        kept = await run_sql(dsn, "SELECT * FROM ledger")
        await run_sql(dsn, statement)
        found = await checked(dsn, folder)
        connection = await asyncpg.connect(dsn, timeout=PATIENCE_S)
        await connection.execute("DELETE FROM ledger")
        await connection.copy_records_to_table("ledger", records=[tuple(row) for row in kept])
        await connection.close()
        assert not found.ok, statement
        assert found.at_seq == at_seq, found.problem
        assert str(at_seq) in found.problem or str(at_seq - 1) in found.problem

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TABLE ledger CASCADE"],
        ["ALTER TABLE ledger DROP COLUMN prev_hash CASCADE"],
        ["ALTER TABLE ledger ALTER record DROP NOT NULL", "UPDATE ledger SET record = NULL WHERE seq = 2"],
        ["DROP VIEW ledger_entry", "ALTER TABLE ledger ALTER record TYPE text USING convert_from(record, 'UTF8')"],
    ],
)
def test_a_table_that_was_made_over_is_not_valid(dsn: str, tmp_path: Path, statements: list[str]) -> None:
    async def scenario() -> None:
        writer = await opened(dsn)
        head = await writer.append(spelled(range(1, 4)))
        checkpoint.write(tmp_path / checkpoint.FILE, checkpoint.open_signer(tmp_path).sign(head)[0])
        assert (await checked(dsn, tmp_path)).ok
        for statement in statements:
            await run_sql(dsn, statement)
        found = await checked(dsn, tmp_path)
        assert not found.ok
        assert found.at_seq == found.records + 1
        writer.close()

    asyncio.run(scenario())


def test_an_empty_ledger_is_signed_too_so_a_ledger_without_a_checkpoint_is_not_valid(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Audit.start(FakeBroker(), dsn, tmp_path):

            async def is_signed() -> bool:
                return (tmp_path / checkpoint.FILE).exists()

            await eventually(is_signed, "the head before the first entry is signed")
        assert (await checked(dsn, tmp_path)).ok
        (tmp_path / checkpoint.FILE).unlink()
        assert "no checkpoint" in (await checked(dsn, tmp_path)).problem

    asyncio.run(scenario())


def test_a_head_that_cannot_be_written_is_told_with_the_reason_and_signed_when_it_can(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        edge = await fake_bus(broker, "edge")
        in_the_way = tmp_path / f".{checkpoint.FILE}.{os.getpid()}"
        in_the_way.mkdir()
        async with Audit.start(broker, dsn, tmp_path) as audit:
            await commit(edge, range(1, 11))

            async def noted() -> bool:
                said = f"cannot be written to {tmp_path / checkpoint.FILE}: Is a directory"
                return audit.readiness.notes.get("checkpoint") == said

            await eventually(noted, "the reason is told")
            in_the_way.rmdir()

            async def is_well() -> bool:
                return "checkpoint" not in audit.readiness.notes

            await eventually(is_well, "the head is signed")
            await eventually(partial(holds, dsn, 10), "the records are there")
        assert (await checked(dsn, tmp_path)).records == 10

    asyncio.run(scenario())


def test_a_ledger_forged_from_the_start_needs_the_signing_key(sound: tuple[str, Path]) -> None:
    dsn, folder = sound

    async def scenario() -> None:
        kept = await run_sql(dsn, "SELECT * FROM ledger")
        connection = await asyncpg.connect(dsn, timeout=PATIENCE_S)
        await connection.execute("DELETE FROM ledger")
        pairs = [(columns(record(n, cost=1)), canonical(record(n, cost=1))) for n in range(1, 11)]
        await connection.copy_records_to_table("ledger", records=extend(GENESIS, pairs))
        found = await checked(dsn, folder)
        await connection.execute("DELETE FROM ledger")
        await connection.copy_records_to_table("ledger", records=[tuple(row) for row in kept])
        await connection.close()
        assert found.problem == "entry 10 is not the one that was signed: the ledger was rewritten"

    asyncio.run(scenario())


def test_a_checkpoint_of_another_key_or_none_proves_nothing(sound: tuple[str, Path], tmp_path: Path) -> None:
    dsn, folder = sound
    checkpoint.open_signer(tmp_path)

    async def scenario() -> None:
        other_key = await verify(dsn, folder / checkpoint.FILE, tmp_path / checkpoint.PUBLIC_FILE)
        no_checkpoint = await verify(dsn, tmp_path / checkpoint.FILE, tmp_path / checkpoint.PUBLIC_FILE)
        assert (other_key.ok, no_checkpoint.ok) == (False, False)
        assert "another key" in other_key.problem
        assert "no checkpoint" in no_checkpoint.problem

    asyncio.run(scenario())


def test_a_ledger_that_lost_what_was_signed_is_not_continued(dsn: str, tmp_path: Path) -> None:
    """Otherwise the next checkpoint would hide the truncation."""

    async def scenario() -> None:
        broker = FakeBroker()
        edge = await fake_bus(broker, "edge")
        async with Audit.start(broker, dsn, tmp_path):
            await commit(edge, range(1, 50))
            await eventually(partial(holds, dsn, 49), "the records are there")
        before = (tmp_path / checkpoint.FILE).read_text()
        await run_sql(dsn, "DELETE FROM ledger WHERE seq > 40")
        async with Audit.start(broker, dsn, tmp_path) as audit:

            async def blocked() -> bool:
                return "entry 49 as it was signed" in audit.readiness.blockers.get("ledger", "")

            await eventually(blocked, "the writer refuses")
            await commit(edge, range(50, 60))
        assert await holds(dsn, 40)
        assert (tmp_path / checkpoint.FILE).read_text() == before
        assert broker.streams["AUDIT"]

    asyncio.run(scenario())


def test_an_entry_that_somebody_else_added_stops_the_writer(dsn: str) -> None:
    async def scenario() -> None:
        writer = await opened(dsn)
        head = await writer.append(spelled(range(1, 4)))
        forged = extend(head, spelled(range(90, 91)))[0]
        await run_sql(dsn, "INSERT INTO ledger VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)", *forged)
        with pytest.raises(Exception, match="somebody else"):
            await writer.append(spelled(range(4, 6)))
        assert writer.broken is not None
        assert writer.lost.is_set()

    asyncio.run(scenario())


def test_admin_gets_pages_and_the_proof_over_the_bus(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        admin = await fake_bus(broker, "admin")
        heads: list[int] = []
        await admin.subscribe(EVENT_LEDGER_ADVANCED, lambda event: heads.append(int(event.facts["seq"])))
        async with Audit.start(broker, dsn, tmp_path) as audit, Reader.open(dsn) as reader:
            await Answers(audit.bus, reader, partial(checked, dsn, tmp_path)).serve()
            batch = [
                record(n, model="m1" if n % 2 else "m2", verdict="blocked" if n % 5 == 0 else "answered")
                for n in range(1, 41)
            ]
            await audit.bus.commit(AUDIT, AuditBatch("edge-1", batch), "1", tenant="acme")
            await eventually(partial(holds, dsn, 40), "the records are there")

            async def signed() -> bool:
                return heads[-1:] == [40]

            await eventually(signed, "the head was published")

            async def ask(**filters: Any) -> list[int]:
                query = LedgerQuery(address=admin.address, id=uuid4().hex, **filters)
                page = await admin.ask(LEDGER_QUERY, query, LEDGER_ANSWER, query.id, PATIENCE_S)
                assert isinstance(page, LedgerPage)
                assert not page.problem
                return [entry.seq for entry in page.entries]

            assert await ask(limit=3) == [40, 39, 38]
            assert await ask(limit=2, before_seq=38) == [37, 36]
            assert await ask(model="m2", verdict="blocked") == [40, 30, 20, 10]
            assert await ask(from_ms=1_732_000_000_005, to_ms=1_732_000_000_007) == [6, 5]
            assert await ask(tenant="' OR 1=1 --") == []
            question = LedgerVerify(address=admin.address, id=uuid4().hex)
            proof = await admin.ask(LEDGER_VERIFY, question, LEDGER_ANSWER, question.id, PATIENCE_S)
            assert isinstance(proof, LedgerVerified)
            assert (proof.ok, proof.records, proof.problem) == (True, 40, "")
        view = await run_sql(dsn, "SELECT cost_nano_dollars, record, unpriced FROM ledger_entry WHERE seq = 1")
        assert msgspec.json.decode(view[0][1])["id"] == "id-1"
        assert view[0][2] is False

    asyncio.run(scenario())
