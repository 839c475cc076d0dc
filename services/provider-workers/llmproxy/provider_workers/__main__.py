"""The provider workers: hold the provider credentials, call the providers, stream their answers back."""

import asyncio
import os
from typing import Annotated

from msgspec import Meta

from llmproxy.common import references, runtime
from llmproxy.common.channels import REQUEST_CALL
from llmproxy.common.config import PROVIDERS
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.lister import Lister
from llmproxy.provider_workers.settlement import Settlement
from llmproxy.provider_workers.transport import Transport
from llmproxy.provider_workers.work import Work

MAX_IN_FLIGHT = 4_096
CANCELLED_WITHIN_S = 1.0


class Settings(runtime.Settings, frozen=True, kw_only=True):
    worker_providers: str = ""  # Comma-separated families that this worker serves and holds keys for; empty: all.
    demo_chunk_ms: Annotated[int, Meta(ge=0, le=60_000)] = 5  # The pace of the demo provider's streams.
    secret_dirs: str = ""  # Comma-separated: where `file:` references may lead (docs/adr/0030).


async def run(context: runtime.Context[Settings]) -> None:
    settings, bus = context.settings, context.bus
    transport, settlement = Transport(), Settlement(bus)
    work = Work(
        bus,
        transport,
        settlement,
        # A copy, for it does not change, and to ask os.environ costs four calls.
        Credentials(dict(os.environ), directories=references.directories(settings.secret_dirs)),
        providers=frozenset(served(settings.worker_providers)),
        demo_chunk_ms=settings.demo_chunk_ms,
    )
    context.config.on_change(lambda snapshot: work.configure(snapshot.config, named=snapshot.source != "api"))
    for provider in sorted(work.providers):
        await bus.serve(REQUEST_CALL, work, max_in_flight=MAX_IN_FLIGHT, provider=provider)
    lister = Lister(bus, transport, work.destinations)
    listing = asyncio.create_task(lister.keep())
    context.ready()
    await context.stop.wait()
    listing.cancel()
    await finish(context)
    settlement.flush()
    await transport.close()


async def finish(context: runtime.Context[Settings]) -> None:
    """Requests that are held need the transport, so they end before it does."""
    context.readiness.block("stop", "draining")
    context.announce()
    await context.bus.leave()
    tasks = [held.task for held in context.bus.holds.values() if held.task is not None]
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=context.settings.drain_s)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=CANCELLED_WITHIN_S)


def served(text: str) -> list[str]:
    """Raises ValueError naming what is not a provider."""
    names = [name.strip() for name in text.split(",") if name.strip()] or list(PROVIDERS)
    for name in names:
        if name not in PROVIDERS:
            raise ValueError(f"LLM_PROXY_WORKER_PROVIDERS: {name!r} is not one of {', '.join(PROVIDERS)}")
    return names


def main() -> None:
    runtime.serve("provider-workers", Settings, run)


if __name__ == "__main__":
    main()
