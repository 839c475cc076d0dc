"""An endpoint that takes every name shows, through the `openai` package, what its vendor has."""

from collections.abc import Iterator

import pytest
from e2e.families import ENVIRONMENT, KEY_VARIABLE, Fakes
from gateway import Gateway
from openai import OpenAI
from patience import PATIENCE_S, wait_for
from upstreams import Behaviour

LISTED = ("acme/large", "acme/small:free")


@pytest.fixture
def reseller(tmp_path_factory: pytest.TempPathFactory, fakes: Fakes) -> Iterator[Gateway]:
    fakes.upstreams["openrouter"].behaviour = Behaviour(models=LISTED)
    endpoints = {
        "any": {
            "provider": "openrouter",
            "url": fakes.urls["openrouter"] + fakes.upstreams["openrouter"].vendor.base,
            "key": f"env:{KEY_VARIABLE}",
            "models": ["*"],
        },
        "absent": {"provider": "vllm", "url": "http://127.0.0.1:9", "models": ["mine", "*"]},
    }
    with Gateway(tmp_path_factory.mktemp("listed"), {"endpoints": endpoints}, environment=ENVIRONMENT) as running:
        yield running


def test_what_a_vendor_lists_is_shown_beside_the_configured_names_though_another_fails(reseller: Gateway) -> None:
    with OpenAI(api_key=reseller.key, base_url=reseller.base_url, max_retries=0) as client:

        def shown() -> dict[str, str]:
            return {model.id: model.owned_by for model in client.models.list()}

        # A worker that could not ask at its start does so a minute later.
        found = wait_for(
            lambda: (seen := shown()).get(LISTED[0]) and seen, "the vendor's models are listed", 2 * PATIENCE_S
        )
        assert found == {"mine": "vllm", **dict.fromkeys(LISTED, "openrouter")}
        assert client.models.retrieve(LISTED[1]).owned_by == "openrouter"
