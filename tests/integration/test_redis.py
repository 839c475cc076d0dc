"""The Redis client against a real server that is slow, gone, forgetful or restarted: a bounded wait, never a wrong answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from patience import PATIENCE_S
from redis_server import RedisServer

from llmproxy.common.errors import Unavailable
from llmproxy.common.redis import FAILURES_TO_OPEN, OPEN_S, Redis
from llmproxy.common.testing import FakeClock

PATIENT_MS = 1_000 * int(PATIENCE_S)
SOON_MS = 100  # For what is going to fail.
ECHO = "return {KEYS[1], ARGV[1], 7}"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    made = RedisServer()
    yield made
    made.kill()


def run(server: RedisServer, scenario: Callable[[Redis, FakeClock], Awaitable[None]]) -> None:
    """With a client that waits long enough for whatever a busy machine does."""

    async def main() -> None:
        clock = FakeClock()
        redis = Redis(server.url, timeout_s=PATIENCE_S, monotonic=clock)
        try:
            async with asyncio.timeout(2 * PATIENCE_S):
                await scenario(redis, clock)
        finally:
            await redis.close()

    asyncio.run(main())


async def refused(redis: Redis, within_ms: int = SOON_MS) -> float:
    """Seconds until the client said that Redis is not available."""
    redis.wait(within_ms)
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        await redis.ping()
    assert caught.value.code == "limits_unavailable"
    redis.wait(PATIENT_MS)
    return time.monotonic() - began


async def break_it(redis: Redis) -> None:
    for _ in range(FAILURES_TO_OPEN):
        await refused(redis)


def test_a_script_gets_its_keys_and_arguments_and_answers_a_list(server: RedisServer) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        assert await redis.script(ECHO)(["k"], ["a"]) == [b"k", b"a", 7]
        await redis.ping()
        assert redis.available

    run(server, scenario)


def test_a_script_that_the_server_forgot_is_loaded_again(server: RedisServer) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        script = redis.script(ECHO)
        await script(["k"], ["a"])
        await redis.guarded(lambda client: client.script_flush())
        assert await script(["k"], ["b"]) == [b"k", b"b", 7]

    run(server, scenario)


def test_a_restart_is_survived_without_an_error(server: RedisServer) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        script = redis.script(ECHO)
        await script(["k"], ["a"])
        server.kill()
        server.start()
        assert await script(["k"], ["b"]) == [b"k", b"b", 7]
        assert redis.available

    run(server, scenario)


def test_more_callers_than_connections_wait_instead_of_failing(server: RedisServer) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        script = redis.script(ECHO)
        replies = await asyncio.gather(*(script([f"k{n}"], [str(n)]) for n in range(500)))
        assert replies == [[f"k{n}".encode(), str(n).encode(), 7] for n in range(500)]
        assert redis.available

    run(server, scenario)


def test_a_frozen_server_costs_the_budget_once_and_is_not_asked_again(server: RedisServer) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        before = await pings(redis)
        server.freeze()
        assert await refused(redis) >= SOON_MS / 1_000
        server.thaw()
        assert await pings(redis) - before <= 1

    async def pings(redis: Redis) -> int:
        found = await redis.guarded(lambda client: client.info("commandstats"))
        assert isinstance(found, dict)
        return int(found["cmdstat_ping"]["calls"])

    run(server, scenario)


def test_a_server_that_is_gone_is_not_waited_for(server: RedisServer) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        await redis.ping()
        server.kill()
        await refused(redis, within_ms=3_600_000)

    run(server, scenario)


def test_after_failures_in_a_row_it_refuses_without_asking(server: RedisServer) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        server.freeze()
        await break_it(redis)
        assert not redis.available
        server.thaw()
        asked = False

        async def ask(_: object) -> object:
            nonlocal asked
            asked = True
            return None

        with pytest.raises(Unavailable):
            await redis.guarded(ask)
        assert not asked

    run(server, scenario)


def test_one_call_finds_out_whether_it_is_back_and_the_others_do_not_wait(server: RedisServer) -> None:
    async def scenario(redis: Redis, clock: FakeClock) -> None:
        server.freeze()
        await break_it(redis)
        clock.advance(OPEN_S)
        redis.wait(SOON_MS)
        asked = 0

        async def ask(_: object) -> object:
            nonlocal asked
            asked += 1
            await asyncio.Event().wait()

        results = await asyncio.gather(*(redis.guarded(ask) for _ in range(50)), return_exceptions=True)
        assert asked == 1
        assert all(isinstance(one, Unavailable) for one in results)

    run(server, scenario)


def test_it_is_used_again_once_it_answers(server: RedisServer) -> None:
    async def scenario(redis: Redis, clock: FakeClock) -> None:
        script = redis.script(ECHO)
        server.freeze()
        await break_it(redis)
        server.thaw()
        clock.advance(OPEN_S)
        assert await script(["k"], ["a"]) == [b"k", b"a", 7]
        assert redis.available

    run(server, scenario)


def test_fewer_failures_than_the_limit_are_forgotten_by_a_success(server: RedisServer) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        for _ in range(3):
            server.freeze()
            for _ in range(FAILURES_TO_OPEN - 1):
                await refused(redis)
            server.thaw()
            assert await redis.script(ECHO)(["k"], ["a"]) == [b"k", b"a", 7]

    run(server, scenario)


def test_a_late_reply_is_never_taken_for_another_calls(server: RedisServer) -> None:
    async def scenario(redis: Redis, clock: FakeClock) -> None:
        script = redis.script(ECHO)
        await asyncio.gather(*(script([f"warm{n}"], ["x"]) for n in range(8)))
        server.freeze()
        redis.wait(SOON_MS)
        late = await asyncio.gather(*(script([f"late{n}"], ["x"]) for n in range(8)), return_exceptions=True)
        assert all(isinstance(one, Unavailable) for one in late)
        redis.wait(PATIENT_MS)
        server.thaw()
        clock.advance(OPEN_S)
        await redis.ping()
        for number in range(40):
            assert await script([f"new{number}"], [str(number)]) == [f"new{number}".encode(), str(number).encode(), 7]

    run(server, scenario)


def test_a_cancelled_call_leaves_the_client_usable(server: RedisServer) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        script = redis.script(ECHO)
        await script(["k"], ["a"])
        server.freeze()
        calls = [asyncio.ensure_future(script([f"k{n}"], ["a"])) for n in range(40)]
        await asyncio.sleep(0)  # Each has begun.
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        server.thaw()
        assert await script(["after"], ["b"]) == [b"after", b"b", 7]

    run(server, scenario)
