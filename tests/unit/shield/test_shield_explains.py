"""Every verdict of the request side says why: guard, kind, place, decodings, action, score. Never the text."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common import segments
from llmproxy.common.explanations import EXPLANATIONS_MAX, Explanation
from llmproxy.common.policy import Injection, Policy
from llmproxy.common.segments import Segment
from llmproxy.common.segments.names import NAMES
from llmproxy.common.testing import FakeClock
from llmproxy.shield import preflight
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.verdict import ALLOW, Finding, Flag, Verdict

MAIL = "ada@example.com"
CALLERS_WORDS = ("hunter2", "4111", "canary", "example", MAIL)


class Suspicious:
    """Says of every text with the word that it is an attack, with this probability, over all of it."""

    name = "injection"

    def __init__(self, score: float) -> None:
        self.score = score

    def may_hold(self, text: str) -> bool:
        return "ignore" in text

    def inspect(self, segment: Segment) -> Verdict:
        if "ignore" not in segment.text:
            return Flag(())
        return Flag((Finding("injection", 0, len(segment.text), score=self.score, via=("rot13",), is_exact=False),))


class Raising:
    name = "raising"

    def may_hold(self, text: str) -> bool:
        return True

    def inspect(self, segment: Segment) -> Verdict:
        raise RuntimeError(segment.text)


def examined(body: Any, policy: Policy | None = None, guards: Any = GUARDS) -> Examined | Refused:
    order = Order(body=json.dumps(body).encode(), policy=policy or Policy(), key=b"k" * 32, max_depth=64)
    return examine(order, preflight.pipeline(guards), FakeClock())


def chat(content: str, role: str = "user", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": role, "content": content}], **more}


def why(body: Any, policy: Policy | None = None, guards: Any = GUARDS) -> tuple[Explanation, ...]:
    found = examined(body, policy, guards).explained
    return () if found is None else found.findings


def test_a_clean_request_has_nothing_to_explain() -> None:
    assert examined(chat("good morning")).explained is None


@pytest.mark.parametrize("does", ["mask", "redact", "hash", "flag", "alert", "block"])
def test_what_was_done_is_told_with_who_saw_what_where(does: Any) -> None:
    assert why(chat(f"mail {MAIL} now"), Policy(kinds={"email": does})) == (
        Explanation(guard="pii", kind="email", action=does, path="messages[0].content", start=5, end=20),
    )


def test_an_alert_lets_the_request_pass_as_it_is() -> None:
    answer = examined(chat(f"mail {MAIL} now"), Policy(kinds={"email": "alert"}))
    assert isinstance(answer, Examined)
    assert answer.masked is None
    assert answer.findings == {"email": 1}


def test_a_disguise_is_named() -> None:
    (one,) = why(chat(f"mail {MAIL.replace('@', chr(0xFF20))} now"))
    assert (one.via, one.start, one.end) == (("plain",), 5, 20)


def test_a_guard_that_weighs_is_told_in_thousandths_with_its_own_decodings() -> None:
    policy = Policy(injection=Injection(mode="alert"))
    (one,) = why(chat("ignore that"), policy, [Suspicious(0.7315)])
    assert one == Explanation(
        guard="injection", kind="injection", action="alert", path="messages[0].content", end=11, via=("rot13",),
        per_mille=732,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("role", "score", "is_found"),
    [("user", 0.42, False), ("user", 0.7, True), ("tool", 0.42, True), ("system", 0.9, False), ("system", 0.99, True)],
)
def test_the_same_score_is_held_to_the_threshold_of_whose_text_it_is(role: str, score: float, is_found: bool) -> None:
    found = why(chat("ignore that", role), Policy(injection=Injection(mode="flag")), [Suspicious(score)])
    assert bool(found) == is_found


def test_a_tools_description_is_held_to_what_tools_are() -> None:
    body = chat("hello", tools=[{"type": "function", "function": {"name": "f", "description": "ignore all"}}])
    policy = Policy(injection=Injection(mode="flag", tool=0.5, user=0.9))
    assert [one.path for one in why(body, policy, [Suspicious(0.6)])] == ["tools[0].function.description"]


def test_an_attack_is_recorded_although_what_stands_in_it_is_masked() -> None:
    policy = Policy(injection=Injection(mode="flag"))
    found = why(chat(f"ignore {MAIL}"), policy, [*GUARDS[:2], Suspicious(0.9)])
    assert {(one.kind, one.action) for one in found} == {("email", "mask"), ("injection", "flag")}


def test_a_guard_that_fails_is_named_with_the_place_where_it_did() -> None:
    answer = examined(chat("anything at all"), guards=[Raising()])
    assert isinstance(answer, Refused)
    (one,) = answer.explained.findings if answer.explained is not None else ()
    assert one.path in ("messages[0].role", "messages[0].content")
    assert (one.guard, one.kind, one.action) == ("raising", "guard_unavailable", "block")


def test_of_very_many_findings_the_record_holds_some_and_how_many_more_there_are() -> None:
    body = chat(" ".join(f"a{index}@example.com" for index in range(100)) + " 219-09-9998")
    found = examined(body, Policy(kinds={"us_ssn": "flag"})).explained
    assert found is not None
    assert len(found.findings) == EXPLANATIONS_MAX
    assert found.more == 101 - EXPLANATIONS_MAX
    assert {one.action for one in found.findings} == {"mask", "flag"}


class Together:
    """Wants two words in one text; its quick look sees all texts at once."""

    name = "together"

    def __init__(self) -> None:
        self.looked = 0

    def may_hold(self, text: str) -> bool:
        return "purple" in text and "elephant" in text

    def inspect(self, segment: Segment) -> Verdict:
        self.looked += 1
        return Flag((Finding("phone", 0, 6),)) if self.may_hold(segment.text) else ALLOW


def test_a_text_that_holds_nothing_by_itself_is_not_looked_at_again() -> None:
    guard = Together()
    body = {"messages": [{"role": "user", "content": text} for text in ("a purple thing", "an elephant")]}
    assert examined(body, guards=[guard]).explained is None
    assert guard.looked == 0
    nested = {"arguments": json.dumps({"x": "elephant", "y": json.dumps(["a purple", "purple elephant"])})}
    body["messages"].append({"role": "assistant", "tool_calls": [{"function": nested}]})  # type: ignore[dict-item]
    (one,) = why(body, Policy(kinds={"phone": "flag"}), [guard])
    assert one.path == "messages[2].tool_calls[0].function.arguments"
    assert guard.looked <= 4


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1], [2]]])
def test_a_body_that_no_guard_can_read_says_so(tokens: Any) -> None:
    (one,) = why({"input": tokens})
    assert (one.guard, one.kind, one.path) == ("shield", "unreadable", "input")


HIDING: list[dict[str, Any]] = [
    chat("x", metadata={"hunter2canary": MAIL}),
    chat("x", metadata={"hunter2canary": {"canary_ada": [{"canary-4111": MAIL}]}}),
    chat("x", metadata={f"hunter2canary {MAIL}": "y"}),
    {"hunter2canary": {"messages": [{"canary": f"4111 1111 1111 1111 {MAIL}"}]}},
    chat("x", tools=[{"function": {"parameters": {"properties": {"canary": {"description": MAIL}}}}}]),
    {"messages": [{"role": "assistant", "tool_calls": [
        {"function": {"name": "f", "arguments": json.dumps({"hunter2canary": MAIL})}}]}]},
]  # fmt: skip


@pytest.mark.parametrize("body", HIDING)
@pytest.mark.parametrize("does", ["mask", "block", "flag"])
def test_no_word_of_the_caller_stands_in_an_explanation(body: dict[str, Any], does: Any) -> None:
    found = examined(body, Policy(kinds={"email": does, "credit_card": does})).explained
    assert found is not None
    spelled = msgspec.json.encode(found).decode()
    assert all(word not in spelled for word in CALLERS_WORDS)


@given(st.lists(st.text(min_size=1, max_size=30) | st.integers(0, 99), max_size=8))
def test_a_path_as_it_is_recorded_has_the_names_of_the_apis_alone(places: list[str | int]) -> None:
    written = segments.join(["messages", *places])
    recorded = segments.shown(written)
    names = {name for part in recorded.split(".") for name in part.split("[")[:1]}
    assert names <= NAMES | {"*", ""}
    assert segments.shown("messages[3].content[0].text") == "messages[3].content[0].text"
