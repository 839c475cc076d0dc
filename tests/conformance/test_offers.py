"""What the router believes of each provider is what the provider workers do."""

from typing import get_args

import pytest

from llmproxy.common.config import PROVIDERS, Provider
from llmproxy.common.envelope import Api
from llmproxy.common.offers import CONVERSATIONS, OFFERS, capabilities
from llmproxy.provider_workers.adapters import ADAPTERS, DEMO
from llmproxy.provider_workers.callers import CALLERS
from llmproxy.provider_workers.ways import LOCAL


def test_every_provider_has_its_offers() -> None:
    assert set(OFFERS) == set(PROVIDERS)


def test_offers_are_apis() -> None:
    assert set().union(*OFFERS.values()) <= set(get_args(Api)) - {"probe"}
    assert set(CALLERS) <= CONVERSATIONS


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_is_offered_for_what_its_adapter_does(provider: Provider) -> None:
    own = DEMO.others if provider == DEMO.name else ADAPTERS[provider].natives
    does = {"chat", *own, *CALLERS, *LOCAL}
    assert does == OFFERS[provider], (
        "the router believes common/offers.py: too much is a late 400, too little an early one"
    )


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_is_said_to_express_what_its_adapter_translates(provider: Provider) -> None:
    adapter = DEMO if provider == DEMO.name else ADAPTERS[provider]
    assert capabilities(provider) == adapter.capabilities
