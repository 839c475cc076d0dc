"""Real nats-server, redis-server and PostgreSQL on one data folder, for `llmproxy up` and for tests."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from llmproxy.launcher import processes
from llmproxy.launcher.data_folder import LOOPBACK, DataFolder, DataFolderError, write_private
from llmproxy.launcher.processes import Process, Program
from llmproxy.launcher.servers import nats, redis
from llmproxy.launcher.servers.postgres import DATABASE, OWNER, SUPERUSER, Postgres

ServerName = Literal["nats", "redis", "postgres"]
SERVERS: tuple[ServerName, ...] = ("nats", "redis", "postgres")
START_TIMEOUT_S = 90.0  # Recovery after a crash replays PostgreSQL's log; an ordinary start takes half a second.
START_TRIES_MAX = 8  # A port may be taken between its choice and its use; a killed PostgreSQL's children may linger.
STOP_GRACE_S = 10.0
POLL_S = 0.01
LOG_TAIL_LINES = 15


@dataclass(frozen=True)
class Server:
    """A program and how to tell that it serves."""

    program: Program
    is_ready: Callable[[Process], bool]


class EmbeddedServers:
    """Use as `with EmbeddedServers(folder) as servers:`. Only one at a time on a folder (AlreadyRunningError).

    `durable=False` is for tests: PostgreSQL does not wait for the disk. Start it from a thread that outlives it
    (pytest's main thread does): the servers end with the thread that started them. `with_test_user=True` adds the NATS user
    `test`, who may publish and subscribe everything; the others have their service's permissions, here as everywhere.
    """

    def __init__(
        self,
        data: DataFolder | Path,
        *,
        durable: bool = True,
        which: tuple[ServerName, ...] = SERVERS,
        ports: Mapping[str, int] | None = None,
        with_test_user: bool = False,
    ) -> None:
        self.data = data if isinstance(data, DataFolder) else DataFolder(data)
        self._durable = durable
        self._which = which
        self._configured_ports = dict(ports or {})
        self._with_test_user = with_test_user
        self._ports: dict[str, int] = {}
        self._servers: dict[ServerName, Server] = {}
        self.processes: dict[ServerName, Process] = {}

    # Where they are.

    @property
    def nats_address(self) -> str:
        return f"nats://{LOOPBACK}:{self._ports['nats']}"

    def nats_url(self, user: str = "operator") -> str:
        return f"nats://{user}:{self.nats_password(user)}@{LOOPBACK}:{self._ports['nats']}"

    def nats_password(self, user: str) -> str:
        return self.data.secret(f"nats-{user}")

    @property
    def redis_url(self) -> str:
        return f"redis://:{self.data.secret('redis')}@{LOOPBACK}:{self._ports['redis']}/0"

    @property
    def postgres_dsn(self) -> str:
        """As the audit service: owner of its database and of nothing else."""
        return self._dsn(OWNER, self.data.secret("postgres-audit"), DATABASE)

    @property
    def postgres_superuser_dsn(self) -> str:
        """For tests that make databases of their own."""
        return self._dsn(SUPERUSER, self.data.secret("postgres-superuser"), "postgres")

    def _dsn(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self._ports['postgres']}/{database}"

    # Their life.

    def start(self) -> None:
        """All at once; returns when all serve. Raises DataFolderError, with the end of the log of what failed."""
        self.data.lock()
        try:
            processes.end_leftovers(self.data.folder("run"))
            self._ports = self.data.ports(self._which, self._configured_ports)
            self._prepare()
            for name in self._which:
                self.launch(name)
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def attach(self) -> Self:
        """For the addresses of servers that another process runs on this folder; starts nothing."""
        self._ports = self.data.remembered_ports()
        return self

    def launch(self, name: ServerName) -> Process:
        """Starts one, without waiting; also how a supervisor replaces one that died."""
        if name == "postgres":
            self._postgres.forget_dead_postmaster()
        process = processes.start(self._servers[name].program)
        processes.remember(process, self.data.file("run", f"{name}.pid"))
        self.processes[name] = process
        return process

    def stop(self) -> None:
        """All at once, PostgreSQL with a checkpoint. Gives the folder free."""
        for name, process in self.processes.items():
            processes.ask_to_stop(process, self._servers[name].program.stop_signal)
        for name, process in self.processes.items():
            processes.end(process, grace_s=STOP_GRACE_S)
            self.data.file("run", f"{name}.pid").unlink(missing_ok=True)
        self.processes.clear()
        self.data.unlock()

    def kill(self, name: ServerName) -> None:
        """kill -9, for tests of failure."""
        processes.kill(self.processes[name])

    def restart(self, name: ServerName) -> None:
        """After `kill`, or in place of a living one: same port, same data. Returns when it serves."""
        processes.ask_to_stop(self.processes[name], self.program(name).stop_signal)
        processes.end(self.processes[name], grace_s=STOP_GRACE_S)
        self.launch(name)
        self._wait_ready()

    def program(self, name: ServerName) -> Program:
        return self._servers[name].program

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()  # Blocks the loop while they start: they must be children of this thread, not of a pool's.
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # How each is made.

    def _prepare(self) -> None:
        self._servers = {name: self._make(name) for name in self._which}

    def _make(self, name: ServerName) -> Server:
        return {"nats": self._nats, "redis": self._redis, "postgres": self._pg}[name]()

    def _nats(self) -> Server:
        port = self._ports["nats"]
        path = self.data.file("nats", "nats-server.conf")
        passwords = {user: self.nats_password(user) for user in nats.USERS}
        test_password = self.nats_password(nats.TEST_USER) if self._with_test_user else ""
        store = str(self.data.folder("nats", "jetstream"))
        write_private(path, nats.configuration(port, store, passwords, test_password=test_password).encode())
        program = Program(
            name="nats",
            argv=(str(nats.binary()), "--config", str(path)),
            environment={"GOMAXPROCS": str(nats.threads())},
            log=self._log("nats"),
            orphan_signal=signal.SIGTERM,
            timer_slack_us=nats.TIMER_SLACK_US,
        )
        return Server(program, lambda _: nats.is_ready(port))

    def _redis(self) -> Server:
        port, password = self._ports["redis"], self.data.secret("redis")
        path = self.data.file("redis", "redis.conf")
        write_private(path, redis.configuration(port, path.parent, password).encode())
        program = Program(name="redis", argv=(str(redis.binary()), str(path)), environment={}, log=self._log("redis"))
        return Server(program, lambda _: redis.is_ready(port, password))

    def _pg(self) -> Server:
        self._postgres = Postgres(self.data.folder("postgres"), self._log("postgres"), durable=self._durable)
        self._postgres.initialise(self.data.secret("postgres-superuser"), self.data.secret("postgres-audit"))
        return Server(
            self._postgres.program(self._ports["postgres"]), lambda process: self._postgres.is_ready(process.pid)
        )

    def _log(self, name: str) -> Path:
        return self.data.file("logs", f"{name}.log")

    def _wait_ready(self) -> None:
        end_at = time.monotonic() + START_TIMEOUT_S
        waiting, tries = set(self._which), dict.fromkeys(self._which, 1)
        while waiting:
            for name in sorted(waiting):
                process = self.processes[name]
                if process.poll() is not None:
                    self._try_again(name, tries)
                elif self._servers[name].is_ready(process):
                    waiting.remove(name)
            if waiting and time.monotonic() > end_at:
                raise self._failure(sorted(waiting)[0], f"did not start within {START_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)

    def _try_again(self, name: ServerName, tries: dict[ServerName, int]) -> None:
        if tries[name] == START_TRIES_MAX:
            raise self._failure(name, f"ended at once, {START_TRIES_MAX} times")
        tries[name] += 1
        time.sleep(POLL_S * 10 * tries[name])
        self._ports |= self.data.ports((name,), self._configured_ports)
        self._servers[name] = self._make(name)
        self.launch(name)

    def _failure(self, name: ServerName, what: str) -> DataFolderError:
        log = self._log(name)
        lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return DataFolderError("\n".join([f"{name} {what}; the end of {log}:", *lines]))
