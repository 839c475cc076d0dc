"""Audit records: grouped, one per outcome, never lost quietly, never twice."""

import asyncio
import concurrent.futures
import fcntl
import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from patience import PATIENCE_S
from unit.edge.edge_gateway import until

from llmproxy.common.errors import Unavailable
from llmproxy.common.explanations import NAME_CHARS_MAX, PATH_CHARS_MAX, VIA_MAX, Explanation, explained
from llmproxy.common.records import AuditBatch, AuditRecord
from llmproxy.common.testing import PAYLOAD_BYTES_MAX, FakeBroker, fake_bus
from llmproxy.edge import journal as journals
from llmproxy.edge.__main__ import own_temporary_folder
from llmproxy.edge.journal import NOBODYS_PENDING_MAX, Journal, withheld
from llmproxy.edge.spool import Spool, Spooled

decode = msgspec.json.Decoder(AuditBatch).decode


def a_record(number: int, **fields: str) -> AuditRecord:
    return AuditRecord(**{"id": f"id-{number}", "at_ms": number, "verdict": "answered", "tenant": "acme", **fields})


def committed(broker: FakeBroker) -> list[str]:
    return [record.id for _, _, payload in broker.streams["AUDIT"] for record in decode(payload).records]


async def journal_of(
    broker: FakeBroker, folder: Path | None = None, mode: Literal["strict", "relaxed"] = "strict", boot: str = "boot"
) -> Journal:
    bus = await fake_bus(broker, "edge")
    spool = Spool(folder, f"edge-1-{boot}", 1 << 16) if folder is not None else None
    journal = Journal(bus, spool, boot=boot, mode=lambda: mode, replay_s=0.01)
    journal.start()
    return journal


async def replayed(journal: Journal) -> None:
    """Nothing waits any more, and the spool is empty."""
    await until(lambda: journal._replaying is None or journal._replaying.done())


def test_records_that_come_during_a_commit_share_the_next_one() -> None:
    async def run() -> None:
        broker = FakeBroker()
        journal = await journal_of(broker)
        waits = [journal.write(a_record(number)) for number in range(50)]
        await asyncio.gather(*waits)
        assert committed(broker) == [f"id-{number}" for number in range(50)]
        assert len(broker.streams["AUDIT"]) <= 2

    asyncio.run(run())


def test_a_record_that_cannot_be_written_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "BATCH_MAX", 1)

    async def run() -> None:
        journal = await journal_of(broker := FakeBroker())
        strange = journal.write(a_record(1, client_ip="\udcff"))
        following = journal.write(a_record(2))
        assert strange is not None
        assert following is not None
        with pytest.raises(Unavailable):
            await asyncio.wait_for(strange, PATIENCE_S)
        await asyncio.wait_for(following, PATIENCE_S)
        assert committed(broker) == ["id-2"]

    asyncio.run(run())


def test_a_batch_that_is_too_large_for_a_message_keeps_nothing_behind_it(tmp_path: Path) -> None:
    async def run() -> None:
        broker, many = FakeBroker(), journals.BATCH_MAX
        spool = Spool(tmp_path, "one", 4 * PAYLOAD_BYTES_MAX)
        journal = Journal(await fake_bus(broker, "edge"), spool, boot="boot", mode=lambda: "relaxed", replay_s=0.01)
        name = "m" * (3 * PAYLOAD_BYTES_MAX // many)
        for number in range(many):
            journal.write(a_record(number, model=name))
        await until(lambda: spool.bytes > 0)
        journal.write(a_record(many))
        await until(lambda: spool.bytes == 0)
        assert committed(broker) == [f"id-{number}" for number in range(many + 1)]
        assert journal.trouble == ""
        await journal.close()

    asyncio.run(run())


def test_records_that_come_soon_after_a_commit_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "COMMIT_PACE_S", 0.2)
    monkeypatch.setattr(journals, "COMMIT_PACE_MAX_S", 0.2)

    async def run() -> None:
        broker = FakeBroker()
        journal = await journal_of(broker)
        await journal.write(a_record(0))
        waits = []
        for number in range(1, 4):
            waits.append(journal.write(a_record(number)))
            await asyncio.sleep(0)
        assert committed(broker) == ["id-0"]
        await asyncio.gather(*waits)
        assert committed(broker) == [f"id-{number}" for number in range(4)]
        assert len(broker.streams["AUDIT"]) == 2

    asyncio.run(run())


