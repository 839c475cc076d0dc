"""The one folder of a gateway: who runs it, its ports, its secrets, its servers' data, its logs."""

import fcntl
import os
import random
import re
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from llmproxy.common.config import Port

LOOPBACK = "127.0.0.1"
# Below Linux's ephemeral range (32768 up), for it is not everywhere that a port can be kept: a client that reconnects to a
# server that is away must not be handed the server's own port as its source port, or it would be connected to itself and
# the server could not return.
PORT_FIRST, PORT_LAST = 15_000, 31_999
PORT_TRIES_MAX = 200
PASSWORD_BYTES = 24
UNQUOTED = re.compile(r"[\w-]+", re.ASCII)
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class DataFolderError(Exception):
    """The folder cannot be used. The message names the folder and the fix."""


class AlreadyRunningError(DataFolderError):
    """Another launcher holds the folder."""

    def __init__(self, path: Path, pid: int) -> None:
        self.pid = pid
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{path} is in use: a gateway runs there ({who}); stop it with `kill {pid or 'PID'}`, "
            "or choose another --data folder"
        )


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a running gateway tells the other commands."""

    pid: int
    gateway_url: str
    admin_url: str
    started_at_ms: int
    refused: str = ""  # Why the configuration file, as it is now, is not in force.


class DataFolder:
    """Paths below one root. Folders are made on demand, private to their owner; files with secrets are 0600."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._lock_fd: int | None = None
        self._keepers: dict[str, socket.socket] = {}  # By what the port is for.

    def folder(self, *parts: str) -> Path:
        path = self.root.joinpath(*parts)
        self._make_root()
        for depth in range(1, len(parts) + 1):
            self.root.joinpath(*parts[:depth]).mkdir(mode=0o700, exist_ok=True)
        return path

    def file(self, *parts: str) -> Path:
        return self.folder(*parts[:-1]) / parts[-1]

    def exists(self) -> bool:
        return self.root.is_dir()

    def _make_root(self) -> None:
        try:
            str(self.root).encode()  # Servers are told of it in files.
        except UnicodeEncodeError:
            raise DataFolderError("the path of the data folder is not UTF-8; choose another --data folder") from None
        try:
            if self.root.is_dir():
                return
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DataFolderError(f"cannot make {self.root}: {error.strerror}; choose another --data folder") from error

    # Who runs here.

    def lock(self) -> None:
        """Holds the folder until `unlock` or the end of this process, however it ends. Raises AlreadyRunningError."""
        if self._lock_fd is not None:
            return
        path = self.file("llmproxy.pid")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            why = "it belongs to another account, " if isinstance(error, PermissionError) else ""
            raise DataFolderError(
                f"cannot write {path}: {error.strerror}; {why}choose another --data folder"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise AlreadyRunningError(self.root, _pid_in(path)) from None
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._lock_fd = fd

    def unlock(self) -> None:
        if self._lock_fd is not None:
            os.ftruncate(self._lock_fd, 0)
            os.close(self._lock_fd)
            self._lock_fd = None
        for keeper in self._keepers.values():
            keeper.close()
        self._keepers.clear()

    def holder(self) -> int | None:
        """The process that holds the folder (0: it has not said who it is), or None when nobody does."""
        path = self.root / "llmproxy.pid"
        if not path.is_file():
            return None
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _pid_in(path)
        return None

    # What it remembers.

    def free_port(self, name: str) -> int:
        """A free one that is not remembered; kept for `name` until it asks again or the folder is let go."""
        return self._keep(name, _free_port(taken=set()))

    def ports(self, names: Sequence[str], configured: Mapping[str, int]) -> dict[str, int]:
        """A port for each name: the configured one (DataFolderError when busy), else the remembered one when it is
        free, else another free one, which is remembered. Kept until the folder is let go: a server that is away for a
        moment finds its port again."""
        path, remembered = self.file("ports.json"), self.remembered_ports()
        chosen: dict[str, int] = {}
        for name in names:
            wanted = configured.get(name) or remembered.get(name)
            keeper = bound(wanted) if wanted and wanted not in chosen.values() else None
            if keeper is None and name in configured:
                raise DataFolderError(
                    f"port {configured[name]} for {name} is taken; stop what uses it or choose another"
                )
            chosen[name] = self._keep(name, keeper or _free_port(taken=set(chosen.values())))
        write_private(path, msgspec.json.encode(remembered | chosen))
        return chosen

    def _keep(self, name: str, keeper: socket.socket) -> int:
        """While we hold the port nobody else chooses it, and the kernel gives it to no outgoing connection; a server that
        sets SO_REUSEADDR, as all of ours do, listens on it all the same. Linux alone lets both have it."""
        if (before := self._keepers.pop(name, None)) is not None:
            before.close()
        port: int = keeper.getsockname()[1]
        if sys.platform == "linux":
            self._keepers[name] = keeper
        else:
            keeper.close()
        return port

    def remembered_ports(self) -> dict[str, int]:
        """None of a file that cannot be read, as after a loss of power: others are as good."""
        path = self.root / "ports.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=dict[str, Port]) if path.is_file() else {}
        except UNREADABLE:
            return {}

    def secret(self, name: str) -> str:
        """The secret of this name: generated once, kept in its own 0600 file. Configurations, SQL and URLs quote it as it is."""
        path = self.file("secrets", name)
        if path.is_file():
            if not UNQUOTED.fullmatch(secret := _kept(path)):
                raise DataFolderError(f"{path} has other signs than letters, digits, - and _; write one without them")
            return secret
        value = secrets.token_urlsafe(PASSWORD_BYTES)
        write_private(path, value.encode())
        return value

    def admin_token(self) -> str:
        """What the admin API asks for; where an operator looks for it."""
        path = self.file("admin.token")
        if not path.is_file():
            write_private(path, secrets.token_urlsafe(PASSWORD_BYTES).encode())
        return _kept(path)

    def write_run_info(self, info: RunInfo) -> None:
        write_private(self.file("run.json"), msgspec.json.encode(info))

    def run_info(self) -> RunInfo | None:
        """Where the gateway of this folder listens, or None when none runs."""
        path = self.root / "run.json"
        if not path.is_file() or self.holder() is None:
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=RunInfo)
        except UNREADABLE:
            return None


