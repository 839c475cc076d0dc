"""Every kind is documented, and every documented example is found as that kind."""

import pytest

from llmproxy.common.policy import PII_KINDS
from llmproxy.shield import look
from llmproxy.shield.guards import pii
from llmproxy.shield.kinds import KINDS, Kind
from llmproxy.shield.presidio.entities import KINDS as OF_PRESIDIO


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
