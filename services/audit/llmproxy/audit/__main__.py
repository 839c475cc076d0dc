"""The audit service: writes every record into a ledger that anyone can verify."""

import asyncio
from functools import partial
from pathlib import Path

from llmproxy.audit import checkpoint, writer
from llmproxy.audit.answers import Answers
from llmproxy.audit.backlog import Backlog
from llmproxy.audit.store import Reader, Writer
from llmproxy.audit.verify import verify
from llmproxy.audit.writer import LedgerWriter
from llmproxy.common import runtime
from llmproxy.common.config import Snapshot
from llmproxy.common.plugins.host import Ring
from llmproxy.common.records import StepInfo
from llmproxy.common.runtime import Context

STEPS = [
    StepInfo(name="ledger", ring=int(Ring.BACKGROUND), priority=10, timeout_ms=15_000, fail="closed"),
    StepInfo(
        name="checkpoint",
        ring=int(Ring.BACKGROUND),
        priority=20,
        timeout_ms=int(writer.CHECKPOINT_EVERY_S * 1000),
        fail="closed",
    ),
]


class Settings(runtime.Settings, frozen=True, kw_only=True):
    postgres_dsn: str = "postgresql://audit@127.0.0.1:5432/llmproxy"  # Of the ledger; it may hold a password.
    data_dir: str = "."  # In its `audit/` are the signing key and the signed head.


async def run(context: Context[Settings]) -> None:
    settings, bus = context.settings, context.bus
    folder = Path(settings.data_dir) / "audit"
    prove = partial(verify, settings.postgres_dsn, folder / checkpoint.FILE, folder / checkpoint.PUBLIC_FILE)
    ledger = LedgerWriter(bus, context.readiness, folder, partial(Writer.connect, settings.postgres_dsn))
    context.steps = STEPS

    def configure(snapshot: Snapshot) -> None:
        ledger.retention_days = snapshot.config.audit.retention_days

    context.config.on_change(configure)
    async with Reader.open(settings.postgres_dsn) as reader, asyncio.TaskGroup() as group:
        await Answers(bus, reader, prove).serve()
        writing = group.create_task(ledger.run())
        watching = group.create_task(Backlog(bus, context.readiness).watch())
        context.ready()
        await context.stop.wait()
        await ledger.finish()
        await bus.leave()  # Questions that have arrived need the reader.
        writing.cancel()
        watching.cancel()


def main() -> None:
    runtime.serve("audit", Settings, run)


if __name__ == "__main__":
    main()
