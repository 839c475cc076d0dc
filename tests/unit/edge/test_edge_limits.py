"""Limits without Redis: what applies, the local share, batching, and what happens when Redis is away."""

import asyncio
import json
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.edge.edge_gateway import CONFIG, gateway, record_of, redis_is_away, until

from llmproxy.common.config import Limit, Limits
from llmproxy.common.errors import Unavailable
from llmproxy.common.testing import FakeClock
from llmproxy.edge.limits import Limiter, script
from llmproxy.edge.local_limits import LocalLimits
from llmproxy.edge.quotas import Dimension, dimensions, neighbourhood


def rate(per_minute: int, burst: int | None = None, concurrency: int | None = None) -> Dimension:
    return Dimension("key", "k", Limit(requests_per_minute=per_minute, burst=burst, concurrency=concurrency))


def test_only_what_is_configured_applies_and_a_keys_own_limit_replaces_the_default() -> None:
    record = record_of("sk-x")
    assert dimensions(Limits(), record, "1.1.1.1") == []
    assert dimensions(Limits(key=Limit(burst=5)), record, "1.1.1.1") == []
    limits = Limits(key=Limit(concurrency=1), ip=Limit(requests_per_minute=2), tenant=Limit(requests_per_minute=3))
    found = dimensions(limits, record_of("sk-x", limit=Limit(requests_per_minute=9)), "1.1.1.1")
    assert [(one.scope, one.name, one.limit.requests_per_minute) for one in found] == [
        ("key", record.id, 9),
        ("ip", "1.1.1.1", 2),
        ("tenant", "acme", 3),
    ]
    assert len(dimensions(limits, record_of("sk-x", limit=Limit()), "1.1.1.1")) == 2


def test_a_burst_passes_and_then_the_rate_applies() -> None:
    clock = FakeClock()
    local = LocalLimits(clock)
    wanted = [rate(60, burst=3)]
    quotas = [local.acquire("", wanted) for _ in range(4)]
    assert [quota.allowed for quota in quotas] == [True, True, True, False]
    assert [quota.remaining for quota in quotas] == [2, 1, 0, 0]
    assert quotas[-1].retry_after_ms == 1000
    clock.advance(1.0)
    assert local.acquire("", wanted).allowed
    assert not local.acquire("", wanted).allowed


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 600), st.integers(1, 10))
def test_never_more_than_the_burst_and_the_rate_pass_in_any_pattern(
    gaps: list[float], per_minute: int, burst: int
) -> None:
    clock = FakeClock(0.0)
    local = LocalLimits(clock)
    passed = 0
    for gap in gaps:
        clock.advance(gap)
        passed += local.acquire("", [rate(per_minute, burst)]).allowed
    assert passed <= burst + clock.now * per_minute / 60 + 1


def test_a_refused_request_consumes_nothing_in_any_dimension() -> None:
    local = LocalLimits(FakeClock())
    wide = Dimension("tenant", "t", Limit(requests_per_minute=60, burst=2, concurrency=2))
    narrow = Dimension("ip", "i", Limit(concurrency=1))
    assert local.acquire("a", [wide, narrow]).allowed
    for _ in range(5):
        assert local.acquire("b", [wide, narrow]).scope == "ip"
    assert local.acquire("c", [wide]).allowed  # Of the tenant's two, one was left.
    assert not local.acquire("d", [wide]).allowed


def test_a_place_that_is_given_back_can_be_taken() -> None:
    local = LocalLimits(FakeClock())
    wanted = [Dimension("key", "k", Limit(concurrency=1))]
    assert local.acquire("a", wanted).allowed
    assert local.acquire("b", wanted).kind == "concurrency"
    local.release("b")
    assert not local.acquire("c", wanted).allowed
    local.release("a")
    assert local.acquire("d", wanted).allowed


def test_each_edge_takes_its_part_of_the_limit() -> None:
    local = LocalLimits(FakeClock(), edges=4)
    assert sum(local.acquire("", [rate(600, burst=40)]).allowed for _ in range(40)) == 10


def test_local_counters_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr("llmproxy.edge.local_limits.KEYS_MAX", 10)
    local = LocalLimits(FakeClock())
    for number in range(100):
        local.acquire("", [Dimension("ip", str(number), Limit(requests_per_minute=1))])
    assert len(local) == 10


def acquired(arguments: Sequence[str | int | bytes]) -> int:
    """How many leases the acquires of one call ask for: "A", ttl, n, m, …"""
    return sum(int(arguments[at + 3]) for at, word in enumerate(arguments) if word == "A")


