"""Processes under measurement: started on free ports, stopped with their trees, their CPU and memory read from /proc."""

import asyncio
import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
PORTS = range(15_000, 32_000)  # Below Linux's ephemeral ports, so that no client is handed a server's port.
MODULE = re.compile(r"llmproxy\.(\w+)")
STOP_S = 30.0


class Failed(Exception):
    """Something did not start. The message says what, and how it ended."""


# -- starting and stopping


def free_port() -> int:
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise Failed("no free port between 15000 and 32000")


def start(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, log: Path | None = None
) -> "subprocess.Popen[bytes]":
    output = log.open("wb") if log else subprocess.DEVNULL
    return subprocess.Popen(
        [str(part) for part in command],
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


async def answering(process: "subprocess.Popen[bytes]", url: str, timeout_s: float, log: Path | None = None) -> None:
    """Returns when the URL answers 200. Raises Failed with the end of the log."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + timeout_s
    reason = "no answer"
    while time.monotonic() < until and process.poll() is None:
        try:
            with opener.open(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError as error:
            reason = str(error)
        await asyncio.sleep(0.1)
    ended = f"it exited with {process.returncode}" if process.poll() is not None else reason
    raise Failed(f"{url} did not become ready in {timeout_s:.0f} s: {ended}\n{end_of(log)}")


def end_of(log: Path | None) -> str:
    return log.read_text(errors="replace")[-2_000:] if log else ""


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Asks, waits, and ends whatever is left of what it started."""
    children = tree([process.pid])
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(STOP_S)


# -- what they use


def tree(roots: Iterable[int]) -> list[int]:
    """The processes and all of their descendants."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children[parent(int(entry.name))].append(int(entry.name))
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found and Path(f"/proc/{pid}").exists():
            found.append(pid)
            waiting += children[pid]
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def name_of(pid: int, roots: Iterable[int]) -> str:
    """`edge` for `python -m llmproxy.edge`, else the program; a helper process has the name of who started it."""
    while True:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return "gone"
        program = Path(command[0]).name.rstrip(":").partition(" ")[0]
        if program in ("nats-server", "redis-server", "postgres"):
            return program
        if "-m" in command and (module := MODULE.match(command[command.index("-m") + 1])):
            return module[1].replace("_", "-")
        if pid in roots:
            return "launcher" if any(part.endswith("llmproxy") for part in command[:2]) else program
        above = parent(pid)
        if above <= 1:
            return program
        pid = above


def cpu_s(pids: Iterable[int]) -> dict[int, float]:
    """Seconds on a CPU since each process began, to the nanosecond where the kernel counts so."""
    used: dict[int, float] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            used[pid] = _cpu_ns(pid) / 1e9
    return used


def _cpu_ns(pid: int) -> int:
    try:
        return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    except (OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Usage:
    """CPU of some process trees between `begin` and `end`, by name."""

    def __init__(self, roots: Sequence[int]) -> None:
        self.roots = roots
        self._before: dict[int, float] = {}

    def begin(self) -> None:
        self._before = cpu_s(tree(self.roots))

    def end(self) -> dict[str, float]:
        """Seconds by name. A process that began meanwhile counts whole; one that ended does not count."""
        by_name: dict[str, float] = defaultdict(float)
        for pid, used in cpu_s(tree(self.roots)).items():
            by_name[name_of(pid, self.roots)] += used - self._before.get(pid, 0.0)
        return dict(by_name)


def memory_mb(roots: Sequence[int]) -> dict[str, dict[str, float]]:
    """RSS and PSS by name; PSS counts what processes share once."""
    by_name: dict[str, dict[str, float]] = {}
    for pid in tree(roots):
        with contextlib.suppress(OSError):
            read = dict(re.findall(r"^(Rss|Pss):\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE))
            entry = by_name.setdefault(name_of(pid, roots), {"rss": 0.0, "pss": 0.0, "processes": 0})
            entry["rss"] += int(read.get("Rss", 0)) / 1024
            entry["pss"] += int(read.get("Pss", 0)) / 1024
            entry["processes"] += 1
    return by_name


def total_mb(roots: Sequence[int]) -> float:
    """The sum of PSS, so that shared pages of PostgreSQL do not count once per backend."""
    return sum(entry["pss"] for entry in memory_mb(roots).values())


def python(script: str) -> list[str]:
    return [sys.executable, str(Path(__file__).parent / script)]
