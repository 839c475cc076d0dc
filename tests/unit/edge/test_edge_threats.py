"""Whom the threat ledger blames."""

from llmproxy.common.keyring import KeyRecord
from llmproxy.edge.threats import Caller, sender


def blamed(tenant: str, principal: str) -> Caller:
    return sender(KeyRecord(id="key_1", hash="", tenant=tenant, principal=principal))[-1]


def test_no_two_principals_are_one_caller() -> None:
    names = [("acme", "eu/anna"), ("acme/eu", "anna"), ("acme%2Feu", "anna"), ("acme", "anna")]
    assert len({blamed(*one) for one in names}) == len(names)


def test_a_principal_is_named_as_its_key_names_it() -> None:
    assert blamed("acme", "anna@example.com") == Caller("principal", "acme/anna@example.com")
