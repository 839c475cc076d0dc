"""The threat ledger on a real redis-server: its laws, and that nobody but who sent the attacks is ever slowed or refused."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE_S
from unit.edge import edge_gateway
from unit.edge.edge_gateway import CHAT, CONFIG, KEY, Gateway

from llmproxy.common import config as configuration
from llmproxy.common import threats
from llmproxy.common.bus import Answer
from llmproxy.common.channels import THREATS_ANSWER, THREATS_ASK
from llmproxy.common.config import Config, Limit, Limits
from llmproxy.common.envelope import Envelope
from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.frames import Failure
from llmproxy.common.redis import Redis
from llmproxy.common.testing import FakeBroker, fake_bus
from llmproxy.common.threats import FORGOTTEN, Threats, ThreatsQuestion, Weights, decayed
from llmproxy.edge import threats as ledger
from llmproxy.edge.limits import Limiter, script
from llmproxy.edge.quotas import Dimension, Quota, Suspects
from llmproxy.edge.standings import Standings
from llmproxy.edge.threats import Caller, Ledger

# So that a lock can be reached in no time.
STRICT = Threats(mode="lock", throttle=5.0, lock=12.0, requests_per_minute=60_000)
SLOW = msgspec.structs.replace(STRICT, requests_per_minute=1)  # So that none passes meanwhile for the time gone by.
WHY = Explained((Explanation(guard="injection", kind="injection", action="block", path="messages[0].content"),))
ATTACK = {"model": "demo", "messages": [{"role": "user", "content": "attack"}]}
OTHER = "sk-a-neighbours-key"


class World:
    """A limiter and a ledger of their own on the shared server."""

    def __init__(self, redis: Redis, terms: Threats) -> None:
        self.redis, self.terms = redis, terms
        self.limiter = Limiter(redis.script(script()), monotonic=time.monotonic)
        self.ledger = Ledger(self.limiter, redis.script(ledger.script()), lambda: self.terms, monotonic=time.monotonic)

    async def weigh(self, caller: Caller, weight: float = 1.0, times: int = 1) -> None:
        terms = self.terms
        half_life_us = terms.half_life_s * 1_000_000
        arguments = (half_life_us, terms.throttle, terms.lock, terms.share, FORGOTTEN, weight, caller.name)
        for _ in range(times):
            self.limiter.weigh((caller.standing_key, caller.index_key), arguments)
        await self.ask(Caller("key", "somebody else"))  # What was weighed travels with it.

    async def ask(self, *callers: Caller) -> Quota:
        self.ledger.known.update(callers)
        suspects = self.ledger.suspects(callers)
        assert isinstance(suspects, Suspects)
        return await self.ledger.ask("lease", suspects)

    async def score(self, caller: Caller) -> float:
        known = await self.ledger.standings([caller])
        return known[0].score if known else 0.0

    async def age(self, caller: Caller, seconds: float) -> None:
        """As if so much time had passed since it was last touched."""
        kept = (await self._client("GET", caller.standing_key)).split()
        kept[2] = b"%d" % (int(kept[2]) - int(seconds * 1_000_000))
        await self._client("SET", caller.standing_key, b" ".join(kept), "KEEPTTL")

    async def _client(self, *command: Any) -> Any:
        return await self.redis.guarded(lambda client: client.execute_command(*command))

    async def ttl_ms(self, caller: Caller) -> int:
        return int(await self._client("PTTL", caller.standing_key))


@asynccontextmanager
async def world(url: str, terms: Threats = STRICT) -> AsyncIterator[World]:
    redis = Redis(url, timeout_s=PATIENCE_S)
    made = World(redis, terms)
    try:
        await redis.guarded(lambda client: client.flushdb())
        yield made
    finally:
        await made.limiter.close()
        await redis.close()


def key(name: str) -> Caller:
    return Caller("key", name)


# -- laws

ROUNDED = 0.02


@given(st.floats(0.1, 1), st.floats(0, 1_500), st.floats(0.1, 1), st.floats(0, 600))
@settings(max_examples=15, deadline=None)
def test_the_script_forgets_as_the_law_says(
    redis_url: str, first: float, gap: float, second: float, later: float
) -> None:
    async def run() -> None:
        async with world(redis_url) as it:
            caller, began = key("law"), time.monotonic()
            await it.weigh(caller, first)
            await it.age(caller, gap)
            await it.weigh(caller, second)
            await it.age(caller, later)
            expected = decayed(decayed(first, gap, 600) + second, later, 600)
            found, took_s = await it.score(caller), time.monotonic() - began
            assert decayed(expected, took_s, 600) - ROUNDED <= found <= expected + ROUNDED

    asyncio.run(run())


def test_a_standing_ends_by_itself_and_so_does_its_place_among_those_known(redis_url: str) -> None:
    async def run() -> None:
        async with world(redis_url) as it:
            await it.weigh(key("a"), 0.1)
            assert 500_000 < await it.ttl_ms(key("a")) <= 600_000  # One half-life from 0.1 to 0.05.
            await it.weigh(key("a"), 0.1)
            assert 1_100_000 < await it.ttl_ms(key("a")) <= 1_200_000
            await it.ledger.refresh()
            assert it.ledger.known == {key("a")}
            await it._client("ZADD", key("a").index_key, 1, "a")  # As if that time had come.
            await it.ledger.refresh()
            assert it.ledger.known == set()

    asyncio.run(run())


def test_a_caller_is_slowed_before_it_is_refused_and_both_end_by_themselves(redis_url: str) -> None:
    async def run() -> None:
        async with world(redis_url, SLOW) as it:
            caller = key("attacker")
            await it.weigh(caller, times=4)
            assert all([(await it.ask(caller)).allowed for _ in range(15)])
            passed = []
            for _ in range(3):  # The more, the fewer pass at once; and the rate falls likewise.
                await it.ledger.forget(caller)
                await it.weigh(caller, times=6 + 2 * len(passed))
                quotas = [await it.ask(caller) for _ in range(12)]
                passed.append(sum(quota.allowed for quota in quotas))
                assert {(quota.kind, quota.suspect) for quota in quotas if not quota.allowed} == {("throttled", 1)}
                assert 0 < quotas[-1].retry_after_ms < 600_000
            assert 10 > passed[0] > passed[1] > passed[2] > 1
            await it.weigh(caller, times=20)
            locked = await it.ask(caller)
            assert (locked.allowed, locked.kind, locked.suspect_locked) == (False, "locked", True)
            whole_s = 600 * 1.263  # From 12 to 5.
            assert locked.retry_after_ms == pytest.approx(whole_s * 1_000, rel=0.05)  # However many came after.
            await it.age(caller, whole_s + 2)
            assert (await it.ask(caller)).allowed

    asyncio.run(run())


def test_somebody_who_was_locked_is_not_locked_again_for_the_first_bad_request(redis_url: str) -> None:
    async def run() -> None:
        async with world(redis_url) as it:
            caller = key("back again")
            await it.weigh(caller, times=20)
            assert (await it.ask(caller)).kind == "locked"
            await it.age(caller, 800)
            await it.weigh(caller)
            assert (await it.ask(caller)).kind != "locked"

    asyncio.run(run())


def test_an_honest_caller_with_many_requests_is_not_slowed_for_those_that_trip_a_guard(redis_url: str) -> None:
    async def run() -> None:
        async with world(redis_url) as it:
            caller = key("honest and busy")
            for _ in range(30):  # One in ten: far more than the guards' false alarms.
                quotas = await asyncio.gather(*(it.ask(caller) for _ in range(9)))
                await it.weigh(caller)
                assert all(quota.allowed for quota in quotas)

    asyncio.run(run())


def test_in_shadow_mode_it_is_told_and_nobody_is_refused(redis_url: str) -> None:
    async def run() -> None:
        async with world(redis_url, msgspec.structs.replace(STRICT, mode="shadow")) as it:
            await it.weigh(key("a"), times=30)
            quota = await it.ask(key("a"))
            assert (quota.allowed, quota.suspect, quota.suspect_locked) == (True, 1, True)
            for _ in range(60):  # However many there are, they stay a share of all.
                await it.weigh(key("b"))
                await it.ask(key("b"))
            await it.age(key("b"), 600)
            assert (await it.ask(key("b"))).suspect == 1

    asyncio.run(run())


def test_a_refusal_by_the_ledger_consumes_no_limit_and_a_limit_none_of_its_rate(redis_url: str) -> None:
    async def run() -> None:
        async with world(redis_url, SLOW) as it:
            wanted = [Dimension("key", "a", Limit(requests_per_minute=1, burst=20))]
            await it.weigh(key("a"), times=6)
            it.ledger.known.add(key("a"))
            suspects = it.ledger.suspects([key("a")])
            quotas = [await it.limiter.acquire("r", wanted, "closed", suspects) for _ in range(14)]
            passed = sum(quota.allowed for quota in quotas)
            assert 0 < passed < 10
            left = [await it.limiter.acquire("r", wanted, "closed") for _ in range(22)]
            assert sum(quota.allowed for quota in left) == 20 - passed

    asyncio.run(run())


def test_a_key_answers_for_its_principals_other_keys_only_when_it_stands_out_itself(redis_url: str) -> None:
    async def run() -> None:
        async with world(redis_url) as it:
            owner = Caller("principal", "acme/alice")
            await it.weigh(owner, times=20)
            assert (await it.ask(key("clean"), owner)).allowed
            await it.weigh(key("tripped once"))
            assert (await it.ask(key("tripped once"), owner)).allowed
            await it.weigh(key("third of five"), times=3)
            assert (await it.ask(key("third of five"), owner)).kind == "locked"

    asyncio.run(run())


# -- over HTTP: who is slowed and refused, and who never


def guarded(envelope: Envelope, answer: Answer) -> Coroutine[Any, Any, None] | None:
    """A shield that refuses what says attack."""
    if b"attack" in bytes(envelope.body):
        message = "messages[0].content holds what the policy blocks: injection; remove it"
        answer.send(Failure(code="content_blocked", message=message, stage="shield", explained=WHY))
    else:
        edge_gateway.answers(envelope, answer)
    return None


@asynccontextmanager
async def gateway(url: str, terms: Threats = STRICT, **fields: Any) -> AsyncIterator[Gateway]:
    redis = Redis(url, timeout_s=PATIENCE_S)
    await redis.guarded(lambda client: client.flushdb())
    config: Config = msgspec.structs.replace(CONFIG, threats=terms, **fields)
    scripts = {"call": redis.script(script()), "remembered": redis.script(ledger.script())}
    async with edge_gateway.gateway(guarded, config=config, **scripts) as it:
        it.add_key(OTHER, principal="bob")
        yield it
    await redis.close()


async def statuses(it: Gateway, count: int, body: Any = CHAT, **options: Any) -> list[int]:
    return [(await it.ask(json=body, **options))[0] for _ in range(count)]


async def settled(it: Gateway) -> None:
    """Everything that was weighed is in Redis."""
    await edge_gateway.until(lambda: not it.limiter._weights and not it.limiter._calls)


Scenario = Callable[[Gateway], Coroutine[Any, Any, None]]


def over_http(url: str, scenario: Scenario, terms: Threats = STRICT, **fields: Any) -> None:
    async def run() -> None:
        async with gateway(url, terms, **fields) as it:
            await scenario(it)

    asyncio.run(run())


def test_one_prompt_however_bad_never_makes_the_next_requests_of_others_fail(redis_url: str) -> None:
    async def scenario(it: Gateway) -> None:
        assert await statuses(it, 1, ATTACK) == [400]
        await settled(it)
        assert await statuses(it, 20) == [200] * 20  # On the same key, from the same address.

    over_http(redis_url, scenario)


def test_three_suspicious_prompts_lock_nobody(redis_url: str) -> None:
    async def scenario(it: Gateway) -> None:
        assert await statuses(it, 3, ATTACK) == [400] * 3
        await settled(it)
        assert await statuses(it, 20) == [200] * 20
        assert await statuses(it, 20, key=OTHER) == [200] * 20

    over_http(redis_url, scenario)


def test_a_benign_user_behind_the_attackers_proxy_is_never_refused(redis_url: str) -> None:
    async def scenario(it: Gateway) -> None:
        behind = {"headers": {"X-Forwarded-For": "203.0.113.7"}}
        for _ in range(15):
            await statuses(it, 1, ATTACK, **behind)
            await statuses(it, 1, key="sk-no-such-key", **behind)  # And somebody there guesses keys.
            assert await statuses(it, 2, key=OTHER, **behind) == [200] * 2
        await settled(it)
        status, headers, body = await it.ask(json=CHAT, **behind)
        assert (status, json.loads(body)["error"]["code"]) == (403, "caller_locked")
        assert 0 < int(headers["retry-after"]) <= 760
        assert await statuses(it, 20, key=OTHER, **behind) == [200] * 20
        assert ("locked", "key") in {(step, caller.kind) for step, caller in it.told}
        assert {record.verdict for record in it.records if record.code == "caller_locked"} == {"refused"}

    gateway_settings = configuration.Gateway(trusted_proxies=("127.0.0.0/8",))
    over_http(redis_url, scenario, gateway=gateway_settings)


def test_throttling_is_the_default_and_locks_nobody_and_begins_late(redis_url: str) -> None:
    async def scenario(it: Gateway) -> None:
        assert set(await statuses(it, 40, ATTACK)) == {400}
        await settled(it)
        assert await statuses(it, 20) == [200] * 20

    over_http(redis_url, scenario, Threats())
    assert Threats().mode == "throttle"


def test_guesses_from_an_address_slow_guesses_from_there_and_nothing_else(redis_url: str) -> None:
    async def scenario(it: Gateway) -> None:
        for _ in range(6):
            await statuses(it, 1, key="sk-wrong")
            await settled(it)
        codes = set()
        for _ in range(13):
            _, _, body = await it.ask(key="sk-wrong")
            codes.add(json.loads(body)["error"]["code"])
        assert "caller_throttled" in codes
        assert await statuses(it, 20) == [200] * 20

    over_http(redis_url, scenario, msgspec.structs.replace(SLOW, mode="throttle", weights=Weights(unauthenticated=1)))


def named(who: str, body: dict[str, Any] = CHAT) -> dict[str, Any]:
    return {**body, "user": who}


def test_where_the_application_is_trusted_the_end_user_is_blamed_alone(redis_url: str) -> None:
    async def scenario(it: Gateway) -> None:
        for _ in range(15):
            await statuses(it, 1, named("mallory", ATTACK))
            await settled(it)
        assert await statuses(it, 1, named("mallory")) == [403]
        assert await statuses(it, 10, named("alice")) == [200] * 10
        assert await statuses(it, 10) == [200] * 10
        assert not any("mallory" in caller.name for caller in it.ledger.known)

    over_http(redis_url, scenario, msgspec.structs.replace(STRICT, end_users="trusted"))


def test_inventing_users_is_no_escape_unless_the_operator_trusts_the_names(redis_url: str) -> None:
    async def scenario(it: Gateway) -> None:
        for number in range(15):
            await statuses(it, 1, named(f"user-{number}", ATTACK))
            await settled(it)
        assert await statuses(it, 1, named("user-99")) == [403]

    over_http(redis_url, scenario)


def test_another_edge_knows_who_stands_out_after_its_next_reading(redis_url: str) -> None:
    async def run() -> None:
        async with gateway(redis_url) as one:
            for _ in range(15):
                await statuses(one, 1, ATTACK)
                await settled(one)
            async with world_beside(redis_url) as other:
                assert other.ledger.known == set()
                await other.ledger.refresh()
                (found,) = [caller for caller in other.ledger.known if caller.kind == "key"]
                assert (await other.ask(found)).kind == "locked"
                await other.ledger.forget(found)
                assert (await other.ask(found)).allowed

    asyncio.run(run())


@asynccontextmanager
async def world_beside(url: str) -> AsyncIterator[World]:
    redis = Redis(url, timeout_s=PATIENCE_S)
    made = World(redis, STRICT)
    yield made
    await made.limiter.close()
    await redis.close()


def test_an_edge_answers_what_admin_asks_and_forgets_whom_it_names(redis_url: str) -> None:
    async def run() -> None:
        async with world(redis_url) as it:
            await it.weigh(key("a"), times=20)
            await it.weigh(Caller("address", "2001:db8::/64"), 0.5)
            broker = FakeBroker()
            admin = await fake_bus(broker, "admin")
            await Standings(await fake_bus(broker, "edge"), it.ledger).serve()

            async def ask(**fields: Any) -> list[tuple[str, str, str]]:
                question = ThreatsQuestion(address=admin.address, id="1", **fields)
                answer = await admin.ask(THREATS_ASK, question, THREATS_ANSWER, "1", PATIENCE_S)
                return [(one.kind, one.name, one.step) for one in answer.known]

            site = ("address", "2001:db8::/64", "")
            assert await ask() == [("key", "a", "locked"), site]
            assert await ask(kind="address", name="2001:db8::77") == [site]
            assert await ask(kind="key", name="a", clear=True) == [("key", "a", "locked")]
            assert await ask() == [site]

    asyncio.run(run())


def test_who_is_unknown_costs_not_one_command(redis_url: str) -> None:
    async def scenario(it: Gateway) -> None:
        first, second = await commands(redis_url), await commands(redis_url)
        assert await statuses(it, 20) == [200] * 20
        assert await commands(redis_url) - second == second - first  # What the counting itself costs.

    async def commands(url: str) -> int:
        redis = Redis(url, timeout_s=PATIENCE_S)
        found = await redis.guarded(lambda client: client.info("stats"))
        await redis.close()
        assert isinstance(found, dict)
        return int(found["total_commands_processed"])

    over_http(redis_url, scenario, Threats())


def test_without_redis_the_ledger_is_skipped_even_where_limits_fail_closed() -> None:
    async def run() -> None:
        config = msgspec.structs.replace(CONFIG, threats=STRICT, limits=Limits(when_redis_fails="closed"))
        async with edge_gateway.gateway(guarded, config=config) as it:
            assert await statuses(it, 20, ATTACK) == [400] * 20
            assert it.ledger.known
            assert await statuses(it, 5) == [200] * 5
            await it.ledger.refresh()

    asyncio.run(run())


def test_the_laws_constants_are_the_scripts_arguments() -> None:
    assert not re.search(r"0\.05|\b600\b", script()), "what the ledger knows of its settings comes with the call"
    assert KEY != OTHER
    assert threats.KINDS == ("key", "principal", "user", "address")
