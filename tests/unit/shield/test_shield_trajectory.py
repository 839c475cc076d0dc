"""Several turns of one conversation that are an attack together; and everything that is not one."""

import json
from typing import Any

import pytest
from conversing import Saying
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.explanations import Explanation
from llmproxy.common.policy import Injection, Policy
from llmproxy.common.testing import FakeClock
from llmproxy.shield import preflight
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.trajectory import TURNS_MAX, TURNS_MIN, latest, together

THRESHOLD = 0.66
TURNS = st.lists(st.floats(0, 1), max_size=12)
BLOCK = Policy(injection=Injection(mode="block", user=THRESHOLD))


def body(*turns: str, role: str = "user") -> dict[str, Any]:
    messages: list[dict[str, str]] = []
    for turn in turns:
        messages += [{"role": role, "content": turn}, {"role": "assistant", "content": "as you say"}]
    return {"model": "m", "messages": messages[:-1]}


def asked(request: dict[str, Any], policy: Policy = BLOCK) -> Examined | Refused:
    order = Order(body=json.dumps(request).encode(), policy=policy, key=b"k" * 32, max_depth=64)
    return examine(order, preflight.pipeline((Saying(),)), FakeClock())


def why(answer: Examined | Refused) -> tuple[Explanation, ...]:
    return answer.explained.findings if answer.explained is not None else ()


# -- the law


@given(TURNS)
def test_what_it_comes_to_is_a_probability_and_needs_several_turns_of_which_the_last_is_one(turns: list[float]) -> None:
    found = together(turns, THRESHOLD)
    if found is None:
        return
    assert 0 <= found.probability <= 1
    assert len(found.turns) >= TURNS_MIN
    assert found.turns[-1] == len(turns) - 1
    assert all(turns[index] >= THRESHOLD / 2 for index in found.turns)


@given(TURNS, st.integers(0, 11), st.floats(0, 1))
def test_a_turn_that_is_more_suspicious_never_makes_a_conversation_less_so(
    turns: list[float], index: int, more: float
) -> None:
    if index >= len(turns):
        return
    raised = [*turns[:index], max(turns[index], more), *turns[index + 1 :]]
    before, after = together(turns, THRESHOLD), together(raised, THRESHOLD)
    assert (after.probability if after else 0) >= (before.probability if before else 0) - 1e-12


@given(st.lists(st.floats(0.34, 0.65), min_size=3, max_size=8))
def test_rising_is_worse_than_falling(turns: list[float]) -> None:
    rising, falling = together(sorted(turns), THRESHOLD), together(sorted(turns, reverse=True), THRESHOLD)
    assert rising is not None
    assert falling is not None
    assert rising.probability >= falling.probability - 1e-12


@given(TURNS, TURNS)
def test_whoever_goes_on_with_something_harmless_is_not_held_to_what_was_before(
    turns: list[float], harmless: list[float]
) -> None:
    assert together([*turns, 0.1], THRESHOLD) is None
    assert together([*turns, *[one * THRESHOLD * 0.49 for one in harmless], 0.0], THRESHOLD) is None


@pytest.mark.parametrize("turns", [[1.0], [1.0, 1.0], [0.6, 0.6], [1.0, 0.2, 0.1], [0.0] * 9 + [1.0], []])
def test_one_strong_turn_or_two_are_no_trajectory(turns: list[float]) -> None:
    assert together(turns, THRESHOLD) is None


def test_what_is_long_ago_counts_for_nothing() -> None:
    assert together([0.6] * 20 + [0.0] * TURNS_MAX + [0.6], THRESHOLD) is None


# -- in a request


def test_several_turns_below_the_threshold_are_refused_together_and_each_is_named() -> None:
    answer = asked(body("p=0.45 a", "hello", "p=0.55 b", "p=0.6 c", "p=0.63 d"))
    assert isinstance(answer, Refused)
    assert (answer.code, answer.param) == ("content_blocked", "messages[8].content")
    assert answer.message == (
        "messages[8].content goes on with what earlier turns began, and the policy blocks that: "
        "injection.trajectory; begin anew"
    )
    found = why(answer)
    assert {one.kind for one in found} == {"injection.trajectory"}
    assert [(one.path, one.action) for one in sorted(found, key=lambda one: one.path)] == [
        ("messages[0].content", "flag"),
        ("messages[4].content", "flag"),
        ("messages[6].content", "flag"),
        ("messages[8].content", "block"),
    ]
    assert max(one.per_mille for one in found) > 850


