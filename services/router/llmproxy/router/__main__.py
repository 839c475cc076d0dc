"""The router: decides which providers a request may try, and in which order."""

import asyncio
import time

from llmproxy.common import runtime
from llmproxy.common.channels import OUTCOME, REQUEST_ROUTE
from llmproxy.common.config import Snapshot
from llmproxy.common.prices import shipped
from llmproxy.common.redis import Redis
from llmproxy.router.breaker import Breaker, script
from llmproxy.router.circuits import Circuits
from llmproxy.router.route import Router
from llmproxy.router.tables import Tables

MAX_IN_FLIGHT = 4_096  # Only requests that ask Redis for a probe are held at all.


class Settings(runtime.Settings, frozen=True, kw_only=True):
    redis_url: str = "redis://127.0.0.1:6379/0"  # Circuits that all routers share; it may hold a password.


async def run(context: runtime.Context[Settings]) -> None:
    redis = Redis(context.settings.redis_url)
    circuits = Circuits(context.config.config.routing.breaker)
    breaker = Breaker(circuits, redis.script(script()), context.bus, context.readiness, monotonic_ms)
    router = Router(context.bus, circuits, breaker.lease, monotonic_ms=monotonic_ms)
    listed = shipped()

    def configure(snapshot: Snapshot) -> None:
        redis.wait(snapshot.config.limits.redis_timeout_ms)
        circuits.settings = snapshot.config.routing.breaker
        tables = Tables(snapshot.config, listed)
        breaker.configure(snapshot.config.endpoints, tables.models())
        router.use(tables)

    context.config.on_change(configure)
    context.steps = router.pipeline.describe()
    await context.bus.subscribe(OUTCOME, breaker.heard)
    await breaker.refresh()
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(breaker.keep())
        await context.bus.serve(REQUEST_ROUTE, router, max_in_flight=MAX_IN_FLIGHT)
        context.ready()
        await context.stop.wait()
        await context.bus.leave()  # What is already here may still want a probe, so Redis goes last.
        keeping.cancel()
    await redis.close()


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def main() -> None:
    runtime.serve("router", Settings, run)


if __name__ == "__main__":
    main()
