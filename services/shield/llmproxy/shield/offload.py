"""Large bodies are examined in other processes, so that no request waits for another one's megabytes."""

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.preflight import pipeline

INLINE_BYTES_MAX = 32 << 10  # What a loop may examine itself: the quick look costs under 1 ms.
INLINE_WORK_MAX = 150  # Segments, findings and lines that a loop may deal with itself: about 30 us each, so under 5 ms.
GRACE_S = 1.0  # Beyond the guards' own time, for the way there and back.
QUEUED_MAX = 64  # Bodies waiting for a process; more are refused.

UNAVAILABLE = Refused(
    code="guard_unavailable", message="the request could not be checked in time; retry", retry_after_ms=1000
)


class Offload:
    """A few processes that examine. One that hangs is replaced, and its request is refused."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = self._start()
        self._waiting = 0

    def warm(self) -> None:
        """Starts the processes before the first request needs one."""
        for _ in range(self._workers):
            self._pool.submit(os.getpid)

    async def examine(self, order: Order) -> Examined | Refused:
        if self._waiting >= QUEUED_MAX:
            return UNAVAILABLE
        pool = self._pool
        self._waiting += 1
        try:
            async with asyncio.timeout(order.policy.guard_timeout_ms / 1000 + GRACE_S):
                return await asyncio.get_running_loop().run_in_executor(pool, _examine, order)
        except (TimeoutError, BrokenProcessPool):
            self._replace(pool)
            return UNAVAILABLE
        finally:
            self._waiting -= 1

    def close(self) -> None:
        _end(self._pool)

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, mp_context=context, initializer=_begin)

    def _replace(self, pool: ProcessPoolExecutor) -> None:
        if pool is self._pool:
            self._pool = self._start()
            _end(pool)


def _end(pool: ProcessPoolExecutor) -> None:
    processes = list((pool._processes or {}).values())  # The executor has no public way to end a task that hangs.
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()  # It may be stopped, and holds nothing that must be finished.


def _begin() -> None:
    """In the new process: leave signals to the shield, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _examine(order: Order) -> Examined | Refused:
    return examine(order, pipeline(GUARDS), time.monotonic)
