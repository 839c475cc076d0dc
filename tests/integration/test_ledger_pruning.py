"""Old entries leave a real ledger, and what is left proves itself; what was tampered with stays."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from click.testing import CliRunner
from patience import PATIENCE_S

from llmproxy.audit import checkpoint, pruning, writer
from llmproxy.audit.ledger import Head, Verification
from llmproxy.audit.pruning import prune_all
from llmproxy.audit.record import canonical, columns
from llmproxy.audit.rekey import rekey
from llmproxy.audit.store import Writer
from llmproxy.audit.verify import verify
from llmproxy.audit.writer import DAY_MS, LedgerWriter
from llmproxy.common.channels import AUDIT
from llmproxy.common.errors import GatewayError, Unavailable
from llmproxy.common.probes import Readiness
from llmproxy.common.records import AuditBatch, AuditRecord
from llmproxy.common.testing import FakeBroker, fake_bus
from llmproxy.launcher.cli import cli
from llmproxy.launcher.embedded import EmbeddedServers

START_MS = 1_732_060_800_000  # 20 November 2024, midnight UTC. One record a day from then on.
NOW_MS = START_MS + 100 * DAY_MS


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(tmp_path_factory.mktemp("pruning"), durable=False, which=("postgres",)) as running:
        yield running


def of_day(day: int) -> AuditRecord:
    return AuditRecord(id=f"day-{day}", at_ms=START_MS + day * DAY_MS, verdict="answered")


async def written(dsn: str, folder: Path, days: int) -> None:
    """A signed ledger with a record for each day."""
    writing = await Writer.connect(dsn)
    await writing.migrate()
    assert await writing.take_lock()
    await writing.begin(None)
    head = await writing.append([(columns(one), canonical(one)) for one in map(of_day, range(days))])
    checkpoint.write(folder / checkpoint.FILE, checkpoint.open_signer(folder).sign(head)[0])
    writing.close()


async def pruned(dsn: str, folder: Path, days: int) -> int:
    numbers = itertools.count()
    return await prune_all(
        dsn,
        folder,
        START_MS + days * DAY_MS,
        now_ms=NOW_MS,
        ids=lambda: f"{uuid4().hex}-{next(numbers)}",
        wait_s=PATIENCE_S,
    )


async def checked(dsn: str, folder: Path) -> Verification:
    return await verify(dsn, folder / checkpoint.FILE, folder / checkpoint.PUBLIC_FILE)


async def sequences(dsn: str) -> list[int]:
    connection = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await connection.fetch("SELECT seq FROM ledger ORDER BY seq")]
    finally:
        await connection.close()


async def run_sql(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def test_what_is_left_proves_itself_and_pruning_goes_on_from_there(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        await written(dsn, tmp_path, 20)
        assert await pruned(dsn, tmp_path, 5) == 5
        proof = await checked(dsn, tmp_path)
        assert (proof.ok, proof.records, proof.pruned, proof.unsigned) == (True, 16, 5, 0)
        assert await sequences(dsn) == [*range(6, 22)]
        assert await pruned(dsn, tmp_path, 12) == 7
        proof = await checked(dsn, tmp_path)
        assert (proof.ok, proof.records, proof.pruned) == (True, 10, 12)
        assert await pruned(dsn, tmp_path, 12) == 0, "nothing is left to prune"
        assert (await checked(dsn, tmp_path)).ok

    asyncio.run(scenario())


def test_while_the_audit_service_runs_nothing_goes_and_it_is_said_how_to_stop_it_and_what_else_prunes(
    dsn: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        await written(dsn, tmp_path, 20)
        service = await Writer.connect(dsn)
        assert await service.take_lock()
        with pytest.raises(GatewayError) as refused:
            await prune_all(dsn, tmp_path, NOW_MS, now_ms=NOW_MS, ids=lambda: "p", wait_s=0.2)
        service.close()
        for said in ("stop it first: end `llmproxy up`", "audit.retention_days"):
            assert said in refused.value.message
        assert await sequences(dsn) == [*range(1, 21)]

    asyncio.run(scenario())


def test_many_entries_leave_some_at_a_time_and_the_newest_stays(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "ENTRIES_MAX", 7)

    async def scenario() -> None:
        await written(dsn, tmp_path, 20)
        assert await pruned(dsn, tmp_path, 1_000) >= 20
        left = await sequences(dsn)
        assert left
        assert left[0] > 20, "only what tells of the others is left"
        proof = await checked(dsn, tmp_path)
        assert (proof.ok, proof.pruned) == (True, left[0] - 1)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger WHERE seq <= 8",
        "DELETE FROM ledger WHERE seq = 9",
        "DELETE FROM ledger WHERE seq = 6",
        "DELETE FROM ledger WHERE seq > 20",
        "DELETE FROM ledger",
        "UPDATE ledger SET tenant = 'evil' WHERE seq = 6",
        "UPDATE ledger SET prev_hash = sha256('evil') WHERE seq = 6",
        "UPDATE ledger SET record = convert_to(replace(convert_from(record, 'UTF8'), 'ledger.pruned', 'ledger.prunes'), 'UTF8')",
    ],
)
def test_after_pruning_tampering_is_found_as_before(dsn: str, tmp_path: Path, statement: str) -> None:
    async def scenario() -> None:
        await written(dsn, tmp_path, 20)
        await pruned(dsn, tmp_path, 5)
        await run_sql(dsn, statement)
        assert not (await checked(dsn, tmp_path)).ok

    asyncio.run(scenario())


def test_what_does_not_prove_itself_is_not_pruned(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        await written(dsn, tmp_path, 20)
        await run_sql(dsn, "UPDATE ledger SET tenant = 'evil' WHERE seq = 3")
        with pytest.raises(GatewayError, match="entry 3 was changed"):
            await pruned(dsn, tmp_path, 5)
        assert await sequences(dsn) == [*range(1, 21)]

    asyncio.run(scenario())


def test_who_can_only_write_the_database_cannot_prune(dsn: str, tmp_path: Path) -> None:
    """A forged entry, which a writer that starts anew takes for one of a writer that was killed, and signs."""

    async def scenario() -> None:
        folder, theirs = tmp_path / "audit", checkpoint.open_signer(tmp_path / "theirs")
        folder.mkdir()
        await written(dsn, folder, 20)
        forging = await Writer.connect(dsn)
        assert await forging.take_lock()
        await forging.resume()
        [*_, fifth] = await forging.oldest(5)
        last = Head(fifth.seq, fifth.entry_hash)
        await forging.append([pruning.said(last, theirs, now_ms=NOW_MS, id="forged")])
        await forging.forget(5)
        forging.close()
        bus = await fake_bus(FakeBroker(), "audit")
        ledger = LedgerWriter(bus, Readiness(), folder, lambda: Writer.connect(dsn))
        running = asyncio.create_task(ledger.run())
        signer = checkpoint.open_signer(folder)
        async with asyncio.timeout(PATIENCE_S):
            while (signed := checkpoint.read(folder / checkpoint.FILE, signer.public)) is None or signed.seq < 21:
                await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.wait({running})
        await bus.drain(0)
        proof = await checked(dsn, folder)
        assert not proof.ok
        assert "entries 1 to 5 are missing" in proof.problem

    asyncio.run(scenario())


@pytest.mark.parametrize("fails_at", ["sign", "forget"])
def test_pruning_that_was_interrupted_leaves_a_ledger_that_proves_itself(
    dsn: str, tmp_path: Path, fails_at: str
) -> None:
    class Killed(Writer):
        async def forget(self, seq: int) -> None:
            raise Unavailable("audit_unavailable", "killed")

    async def scenario() -> None:
        await written(dsn, tmp_path, 20)
        signer = checkpoint.open_signer(tmp_path)
        writing = await (Killed if fails_at == "forget" else Writer).connect(dsn)
        assert await writing.take_lock()
        await writing.resume()

        async def sign(head: Head) -> bool:
            if fails_at == "forget":
                checkpoint.write(tmp_path / checkpoint.FILE, signer.sign(head)[0])
            return fails_at == "forget"

        with pytest.raises(Unavailable):
            await pruning.prune(writing, signer, sign, START_MS + 5 * DAY_MS, now_ms=NOW_MS, id="p")
        writing.close()
        proof = await checked(dsn, tmp_path)
        assert (proof.ok, proof.records, proof.pruned) == (True, 21, 0)
        assert await pruned(dsn, tmp_path, 5) == 5
        proof = await checked(dsn, tmp_path)
        assert (proof.ok, proof.records, proof.pruned) == (True, 17, 5)

    asyncio.run(scenario())


def test_a_new_key_says_again_what_was_pruned(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        await written(dsn, tmp_path, 20)
        await pruned(dsn, tmp_path, 5)
        found = await rekey(dsn, tmp_path, id="r", now_ms=NOW_MS, wait_s=PATIENCE_S)
        proof = await checked(dsn, tmp_path)
        assert (proof.ok, proof.pruned, proof.rekeyed) == (True, 5, (found,))
        assert await pruned(dsn, tmp_path, 8) == 3
        assert (await checked(dsn, tmp_path)).ok

    asyncio.run(scenario())


def test_the_audit_service_prunes_by_itself_while_records_arrive(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PRUNE_EVERY_S", 0.02)
    monkeypatch.setattr(pruning, "ENTRIES_MAX", 3)

    async def scenario() -> None:
        await written(dsn, tmp_path, 20)
        broker = FakeBroker()
        bus, edge, readiness = await fake_bus(broker, "audit"), await fake_bus(broker, "edge"), Readiness()
        now_s = (START_MS + 20 * DAY_MS) / 1000
        ledger = LedgerWriter(bus, readiness, tmp_path, lambda: Writer.connect(dsn), now=lambda: now_s)
        running = asyncio.create_task(ledger.run())
        for day in range(20, 60):
            await edge.commit(AUDIT, AuditBatch("e", [of_day(day)]), uuid4().hex, tenant="acme")
        ledger.retention_days = 10
        async with asyncio.timeout(PATIENCE_S):
            while (left := await sequences(dsn))[0] != 11 or left[-1] < 60:
                await asyncio.sleep(0.02)
        await ledger.finish()
        running.cancel()
        await asyncio.wait({running})
        assert "retention" not in readiness.notes
        proof = await checked(dsn, tmp_path)
        assert (proof.ok, proof.pruned, proof.unsigned) == (True, 10, 0)
        kept = {f"day-{day}" for day in range(10, 60)}
        connection = await asyncpg.connect(dsn)
        assert kept == {row[0] for row in await connection.fetch("SELECT id FROM ledger WHERE verdict = 'answered'")}
        await connection.close()
        await bus.drain(1)
        await edge.drain(1)

    asyncio.run(scenario())


def test_without_a_limit_nothing_is_pruned(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PRUNE_EVERY_S", 0.0)

    async def scenario() -> None:
        await written(dsn, tmp_path, 20)
        broker = FakeBroker()
        bus, edge = await fake_bus(broker, "audit"), await fake_bus(broker, "edge")
        ledger = LedgerWriter(bus, Readiness(), tmp_path, lambda: Writer.connect(dsn))
        running = asyncio.create_task(ledger.run())
        await edge.commit(AUDIT, AuditBatch("e", [of_day(20)]), uuid4().hex, tenant="acme")
        async with asyncio.timeout(PATIENCE_S):
            while (await sequences(dsn))[-1] < 21:
                await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.wait({running})
        assert await sequences(dsn) == [*range(1, 22)]
        await bus.drain(0)
        await edge.drain(0)

    asyncio.run(scenario())


def test_the_command_prunes_before_a_day_and_verify_says_so(dsn: str, tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    asyncio.run(written(dsn, folder, 20))
    run, place = CliRunner().invoke, ["--data", str(tmp_path), "--dsn", dsn]
    assert run(cli, ["audit", "prune", "--before", "2024-11-25", *place], input="n\n").exit_code == 1
    assert asyncio.run(sequences(dsn))[0] == 1
    done = run(cli, ["audit", "prune", "--before", "2024-11-25", "--yes", *place])
    assert done.exit_code == 0, done.output
    assert "5 records are gone" in done.output
    shown = run(cli, ["audit", "verify", *place])
    assert shown.exit_code == 0
    assert "valid: 16 records after 5 that were pruned" in shown.output
    assert run(cli, ["audit", "prune", "--before", "someday", *place]).exit_code == 2
