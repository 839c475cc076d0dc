"""What runs is what is guaranteed: the steps of a running gateway are those of the table (docs/guarantees.md)."""

from gateway import Gateway
from guarantees.controls import CONTROLS
from patience import wait_for

from llmproxy.common.plugins.host import Ring


def test_every_step_of_a_running_gateway_has_its_guarantees(demo: Gateway) -> None:
    stated = {control.step for control in CONTROLS} - {""}

    def running() -> set[str]:
        status, listed = demo.get("/api/v1/plugins", admin=True)
        assert status == 200
        # What runs behind the requests keeps the ledger and is tested with it.
        return {one["name"] for one in listed["plugins"] if one["ring"] != Ring.BACKGROUND}

    assert (
        wait_for(lambda: (names := running()) >= stated and names, "all services have announced their steps") == stated
    )
