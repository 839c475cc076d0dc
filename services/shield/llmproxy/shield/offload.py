"""Large bodies are examined in other processes, so that no request waits for another one's megabytes."""

import asyncio
import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from llmproxy.common.pii import Pii
from llmproxy.shield import processes
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.injection import model
from llmproxy.shield.preflight import pipeline

INLINE_BYTES_MAX = 32 << 10  # What a loop may examine itself: the quick look costs under 1 ms.
INLINE_WORK_MAX = 150  # Segments, findings and lines that a loop may deal with itself: about 30 us each, so under 5 ms.
GRACE_S = 1.0  # Beyond the guards' own time, for the way there and back.
LOAD_S = 30.0  # Presidio's import, and a language model's: once in each process, before the guards' own time begins.
LOADED_AFTER = 4  # Requests for each process, after which every one of them has had its turn.
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
        self._prepared: dict[Pii, int] = {}  # Settings -> how many requests under them this pool has answered.

    def warm(self, settings: Iterable[Pii] = ()) -> None:
        """Starts the processes before the first request needs one, and loads what these settings need."""
        for _ in range(self._workers):
            self._pool.submit(os.getpid)
        for one in settings:
            if one.engine != "patterns" and one not in self._prepared:
                for _ in range(self._workers):
                    self._pool.submit(_prepare, one)

    async def examine(self, order: Order) -> Examined | Refused:
        if self._waiting >= QUEUED_MAX:
            return UNAVAILABLE
        pool = self._pool
        self._waiting += 1
        try:
            async with asyncio.timeout(order.policy.guard_timeout_ms / 1000 + GRACE_S + self._load_s(order.policy.pii)):
                examined = await asyncio.get_running_loop().run_in_executor(pool, _examine, order)
            self._prepared[order.policy.pii] = self._prepared.get(order.policy.pii, 0) + 1
            return examined
        except (TimeoutError, BrokenProcessPool):
            self._replace(pool)
            return UNAVAILABLE
        finally:
            self._waiting -= 1

    def _load_s(self, settings: Pii) -> float:
        """How much longer a request may take because a process may have to load something first."""
        is_loaded = settings.engine == "patterns" or self._prepared.get(settings, 0) >= self._workers * LOADED_AFTER
        return 0.0 if is_loaded else LOAD_S

    def close(self) -> None:
        processes.end(self._pool)

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, mp_context=context, initializer=_begin)

    def _replace(self, pool: ProcessPoolExecutor) -> None:
        if pool is self._pool:
            self._pool = self._start()
            self._prepared.clear()
            processes.end(pool)


def _begin() -> None:
    """In the new process: read what no request shall wait for."""
    processes.belong()
    model.shipped()


def _prepare(settings: Pii) -> None:
    """Loads what the settings need, if it is there; a request that needs what is not there is refused."""
    if settings.engine == "presidio":
        with contextlib.suppress(ImportError):
            from llmproxy.shield.presidio import engine

            engine.analyzer(settings)


def _examine(order: Order) -> Examined | Refused:
    _prepare(order.policy.pii)
    return examine(order, pipeline(GUARDS), time.monotonic)
