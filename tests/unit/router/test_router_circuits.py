"""The circuit as a state machine over outcomes and times."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.config import Breaker
from llmproxy.common.outcomes import Outcome
from llmproxy.router.circuits import COOLING_MS_MAX, Circuits, Closed, Opened, Released, Reopened, Shared

SETTINGS = Breaker(failures=3, window_ms=1_000, open_ms=500, probe_lease_ms=2_000)


def outcome(code: str = "provider_error", **fields: Any) -> Outcome:
    defaults = {"id": "r", "endpoint": "up", "provider": "openai", "model": "m", "ok": not code, "code": code}
    return Outcome(**{**defaults, **fields})


def circuits(*codes: str) -> Circuits:
    made = Circuits(SETTINGS)
    for at, code in enumerate(codes):
        made.record(outcome(code), at)
    return made


def opened() -> Circuits:
    made = circuits(*["provider_error"] * 3)
    assert not made.callable("up")
    return made


def test_it_opens_after_failures_in_a_row() -> None:
    made = circuits("provider_error", "provider_timeout")
    assert made.callable("up")
    assert made.record(outcome("provider_unreachable"), 3) == Opened("up", 0)
    assert not made.callable("up")


def test_a_success_in_between_starts_the_count_anew() -> None:
    assert circuits("provider_error", "provider_error", "", "provider_error", "provider_error").callable("up")


def test_failures_further_apart_than_the_window_do_not_add_up() -> None:
    made = Circuits(SETTINGS)
    for at in (0, 600, 1_200, 1_800):
        assert made.record(outcome(), at) is None
    assert made.record(outcome(), 1_801) == Opened("up", 0)


@pytest.mark.parametrize(
    "code",
    [
        "provider_rejected",
        "context_length_exceeded",
        "provider_rate_limited",
        "client_closed_request",
        "deadline_exceeded",
    ],
)
def test_what_is_not_the_endpoints_failure_does_not_count(code: str) -> None:
    assert circuits(*[code] * 20).callable("up")


def test_an_outcome_that_does_not_count_does_not_count() -> None:
    made = Circuits(SETTINGS)
    for at in range(20):
        made.record(outcome(counts=False), at)
    assert made.callable("up")


def test_an_open_circuit_may_be_probed_only_after_its_time() -> None:
    made = opened()
    assert not made.probeable("up", 501)
    assert made.wait_ms("up", 102) == 400
    assert made.probeable("up", 502)


def test_looking_never_uses_up_the_probe() -> None:
    made = opened()
    assert all(made.probeable("up", 600) for _ in range(100))


def test_a_leased_probe_frees_itself_when_its_worker_died() -> None:
    made = opened()
    made.leased("up", 600)
    assert not made.probeable("up", 2_599)
    assert made.probeable("up", 2_600)


@pytest.mark.parametrize("code", ["", "provider_rejected", "provider_rate_limited"])
def test_a_probe_that_was_answered_closes_it(code: str) -> None:
    made = opened()
    assert made.record(outcome(code, probe=True), 600) == Closed("up", 0)
    assert made.callable("up")


def test_a_probe_that_failed_opens_it_again_for_the_whole_time() -> None:
    made = opened()
    made.leased("up", 600)
    assert made.record(outcome(probe=True, id="p"), 700) == Reopened("up", "p")
    assert not made.probeable("up", 1_199)
    assert made.probeable("up", 1_200)


def test_a_probe_that_was_cancelled_gives_its_lease_back() -> None:
    made = opened()
    made.leased("up", 600)
    cancelled = outcome("client_closed_request", probe=True, counts=False, id="p")
    assert made.record(cancelled, 700) == Released("up", "p")
    assert made.probeable("up", 700)


def test_late_answers_to_old_calls_do_not_close_it() -> None:
    made = opened()
    assert made.record(outcome(""), 600) is None
    assert not made.callable("up")


def test_what_redis_says_wins_over_a_shared_view() -> None:
    made = opened()
    made.adopt(Shared("up", 0, True, 200, 0), 100)
    assert made.wait_ms("up", 100) == 201  # One more, for the fractions that both clocks drop.
    made.adopt(Shared("up", 1, False, 0, 0), 150)
    assert made.callable("up")
    assert made.generation("up") == 1


@given(
    redis_us=st.integers(10_000_000, 10_005_000),
    ours_us=st.integers(0, 5_000),
    lease_ms=st.integers(1, 50),
    late_us=st.integers(0, 3_000),
)
def test_a_router_asks_for_a_lease_only_when_redis_agrees_that_it_is_free(
    redis_us: int, ours_us: int, lease_ms: int, late_us: int
) -> None:
    """Two clocks that run alike and are read in whole milliseconds, as breaker.lua and the loop's clock are."""
    until_ms = redis_us // 1_000 + lease_ms
    made = opened()
    made.adopt(Shared("up", 0, True, 0, lease_ms), (ours_us + late_us) // 1_000)
    moments = range(late_us, (lease_ms + 10) * 1_000, 100)
    asked = [moment for moment in moments if made.probeable("up", (ours_us + moment) // 1_000)]
    assert asked, "the lease ends for us, too"
    assert (redis_us + asked[0]) // 1_000 >= until_ms


def test_an_opening_that_redis_has_not_heard_of_stays() -> None:
    made = opened()
    made.adopt(Shared("up", 0, False, 0, 0), 100)
    assert not made.callable("up")
    assert made.unshared() == [Opened("up", 0)]


def test_an_opening_about_an_earlier_time_is_given_up() -> None:
    made = opened()
    made.adopt(Shared("up", 4, False, 0, 0), 100)
    assert made.callable("up")
    assert made.unshared() == []


def test_a_rate_limit_cools_one_model_of_the_endpoint_for_a_bounded_time() -> None:
    made = Circuits(SETTINGS)
    made.record(outcome("provider_rate_limited", retry_after_ms=5_000), 0)
    assert made.is_cooling("up", "m", 4_999)
    assert not made.is_cooling("up", "m", 5_000)
    assert not made.is_cooling("up", "other", 1)
    made.record(outcome("provider_rate_limited", retry_after_ms=10**9), 0)
    assert not made.is_cooling("up", "m", COOLING_MS_MAX)


def test_what_is_no_longer_configured_is_forgotten() -> None:
    made = opened()
    made.record(outcome("provider_rate_limited"), 0)
    made.keep([], 10_000)
    assert made.callable("up")
    assert made.cooling == {}
