"""How a process that works for the shield begins and ends. It imports nothing of the shield, so that such a process need not."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ProcessPoolExecutor
from typing import ParamSpec, TypeVar

# With a process' id, its clock on Linux: clock_getcpuclockid(3), which Python has for threads alone.
CPUCLOCK_SCHED = 2

P = ParamSpec("P")
T = TypeVar("T")


class Pool(ProcessPoolExecutor):
    """Of processes that may be killed. In Python 3.11 a pool that loses one stumbles over the first work that somebody has
    cancelled, and whoever waits for what comes after it waits for ever (python/cpython#108974)."""

    def submit(self, work: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> "Future[T]":
        future = super().submit(work, *arguments, **named)
        fail = future.set_exception

        def fail_if_awaited(exception: BaseException | None) -> None:
            with contextlib.suppress(InvalidStateError):
                fail(exception)

        future.set_exception = fail_if_awaited  # type: ignore[method-assign]
        return future


def end(pool: Pool) -> None:
    processes = list((pool._processes or {}).values())  # The executor has no public way to end a task that hangs.
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()  # It may be stopped, and holds nothing that must be finished.


def cpu_s(pool: Pool) -> float:
    """CPU time that its processes have used so far; nothing where the system does not tell it of other processes."""
    return sum(_cpu_s(pid) for pid in tuple(pool._processes or ()))


def _cpu_s(pid: int) -> float:
    try:
        return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def belong() -> None:
    """In a process of the shield: leave signals to the shield, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
