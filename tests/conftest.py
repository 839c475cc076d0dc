"""What holds for every test: where it may run, and that collecting twenty thousand of them is not looked at again and again."""

import gc

import pytest

SHARED = ("families", "demo")
"""Gateways of a whole session, which take seconds to start: all tests of one go to the same worker."""


@pytest.hookimpl
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