def test_tenants_of_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "LANES_MAX", 3)

    async def run() -> None:
        broker = FakeBroker()
        journal = await journal_of(broker)
        for number in range(20):
            await journal.write(a_record(number, tenant=f"tenant-{number}"))
            await until(lambda: not journal._commits)
        assert len(journal._lanes) <= 3
        assert len(committed(broker)) == 20

    asyncio.run(run())


def test_records_with_as_much_to_explain_as_there_can_be_still_fit_into_a_message() -> None:
    longest = Explanation(
        guard="g" * NAME_CHARS_MAX,
        kind="k" * NAME_CHARS_MAX,
        action="redact",
        rule="r" * NAME_CHARS_MAX,
        side="answer",
        path="p" * PATH_CHARS_MAX,
        start=10**9,
        end=10**9,
        via=("v" * NAME_CHARS_MAX,) * VIA_MAX,
        per_mille=999,
    )

    async def run() -> None:
        broker = FakeBroker()
        journal = await journal_of(broker)
        why = explained([longest] * 100)
        records = [msgspec.structs.replace(a_record(number), explained=why) for number in range(200)]
        await asyncio.gather(*map(journal.write, records))
        assert committed(broker) == [f"id-{number}" for number in range(200)]
        assert max(len(payload) for _, _, payload in broker.streams["AUDIT"]) < PAYLOAD_BYTES_MAX / 2

    asyncio.run(run())


def test_tenants_do_not_share_a_message() -> None:
    async def run() -> None:
        broker = FakeBroker()
        journal = await journal_of(broker)
        await asyncio.gather(
            *(journal.write(a_record(number, tenant=tenant)) for number, tenant in enumerate(["a", "b", ""] * 5))
        )
        subjects = {subject for _, subject, _ in broker.streams["AUDIT"]}
        assert subjects == {"llmproxy.v1.audit.a", "llmproxy.v1.audit.b", "llmproxy.v1.audit.=LQ"}
        assert len(committed(broker)) == 15

    asyncio.run(run())


def test_message_ids_differ_between_two_lives_of_an_instance() -> None:
    async def run() -> None:
        broker = FakeBroker()
        for boot in ("first", "second"):
            journal = await journal_of(broker, boot=boot)
            await journal.write(a_record(1))
        assert len(broker.message_ids) == 2
        assert len(broker.streams["AUDIT"]) == 2

    asyncio.run(run())


def test_a_flood_without_keys_takes_no_room_from_others_and_every_request_of_it_is_counted() -> None:
    flood = 15 * NOBODYS_PENDING_MAX

    async def run() -> None:
        broker = FakeBroker()
        journal = await journal_of(broker)
        for number in range(flood):
            journal.write(a_record(number, tenant="", verdict="refused"))
        await journal.write(a_record(-1))
        assert committed(broker).count("id--1") == 1
        await until(lambda: not journal._commits)
        await journal.write(a_record(flood, tenant="", verdict="refused"))
        records = [
            one for _, _, payload in broker.streams["AUDIT"] for one in decode(payload).records if not one.tenant
        ]
        assert len(records) + sum(one.unrecorded for one in records) == flood + 1
        assert [one.unrecorded for one in records if one.unrecorded] == [flood - NOBODYS_PENDING_MAX]

    asyncio.run(run())


def test_every_record_has_its_event() -> None:
    async def run() -> None:
        broker = FakeBroker()
        journal = await journal_of(broker)
        for verdict in ("answered", "blocked", "refused", "failed", "cancelled"):
            await journal.write(a_record(1, verdict=verdict))
        await until(lambda: len(broker.streams["EVENTS"]) == 5)
        assert {subject for _, subject, _ in broker.streams["EVENTS"]} == {
            f"llmproxy.v1.event.request.{verdict}"
            for verdict in ("answered", "blocked", "refused", "failed", "cancelled")
        }

    asyncio.run(run())


