"""What the router believes of each provider is what the provider workers do."""

from typing import get_args

import pytest

from llmproxy.common.config import PROVIDERS, Provider
from llmproxy.common.envelope import Api
from llmproxy.common.offers import CONVERSATIONS, OFFERS
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.callers import CALLERS


def test_every_provider_has_its_offers() -> None:
    assert set(OFFERS) == set(PROVIDERS)


def test_offers_are_apis() -> None:
    assert set().union(*OFFERS.values()) <= set(get_args(Api)) - {"probe"}
    assert set(CALLERS) <= CONVERSATIONS


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name in ADAPTERS])
def test_a_provider_is_offered_for_what_its_adapter_can_do(provider: Provider) -> None:
    done = {"chat", *ADAPTERS[provider].natives, *CALLERS}
    assert done <= OFFERS[provider], "the router would refuse what this adapter serves; add it to common/offers.py"
