"""Every kind is documented, and every documented example is found as that kind."""

import pytest

from llmproxy.common.entities import KINDS as OF_PRESIDIO
from llmproxy.common.policy import PII_KINDS
from llmproxy.common.secret_kinds import SECRET_KINDS
from llmproxy.shield import look
from llmproxy.shield.guards import pii
from llmproxy.shield.kinds import KINDS, Kind
from llmproxy.shield.vendors import VENDORS


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_documented_example_is_found(kind: Kind) -> None:
    for text in (kind.example, f"It is {kind.example}, they said.", f'{{"note": "{kind.example}"}}'):
        assert kind.name in {one.kind for one in pii.find(text, look.at(text))}, text


def test_every_kind_has_a_form_and_a_source_or_comes_from_presidio() -> None:
    documented = {kind.name for kind in KINDS}
    assert len(documented) == len(KINDS)
    assert set(PII_KINDS) - documented <= set(OF_PRESIDIO.values())
    assert documented <= set(PII_KINDS)
    assert all(kind.form and kind.source.startswith("https://") for kind in KINDS)


def test_every_credential_that_is_found_can_be_named_in_a_policy_and_nothing_else() -> None:
    by_what_stands_around = {"password", "assigned", "url_password", "private_key", "basic_auth"}
    assert {one.name for one in VENDORS} | by_what_stands_around == set(SECRET_KINDS)
