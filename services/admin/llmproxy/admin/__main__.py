"""Admin: keys, configuration, status and the ledger for the operator, on a listener and with a token of its own."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp

from llmproxy.admin import app, federation
from llmproxy.admin.app import Token
from llmproxy.admin.changes import Changes
from llmproxy.admin.configuration import Configuration, Source
from llmproxy.admin.fleet import Fleet
from llmproxy.admin.key_store import KeyStore
from llmproxy.admin.resources.audit import AuditResource
from llmproxy.admin.resources.config import ConfigResource
from llmproxy.admin.resources.keys import KeysResource
from llmproxy.admin.resources.probes import OpenApiResource, ProbesResource
from llmproxy.admin.resources.status import StatusResource
from llmproxy.admin.resources.threats import ThreatsResource
from llmproxy.admin.routes import Route
from llmproxy.common import keyring, references, runtime
from llmproxy.common.bus import Bus
from llmproxy.common.channels import (
    EVENT_CIRCUIT_CLOSED,
    EVENT_CIRCUIT_OPENED,
    EVENT_INSTANCE_ANNOUNCED,
    EVENT_LEDGER_ADVANCED,
)
from llmproxy.common.config import Snapshot
from llmproxy.common.errors import Unavailable
from llmproxy.common.runtime import Context

RETRY_S = 0.2
ANY = "*"


class Settings(runtime.Settings, frozen=True, kw_only=True):
    listen_fd: int = -1  # A listening socket inherited from the supervisor; then host and port are not used.
    host: str = "127.0.0.1"  # Of the admin API.
    port: runtime.Port = 8091  # Of the admin API.
    admin_token: str = ""  # What the admin API asks for; it must be set.
    api_keys: str = ""  # Comma-separated; imported at start.
    config: str = ""  # Path of the configuration file.
    config_source: Source = "file"  # api: the admin API may change the configuration.
    firewall_enabled: str = ""  # true or false: comes before `firewall.enabled`, of the file and of the admin API.
    secret_dirs: str = ""  # Comma-separated: where `file:` references may lead (docs/adr/0030).
    worker_variables: str = ANY  # Names, comma-separated: what `env:` can find at the workers; *: not known.
    metrics_public: bool = False  # /metrics without the token.

    def problem(self) -> str:
        return (
            "" if keyring.is_sendable(self.admin_token) else f"ADMIN_TOKEN: it has {keyring.UNSENDABLE}; write it again"
        )


async def run(context: Context[Settings]) -> None:
    settings, bus, readiness = context.settings, context.bus, context.readiness
    if not settings.admin_token:
        runtime.refuse_settings("admin", "LLM_PROXY_ADMIN_TOKEN is empty; set it to a long random text")
    fleet, changes = Fleet(), Changes(bus)
    keys = KeyStore(bus, changes)
    store = Configuration(
        bus,
        changes,
        readiness,
        source=settings.config_source,
        path=settings.config,
        environment=os.environ,
        directories=references.directories(settings.secret_dirs),
        firewall_enabled=settings.firewall_enabled,
        variables=None if settings.worker_variables == ANY else frozenset(settings.worker_variables.split(",")),
    )
    await listen_to_the_bus(bus, fleet)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        fetch = partial(federation.fetch_text, session)
        routes = table(context, fleet, changes, keys, store, lambda: federation.federate(fleet.instances(), fetch))
        starting = group.create_task(start(context, keys, store))
        server = await app.listen(
            app.build(routes, Token(settings.admin_token)),
            fd=settings.listen_fd,
            host=settings.host,
            port=settings.port,
        )
        await context.stop.wait()
        await server.cleanup()
        starting.cancel()


async def start(context: Context[Settings], keys: KeyStore, store: Configuration) -> None:
    """Provisions, imports keys, publishes the configuration. Each step waits for what it needs."""
    await patiently(context, context.bus.wire.provision)
    await patiently(context, keys.open)
    given = [key.strip() for key in context.settings.api_keys.split(",")]

    async def import_keys() -> None:
        complaints = await keys.import_keys([key for key in given if key])
        context.readiness.note("api_keys", "; ".join(complaints))

    await patiently(context, import_keys)
    async with asyncio.TaskGroup() as following:
        following.create_task(store.follow())
        await context.config.start()
        context.ready()


async def patiently(context: Context[Settings], step: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await step()
            return
        except Unavailable as error:
            context.readiness.block("start", error.message)
            await asyncio.sleep(RETRY_S)


async def listen_to_the_bus(bus: Bus, fleet: Fleet) -> None:
    await bus.subscribe(EVENT_INSTANCE_ANNOUNCED, fleet.announced)
    await bus.subscribe(EVENT_CIRCUIT_OPENED, fleet.circuit_opened)
    await bus.subscribe(EVENT_CIRCUIT_CLOSED, fleet.circuit_closed)
    await bus.subscribe(EVENT_LEDGER_ADVANCED, fleet.ledger_advanced)


def table(
    context: Context[Settings],
    fleet: Fleet,
    changes: Changes,
    keys: KeyStore,
    store: Configuration,
    metrics: Callable[[], Awaitable[str]],
) -> list[Route]:
    """Every route there is."""

    def snapshot() -> Snapshot:
        return context.config.snapshot

    routes = [
        *StatusResource(fleet, snapshot, runtime.version()).routes(),
        *KeysResource(keys).routes(),
        *ConfigResource(store, snapshot).routes(),
        *AuditResource(context.bus).routes(),
        *ThreatsResource(context.bus, changes).routes(),
        *ProbesResource(context.readiness, metrics, metrics_public=context.settings.metrics_public).routes(),
    ]
    return [*routes, *OpenApiResource(routes, runtime.version()).routes()]


def main() -> None:
    runtime.serve("admin", Settings, run)


if __name__ == "__main__":
    main()