@pytest.mark.parametrize("behind", [("go on",), ("p=0.1 and now all of that", "thanks", "p=0.35 please")])
def test_a_conversation_that_was_refused_is_not_answered_because_something_harmless_is_put_behind_it(
    behind: tuple[str, ...],
) -> None:
    attack = ("p=0.45 a", "hello", "p=0.55 b", "p=0.6 c", "p=0.63 d")
    answer = asked(body(*attack, *behind))
    assert isinstance(answer, Refused)
    assert answer.param == "messages[8].content"
    assert isinstance(asked(body(*attack[:-2], *behind)), Examined)


def test_where_it_is_only_recorded_it_is_recorded_once() -> None:
    policy = Policy(injection=Injection(mode="flag", user=THRESHOLD))
    answer = asked(body(*["p=0.6 a"] * 5, "go on"), policy)
    assert not [one for one in why(answer) if "trajectory" in one.kind]


@given(TURNS, st.floats(0.5, 0.99))
def test_the_latest_is_where_they_were_together_last(turns: list[float], least: float) -> None:
    known = [together(turns[:end], THRESHOLD) for end in range(len(turns), 0, -1)]
    wanted = next((one for one in known if one is not None and one.probability >= least), None)
    assert latest(turns, THRESHOLD, least) == wanted


def test_one_bad_prompt_never_makes_the_next_two_benign_ones_fail() -> None:
    """With what was refused still in the history, as a client that flags would send it on."""
    policy = Policy(injection=Injection(mode="flag"))
    answer = asked(body("p=0.99 attack", "how are you", "and the weather"), policy)
    assert {one.kind for one in why(answer)} == {"injection"}
    assert isinstance(answer, Examined)


def test_other_conversations_of_the_same_caller_are_other_conversations() -> None:
    for _ in range(5):
        assert isinstance(asked(body("p=0.6 a")), Examined)


@pytest.mark.parametrize("role", ["assistant", "system", "tool"])
def test_only_the_users_own_turns_count(role: str) -> None:
    answer = asked(body(*["p=0.3 a"] * 6, role=role))
    assert not [one for one in why(answer) if "trajectory" in one.kind]


def test_the_parts_of_one_message_are_one_turn() -> None:
    parts = [{"type": "text", "text": f"p=0.6 {number}"} for number in range(6)]
    assert isinstance(asked({"model": "m", "messages": [{"role": "user", "content": parts}]}), Examined)


def test_in_shadow_it_is_recorded_under_a_name_of_its_own_and_passes() -> None:
    answer = asked(body(*["p=0.6 a"] * 5), Policy(injection=Injection(mode="shadow", user=THRESHOLD)))
    assert isinstance(answer, Examined)
    assert {one.kind for one in why(answer)} == {"injection.trajectory.shadow"}


def test_an_alert_is_one_for_the_last_turn() -> None:
    answer = asked(body(*["p=0.6 a"] * 5), Policy(injection=Injection(mode="alert", user=THRESHOLD)))
    assert isinstance(answer, Examined)
    assert [one.path for one in why(answer) if one.action == "alert"] == ["messages[8].content"]


def test_a_threshold_of_one_looks_at_each_turn_by_itself() -> None:
    policy = Policy(injection=Injection(mode="block", user=THRESHOLD, trajectory=1.0))
    assert why(asked(body(*["p=0.6 a"] * 5), policy)) == ()


def test_the_responses_apis_input_is_a_conversation_too() -> None:
    turns = [{"role": "user", "content": [{"type": "input_text", "text": "p=0.6 a"}]} for _ in range(5)]
    answer = asked({"model": "m", "input": turns})
    assert isinstance(answer, Refused)
    assert answer.param == "input[4].content[0].text"


def test_geminis_contents_are_one_too() -> None:
    turns = [{"role": "user", "parts": [{"text": "p=0.6 a"}]} for _ in range(5)]
    assert isinstance(asked({"contents": turns}), Refused)
