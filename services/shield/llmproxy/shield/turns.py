"""Who is next of those who wait: one request of each caller after the other, so that nobody waits for another one's hundred."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")
WAITING_MAX = 64
WAITING_EACH_MAX = 16  # Of one caller: one who sends more waits alone, and leaves room for others.


class Turns(Generic[T]):
    """Callers in the order of their turns, each with its requests in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[T]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def wait(self, caller: str) -> "asyncio.Future[T] | None":
        """To be awaited; None when too many wait. Who stops waiting calls `leave`."""
        own = self._waiting.get(caller, ())
        if self._count >= WAITING_MAX or len(own) >= WAITING_EACH_MAX:
            return None
        turn: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        self._count += 1
        return turn

    def leave(self, caller: str, turn: "asyncio.Future[T]") -> None:
        own = self._waiting.get(caller)
        if own is None or turn not in own:
            return
        own.remove(turn)
        self._count -= 1
        if not own:
            del self._waiting[caller]

    def give(self, what: T) -> bool:
        """To whoever is next; False when nobody waits."""
        while self._waiting:
            caller = next(iter(self._waiting))
            own = self._waiting.pop(caller)
            turn = own.popleft()
            self._count -= 1
            if own:
                self._waiting[caller] = own  # At the end: the others come first.
            if not turn.done():
                turn.set_result(what)
                return True
        return False
