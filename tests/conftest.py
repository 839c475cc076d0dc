"""What holds for every test: where it may run, and that collecting twenty thousand of them is not looked at again and again."""

import gc

import pytest
from hypothesis import settings

SHARED = ("families", "demo")
"""Gateways of a whole session, which take seconds to start: all tests of one go to the same worker."""


def pytest_configure() -> None:
    """No test is a timing, and a first example may load a model: an example has no deadline."""
    settings.register_profile("patient", settings(), deadline=None)
    settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup`: tests that share servers stay together, one `apart` goes wherever there is room."""
    for item in items:
        if item.get_closest_marker("apart") is None:
            used = getattr(item, "fixturenames", ())
            group = next((name for name in SHARED if name in used), item.path.stem)
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What is there now stays to the end: the collector need not visit it each time."""
    gc.collect()
    gc.freeze()
