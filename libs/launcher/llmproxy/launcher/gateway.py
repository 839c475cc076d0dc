"""`llmproxy up`: the servers, the six services under a supervisor, and what is printed about them."""

import contextlib
import os
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

import msgspec

from llmproxy.common import config as configuration
from llmproxy.common.config import Config, ConfigError
from llmproxy.launcher import announcement, logs, processes
from llmproxy.launcher.admin_client import AdminClient, AdminError
from llmproxy.launcher.configuration import (
    EFFECTIVE_FILE,
    load_config,
    missing_keys,
    to_yaml,
    withheld,
    without_key,
    without_price,
)
from llmproxy.launcher.data_folder import LOOPBACK, DataFolder, RunInfo, write_private
from llmproxy.launcher.embedded import SERVERS, EmbeddedServers, ServerName
from llmproxy.launcher.environment import SERVICES, Service, provider_keys, referenced, service_environment, unknown
from llmproxy.launcher.listeners import TOKEN, check_exposure, listen, url_of
from llmproxy.launcher.probes import HTTP_TIMEOUT_S, PROBE_TIMEOUT_S, are_records_blocked, fetch, probe
from llmproxy.launcher.processes import Process, Program
from llmproxy.launcher.stuck import Stuck
from llmproxy.launcher.supervisor import Child, Supervisor
from llmproxy.launcher.troubles import Troubles
from llmproxy.launcher.wake import Wake

TICK_S = 0.05
HOUSEKEEPING_S = 1.0
FILE_POLL_S = 0.2  # A change of the configuration file holds within a second, everywhere: admin looks as often.
READY_TIMEOUT_S = 15.0  # Then it is said which service is not ready; the supervisor goes on trying.
READY_POLL_S = 0.1
WATCH_POLL_S = 5.0  # For what is wrong although requests are answered.
FIRST_KEY_TRIES_MAX = 30
ANOTHER_STOP_S = 0.5  # What comes sooner is the same wish: `timeout` and `make` signal a process and its group.
DRAIN_S = 60.0  # When LLM_PROXY_DRAIN_S does not say otherwise.
DRAIN_MAX_S = 86_400.0
DRAIN_MARGIN_S = 5.0
LOG_TAIL_LINES = 12
OVERLAPPING: frozenset[Service] = frozenset({"edge", "shield", "router", "provider-workers"})
"""On the path of requests: in a restart the new instance serves before the old one leaves."""


@dataclass(frozen=True, kw_only=True)
class Options:
    config_file: Path | None = None
    data: Path = Path(".data")
    host: str = LOOPBACK
    port: int = 8090
    admin_host: str = LOOPBACK
    admin_port: int = 8091
    scale: Mapping[str, int] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    verbose: bool = False


def service_argv(service: Service) -> tuple[str, ...]:
    """By this name an operator finds it in `ps`."""
    return (sys.executable, "-m", f"llmproxy.{service.replace('-', '_')}")


def drain_s(environment: Mapping[str, str]) -> float:
    """How long what is held may take to finish. Raises ConfigError."""
    given = environment.get("LLM_PROXY_DRAIN_S", "")
    try:
        seconds = float(given or DRAIN_S)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= DRAIN_MAX_S:
        raise ConfigError(f"LLM_PROXY_DRAIN_S: write seconds from 0 to {DRAIN_MAX_S:.0f}")
    return seconds


