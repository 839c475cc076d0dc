"""Who may write the configuration over the admin API may not have the gateway's machine read for him (docs/adr/0030)."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority

from llmproxy.common import references
from llmproxy.common.config import Config, ConfigError, Endpoint
from llmproxy.common.config_checks import check_files
from llmproxy.common.config_file import parse
from llmproxy.common.errors import GatewayError
from llmproxy.common.outbound import Tls
from llmproxy.launcher.configuration import load_config
from llmproxy.launcher.environment import service_environment
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.connections import Names
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.destinations import Destination
from llmproxy.provider_workers.trust import Trust

PLACES = [
    "key: 'file:{path}'",
    "auth: {{kind: bearer, key: 'file:{path}'}}",
    "auth: {{kind: header, name: x-own, key: 'file:{path}'}}",
    "auth: {{kind: basic, user: u, password: 'file:{path}'}}",
    "auth: {{kind: basic, user: 'file:{path}', password: env:P}}",
    "auth: {{kind: sigv4, region: r, secret_access_key: 'file:{path}'}}",
    "auth: {{kind: sigv4, region: r, session_token: 'file:{path}'}}",
    "auth: {{kind: oauth, token_url: 'https://x.example/t', client_id: c, client_secret: 'file:{path}'}}",
    "auth: {{kind: entra, tenant_id: t, client_id: c, client_secret: 'file:{path}'}}",
    "auth: {{kind: google, account: 'file:{path}'}}",
    "headers: {{insert: {{x-a: 'file:{path}'}}}}",
    "headers: {{replace: {{x-a: 'file:{path}'}}}}",
    "proxy: {{url: 'http://p.example:1', user: u, password: 'file:{path}'}}",
    "tls: {{ca_file: '{path}'}}",
    "tls: {{certificate_file: '{path}'}}",
    "tls: {{certificate_file: /run/secrets/c, key_file: '{path}'}}",
]
OUTSIDE = ["/etc/passwd", "/run/secrets/../passwd", "/run/secretsx/k", "/run", "secrets/k", "../etc/passwd", "~/k", "/"]
DIRECTORIES = ("/run/secrets", "/etc/llmproxy/keys")


def configured(place: str, path: str) -> Config:
    return parse(f"endpoints: {{main: {{provider: openai, models: [m], {place.format(path=path)}}}}}", {})


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", OUTSIDE)
def test_no_field_names_a_file_outside(place: str, path: str) -> None:
    config = configured(place, path)
    for allowed in (DIRECTORIES, ()):
        with pytest.raises(ConfigError, match=r"^endpoints\.main\.[a-z_.-]+: .* LLM_PROXY_SECRET_DIRS"):
            check_files(config, allowed)
    check_files(config, None)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "path", ["/run/secrets/k", "/run/secrets//a/../b", "/etc/llmproxy/keys/x/y", "//run/secrets/k"]
)
def test_a_file_below_a_named_directory_is_taken(place: str, path: str) -> None:
    check_files(configured(place, path), DIRECTORIES)


@pytest.mark.parametrize(
    "name",
    [
        "LLM_PROXY_NATS_PASSWORD",
        "LLM_PROXY_ADMIN_TOKEN",
        "LLM_PROXY_MASK_SECRET",
        "llm_proxy_nats_password",
        "LLM_PROXY_ENDPOINT_A_URL",
        "LLM_PROXY_ENDPOINT_A_KEYS",
        "HTTPS_PROXY",
        "all_proxy",
    ],
)
@pytest.mark.parametrize(
    "place",
    ["key: env:{}", "auth: {{kind: bearer, key: env:{}}}", "headers: {{insert: {{x-a: env:{}}}}}"],
)
def test_no_endpoint_is_shown_a_setting_of_ours(place: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is the gateway's own; put the key into a variable"):
        parse(f"endpoints: {{main: {{provider: openai, models: [m], {place.format(name)}}}}}", {})
    with pytest.raises(GatewayError, match=f"is not there; export {name} for the provider workers"):
        Credentials({name: "hunter2"}).secret("main", f"env:{name}")


def test_the_keys_of_endpoints_that_variables_describe_are_endpoints_keys() -> None:
    name = "LLM_PROXY_ENDPOINT_MAIN_KEY"
    config = parse(f"endpoints: {{main: {{provider: openai, models: [m], key: env:{name}}}}}", {})
    assert Credentials({name: "sk-1"}).secret("main", config.endpoints["main"].key) == "sk-1"


def files(tmp_path: Path) -> tuple[Path, Path]:
    inside, outside = tmp_path / "secrets", tmp_path / "elsewhere"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "key").write_text("sk-1")
    return inside, outside


@pytest.mark.parametrize("named", [True, False])
def test_a_worker_reads_below_the_named_directories_alone_whoever_wrote_it(tmp_path: Path, named: bool) -> None:
    inside, outside = files(tmp_path)
    credentials = Credentials({}, directories=references.directories(f"{inside}, /nowhere"))
    credentials.confine(named=named)
    (inside / "..data").symlink_to(inside / "key")  # As Kubernetes mounts secrets.
    (inside / "leads-out").symlink_to(outside / "key")
    for path in (inside / "key", inside / "..data"):
        assert credentials.secret("main", f"file:{path}") == "sk-1"
    for path in (outside / "key", inside / "leads-out", inside / ".." / "elsewhere" / "key", "elsewhere/key"):
        with pytest.raises(GatewayError, match="LLM_PROXY_SECRET_DIRS") as raised:
            credentials.secret("main", f"file:{path}")
        assert raised.value.code == "provider_unauthorized"


def test_without_named_directories_only_the_operators_own_configuration_reads_files(tmp_path: Path) -> None:
    _, outside = files(tmp_path)
    credentials = Credentials({})
    credentials.confine(named=True)
    assert credentials.secret("main", f"file:{outside / 'key'}") == "sk-1"
    credentials.confine(named=False)
    with pytest.raises(GatewayError, match="LLM_PROXY_SECRET_DIRS"):
        credentials.secret("main", f"file:{outside / 'key'}")


def test_a_directory_that_is_itself_a_link_is_that_directory(tmp_path: Path) -> None:
    inside, _ = files(tmp_path)
    (tmp_path / "link").symlink_to(inside)
    credentials = Credentials({}, directories=(str(tmp_path / "link"),))
    assert credentials.secret("main", f"file:{tmp_path}/link/key") == "sk-1"


def test_what_the_environment_names_is_the_operators_choice(tmp_path: Path) -> None:
    _, outside = files(tmp_path)
    credentials = Credentials({"GOOGLE_APPLICATION_CREDENTIALS": str(outside / "key")})
    credentials.confine(named=False)
    assert credentials._account("main", "") == "sk-1"
    with pytest.raises(GatewayError, match="LLM_PROXY_SECRET_DIRS"):
        credentials._account("main", f"file:{outside / 'key'}")


def test_certificates_too_stay_where_they_may_be_read(tmp_path: Path) -> None:
    inside, outside = files(tmp_path)
    for folder in (inside, outside):
        shutil.copy(Authority(tmp_path, "house").file, folder / "ca.pem")
    credentials = Credentials({}, directories=(str(inside),))

    async def route(path: Path) -> Any:
        endpoint = Endpoint(provider="openai", models=("m",), tls=Tls(ca_file=str(path)))
        return Destination("main", endpoint, ADAPTERS["openai"], credentials).route(Names(), Trust())

    assert asyncio.run(route(inside / "ca.pem")).context is not None
    with pytest.raises(GatewayError, match="LLM_PROXY_SECRET_DIRS"):
        asyncio.run(route(outside / "ca.pem"))


def test_the_launcher_refuses_what_the_workers_would(tmp_path: Path) -> None:
    file = tmp_path / "llmproxy.yaml"
    file.write_text("endpoints: {main: {provider: openai, models: [m], key: 'file:/etc/passwd'}}")
    load_config(file, {})
    with pytest.raises(ConfigError, match=r"endpoints\.main\.key: .* below /run/secrets"):
        load_config(file, {"LLM_PROXY_SECRET_DIRS": "/run/secrets"})
    with pytest.raises(ConfigError, match="LLM_PROXY_SECRET_DIRS: 'secrets' is not an absolute path"):
        load_config(file, {"LLM_PROXY_SECRET_DIRS": "/run/secrets,secrets"})


def test_both_who_check_are_told_the_directories() -> None:
    outside = {"LLM_PROXY_SECRET_DIRS": "/run/secrets"}
    told = {
        service for service in ("admin", "audit", "provider-workers", "router", "shield", "edge")
        if "LLM_PROXY_SECRET_DIRS" in service_environment(service, {}, outside, Config())
    }  # fmt: skip
    assert told == {"admin", "provider-workers"}
