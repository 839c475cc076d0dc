"""The edge: the only public listener. Authenticates, limits, validates, publishes, and answers in the caller's dialect."""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from llmproxy.common import runtime
from llmproxy.common.bus import Bus
from llmproxy.common.channels import EVENT_THREAT_LOCKED, EVENT_THREAT_THROTTLED
from llmproxy.common.errors import Unavailable
from llmproxy.common.redis import Redis
from llmproxy.common.runtime import Context
from llmproxy.common.threats import Mode, Step
from llmproxy.edge import metrics
from llmproxy.edge.app import Edge
from llmproxy.edge.conclusions import Conclusions
from llmproxy.edge.condition import Condition
from llmproxy.edge.end_users import EndUsers
from llmproxy.edge.exchange import LOST_S, Exchanges, Timings
from llmproxy.edge.firewall import Firewall, Rules
from llmproxy.edge.identity import Keys
from llmproxy.edge.ids import pooled, uuid7
from llmproxy.edge.ingress import Bodies, Settled, ring
from llmproxy.edge.journal import Journal
from llmproxy.edge.limits import RENEW_S, Limiter, script
from llmproxy.edge.readiness import PathProbe, show_audit, show_firewall
from llmproxy.edge.server import BACKLOG, LINGER_S, Server, listening_socket
from llmproxy.edge.spool import Spool
from llmproxy.edge.standings import Standings
from llmproxy.edge.threats import REFRESH_S, Caller, Ledger
from llmproxy.edge.threats import script as threats_script

KEYS_RETRY_S = 0.2

Silence = Annotated[float, Meta(ge=1.5, le=runtime.DAY_S)]  # Whoever lives gives a sign every second.
Edges = Annotated[int, Meta(ge=1, le=10_000)]


class Settings(runtime.Settings, frozen=True, kw_only=True):
    listen_fd: int = -1  # A listening socket inherited from the supervisor; then host and port are not used.
    host: str = "127.0.0.1"  # Any address is safe: there is no way to serve without API keys.
    port: runtime.Port = 8090  # Of the gateway.
    redis_url: str = "redis://127.0.0.1:6379"  # Counters of limits, and the threat ledger; it may hold a password.
    spool_dir: str = ""  # Audit records wait here while JetStream is away. Default: in the system's temporary folder.
    edges: Edges = 1  # How many edges share the limits; each takes its part when Redis is away.
    linger_s: runtime.Pause = LINGER_S  # How long idle connections of clients stay open after SIGTERM.
    lost_s: Silence = LOST_S  # After how long without a sign of life a holder of a request counts as dead.


async def run(context: Context[Settings]) -> None:
    settings, bus = context.settings, context.bus
    context.readiness.block("start", "waiting for the API keys; is admin running?")
    settled, keys, bodies, rules = Settled(), Keys(), Bodies(), Rules()
    context.config.on_change(settled.swap)
    context.config.on_change(rules.follow)
    context.config.on_change(partial(show_firewall, context.readiness))
    if not await watch_keys(keys, context):
        return
    redis = Redis(settings.redis_url)
    context.config.on_change(lambda snapshot: redis.wait(snapshot.config.limits.redis_timeout_ms))
    limiter = open_limiter(context, settled, redis)
    ledger = open_ledger(bus, settled, redis, limiter)
    journal = open_journal(context, settled)
    exchanges = Exchanges(
        bus,
        random=random.random,
        grace_ms=lambda: settled.config.gateway.grace_ms,
        timings=Timings(lost_s=settings.lost_s),
    )
    pipeline = ring(
        keys,
        limiter,
        settled,
        bodies,
        ledger,
        (Firewall(lambda: rules.matcher, time.thread_time), EndUsers(settled, ledger)),
    )
    context.steps = pipeline.describe()
    random_bytes = pooled(os.urandom)
    probe = PathProbe(
        bus,
        exchanges,
        keys_loaded=lambda: keys.loaded,
        new_id=lambda: uuid7(int(time.time() * 1000), random_bytes()),
    )
    edge = Edge(
        bus,
        settled,
        pipeline,
        condition=Condition(settled, probe, context.readiness, runtime.version()),
        limiter=limiter,
        bodies=bodies,
        exchanges=exchanges,
        conclusions=Conclusions(settled, journal, ledger, instance=bus.instance, monotonic=time.monotonic),
        random=random_bytes,
    )
    await exchanges.start()
    journal.start()
    await Standings(bus, ledger).serve()
    try:
        async with meanwhile(renew(limiter), refresh(ledger), rules.watch(), settled.catalogue.watch(bus)):
            await serve(context, edge, rules.warm)
    finally:
        await exchanges.close()
        await journal.close()
        await limiter.close()
        await redis.close()


