"""The command line: what it asks admin, what it prints, and how it fails."""

import http.server
import json
import os
import re
import shlex
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result
from patience import PATIENCE_S

from llmproxy.common import keyring
from llmproxy.common.config import Config, Endpoint
from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.records import AuditRecord
from llmproxy.launcher import announcement, exits
from llmproxy.launcher.cli import cli
from llmproxy.launcher.commands.audit import told
from llmproxy.launcher.data_folder import DataFolder, DataFolderError, RunInfo
from llmproxy.launcher.probes import fetch

CLEAN = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "LLM_PROXY_DATA"))
TOKEN = "the-admin-token"


class FakeAdmin:
    """Admin's API as the issue describes it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.keys: list[dict[str, Any]] = []
        self.status: dict[str, Any] = {"ready": True, "instances": [], "endpoints": []}
        self.config: dict[str, Any] = {"endpoints": {"late": {"provider": "openai", "models": ["m"]}}}
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(*fake.get(self.path), needs_token=True)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.asked.append(("POST", self.path, body))
                self.answer(201, {"key": "llmp-new", "record": {"id": "key_1"}}, needs_token=True)

            def do_DELETE(self) -> None:
                fake.asked.append(("DELETE", self.path, None))
                known = self.path.endswith("/key_1")
                missing = {"error": {"code": "not_found", "message": "there is no key 'key_2'"}}
                self.answer(204 if known else 404, {} if known else missing, needs_token=True)

            def answer(self, status: int, body: object, *, needs_token: bool) -> None:
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    status, body = 401, {"error": {"code": "unauthorized", "message": "no"}}
                content = b"" if status == 204 else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def get(self, path: str) -> tuple[int, object]:
        known = {"/api/v1/status": self.status, "/api/v1/config": {"revision": 2, "config": self.config}}
        return 200, known.get(path, {"keys": self.keys})


@pytest.fixture
def admin() -> Iterator[FakeAdmin]:
    admin = FakeAdmin()
    thread = threading.Thread(target=admin.server.serve_forever, args=(0.01,))
    thread.start()
    yield admin
    admin.server.shutdown()
    admin.server.server_close()
    thread.join()


def ask(*arguments: str, admin: FakeAdmin | None = None, token: str = TOKEN, **environment: str) -> Result:
    where = {"LLM_PROXY_ADMIN_URL": admin.url, "LLM_PROXY_ADMIN_TOKEN": token} if admin else {}
    outside = {**CLEAN, "LLM_PROXY_LOCAL_DISCOVERY": "0", **where, **environment}
    return CliRunner().invoke(cli, list(arguments), env=outside)


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["up"],
        ["config"],
        ["keys"],
        ["keys", "create"],
        ["audit"],
        ["audit", "verify"],
        ["audit", "show"],
        ["status"],
    ],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    answer = ask(*command, "--help")
    assert answer.exit_code == exits.OK
    assert len(answer.output.splitlines()) > 5


def commands(group: click.Group, *names: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield (*names, name)


@pytest.mark.parametrize("command", [one for one in commands(cli) if one != ("version",)], ids=" ".join)
def test_the_exit_codes_are_part_of_every_help(command: tuple[str, ...]) -> None:
    said = ask(*command, "--help").output
    assert "Exit codes:\n    0  " in said
    assert "\n    2  wrong usage" in said


@pytest.mark.parametrize(("command", "codes"), [("up", "02356"), ("fake-provider", "0236")])
def test_a_command_names_no_exit_code_that_it_never_ends_with(command: str, codes: str) -> None:
    said = ask(command, "--help").output.partition("Exit codes:")[2]
    assert "".join(re.findall(r"^    (\d)  ", said, re.MULTILINE)) == codes


def test_what_a_variable_can_say_in_the_place_of_an_option_is_part_of_the_help() -> None:
    said = ask("up", "--help").output
    for variable in ("CONFIG_FILE", "PORT", "HOST", "ADMIN_PORT", "ADMIN_HOST", "DATA"):
        assert re.search(rf"env\s+var:\s+LLM_PROXY_{variable}\b", said), variable


def test_all_exit_codes_are_part_of_the_help() -> None:
    assert "5  a gateway runs on this data folder already" in ask("--help").output


def test_a_good_file_checks_out(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text("endpoints: {demo: {provider: demo, models: [demo]}}")
    answer = ask("config", "check", str(file))
    assert answer.exit_code == exits.OK
    assert "1 endpoint, 1 model" in answer.output


def test_a_policy_alone_is_valid_and_told_to_answer_nothing(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("policy: {kinds: {email: mask}}")
    answer = ask("config", "check", str(file))
    assert answer.exit_code == exits.OK
    assert "warning: it has no endpoints" in answer.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("endpoints: [", "not valid YAML"),
        ("endpoints: {x: {provider: acme, models: [m]}}", "acme"),
        ("endpoint: {}", "endpoint"),
        ("endpoints: {x: {provider: openai, models: [m], key: sk-123}}", "endpoints.x.key: write a reference"),
        ("limits: {key: {requests_per_minute: '${NOT_SET}'}}", "NOT_SET"),
        ("", "it is empty"),
        ("# endpoints: {}\n---\n", "it is empty"),
        ("[]", "Expected `object`, got `array`"),
    ],
)
def test_a_bad_file_exits_with_3_and_names_the_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    answer = ask("config", "check", str(file))
    assert answer.exit_code == exits.CONFIGURATION
    assert str(file) in answer.output
    assert said in answer.output
    assert "sk-123" not in answer.output


def test_a_missing_file_is_named_once() -> None:
    answer = ask("config", "check", "/nowhere/llmproxy.yaml")
    assert answer.exit_code == exits.CONFIGURATION
    assert answer.output.startswith("Error: /nowhere/llmproxy.yaml cannot be read: No such file")


def test_starting_with_a_bad_file_names_it(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("endpoints: [")
    answer = ask("up", "--config", str(file), "--data", str(tmp_path / "data"))
    assert answer.exit_code == exits.CONFIGURATION
    assert answer.output.startswith(f"Error: {file}: not valid YAML")


def test_an_address_of_another_machine_is_the_hosts_fault_and_not_the_ports(tmp_path: Path) -> None:
    for option in ("--host", "--admin-host"):
        answer = ask("up", "--data", str(tmp_path / "data"), "--port", "0", "--admin-port", "0", option, "192.0.2.1")
        assert answer.exit_code == exits.CANNOT_START
        assert f"choose another with {option}" in answer.output


def test_show_prints_references_and_never_a_key(tmp_path: Path) -> None:
    answer = ask("config", "show", "--data", str(tmp_path), OPENAI_API_KEY="sk-secret-value")
    assert answer.exit_code == exits.OK
    assert yaml.safe_load(answer.output)["endpoints"]["openai"]["key"] == "env:OPENAI_API_KEY"
    assert "sk-secret-value" not in answer.output


def test_schema_is_json_schema() -> None:
    assert json.loads(ask("config", "schema").output)["$schema"].startswith("https://json-schema.org/")


def test_config_show_prints_what_is_in_force_and_not_what_the_gateway_was_started_with(
    admin: FakeAdmin, tmp_path: Path
) -> None:
    folder = DataFolder(tmp_path)
    folder.lock()
    folder.write_run_info(RunInfo(pid=1, gateway_url="http://127.0.0.1:1", admin_url=admin.url, started_at_ms=0))
    folder.file("config.effective.yaml").write_text("endpoints: {first: {provider: demo, models: [demo]}}")
    answer = ask("config", "show", "--data", str(tmp_path), admin=admin)
    admin.config = {"endpoints": [1]}
    other = ask("config", "show", "--data", str(tmp_path), admin=admin)
    folder.unlock()
    assert answer.output == "endpoints:\n  late:\n    provider: openai\n    models:\n    - m\n"
    assert other.exit_code == exits.UNREACHABLE
    assert "does not answer as this version's admin" in other.output


def test_a_new_key_is_printed_alone_so_that_a_script_can_take_it(admin: FakeAdmin) -> None:
    arguments = ["keys", "create", "--name", "ci", "--tenant", "acme", "--model", "a", "--model", "b", "--rpm", "60"]
    answer = ask(*arguments, "--concurrency", "5", "--expires", "30d", admin=admin)
    assert answer.exit_code == exits.OK
    assert answer.stdout == "llmp-new\n"
    body = admin.asked[0][2]
    assert body.pop("expires_at_ms") > 30 * 86_400_000
    assert body == {
        "name": "ci",
        "tenant": "acme",
        "principal": "",
        "models": ["a", "b"],
        "limit": {"requests_per_minute": 60, "concurrency": 5},
    }


def test_a_burst_without_a_rate_is_refused_and_the_fix_is_named(admin: FakeAdmin) -> None:
    answer = ask("keys", "create", "--name", "ci", "--burst", "5", admin=admin)
    assert answer.exit_code == exits.USAGE
    assert "--rpm" in answer.output
    assert admin.asked == []
    assert ask("keys", "create", "--name", "ci", "--burst", "5", "--rpm", "9", admin=admin).exit_code == exits.OK
    assert admin.asked[0][2]["limit"] == {"requests_per_minute": 9, "burst": 5}


def test_keys_are_listed_with_their_state(admin: FakeAdmin) -> None:
    admin.keys = [
        {"id": "key_1", "name": "ci", "models": ["gpt-4o"], "limit": {"requests_per_minute": 60}},
        {"id": "key_2", "name": "old", "revoked_at_ms": 5},
        {"id": "key_3", "name": "late", "expires_at_ms": 5},
    ]
    lines = ask("keys", "list", admin=admin).output.splitlines()
    assert "60/min" in lines[1]
    assert [line.split()[-1] for line in lines[1:]] == ["valid", "revoked", "expired"]


def test_keys_are_listed_whatever_somebody_called_them_and_however_long_they_last(admin: FakeAdmin) -> None:
    admin.keys = [
        {
            "id": "key_1",
            "name": "[/team] :key: [bold]",
            "tenant": "[red]acme",
            "models": ["[/]"],
            "expires_at_ms": 10**18,
        },
        {"id": "key_2", "name": "ci"},
    ]
    answer = ask("keys", "list", admin=admin)
    assert answer.exit_code == exits.OK
    first, second = answer.output.splitlines()[1:]
    assert re.split(r" {2,}", first.strip())[:4] == ["key_1", "[/team] :key: [bold]", "[red]acme", "[/]"]
    assert first.split()[-1] == "valid"
    assert second.split()[0] == "key_2"


def test_a_key_in_the_place_of_its_id_is_revoked_and_never_sent_or_shown(admin: FakeAdmin) -> None:
    key = keyring.generate()
    answer = ask("keys", "revoke", key, admin=admin)
    assert key not in answer.output
    key_id = keyring.key_id(keyring.hash_key(key))
    assert admin.asked == [("DELETE", f"/api/v1/keys/{key_id}", None)]


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://127.0.0.1/x"])
def test_an_address_that_is_none_is_named_with_the_fix(url: str) -> None:
    answer = ask("keys", "list", LLM_PROXY_ADMIN_URL=url, LLM_PROXY_ADMIN_TOKEN=TOKEN)
    assert answer.exit_code == exits.UNREACHABLE
    assert f"no gateway answers at {url.rstrip('/')}" in answer.output
    assert "LLM_PROXY_ADMIN_URL" in answer.output


def test_who_is_no_admin_is_named_so(admin: FakeAdmin) -> None:
    admin.get = lambda path: (404, "not found")  # type: ignore[method-assign]
    answer = ask("status", admin=admin)
    assert answer.exit_code == exits.UNREACHABLE
    assert "does not answer as an admin API (status 404)" in answer.output


@pytest.mark.parametrize(
    ("endpoint", "is_told"),
    [
        ("{provider: anthropic, models: [m]}", True),
        ("{provider: google, url: 'http://127.0.0.1:1', models: [m]}", True),
        ("{provider: openai, models: [m]}", True),
        ("{provider: openai, url: 'http://127.0.0.1:1', models: [m]}", False),
        ("{provider: anthropic, auth: {kind: none}, models: [m]}", False),
        ("{provider: anthropic, key: 'env:A', models: [m]}", False),
        ("{provider: ollama, models: [m]}", False),
        ("{provider: demo, models: [m]}", False),
    ],
)
def test_an_endpoint_that_nobody_can_call_for_want_of_a_key_is_told(
    tmp_path: Path, endpoint: str, is_told: bool
) -> None:
    file = tmp_path / "llmproxy.yaml"
    file.write_text(f"endpoints: {{one: {endpoint}}}")
    answer = ask("config", "check", str(file))
    assert answer.exit_code == exits.OK
    assert ("warning: endpoints.one: " in answer.stderr) is is_told


def test_a_signature_that_is_disabled_and_does_not_exist_is_told_with_the_one_that_may_be_meant(tmp_path: Path) -> None:
    file = tmp_path / "llmproxy.yaml"
    file.write_text(
        "firewall: {disabled: [overide, indirect.no-confirmation, extraction, ours, zzz],"
        " signatures: [{id: ours, phrase: a phrase of ours}]}\nendpoints: {one: {provider: demo, models: [m]}}"
    )
    answer = ask("config", "check", str(file))
    assert answer.exit_code == exits.OK
    assert [line for line in answer.stderr.splitlines() if "firewall" in line] == [
        "warning: firewall.disabled: no signature or category is called 'overide'; did you mean 'override'?",
        "warning: firewall.disabled: no signature or category is called 'zzz'",
    ]


@pytest.mark.parametrize(
    ("setting", "then"), [("", "recorded as costing nothing"), ("routing: {unpriced_models: refuse}", "are refused")]
)
def test_models_that_nobody_has_priced_are_told_with_the_fix(tmp_path: Path, setting: str, then: str) -> None:
    file = tmp_path / "llmproxy.yaml"
    models = ", ".join(["gpt-4o", "gpt-5-2025-08-07", "mine", *(f"new-{number}" for number in range(9))])
    endpoint = f"{{provider: openai, key: 'env:A', models: [{models}]}}"
    file.write_text(f"endpoints: {{one: {endpoint}}}\nprices: {{mine: {{input: '0'}}}}\n{setting}")
    answer = ask("config", "check", str(file))
    assert answer.exit_code == exits.OK
    told = next(line for line in answer.stderr.splitlines() if line.startswith("warning: prices: "))
    assert "one/new-0, " in told
    assert "one/new-7 and 1 more" in told
    assert then in told
    assert 'input: "0"' in told
    assert "gpt" not in told
    assert "mine" not in told
    file.write_text("endpoints: {one: {provider: demo, models: [m]}}")
    assert "prices" not in ask("config", "check", str(file)).stderr


def test_a_key_has_a_name(admin: FakeAdmin) -> None:
    answer = ask("keys", "create", "--name", " ", admin=admin)
    assert answer.exit_code == exits.USAGE
    assert "say what the key is for" in answer.output


def test_an_unknown_key_is_not_revoked_and_says_so(admin: FakeAdmin) -> None:
    assert ask("keys", "revoke", "key_1", admin=admin).exit_code == exits.OK
    answer = ask("keys", "revoke", "key_2", admin=admin)
    assert answer.exit_code == exits.NOT_SO
    assert "there is no key 'key_2'" in answer.output


def test_status_shows_instances_and_exits_with_1_when_one_is_not_ready(admin: FakeAdmin) -> None:
    instance = {
        "service": "shield",
        "instance": "shield-1-ab12",
        "ready": True,
        "in_flight": 3,
        "notes": {"redis": "slow"},
    }
    endpoint = {"name": "openai", "provider": "openai", "models": ["m", "[/m]"], "circuit": "closed", "failing": ["m"]}
    admin.status = {"instances": [instance], "endpoints": [endpoint]}
    good = ask("status", admin=admin)
    assert good.exit_code == exits.OK
    assert "closed; open for m" in good.output
    assert "shield-1-ab12" in good.output
    assert "redis: slow" in good.output
    assert "m, [/m]" in good.output
    admin.status = {"instances": [{**instance, "ready": False}]}
    assert ask("status", admin=admin).exit_code == exits.NOT_SO
    assert json.loads(ask("status", "--json", admin=admin).output) == admin.status


def test_status_tells_of_a_configuration_file_that_is_not_in_force(admin: FakeAdmin, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.lock()
    info = RunInfo(pid=1, gateway_url="http://127.0.0.1:1", admin_url=admin.url, started_at_ms=0)
    told = []
    for why in ("gateway.yaml: policy.kinds.emial: unknown kind", ""):
        folder.write_run_info(msgspec.structs.replace(info, refused=why))
        told.append(ask("status", "--data", str(tmp_path), LLM_PROXY_ADMIN_TOKEN=TOKEN))
    folder.unlock()
    assert [answer.exit_code for answer in told] == [exits.OK, exits.OK]
    assert "is not in force: gateway.yaml: policy.kinds.emial: unknown kind" in told[0].output
    assert "in force" not in told[1].output


@pytest.mark.parametrize("ready", [{}, {"ready": True}, {"ready": False}])
def test_status_names_a_service_that_has_no_instance_and_exits_with_1(admin: FakeAdmin, ready: dict[str, bool]) -> None:
    edge = {"service": "edge", "instance": "edge-1-ab12", "ready": True}
    admin.status = {**ready, "instances": [edge], "missing": ["shield"]}
    answer = ask("status", admin=admin)
    assert answer.exit_code == exits.NOT_SO
    assert [line.split()[:3] for line in answer.output.splitlines()[2:]] == [["shield", "none", "no"]]


def test_a_wrong_token_and_a_missing_gateway_exit_with_4_and_name_the_fix(admin: FakeAdmin, tmp_path: Path) -> None:
    wrong = ask("keys", "list", admin=admin, token="wrong")
    assert wrong.exit_code == exits.UNREACHABLE
    assert "LLM_PROXY_ADMIN_TOKEN" in wrong.output
    missing = ask(
        "status", "--data", str(tmp_path), LLM_PROXY_ADMIN_TOKEN="x", LLM_PROXY_ADMIN_URL="http://127.0.0.1:9"
    )
    assert missing.exit_code == exits.UNREACHABLE
    assert "llmproxy up" in missing.output
    without = ask("status", "--data", str(tmp_path))
    assert without.exit_code == exits.UNREACHABLE
    assert "admin.token is not there" in without.output


def test_a_token_that_no_header_can_carry_is_not_quoted() -> None:
    answer = ask("status", LLM_PROXY_ADMIN_URL="http://127.0.0.1:1", LLM_PROXY_ADMIN_TOKEN="hunter2\nx")
    assert answer.exit_code == exits.UNREACHABLE
    assert "hunter2" not in answer.output
    assert "copy it again" in answer.output


@contextmanager
def greeting(words: bytes) -> Iterator[str]:
    """The URL of a server that says this to the first who asks, and leaves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(words)

        serving = threading.Thread(target=greet)
        serving.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving.join()


