"""What the environment switches holds whatever a configuration says."""

import pytest

from llmproxy.common.config import Config, ConfigError, Firewall
from llmproxy.common.switches import check_switches, with_switches

ON, OFF = Config(), Config(firewall=Firewall(enabled=False))


@pytest.mark.parametrize(
    ("said", "enabled"), [("false", False), ("0", False), ("OFF", False), ("true", True), ("", True)]
)
def test_the_firewall_is_switched_by_its_variable(said: str, enabled: bool) -> None:
    assert with_switches(ON, said).firewall.enabled is enabled


def test_the_variable_comes_before_the_file() -> None:
    assert with_switches(OFF, "true").firewall.enabled
    assert not with_switches(OFF, "").firewall.enabled


def test_a_misspelt_switch_is_refused_and_opens_nothing() -> None:
    with pytest.raises(ConfigError, match="LLM_PROXY_FIREWALL_ENABLED"):
        with_switches(ON, "flase")


@pytest.mark.parametrize(("sent", "before", "said"), [(ON, OFF, ""), (OFF, OFF, ""), (OFF, OFF, "0"), (ON, ON, "1")])
def test_over_the_api_the_firewall_may_be_switched_on_and_left_as_it_is(
    sent: Config, before: Config, said: str
) -> None:
    check_switches(sent, before, said)


@pytest.mark.parametrize(
    ("sent", "before", "said", "says"),
    [
        (OFF, ON, "", "only LLM_PROXY_FIREWALL_ENABLED, or a configuration file"),
        (OFF, ON, "1", "LLM_PROXY_FIREWALL_ENABLED decides it"),
        (ON, OFF, "0", "LLM_PROXY_FIREWALL_ENABLED decides it"),
    ],
)
def test_over_the_api_it_is_not_switched_off_nor_otherwise_than_the_variable_says(
    sent: Config, before: Config, said: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        check_switches(sent, before, said)
