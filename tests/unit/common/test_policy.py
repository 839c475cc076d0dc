"""The policy: what is not spelled out is masked, and what differs for some."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from llmproxy.common.actions import Action
from llmproxy.common.policy import ALLOWED, KINDS, POLICIES_KEPT_MAX, Injection, Override, Policies, Policy
from llmproxy.common.segments.names import ROOT_ROLES
from llmproxy.common.segments.whose import MESSAGE_ROLES
from llmproxy.common.testing import envelope

actions = st.sampled_from(get_args(Action))
kinds = st.sampled_from(KINDS) | st.text(max_size=20)


@given(st.dictionaries(kinds, actions), kinds)
def test_a_kind_not_named_is_masked_unless_it_is_let_pass_by_default(configured: dict[str, Action], kind: str) -> None:
    assert Policy(kinds=configured).action(kind) == configured.get(kind, "allow" if kind in ALLOWED else "mask")


def test_by_default_everything_but_public_numbers_is_masked() -> None:
    assert {kind for kind in KINDS if Policy().action(kind) != "mask"} == ALLOWED


def test_an_unknown_action_does_not_decode() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"kinds":{"email":"ignore"}}', type=Policy)


@pytest.mark.parametrize("timeout_ms", [0, -1])
def test_a_chain_without_time_does_not_decode(timeout_ms: int) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"guard_timeout_ms": timeout_ms}, Policy)


# -- what differs for some

ASKS = envelope(tenant="acme", key="key-1", principal="ada", roles=("staff",), api="chat", model="gpt-4o-mini")


def policy(*overrides: dict[str, Any], **more: Any) -> Policy:
    return msgspec.convert({"overrides": list(overrides), **more}, Policy)


@pytest.mark.parametrize(
    "when",
    [
        {"tenants": ["acme"]},
        {"tenants": ["other", "ac*"]},
        {"keys": ["*"]},
        {"principals": ["ada"], "roles": ["guest", "staff"]},
        {"apis": ["chat", "messages"]},
        {"models": ["gpt-4o*"], "tenants": ["acme"]},
    ],
)
def test_an_override_applies_where_each_of_its_conditions_holds_by_any_of_its_values(when: dict[str, Any]) -> None:
    configured = policy({"when": when, "kinds": {"email": "block"}})
    assert Policies(configured).of(ASKS).action("email") == "block"


@pytest.mark.parametrize(
    "when",
    [
        {"tenants": ["acme"], "models": ["claude*"]},
        {"tenants": ["acm", "acme2", "ACME"]},
        {"roles": ["sta"]},
        {"apis": ["embeddings"]},
    ],
)
def test_an_override_does_not_apply_where_one_condition_fails(when: dict[str, Any]) -> None:
    configured = policy({"when": when, "kinds": {"email": "block"}})
    assert Policies(configured).of(ASKS) == Policy()


def test_who_has_no_principal_is_none_not_even_for_a_star() -> None:
    configured = policy({"when": {"principals": ["*"]}, "kinds": {"email": "block"}})
    assert Policies(configured).of(envelope(principal="")).action("email") == "mask"


def test_an_override_changes_what_it_says_and_nothing_else() -> None:
    configured = policy(
        {"when": {"tenants": ["acme"]}, "kinds": {"phone": "flag"}, "injection": {"tool": 0.9}},
        kinds={"email": "block", "phone": "hash"},
        injection={"mode": "block", "user": 0.8},
    )
    assert Policies(configured).of(ASKS) == Policy(
        kinds={"email": "block", "phone": "flag"}, injection=Injection(mode="block", user=0.8, tool=0.9)
    )
    assert Policies(configured).of(envelope(tenant="other")) == structs.replace(configured, overrides=())


def test_of_two_overrides_that_change_the_same_the_later_one_holds() -> None:
    configured = policy(
        {"when": {"tenants": ["acme"]}, "kinds": {"email": "block", "phone": "block"}, "signed": "block"},
        {"when": {"models": ["gpt-4o*"]}, "kinds": {"email": "flag"}},
    )
    resolved = Policies(configured).of(ASKS)
    assert (resolved.action("email"), resolved.action("phone"), resolved.signed) == ("flag", "block", "block")


def test_requests_of_the_same_overrides_have_the_same_policy_however_many_models_callers_name() -> None:
    policies = Policies(policy({"when": {"models": ["gpt*"]}, "kinds": {"email": "block"}}))
    seen = {
        id(policies.of(structs.replace(ASKS, model=f"{name}-{index}")))
        for index in range(POLICIES_KEPT_MAX + 10)
        for name in ("gpt", "claude")
    }
    assert len(seen) == 2


def test_every_setting_of_every_area_can_be_overridden() -> None:
    """An area that is added to `Policy` needs nothing else."""
    overridable = set(Override.__struct_fields__) - {"when"}
    assert overridable == set(Policy.__struct_fields__) - {"overrides"}
    document = msgspec.json.schema(Override)["$defs"]
    for field in structs.fields(Policy):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            assert set(document[f"{field.type.__name__}Changes"]["properties"]) == set(field.type.__struct_fields__)


@given(
    st.builds(Injection, mode=st.sampled_from(["block", "flag"]), user=st.floats(0, 1), tool=st.floats(0, 1)),
    st.dictionaries(kinds, actions),
)
def test_an_override_that_says_everything_leaves_nothing(injection: Injection, named: dict[str, Action]) -> None:
    said = {"injection": msgspec.to_builtins(injection), "kinds": named}
    resolved = Policies(policy({"when": {"tenants": ["acme"]}, **said})).of(ASKS)
    assert resolved == Policy(kinds=named, injection=injection)


def test_a_policy_and_its_overrides_are_the_same_after_a_journey() -> None:
    configured = policy({"when": {"tenants": ["acme"]}, "kinds": {"email": "alert"}, "injection": {"mode": "alert"}})
    assert msgspec.json.decode(msgspec.json.encode(configured), type=Policy) == configured


# -- actions and thresholds


@pytest.mark.parametrize(
    ("mode", "does"), [("block", "block"), ("alert", "alert"), ("flag", "flag"), ("shadow", "flag")]
)
def test_an_injection_has_the_action_of_its_mode(mode: str, does: str) -> None:
    policy = Policy(injection=Injection(mode=mode))  # type: ignore[arg-type]
    assert policy.action("injection") == does
    assert policy.action("injection.shadow") == "flag"


def test_every_role_of_a_segment_has_a_threshold_of_its_own_or_of_what_it_counts_as() -> None:
    injection = Injection(user=0.1, assistant=0.2, tool=0.3, system=0.4, parameter=0.5)
    assert {role: injection.threshold(role) for role in (*MESSAGE_ROLES, *ROOT_ROLES.values(), "unknown")} == {
        "user": 0.1,
        "assistant": 0.2,
        "tool": 0.3,
        "function": 0.3,
        "definition": 0.3,
        "unknown": 0.3,
        "system": 0.4,
        "developer": 0.4,
    }
    assert injection.threshold("parameter") == 0.5
