"""The launcher's sleep: what ends it, and what it does not wait for."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from patience import PATIENCE_S

from llmproxy.launcher.supervisor import Child, Supervisor
from llmproxy.launcher.wake import Wake

LONG_S = 10 * PATIENCE_S


def slept_s(wake: Wake) -> float:
    began = time.monotonic()
    wake.wait(LONG_S)
    return time.monotonic() - began


def test_who_was_woken_before_does_not_sleep_and_sleeps_the_next_time() -> None:
    wake = Wake()
    for _ in range(100_000):  # More than a pipe holds.
        wake.set()
    assert slept_s(wake) < PATIENCE_S
    began = time.monotonic()
    wake.wait(0.05)
    assert time.monotonic() - began >= 0.05


def test_another_thread_ends_the_sleep() -> None:
    wake = Wake()
    threading.Timer(0.05, wake.set).start()
    assert slept_s(wake) < PATIENCE_S


@pytest.fixture
def children_wake() -> Iterator[Wake]:
    wake = Wake()
    before = signal.signal(signal.SIGCHLD, lambda number, frame: None)
    with wake.by_signals():
        yield wake
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_the_death_of_a_child_ends_the_sleep(is_elsewhere: bool, children_wake: Wake) -> None:
    """Also where another thread is told of it than the one that sleeps."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    if is_elsewhere:
        threading.Thread(target=time.sleep, args=(PATIENCE_S,), daemon=True).start()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    threading.Timer(0.05, child.kill).start()
    slept = slept_s(children_wake)
    if is_elsewhere:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert slept < PATIENCE_S
    assert child.wait(PATIENCE_S) == -signal.SIGKILL


def test_while_a_child_waits_for_its_next_start_nothing_tells_when_to_look() -> None:
    def fails() -> subprocess.Popen[bytes]:
        raise OSError("no memory")

    supervisor = Supervisor([Child("shield-0", fails, lambda process: None)], lambda line: None)
    supervisor.tick(0.0)
    assert supervisor.is_busy
    running = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    supervisor.children[0].launch = lambda: running
    supervisor.tick(60.0)
    assert not supervisor.is_busy
    running.kill()
    running.wait(PATIENCE_S)
