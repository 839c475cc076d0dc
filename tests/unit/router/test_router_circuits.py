"""The circuit as a state machine over outcomes and times."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.config import Breaker
from llmproxy.common.outcomes import Outcome
from llmproxy.router.circuits import (
    CIRCUITS_MAX,
    COOLING_MS_MAX,
    UNASKED_MS,
    Change,
    Circuits,
    Closed,
    Opened,
    Released,
    Reopened,
    Shared,
    whole,
)

UP = ("up", "m")
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
    assert not made.callable("up", "m")
    return made


def test_it_opens_after_failures_in_a_row() -> None:
    made = circuits("provider_error", "provider_timeout")
    assert made.callable("up", "m")
    assert made.record(outcome("provider_overloaded"), 3) == [Opened(UP, 0)]
    assert not made.callable("up", "m")


def test_a_success_in_between_starts_the_count_anew() -> None:
    assert circuits("provider_error", "provider_error", "", "provider_error", "provider_error").callable("up", "m")


def test_failures_further_apart_than_the_window_do_not_add_up() -> None:
    made = Circuits(SETTINGS)
    for at in (0, 600, 1_200, 1_800):
        assert made.record(outcome(), at) == []
    assert made.record(outcome(), 1_801) == [Opened(UP, 0)]


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
    assert circuits(*[code] * 20).callable("up", "m")


def test_a_model_that_fails_closes_itself_and_no_other() -> None:
    made = opened()
    assert not made.callable("up", "m")
    assert made.callable("up", "other")
    assert made.callable("elsewhere", "m")
    assert made.record(outcome("", model="other"), 5) == []
    assert not made.callable("up", "m"), "another model's success says nothing about this one"


def unreachable() -> Circuits:
    """Three models of an endpoint to which there was no connection, once each."""
    made = Circuits(SETTINGS)
    found: list[Change] = []
    for at, model in enumerate(("m", "other", "third")):
        found += made.record(outcome("provider_unreachable", model=model), at)
    assert found == [Opened(whole("up"), 0)]
    return made


def test_an_endpoint_that_cannot_be_reached_cannot_for_any_model() -> None:
    made = unreachable()
    assert not made.callable("up", "m")
    assert not made.callable("up", "never asked")
    assert made.callable("elsewhere", "m")


def test_failures_of_models_do_not_add_up_to_the_endpoints() -> None:
    made = Circuits(SETTINGS)
    for at in range(90):
        made.record(outcome("provider_overloaded", model=f"m{at}"), at)
    assert made.open == {}


def test_any_models_success_starts_the_endpoints_count_anew() -> None:
    made = circuits("provider_unreachable", "provider_unreachable")
    made.record(outcome("", model="other"), 2)
    assert made.record(outcome("provider_unreachable"), 3) == []
    assert made.callable("up", "m")


def test_a_half_open_endpoint_is_probed_by_a_request_for_any_model() -> None:
    made = unreachable()
    assert not made.probeable("up", "any", 501)
    assert made.probeable("up", "any", 502)
    assert made.wait_ms("up", "any", 102) == 400
    assert made.record(outcome("", model="any", probe=True), 600) == [Closed(whole("up"), 0)]
    assert made.callable("up", "m")


def test_a_failure_that_was_answered_shows_that_the_endpoint_can_be_reached() -> None:
    made = unreachable()
    assert made.record(outcome("provider_overloaded", probe=True), 600) == [Closed(whole("up"), 0)]
    assert made.record(outcome("provider_overloaded"), 601) == []
    assert made.record(outcome("provider_overloaded"), 602) == [Opened(UP, 0)], "and counts for the model"


@pytest.mark.parametrize("code", ["provider_unreachable", "provider_timeout"])
def test_an_endpoint_whose_probe_hears_nothing_stays_open(code: str) -> None:
    made = unreachable()
    assert made.record(outcome(code, probe=True, id="p"), 600) == [Reopened(whole("up"), "p")]
    assert not made.probeable("up", "m", 1_099)


def both() -> Circuits:
    made = opened()
    for at in range(3):
        made.record(outcome("provider_unreachable", model="other"), at)
    assert made.between("up", "m") == [whole("up"), UP]
    return made


def test_a_model_behind_two_open_circuits_waits_for_both() -> None:
    made = both()
    made.leased(UP, 600)
    assert not made.probeable("up", "m", 700)
    assert made.probeable("up", "other", 700)
    assert made.wait_ms("up", "m", 700) == 1_000


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("", [Closed(whole("up"), 0), Closed(UP, 0)]),
        ("provider_rejected", [Closed(whole("up"), 0), Closed(UP, 0)]),
        ("provider_overloaded", [Closed(whole("up"), 0), Reopened(UP, "p")]),
        ("provider_timeout", [Reopened(whole("up"), "p"), Reopened(UP, "p")]),
        ("provider_unreachable", [Reopened(whole("up"), "p"), Released(UP, "p")]),
        ("client_closed_request", [Released(whole("up"), "p"), Released(UP, "p")]),
    ],
)
def test_a_probe_speaks_for_every_circuit_that_it_was_let_through(code: str, changes: list[Change]) -> None:
    made = both()
    counts = code != "client_closed_request"
    assert made.record(outcome(code, probe=True, id="p", counts=counts), 600) == changes


def test_a_models_probe_that_finds_no_connection_counts_for_the_endpoint() -> None:
    made = opened()
    for at in (600, 601):
        assert made.record(outcome("provider_unreachable", probe=True, id="p"), at) == [Released(UP, "p")]
    found = made.record(outcome("provider_unreachable", probe=True, id="p"), 602)
    assert found == [Released(UP, "p"), Opened(whole("up"), 0)]


def test_there_are_only_so_many_circuits_of_models() -> None:
    made = Circuits(Breaker(failures=1))
    for number in range(CIRCUITS_MAX + 50):
        made.record(outcome(model=f"m{number}"), number)
    assert len(made.open) == CIRCUITS_MAX
    assert made.record(outcome("provider_unreachable"), 9_999) == [Opened(whole("up"), 0)], "endpoints have theirs"


def test_there_are_only_so_many_models_whose_failures_and_limits_are_remembered() -> None:
    made = Circuits(SETTINGS)
    for number in range(CIRCUITS_MAX + 50):
        made.record(outcome(model=f"m{number}"), 0)
        made.record(outcome("provider_rate_limited", model=f"m{number}"), 0)
    assert len(made._failures) == len(made.cooling) == CIRCUITS_MAX


def test_a_model_that_nobody_names_or_asks_for_is_forgotten() -> None:
    made = opened()
    made.keep(["up"], [], UNASKED_MS)
    assert not made.callable("up", "m")
    made.keep(["up"], [UP], 2 * UNASKED_MS)
    assert not made.callable("up", "m"), "the configuration names it"
    made.keep(["up"], [], 2 * UNASKED_MS)
    assert made.callable("up", "m")


def test_an_outcome_that_does_not_count_does_not_count() -> None:
    made = Circuits(SETTINGS)
    for at in range(20):
        made.record(outcome(counts=False), at)
    assert made.callable("up", "m")


def test_an_open_circuit_may_be_probed_only_after_its_time() -> None:
    made = opened()
    assert not made.probeable("up", "m", 501)
    assert made.wait_ms("up", "m", 102) == 400
    assert made.probeable("up", "m", 502)


def test_looking_never_uses_up_the_probe() -> None:
    made = opened()
    assert all(made.probeable("up", "m", 600) for _ in range(100))


def test_a_leased_probe_frees_itself_when_its_worker_died() -> None:
    made = opened()
    made.leased(UP, 600)
    assert not made.probeable("up", "m", 2_599)
    assert made.probeable("up", "m", 2_600)


@pytest.mark.parametrize("code", ["", "provider_rejected", "provider_rate_limited"])
def test_a_probe_that_was_answered_closes_it(code: str) -> None:
    made = opened()
    assert made.record(outcome(code, probe=True), 600) == [Closed(UP, 0)]
    assert made.callable("up", "m")


def test_a_probe_that_failed_opens_it_again_for_the_whole_time() -> None:
    made = opened()
    made.leased(UP, 600)
    assert made.record(outcome(probe=True, id="p"), 700) == [Reopened(UP, "p")]
    assert not made.probeable("up", "m", 1_199)
    assert made.probeable("up", "m", 1_200)


def test_a_probe_that_was_cancelled_gives_its_lease_back() -> None:
    made = opened()
    made.leased(UP, 600)
    cancelled = outcome("client_closed_request", probe=True, counts=False, id="p")
    assert made.record(cancelled, 700) == [Released(UP, "p")]
    assert made.probeable("up", "m", 700)


def test_late_answers_to_old_calls_do_not_close_it() -> None:
    made = opened()
    assert made.record(outcome(""), 600) == []
    assert not made.callable("up", "m")


def test_what_redis_says_wins_over_a_shared_view() -> None:
    made = opened()
    made.adopt(Shared(UP, 0, True, 200, 0), 100)
    assert made.wait_ms("up", "m", 100) == 201  # One more, for the fractions that both clocks drop.
    made.adopt(Shared(UP, 1, False, 0, 0), 150)
    assert made.callable("up", "m")
    assert made.generation(UP) == 1


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
    made.adopt(Shared(UP, 0, True, 0, lease_ms), (ours_us + late_us) // 1_000)
    moments = range(late_us, (lease_ms + 10) * 1_000, 100)
    asked = [moment for moment in moments if made.probeable("up", "m", (ours_us + moment) // 1_000)]
    assert asked, "the lease ends for us, too"
    assert (redis_us + asked[0]) // 1_000 >= until_ms


def test_an_opening_that_redis_has_not_heard_of_stays() -> None:
    made = opened()
    made.adopt(Shared(UP, 0, False, 0, 0), 100)
    assert not made.callable("up", "m")
    assert made.unshared() == [Opened(UP, 0)]


def test_an_opening_about_an_earlier_time_is_given_up() -> None:
    made = opened()
    made.adopt(Shared(UP, 4, False, 0, 0), 100)
    assert made.callable("up", "m")
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
    made.keep([], [], 10_000)
    assert made.callable("up", "m")
    assert made.cooling == {}