def test_strict_tells_the_waiter_and_the_ledger_learns_later_what_the_client_was_told(tmp_path: Path) -> None:
    async def run() -> None:
        broker = FakeBroker()
        journal = await journal_of(broker, tmp_path)
        broker.jetstream_down = True
        with pytest.raises(Unavailable) as refused:
            await journal.write(a_record(1))
        assert refused.value.code == "audit_unavailable"
        assert journal.trouble
        broker.jetstream_down = False
        await until(lambda: committed(broker) == ["id-1"])
        (record,) = decode(broker.streams["AUDIT"][0][2]).records
        assert (record.verdict, record.status, record.code) == ("failed", 503, "audit_unavailable")
        await until(lambda: journal.trouble == "")
        await replayed(journal)
        await journal.close()
        assert os.listdir(tmp_path) == []

    asyncio.run(run())


@pytest.mark.parametrize("spooled", [True, False], ids=["its spool is full", "it has no spool"])
def test_when_nothing_could_be_kept_the_end_of_the_outage_is_noticed_without_a_request(
    tmp_path: Path, spooled: bool
) -> None:
    async def run() -> None:
        broker = FakeBroker()
        journal = await journal_of(broker, tmp_path if spooled else None)
        if journal._spool is not None:
            journal._spool._bytes_max = 0
        broker.jetstream_down = True
        with pytest.raises(Unavailable):
            await journal.write(a_record(1))
        tried = journal._counter
        await until(lambda: journal._counter > tried)
        assert journal.trouble
        broker.jetstream_down = False
        await until(lambda: journal.trouble == "")
        await replayed(journal)
        assert committed(broker) == []
        await journal.close()

    asyncio.run(run())


def test_relaxed_keeps_order_over_an_outage_and_a_restart(tmp_path: Path) -> None:
    async def run() -> None:
        broker = FakeBroker()
        broker.jetstream_down = True
        first = await journal_of(broker, tmp_path, "relaxed", boot="one")
        for number in range(5):
            assert first.write(a_record(number)) is None
            await until(lambda: not first._commits)
        await first.close()
        assert len(os.listdir(tmp_path)) == 1
        broker.jetstream_down = False
        second = await journal_of(broker, tmp_path, "relaxed", boot="two")
        second.write(a_record(5))
        await until(lambda: len(committed(broker)) == 6)
        assert committed(broker) == [f"id-{number}" for number in range(6)]
        await replayed(second)
        await second.close()
        assert os.listdir(tmp_path) == []

    asyncio.run(run())


