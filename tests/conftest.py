"""What holds for every test: which of them share a worker, how long an example may take, and what the collector need not visit."""

import gc
from pathlib import PurePath
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

GATEWAY_OF = {
    **dict.fromkeys(("test_openai_package", "test_plugin_list", "test_sdk_errors"), "demo"),
    **dict.fromkeys(("test_agents", "test_masking_round_trip"), "families, talked to"),
    **dict.fromkeys(("test_compatibility", "test_families", "test_other_apis"), "families"),
}
"""Files of tests that use one gateway, which takes seconds to start. Any other file has servers of its own."""

APART = frozenset({"test_embedded_servers", "test_launcher_up"})
"""Files in which every test starts its own."""


class ByServers(LoadScopeScheduling):
    """Tests that share servers go to one worker; the largest lots first, so that single tests fill what is left."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePath(nodeid.partition("::")[0]).stem
        return nodeid if file in APART else GATEWAY_OF.get(file, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServers | None:
    return ByServers(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_configure() -> None:
    """No test is a timing, and a first example may load a model: an example has no deadline."""
    settings.register_profile("patient", settings(), deadline=None)
    settings.load_profile("patient")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What has been collected, thousands of tests, stays to the end."""
    gc.collect()
    gc.freeze()
