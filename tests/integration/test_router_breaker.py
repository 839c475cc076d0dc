"""Several routers, one Redis: they agree about every circuit, lease one probe, and go on without it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from msgspec import structs
from patience import PATIENCE_S
from redis_server import RedisServer

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
OPEN_MS = 300
LEASED_MS = 1_000 * int(PATIENCE_S)  # So long that no lease ends by itself while a test looks.
SETTINGS = BreakerSettings(failures=3, window_ms=600_000, open_ms=OPEN_MS, probe_lease_ms=LEASED_MS)
numbers = itertools.count()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    made = RedisServer()
    yield made
    made.kill()


class Router:
    """What of a router concerns circuits."""

    def __init__(self, bus: Bus, redis: Redis, endpoint: str, settings: BreakerSettings = SETTINGS) -> None:
        self.bus, self.redis, self.endpoint = bus, redis, endpoint
        self.circuits, self.readiness = Circuits(settings), Readiness()
        loop = asyncio.get_running_loop()
        self.now_ms = lambda: int(loop.time() * 1000)
        self.breaker = Breaker(self.circuits, redis.script(script()), bus, self.readiness, self.now_ms)
        self.breaker.configure([endpoint], [(endpoint, "m")])

    @property
    def is_closed(self) -> bool:
        return self.circuits.callable(self.endpoint, "m")

    @property
    def is_half_open(self) -> bool:
        return self.circuits.probeable(self.endpoint, "m", self.now_ms())

    async def leases(self, request_id: str) -> bool:
        return await self.breaker.lease(self.endpoint, "m", request_id)

    async def leased(self, request_id: str) -> None:
        """Asks as requests do, one after another, until one of them is the probe."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self.leases(request_id):
                await asyncio.sleep(0.005)


