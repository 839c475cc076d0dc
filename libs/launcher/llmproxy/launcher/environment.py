"""Who is told what: the environment of each service as data. What is not listed for a service, it does not get."""

import re
from collections.abc import Mapping
from typing import Literal

from llmproxy.common import auth
from llmproxy.common.config import Config, Endpoint
from llmproxy.launcher.detect import ENDPOINT_VARIABLE, KEY_VARIABLES

Service = Literal["admin", "audit", "provider-workers", "router", "shield", "edge"]
SERVICES: tuple[Service, ...] = ("audit", "admin", "provider-workers", "router", "shield", "edge")
"""In the order in which they start; they stop the other way round, so that nobody loses the stage behind it."""

PREFIX = "LLM_PROXY_"
COMMON = ("NATS_URL", "NATS_USER", "NATS_PASSWORD", "INSTANCE", "PROBES_HOST", "PROBES_PORT")
OWN: dict[Service, tuple[str, ...]] = {
    "edge": ("REDIS_URL", "LISTEN_FD", "SPOOL_DIR", "EDGES"),
    "shield": ("MASK_SECRET", "GATEWAY_URL", "JUDGE_KEY", "EMBEDDING_MODEL"),
    "router": ("REDIS_URL",),
    "provider-workers": (),  # And the provider keys: see `provider_keys`.
    "audit": ("POSTGRES_DSN", "DATA_DIR"),
    "admin": ("ADMIN_TOKEN", "API_KEYS", "CONFIG", "CONFIG_SOURCE", "LISTEN_FD", "WORKER_VARIABLES"),
}
# What an operator may set for all services, and for one: passed on as it is.
COMMON_TUNABLE = ("DRAIN_S", "LOG_LEVEL", "NATS_TIMEOUT_S")
TUNABLE: dict[Service, tuple[str, ...]] = {
    "edge": ("LINGER_S", "LOST_S"),
    "shield": ("MAX_IN_FLIGHT", "SHIELD_PROCESSES"),
    "router": (),
    "provider-workers": ("WORKER_PROVIDERS", "DEMO_CHUNK_MS", "SECRET_DIRS"),
    "audit": (),
    "admin": ("METRICS_PUBLIC", "SECRET_DIRS", "FIREWALL_ENABLED"),
}
# Where there is no launcher to hand over a listening socket.
IN_A_CONTAINER: dict[Service, tuple[str, ...]] = {
    "edge": ("HOST", "PORT"),
    "shield": (),
    "router": (),
    "provider-workers": (),
    "audit": (),
    "admin": ("HOST", "PORT"),
}
# What the launcher hands on where it is set, and decides on where it is not.
HANDED_ON = ("API_KEYS", "ADMIN_TOKEN", "CONFIG_SOURCE", "MASK_SECRET", "JUDGE_KEY", "EMBEDDING_MODEL")
# What it reads itself; KEY is what the examples call a caller's key, POSTGRES_DSN and ADMIN_URL are other commands'.
LAUNCHERS = (
    *("CONFIG_FILE", "DATA", "HOST", "PORT", "ADMIN_HOST", "ADMIN_PORT", "LOCAL_DISCOVERY", "FIREWALL_ENABLED"),
    *("KEY", "POSTGRES_DSN", "ADMIN_URL"),
)
# What any program may need from its surroundings and nobody keeps secret.
SURROUNDINGS = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH")
# How to reach providers; a proxy's URL may carry a password.
OUTBOUND = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
REFERENCE = re.compile(r"env:(\w+)")


def service_environment(
    service: Service, values: Mapping[str, str], outside: Mapping[str, str], config: Config
) -> dict[str, str]:
    """All that the service's process is given. `values` holds settings by name, without the prefix; `outside` is the
    launcher's own environment, of which provider keys go to the provider workers and to nobody else."""
    given = {name: outside[name] for name in SURROUNDINGS if name in outside}
    tuned = (PREFIX + name for name in (*COMMON_TUNABLE, *TUNABLE[service]))
    given |= {variable: outside[variable] for variable in tuned if variable in outside}
    given |= {PREFIX + name: values[name] for name in (*COMMON, *OWN[service]) if name in values}
    if service == "provider-workers":
        given |= _outbound(outside) | provider_keys(outside, config)
    return given


def unknown(outside: Mapping[str, str], config: Config) -> list[str]:
    """Variables with our prefix that nobody under `llmproxy up` reads: misspelt, most likely."""
    known = {*LAUNCHERS, *HANDED_ON, *COMMON_TUNABLE, *(name for names in TUNABLE.values() for name in names)}
    read = {PREFIX + name for name in known} | referenced(config)
    return sorted(
        name
        for name in outside
        if name.startswith(PREFIX) and name not in read and not ENDPOINT_VARIABLE.fullmatch(name)
    )


def provider_keys(outside: Mapping[str, str], config: Config) -> dict[str, str]:
    """Every variable that is, or that an endpoint says is, a provider's key."""
    names = {*KEY_VARIABLES, *referenced(config)}
    names |= {name for name in outside if (match := ENDPOINT_VARIABLE.fullmatch(name)) and match[2] == "KEY"}
    return {name: outside[name] for name in sorted(names) if name in outside}


def referenced(config: Config) -> set[str]:
    """The variables that endpoints read: those they name as `env:NAME`, and what a cloud's kind of credential implies."""
    return required(config) | {name for endpoint in config.endpoints.values() for name in _implied(endpoint)}


def required(config: Config) -> set[str]:
    """The variables without which an endpoint cannot be called."""
    written = (text for endpoint in config.endpoints.values() for text in endpoint.references.values())
    return {match[1] for match in map(REFERENCE.fullmatch, written) if match}


def _implied(endpoint: Endpoint) -> set[str]:
    if endpoint.auth is not None:
        return auth.optional(endpoint.auth)
    return set(auth.IMPLIED) if endpoint.provider == "bedrock" and not endpoint.key else set()


def _outbound(outside: Mapping[str, str]) -> dict[str, str]:
    return {
        spelling: outside[spelling] for name in OUTBOUND for spelling in (name, name.lower()) if spelling in outside
    }
