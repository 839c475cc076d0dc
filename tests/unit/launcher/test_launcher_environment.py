"""The table of who is told what."""

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llmproxy.common import auth
from llmproxy.common.config import Config, Endpoint
from llmproxy.common.outbound import HeaderRules, Proxy
from llmproxy.launcher.cli import cli
from llmproxy.launcher.configuration import withheld
from llmproxy.launcher.environment import OWN, SERVICES, Service, provider_keys, service_environment, unknown

ROOT = Path(__file__).resolve().parents[3]
WAY = {
    "proxy": Proxy(url="http://proxy:3128", user="u", password="env:PROXY_PASSWORD"),
    "headers": HeaderRules(insert={"x-team": "env:TEAM"}),
}
CONFIG = Config(endpoints={"mine": Endpoint(provider="openai", models=("m",), key="env:MY_OWN_KEY", **WAY)})
PROVIDER_SECRETS = {
    "OPENAI_API_KEY": "secret-1",
    "ANTHROPIC_API_KEY": "secret-2",
    "GEMINI_API_KEY": "secret-3",
    "GOOGLE_API_KEY": "secret-4",
    "LLM_PROXY_ENDPOINT_X_KEY": "secret-5",
    "MY_OWN_KEY": "secret-6",
    "HTTPS_PROXY": "http://user:secret-7@proxy",
    "PROXY_PASSWORD": "secret-8",
    "TEAM": "secret-9",
}
OUTSIDE = {
    **PROVIDER_SECRETS,
    "LLM_PROXY_API_KEYS": "outside-keys",
    "LLM_PROXY_ADMIN_TOKEN": "outside-token",
    "AWS_SECRET_ACCESS_KEY": "nobody's",
    "PATH": "/bin",
    "LLM_PROXY_LOG_LEVEL": "DEBUG",
}
VALUES = {name: f"value-of-{name}" for names in OWN.values() for name in names} | {"NATS_URL": "nats://x"}


def told(service: Service) -> dict[str, str]:
    return service_environment(service, VALUES, OUTSIDE, CONFIG)


def holders(value: str) -> set[str]:
    return {service for service in SERVICES if any(value in text for text in told(service).values())}


@pytest.mark.parametrize("secret", [f"secret-{number}" for number in range(1, 10)])
def test_provider_keys_are_told_to_the_workers_alone(secret: str) -> None:
    assert holders(secret) == {"provider-workers"}


@pytest.mark.parametrize(
    ("name", "services"),
    [
        ("POSTGRES_DSN", {"audit"}),
        ("ADMIN_TOKEN", {"admin"}),
        ("API_KEYS", {"admin"}),
        ("MASK_SECRET", {"shield"}),
        ("JUDGE_KEY", {"shield"}),
        ("EMBEDDING_MODEL", {"shield"}),
        ("GATEWAY_URL", {"shield"}),
        ("REDIS_URL", {"edge", "router"}),
        ("LISTEN_FD", {"edge", "admin"}),
    ],
)
def test_a_setting_is_told_to_whom_it_concerns(name: str, services: set[str]) -> None:
    assert holders(f"value-of-{name}") == services


def test_what_no_service_needs_is_told_to_none() -> None:
    assert holders("nobody's") == set()
    assert holders("outside-token") == set(), "only what the launcher decided on, not what lies around"


def test_every_service_gets_the_bus_and_the_operators_log_level() -> None:
    assert holders("nats://x") == set(SERVICES)
    assert holders("DEBUG") == set(SERVICES)


def test_keys_that_are_not_set_are_not_invented() -> None:
    assert provider_keys({"PATH": "/bin"}, CONFIG) == {}


def test_what_the_configuration_in_force_wants_and_workers_were_not_given_is_named_with_the_fix() -> None:
    given = provider_keys({**OUTSIDE, "LATE_KEY": "secret"}, CONFIG)
    assert withheld(CONFIG, given) == []
    late = Config(endpoints={"late": Endpoint(provider="openai", models=("m",), key="env:LATE_KEY")})
    (line,) = withheld(late, given)
    assert line.startswith("endpoints.late: LATE_KEY is not given to the provider workers")
    assert "LLM_PROXY_ENDPOINT_<NAME>_KEY" in line


def test_clouds_get_the_variables_that_their_kind_of_credential_reads() -> None:
    outside = dict.fromkeys((*auth.IMPLIED, *auth.IMPLIED_BY_CONTAINER, auth.GOOGLE_ACCOUNT, "S", "P"), "x")

    def given(**fields: Any) -> set[str]:
        endpoint = Endpoint(models=("m",), **fields)
        return set(provider_keys(outside, Config(endpoints={"mine": endpoint})))

    assert given(provider="openai") == set()
    assert given(provider="bedrock", region="r") == set(auth.IMPLIED)
    assert given(provider="bedrock", region="r", key="env:S") == {"S"}
    assert given(provider="openai", auth=auth.SigV4(region="r", source="container")) == set(auth.IMPLIED_BY_CONTAINER)
    assert given(provider="vertex", auth=auth.Google()) == {auth.GOOGLE_ACCOUNT}
    assert given(provider="openai", auth=auth.Basic(user="u", password="env:P")) == {"P"}


def test_a_misspelt_variable_is_told_of_and_no_other() -> None:
    config = Config(endpoints={"mine": Endpoint(provider="openai", models=("m",), key="env:LLM_PROXY_HOUSE_KEY")})
    right = {"LLM_PROXY_API_KEYS", "LLM_PROXY_DRAIN_S", "LLM_PROXY_ENDPOINT_X_URL", "LLM_PROXY_HOUSE_KEY"}
    wrong = {"LLM_PROXY_API_KEY", "LLM_PROXY_REDIS_URL"}
    assert set(unknown(dict.fromkeys({*right, *wrong, "HOME"}, "x"), config)) == wrong


@pytest.mark.parametrize("page", ["README.md", "docs/policy.md", "docs/models/embedding.md"])
def test_every_variable_that_a_page_names_is_read(page: str) -> None:
    named = set(re.findall(r"LLM_PROXY_[A-Z_]+[A-Z]", (ROOT / page).read_text()))
    assert named
    assert unknown(dict.fromkeys(named, "x"), CONFIG) == []


def test_every_variable_of_the_help_is_read() -> None:
    answer = CliRunner().invoke(cli, ["up", "--help"])
    named = set(re.findall(r"(LLM_PROXY_[A-Z_]+[A-Z]) ", answer.output))
    assert len(named) > 5
    assert unknown(dict.fromkeys(named, "x"), CONFIG) == []
