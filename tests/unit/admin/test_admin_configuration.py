"""Which configuration is in force: numbered, compared and set, recorded first, and never replaced by one that is unusable."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmproxy.admin.configuration import differences
from llmproxy.common import config_file
from llmproxy.common.channels import CONFIG_BUCKET
from llmproxy.common.config import Config, Snapshot
from llmproxy.common.testing import FakeBroker

ONE = """
endpoints:
  main: {provider: openai, key: "env:OPENAI_API_KEY", models: [gpt-4o]}
"""
TWO = ONE.replace("gpt-4o", "gpt-4.1")
OFF = ONE + "firewall: {enabled: false}\n"
FROM_A_FILE = """
endpoints:
  main: {provider: openai, url: "https://collector.example", key: "file:/etc/passwd", models: [m]}
"""


def file(folder: Path, text: str = ONE) -> Path:
    """The operator's."""
    path = folder / "llmproxy.yaml"
    path.write_text(text)
    return path


def published(broker: FakeBroker) -> Snapshot:
    return msgspec.json.decode(broker.buckets[CONFIG_BUCKET].entries["current"][0], type=Snapshot)


async def refusal(admin: Any, text: str) -> str:
    """Why a configuration is not taken; who only has it checked is told the same, and nobody what a key is."""
    status, body = await admin.call("PUT", "/api/v1/config", data=text)
    assert (status, body["error"]["code"]) == (400, "invalid_config")
    status, checked = await admin.call("POST", "/api/v1/config/check", data=text)
    assert (status, checked["ok"], checked["problem"]) == (200, False, body["error"]["message"])
    assert "canary" not in str((body, checked))
    return str(checked["problem"])


def test_the_file_is_published_once_numbered_and_recorded(start_admin: Any, tmp_path: Path) -> None:
    path = file(tmp_path)

    async def scenario() -> None:
        broker = FakeBroker()
        async with start_admin(broker, config=str(path)) as admin:
            snapshot = published(broker)
            assert (snapshot.revision, snapshot.source) == (1, "file")
            assert [one.action for one in admin.recorded()] == ["config.applied"]
            assert admin.recorded()[0].subject == f"revision 1 {snapshot.fingerprint}"
            status, shown = await admin.call("GET", "/api/v1/config")
            assert status == 200
            assert (shown["revision"], shown["fingerprint"]) == (1, snapshot.fingerprint)
            assert shown["config"]["endpoints"]["main"]["key"] == "env:OPENAI_API_KEY"
        async with start_admin(broker, config=str(path)) as admin:
            assert published(broker).revision == 1
            assert len(admin.recorded()) == 1

    asyncio.run(scenario())


def test_a_changed_file_is_published_and_an_unusable_one_is_not(start_admin: Any, tmp_path: Path) -> None:
    path = file(tmp_path)

    async def scenario() -> None:
        broker = FakeBroker()
        async with start_admin(broker, config=str(path)) as admin:
            path.write_text(TWO)
            await admin.eventually(lambda: published(broker).revision == 2, "the change is published")
            path.write_text("endpoints: {main: {provider: nobody}}")
            await admin.eventually(lambda: admin.context.readiness.notes.get("configuration"), "the refusal is noted")
            assert "revision 2 stays in force" in admin.context.readiness.notes["configuration"]
            path.write_text("")
            await admin.eventually(
                lambda: admin.context.readiness.notes["configuration"].startswith("it is empty"), "so is an empty file"
            )
            assert admin.context.readiness.ready
            assert published(broker).revision == 2
            path.write_text(ONE)
            await admin.eventually(lambda: published(broker).revision == 3, "the repaired file is published")
            assert "configuration" not in admin.context.readiness.notes

    asyncio.run(scenario())


def test_without_any_usable_configuration_admin_is_not_ready_and_says_why(start_admin: Any, tmp_path: Path) -> None:
    path = tmp_path / "llmproxy.yaml"

    async def scenario() -> None:
        async with start_admin(config=str(path), ready=False) as admin:
            await admin.eventually(
                lambda: "cannot be read" in admin.context.readiness.blockers.get("configuration", ""),
                "the file is missed",
            )
            status, report = await admin.call("GET", "/readyz", token=None)
            assert (status, report["blockers"]["configuration"]) == (
                503,
                f"{path} cannot be read: No such file or directory",
            )
            path.write_text(ONE)
            await admin.eventually(lambda: admin.context.readiness.ready, "it recovers by itself")

    asyncio.run(scenario())


def test_when_the_file_decides_the_api_refuses_to_write_and_says_where_to_write(
    start_admin: Any, tmp_path: Path
) -> None:
    path = file(tmp_path)

    async def scenario() -> None:
        async with start_admin(config=str(path)) as admin:
            status, body = await admin.call("PUT", "/api/v1/config", data=TWO)
            assert (status, body["error"]["code"]) == (409, "conflict")
            assert "change it there" in body["error"]["message"]

    asyncio.run(scenario())