class Fleet:
    """Routers on one broker and one Redis, a worker that reports outcomes, and whoever listens to events."""

    def __init__(self, routers: list[Router], worker: Bus, endpoint: str) -> None:
        self.routers, self._worker, self.endpoint = routers, worker, endpoint
        self.events: list[str] = []
        self.facts: list[tuple[str, str]] = []  # (endpoint, model) of each.

    def report(
        self,
        code: str = "provider_error",
        *,
        probe: bool = False,
        id: str = "r",
        counts: bool = True,
        model: str = "m",
    ) -> None:
        outcome = Outcome(
            id=id,
            endpoint=self.endpoint,
            provider="openai",
            model=model,
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
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def fleet(server: RedisServer, size: int = ROUTERS, settings: BreakerSettings = SETTINGS) -> AsyncIterator[Fleet]:
    endpoint = f"up{next(numbers)}"
    broker = FakeBroker()
    worker, watcher = await fake_bus(broker, "provider-workers"), await fake_bus(broker, "audit")
    routers = [
        Router(
            await fake_bus(broker, "router", f"r{number}"), Redis(server.url, timeout_s=PATIENCE_S), endpoint, settings
        )
        for number in range(size)
    ]
    made = Fleet(routers, worker, endpoint)

    def note(name: str) -> Callable[[Event], None]:
        def heard(event: Event) -> None:
            made.events.append(name)
            made.facts.append((str(event.facts["endpoint"]), str(event.facts.get("model", ""))))

        return heard

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
        async with asyncio.timeout(2 * PATIENCE_S):
            await scenario()

    asyncio.run(bounded())


def test_all_routers_open_together_and_the_world_hears_of_it_once(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            assert {router.circuits.generation((routers.endpoint, "m")) for router in routers.routers} == {0}
            await routers.until(lambda: routers.events == ["opened"])

    run(scenario)


def test_of_many_requests_at_many_routers_one_is_the_probe(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            await routers.until(lambda: all(router.is_half_open for router in routers.routers))
            asked = [
                router.leases(f"{number}-{index}")
                for number in range(20)
                for index, router in enumerate(routers.routers)
            ]
            assert sum(await asyncio.gather(*asked)) == 1

    run(scenario)


def test_a_probe_that_succeeds_closes_the_circuit_everywhere(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            first = routers.routers[0]
            await first.leased("p")
            routers.report("", probe=True, id="p")
            await routers.until(lambda: all(router.is_closed for router in routers.routers))
            await routers.until(lambda: routers.events == ["opened", "closed"])
            await routers.until(
                lambda: {router.circuits.generation((routers.endpoint, "m")) for router in routers.routers} == {1}
            )
            await routers.open()  # And it can open again.

    run(scenario)


def test_a_probe_that_fails_opens_it_again_once(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            first = routers.routers[0]
            await first.leased("p")
            routers.report(probe=True, id="p")
            await routers.until(lambda: routers.events == ["opened", "opened"])
            assert not any(router.is_closed for router in routers.routers)

    run(scenario)


def test_the_lease_of_a_dead_probe_ends(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server, settings=structs.replace(SETTINGS, probe_lease_ms=300)) as routers:
            await routers.open()
            first, second = routers.routers[:2]
            await first.leased("p")
            await second.leased("s")

    run(scenario)


def test_a_cancelled_probe_gives_its_lease_back(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            first, second = routers.routers[:2]
            await first.leased("p")
            assert not await second.leases("q")
            routers.report("client_closed_request", probe=True, id="p", counts=False)
            await first.leased("q")

    run(scenario)


def test_a_router_that_starts_later_learns_of_an_open_circuit(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            late = Router(
                await fake_bus(FakeBroker(), "router", "late"),
                Redis(server.url, timeout_s=PATIENCE_S),
                routers.endpoint,
            )
            assert late.is_closed
            await late.breaker.refresh()
            assert not late.is_closed
            await late.redis.close()
            await late.bus.drain(0.0)

    run(scenario)


def test_without_redis_each_router_goes_by_its_own_view_and_says_so(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            server.kill()
            for _ in range(SETTINGS.failures):
                routers.report()
            await routers.until(lambda: not any(router.is_closed for router in routers.routers))
            await routers.until(lambda: all("redis" in router.readiness.notes for router in routers.routers))
            first = routers.routers[0]
            await first.leased("p")
            assert not await first.leases("q")
            routers.report("", probe=True, id="p")
            await routers.until(lambda: all(router.is_closed for router in routers.routers))
            server.start()
            await routers.until(lambda: not any("redis" in router.readiness.notes for router in routers.routers))

    run(scenario)


def test_an_opening_made_while_redis_was_away_is_told_when_it_is_back(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            server.kill()
            for _ in range(SETTINGS.failures):
                routers.report()
            await routers.until(lambda: not any(router.is_closed for router in routers.routers))
            server.start()
            await routers.until(lambda: not any(router.circuits.unshared() for router in routers.routers))
            assert not any(router.is_closed for router in routers.routers)

    run(scenario)


def test_status_shows_open_circuits_and_looking_changes_nothing(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server, size=1) as routers:
            await routers.open()
            [router] = routers.routers
            assert routers.endpoint in router.readiness.notes["circuits"]
            await routers.until(lambda: router.is_half_open)
            for _ in range(10):
                await router.breaker.refresh()
            assert router.is_half_open
            await router.leased("p")

    run(scenario)


def test_a_models_circuit_is_shared_and_named_and_leaves_the_others_alone(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            await routers.until(lambda: routers.facts == [(routers.endpoint, "m")])
            for router in routers.routers:
                assert router.circuits.callable(routers.endpoint, "other")
                assert router.readiness.notes["circuits"] == f"open: {routers.endpoint}/m"

    run(scenario)


def test_a_name_that_a_caller_made_up_is_shared_and_said_nowhere(server: RedisServer) -> None:
    made_up = "alice@example.com"

    async def scenario() -> None:
        async with fleet(server) as routers:
            for _ in range(SETTINGS.failures):
                routers.report(model=made_up)
            key = (routers.endpoint, made_up)
            await routers.until(lambda: all(key in router.circuits.open for router in routers.routers))
            await routers.until(lambda: not any(router.circuits.unshared() for router in routers.routers))
            await routers.until(lambda: routers.facts == [(routers.endpoint, "*")])
            assert routers.routers[0].readiness.notes["circuits"] == f"open: {routers.endpoint}/*"
            late = Router(
                await fake_bus(FakeBroker(), "router", "late"),
                Redis(server.url, timeout_s=PATIENCE_S),
                routers.endpoint,
            )
            await late.breaker.refresh()
            assert key in late.circuits.open
            await late.redis.close()
            await late.bus.drain(0.0)

    run(scenario)


def test_who_cannot_be_reached_is_open_for_every_model_everywhere(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            for number in range(SETTINGS.failures):
                routers.report("provider_unreachable", model=f"m{number}")
            await routers.until(lambda: not any(router.is_closed for router in routers.routers))
            await routers.until(lambda: routers.facts == [(routers.endpoint, "")])

    run(scenario)


def test_a_model_behind_two_circuits_is_probed_once_for_both(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            for _ in range(SETTINGS.failures):
                routers.report("provider_unreachable", model="other")
            await routers.until(lambda: all(len(router.circuits.open) == 2 for router in routers.routers))
            await routers.until(lambda: not any(router.circuits.unshared() for router in routers.routers))
            first, second = routers.routers[:2]
            await first.leased("p")
            assert not await second.breaker.lease(routers.endpoint, "other", "q"), "the endpoint's probe is under way"
            routers.report("", probe=True, id="p")
            await routers.until(lambda: not any(router.circuits.open for router in routers.routers))

    run(scenario)


def test_when_the_models_probe_is_anothers_the_endpoints_stays_free(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server) as routers:
            await routers.open()
            first, second = routers.routers[:2]
            await first.leased("p")
            for _ in range(SETTINGS.failures):
                routers.report("provider_unreachable", model="other")
            await routers.until(lambda: all(len(router.circuits.open) == 2 for router in routers.routers))
            await routers.until(lambda: not any(router.circuits.unshared() for router in routers.routers))
            assert not await second.leases("q")
            async with asyncio.timeout(PATIENCE_S):
                while not await second.breaker.lease(routers.endpoint, "other", "q"):
                    await asyncio.sleep(0.005)

    run(scenario)


def test_a_router_that_starts_anew_can_open_what_was_open_before(server: RedisServer) -> None:
    async def scenario() -> None:
        async with fleet(server, size=1) as routers:
            await routers.open()
            [first] = routers.routers
            await first.leased("p")
            routers.report("", probe=True, id="p")
            await routers.until(lambda: routers.events == ["opened", "closed"])
            again = Router(
                await fake_bus(FakeBroker(), "router", "again"),
                Redis(server.url, timeout_s=PATIENCE_S),
                routers.endpoint,
            )
            await again.breaker.refresh()
            assert again.circuits.generation((routers.endpoint, "m")) == 1
            await again.redis.close()
            await again.bus.drain(0.0)

    run(scenario)
