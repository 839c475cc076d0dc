"""The laws of the threat ledger: how scores are forgotten, what a request weighs, and what follows from a standing."""

from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common import config, config_file
from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.threats import NOBODY, Standing, Threats, after, decayed, ends_in_s, parse, step, weight

SETTINGS = Threats(mode="lock", throttle=10.0, lock=40.0)
AMOUNTS, SECONDS = st.floats(0, 1e6), st.floats(0, 1e5)
HIGH = Explanation(guard="injection", kind="injection", action="block")


def weighed(*findings: Explanation, settings: Threats = SETTINGS) -> float:
    return weight(Explained(findings), settings)


@given(AMOUNTS, SECONDS, SECONDS)
def test_what_is_older_counts_less_and_never_nothing_at_once(amount: float, one: float, other: float) -> None:
    early, late = sorted((one, other))
    assert 0 <= decayed(amount, late, 600) <= decayed(amount, early, 600) <= amount


@given(AMOUNTS, SECONDS, SECONDS)
def test_forgetting_in_two_steps_is_forgetting_in_one(amount: float, one: float, other: float) -> None:
    assert decayed(decayed(amount, one, 600), other, 600) == pytest.approx(decayed(amount, one + other, 600), abs=1e-9)


@given(AMOUNTS, AMOUNTS, SECONDS)
def test_two_scores_together_are_forgotten_as_each_by_itself(one: float, other: float, elapsed: float) -> None:
    apart = decayed(one, elapsed, 600) + decayed(other, elapsed, 600)
    assert decayed(one + other, elapsed, 600) == pytest.approx(apart, rel=1e-9, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 3_000)), min_size=1, max_size=4))
def test_the_order_in_which_edges_report_does_not_matter(reports: list[tuple[float, float]]) -> None:
    """Each report is decayed from when it is said; a sum has no order."""
    totals = {
        round(sum(decayed(amount, 3_000 - at, 600) for amount, at in order), 9) for order in permutations(reports)
    }
    assert max(totals) - min(totals) < 1e-6


def test_half_is_gone_after_the_half_life() -> None:
    assert decayed(8, 600, 600) == 4
    assert decayed(8, 1_800, 600) == 1
    assert decayed(8, -5, 600) == 8  # A clock that went back makes nobody worse.


def test_many_bad_requests_and_a_share_of_all_that_no_honest_caller_has_make_somebody_stand_out() -> None:
    assert step(NOBODY, SETTINGS) == ""
    assert step(Standing(score=9.9, requests=9.9), SETTINGS) == ""
    assert step(Standing(score=10, requests=10), SETTINGS) == "throttled"
    assert step(Standing(score=10, requests=41), SETTINGS) == ""
    assert step(Standing(score=10_000, requests=41_000), SETTINGS) == ""


def test_a_lock_ends_by_itself_when_the_score_has_come_down_to_where_slowing_begins() -> None:
    locked = Standing(score=40, requests=40, locked=True)
    assert step(locked, SETTINGS) == "locked"
    assert ends_in_s(locked, SETTINGS) == 1_200
    assert step(after(locked, 1_199, SETTINGS), SETTINGS) == "locked"
    assert step(after(locked, 1_201, SETTINGS), SETTINGS) == ""
    throttling = msgspec.structs.replace(SETTINGS, mode="throttle")
    assert step(locked, throttling) == "throttled"


def test_a_request_weighs_as_its_gravest_finding_and_never_more_than_one() -> None:
    flagged = Explanation(guard="injection", kind="injection", action="flag")
    assert weighed(flagged) == 0.1
    assert weighed(flagged, flagged, HIGH, HIGH) == 1.0
    assert weighed(Explanation(guard="injection", kind="injection.trajectory", action="alert")) == 0.5


def test_what_may_not_be_the_callers_own_words_weighs_less() -> None:
    assert weighed(msgspec.structs.replace(HIGH, role="tool")) == 0.5
    assert weighed(Explanation(guard="firewall", kind="firewall.override", action="block")) == 0.5


def test_personal_data_answers_and_what_is_only_tried_weigh_nothing() -> None:
    assert weight(None, SETTINGS) == 0
    assert weighed(Explanation(guard="pii", kind="email", action="block")) == 0
    assert weighed(Explanation(guard="secrets", kind="secret.aws", action="mask")) == 0
    assert weighed(msgspec.structs.replace(HIGH, side="answer")) == 0
    assert weighed(Explanation(guard="injection", kind="injection.shadow", action="flag")) == 0
    assert weighed(Explanation(guard="rule", kind="injections", action="block")) == 0
    secrets = msgspec.structs.replace(SETTINGS, kinds=("secret",))
    assert weighed(Explanation(guard="secrets", kind="secret.aws", action="block"), settings=secrets) == 1


def test_a_standing_is_read_as_it_is_at_that_moment() -> None:
    assert parse(b"8.000000000 16.000000000 1000000 1 0", 601_000_000, SETTINGS) == Standing(
        score=4, requests=8, locked=False
    )
    assert parse(b"40.000000000 40.000000000 1000000 1 0", 601_000_000, SETTINGS).locked


def test_a_lock_below_the_throttle_is_refused_by_name() -> None:
    with pytest.raises(config.ConfigError, match=r"threats\.lock: must be above threats\.throttle, which is 100"):
        config_file.parse("threats: {lock: 50}", {})
    assert config_file.parse("threats: {mode: lock, throttle: 20, lock: 50}", {}).threats.lock == 50