def test_over_the_api_a_configuration_is_compared_and_set(start_admin: Any, tmp_path: Path) -> None:
    path = file(tmp_path)

    async def scenario() -> None:
        broker = FakeBroker()
        async with start_admin(broker, config=str(path), config_source="api") as admin:
            assert published(broker).revision == 1
            status, body = await admin.call("PUT", "/api/v1/config", data=TWO, headers={"If-Match": '"1"'})
            assert (status, body["revision"]) == (200, 2)
            assert (await admin.call("GET", "/api/v1/config"))[1]["revision"] == 2
            status, body = await admin.call("PUT", "/api/v1/config", data=ONE, headers={"If-Match": '"1"'})
            assert (status, body["error"]["message"]) == (409, "revision 2 is in force, not 1; read it again")
            as_json = msgspec.json.encode(config_file.parse(ONE, {}))
            assert (await admin.call("PUT", "/api/v1/config", data=as_json))[1]["revision"] == 3
            assert (await admin.call("PUT", "/api/v1/config", data=ONE))[1]["revision"] == 3
            assert [one.action for one in admin.recorded()] == ["config.applied"] * 3
            status, body = await admin.call("PUT", "/api/v1/config", data=ONE, headers={"If-Match": "x"})
            assert (status, body["error"]["param"]) == (400, "If-Match")
        path.write_text("not: even: yaml")
        async with start_admin(broker, config=str(path), config_source="api") as admin:
            assert published(broker).revision == 3
            assert admin.context.readiness.notes == {}

    asyncio.run(scenario())


def test_over_the_api_the_firewall_cannot_be_switched_off(start_admin: Any, tmp_path: Path) -> None:
    path = file(tmp_path)

    async def scenario() -> None:
        broker = FakeBroker()
        async with start_admin(broker, config=str(path), config_source="api") as admin:
            assert (await refusal(admin, OFF)).startswith("firewall.enabled: ")
            assert published(broker).config.firewall.enabled
        path.write_text(OFF)
        async with start_admin(FakeBroker(), config=str(path), config_source="api") as admin:
            assert (await admin.call("PUT", "/api/v1/config", data=OFF))[0] == 200  # The file has said so before.

    asyncio.run(scenario())


def test_what_the_environment_says_of_the_firewall_holds_for_what_is_published_already(start_admin: Any) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        async with start_admin(broker, config_source="api") as admin:
            assert (await admin.call("PUT", "/api/v1/config", data=ONE))[0] == 200
        async with start_admin(broker, config_source="api", firewall_enabled="false") as admin:
            assert not published(broker).config.firewall.enabled
            assert (await admin.call("PUT", "/api/v1/config", data=ONE))[0] == 400
        async with start_admin(broker, config_source="api", firewall_enabled="true"):
            assert published(broker).config.firewall.enabled

    asyncio.run(scenario())


@pytest.mark.parametrize(("in_file", "is_on"), [(ONE, True), (OFF, False), ("firewall: [", True), (None, True)])
def test_what_the_environment_said_of_the_firewall_ends_with_it(
    start_admin: Any, tmp_path: Path, in_file: str | None, *, is_on: bool
) -> None:
    path = tmp_path / "llmproxy.yaml"

    async def scenario() -> None:
        broker = FakeBroker()
        async with start_admin(broker, config_source="api", firewall_enabled="false") as admin:
            assert not published(broker).config.firewall.enabled
        if in_file is not None:
            path.write_text(in_file)
        async with start_admin(broker, config=str(path) if in_file is not None else "", config_source="api") as admin:
            assert published(broker).config.firewall.enabled is is_on
            assert ((await admin.call("PUT", "/api/v1/config", data=OFF))[0] == 400) is is_on

    asyncio.run(scenario())


KEYED = "endpoints: {{main: {{provider: openai, models: [m], key: env:{}}}}}"


def test_over_the_api_no_variable_is_named_that_workers_have_not_got(start_admin: Any, tmp_path: Path) -> None:
    path = tmp_path / "llmproxy.yaml"
    path.write_text(KEYED.format("KEPT_KEY"))

    async def scenario() -> None:
        given = {"config": str(path), "config_source": "api", "worker_variables": "OPENAI_API_KEY,MY_KEY"}
        async with start_admin(**given) as admin:
            said = await refusal(admin, KEYED.format("LATE_KEY"))
            assert said.startswith("endpoints.main.key: LATE_KEY is no variable that the provider workers have")
            assert "LLM_PROXY_ENDPOINT_<NAME>_KEY" in said
            assert "start `llmproxy up` again" in said
            _, checked = await admin.call("POST", "/api/v1/config/check", data=KEYED.format("LATE_KEY"))
            assert checked["problem"] == said
            for name in ("KEPT_KEY", "MY_KEY"):  # The first was in force already.
                status, _ = await admin.call("PUT", "/api/v1/config", data=KEYED.format(name))
                assert status == 200
            status, _ = await admin.call("PUT", "/api/v1/config", data=ONE)
            assert status == 200
        async with start_admin(config=str(path), config_source="api", worker_variables="") as admin:
            assert "OPENAI_API_KEY" in await refusal(admin, KEYED.format("OPENAI_API_KEY"))
        async with start_admin(config=str(path), config_source="api") as admin:  # In a container nobody knows.
            assert (await admin.call("PUT", "/api/v1/config", data=KEYED.format("LATE_KEY")))[0] == 200

    asyncio.run(scenario())


