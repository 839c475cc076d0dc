"""What an explanation holds: at most so much, the most severe first, and nothing where nothing was found."""

from typing import get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.actions import Action
from llmproxy.common.explanations import (
    EXPLANATIONS_MAX,
    NAME_CHARS_MAX,
    PATH_CHARS_MAX,
    SEVERITY,
    VIA_MAX,
    Explained,
    Explanation,
    explained,
    joined,
    per_mille,
)

ACTIONS = st.sampled_from(SEVERITY)
EXPLANATIONS = st.builds(
    Explanation,
    guard=st.text(max_size=80),
    kind=st.text(max_size=80),
    action=ACTIONS,
    path=st.text(max_size=200),
    start=st.integers(0, 99),
    end=st.integers(0, 99),
    via=st.lists(st.text(max_size=80), max_size=12).map(tuple),
    per_mille=st.integers(0, 1000),
)


def test_nothing_found_is_nothing_recorded() -> None:
    assert explained([]) is None
    assert joined(None, None) is None


def test_every_action_but_to_let_pass_has_its_place_among_the_severe() -> None:
    assert set(SEVERITY) == set(get_args(Action)) - {"allow"}


@given(st.lists(EXPLANATIONS, min_size=1, max_size=60))
def test_what_is_kept_is_bounded_and_what_is_not_is_counted(found: list[Explanation]) -> None:
    why = explained(found)
    assert why is not None
    assert len(why.findings) + why.more == len(found)
    assert len(why.findings) <= EXPLANATIONS_MAX
    assert why.more == 0 or len(why.findings) == EXPLANATIONS_MAX
    for one in why.findings:
        assert len(one.path) <= PATH_CHARS_MAX
        assert len(one.via) <= VIA_MAX
        assert all(len(name) <= NAME_CHARS_MAX for name in (one.guard, one.kind, one.rule, *one.via))


@given(st.lists(EXPLANATIONS, min_size=1, max_size=60))
def test_the_most_severe_comes_first_and_one_of_each_action_stays(found: list[Explanation]) -> None:
    why = explained(found)
    assert why is not None
    ranks = [SEVERITY.index(one.action) for one in why.findings]
    assert ranks == sorted(ranks)
    assert {one.action for one in why.findings} == {one.action for one in found}


@given(st.lists(EXPLANATIONS, max_size=30), st.lists(EXPLANATIONS, max_size=30))
def test_what_two_places_found_is_counted_once_each(some: list[Explanation], others: list[Explanation]) -> None:
    why = joined(explained(some), explained(others))
    assert (0 if why is None else len(why.findings) + why.more) == len(some) + len(others)


@given(st.floats(-1, 2))
def test_a_score_is_a_whole_number_of_thousandths(score: float) -> None:
    assert 0 <= per_mille(score) <= 1000


def test_an_explanation_on_the_wire_says_only_what_is_not_usual() -> None:
    why = Explained((Explanation(guard="pii", kind="email", action="mask", path="prompt", end=9),))
    assert msgspec.json.encode(why) == (
        b'{"findings":[{"guard":"pii","kind":"email","action":"mask","path":"prompt","end":9}]}'
    )
