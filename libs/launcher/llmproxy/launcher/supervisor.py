"""Keeps processes running: replaces each one that dies, restarts them one after another, stops them in order."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llmproxy.launcher import processes
from llmproxy.launcher.processes import Process

QUICK_DEATH_S = 5.0  # One that lived longer had started well: its death says nothing about the next start.
BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 10.0
QUICK_DEATHS_TO_SAY = 3
REPLACE_TIMEOUT_S = 120.0  # For one of a rolling restart: to drain, start and become ready.
STOP_POLL_S = 0.02
WRONG_SETTINGS = os.EX_CONFIG  # How a service ends that cannot start with what it was told, as its runtime says.


@dataclass
class Child:
    """One process that should be running, and how to start and stop it."""

    name: str
    launch: Callable[[], Process]
    ask_to_stop: Callable[[Process], None]
    is_ready: Callable[[], bool] = lambda: True  # The one launched last.
    overlaps: bool = False  # In a restart the new one starts before the old one goes: nothing is unserved in between.
    process: Process | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    quick_deaths: int = 0
    leaving: list[Process] = field(default_factory=list)  # Replaced in a restart: their end is no death.
    overlapped: list[Process] = field(default_factory=list)  # Those of them that serve until their successor does.

    @property
    def alive(self) -> list[Process]:
        every = [*self.leaving, *([self.process] if self.process is not None else [])]
        return [process for process in every if process.poll() is None]


class Supervisor:
    """Not a thread and not a task: somebody calls `tick` when a child has ended, and several times a second while it is busy."""

    def __init__(self, children: Sequence[Child], say: Callable[[str], None]) -> None:
        self.children = list(children)
        self.misconfigured = ""  # The last child that ended because its settings are wrong.
        self._say = say
        self._rolling: list[Child] = []
        self._replacing = False
        self._replace_until = 0.0

    def tick(self, now: float) -> None:
        """Starts what should run and does not. `now` is monotonic seconds."""
        for child in self.children:
            child.leaving = [process for process in child.leaving if process.poll() is None]
            if child.process is not None and child.process.poll() is not None:
                self._note_end(child, child.process, now)
            if child.process is None and now >= child.start_at and (child.overlaps or not child.leaving):
                self._start(child, now)
        self._roll(now)

    @property
    def is_busy(self) -> bool:
        """Something changes that no signal tells of."""
        return bool(self._rolling) or any(child.process is None or child.leaving for child in self.children)

    def _start(self, child: Child, now: float) -> None:
        child.started_at = now
        try:
            child.process = child.launch()
        except OSError as error:  # No memory, no file handle, no disk: it may pass.
            child.quick_deaths += 1
            child.start_at = now + max(BACKOFF_FIRST_S, restart_delay_s(child.quick_deaths))
            self._say(f"{child.name} could not be started: {error.strerror}; trying again")

    def _note_end(self, child: Child, process: Process, now: float) -> None:
        child.process = None
        if process.returncode == WRONG_SETTINGS:
            self.misconfigured = child.name
        child.quick_deaths = child.quick_deaths + 1 if now - child.started_at < QUICK_DEATH_S else 0
        delay_s = restart_delay_s(child.quick_deaths)
        child.start_at = now + delay_s
        if child.quick_deaths == 0 or child.quick_deaths >= QUICK_DEATHS_TO_SAY:
            again = "restarting it" if delay_s < 1 else f"next try in {delay_s:.0f} s"
            often = f", {child.quick_deaths} times at once" if child.quick_deaths else ""
            self._say(f"{child.name} ended ({describe_exit(process.returncode)}{often}); {again}")

    def roll(self, children: Sequence[Child]) -> None:
        """Restarts them one after another, each when the one before is ready; `tick` does the work."""
        self._rolling += [child for child in children if child not in self._rolling]

    def _roll(self, now: float) -> None:
        if not self._rolling:
            return
        child = self._rolling[0]
        if not self._replacing:
            self._replacing, self._replace_until = True, now + REPLACE_TIMEOUT_S
            self._replace(child)
        elif child.process is not None and child.is_ready():
            self._depart(child)
            if not child.leaving:
                self._rolling.pop(0)
                self._replacing = False
                self._say(f"{child.name} was restarted")
        elif now > self._replace_until:
            self._say(f"{child.name} did not become ready; the rolling restart stops here")
            self._rolling.clear()
            self._replacing = False

    def _replace(self, child: Child) -> None:
        if child.process is None:
            return
        old, child.process, child.start_at, child.quick_deaths = child.process, None, 0.0, 0
        child.leaving.append(old)
        if child.overlaps:
            child.overlapped.append(old)
        else:
            child.ask_to_stop(old)

    def _depart(self, child: Child) -> None:
        """The new one serves: the old one may go."""
        for old in child.overlapped:
            if old.poll() is None:
                child.ask_to_stop(old)
        child.overlapped.clear()

    def stop(self, order: Sequence[Sequence[Child]], *, grace_s: float, hurry: Callable[[], bool]) -> list[str]:
        """Stops group after group; within a group at once. After `grace_s`, or when `hurry` says so, kills what is
        left of the group. Returns the names that were killed."""
        killed: list[str] = []
        for group in order:
            running = [(child, process) for child in group for process in child.alive]
            for child, process in running:
                child.ask_to_stop(process)
            end_at = time.monotonic() + grace_s
            while any(process.poll() is None for _, process in running):
                if hurry() or time.monotonic() > end_at:
                    break
                time.sleep(STOP_POLL_S)
            for child, process in running:
                if process.poll() is None:
                    killed.append(child.name)
                    processes.kill(process)
                child.process = None
                child.leaving.clear()
                child.overlapped.clear()
        return killed


def restart_delay_s(quick_deaths: int) -> float:
    """At once after a good life or a first mishap; then doubling, and never giving up."""
    if quick_deaths <= 1:
        return 0.0
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(quick_deaths - 2, 16))


def describe_exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit {code}"