class Recorder:
    """A script that always says yes."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], list[object]]] = []

    async def __call__(self, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> list[int]:
        self.calls.append((list(keys), list(arguments)))
        await asyncio.sleep(0)
        return [1, 1, 1, 0, 9, 1000, 0] * acquired(arguments)


def test_the_requests_of_one_turn_share_one_call_and_so_do_their_releases() -> None:
    async def run() -> None:
        call = Recorder()
        limiter = Limiter(call, monotonic=FakeClock())
        wanted = [rate(60, concurrency=5)]
        quotas = await asyncio.gather(*(limiter.acquire(f"r{number}", wanted, "local") for number in range(50)))
        assert all(quota.allowed and quota.remaining == 9 for quota in quotas)
        assert len(call.calls) == 1
        assert limiter.held == 50
        for number in range(50):
            limiter.release(f"r{number}")
        await limiter.close()
        assert len(call.calls) == 2
        assert call.calls[1][1] == ["R", 1, 50, *(f"r{number}" for number in range(50))]
        assert limiter.held == 0

    asyncio.run(run())


def test_a_request_without_limits_makes_no_call() -> None:
    async def run() -> None:
        call = Recorder()
        limiter = Limiter(call, monotonic=FakeClock())
        assert (await limiter.acquire("r", [], "closed")).allowed
        limiter.release("r")
        assert call.calls == []

    asyncio.run(run())


def test_a_caller_that_leaves_while_we_ask_gives_its_place_back() -> None:
    async def run() -> None:
        asked, answer = asyncio.Event(), asyncio.Event()
        calls: list[list[object]] = []

        async def call(keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> list[int]:
            calls.append(list(arguments))
            asked.set()
            await answer.wait()
            return [1, 0, 0, 0, 0, 0, 0] * acquired(arguments)

        limiter = Limiter(call, monotonic=FakeClock())
        acquiring = asyncio.ensure_future(limiter.acquire("r", [rate(60, concurrency=1)], "local"))
        await asked.wait()
        acquiring.cancel()
        await asyncio.wait({acquiring})
        limiter.release("r")
        answer.set()
        await until(lambda: len(calls) == 2)
        assert calls[1] == ["R", 1, 1, "r"]
        assert limiter.held == 0

    asyncio.run(run())


def test_when_redis_is_away_limits_are_local_or_closed_and_somebody_is_told() -> None:
    async def run() -> None:
        told: list[str] = []
        limiter = Limiter(redis_is_away, monotonic=FakeClock(), degraded=told.append)
        allowed = [(await limiter.acquire("r", [rate(60, burst=2)], "local")).allowed for _ in range(3)]
        assert allowed == [True, True, False]
        with pytest.raises(Unavailable) as refused:
            await limiter.acquire("r", [rate(60)], "closed")
        assert refused.value.code == "limits_unavailable"
        assert told == ["Redis does not answer"]

    asyncio.run(run())


def test_over_a_limit_the_client_learns_which_and_when_to_come_again() -> None:
    async def run() -> None:
        limited = msgspec.structs.replace(CONFIG, limits=Limits(key=Limit(requests_per_minute=1, burst=2)))
        async with gateway(config=limited) as edge:
            _, headers, _ = await edge.ask()
            assert headers["x-ratelimit-limit-requests"] == "1"
            assert headers["x-ratelimit-remaining-requests"] == "1"
            assert headers["x-ratelimit-reset-requests"] == "1m0s"
            await edge.ask(json={"model": "demo", "messages": [1], "stream": True})
            status, headers, body = await edge.ask()
            assert status == 429
            assert json.loads(body)["error"] == {
                "message": "the limit of 1 requests per minute for this key is reached, its burst used up; retry",
                "type": "rate_limit_error",
                "param": None,
                "code": "rate_limit_exceeded",
            }
            assert headers["x-should-retry"] == "true"
            assert headers["x-ratelimit-remaining-requests"] == "0"
            assert 0 < int(headers["retry-after-ms"]) <= 60_000
            assert edge.readiness.notes["redis"] == "Redis does not answer"
            assert edge.records[-1].verdict == "refused"

    asyncio.run(run())


def test_closed_limits_refuse_when_redis_is_away() -> None:
    async def run() -> None:
        limits = Limits(key=Limit(concurrency=1), when_redis_fails="closed")
        async with gateway(config=msgspec.structs.replace(CONFIG, limits=limits)) as edge:
            status, _, body = await edge.ask()
            assert (status, json.loads(body)["error"]["code"]) == (503, "limits_unavailable")

    asyncio.run(run())


def test_a_place_is_given_back_whatever_became_of_the_request() -> None:
    async def run() -> None:
        limited = msgspec.structs.replace(CONFIG, limits=Limits(key=Limit(concurrency=1)))
        async with gateway(config=limited) as edge:
            for body in ({"model": "demo"}, {"model": "nope", "messages": [1]}, None, None):
                options = {} if body is None else {"json": body}
                status, _, _ = await edge.ask(**options)
                assert status in (200, 400, 404)

    asyncio.run(run())


def test_a_site_of_ipv6_is_one_caller() -> None:
    assert neighbourhood("2001:db8:1:2::5") == neighbourhood("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert neighbourhood("fe80::1%eth0") == "fe80::/64"
    assert neighbourhood("1.2.3.4") == "1.2.3.4"
    assert neighbourhood("not:an:address") == "not:an:address"


def test_the_script_ships_with_the_package() -> None:
    assert "redis.call('TIME')" in script()
