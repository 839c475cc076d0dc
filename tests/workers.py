"""Which tests run in the same worker (`--dist loadscope`): those that share servers, because starting a gateway takes seconds."""

from pathlib import PurePath

from xdist.scheduler import LoadScopeScheduling

GATEWAY_OF = {
    **dict.fromkeys(("test_openai_package", "test_plugin_list", "test_sdk_errors"), "demo"),
    **dict.fromkeys(("test_agents", "test_masking_round_trip"), "families, talked to"),
    **dict.fromkeys(("test_compatibility", "test_families", "test_other_apis"), "families"),
}
"""Files of tests that use one gateway. The families have two, for together their tests would be the last to end."""

APART = frozenset({"test_embedded_servers", "test_launcher_up"})
"""Files in which every test starts servers of its own."""


class ByServers(LoadScopeScheduling):
    """The largest lots first, so that single tests fill what is left. Any file that is not named has servers of its own."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePath(nodeid.partition("::")[0]).stem
        return nodeid if file in APART else GATEWAY_OF.get(file, file)