@pytest.mark.parametrize("body", [b'"\xff"', b"[" * 100_000], ids=["no text", "deep"])
def test_what_answers_in_no_json_is_no_gateway(body: bytes) -> None:
    with greeting(b"HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)) as url:
        answer = ask("status", LLM_PROXY_ADMIN_URL=url, LLM_PROXY_ADMIN_TOKEN="t")
    assert answer.exit_code == exits.UNREACHABLE
    assert "does not answer as an admin API (status 500)" in answer.output


def test_what_does_not_speak_http_is_no_gateway() -> None:
    with greeting(b"SSH-2.0-hello\r\n") as url:
        answer = ask("status", LLM_PROXY_ADMIN_URL=url, LLM_PROXY_ADMIN_TOKEN="t")
    assert answer.exit_code == exits.UNREACHABLE
    assert "it does not speak HTTP" in answer.output


@pytest.mark.parametrize(
    "words",
    [
        b"SSH-2.0-hello\r\n",
        b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{",
    ],
)
def test_a_service_that_dies_while_it_answers_a_probe_is_not_ready(words: bytes) -> None:
    with greeting(words) as url:
        assert fetch(url, 2.0) == (0, "")


def test_the_token_is_found_in_the_data_folder(admin: FakeAdmin, tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text(TOKEN + "\n")
    assert ask("keys", "list", "--data", str(tmp_path), LLM_PROXY_ADMIN_URL=admin.url).exit_code == exits.OK


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--scale", "nobody=2"],
        ["up", "--scale", "shield=0"],
        ["up", "--scale", "shield"],
        ["up", "--ports", "nats=99999"],
        ["audit", "verify", "--checkpoint", "/nowhere/checkpoint"],
        ["audit", "verify", "--public-key", "/nowhere/signing.pub"],
        ["keys", "create"],
        ["keys", "create", "--name", "x", "--expires", "soon"],
        ["keys", "create", "--name", "x", "--burst", "5"],
        ["nonsense"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert ask(*arguments).exit_code == exits.USAGE


def test_verifying_a_folder_without_a_ledger_says_so(tmp_path: Path) -> None:
    answer = ask("audit", "verify", "--data", str(tmp_path / "empty"))
    assert answer.exit_code == exits.UNREACHABLE
    assert "holds no ledger" in answer.output


@pytest.mark.parametrize("key", [None, "not a key", b"\xff\xfe"])
def test_verifying_without_a_readable_public_key_is_no_verdict_and_says_how_to_give_one(
    key: str | bytes | None, tmp_path: Path
) -> None:
    (tmp_path / "audit").mkdir()
    if key is not None:
        (tmp_path / "audit" / "signing.pub").write_bytes(key if isinstance(key, bytes) else key.encode())
    answer = ask("audit", "verify", "--data", str(tmp_path), "--dsn", "postgresql://127.0.0.1:1/none")
    assert answer.exit_code == exits.USAGE
    assert str(tmp_path / "audit" / "signing.pub") in answer.output
    assert "--public-key" in answer.output


def test_a_record_is_told_in_words_with_the_reasons_of_its_verdict() -> None:
    mail = Explanation(guard="pii", kind="email", action="mask", path="messages[0].content", start=5, end=20)
    attack = Explanation(
        guard="injection",
        kind="injection",
        action="flag",
        path="messages[2].content",
        end=80,
        per_mille=732,
        via=("rot13",),
    )
    hit = Explanation(
        guard="firewall", kind="firewall.override", rule="ignore-all", action="flag", start=7, end=90, via=("runs",)
    )
    record = AuditRecord(
        id="r-1",
        at_ms=1,
        verdict="answered",
        tenant="acme",
        model="demo",
        policy=4,
        explained=Explained((mail, attack, hit), 3),
    )
    assert list(told(record)) == [
        "r-1: answered, acme, demo, revision 4",
        "  mask: pii saw email in messages[0].content, characters 5 to 20",
        "  flag: injection saw injection in messages[2].content, characters 0 to 80, probability 0.732, after rot13",
        "  flag: firewall saw firewall.override (ignore-all) in bytes 7 to 90 of the body, after runs",
        "  and 3 more",
    ]
    assert list(told(msgspec.structs.replace(record, explained=None)))[1:] == ["  nothing was found"]
    assert "  before it 7 requests" in list(told(msgspec.structs.replace(record, unrecorded=7)))[1]


@pytest.mark.parametrize("option", ["--host", "--admin-host"])
def test_no_address_is_not_every_address(tmp_path: Path, option: str) -> None:
    answer = ask("up", "--data", str(tmp_path / "data"), "--port", "0", "--admin-port", "0", option, "")
    assert answer.exit_code == exits.CANNOT_START
    assert f"{option} is empty; write an address" in answer.output


@pytest.mark.parametrize(
    ("variable", "option"), [("LLM_PROXY_API_KEYS", "--host"), ("LLM_PROXY_ADMIN_TOKEN", "--admin-host")]
)
def test_a_guessable_credential_is_refused_off_this_machine(tmp_path: Path, variable: str, option: str) -> None:
    hosts = ["--host", "0.0.0.0", "--admin-host", "0.0.0.0"]
    answer = ask("up", "--data", str(tmp_path / "data"), "--port", "0", *hosts, **{variable: "test"})
    assert answer.exit_code == exits.CONFIGURATION
    assert f"{variable}: too short" in answer.output
    assert f"or {option} 127.0.0.1" in answer.output


def test_a_configuration_is_utf_8_whatever_the_locale_says(tmp_path: Path) -> None:
    file = tmp_path / "llmproxy.yaml"
    file.write_bytes("endpoints: {d: {provider: demo, models: [modèle]}}".encode())
    argv = [sys.executable, "-m", "llmproxy.launcher", "config", "check", str(file)]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    answer = subprocess.run(argv, capture_output=True, env=plain, timeout=PATIENCE_S, check=False)
    assert answer.returncode == exits.OK, answer.stderr


def test_a_start_without_room_to_write_names_the_folder(tmp_path: Path) -> None:
    no_room = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); from llmproxy.launcher.cli import cli; cli()"
    argv = [sys.executable, "-c", no_room, "up", "--data", str(tmp_path / "data"), "--port", "0", "--admin-port", "0"]
    answer = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert answer.returncode == exits.CANNOT_START
    assert f"cannot write to {tmp_path / 'data'}: File too large; make room there" in answer.stderr


@pytest.mark.parametrize("value", ["soon", "-1", "nan"])
def test_a_drain_time_that_is_no_time_is_named_before_anything_starts(tmp_path: Path, value: str) -> None:
    answer = ask("up", "--data", str(tmp_path / "data"), "--port", "0", "--admin-port", "0", LLM_PROXY_DRAIN_S=value)
    assert answer.exit_code == exits.CONFIGURATION
    assert "LLM_PROXY_DRAIN_S: write seconds" in answer.output


def test_a_data_folder_whose_path_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    """A server that was told of it in its configuration ended the start with a traceback."""
    with pytest.raises(DataFolderError, match="not UTF-8; choose another --data folder") as caught:
        DataFolder(tmp_path / os.fsdecode(b"\xff")).lock()
    assert str(caught.value).isprintable()


def test_what_a_loss_of_power_leaves_of_a_data_folder_is_used_or_named(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.lock()
    for left in (b'{"na', b'{"nats":99999999}', b'{"nats\xff":1}', b"\0" * 16, b""):
        folder.file("ports.json").write_bytes(left)
        assert set(folder.ports(["nats"], {})) == {"nats"}
        assert folder.remembered_ports()
        folder.file("run.json").write_bytes(left)
        assert folder.run_info() is None
    folder.unlock()
    folder.admin_token()
    folder.file("admin.token").write_text("\n")
    with pytest.raises(DataFolderError, match=r"admin\.token is empty; restore it .* or remove it"):
        folder.admin_token()
    folder.file("secrets", "mask").touch()
    with pytest.raises(DataFolderError, match="mask is empty"):
        folder.secret("mask")


def test_a_password_that_cannot_stand_in_an_address_is_named_and_not_quoted(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.file("secrets", "postgres-audit").write_text("hunter/2\n")
    with pytest.raises(
        DataFolderError, match=r"postgres-audit has other signs than .*; write one without them"
    ) as caught:
        folder.secret("postgres-audit")
    assert "hunter" not in str(caught.value)


def test_an_address_of_the_ledger_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    answer = ask("audit", "verify", "--data", str(tmp_path), "--dsn", "postgresql://a:hunter/2@127.0.0.1:5432/llmproxy")
    assert answer.exit_code == exits.USAGE
    assert "/ as %2F" in answer.output
    assert "hunter" not in answer.output


def test_compose_init_writes_each_secret_for_its_service_once(tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    first = ask("compose", "init", "--to", str(folder))
    assert first.exit_code == exits.OK
    assert f"(set -a; . {folder}/admin.env; llmproxy keys create --name first)" in first.output
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert ask("compose", "init", "--to", str(folder)).exit_code == exits.CANNOT_START
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("command", [("compose", "init", "--to"), ("up", "--port", "0", "--admin-port", "0", "--data")])
def test_a_folder_that_cannot_be_made_is_named_with_the_fix(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    answer = ask(*command, str(tmp_path / "file" / "folder"))
    assert answer.exit_code == exits.CANNOT_START
    assert f"choose another {'with --to' if command[0] == 'compose' else '--data folder'}" in answer.output


def announced(
    config: Config, *, is_ours: bool = True, key: str = "llmp-k", data: str = ".data", command: str = "llmproxy"
) -> list[str]:
    return list(
        announcement.lines(
            gateway_url="http://127.0.0.1:1",
            admin_url="http://127.0.0.1:2",
            token_in="/d/admin.token",
            config=config,
            is_ours=is_ours,
            key=key,
            keys_exist=not key,
            data=Path(data).absolute(),
            command=command,
        )
    )


@pytest.mark.parametrize(
    ("endpoints", "said"),
    [
        ({}, "none; the configuration has no endpoints"),
        ({"x": Endpoint(provider="openai", models=("*",))}, "any"),
        ({"x": Endpoint(provider="openai", models=("m",))}, "m"),
    ],
)
def test_the_models_are_announced(endpoints: dict[str, Endpoint], said: str) -> None:
    assert f"  Models    {said}" in announced(Config(endpoints=endpoints))


@pytest.mark.parametrize(
    ("data", "command"),
    [
        (".data", "`llmproxy keys create --name NAME`"),
        ("/srv/my data", "`llmproxy keys create --name NAME --data '/srv/my data'`"),
    ],
)
def test_the_command_that_makes_a_key_works_for_this_data_folder(data: str, command: str) -> None:
    assert f"  API key   there are keys already; make another with {command}" in announced(Config(), key="", data=data)


@pytest.mark.parametrize(
    ("started_as", "on_path", "command"),
    [
        (".venv/bin/llmproxy", None, ".venv/bin/llmproxy"),
        (".venv/bin/llmproxy", "/usr/bin/llmproxy", "llmproxy"),
        ("/opt/our own/llmproxy", None, "'/opt/our own/llmproxy'"),
        ("/opt/launcher/__main__.py", None, "llmproxy"),
    ],
)
def test_the_command_that_makes_a_key_is_found_where_no_path_leads_to_it(
    started_as: str, on_path: str | None, command: str
) -> None:
    assert announcement.called(started_as, on_path) == command
    assert f"`{command} keys create --name NAME`" in "\n".join(announced(Config(), key="", command=command))


def test_a_start_says_when_the_configuration_that_it_was_given_is_not_the_one_in_force() -> None:
    assert not any(line.startswith("  Config") for line in announced(Config()))
    (line,) = [line for line in announced(Config(), is_ours=False) if line.startswith("  Config")]
    assert "LLM_PROXY_CONFIG_SOURCE=api" in line


def test_the_announced_curl_line_survives_any_model_name() -> None:
    lines = announced(Config(endpoints={"x": Endpoint(provider="openai", models=("it's",))}))
    (curl,) = [line for line in lines if line.strip().startswith("curl")]
    words = shlex.split(curl)
    assert json.loads(words[-1])["model"] == "it's"
    assert "Authorization: Bearer llmp-k" in words


def test_the_version_is_printed() -> None:
    assert ask("version").output.startswith("llmproxy 0.")
