"""One gateway for all end-to-end tests that only use it, started as a user starts it."""

from collections.abc import Iterator

import pytest
from e2e.families import ENVIRONMENT, Fakes, configuration
from gateway import Gateway
from openai import OpenAI


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Nothing configured: the demo provider answers."""
    with Gateway(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture
def client(demo: Gateway) -> Iterator[OpenAI]:
    with OpenAI(api_key=demo.key, base_url=demo.base_url, max_retries=0) as connected:
        yield connected


@pytest.fixture(scope="session")
def fakes() -> Iterator[Fakes]:
    """A fake of every provider family."""
    with Fakes() as serving:
        yield serving


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory, fakes: Fakes) -> Iterator[Gateway]:
    """One gateway in front of all of them."""
    folder = tmp_path_factory.mktemp("families")
    with Gateway(folder, configuration(fakes), environment=ENVIRONMENT) as running:
        yield running
