"""Large bodies are examined in other processes, so that no request waits for another one's megabytes."""

import asyncio
import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterable
from concurrent.futures.process import BrokenProcessPool

from msgspec import structs

from llmproxy.common.pii import Pii
from llmproxy.shield import memory, processes
from llmproxy.shield.chain import TOO_DEAR, TOO_DEAR_TEXT
from llmproxy.shield.examine import Examined, Order, Refused, examine
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.injection import definitions, model, talk
from llmproxy.shield.preflight import pipeline
from llmproxy.shield.turns import Turns

INLINE_BYTES_MAX = 32 << 10  # What a loop may examine itself: the quick look costs under 1 ms.
INLINE_WORK_MAX = 150  # Segments, findings and lines that a loop may deal with itself: about 30 us each, so under 5 ms.
SHORT_BYTES_MAX = 256 << 10  # One process is kept for these: they take milliseconds, megabytes seconds.
QUEUED_BYTES_MAX = 1 << 20  # More goes by memory that the process opens, and comes back so.
IN_MEMORY = b""  # No body is that.
GRACE_S = 1.0  # Beyond the guards' own time, for the way there and back.
LOAD_S = 30.0  # Presidio's import, and a language model's: once in each process, before the guards' own time begins.
START_S = 10.0  # A process that was just started, on a machine that is busy: not the guards' time either.
WAIT_S = 10.0  # For a process; then the request is refused.

UNAVAILABLE = Refused(
    code="guard_unavailable",
    message="the request could not be checked within policy.guard_timeout_ms; retry, or send less text at once",
    retry_after_ms=1000,
)
TOO_LARGE = Refused(code=TOO_DEAR.code, message=TOO_DEAR_TEXT)
BUSY = Refused(
    code="guard_unavailable",
    message="too many large requests wait to be checked; retry, or send less text at once",
    retry_after_ms=2000,
)


class Offload:
    """A few processes that examine, one body at a time each. One that hangs is replaced, and its request alone is refused."""

    def __init__(self, workers: int) -> None:
        self._lanes = [Lane() for _ in range(workers)]
        self._free = list(self._lanes)
        self._short: Turns[Lane] = Turns()
        self._long: Turns[Lane] = Turns()
        self._running: set[asyncio.Task[Examined | Refused]] = set()

    def warm(self, settings: Iterable[Pii] = ()) -> None:
        """Starts the processes before the first request needs one, and loads what these settings need."""
        wanted = [one for one in settings if one.engine != "patterns"]
        for lane in self._lanes:
            lane.warm(wanted)

    async def examine(self, order: Order, caller: str = "") -> Examined | Refused:
        """`caller`: of those who wait, each has its turn after the others."""
        is_short = len(order.body) <= SHORT_BYTES_MAX or len(self._lanes) == 1
        lane = self._lane(is_short) or await self._turn(self._short if is_short else self._long, caller)
        if lane is None:
            return BUSY
        # It holds its process until it has ended or is ended, also when nobody waits for it any more.
        running = asyncio.create_task(self._examine(lane, order))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return await asyncio.shield(running)

    def close(self) -> None:
        for lane in self._lanes:
            lane.end()

    async def _examine(self, lane: "Lane", order: Order) -> Examined | Refused:
        timeout_s = order.policy.guard_timeout_ms / 1000 + lane.load_s(order.policy.pii)
        too_dear_s = lane.cpu_s() + timeout_s
        try:
            async with asyncio.timeout(timeout_s + GRACE_S):
                return await lane.examine(order)
        except (TimeoutError, BrokenProcessPool):
            is_too_dear = lane.cpu_s() > too_dear_s  # In one guard, between whose texts nobody looks at a clock.
            lane.replace()
            return TOO_LARGE if is_too_dear else UNAVAILABLE
        finally:
            self._release(lane)

    # -- whose turn it is

    def _lane(self, is_short: bool) -> "Lane | None":
        if self._short if is_short else self._long:
            return None  # Others have waited longer.
        for lane in self._free:
            if is_short or not self._is_kept(lane):
                self._free.remove(lane)
                return lane
        return None

    async def _turn(self, turns: "Turns[Lane]", caller: str) -> "Lane | None":
        turn = turns.wait(caller)
        if turn is None:
            return None
        lane = None
        try:
            async with asyncio.timeout(WAIT_S):
                lane = await turn
        except TimeoutError:
            pass
        finally:
            turns.leave(caller, turn)
            if lane is None and turn.done() and not turn.cancelled():
                self._release(turn.result())  # It came in the moment in which nobody waited for it any more.
        return lane

    def _release(self, lane: "Lane") -> None:
        given = not self._is_kept(lane) and self._long.give(lane)  # Those for whom the other one is not.
        if not (given or self._short.give(lane)):
            self._free.append(lane)
            self._free.sort(key=self._lanes.index)  # The one that is kept for the short is theirs first.

    def _is_kept(self, lane: "Lane") -> bool:
        return len(self._lanes) > 1 and lane is self._lanes[0]


