"""Admin and two audit services as processes, with real NATS and Postgres and each service's own permissions."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from patience import NATS_S, PATIENCE_S, wait_for
from shields import Router, start_shield

from llmproxy.common.bus import Bus
from llmproxy.common.channels import AUDIT, KEYS_BUCKET
from llmproxy.common.keyring import KeyRecord, hash_key
from llmproxy.common.nats_wire import NatsWire
from llmproxy.common.records import AuditBatch, AuditRecord
from llmproxy.launcher.embedded import EmbeddedServers

TOKEN = "integration-admin-token"
WRITING = re.compile(r'^llmproxy_ledger_writing\{service="audit",instance="([^"]+)"\} 1\.0$', re.MULTILINE)
WAITING = re.compile(r'^llmproxy_ledger_waiting\{service="audit",instance="[^"]+"\} (\d+)\.0$', re.MULTILINE)
CONFIG = 'endpoints: {main: {provider: openai, key: "env:OPENAI_API_KEY", models: [gpt-4o]}}\n'


class Control:
    """The control plane of one gateway."""

    def __init__(self, servers: EmbeddedServers, folder: Path) -> None:
        self.servers, self.folder = servers, folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.config = folder / "llmproxy.yaml"
        self.configure(CONFIG)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def start(self, service: str, name: str, **settings: str) -> None:
        values = {
            "NATS_URL": self.servers.nats_address,
            "NATS_USER": service,
            "NATS_PASSWORD": self.servers.nats_password(service),
            "NATS_TIMEOUT_S": str(NATS_S),
            "INSTANCE": name,
            **settings,
        }
        environment = {f"LLM_PROXY_{key}": value for key, value in values.items()}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"llmproxy.{service}"],
                env={"PATH": os.environ["PATH"], **environment},
                stdout=log,
                stderr=log,
                pass_fds=(self.listener.fileno(),),
            )

    def start_admin(self, name: str = "admin-1", **settings: str) -> None:
        given = {"ADMIN_TOKEN": TOKEN, "CONFIG": str(self.config), "LISTEN_FD": str(self.listener.fileno())}
        self.start("admin", name, **{**given, **settings})

    def start_audit(self, name: str) -> None:
        dsn = self.servers.postgres_dsn
        self.start("audit", name, POSTGRES_DSN=dsn, DATA_DIR=str(self.folder), PROBES_PORT="0")

    def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else None if body is None else msgspec.json.encode(body)
        request = urllib.request.Request(
            self.url + path, data=content, method=method, headers={"Authorization": f"Bearer {TOKEN}", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                status, said = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, said = error.code, error.read()
        except OSError:
            return 0, {}
        try:
            return status, msgspec.json.decode(said)
        except msgspec.DecodeError:
            return status, said.decode()

    def eventually(self, condition: Callable[[], Any], what: str) -> Any:
        try:
            return wait_for(condition, what)
        except AssertionError as late:
            late.add_note(self.logs())
            raise

    def configure(self, text: str) -> None:
        """As careful editors do: who reads the file meanwhile reads the old text or the new one."""
        written = self.config.with_suffix(".new")
        written.write_text(text)
        written.replace(self.config)

    def proof(self) -> dict[str, Any]:
        """What a verification of the ledger says, of an audit instance that has the time."""
        said: list[dict[str, Any]] = []

        def asked() -> bool:
            status, proof = self.call("POST", "/api/v1/audit/verify")
            said.append(proof)
            return status == 200

        self.eventually(asked, "the ledger is verified")
        return said[-1]

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3_000:] for path in sorted(self.folder.glob("*.log")))

    def instances(self) -> dict[str, Any]:
        return {one["instance"]: one for one in self.call("GET", "/api/v1/status")[1].get("instances", [])}

    def revision(self) -> int:
        """Of the configuration in force, as admin knows it."""
        status, found = self.call("GET", "/api/v1/config")
        assert status == 200, found
        return int(found["revision"])

    def writer(self) -> str:
        """The audit instance that writes now, as it says itself."""
        return next(iter(WRITING.findall(str(self.call("GET", "/metrics")[1]))), "")

    def leave(self, name: str) -> None:
        self.processes[name].terminate()
        assert self.processes[name].wait(PATIENCE_S) == 0

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.listener.close()


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    folder = tmp_path_factory.mktemp("control")
    with EmbeddedServers(folder / "servers", durable=False, which=("nats", "postgres")) as servers:
        control = Control(servers, folder)
        control.start_admin()
        control.start_audit("audit-1")
        control.start_audit("audit-2")
        try:
            control.eventually(lambda: control.call("GET", "/readyz")[0] == 200, "admin is ready")
            control.eventually(lambda: {"audit-1", "audit-2"} <= set(control.instances()), "audit runs twice")
            yield control
        finally:
            control.stop()


async def as_service(servers: EmbeddedServers, name: str) -> Bus:
    password = servers.nats_password(name)
    wire = await NatsWire.connect(servers.nats_address, user=name, password=password, service=name, timeout_s=NATS_S)
    bus = Bus(wire, service=name, instance=f"{name}-{uuid4().hex[:8]}")
    await bus.start()
    return bus


async def as_edge(servers: EmbeddedServers) -> Bus:
    return await as_service(servers, "edge")


def send(control: Control, numbers: range, prefix: str) -> None:
    async def commit() -> None:
        bus = await as_edge(control.servers)
        for start in range(numbers.start, numbers.stop, 10):
            records = [
                AuditRecord(id=f"{prefix}-{n}", at_ms=n, verdict="answered", tenant=prefix)
                for n in range(start, min(start + 10, numbers.stop))
            ]
            await bus.commit(AUDIT, AuditBatch(bus.instance, records), f"{prefix}-{start}", tenant=prefix)
        await bus.drain(PATIENCE_S)

    asyncio.run(commit())


def found(control: Control, tenant: str) -> list[str]:
    """Ids in the ledger, in its order."""
    ids: list[str] = []
    before = ""
    while True:
        status, page = control.call("GET", f"/api/v1/audit?tenant={tenant}&limit=1000{before}")
        if status != 200 or not page["entries"]:
            return ids[::-1]
        ids += [entry["record"]["id"] for entry in page["entries"]]
        before = f"&before_seq={page['next_before_seq']}"


def test_a_key_reaches_the_edges_bucket_at_once_and_its_changes_the_ledger(control: Control) -> None:
    status, made = control.call("POST", "/api/v1/keys", {"name": "n", "tenant": "acme"})
    assert status == 201, made

    async def seen_by_the_edge() -> KeyRecord:
        bus = await as_edge(control.servers)
        entry = await (await bus.wire.bucket(KEYS_BUCKET)).get(hash_key(made["key"]))
        await bus.drain(PATIENCE_S)
        assert entry is not None
        return msgspec.json.decode(entry[0], type=KeyRecord)

    assert asyncio.run(seen_by_the_edge()).revoked_at_ms is None
    key_id = made["record"]["id"]
    assert control.call("DELETE", f"/api/v1/keys/{key_id}")[0] == 200
    assert asyncio.run(seen_by_the_edge()).revoked_at_ms is not None
    listed = control.call("GET", "/api/v1/keys")[1]["keys"]
    assert [key["id"] for key in listed if key["source"] != "environment"] == [key_id]

    def actions() -> list[str]:
        entries = control.call("GET", "/api/v1/audit?verdict=changed")[1].get("entries", [])
        return [e["record"]["action"] for e in reversed(entries) if e["record"]["subject"] == key_id]

    control.eventually(lambda: actions() == ["key.created", "key.revoked"], "both changes are in the ledger")


def test_a_changed_policy_holds_on_every_shield_for_the_requests_that_come_after(control: Control) -> None:
    async def scenario() -> None:
        edge, routing, *shields = [
            await as_service(control.servers, name) for name in ("edge", "router", "shield", "shield")
        ]
        router = Router(edge)
        await router.serve(routing)
        watches = [await start_shield(shield) for shield in shields]
        assert await router.passes() == {False}
        override = "policy: {overrides: [{when: {tenants: [default]}, kinds: {email: flag}}]%s}\n"
        rules = ", rails: {rules: [{name: mail, pattern: 'a[d]a@', action: replace}]}"
        for config, passes in (
            (CONFIG + override % "", True),
            (CONFIG + override % rules, False),
            (CONFIG + override % "", True),
            (CONFIG, False),
        ):
            before = watches[0].snapshot.revision
            control.configure(config)
            while not all(watch.snapshot.revision > before for watch in watches):
                await asyncio.sleep(0.05)
            while await asyncio.to_thread(control.revision) <= before:  # Who comes next reads it there.
                await asyncio.sleep(0.05)
            assert await router.passes() == {passes}
        for bus in (edge, routing, *shields):
            await bus.drain(0.1)

    async def bounded() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            await scenario()

    asyncio.run(bounded())


def test_a_changed_file_is_the_next_revision_everywhere(control: Control) -> None:
    before = control.revision()
    control.configure(CONFIG.replace("gpt-4o", "gpt-4.1"))

    def revisions() -> set[int]:
        return {one["revision"] for one in control.instances().values()}

    control.eventually(lambda: revisions() == {before + 1}, "every instance runs the new revision")
    assert control.call("PUT", "/api/v1/config", CONFIG.encode())[0] == 409


def test_records_are_in_the_ledger_once_and_proven_although_the_writer_is_killed(control: Control) -> None:
    sent = 0
    for _ in range(2):
        writer = control.eventually(control.writer, "one audit instance writes")
        send(control, range(sent, sent + 500), "killed")
        sent += 500
        control.processes[writer].send_signal(signal.SIGKILL)
        control.processes[writer].wait()
        # What was sent again after a lost acknowledgement has another message id: the ledger itself must know it.
        send_again(control, range(sent - 50, sent))
        control.eventually(lambda: control.writer() not in ("", writer), "the other one takes over")  # noqa: B023
        control.start_audit(writer)
        control.eventually(lambda: len(found(control, "killed")) >= sent, "all records are there")  # noqa: B023
    expected = sorted(f"killed-{n}" for n in range(sent))
    control.eventually(lambda: sorted(found(control, "killed")) == expected, "each of them once")
    proof = control.proof()
    assert (proof["ok"], proof["problem"]) == (True, "")
    assert proof["records"] >= sent


def send_again(control: Control, numbers: range) -> None:
    async def commit() -> None:
        bus = await as_edge(control.servers)
        records = [AuditRecord(id=f"killed-{n}", at_ms=n, verdict="answered", tenant="killed") for n in numbers]
        await bus.commit(AUDIT, AuditBatch(bus.instance, records), uuid4().hex, tenant="killed")
        await bus.drain(PATIENCE_S)

    asyncio.run(commit())


def test_records_keep_their_order_while_postgres_is_away(control: Control) -> None:
    control.eventually(control.writer, "one audit instance writes")
    send(control, range(100), "ordered")
    control.servers.kill("postgres")
    send(control, range(100, 400), "ordered")
    control.servers.restart("postgres")
    send(control, range(400, 500), "ordered")
    expected = [f"ordered-{n}" for n in range(500)]
    control.eventually(lambda: found(control, "ordered") == expected, "all records are there, in their order")
    control.eventually(control.writer, "one audit instance writes again")
    assert control.proof()["ok"]


def test_every_audit_instance_says_how_many_messages_wait_for_the_ledger(control: Control) -> None:
    def waiting() -> list[str]:
        return WAITING.findall(str(control.call("GET", "/metrics")[1]))

    control.eventually(control.writer, "one audit instance writes")
    control.servers.kill("postgres")
    send(control, range(70), "waiting")
    control.eventually(lambda: waiting() == ["7", "7"], "seven messages wait")
    control.servers.restart("postgres")
    control.eventually(lambda: waiting() == ["0", "0"], "none does")


def test_metrics_of_all_services_are_on_one_page(control: Control) -> None:
    control.eventually(control.writer, "one audit instance writes")
    wanted = [f'llmproxy_up{{service="audit",instance="{name}"}} 1' for name in ("audit-1", "audit-2")]

    def page() -> str:
        status, text = control.call("GET", "/metrics")
        assert status == 200
        return str(text)

    wanted.append("llmproxy_ledger_records_total{")
    control.eventually(lambda: all(line in page() for line in wanted), "both audit instances are on the page")


def test_admin_stops_at_once_and_starts_with_what_it_had(control: Control) -> None:
    before = control.revision()
    control.leave("admin-1")
    control.start_admin("admin-2", CONFIG_SOURCE="api", API_KEYS="from-the-environment")
    control.eventually(lambda: control.call("GET", "/readyz")[0] == 200, "admin is ready again")
    assert control.revision() == before
    changed = CONFIG.replace("gpt-4o", "gpt-4o-mini").encode()
    status, after = control.call("PUT", "/api/v1/config", changed, **{"If-Match": str(before)})
    assert (status, after["revision"]) == (200, before + 1), after
    stale = control.call("PUT", "/api/v1/config", changed, **{"If-Match": str(before)})
    assert stale[0] == 409
    sources = {key["source"] for key in control.call("GET", "/api/v1/keys")[1]["keys"]}
    assert "environment" in sources
    assert "from-the-environment" not in control.logs()
    control.leave("admin-2")
    control.start_admin()
    control.eventually(lambda: control.call("GET", "/readyz")[0] == 200, "admin is ready once more")
    control.eventually(lambda: control.revision() == before + 2, "the file decides again")
