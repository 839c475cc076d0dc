"""Places taken beforehand, and how long requests wait for each other: who gets what, and who never."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE_S

from llmproxy.common.config import Limit
from llmproxy.edge import ahead, pace
from llmproxy.edge.ahead import Ahead
from llmproxy.edge.limits import Limiter
from llmproxy.edge.pace import Pace
from llmproxy.edge.quotas import Dimension, Suspects

WANTED = [Dimension("key", "k", Limit(requests_per_minute=600_000, burst=100_000, concurrency=100_000))]


class Redis:
    """The script's answers where there is room for everybody. Counts what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[list[str | int | float]] = []
        self.taken: set[str] = set()

    async def __call__(self, keys: Sequence[str], arguments: Sequence[str | int | float]) -> list[int]:
        self.calls.append(list(arguments))
        reply: list[int] = []
        at = 0
        while at < len(arguments):
            if arguments[at] == "A":
                n, m, k = (int(number) for number in arguments[at + 2 : at + 5])
                at += 5 + 3 * n
                self.taken.update(str(lease) for lease in arguments[at : at + m + k])
                at += m + k
                reply += [1, 1, 1, 0, 1_000, 500_000, 0] * m + ([k, 1, 1_000, 500_000] if k else [])
            elif arguments[at] == "U":
                n, k = (int(number) for number in arguments[at + 1 : at + 3])
                at += 3 + 3 * n
                self.taken.difference_update(str(lease) for lease in arguments[at : at + k])
                at += k
            elif arguments[at] == "R":
                m = int(arguments[at + 2])
                self.taken.difference_update(str(lease) for lease in arguments[at + 3 : at + 3 + m])
                at += 3 + m
            else:
                assert arguments[at] == "S"
                at += 11
        await asyncio.sleep(0)
        return reply


async def busy(limiter: Limiter, rounds: int, suspects: Suspects | None = None) -> None:
    """Twenty requests at a time, as one application sends them that does nothing else."""
    for turn in range(rounds):
        leases = [f"{turn}.{number}" for number in range(20)]
        quotas = await asyncio.gather(*(limiter.acquire(lease, WANTED, "local", suspects) for lease in leases))
        assert all(quota.allowed for quota in quotas)
        for lease in leases:
            limiter.release(lease)


def test_who_asks_often_is_not_asked_about_for_each_request_and_everything_is_given_back() -> None:
    async def run() -> None:
        redis = Redis()
        limiter = Limiter(redis, monotonic=asyncio.get_running_loop().time)
        await busy(limiter, 60)
        asking = sum(1 for arguments in redis.calls if "A" in arguments)
        assert asking < 60, "less often than groups came"
        await limiter.close()
        assert (redis.taken, limiter.held) == (set(), 0)

    asyncio.run(run())


def test_places_that_nobody_comes_for_are_given_back_after_a_moment() -> None:
    async def run() -> None:
        redis = Redis()
        limiter = Limiter(redis, monotonic=asyncio.get_running_loop().time)
        async with asyncio.timeout(PATIENCE_S):
            while not any("U" in arguments for arguments in redis.calls):
                await busy(limiter, 5)
                while redis.taken:
                    await asyncio.sleep(0.01)
        await limiter.close()

    asyncio.run(run())


def test_who_is_known_to_the_threat_ledger_is_asked_about_each_time() -> None:
    async def run() -> None:
        redis = Redis()
        limiter = Limiter(redis, monotonic=asyncio.get_running_loop().time)
        await busy(limiter, 5)
        before = len(redis.calls)
        await busy(limiter, 10, Suspects(("standing",), (1.0,) * 9))
        assert sum(arguments.count("S") for arguments in redis.calls[before:]) == 200
        await limiter.close()

    asyncio.run(run())


def often(per_s: float, until: float = 100.0) -> Ahead:
    """A caller who has been asking so often, for a second."""
    one = Ahead(WANTED)
    for number in range(round(per_s)):
        if one.wish(1, until - 1 + number / per_s, 1_024):
            one.unanswered()
    return one


def test_a_caller_wishes_for_what_he_sends_in_a_moment_and_no_more_than_there_may_be() -> None:
    assert Ahead(WANTED).wish(1, 100.0, 1_024) == 0, "the first request of all"
    assert often(50).wish(1, 100.0, 1_024) == 0, "five in a tenth of a second"
    assert often(200).wish(1, 100.0, 1_024) in range(18, 23)
    assert often(200).wish(1, 100.0, 5) == 5
    assert often(20_000).wish(200, 100.01, 1_024) == ahead.PLACES_MAX
    assert often(200).wish(1, 103.0, 1_024) == 0, "after a pause"


def test_places_are_used_up_one_by_one_and_counted_as_left() -> None:
    one = often(200)
    wish = one.wish(1, 100.0, 1_024)
    assert one.wish(1, 100.0, 1_024) == 0, "while it is asked"
    assert one.answered([f"p{number}" for number in range(wish)], [wish, 1, 500, 700_000], 100.01)
    for left in reversed(range(wish)):
        lease, quota = one.take(100.02) or ("", None)
        assert quota is not None
        assert (lease, quota.allowed, quota.remaining) == (f"p{left}", True, 500 + left)
    assert one.take(100.02) is None
    assert one.wish(1, 100.1, 1_024) in range(18, 23), "what was served from places counts as well"


def test_where_nothing_was_granted_everybody_asks() -> None:
    one = often(200)
    wish = one.wish(1, 100.0, 1_024)
    assert not one.answered([f"p{number}" for number in range(wish)], [0, 0, 0, 0], 100.02)
    assert one.take(100.02) is None


@given(st.integers(1, 5_000))
def test_requests_wait_for_each_other_only_while_many_come_and_never_long(per_s: int) -> None:
    measured = Pace()
    now = 0.0
    for _ in range(2_000):
        now += max(1 / per_s, 0.0005)
        measured.came(max(1, round(per_s * 0.0005)), now)
    together = per_s * pace.WAIT_MAX_S
    if together < pace.WORTH * 0.9:
        assert measured.wait_s == 0
    if together > pace.WORTH * 1.6:
        assert 0 < measured.wait_s <= pace.WAIT_MAX_S
        assert measured.wait_s * per_s < 2 * pace.TOGETHER


def test_who_comes_after_a_pause_does_not_wait() -> None:
    measured = Pace()
    for turn in range(200):
        measured.came(10, turn * 0.005)
    assert measured.wait_s > 0
    measured.came(1, 200 * 0.005 + 1.0)
    assert measured.wait_s == 0
