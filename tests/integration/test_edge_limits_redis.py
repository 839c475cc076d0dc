"""The limits script on a real redis-server: exact under concurrency, all or nothing, and leases that expire."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from patience import PATIENCE_S

from llmproxy.common.config import Limit
from llmproxy.common.redis import Redis
from llmproxy.edge.limits import Limiter, script
from llmproxy.edge.quotas import Dimension


@asynccontextmanager
async def limiter_on(url: str, lease_ttl_s: float = 30.0) -> AsyncIterator[Limiter]:
    redis = Redis(url, timeout_s=PATIENCE_S)
    limiter = Limiter(redis.script(script()), monotonic=time.monotonic, lease_ttl_s=lease_ttl_s)
    try:
        yield limiter
    finally:
        await limiter.close()
        await redis.close()


def dimension(name: str, **limit: int) -> Dimension:
    return Dimension("key", name, Limit(**limit))


def test_exactly_the_burst_passes_over_two_edges_at_once(redis_url: str) -> None:
    async def run() -> None:
        async with limiter_on(redis_url) as one, limiter_on(redis_url) as two:
            wanted = [dimension("burst", requests_per_minute=1, burst=25)]
            quotas = await asyncio.gather(
                *((one, two)[number % 2].acquire(f"r{number}", wanted, "closed") for number in range(400))
            )
            assert sum(quota.allowed for quota in quotas) == 25
            refused = next(quota for quota in quotas if not quota.allowed)
            assert (refused.kind, refused.scope, refused.limit, refused.remaining) == ("rate", "key", 1, 0)
            assert 0 < refused.retry_after_ms <= 60_000
            assert sorted(quota.remaining for quota in quotas if quota.allowed) == list(range(25))

    asyncio.run(run())


def test_never_more_at_once_than_allowed_and_a_released_place_is_free(redis_url: str) -> None:
    async def run() -> None:
        async with limiter_on(redis_url) as limiter:
            wanted = [dimension("places", concurrency=7)]
            quotas = await asyncio.gather(*(limiter.acquire(f"r{number}", wanted, "closed") for number in range(50)))
            held = [number for number, quota in enumerate(quotas) if quota.allowed]
            assert len(held) == 7
            limiter.release(f"r{held[0]}")
            assert (await limiter.acquire("next", wanted, "closed")).allowed
            refused = await limiter.acquire("one more", wanted, "closed")
            assert (refused.allowed, refused.kind) == (False, "concurrency")

    asyncio.run(run())


def test_a_refused_request_consumes_nothing_in_any_dimension(redis_url: str) -> None:
    async def run() -> None:
        async with limiter_on(redis_url) as limiter:
            wide = dimension("wide", requests_per_minute=1, burst=10, concurrency=10)
            full = dimension("full", concurrency=1)
            assert (await limiter.acquire("first", [wide, full], "closed")).allowed
            for number in range(20):
                assert not (await limiter.acquire(f"x{number}", [wide, full], "closed")).allowed
            left = [await limiter.acquire(f"y{number}", [wide], "closed") for number in range(12)]
            assert sum(quota.allowed for quota in left) == 9

    asyncio.run(run())


async def hurry(limiter: Limiter, name: str, wanted: list[Dimension], requests: int) -> int:
    """Ten at a time, each given back at once; how many were let pass."""
    passed = 0
    for start in range(0, requests, 10):
        leases = [f"{name}.{number}" for number in range(start, start + 10)]
        quotas = await asyncio.gather(*(limiter.acquire(lease, wanted, "closed") for lease in leases))
        passed += sum(quota.allowed for quota in quotas)
        for lease in leases:
            limiter.release(lease)
    return passed


def test_never_more_than_the_burst_passes_where_places_are_taken_beforehand(redis_url: str) -> None:
    async def run() -> None:
        async with limiter_on(redis_url) as one, limiter_on(redis_url) as two:
            wanted = [dimension("ahead", requests_per_minute=1, burst=2_000)]
            assert await hurry(one, "warm", wanted, 1_000) == 1_000
            passed = await asyncio.gather(hurry(one, "one", wanted, 800), hurry(two, "two", wanted, 800))
            assert sum(passed) <= 1_000
        async with limiter_on(redis_url) as later:  # What the two had taken and not used was given back.
            assert sum(passed) + await hurry(later, "later", wanted, 200) == 1_000

    asyncio.run(run())


def test_what_was_taken_beforehand_and_not_used_leaves_the_limits_as_they_were(redis_url: str) -> None:
    async def run() -> None:
        redis = Redis(redis_url, timeout_s=PATIENCE_S)
        wanted = [dimension("unused", requests_per_minute=1, burst=100_000, concurrency=100_000)]
        async with limiter_on(redis_url) as limiter:
            assert await hurry(limiter, "r", wanted, 300) == 300
        async with limiter_on(redis_url) as limiter:
            assert (await limiter.acquire("next", wanted, "closed")).remaining == 100_000 - 301
            held = await redis.guarded(lambda client: client.zcard(wanted[0].lease_key))
            assert held == 1
        await redis.close()

    asyncio.run(run())


def test_near_a_limit_nothing_is_taken_beforehand(redis_url: str) -> None:
    async def run() -> None:
        redis = Redis(redis_url, timeout_s=PATIENCE_S)
        async with limiter_on(redis_url) as limiter:
            wanted = [dimension("near", concurrency=60)]
            for turn in range(20):
                leases = [f"{turn}.{number}" for number in range(20)]
                quotas = await asyncio.gather(*(limiter.acquire(lease, wanted, "closed") for lease in leases))
                assert all(quota.allowed for quota in quotas)
                assert await redis.guarded(lambda client: client.zcard(wanted[0].lease_key)) == 20
                for lease in leases:
                    limiter.release(lease)
        await redis.close()

    asyncio.run(run())


def test_a_dead_edges_places_expire_and_a_living_ones_are_renewed(redis_url: str) -> None:
    async def run() -> None:
        redis = Redis(redis_url, timeout_s=PATIENCE_S)

        async def lasts_until_us(lease: str, kept: Dimension) -> float:
            found = await redis.guarded(lambda client: client.zscore(kept.lease_key, lease))
            assert isinstance(found, float)
            return found

        async with limiter_on(redis_url, lease_ttl_s=0.3) as dead, limiter_on(redis_url) as living:
            gone, kept = dimension("gone", concurrency=1), dimension("kept", concurrency=1)
            assert (await dead.acquire("a", [gone], "closed")).allowed
            assert (await living.acquire("b", [kept], "closed")).allowed
            at_first = await lasts_until_us("b", kept)
            async with asyncio.timeout(PATIENCE_S):
                while not (await living.acquire("c", [gone], "closed")).allowed:
                    await asyncio.sleep(0.02)
            await living.renew()
            assert await lasts_until_us("b", kept) > at_first
            assert not (await dead.acquire("d", [kept], "closed")).allowed
        await redis.close()

    asyncio.run(run())


def test_keys_do_not_stay_in_redis(redis_url: str) -> None:
    async def run() -> None:
        redis = Redis(redis_url, timeout_s=PATIENCE_S)
        async with limiter_on(redis_url) as limiter:
            wanted = [dimension("ttl", requests_per_minute=1, concurrency=3)]
            await limiter.acquire("a", wanted, "closed")
            for key in (wanted[0].rate_key, wanted[0].lease_key):
                left = await redis.guarded(lambda client, key=key: client.pttl(key))
                assert 0 < left <= 120_000
        await redis.close()

    asyncio.run(run())


def test_a_server_that_forgot_the_script_is_taught_again(redis_url: str) -> None:
    async def run() -> None:
        redis = Redis(redis_url, timeout_s=PATIENCE_S)
        async with limiter_on(redis_url) as limiter:
            wanted = [dimension("flush", requests_per_minute=1, burst=2)]
            assert (await limiter.acquire("a", wanted, "closed")).allowed
            await redis.guarded(lambda client: client.script_flush())
            assert (await limiter.acquire("b", wanted, "closed")).allowed
        await redis.close()

    asyncio.run(run())


def test_a_server_that_does_not_answer_costs_its_budget_once_and_then_nothing(redis_url: str) -> None:
    async def run() -> None:
        silent = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
        redis = Redis(f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}")
        limiter = Limiter(redis.script(script()), monotonic=time.monotonic)
        wanted = [dimension("slow", requests_per_minute=1, burst=3)]
        allowed = [(await limiter.acquire(f"r{number}", wanted, "local")).allowed for number in range(5)]
        assert allowed == [True, True, True, False, False]
        assert not redis.available
        await redis.close()
        silent.close()

    asyncio.run(run())