def _kept(path: Path) -> str:
    """An empty secret would open what it closes."""
    secret = path.read_text().strip()
    if not secret:
        raise DataFolderError(f"{path} is empty; restore it from a backup, or remove it and a new one is made")
    return secret


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, and never readable by others, not even for an instant."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)  # Or a loss of power may leave the new name without the content.
    temporary.replace(path)


def bound(port: int, *, though_it_was_used: bool = True) -> socket.socket | None:
    """The port, held without listening; None when somebody serves there. `though_it_was_used`: as servers bind it, so that
    connections in TIME_WAIT are no obstacle, nor is who merely holds it."""
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, though_it_was_used)
    try:
        keeper.bind((LOOPBACK, port))
    except OSError:
        keeper.close()
        return None
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return keeper


def _free_port(taken: set[int]) -> socket.socket:
    """One that nobody holds, be it without serving yet: gateways that start together choose apart."""
    for _ in range(PORT_TRIES_MAX):
        port = random.randint(PORT_FIRST, PORT_LAST)  # noqa: S311 - spreads concurrent starts, protects nothing
        keeper = bound(port, though_it_was_used=False) if port not in taken else None
        if keeper is not None:
            return keeper
    raise DataFolderError(f"no free port between {PORT_FIRST} and {PORT_LAST} on {LOOPBACK}; name ports with --ports")


def _pid_in(path: Path) -> int:
    text = path.read_text().strip()
    return int(text) if text.isdigit() else 0
