"""What holds for every test: where it runs, how long an example may take, and what the collector need not visit."""

import gc
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from workers import ByServers


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServers | None:
    return ByServers(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_configure() -> None:
    """No test is a timing, and a first example may load a model: an example has no deadline.

    The examples of a commit are always the same, so that it passes everywhere or nowhere; `make explore` draws others.
    """
    unhurried = settings(settings.get_profile("default"), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("settled", unhurried, derandomize=True, database=None)
    settings.register_profile("exploring", unhurried, derandomize=False, print_blob=True)
    settings.load_profile("settled")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What has been collected, thousands of tests, stays to the end."""
    gc.collect()
    gc.freeze()