class SlowSpool(Spool):
    """Is emptied when it is told that it may be."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "slow", 1 << 16)
        self.is_clearing, self.may_clear = threading.Event(), threading.Event()

    def clear(self) -> None:
        self.is_clearing.set()
        assert self.may_clear.wait(PATIENCE_S)
        super().clear()


def test_the_spool_is_not_closed_while_a_thread_is_at_it(tmp_path: Path) -> None:
    async def run() -> None:
        broker = FakeBroker()
        spool = SlowSpool(tmp_path)
        journal = Journal(await fake_bus(broker, "edge"), spool, boot="boot", mode=lambda: "strict", replay_s=0.01)
        journal.start()
        broker.jetstream_down = True
        with pytest.raises(Unavailable):
            await journal.write(a_record(1))
        broker.jetstream_down = False
        await until(spool.is_clearing.is_set)
        closing = asyncio.create_task(journal.close())
        too_early, _ = await asyncio.wait({closing}, timeout=0.1)
        spool.may_clear.set()
        assert not too_early
        await closing
        assert os.listdir(tmp_path) == []

    asyncio.run(run())


def test_what_was_committed_before_the_acknowledgement_was_lost_counts_once(tmp_path: Path) -> None:
    async def run() -> None:
        broker = FakeBroker()
        journal = await journal_of(broker, tmp_path)
        bus = journal._bus
        commit = bus.wire.commit

        async def loses_the_acknowledgement(*arguments: object) -> int:
            await commit(*arguments)
            bus.wire.commit = commit
            raise Unavailable("audit_unavailable", "JetStream did not acknowledge (TimeoutError)")

        bus.wire.commit = loses_the_acknowledgement
        with pytest.raises(Unavailable):
            await journal.write(a_record(1))
        await until(lambda: journal.trouble == "")
        assert committed(broker) == ["id-1"]
        await journal.close()

    asyncio.run(run())


def test_nothing_that_was_withheld_is_recorded_as_answered() -> None:
    assert withheld(a_record(1)).verdict == "failed"
    assert withheld(a_record(1, verdict="refused")) == a_record(1, verdict="refused")


def spooled(number: int) -> Spooled:
    return Spooled("acme", f"m-{number}", AuditBatch("edge-1", [a_record(number)]))


def test_a_spool_gives_back_what_it_took_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "one", 1 << 16)
    assert all(spool.append(spooled(number)) for number in range(20))
    found, offset = spool.read(0)
    assert [one.message_id for one in found] == [f"m-{number}" for number in range(20)]
    assert spool.read(offset) == ([], offset)
    first, offset = spool.read(0, 16)  # Smaller than one line: still makes progress.
    assert first
    assert offset > 0
    spool.clear()
    assert spool.read(0) == ([], 0)


def test_a_full_spool_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "one", 300)
    taken = [spool.append(spooled(number)) for number in range(10)]
    assert taken[0]
    assert not taken[-1]
    assert len(spool.read(0)[0]) == sum(taken)
    assert spool.bytes <= 300


def test_a_spool_leaves_a_living_neighbour_alone_and_adopts_a_dead_one(tmp_path: Path) -> None:
    living, dead = Spool(tmp_path, "living", 1 << 16), Spool(tmp_path, "dead", 1 << 16)
    living.append(spooled(1))
    dead.append(spooled(2))
    dead.close()
    (tmp_path / "dead.spool").open("ab").write(b'{"half a line')
    heir = Spool(tmp_path, "heir", 1 << 16)
    assert [one.message_id for one in heir.read(0)[0]] == ["m-2"]
    assert [one.message_id for one in living.read(0)[0]] == ["m-1"]
    assert not (tmp_path / "dead.spool").exists()
    heir.append(spooled(3))
    assert [one.message_id for one in heir.read(0)[0]] == ["m-2", "m-3"]


@pytest.mark.parametrize(
    "line", [b"\0" * 40, b'{"tenant":"\xff"}', b'{"x":' + b"[" * 100_000], ids=["zeros", "no text", "deep"]
)
def test_a_line_of_a_spool_that_cannot_be_read_keeps_no_other_back(tmp_path: Path, line: bytes) -> None:
    dead = Spool(tmp_path, "dead", 1 << 20)
    dead.append(spooled(1))
    dead.close()
    (tmp_path / "dead.spool").open("ab").write(line + b"\n")
    heir = Spool(tmp_path, "heir", 1 << 20)
    heir.append(spooled(2))
    assert [one.message_id for one in heir.read(0)[0]] == ["m-1", "m-2"]


def test_a_spool_that_cannot_be_taken_over_keeps_nobody_from_starting(tmp_path: Path) -> None:
    (tmp_path / "odd.spool").mkdir()
    heir = Spool(tmp_path, "heir", 1 << 16)
    assert heir.append(spooled(1))


def test_a_spool_that_somebody_adopted_while_it_was_opened_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "one.spool"
    with path.open("wb") as adopting:  # Who takes it for a dead one's, before its owner could lock it.
        fcntl.flock(adopting, fcntl.LOCK_EX)
        with ThreadPoolExecutor() as opening:
            opened = opening.submit(Spool, tmp_path, "one", 1 << 16)
            concurrent.futures.wait([opened], timeout=0.1)
            assert not opened.done()
            path.unlink()
            fcntl.flock(adopting, fcntl.LOCK_UN)
            spool = opened.result(PATIENCE_S)
    spool.append(spooled(1))
    assert path.stat().st_size == spool.bytes > 0


def test_a_spool_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    Spool(tmp_path / "folder", "one", 1 << 16)
    assert (tmp_path / "folder").stat().st_mode & 0o077 == 0
    assert (tmp_path / "folder" / "one.spool").stat().st_mode & 0o077 == 0


def test_the_default_spool_is_refused_when_others_may_look_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = own_temporary_folder()
    assert folder.stat().st_mode & 0o077 == 0
    assert own_temporary_folder() == folder
    folder.chmod(0o755)
    with pytest.raises(PermissionError, match="LLM_PROXY_SPOOL_DIR"):
        own_temporary_folder()
