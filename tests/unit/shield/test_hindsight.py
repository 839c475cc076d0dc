"""What a candidate policy would have made of recorded findings, and what nobody can know from them."""

import pytest
from msgspec import convert

from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.policy import INJECTION, SHADOW, Injection, Policies, Policy
from llmproxy.common.records import AuditRecord
from llmproxy.shield.hindsight import OPEN, look_back, reaction


def injection(
    per_mille: int, path: str = "messages[0].content", kind: str = INJECTION, action: str = "flag"
) -> Explanation:
    return Explanation(guard="injection", kind=kind, action=action, path=path, per_mille=per_mille)


BLOCKING = Policy(injection=Injection(mode="block", user=0.7, assistant=0.7, tool=0.5, system=0.9, parameter=0.7))


@pytest.mark.parametrize(
    ("recorded", "after"),
    [
        (injection(950), "block"),
        (injection(450), "allow"),
        (injection(600), OPEN),  # A tool's would be refused, a user's not.
        (injection(800, "system"), "allow"),
        (injection(600, "tools[0].function.description"), "block"),
        (injection(600, "metadata.note"), "allow"),
        (injection(950, kind=SHADOW), "block"),
    ],
)
def test_an_injection_is_held_to_the_thresholds_of_whoever_may_have_said_it(recorded: Explanation, after: str) -> None:
    assert reaction(recorded, BLOCKING) == after


@pytest.mark.parametrize(
    ("mode", "after"), [("disabled", "allow"), ("shadow", "flag"), ("alert", "alert"), ("flag", "flag")]
)
def test_an_injection_has_the_action_of_the_candidates_mode(mode: str, after: str) -> None:
    assert reaction(injection(1000), Policy(injection=Injection(mode=mode))) == after  # type: ignore[arg-type]


def pii(action: str, via: tuple[str, ...] = ()) -> Explanation:
    return Explanation(guard="pii", kind="email", action=action, path="prompt", via=via)


def test_a_kind_has_the_candidates_action() -> None:
    assert reaction(pii("mask"), Policy(kinds={"email": "allow"})) == "allow"
    assert reaction(pii("flag"), Policy()) == "mask"
    assert (
        reaction(Explanation(guard="secrets", kind="secret.aws", action="mask"), Policy(kinds={"secret": "block"}))
        == "block"
    )


def test_what_was_seen_only_after_decoding_may_not_be_maskable() -> None:
    assert reaction(pii("flag", ("base64",)), Policy()) == OPEN
    assert reaction(pii("mask", ("plain",)), Policy(kinds={"email": "redact"})) == "redact"  # It was masked then.


@pytest.mark.parametrize(
    "recorded",
    [
        Explanation(guard="firewall", kind="override", action="block", rule="ov-1"),
        Explanation(guard="pii", kind="guard_unavailable", action="block"),
        Explanation(guard="pii", kind="email", action="flag", side="answer"),
    ],
)
def test_what_the_policy_of_requests_is_not_about_stays_as_it_was(recorded: Explanation) -> None:
    assert reaction(recorded, Policy(kinds={"email": "block"})) == recorded.action


def test_what_no_guard_could_read_follows_its_own_setting() -> None:
    unreadable = Explanation(guard="shield", kind="unreadable", action="block")
    assert reaction(unreadable, Policy(unreadable="allow")) == "allow"


def test_changes_are_counted_by_finding_and_by_request_and_the_rest_is_said() -> None:
    records = [
        AuditRecord(
            id="1", at_ms=1, verdict="answered", tenant="a", explained=Explained((pii("mask"), pii("mask")), more=3)
        ),
        AuditRecord(
            id="2", at_ms=1, verdict="blocked", tenant="a", explained=Explained((injection(950, action="block"),))
        ),
        AuditRecord(id="3", at_ms=1, verdict="answered", tenant="a"),
        AuditRecord(id="4", at_ms=1, verdict="changed", action="key.created"),
    ]
    candidate = Policy(kinds={"email": "flag"}, injection=Injection(mode="disabled"))
    found = look_back(records, Policies(candidate))
    assert (found.requests, found.with_findings, found.findings) == (3, 2, 3)
    assert [(one.kind, one.before, one.after, one.findings, one.requests) for one in found.changes] == [
        ("email", "mask", "flag", 2, 1),
        ("injection", "block", "allow", 1, 1),
    ]
    assert {(one.before, one.after) for one in found.turns} == {("mask", "flag"), ("block", "allow")}
    assert any(sentence.startswith("3 findings") for sentence in found.unknown)


def test_overrides_by_what_is_not_recorded_are_named() -> None:
    override = {"when": {"roles": ["doctor"]}, "kinds": {"email": "block"}}
    policies = Policies(convert({"overrides": [override]}, Policy))
    assert any("roles" in sentence for sentence in look_back([], policies).unknown)
