"""How long an answer may stay away: every wait of a worker under one timer."""

import asyncio
import math
from types import TracebackType
from typing import Any, Protocol, Self


class Waits(Protocol):
    """What has to be over at some time."""

    due: float  # In loop time.

    def expire(self) -> None: ...


class Watch:
    """Cancels the task that reads an answer when the answer stays away for too long. Made by `Watches.over`."""

    __slots__ = ("_deadline", "_loop", "_task", "_watches", "due", "has_expired")

    def __init__(self, watches: "Watches", task: "asyncio.Task[Any]", due: float, deadline: float) -> None:
        self._watches, self._loop, self._task = watches, watches.loop, task
        self.due, self._deadline = due, deadline
        self.has_expired = False

    def extend(self, seconds: float) -> None:
        """From now. Shortening takes effect at once too."""
        self.due = min(self._loop.time() + seconds, self._deadline)
        self._watches.look_by(self.due)

    @property
    def is_past_deadline(self) -> bool:
        return self._loop.time() >= self._deadline

    def expire(self) -> None:
        self.has_expired = True
        self._task.cancel()

    def __enter__(self) -> Self:
        self._watches.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Our own cancellation becomes TimeoutError; one that came from outside stays what it is."""
        self._watches.under_way.discard(self)
        if self.has_expired and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise TimeoutError from None


class Watches:
    """All waits of one worker under one timer, which is set for the first of them that may be late. Nearly none ever is: a timer
    for each would be made and thrown away with every call."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.under_way: set[Waits] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.looks_at = math.inf  # In loop time.

    def over(self, seconds: float, left_s: float) -> Watch:
        """Over the current task, while it is in the context. After `left_s` the request ends, whatever `extend` says."""
        task = asyncio.current_task(self.loop)
        assert task is not None
        now = self.loop.time()
        return Watch(self, task, now + min(seconds, left_s), now + left_s)

    def add(self, one: Waits) -> None:
        self.under_way.add(one)
        if one.due < self.looks_at:
            self.look_by(one.due)

    def look_by(self, due: float) -> None:
        if due >= self.looks_at:
            return
        self.close()
        self.looks_at = due
        self._timer = self.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer, self.looks_at = None, math.inf
        now = self.loop.time()
        for late in [one for one in self.under_way if one.due <= now]:
            self.under_way.discard(late)
            late.expire()
        if self.under_way:
            self.look_by(min(one.due for one in self.under_way))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