class Gateway:
    """One run of everything. `run` returns when it has stopped."""

    def __init__(
        self,
        options: Options,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        argv_of: Callable[[Service], tuple[str, ...]] = service_argv,
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        self.options, self.environment, self._say, self._argv_of = options, environment, say, argv_of
        self._ready_timeout_s = ready_timeout_s
        self.data = DataFolder(options.data)
        self.config = Config()
        self._stop_signals = 0
        self._stop_heard_at = float("-inf")
        self._was_ready = False
        self._roll_asked = self._reload_asked = self._nats_asked = False
        self._config_signature: tuple[int, int, int] | None = None
        # As it was when it was looked at before: what changes still may be half written.
        self._config_looked: tuple[int, int, int] | None = None
        self._unwritten: dict[str, str] = {}  # What could not be written, and why.
        self._logs_before: dict[Path, int] = {}  # How long the files were at the start.
        self._wake = Wake()
        self._probes: dict[str, str] = {}  # Child -> the probes URL of its newest instance.

    def run(self) -> None:
        """Raises ConfigError, CannotStartError, DataFolderError (AlreadyRunningError)."""
        check_exposure(self.options.host, self.options.admin_host, self.environment)
        drain_s(self.environment)
        processes.allow_open_files()
        self.data.lock()
        try:
            self._config_signature = signature(self.options.config_file)  # First, so that no change is overlooked.
            self._config_looked = self._config_signature
            self.config = load_config(self.options.config_file, self.environment)
            self._warn()
            with self._listeners(), self._signals():
                self._run()
        finally:
            self.data.unlock()

    def _run(self) -> None:
        write_private(self._config_path, to_yaml(self.config).encode())
        self.servers = EmbeddedServers(self.data, ports=self.options.ports)
        self._logs_before = logs.sizes(self.data.folder("logs"))
        follower = logs.Follower(self.data.folder("logs")) if self.options.verbose else None
        self.servers.start()
        try:
            self.children = {service: self._children(service) for service in SERVICES}
            self.supervisor = Supervisor([*self._server_children(), *self._services()], self._say)
            self._info = RunInfo(
                pid=os.getpid(),
                gateway_url=url_of(self._gateway_listener),
                admin_url=url_of(self._admin_listener),
                started_at_ms=int(time.time() * 1000),
            )
            self.data.write_run_info(self._info)
            announcing = threading.Thread(target=self._announce, name="announce", daemon=True)
            announcing.start()
            try:
                self._supervise(follower)
            finally:
                self._stop_services()
        finally:
            self.servers.stop()
            self.data.file("run.json").unlink(missing_ok=True)
        self._say("everything has stopped")

    # The loop.

    def _supervise(self, follower: logs.Follower | None) -> None:
        housekeeping_at = file_at = 0.0
        while not self._stop_signals:
            now = time.monotonic()
            self.supervisor.tick(now)
            self._check_settings()
            if self._roll_asked:
                self._roll_asked = False
                self._say("restarting every service, one after another")
                self.supervisor.roll(self._services())
            if self._nats_asked:
                self._nats_asked = False
                self._say(
                    "no record could be written for a while, though the disk has room: starting nats-server again"
                )
                self._stop_nats()
            if now >= file_at:
                file_at = now + FILE_POLL_S
                self._on_disk("the configuration", self._reload_when_changed)
            if now >= housekeeping_at:
                housekeeping_at = now + HOUSEKEEPING_S
                self._on_disk("an older log", lambda: logs.rotate(self.data.folder("logs")))
            if follower is not None:
                for line in follower.new_lines():
                    self._say(line)
            is_busy = self.supervisor.is_busy or follower is not None
            self._wake.wait(TICK_S if is_busy else FILE_POLL_S)  # The death of a child is a signal.

    def _check_settings(self) -> None:
        """At the start a setting that a service cannot read ends everything. Later, after an upgrade in place say, the
        others go on, and it is tried again."""
        name = self.supervisor.misconfigured
        if name and not self._was_ready:
            said = self._log_tail(name, 1)
            raise ConfigError(said[0] if said else f"{name} cannot start with its settings")

    def _stop_nats(self) -> None:
        """The supervisor starts it again."""
        for child in self.supervisor.children:
            if child.name == "nats" and child.process is not None:
                child.ask_to_stop(child.process)

    def _on_disk(self, what: str, work: Callable[[], None]) -> None:
        """A full disk must not end the gateway; it is told once, until the work can be done."""
        trouble = ""
        try:
            work()
        except OSError as error:
            trouble = f"{what} cannot be written to {self.data.root}: {error.strerror}; trying again"
        if trouble and trouble != self._unwritten.get(what):
            self._say(trouble)
        self._unwritten[what] = trouble

    def _stop_services(self) -> None:
        self._say("stopping: finishing what is held (Ctrl-C again to hurry)")
        grace_s = drain_s(self.environment) + DRAIN_MARGIN_S
        order = [self.children[service] for service in reversed(SERVICES)]
        killed = self.supervisor.stop(order, grace_s=grace_s, hurry=lambda: self._stop_signals > 1)
        for path in self.data.folder("run").glob("*-*.pid"):
            path.unlink()
        if killed:
            self._say(f"killed, because they had not finished: {', '.join(killed)}")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(number: int, frame: FrameType | None) -> None:
            now = time.monotonic()
            if now - self._stop_heard_at > ANOTHER_STOP_S:
                self._stop_signals += 1
            self._stop_heard_at = now

        def reload(number: int, frame: FrameType | None) -> None:
            self._reload_asked = True

        def roll(number: int, frame: FrameType | None) -> None:
            self._roll_asked = True

        def wake(number: int, frame: FrameType | None) -> None:
            return

        handlers = {signal.SIGINT: stop, signal.SIGTERM: stop, signal.SIGHUP: reload, signal.SIGUSR1: roll}
        handlers[signal.SIGCHLD] = wake
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            with self._wake.by_signals():
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _listeners(self) -> Iterator[None]:
        with (
            listen(self.options.host, self.options.port, "--port") as self._gateway_listener,
            listen(self.options.admin_host, self.options.admin_port, "--admin-port") as self._admin_listener,
        ):
            yield

    # Configuration.

    @property
    def _config_path(self) -> Path:
        return self.data.file(EFFECTIVE_FILE)

    def _reload_when_changed(self) -> None:
        """On SIGHUP or when the file was written. A file that does not check out changes nothing; one that cannot be
        handed to admin (OSError) is tried again."""
        file = self.options.config_file
        asked, self._reload_asked = self._reload_asked, False
        if file is None:
            return
        found = signature(file)
        is_settled, self._config_looked = found == self._config_looked, found
        if not asked and (found in (None, self._config_signature) or not is_settled):
            return  # As it was, about to be put back by an editor, or still being written.
        try:
            config = load_config(file, self.environment)
        except ConfigError as error:
            self._config_signature = found
            self._say(f"the configuration was not applied: {error}")
            self._note_refusal(str(error))
            return
        if config != self.config:
            write_private(self._config_path, to_yaml(config).encode())
            self._adopt(file, config)
        self._config_signature = found
        self._note_refusal("")

    def _note_refusal(self, why: str) -> None:
        """For `llmproxy status`: the line above is soon out of sight."""
        if why != self._info.refused:
            self._info = msgspec.structs.replace(self._info, refused=why)
            self.data.write_run_info(self._info)

    def _adopt(self, file: Path, config: Config) -> None:
        new_keys = referenced(config) - referenced(self.config)
        self.config = config
        self._say(f"{file} was read again, {configuration.fingerprint(config)}")
        self._warn()
        if new_keys:
            self.supervisor.roll(self.children["provider-workers"])  # They hold keys from their start.
            if self._source == "api":
                self.supervisor.roll(self.children["admin"])  # It holds their names.

    def _warn(self) -> None:
        config = self.config
        for line in (*missing_keys(config, self.environment), *without_key(config), *without_price(config)):
            self._say(f"warning: {line}")
        for variable in unknown(self.environment, self.config):
            self._say(
                f"warning: {variable} is no variable of `llmproxy up`, and nobody reads it; see `llmproxy up --help`"
            )

    # Children.

    def _services(self) -> list[Child]:
        return [child for service in SERVICES for child in self.children[service]]

    def _server_children(self) -> list[Child]:
        return [self._server_child(name) for name in SERVERS]

    def _server_child(self, name: ServerName) -> Child:
        child = Child(
            name=name,
            launch=lambda: self.servers.launch(name),
            ask_to_stop=lambda process: processes.ask_to_stop(process, self.servers.program(name).stop_signal),
        )
        child.process, child.started_at = self.servers.processes[name], time.monotonic()
        return child

    def _children(self, service: Service) -> list[Child]:
        return [self._child(service, slot) for slot in range(1, self.options.scale.get(service, 1) + 1)]

    def _child(self, service: Service, slot: int) -> Child:
        name = f"{service}-{slot}"

        def launch() -> Process:
            process = processes.start(self._program(service, name))
            processes.remember(process, self.data.file("run", f"{name}.pid"))
            return process

        return Child(
            name=name,
            launch=launch,
            ask_to_stop=lambda process: processes.ask_to_stop(process, signal.SIGTERM),
            is_ready=lambda: probe(self._probes[name] + "/readyz")[0],
            overlaps=service in OVERLAPPING,
        )

    def _program(self, service: Service, name: str) -> Program:
        """A new instance each time: what was meant for the one before must not reach its successor."""
        listener = {"edge": self._gateway_listener, "admin": self._admin_listener}.get(service)
        port = self.data.free_port(name)
        self._probes[name] = f"http://{LOOPBACK}:{port}"
        values = self._values() | {
            "NATS_USER": service,
            "NATS_PASSWORD": self.servers.nats_password(service),
            "INSTANCE": f"{name}-{secrets.token_hex(2)}",
            "PROBES_PORT": str(port),
        }
        if listener is not None:
            values["LISTEN_FD"] = str(listener.fileno())
        return Program(
            name=name,
            argv=self._argv_of(service),
            environment=service_environment(service, values, self.environment, self.config),
            log=self.data.file("logs", f"{name}.log"),
            keep_fds=() if listener is None else (listener.fileno(),),
        )

    def _values(self) -> dict[str, str]:
        """Settings by name; which service gets which is `environment.OWN`'s to say."""
        keys = self.environment.get("LLM_PROXY_API_KEYS")
        judge_key = self.environment.get("LLM_PROXY_JUDGE_KEY")
        embedding_model = self.environment.get("LLM_PROXY_EMBEDDING_MODEL")
        return (
            ({"API_KEYS": keys} if keys else {})
            | ({"JUDGE_KEY": judge_key} if judge_key else {})
            | ({"EMBEDDING_MODEL": embedding_model} if embedding_model else {})
            | {
                "GATEWAY_URL": url_of(self._gateway_listener),
                "NATS_URL": self.servers.nats_address,
                "REDIS_URL": self.servers.redis_url,
                "POSTGRES_DSN": self.servers.postgres_dsn,
                "DATA_DIR": str(self.data.root),
                "SPOOL_DIR": str(self.data.folder("spool")),
                "EDGES": str(self.options.scale.get("edge", 1)),
                "MASK_SECRET": self.environment.get("LLM_PROXY_MASK_SECRET") or self.data.secret("mask"),
                "ADMIN_TOKEN": self.admin_token,
                "CONFIG": str(self._config_path),
                "CONFIG_SOURCE": self._source,
                "WORKER_VARIABLES": ",".join(provider_keys(self.environment, self.config)),  # Their names.
            }
        )

    @property
    def _source(self) -> str:
        given = self.environment.get("LLM_PROXY_CONFIG_SOURCE")
        return given or ("file" if self.options.config_file else "environment")

    @property
    def admin_token(self) -> str:
        return self.environment.get(TOKEN) or self.data.admin_token()

    # What is printed.

    def _announce(self) -> None:
        """In a thread of its own: it waits for answers, and nothing may wait for it."""
        url, admin_url = url_of(self._gateway_listener), url_of(self._admin_listener)
        if not self._wait_ready(url):
            return
        admin = AdminClient(admin_url, self.admin_token)
        key, exists = first_key(admin, self.environment)
        in_force = config_in_force(admin) or self.config
        is_ours = configuration.fingerprint(in_force) == configuration.fingerprint(self.config)
        for line in announcement.lines(
            gateway_url=url,
            admin_url=admin_url,
            token_in=TOKEN if self.environment.get(TOKEN) else str(self.data.file("admin.token")),
            config=in_force,
            is_ours=is_ours,
            key=key,
            keys_exist=exists,
            data=self.data.root,
            command=announcement.called(sys.argv[0], shutil.which(announcement.COMMAND)),
        ):
            self._say(line)
        if not is_ours:
            held = provider_keys(self.environment, self.config)
            for line in (*withheld(in_force, held), *without_price(in_force)):
                self._say(f"warning: {line}")
        self._watch(url)

    def _watch(self, url: str) -> None:
        stuck, troubles = Stuck(), Troubles()
        while not self._stop_signals:
            time.sleep(WATCH_POLL_S)
            for line in troubles.look({child.name: partial(self._report_of, child) for child in self._services()}):
                self._say(line)
            if stuck.look(are_records_blocked(url), self._room_bytes(), time.monotonic()):
                self._nats_asked = True
                self._wake.set()

    def _report_of(self, child: Child) -> str:
        return fetch(self._probes.get(child.name, "") + "/readyz", PROBE_TIMEOUT_S)[1]

    def _room_bytes(self) -> int:
        try:
            return shutil.disk_usage(self.data.root).free
        except OSError:
            return 0

    def _wait_ready(self, url: str) -> bool:
        complain_at = time.monotonic() + self._ready_timeout_s
        while not self._stop_signals:
            if probe(url + "/readyz", HTTP_TIMEOUT_S)[0]:
                self._was_ready = True
                return True
            if time.monotonic() > complain_at:
                complain_at = time.monotonic() + 4 * self._ready_timeout_s
                self._complain()
            time.sleep(READY_POLL_S)
        return False

    def _complain(self) -> None:
        self._say(f"not ready after {self._ready_timeout_s:.0f} s; still trying:")
        for child in self._services():
            ready, answer = probe(self._probes.get(child.name, "") + "/readyz")
            if not ready:
                said = self._log_tail(child.name, LOG_TAIL_LINES)
                where = self.data.file("logs", f"{child.name}.log")
                what = f"the end of {where}:" if said else f"nothing is in {where} since the start"
                self._say(f"  {child.name}: {answer or 'does not answer'}; {what}")
                for line in said:
                    self._say(f"    {line}")

    def _log_tail(self, name: str, lines: int) -> list[str]:
        """Of this start: what an earlier one wrote explains nothing."""
        log = self.data.file("logs", f"{name}.log")
        return logs.tail(log, lines, since=self._logs_before.get(log, 0))


def signature(file: Path | None) -> tuple[int, int, int] | None:
    """Changes when the file does: its time alone may stay, for whoever writes in two steps within a tick of that clock."""
    try:
        status = file.stat() if file is not None else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status is not None else None


def config_in_force(admin: AdminClient) -> Config | None:
    """None when admin cannot say."""
    try:
        return admin.config()
    except AdminError:
        return None


def first_key(admin: AdminClient, environment: Mapping[str, str]) -> tuple[str, bool]:
    """A new key when there is none yet, and whether there were any before; ("", False) when admin cannot say."""
    if environment.get("LLM_PROXY_API_KEYS", "").strip(" ,"):
        return "", True
    for _ in range(FIRST_KEY_TRIES_MAX):
        try:
            if any(not key.get("revoked_at_ms") for key in admin.list_keys()):
                return "", True
            return admin.create_key({"name": "first key"})["key"], False
        except AdminError:
            time.sleep(READY_POLL_S)  # It may still be starting.
    return "", False
