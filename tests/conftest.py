"""What holds for every test: where it runs, which examples it is given, and what the collector need not visit."""

import gc
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture.providers import Constants, HypothesisProvider
from workers import ByServers

SETTLED = "settled"
YOUNG_OBJECTS_MAX = 20_000
"""Tests make much and keep little: with Python's own 700 a sixth of their time is the collector's."""
NOBODY = Path(__file__).with_name("nobody.pem")
"""The one authority that clients and services trust unless a test gives them another: to read those of the world takes each
client 30 ms of CPU, and no test speaks with the world. Nobody has its key."""


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServers | None:
    return ByServers(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_configure() -> None:
    """No test is a timing, and a first example may load a model: an example has no deadline.

    The examples of a commit are always the same, so that it passes everywhere or nowhere. They are few, for nothing new is found by
    drawing the same ones again; `make explore` draws others, and more of them.
    """
    unhurried = settings(settings.get_profile("default"), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile(SETTLED, unhurried, derandomize=True, database=None, max_examples=60)
    settings.register_profile("exploring", unhurried, derandomize=False, print_blob=True, max_examples=300)
    settings.load_profile(SETTLED)
    os.environ["SSL_CERT_FILE"] = str(NOBODY)


def pytest_sessionstart() -> None:
    """Settled examples hold no constants from the sources of loaded modules: which those are depends on the tests that ran
    before, and what stands in them on commits that a test has nothing to do with (tests/architecture/test_examples.py)."""
    if settings.get_current_profile_name() == SETTLED:
        HypothesisProvider._local_constants = Constants()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Thousands of tests are made, and all of them stay to the end: the collector would visit them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS_MAX)
        gc.enable()