class Lane:
    """One process, which examines one body at a time."""

    def __init__(self) -> None:
        self._pool = _start()
        self._prepared: set[Pii] = set()  # What this process has answered under.

    def warm(self, settings: Iterable[Pii]) -> None:
        self._pool.submit(os.getpid)
        for one in settings:
            if one not in self._prepared:
                self._pool.submit(_prepare, one)

    async def examine(self, order: Order) -> Examined | Refused:
        """Raises BrokenProcessPool."""
        examined = await self._by_memory(order) if len(order.body) > QUEUED_BYTES_MAX else None
        if examined is None:
            examined = await asyncio.get_running_loop().run_in_executor(self._pool, _examine, order)
        self._prepared.add(order.policy.pii)
        return examined

    async def _by_memory(self, order: Order) -> Examined | Refused | None:
        """None where there is no memory that both can open."""
        try:
            shared = memory.Memory()
            await asyncio.to_thread(shared.write, order.body)
        except OSError:
            return None
        told, loop = structs.replace(order, body=b""), asyncio.get_running_loop()
        examined = await loop.run_in_executor(self._pool, _examine_in_memory, told, shared.path)
        if isinstance(examined, Examined) and examined.masked == IN_MEMORY:
            examined = structs.replace(examined, masked=await asyncio.to_thread(shared.read))
        return examined

    def load_s(self, settings: Pii) -> float:
        """How much longer a request may take because the process may have to start, or to load something first."""
        if settings in self._prepared:
            return 0.0
        if settings.engine == "patterns":
            return 0.0 if self._prepared else START_S
        return START_S + LOAD_S

    def cpu_s(self) -> float:
        """What its process has worked so far."""
        return processes.cpu_s(self._pool)

    def replace(self) -> None:
        self.end()
        self._pool = _start()
        self._prepared.clear()
        self._pool.submit(os.getpid)

    def end(self) -> None:
        processes.end(self._pool)


def _start() -> processes.Pool:
    return processes.Pool(1, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """In the new process: read what no request shall wait for."""
    processes.belong()
    model.shipped()
    talk.warm()
    definitions.warm()


def _prepare(settings: Pii) -> None:
    """Loads what the settings need, if it is there; a request that needs what is not there is refused."""
    if settings.engine == "presidio":
        with contextlib.suppress(ImportError):
            from llmproxy.shield.presidio import engine

            engine.analyzer(settings)


def _examine_in_memory(order: Order, path: str) -> Examined | Refused | None:
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        examined = _examine(structs.replace(order, body=memory.read(fd)))
        if isinstance(examined, Examined) and examined.masked is not None:
            memory.write(fd, examined.masked)
            examined = structs.replace(examined, masked=IN_MEMORY)
        return examined
    finally:
        os.close(fd)


def _examine(order: Order) -> Examined | Refused:
    _prepare(order.policy.pii)
    return examine(order, pipeline(GUARDS), time.monotonic, time.thread_time)