def test_of_two_writers_one_is_told_that_it_was_too_late(start_admin: Any) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        async with start_admin(broker, config_source="api") as first:
            answers = await asyncio.gather(
                first.call("PUT", "/api/v1/config", data=ONE, headers={"If-Match": "1"}),
                first.call("PUT", "/api/v1/config", data=TWO, headers={"If-Match": "1"}),
            )
            assert sorted(status for status, _ in answers) == [200, 409]
            assert published(broker).revision == 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("endpoints: [", "not valid YAML"),
        ("endpionts: {}", "endpionts"),
        ("endpoints: {main: {provider: openai, key: sk-canary-of-the-test, models: [m]}}", "write a reference"),
        ("endpoints: {main: {provider: openai, url: '${HOME}', models: [m]}}", "replaced in files only"),
        ("a: &a [1, 1]\nb: [*a, *a]", "aliases"),
        ("[" * 3_000, ""),
        ("", "it is empty"),
        # Nobody leads the gateway inwards.
        (ONE.replace("provider: openai", 'provider: openai, url: "http://10.0.0.1/v1"'), "endpoints.main.url"),
        (ONE + "gateway: {private_networks: [10.0.0.0/8]}", "gateway.private_networks"),
        (ONE + "fetch: {private_networks: [10.0.0.0/8]}", "fetch.private_networks"),
        (
            ONE.replace("provider: openai", 'provider: openai, proxy: {url: "http://10.0.0.1:1"}'),
            "endpoints.main.proxy.url",
        ),
    ],
)
def test_over_the_api_what_cannot_or_must_not_be_used_is_refused_with_the_reason(
    start_admin: Any, text: str, says: str
) -> None:
    async def scenario() -> None:
        async with start_admin(config_source="api") as admin:
            assert says in await refusal(admin, text)

    asyncio.run(scenario())


def test_a_check_says_what_would_change(start_admin: Any) -> None:
    async def scenario() -> None:
        async with start_admin(config_source="api") as admin:
            await admin.call("PUT", "/api/v1/config", data=ONE)
            _, checked = await admin.call(
                "POST", "/api/v1/config/check", data=TWO + "limits: {key: {concurrency: 3}}\n"
            )
            assert checked["ok"]
            assert checked["differences"] == [
                {"path": "endpoints.main.models", "change": "changed"},
                {"path": "limits.key.concurrency", "change": "added"},
            ]
            assert published(admin.broker).revision == 2

    asyncio.run(scenario())


def test_the_same_configuration_has_no_differences() -> None:
    assert differences(config_file.parse(ONE, {}), config_file.parse(ONE, {})) == []
    assert [one.change for one in differences(config_file.parse(ONE, {}), Config())] == ["removed"] * 3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "or use env:NAME"),
        ({"secret_dirs": "/run/secrets"}, "or move it below /run/secrets"),
    ],
)
def test_over_the_api_no_file_is_named_but_below_the_named_directories(
    start_admin: Any, settings: dict[str, str], says: str
) -> None:
    async def scenario() -> None:
        async with start_admin(config_source="api", **settings) as admin:
            said = await refusal(admin, FROM_A_FILE)
            assert said.startswith("endpoints.main.key: ")
            assert "LLM_PROXY_SECRET_DIRS" in said
            assert says in said
            assert admin.changes() == []
            if settings:
                inside = FROM_A_FILE.replace("/etc/passwd", "/run/secrets/openai")
                assert (await admin.call("PUT", "/api/v1/config", data=inside))[0] == 200

    asyncio.run(scenario())


def test_a_file_of_the_operators_own_is_held_to_the_directories_that_he_named(start_admin: Any, tmp_path: Path) -> None:
    path = file(tmp_path, FROM_A_FILE)

    async def scenario() -> None:
        async with start_admin(config=str(path)) as admin:
            assert admin.context.readiness.ready
        async with start_admin(config=str(path), secret_dirs="/run/secrets", ready=False) as admin:
            await admin.eventually(
                lambda: "LLM_PROXY_SECRET_DIRS" in admin.context.readiness.blockers.get("configuration", ""),
                "it is refused",
            )

    asyncio.run(scenario())
