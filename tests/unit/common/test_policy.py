"""The policy: what is not spelled out is masked."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.policy import ALLOWED, KINDS, Action, Policy

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
