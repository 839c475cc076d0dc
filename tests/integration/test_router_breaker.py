"""Several routers, one Redis: they agree about every circuit, lease one probe, and go on without it."""

import asyncio
import itertools
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llmproxy.common.bus import Bus
from llmproxy.common.channels import EVENT_CIRCUIT_CLOSED, EVENT_CIRCUIT_OPENED, OUTCOME
from llmproxy.common.config import Breaker as BreakerSettings
from llmproxy.common.outcomes import Outcome, Outcomes
from llmproxy.common.probes import Readiness
from llmproxy.common.records import Event
from llmproxy.common.redis import Redis
from llmproxy.common.testing import FakeBroker, fake_bus
from llmproxy.router.breaker import Breaker, script
from llmproxy.router.circuits import Circuits

ROUTERS = 3
WAIT_S = 10.0
OPEN_MS = 300
SETTINGS = BreakerSettings(failures=3, window_ms=60_000, open_ms=OPEN_MS, probe_lease_ms=600)
numbers = itertools.count()


class Server:
    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        program = Path(sys.executable).with_name("redis-server")
        process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return process
            try:
                process.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
            break
        raise AssertionError("redis-server did not start")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


class Router:
    """What of a router concerns circuits."""

    def __init__(self, bus: Bus, redis: Redis, endpoint: str) -> None:
        self.bus, self.redis, self.endpoint = bus, redis, endpoint
        self.circuits, self.readiness = Circuits(SETTINGS), Readiness()
        loop = asyncio.get_running_loop()
        self.now_ms = lambda: int(loop.time() * 1000)
        self.breaker = Breaker(self.circuits, redis.script(script()), bus, self.readiness, self.now_ms)
        self.breaker.configure([endpoint])

    @property
    def is_closed(self) -> bool:
        return self.circuits.callable(self.endpoint)

    @property
    def is_half_open(self) -> bool:
        return self.circuits.probeable(self.endpoint, self.now_ms())


class Fleet:
    """Routers on one broker and one Redis, a worker that reports outcomes, and whoever listens to events."""

    def __init__(self, routers: list[Router], worker: Bus, endpoint: str) -> None:
        self.routers, self._worker, self.endpoint = routers, worker, endpoint
        self.events: list[str] = []

    def report(self, code: str = "provider_error", *, probe: bool = False, id: str = "r", counts: bool = True) -> None:
        outcome = Outcome(
            id=id,
            endpoint=self.endpoint,
            provider="openai",
            model="m",
            ok=not code,
            code=code,
            probe=probe,
            counts=counts,
        )
        self._worker.publish(OUTCOME, Outcomes("w", [outcome]), provider="openai")

    async def open(self) -> None:
        for _ in range(SETTINGS.failures):
            self.report()
        await self.until(lambda: not any(router.is_closed for router in self.routers))
        await self.until(lambda: all(not router.circuits.unshared() for router in self.routers))

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def fleet(server: Server, size: int = ROUTERS) -> AsyncIterator[Fleet]:
    endpoint = f"up{next(numbers)}"
    broker = FakeBroker()
    worker, watcher = await fake_bus(broker, "provider-workers"), await fake_bus(broker, "audit")
    routers = [
        Router(await fake_bus(broker, "router", f"r{number}"), Redis(server.url, timeout_s=1.0), endpoint)
        for number in range(size)
    ]
    made = Fleet(routers, worker, endpoint)

    def note(name: str) -> Callable[[Event], None]:
        return lambda event: made.events.append(name)

    await watcher.subscribe(EVENT_CIRCUIT_OPENED, note("opened"))
    await watcher.subscribe(EVENT_CIRCUIT_CLOSED, note("closed"))
    async with asyncio.TaskGroup() as tasks:
        keeping = []
        for router in routers:
            await router.bus.subscribe(OUTCOME, router.breaker.heard)
            await router.breaker.refresh()
            keeping.append(tasks.create_task(router.breaker.keep()))
        yield made
        for task in keeping:
            task.cancel()
    for router in routers:
        await router.redis.close()
        await router.bus.drain(0.0)
    await worker.drain(0.0)
    await watcher.drain(0.0)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(40):
            await scenario()

    asyncio.run(bounded())


def test_all_routers_open_together_and_the_world_hears_of_it_once(server: Server) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            assert {router.circuits.generation(routers.endpoint) for router in routers.routers} == {0}
            await routers.until(lambda: routers.events == ["opened"])

    run(scenario)


