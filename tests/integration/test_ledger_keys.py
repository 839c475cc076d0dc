"""A ledger whose key or signed head is lost is not continued in silence, and goes on in plain sight when somebody says so."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from click.testing import CliRunner
from patience import PATIENCE_S

from llmproxy.audit import checkpoint
from llmproxy.audit.ledger import Verification
from llmproxy.audit.rekey import rekey
from llmproxy.audit.store import Writer
from llmproxy.audit.verify import verify
from llmproxy.audit.writer import LedgerWriter
from llmproxy.common.bus import Bus
from llmproxy.common.channels import AUDIT
from llmproxy.common.errors import GatewayError
from llmproxy.common.ledger_questions import Rekeyed
from llmproxy.common.probes import Readiness
from llmproxy.common.records import AuditBatch, AuditRecord
from llmproxy.common.testing import FakeBroker, fake_bus
from llmproxy.launcher.cli import cli
from llmproxy.launcher.embedded import EmbeddedServers

NOW_MS = 1_732_000_000_000
LOST: dict[str, tuple[str, ...]] = {
    "everything": (checkpoint.FILE, checkpoint.SECRET_FILE, checkpoint.PUBLIC_FILE),
    "the key": (checkpoint.SECRET_FILE, checkpoint.PUBLIC_FILE),
    "the secret key": (checkpoint.SECRET_FILE,),
    "the signed head": (checkpoint.FILE,),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(tmp_path_factory.mktemp("keys"), durable=False, which=("postgres",)) as running:
        yield running


class Audit:
    """One instance of the service, without its process, and whoever has something to record."""

    def __init__(self, edge: Bus, readiness: Readiness, dsn: str) -> None:
        self.edge, self.readiness, self._dsn = edge, readiness, dsn

    async def record(self, *ids: str) -> None:
        records = [AuditRecord(id=id, at_ms=NOW_MS, verdict="answered") for id in ids]
        await self.edge.commit(AUDIT, AuditBatch("edge-1", records), uuid4().hex, tenant="acme")

    async def holds(self, count: int) -> None:
        async def are_there() -> bool:
            return await held(self._dsn) == count

        await eventually(are_there)

    async def refuses(self) -> str:
        async def blocked() -> bool:
            return "ledger" in self.readiness.blockers

        await eventually(blocked)
        return self.readiness.blockers["ledger"]


@asynccontextmanager
async def audit(broker: FakeBroker, dsn: str, folder: Path) -> AsyncIterator[Audit]:
    bus, edge, readiness = await fake_bus(broker, "audit"), await fake_bus(broker, "edge"), Readiness()
    ledger = LedgerWriter(bus, readiness, folder, partial(Writer.connect, dsn))
    running = asyncio.create_task(ledger.run())
    try:
        yield Audit(edge, readiness, dsn)
    finally:
        await ledger.finish()
        running.cancel()
        await asyncio.wait({running})
        await bus.drain(1)
        await edge.drain(1)


async def held(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM ledger") or 0)
    except asyncpg.UndefinedTableError:
        return -1
    finally:
        await connection.close()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():
            await asyncio.sleep(0.02)


async def checked(dsn: str, folder: Path) -> Verification:
    return await verify(dsn, folder / checkpoint.FILE, folder / checkpoint.PUBLIC_FILE)


async def changed(dsn: str, folder: Path) -> Rekeyed:
    return await rekey(dsn, folder, id=uuid4().hex, now_ms=NOW_MS, wait_s=PATIENCE_S)


async def written(broker: FakeBroker, dsn: str, folder: Path) -> None:
    """A ledger of three entries, signed."""
    async with audit(broker, dsn, folder) as running:
        await running.record("a", "b", "c")
        await running.holds(3)


@pytest.mark.parametrize("lost", LOST)
def test_a_ledger_whose_key_or_signed_head_is_lost_goes_on_only_when_it_says_so(
    dsn: str, tmp_path: Path, lost: str
) -> None:
    async def scenario() -> None:
        broker, folder, kept = FakeBroker(), tmp_path / "audit", tmp_path / "kept"
        await written(broker, dsn, folder)
        shutil.copytree(folder, kept)
        for name in LOST[lost]:
            (folder / name).unlink()
        left = {path.name for path in folder.iterdir()}
        async with audit(broker, dsn, folder) as running:
            said = await running.refuses()
            assert "llmproxy audit rekey" in said
            assert "backup" in said
            await running.record("d")
            found = await changed(dsn, folder)
            assert found.seq == 4
            await running.holds(5)

            async def is_ready() -> bool:
                return "ledger" not in running.readiness.blockers

            await eventually(is_ready)
        proof = await checked(dsn, folder)
        assert (proof.ok, proof.records, proof.unsigned, proof.rekeyed) == (True, 5, 0, (found,))
        assert (folder / checkpoint.PUBLIC_FILE).read_text().strip() == found.key
        before = await checked(dsn, kept)
        assert (before.ok, before.unsigned, before.rekeyed) == (True, 2, (found,)), "the old head proves what it covers"
        aside = [path for path in folder.iterdir() if path.is_dir()]
        assert {path.name for one in aside for path in one.iterdir()} == left, "nothing is thrown away"

    asyncio.run(scenario())


def test_while_it_refuses_nothing_is_made_or_written(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        broker, folder = FakeBroker(), tmp_path / "audit"
        await written(broker, dsn, folder)
        shutil.move(folder, tmp_path / "backup")
        async with audit(broker, dsn, folder) as running:
            await running.refuses()
            await running.record("d")
            assert not folder.exists()
            assert await held(dsn) == 3
        shutil.move(tmp_path / "backup", folder)
        async with audit(broker, dsn, folder) as running:  # Restored, it goes on where it was.
            await running.holds(4)
        proof = await checked(dsn, folder)
        assert (proof.ok, proof.rekeyed) == (True, ())

    asyncio.run(scenario())


def test_the_first_head_is_signed_before_the_first_entry_is_written(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        broker, seen = FakeBroker(), []

        class Watched(Writer):
            async def append(self, spelled):  # type: ignore[no-untyped-def]
                seen.append((tmp_path / checkpoint.FILE).exists())
                return await super().append(spelled)

        bus, edge = await fake_bus(broker, "audit"), await fake_bus(broker, "edge")
        ledger = LedgerWriter(bus, Readiness(), tmp_path, partial(Watched.connect, dsn))
        await Audit(edge, Readiness(), dsn).record("a")
        running = asyncio.create_task(ledger.run())
        await Audit(edge, Readiness(), dsn).holds(1)
        running.cancel()
        await asyncio.wait({running})
        assert seen == [True]
        await bus.drain(1)
        await edge.drain(1)

    asyncio.run(scenario())


def test_a_key_is_changed_while_all_is_well_too_and_only_while_nobody_writes(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        async with audit(broker, dsn, tmp_path) as running:
            await running.record("a")
            await running.holds(1)
            with pytest.raises(GatewayError, match="stop it first"):
                await rekey(dsn, tmp_path, id="x", now_ms=NOW_MS, wait_s=0)
        old = (tmp_path / checkpoint.PUBLIC_FILE).read_text()
        found = await changed(dsn, tmp_path)
        assert found.key != old.strip()
        proof = await checked(dsn, tmp_path)
        assert (proof.ok, proof.records, proof.rekeyed) == (True, 2, (found,))

    asyncio.run(scenario())


def test_an_empty_ledger_has_no_key_to_change(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="empty"):
        asyncio.run(changed(dsn, tmp_path / "audit"))
    assert not (tmp_path / "audit").exists()


def test_a_change_that_was_interrupted_is_asked_for_again(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        await written(broker, dsn, tmp_path)
        (tmp_path / checkpoint.FILE).unlink()
        await changed(dsn, tmp_path)
        (tmp_path / checkpoint.FILE).unlink()  # As if it had ended before its last step.
        async with audit(broker, dsn, tmp_path) as running:
            await running.refuses()
        second = await rekey(dsn, tmp_path, id="again", now_ms=NOW_MS + 1, wait_s=PATIENCE_S)
        proof = await checked(dsn, tmp_path)
        assert (proof.ok, [one.seq for one in proof.rekeyed]) == (True, [4, 5])
        assert proof.rekeyed[-1] == second

    asyncio.run(scenario())


def test_a_key_that_the_ledger_does_not_name_proves_nothing(dsn: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        broker, folder = FakeBroker(), tmp_path / "audit"
        await written(broker, dsn, folder)
        shutil.copytree(folder, tmp_path / "old")
        await changed(dsn, folder)
        async with audit(broker, dsn, folder) as running:
            await running.record("d")
            await running.holds(5)
        head = checkpoint.read(folder / checkpoint.FILE, checkpoint.open_signer(folder).public)
        assert head is not None
        note, _ = checkpoint.open_signer(tmp_path / "old").sign(head)
        checkpoint.write(tmp_path / "old" / checkpoint.FILE, note)
        proof = await checked(dsn, tmp_path / "old")
        assert not proof.ok
        assert "signed with another key than entry 4 names" in proof.problem

    asyncio.run(scenario())


def test_the_command_changes_the_key_and_verify_shows_it(dsn: str, tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    asyncio.run(written(FakeBroker(), dsn, folder))
    shutil.rmtree(folder)
    run = CliRunner().invoke
    place = ["--data", str(tmp_path), "--dsn", dsn]
    refused = run(cli, ["audit", "rekey", *place], input="n\n")
    assert (refused.exit_code, folder.exists()) == (1, False)
    done = run(cli, ["audit", "rekey", "--yes", *place])
    assert done.exit_code == 0, done.output
    assert "changed at record 4" in done.output
    shown = run(cli, ["audit", "verify", *place])
    assert shown.exit_code == 0
    assert "valid: 4 records" in shown.output
    assert "the signing key was changed at record 4" in shown.output
    said = json.loads(run(cli, ["audit", "verify", "--json", *place]).output)
    assert [one["seq"] for one in said["rekeyed"]] == [4]
