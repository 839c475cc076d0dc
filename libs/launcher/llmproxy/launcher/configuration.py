"""Where a run's configuration comes from, and the file in which the launcher hands it to admin."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path

import msgspec
import yaml

from llmproxy.common import config_checks, config_file, references, signatures
from llmproxy.common.config import Config, ConfigError
from llmproxy.common.prices import Prices, shipped
from llmproxy.common.switches import FIREWALL_ENABLED, with_switches
from llmproxy.launcher import detect
from llmproxy.launcher.environment import required

EFFECTIVE_FILE = "config.effective.yaml"  # In the data folder: `${NAME}` replaced, keys still references.


def load_config(file: Path | None, environment: Mapping[str, str]) -> Config:
    """The file's, or what the environment and the neighbourhood say. Raises ConfigError, which names the file."""
    found = with_switches(_load(file, environment), environment.get(FIREWALL_ENABLED, ""))
    try:
        allowed = references.directories(environment.get(references.VARIABLE, ""))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    config_checks.check_files(found, allowed)
    return found


def _load(file: Path | None, environment: Mapping[str, str]) -> Config:
    if file is None:
        return detect.config(environment, detect.probe(environment))
    try:
        text = file.read_text(encoding="utf-8")  # Whatever the locale says.
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from error
    try:
        return config_file.parse(text, environment)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def missing_keys(config: Config, environment: Mapping[str, str]) -> list[str]:
    """A warning for each endpoint whose key is not there. The others can still serve, so it is no reason not to start."""
    return [
        f"endpoints.{name}.{'key' if endpoint.key else 'auth'}: {variable} is not set; its requests will fail until you export it and start again"
        for name, endpoint in config.endpoints.items()
        for variable in required(Config(endpoints={name: endpoint}))
        if not environment.get(variable)
    ]


def withheld(config: Config, given: Collection[str]) -> list[str]:
    """A warning for each variable that the configuration in force wants and workers have not got: that of this start may be another."""
    return [
        f"endpoints.{name}: {variable} is not given to the provider workers; export it, name it in the configuration of"
        " `llmproxy up` or call it LLM_PROXY_ENDPOINT_<NAME>_KEY, and start again"
        for name, endpoint in config.endpoints.items()
        for variable in sorted(required(Config(endpoints={name: endpoint})))
        if variable not in given
    ]


HEADED = frozenset({"anthropic", "azure", "google"})
"""Providers that are never called without a key: it has a header of its own."""
KEYLESS = frozenset({"demo", "ollama", "vllm", "bedrock", "vertex"})
"""Those that run without one, and clouds, whose credentials are checked with the rest."""


def without_key(config: Config) -> list[str]:
    """A warning for each endpoint that nobody can call for want of a key. One of the operator's own may need none."""
    return [
        f"endpoints.{name}: {endpoint.provider} wants a key; write key: env:NAME, or auth: {{kind: none}} where it wants none"
        for name, endpoint in config.endpoints.items()
        if not endpoint.key
        and endpoint.auth is None
        and (endpoint.provider in HEADED or not (endpoint.url or endpoint.provider in KEYLESS))
    ]


UNPRICED_SHOWN_MAX = 8


def without_price(config: Config) -> list[str]:
    """A warning that names the models which nobody has priced: what is paid for them is in no record."""
    found = [f"{name}/{model}" for name, model in Prices(config, shipped()).unknown(config)]
    if not found:
        return []
    more = len(found) - UNPRICED_SHOWN_MAX
    shown = ", ".join(found[:UNPRICED_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
    then = (
        "requests for them are refused" if config.routing.unpriced_models == "refuse" else "recorded as costing nothing"
    )
    return [
        f'prices: none is known for {shown}; {then}. List what they cost, or {{input: "0", output: "0"}} if they are free'
    ]


def without_signature(config: Config) -> list[str]:
    """A warning for each name in `firewall.disabled` that nothing has. No mistake: a release may leave signatures out."""
    wanted = set(config.firewall.disabled) - {one.id for one in config.firewall.signatures}
    if not wanted:
        return []
    names = {name for one in signatures.ready() for name in (one.hit.id, one.hit.category)}
    return [
        f"firewall.disabled: no signature or category is called {name!r}"
        + "".join(f"; did you mean {close!r}?" for close in get_close_matches(name, names, n=1))
        for name in sorted(wanted - names)
    ]


def to_yaml(config: Config) -> str:
    return yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False, allow_unicode=True)
