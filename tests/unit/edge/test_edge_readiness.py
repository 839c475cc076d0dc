"""What an edge says of itself."""

from llmproxy.common.config import Config, Firewall, Snapshot
from llmproxy.common.probes import Readiness
from llmproxy.edge.readiness import show_firewall


def test_a_firewall_that_is_switched_off_is_told_as_long_as_it_is() -> None:
    readiness = Readiness()
    show_firewall(readiness, Snapshot(revision=1, config=Config(firewall=Firewall(enabled=False))))
    assert "switched off" in readiness.notes["firewall"]
    show_firewall(readiness, Snapshot(revision=2, config=Config()))
    assert "firewall" not in readiness.notes