async def serve(context: Context[Settings], edge: Edge, begun: Callable[[], None]) -> None:
    """Until this service is told to stop, and what it holds then is done."""
    settings, server = context.settings, Server(edge.handle, edge.malformed)
    listener = await asyncio.get_running_loop().create_server(
        server, sock=listening_socket(settings.listen_fd, settings.host, settings.port), backlog=BACKLOG
    )
    context.ready()
    begun()
    try:
        await context.stop.wait()
    finally:
        edge.draining = True
        listener.close()
        await server.drain(lambda: edge.in_flight, settings.linger_s, settings.drain_s)


@asynccontextmanager
async def meanwhile(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """What runs beside the requests, and ends with them."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


def open_limiter(context: Context[Settings], settled: Settled, redis: Redis) -> Limiter:
    def degraded(reason: str) -> None:
        mode = settled.config.limits.when_redis_fails
        skipped = "" if settled.config.threats.mode == "off" else "; the threat ledger is skipped"
        context.readiness.note("redis", f"{reason}; limits are {mode}{skipped}" if reason else "")
        metrics.LIMITS_DEGRADED.set(1 if reason else 0)

    edges = context.settings.edges
    return Limiter(redis.script(script()), monotonic=time.monotonic, edges=edges, degraded=degraded)


def open_ledger(bus: Bus, settled: Settled, redis: Redis, limiter: Limiter) -> Ledger:
    return Ledger(
        limiter,
        redis.script(threats_script()),
        lambda: settled.config.threats,
        monotonic=time.monotonic,
        tell=lambda step, caller: tell_of(bus, step, caller, settled.config.threats.mode),
    )


async def watch_keys(keys: Keys, context: Context[Settings]) -> bool:
    """Whether the keys are here; False when we were told to stop before."""
    while not context.stop.is_set():
        try:
            await keys.watch(context.bus)
            return True
        except Unavailable:
            await asyncio.sleep(KEYS_RETRY_S)
    return False


def open_journal(context: Context[Settings], settled: Settled) -> Journal:
    boot = os.urandom(4).hex()
    folder = Path(context.settings.spool_dir) if context.settings.spool_dir else own_temporary_folder()
    spool = Spool(folder, f"{context.bus.instance}-{boot}", settled.config.audit.spool_bytes_max)
    return Journal(
        context.bus,
        spool,
        boot=boot,
        mode=lambda: settled.config.audit.mode,
        troubled=lambda trouble: show_audit(context.readiness, trouble, settled.config.audit.mode),
    )


def own_temporary_folder() -> Path:
    """In the temporary folder anybody may have made it before us, to read or to change what we put there."""
    folder = Path(tempfile.gettempdir()) / f"llmproxy-edge-{os.getuid()}"
    folder.mkdir(exist_ok=True, mode=0o700)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} is not private; remove it, or set LLM_PROXY_SPOOL_DIR to a folder of your own")
    return folder


async def refresh(ledger: Ledger) -> None:
    while True:
        await ledger.refresh()
        await asyncio.sleep(REFRESH_S)


def tell_of(bus: Bus, step: Step, caller: Caller, mode: Mode) -> None:
    channel = EVENT_THREAT_LOCKED if step == "locked" else EVENT_THREAT_THROTTLED
    bus.event(channel, kind=caller.kind, name=caller.name, mode=mode)


async def renew(limiter: Limiter) -> None:
    while True:
        await asyncio.sleep(RENEW_S)
        await limiter.renew()


if __name__ == "__main__":
    runtime.serve("edge", Settings, run)
