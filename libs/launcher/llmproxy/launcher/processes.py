"""Child processes that end with the launcher, however it ends, and can be told from strangers that reuse their pid."""

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_TIMERSLACK = 29
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522
LEFTOVER_GRACE_S = 5.0
OPEN_FILES = 65_536  # A connection is one: 16,384 of an edge's clients, and what it opens itself.
NOTE_BYTES = 48  # Of a pid and a start time: each as long as the other, so that one takes the place of another.
CREATED_TOLERANCE_S = 0.05  # psutil computes a start time from clock ticks and the boot time.


@dataclass(frozen=True)
class Account:
    """An unprivileged account for a program that refuses to run as root."""

    name: str
    uid: int
    gid: int
    may_enter_any_folder: bool = False  # Keeps CAP_DAC_OVERRIDE: the folders above are closed to the account.


@dataclass(frozen=True, kw_only=True)
class Program:
    """Everything needed to start one process."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]  # The whole of it: nothing is inherited.
    log: Path
    cwd: Path | None = None
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL  # Sent by the kernel when the launcher dies.
    keep_fds: tuple[int, ...] = ()
    timer_slack_us: int = 0  # How much later than asked for the kernel may end its sleeps; 0: as the kernel likes (50).


Process = subprocess.Popen[bytes]


def start(program: Program) -> Process:
    """Starts it in its own process group, so that a terminal's Ctrl-C reaches the launcher alone.

    Call from the thread that lives as long as the launcher: the kernel takes the end of that thread for its death.
    """
    fd = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - our own programs, by absolute path
            program.argv,
            env=dict(program.environment),
            cwd=program.cwd,
            stdin=subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
            process_group=0,
            pass_fds=program.keep_fds,
            preexec_fn=_before_exec(program),
        )
    finally:
        os.close(fd)


def run(program: Program, *, text: str = "", timeout_s: float) -> None:
    """Runs it to its end with `text` on standard input, whatever is pressed at the terminal meanwhile.

    Raises CalledProcessError; what it said is in its log.
    """
    with program.log.open("ab") as log:
        subprocess.run(  # noqa: S603 - our own programs, by absolute path
            program.argv,
            env=dict(program.environment),
            cwd=program.cwd,
            input=text.encode(),
            stdout=log,
            stderr=log,
            check=True,
            timeout=timeout_s,
            process_group=0,
            preexec_fn=_before_exec(program),
        )


def ask_to_stop(process: Process, stop_signal: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(stop_signal)


def end(process: Process, *, grace_s: float) -> bool:
    """Waits for one that was asked to stop, then kills its whole group. True when asking was enough."""
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        kill(process)
        return False
    return True


def kill(process: Process) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
        process.wait()


# Children of a launcher that was killed.


def remember(process: Process, path: Path) -> None:
    """Notes pid and start time: together they name this process and no other. Where one was noted before, which takes no room of a full disk.

    Raises OSError when they cannot be written. The process is ended then: who tries again starts another.
    """
    try:
        created = psutil.Process(process.pid).create_time()
    except psutil.NoSuchProcess:
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # At once: our death leaves it whole.
            os.pwrite(fd, f"{process.pid} {created!r}".ljust(NOTE_BYTES).encode(), 0)
        finally:
            os.close(fd)
    except OSError:
        kill(process)
        raise


def end_leftovers(folder: Path) -> None:
    """Ends what an earlier launcher started here and could not end itself; two servers on one folder would ruin it."""
    found = [process for path in folder.glob("*.pid") if (process := _remembered(path)) is not None]
    for process in found:
        _signal(process.terminate)
    _, alive = psutil.wait_procs(found, LEFTOVER_GRACE_S)
    for process in alive:
        _signal(process.kill)
    psutil.wait_procs(alive, LEFTOVER_GRACE_S)
    for path in folder.glob("*.pid"):
        path.unlink()


def _remembered(path: Path) -> psutil.Process | None:
    try:
        pid, _, created = path.read_text().partition(" ")
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(created)) < CREATED_TOLERANCE_S
    except (psutil.Error, ValueError):
        return None
    return process if same and process.status() != psutil.STATUS_ZOMBIE else None


def _signal(send: Callable[[], None]) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        send()


# Between fork and exec. Everything is looked up beforehand: little is safe to do there.


def _before_exec(program: Program) -> Callable[[], None]:
    launcher = os.getpid()
    account = program.account
    linux = sys.platform == "linux"
    libc = ctypes.CDLL(None, use_errno=True) if linux else None
    orphan_signal = int(program.orphan_signal)
    timer_slack_ns = program.timer_slack_us * 1_000

    def prepare() -> None:
        if account is not None:
            _become(account, libc)
        if libc is not None:
            if timer_slack_ns:
                libc.prctl(PR_SET_TIMERSLACK, timer_slack_ns, 0, 0, 0)
            # After the change of account, which would clear it.
            libc.prctl(PR_SET_PDEATHSIG, orphan_signal, 0, 0, 0)
            if os.getppid() != launcher:
                os._exit(1)  # The launcher died before the line above.

    return prepare


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySet(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _become(account: Account, libc: ctypes.CDLL | None) -> None:
    keep = account.may_enter_any_folder and libc is not None
    if keep and libc is not None:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    if keep and libc is not None:
        header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
        sets = (_CapabilitySet * 2)()
        bit = 1 << CAP_DAC_OVERRIDE
        sets[0] = _CapabilitySet(bit, bit, bit)
        failed = libc.capset(ctypes.byref(header), sets)
        failed = failed or libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)
        if failed:
            os._exit(126)


def holds_dac_override() -> bool:
    """True when this process may pass on the capability that opens any folder."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    for line in status.splitlines():
        if line.startswith("CapPrm:"):
            return bool(int(line.split()[1], 16) & (1 << CAP_DAC_OVERRIDE))
    return False


def allow_open_files(wanted: int = OPEN_FILES) -> None:
    """As many as may be, up to `wanted`, for us and for whatever we start: shells often allow 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
