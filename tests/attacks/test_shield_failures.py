"""A guard that is made to fail must not become a way past it: it fails closed, every time, and keeps its mouth shut."""

import json
import logging
from collections.abc import Callable

import pytest

from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.common.testing import FakeClock
from llmproxy.shield import preflight
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.verdict import ALLOW, Verdict

CANARY = "canary-7d1f@example.com"
BODY = json.dumps({"messages": [{"role": "user", "content": f"hello {CANARY}"}]}).encode()


class Failing:
    """Raises where it is told to, quoting the text as careless code does."""

    name = "failing"

    def __init__(self, where: str) -> None:
        self.where = where

    def may_hold(self, text: str) -> bool:
        if self.where == "may_hold":
            raise ValueError(f"cannot look at {text}")
        return True

    def inspect(self, segment: Segment) -> Verdict:
        if self.where == "inspect":
            raise MemoryError(f"cannot hold {segment.text}")
        return ALLOW


class Clock:
    """Each look at it takes `step` seconds."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def ordered(policy: Policy | None = None, body: bytes = BODY) -> Order:
    return Order(body=body, policy=policy or Policy(), key=b"k" * 32, max_depth=64)


def test_a_guard_that_raises_blocks_the_request_every_time_and_is_never_skipped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ring = preflight.pipeline([*GUARDS, Failing("inspect")])
    with caplog.at_level(logging.DEBUG):
        answers = [examine(ordered(), ring, FakeClock()) for _ in range(100)]
    for answer in answers:
        assert isinstance(answer, Refused)
        assert answer.code == "guard_unavailable"
        assert CANARY not in repr(answer)
    assert CANARY not in caplog.text


def test_a_quick_look_that_raises_does_not_let_the_request_pass_unseen(caplog: pytest.LogCaptureFixture) -> None:
    ring = preflight.pipeline([Failing("may_hold"), *GUARDS])
    with caplog.at_level(logging.DEBUG):
        answer = examine(ordered(), ring, FakeClock())
    assert isinstance(answer, Examined)
    assert answer.masked is not None
    assert CANARY.encode() not in answer.masked
    assert CANARY not in caplog.text


def test_guards_that_take_longer_than_the_policy_allows_block_the_request() -> None:
    slow = examine(ordered(Policy(guard_timeout_ms=50)), preflight.pipeline(GUARDS), Clock(0.03))
    assert isinstance(slow, Refused)
    assert slow.code == "guard_unavailable"
    assert isinstance(
        examine(ordered(Policy(guard_timeout_ms=50)), preflight.pipeline(GUARDS), Clock(0.0001)), Examined
    )


def test_a_text_that_takes_longer_than_the_policy_allows_by_itself_is_too_large_and_one_that_had_to_wait_is_not() -> (
    None
):
    policy, ring = Policy(guard_timeout_ms=50), preflight.pipeline(GUARDS)
    worked = examine(ordered(policy), ring, Clock(0.03), cpu=Clock(0.06))
    assert isinstance(worked, Refused)
    assert worked.error().status == 413
    assert "guard_timeout_ms" in worked.message
    assert CANARY not in repr(worked)
    assert worked.explained is not None
    assert [(one.kind, one.action) for one in worked.explained.findings] == [("request_too_large", "block")]
    waited = examine(ordered(policy), ring, Clock(0.03), cpu=Clock(0.001))
    assert isinstance(waited, Refused)
    assert waited.error().status == 503


@pytest.mark.parametrize(
    "tree",
    [
        {"messages": ["bad", {"role": "user", "content": CANARY}]},
        {"messages": {"role": "user", "content": CANARY}},
        {"messages": [[CANARY]]},
        {"messages": CANARY},
        {"messages": [{"role": {"a": CANARY}, "content": {"b": [CANARY]}}]},
        {"messages": [{"role": ["user"], "content": CANARY}], "tools": CANARY},
        {"messages": [None, 1, True, CANARY]},
        {"messages": [{"tool_calls": {"function": {"arguments": [CANARY]}}, "arguments": {"x": CANARY}}]},
    ],
)
def test_a_body_of_the_wrong_shape_is_still_read_everywhere(tree: object) -> None:
    answer = examine(ordered(body=json.dumps(tree).encode()), preflight.pipeline(GUARDS), FakeClock())
    assert isinstance(answer, Examined)
    assert answer.masked is not None
    assert CANARY.encode() not in answer.masked


NESTED: dict[str, Callable[[int], str]] = {
    "arrays": lambda depth: "[" * depth + "]" * depth,
    "objects": lambda depth: '{"a":' * depth + "1" + "}" * depth,
    "unclosed": lambda depth: "[" * depth,
}


@pytest.mark.parametrize("shape", NESTED)
@pytest.mark.parametrize("depth", [65, 1_000, 100_000])
def test_nesting_is_refused_without_exhausting_the_stack(shape: str, depth: int) -> None:
    body = f'{{"messages":{NESTED[shape](depth)}}}'.encode()
    answer = examine(ordered(body=body), preflight.pipeline(GUARDS), FakeClock())
    assert isinstance(answer, Refused)
    assert answer.code == "too_deep"


def test_nesting_inside_tool_call_arguments_is_read_as_text_and_not_followed() -> None:
    arguments = "[" * 50_000 + f'"{CANARY}"' + "]" * 50_000
    body = json.dumps({"messages": [{"tool_calls": [{"function": {"arguments": arguments}}]}]}).encode()
    answer = examine(ordered(body=body), preflight.pipeline(GUARDS), FakeClock())
    assert isinstance(answer, Examined)
    assert answer.masked is not None
    assert CANARY.encode() not in answer.masked
