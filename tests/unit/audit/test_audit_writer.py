"""What of the ledger's writer can be seen without Postgres."""

import asyncio
import errno
import os
from pathlib import Path

import pytest
from patience import PATIENCE_S

from llmproxy.audit import checkpoint, writer
from llmproxy.audit.ledger import GENESIS
from llmproxy.audit.store import Writer
from llmproxy.audit.writer import LedgerWriter
from llmproxy.common.probes import Readiness
from llmproxy.common.testing import FakeBroker, fake_bus


async def no_postgres() -> Writer:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize("turns", range(6))
def test_a_writer_that_is_ended_ends_although_its_head_has_advanced_just_now(turns: int, tmp_path: Path) -> None:
    """`turns` of the loop before: `asyncio.wait_for` of Python 3.11 forgets to end in one of them."""

    async def scenario() -> None:
        bus = await fake_bus(FakeBroker(), "audit")
        ledger = LedgerWriter(bus, Readiness(), tmp_path, no_postgres)
        running = asyncio.create_task(ledger.run())
        for _ in range(5):
            await asyncio.sleep(0)
        ledger._advanced.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=PATIENCE_S)
        running.cancel()
        assert done
        await bus.drain(0)

    asyncio.run(scenario())


def test_a_writer_that_is_ended_while_it_signs_has_not_ended_before_its_thread(tmp_path: Path) -> None:
    slow = tmp_path / f".{checkpoint.FILE}.{os.getpid()}"
    os.mkfifo(slow)  # Who writes waits for a reader.

    async def scenario() -> None:
        bus = await fake_bus(FakeBroker(), "audit")
        ledger = LedgerWriter(bus, Readiness(), tmp_path, no_postgres)
        ledger._signer = checkpoint.open_signer(tmp_path)
        signing = asyncio.create_task(ledger._sign(GENESIS))
        await asyncio.sleep(0)
        signing.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        has_ended = signing.done()
        os.close(os.open(slow, os.O_RDONLY))
        await asyncio.wait({signing})
        assert signing.cancelled()
        assert not has_ended
        await bus.drain(0)

    asyncio.run(scenario())


def test_a_writer_whose_folder_cannot_be_written_says_so_and_goes_on_trying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RECONNECT_S", 0.01)
    sessions: asyncio.Queue[None] = asyncio.Queue()

    async def full() -> Writer:
        sessions.put_nowait(None)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def scenario() -> None:
        bus, readiness = await fake_bus(FakeBroker(), "audit"), Readiness()
        running = asyncio.create_task(LedgerWriter(bus, readiness, tmp_path, full).run())
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(3):
                await sessions.get()
        assert readiness.notes["ledger"].startswith(f"{tmp_path} cannot be written: No space left on device")
        running.cancel()
        await asyncio.wait({running})
        await bus.drain(0)

    asyncio.run(scenario())
