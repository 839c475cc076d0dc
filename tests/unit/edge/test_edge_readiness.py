"""What an edge says of itself."""

import pytest

from llmproxy.common.config import Config, Firewall, Snapshot
from llmproxy.common.probes import Readiness
from llmproxy.edge.readiness import show_firewall


def test_a_firewall_that_is_switched_off_is_told_as_long_as_it_is() -> None:
    readiness = Readiness()
    show_firewall(readiness, Snapshot(revision=1, config=Config(firewall=Firewall(enabled=False))))
    assert "switched off" in readiness.notes["firewall"]
    show_firewall(readiness, Snapshot(revision=2, config=Config()))
    assert "firewall" not in readiness.notes


@pytest.mark.parametrize(
    ("disabled", "said"),
    [
        (("override", "jailbreak"), "signatures are disabled: all of jailbreak, override"),
        (("override", "ovr-1", "ovr-2"), "signatures are disabled: all of override, and 2 more by id"),
        (("ovr-1",), "signatures are disabled: 1 by id"),
    ],
)
def test_what_is_disabled_of_its_signatures_is_told(disabled: tuple[str, ...], said: str) -> None:
    readiness = Readiness()
    show_firewall(readiness, Snapshot(revision=1, config=Config(firewall=Firewall(disabled=disabled))))
    assert readiness.notes["firewall"] == said
