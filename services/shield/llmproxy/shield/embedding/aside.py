"""The embedding stage in a process of its own: forty milliseconds of arithmetic are no event loop's business, nor those of a body in need.

It may be absent, late or dead: then nobody has a second opinion, and what the injection guard said stands.
"""

import asyncio
import logging
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path

from llmproxy.shield import processes
from llmproxy.shield.embedding.stage import Question, Stage, load

WAITING_MAX = 16  # Requests whose texts are being weighed or wait for it; others go without.
RESTART_S = 30.0  # Not sooner after the last start, so that a model that kills its process is not read over and over.

log = logging.getLogger(__name__)


class Aside:
    """One process, started before it is needed. `clock` in seconds; `read` and what it returns live in the process."""

    def __init__(self, place: Path, clock: Callable[[], float], read: Callable[[Path], Stage] = load) -> None:
        self._place, self._clock, self._read = place, clock, read
        self._under_way: list[Future[list[float] | None]] = []
        self._begin()

    def _begin(self) -> None:
        self._begun_at = self._clock()
        context = multiprocessing.get_context("spawn")
        self._pool = processes.Pool(1, mp_context=context, initializer=_start, initargs=(self._place, self._read))

    async def problem(self, timeout_ms: int) -> str:
        """Waits until the model is read. What is wrong with it, or "" """
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._pool, _problem)
            return await asyncio.wait_for(answer, timeout_ms / 1000)
        except TimeoutError:
            return f"it could not be read in {timeout_ms} ms"
        except BrokenExecutor:
            return "its process has died"

    async def probabilities(self, questions: Sequence[Question], timeout_ms: int) -> list[float] | None:
        """One for each, in time; else None."""
        self._under_way = [work for work in self._under_way if not work.done()]
        if len(self._under_way) >= WAITING_MAX:
            return None
        try:
            work = self._pool.submit(_weigh, tuple(questions))
        except RuntimeError:  # The process has died, or everything is ending.
            self._replace()
            return None
        self._under_way.append(work)
        answer = asyncio.wrap_future(work)
        try:
            await asyncio.wait([answer], timeout=timeout_ms / 1000)
            return self._result(answer) if answer.done() else None
        finally:
            answer.cancel()  # What has begun goes on, and is under way until it ends.

    def _result(self, answer: asyncio.Future[list[float] | None]) -> list[float] | None:
        error = answer.exception()
        if error is None:
            return answer.result()
        log.error("embedding model: %s", type(error).__name__)
        if isinstance(error, BrokenExecutor):
            self._replace()
        return None

    def _replace(self) -> None:
        if self._clock() - self._begun_at >= RESTART_S:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._begin()

    def close(self) -> None:
        processes.end(self._pool)


# -- in the process

_loaded: list[Stage | str] = []  # The stage, or what is wrong with it.


def _start(place: Path, read: Callable[[Path], Stage]) -> None:
    processes.belong()
    try:
        _loaded[:] = [read(place)]
    except (ImportError, OSError, ValueError) as error:
        _loaded[:] = [str(error)]


def _problem() -> str:
    return _loaded[0] if isinstance(_loaded[0], str) else ""


def _weigh(questions: tuple[Question, ...]) -> list[float] | None:
    known = _loaded[0]
    return None if isinstance(known, str) else [known.probability(one) for one in questions]