def test_of_many_requests_at_many_routers_one_is_the_probe(server: Server) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            await routers.until(lambda: all(router.is_half_open for router in routers.routers))
            asked = [
                router.breaker.lease(routers.endpoint, f"{number}-{index}")
                for number in range(20)
                for index, router in enumerate(routers.routers)
            ]
            assert sum(await asyncio.gather(*asked)) == 1

    run(scenario)


def test_a_probe_that_succeeds_closes_the_circuit_everywhere(server: Server) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            first = routers.routers[0]
            await routers.until(lambda: first.is_half_open)
            assert await first.breaker.lease(routers.endpoint, "p")
            routers.report("", probe=True, id="p")
            await routers.until(lambda: all(router.is_closed for router in routers.routers))
            await routers.until(lambda: routers.events == ["opened", "closed"])
            await routers.until(
                lambda: {router.circuits.generation(routers.endpoint) for router in routers.routers} == {1}
            )
            await routers.open()  # And it can open again.

    run(scenario)


def test_a_probe_that_fails_opens_it_again_once(server: Server) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            first = routers.routers[0]
            await routers.until(lambda: first.is_half_open)
            assert await first.breaker.lease(routers.endpoint, "p")
            routers.report(probe=True, id="p")
            await routers.until(lambda: routers.events == ["opened", "opened"])
            assert not any(router.is_closed for router in routers.routers)

    run(scenario)


def test_the_lease_of_a_dead_probe_ends(server: Server) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            first, second = routers.routers[:2]
            await routers.until(lambda: first.is_half_open and second.is_half_open)
            assert await first.breaker.lease(routers.endpoint, "p")
            assert not await second.breaker.lease(routers.endpoint, "q")
            await routers.until(lambda: second.is_half_open)
            assert await second.breaker.lease(routers.endpoint, "s")

    run(scenario)


def test_a_cancelled_probe_gives_its_lease_back(server: Server) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            first = routers.routers[0]
            await routers.until(lambda: first.is_half_open)
            assert await first.breaker.lease(routers.endpoint, "p")
            routers.report("client_closed_request", probe=True, id="p", counts=False)
            await routers.until(lambda: first.is_half_open)

            async def again() -> bool:
                return await first.breaker.lease(routers.endpoint, "q")

            async with asyncio.timeout(WAIT_S):
                while not await again():
                    await asyncio.sleep(0.01)

    run(scenario)


def test_a_router_that_starts_later_learns_of_an_open_circuit(server: Server) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            late = Router(
                await fake_bus(FakeBroker(), "router", "late"), Redis(server.url, timeout_s=1.0), routers.endpoint
            )
            assert late.is_closed
            await late.breaker.refresh()
            assert not late.is_closed
            await late.redis.close()
            await late.bus.drain(0.0)

    run(scenario)


def test_without_redis_each_router_goes_by_its_own_view_and_says_so(server: Server) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            server.stop()
            for _ in range(SETTINGS.failures):
                routers.report()
            await routers.until(lambda: not any(router.is_closed for router in routers.routers))
            await routers.until(lambda: all("redis" in router.readiness.notes for router in routers.routers))
            first = routers.routers[0]
            await routers.until(lambda: first.is_half_open)
            assert await first.breaker.lease(routers.endpoint, "p")
            assert not await first.breaker.lease(routers.endpoint, "q")
            routers.report("", probe=True, id="p")
            await routers.until(lambda: all(router.is_closed for router in routers.routers))
            server.process = server.start()
            await routers.until(lambda: not any("redis" in router.readiness.notes for router in routers.routers))

    run(scenario)


def test_an_opening_made_while_redis_was_away_is_told_when_it_is_back(server: Server) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            server.stop()
            for _ in range(SETTINGS.failures):
                routers.report()
            await routers.until(lambda: not any(router.is_closed for router in routers.routers))
            server.process = server.start()
            await routers.until(lambda: not any(router.circuits.unshared() for router in routers.routers))
            assert not any(router.is_closed for router in routers.routers)

    run(scenario)


def test_status_shows_open_circuits_and_looking_changes_nothing(server: Server) -> None:
    async def scenario() -> None:
        async with fleet(server, size=1) as routers:
            await routers.open()
            [router] = routers.routers
            assert routers.endpoint in router.readiness.notes["circuits"]
            await routers.until(lambda: router.is_half_open)
            for _ in range(10):
                await router.breaker.refresh()
            assert router.is_half_open
            assert await router.breaker.lease(routers.endpoint, "p")

    run(scenario)
