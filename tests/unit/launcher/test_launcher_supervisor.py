"""The supervisor over stand-in processes and a clock that the test moves."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S, wait_for

from llmproxy.launcher import logs, processes
from llmproxy.launcher.processes import Process, Program
from llmproxy.launcher.supervisor import (
    BACKOFF_MAX_S,
    QUICK_DEATH_S,
    WRONG_SETTINGS,
    Child,
    Supervisor,
    restart_delay_s,
)


class Family:
    """Children that sleep, counted."""

    def __init__(self) -> None:
        self.started: list[Process] = []
        self.said: list[str] = []

    def launch(self) -> Process:
        process = subprocess.Popen(["sleep", "600"], process_group=0)
        self.started.append(process)
        return process

    def child(self, name: str, *, overlaps: bool = False, ready: list[bool] | None = None) -> Child:
        return Child(
            name=name,
            launch=self.launch,
            ask_to_stop=lambda process: processes.ask_to_stop(process, signal.SIGTERM),
            is_ready=lambda: ready is None or ready[0],
            overlaps=overlaps,
        )

    def supervisor(self, *children: Child) -> Supervisor:
        return Supervisor(children, self.said.append)


@pytest.fixture
def family() -> Iterator[Family]:
    family = Family()
    yield family
    for process in family.started:
        if process.poll() is None:
            process.kill()
        process.wait()


def die(child: Child) -> None:
    assert child.process is not None
    child.process.kill()
    child.process.wait()


def test_what_died_is_replaced_at_the_next_tick(family: Family) -> None:
    child = family.child("shield-1")
    supervisor = family.supervisor(child)
    supervisor.tick(0.0)
    first = child.process
    die(child)
    supervisor.tick(100.0)
    assert child.process is not None
    assert child.process is not first
    assert child.process.poll() is None
    assert family.said == ["shield-1 ended (signal 9); restarting it"]


def test_one_that_dies_again_and_again_is_tried_less_often_and_never_given_up(family: Family) -> None:
    child = family.child("audit-1")
    supervisor = family.supervisor(child)
    now = 0.0
    delays = []
    for _ in range(12):
        supervisor.tick(now)
        die(child)
        supervisor.tick(now + 0.01)
        delays.append(child.start_at - (now + 0.01) if child.process is None else 0.0)
        now = max(child.start_at, now + 0.02)
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert delays[-1] == pytest.approx(BACKOFF_MAX_S)
    assert any("times at once" in line for line in family.said)


def test_one_that_cannot_start_with_its_settings_is_told_of(family: Family) -> None:
    child = family.child("edge-1")
    supervisor = family.supervisor(child)
    supervisor.tick(0.0)
    die(child)
    supervisor.tick(1.0)
    assert supervisor.misconfigured == ""
    child.process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({WRONG_SETTINGS})"])
    child.process.wait()
    supervisor.tick(2.0)
    assert supervisor.misconfigured == "edge-1"


def test_one_that_cannot_be_started_now_is_tried_again(family: Family) -> None:
    child = family.child("router-1")
    failures = [OSError(11, "Resource temporarily unavailable")]

    def launch() -> Process:
        if failures:
            raise failures.pop()
        return family.launch()

    child.launch = launch
    supervisor = family.supervisor(child)
    supervisor.tick(0.0)
    assert child.process is None
    supervisor.tick(1.0)
    assert child.process is not None
    assert family.said == ["router-1 could not be started: Resource temporarily unavailable; trying again"]


def test_a_good_life_forgives_quick_deaths() -> None:
    assert restart_delay_s(0) == 0
    assert restart_delay_s(1) == 0
    assert 0 < restart_delay_s(2) < 1
    assert restart_delay_s(1_000) == BACKOFF_MAX_S
    assert QUICK_DEATH_S > 1


def test_a_rolling_restart_starts_the_new_one_before_the_old_one_goes(family: Family) -> None:
    ready = [False]
    child = family.child("edge-1", overlaps=True, ready=ready)
    supervisor = family.supervisor(child)
    supervisor.tick(0.0)
    old = family.started[0]
    supervisor.roll([child])
    for now in (1.0, 2.0, 3.0):
        supervisor.tick(now)
    assert len(family.started) == 2
    assert old.poll() is None, "the new one does not serve yet"
    ready[0] = True
    supervisor.tick(4.0)
    old.wait(PATIENCE_S)
    supervisor.tick(5.0)
    supervisor.tick(6.0)
    assert family.said == ["edge-1 was restarted"]
    assert child.alive == [family.started[1]]


def test_one_that_may_exist_only_once_goes_before_its_successor_comes(family: Family) -> None:
    child = family.child("audit-1")
    supervisor = family.supervisor(child)
    supervisor.tick(0.0)
    supervisor.roll([child])
    supervisor.tick(1.0)
    family.started[0].wait(PATIENCE_S)
    for now in (2.0, 3.0):
        supervisor.tick(now)
    assert len(family.started) == 2
    assert family.said == ["audit-1 was restarted"]


def test_a_rolling_restart_stops_at_the_first_that_does_not_come_up(family: Family) -> None:
    bad, good = family.child("edge-1", overlaps=True, ready=[False]), family.child("edge-2", overlaps=True)
    supervisor = family.supervisor(bad, good)
    supervisor.tick(0.0)
    untouched = good.process
    supervisor.roll([bad, good])
    supervisor.tick(1.0)
    supervisor.tick(1_000.0)
    supervisor.tick(1_001.0)
    assert good.process is untouched
    assert "edge-1 did not become ready" in family.said[-1]
    assert family.started[0].poll() is None, "the old instance goes on serving"


def test_stop_ends_groups_in_order_and_kills_what_does_not_listen(family: Family, tmp_path: Path) -> None:
    deaf_program = Program(
        name="deaf",
        argv=(
            sys.executable,
            "-c",
            "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
        ),
        environment={},
        log=tmp_path / "deaf.log",
    )
    deaf, polite = family.child("deaf"), family.child("polite")
    deaf.launch = lambda: processes.start(deaf_program)

    def ask(process: Process) -> None:
        process.terminate()
        process.wait(PATIENCE_S)  # It listens; how soon is up to the machine.

    polite.ask_to_stop = ask
    supervisor = family.supervisor(deaf, polite)
    supervisor.tick(0.0)
    processes_before = [child.process for child in (deaf, polite)]
    wait_for(lambda: "deaf" in deaf_program.log.read_text(), "the deaf one runs")
    assert supervisor.stop([[deaf], [polite]], grace_s=0.1, hurry=lambda: False) == ["deaf"]
    assert all(process is not None and process.poll() is not None for process in processes_before)


def test_a_hurry_does_not_wait(family: Family) -> None:
    child = family.child("slow")
    child.ask_to_stop = lambda process: None
    supervisor = family.supervisor(child)
    supervisor.tick(0.0)
    started = time.monotonic()
    assert supervisor.stop([[child]], grace_s=3_600, hurry=lambda: True) == ["slow"]
    assert time.monotonic() - started < PATIENCE_S


def test_a_remembered_process_is_ended_and_a_stranger_with_its_pid_is_not(family: Family, tmp_path: Path) -> None:
    ours, stranger = family.launch(), family.launch()
    processes.remember(ours, tmp_path / "ours.pid")
    (tmp_path / "stranger.pid").write_text(f"{stranger.pid} 12345.0")
    (tmp_path / "broken.pid").write_text("")
    (tmp_path / "garbled.pid").write_bytes(b"\xff")
    processes.end_leftovers(tmp_path)
    assert ours.poll() is not None
    assert stranger.poll() is None
    assert list(tmp_path.glob("*.pid")) == []


def test_an_instance_is_noted_where_the_one_before_it_was_which_needs_no_room(family: Family, tmp_path: Path) -> None:
    """On a full disk one that was killed was not started again."""
    first, second = family.launch(), family.launch()
    note = tmp_path / "router-1.pid"
    processes.remember(first, note)
    before = note.stat()
    processes.remember(second, note)
    after = note.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert list(tmp_path.iterdir()) == [note]
    processes.end_leftovers(tmp_path)
    assert (first.poll() is None, second.poll() is None) == (True, False)


def test_one_that_cannot_be_noted_down_is_not_left_running_for_another_to_be_started_beside_it(
    family: Family, tmp_path: Path
) -> None:
    child = family.child("router-1")
    notes = tmp_path / "full"

    def launch() -> Process:
        process = family.launch()
        processes.remember(process, notes / "router-1.pid")
        return process

    child.launch = launch
    supervisor = family.supervisor(child)
    supervisor.tick(0.0)
    supervisor.tick(100.0)
    assert [process.poll() is None for process in family.started] == [False, False]
    notes.mkdir()
    supervisor.tick(200.0)
    assert [process.poll() is None for process in family.started] == [False, False, True]


def test_a_child_is_given_its_environment_and_nothing_else(tmp_path: Path) -> None:
    program = Program(name="env", argv=("/usr/bin/env",), environment={"ONLY": "this"}, log=tmp_path / "env.log")
    processes.start(program).wait()
    assert program.log.read_text().split() == ["ONLY=this"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has it")
def test_a_program_may_be_woken_late_where_it_says_so(tmp_path: Path) -> None:
    program = Program(
        name="sleepy",
        argv=("/bin/cat", "/proc/self/timerslack_ns"),
        environment={},
        log=tmp_path / "sleepy.log",
        timer_slack_us=5_000,
    )
    processes.start(program).wait()
    assert program.log.read_text().split() == ["5000000"]


def test_a_log_that_grows_too_large_keeps_one_older_file(tmp_path: Path) -> None:
    path = tmp_path / "edge-1.log"
    with path.open("ab") as writer:
        writer.write(b"x" * 100)
        writer.flush()
        logs.rotate(tmp_path, bytes_max=50)
        writer.write(b"new\n")
        writer.flush()
    assert path.read_bytes() == b"new\n"
    assert (tmp_path / "edge-1.log.1").read_bytes() == b"x" * 100


def test_a_follower_shows_whole_new_lines_with_their_file(tmp_path: Path) -> None:
    path = tmp_path / "edge-1.log"
    path.write_text("before\n")
    follower = logs.Follower(tmp_path)
    with path.open("a") as writer:
        writer.write("one\ntw")
    assert [line.strip() for line in follower.new_lines()] == ["edge-1 | one"]
    with path.open("a") as writer:
        writer.write("o\n")
    assert [line.strip() for line in follower.new_lines()] == ["edge-1 | two"]
    assert follower.new_lines() == []


def test_a_tool_of_the_start_does_not_hear_a_terminals_ctrl_c(tmp_path: Path) -> None:
    """Otherwise Ctrl-C in the first seconds is told as a failure of initdb."""
    log = tmp_path / "log"
    said = "import os; print(os.getpgrp() == os.getpid())"
    processes.run(
        Program(name="tool", argv=(sys.executable, "-c", said), environment={}, log=log), timeout_s=PATIENCE_S
    )
    assert log.read_text().strip() == "True"


LIMITED = """
import resource
from llmproxy.launcher.processes import allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4_096))
allow_open_files({wanted})
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("wanted", "allowed"), [(1_000, 1_000), (65_536, 4_096), (100, 256)])
def test_as_many_files_may_be_open_as_the_machine_allows(wanted: int, allowed: int) -> None:
    told = subprocess.run(
        [sys.executable, "-c", LIMITED.format(wanted=wanted)], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == [str(allowed), "4096"]
