"""The real servers from their wheels: they start together, keep their data, and recover from kill -9 of everything."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest
import redis
from nats.js.errors import NotFoundError
from patience import NATS_S, PATIENCE_S, wait_for

from llmproxy.common.nats_wire import NatsWire
from llmproxy.launcher import processes
from llmproxy.launcher.data_folder import AlreadyRunningError, DataFolder, DataFolderError
from llmproxy.launcher.embedded import EmbeddedServers

ABANDONED = """
import sys, time
from pathlib import Path
from llmproxy.launcher.embedded import EmbeddedServers
servers = EmbeddedServers(Path(sys.argv[1]), durable=False)
servers.start()
print(*(process.pid for process in servers.processes.values()), flush=True)
time.sleep(600)
"""


async def write(servers: EmbeddedServers, number: int) -> None:
    database = await asyncpg.connect(servers.postgres_dsn)
    await database.execute("create table if not exists kept (number int)")
    await database.execute("insert into kept values ($1)", number)
    await database.close()
    bus = await nats.connect(servers.nats_url("test"))
    stream = bus.jetstream(timeout=NATS_S)
    try:
        await stream.stream_info("KEPT")
    except NotFoundError:
        await stream.add_stream(name="KEPT", subjects=["kept.>"])
    await stream.publish("kept.number", str(number).encode())
    await bus.close()
    counter = redis.Redis.from_url(servers.redis_url)
    assert counter.ping()
    counter.close()


async def read(servers: EmbeddedServers) -> tuple[list[int], int]:
    database = await asyncpg.connect(servers.postgres_dsn)
    rows = [row["number"] for row in await database.fetch("select number from kept order by number")]
    await database.close()
    bus = await nats.connect(servers.nats_url("test"))
    messages = (await bus.jetstream(timeout=NATS_S).stream_info("KEPT")).state.messages
    await bus.close()
    return rows, messages


def test_what_was_written_is_there_after_a_restart_on_the_same_ports(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path / "data", with_test_user=True) as servers:
        asyncio.run(write(servers, 1))
        before = (servers.nats_address, servers.redis_url, servers.postgres_dsn)
        pids = [process.pid for process in servers.processes.values()]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with EmbeddedServers(tmp_path / "data", with_test_user=True) as servers:
        assert (servers.nats_address, servers.redis_url, servers.postgres_dsn) == before
        assert asyncio.run(read(servers)) == ([1], 1)


def test_everything_killed_recovers_at_the_next_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    servers = EmbeddedServers(data, with_test_user=True)
    servers.start()
    asyncio.run(write(servers, 1))
    for process in servers.processes.values():
        process.kill()
        process.wait()
    assert (data / "postgres" / "data" / "postmaster.pid").is_file()
    servers.data.unlock()
    with EmbeddedServers(data, with_test_user=True) as again:
        assert asyncio.run(read(again)) == ([1], 1)
        asyncio.run(write(again, 2))
        assert asyncio.run(read(again)) == ([1, 2], 2)


def test_a_stale_postmaster_pid_that_names_a_living_stranger_is_no_obstacle(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with EmbeddedServers(data, durable=False, which=("postgres",)):
        text = (data / "postgres" / "data" / "postmaster.pid").read_text()
    stale = data / "postgres" / "data" / "postmaster.pid"
    stale.write_text("\n".join([str(os.getpid()), *text.splitlines()[1:]]))
    with EmbeddedServers(data, durable=False, which=("postgres",)) as servers:
        assert servers.processes["postgres"].poll() is None


def test_servers_end_when_their_launcher_is_killed_and_the_folder_is_usable_at_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    launcher = subprocess.Popen([sys.executable, "-c", ABANDONED, str(data)], stdout=subprocess.PIPE)
    assert launcher.stdout is not None
    with launcher.stdout:
        pids = [int(pid) for pid in launcher.stdout.readline().split()]
    assert len(pids) == 3
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    with EmbeddedServers(data, durable=False, with_test_user=True) as servers:
        assert not any(is_running(pid) for pid in pids), "two servers on one folder ruin it"
        asyncio.run(write(servers, 1))


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_one_killed_server_comes_back_on_its_port_with_its_data(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path / "data", durable=False, with_test_user=True) as servers:
        asyncio.run(write(servers, 1))
        for name in ("nats", "redis", "postgres"):
            servers.kill(name)
            servers.restart(name)
        assert asyncio.run(read(servers)) == ([1], 1)


def test_a_second_start_on_the_folder_says_who_runs_it(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path / "data", durable=False, which=("redis",)):
        with pytest.raises(AlreadyRunningError) as refusal:
            EmbeddedServers(tmp_path / "data", durable=False, which=("redis",)).start()
        assert refusal.value.pid == os.getpid()
        assert DataFolder(tmp_path / "data").holder() == os.getpid()
    assert DataFolder(tmp_path / "data").holder() is None


def test_a_taken_remembered_port_is_replaced_and_a_taken_configured_port_is_an_error(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with EmbeddedServers(data, durable=False, which=("redis",)) as servers:
        port = int(servers.redis_url.rpartition(":")[2].partition("/")[0])
        with pytest.raises(DataFolderError, match=f"port {port} for redis is taken"):
            EmbeddedServers(tmp_path / "other", which=("redis",), ports={"redis": port}).start()
        (tmp_path / "third").mkdir()
        (tmp_path / "third" / "ports.json").write_text(f'{{"redis": {port}}}')
        with EmbeddedServers(tmp_path / "third", durable=False, which=("redis",)) as third:
            assert third.redis_url.rpartition(":")[2] != servers.redis_url.rpartition(":")[2]


def test_every_file_with_a_secret_is_its_owners_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with EmbeddedServers(data, durable=False, with_test_user=True) as servers:
        secrets = [servers.data.secret(name).encode() for name in ("redis", "postgres-audit", "nats-edge")]
        holding = [
            path
            for path in data.rglob("*")
            if path.is_file() and "postgres/data" not in str(path) and any(s in path.read_bytes() for s in secrets)
        ]
        assert holding
        for path in holding:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert stat.S_IMODE(data.stat().st_mode) & 0o047 == 0, "others may not look into the data folder"


def test_a_service_may_publish_what_is_its_own_and_nothing_else(tmp_path: Path) -> None:
    async def refusals(servers: EmbeddedServers) -> list[str]:
        said: list[str] = []
        heard = asyncio.Event()

        async def note(error: Exception) -> None:
            said.append(str(error))
            heard.set()

        shield = await nats.connect(servers.nats_url("shield"), error_cb=note, inbox_prefix="_INBOX_shield")
        await shield.publish("llmproxy.v1.request.route", b"{}")
        await shield.flush()
        assert said == []
        await shield.publish("llmproxy.v1.audit.acme", b"{}")
        await asyncio.wait_for(heard.wait(), PATIENCE_S)
        await shield.close()
        return said

    with EmbeddedServers(tmp_path / "data", durable=False, which=("nats",)) as servers:
        said = asyncio.run(refusals(servers))
        assert any("permissions violation" in text.lower() for text in said), said


def test_jetstream_has_room_for_every_stream_and_again_when_admin_restarts(tmp_path: Path) -> None:
    async def provision(servers: EmbeddedServers) -> None:
        for _ in range(2):
            wire = await NatsWire.connect(
                servers.nats_address,
                user="admin",
                password=servers.nats_password("admin"),
                service="admin",
                timeout_s=NATS_S,
            )
            await wire.provision()
            await wire.close()

    with EmbeddedServers(tmp_path / "data", durable=False, which=("nats",)) as servers:
        asyncio.run(provision(servers))


def test_the_programs_are_the_ones_from_the_wheels(tmp_path: Path) -> None:
    environment = Path(sys.prefix).resolve()
    with EmbeddedServers(tmp_path / "data", durable=False, with_test_user=True) as servers:
        for process in servers.processes.values():
            assert Path(psutil.Process(process.pid).exe()).is_relative_to(environment)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start PostgreSQL as somebody else")
def test_as_root_postgres_runs_as_an_ordinary_account_and_owns_its_folder_alone(tmp_path: Path) -> None:
    with EmbeddedServers(tmp_path / "data", durable=False, which=("postgres",)) as servers:
        account = servers.program("postgres").account
        assert account is not None
        assert psutil.Process(servers.processes["postgres"].pid).uids().effective == account.uid != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start PostgreSQL as somebody else")
def test_as_root_below_a_closed_folder_postgres_starts_too(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    if not processes.holds_dac_override():
        pytest.skip("this root may not open every folder")
    with EmbeddedServers(closed / "data", durable=False, which=("postgres",)) as servers:
        account = servers.program("postgres").account
        assert account is not None
        assert account.may_enter_any_folder


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user every other test shows it")
def test_as_an_ordinary_user_everything_starts(tmp_path: Path) -> None:
    nobody = processes.Account("nobody", 65534, 65534, may_enter_any_folder=True)  # The interpreter may be in /root.
    os.chown(tmp_path, nobody.uid, nobody.gid)
    log = tmp_path / "pids"
    launcher = processes.start(
        processes.Program(
            name="launcher",
            argv=(sys.executable, "-c", ABANDONED, str(tmp_path / "data")),
            environment={},
            log=log,
            account=nobody,
        )
    )
    wait_for(lambda: log.read_text().endswith("\n") or launcher.poll() is not None, "the launcher says its pids")
    pids = [int(pid) for pid in log.read_text().split()]
    assert len(pids) == 3
    for pid in pids:
        assert psutil.Process(pid).uids().effective == nobody.uid
    launcher.kill()
    launcher.wait()
    wait_for(lambda: not any(is_running(pid) for pid in pids), "the servers end with their launcher")
