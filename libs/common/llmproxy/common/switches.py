"""What a variable of the environment switches on or off, whatever a configuration says."""

from msgspec import structs

from llmproxy.common.config import Config, ConfigError

FIREWALL_ENABLED = "LLM_PROXY_FIREWALL_ENABLED"  # Comes before `firewall.enabled`, of a file and of the admin API.
SWITCH = {**dict.fromkeys(("1", "true", "yes", "on"), True), **dict.fromkeys(("0", "false", "no", "off"), False)}


def with_switches(config: Config, firewall_enabled: str) -> Config:
    """The configuration with what the variable says; "" says nothing. Raises ConfigError: a misspelt switch must not open anything."""
    wanted = firewall_enabled.strip().lower()
    if not wanted:
        return config
    if wanted not in SWITCH:
        raise ConfigError(f"{FIREWALL_ENABLED}: write true or false")
    return structs.replace(config, firewall=structs.replace(config.firewall, enabled=SWITCH[wanted]))


def with_firewall_on(config: Config) -> Config:
    return structs.replace(config, firewall=structs.replace(config.firewall, enabled=True))


def check_switches(config: Config, before: Config, firewall_enabled: str) -> None:
    """For a configuration that is not the operator's own file: it does not switch the firewall off. Raises ConfigError."""
    if with_switches(config, firewall_enabled) != config:
        raise ConfigError(f"firewall.enabled: {FIREWALL_ENABLED} decides it; leave it as it is")
    if before.firewall.enabled and not config.firewall.enabled:
        raise ConfigError(
            f"firewall.enabled: only {FIREWALL_ENABLED}, or a configuration file, can switch the firewall off"
        )
