"""What is to happen to what is not over in time. One timer for all: nearly everything is, and to set and cancel a timer for each costs more."""

import asyncio
import math
from collections.abc import Callable, Hashable

GRAIN_S = 0.001  # Of a loop's timers.


class Overdue:
    """By key, when something is late, and what is called then."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[Hashable, tuple[float, Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf  # Not later than the first of them; what is forgotten does not move it.

    def expect(self, key: Hashable, within_s: float, late: Callable[[], None]) -> None:
        """In place of what the key had."""
        at = self._loop.time() + within_s
        self._due[key] = (at, late)
        if at < self._wakes_at:
            self._wake(at)

    def forget(self, key: Hashable) -> None:
        self._due.pop(key, None)

    def _wake(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at, self._timer = at, self._loop.call_at(at, self._look)

    def _look(self) -> None:
        now = self._loop.time() + GRAIN_S
        self._wakes_at, self._timer = math.inf, None
        try:
            for key in [key for key, (at, _) in self._due.items() if at <= now]:
                if (due := self._due.pop(key, None)) is not None:  # One may have led to the end of another.
                    due[1]()
        finally:  # Whatever one of them raises, the others are called.
            if self._due:
                self._wake(min(at for at, _ in self._due.values()))
