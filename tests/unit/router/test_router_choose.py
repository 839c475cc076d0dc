"""The laws of the strategies."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.envelope import Attempt
from llmproxy.router.choose import STRATEGIES

CANDIDATES = st.integers(1, 8).map(
    lambda count: [Attempt(endpoint=f"e{number}", provider="openai", model="m") for number in range(count)]
)


@given(CANDIDATES, st.integers(0, 1 << 30), st.integers(1, 20))
def test_round_robin_is_fair(candidates: list[Attempt], start: int, rounds: int) -> None:
    firsts = Counter(
        STRATEGIES["round_robin"](candidates, turn)[0].endpoint
        for turn in range(start, start + rounds * len(candidates))
    )
    assert set(firsts.values()) == {rounds}


@given(CANDIDATES, st.integers(0, 1 << 30))
def test_every_strategy_tries_each_candidate_once(candidates: list[Attempt], turn: int) -> None:
    for choose in STRATEGIES.values():
        assert sorted(one.endpoint for one in choose(candidates, turn)) == sorted(one.endpoint for one in candidates)


@given(CANDIDATES, st.integers(0, 1 << 30))
def test_failover_keeps_the_configured_order(candidates: list[Attempt], turn: int) -> None:
    assert STRATEGIES["failover"](candidates, turn) == candidates


def test_nothing_to_choose_from_is_nothing() -> None:
    assert [choose([], 3) for choose in STRATEGIES.values()] == [[], []]
