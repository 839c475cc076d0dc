"""Places that callers share: however many one of them wants, there is one for whoever comes next."""

import asyncio
from collections import Counter, deque


class Shares:
    """A caller has at most as many places as are free beside its own: alone half of them, two a third each. `waiting` may wait for one,
    `waiting_each` of one caller, each caller in its turn."""

    def __init__(self, places: int, *, waiting: int, waiting_each: int) -> None:
        self._free = places
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # In the order of their turns.
        self._waiting_max, self._waiting_each_max = waiting, waiting_each

    async def take(self, caller: str) -> bool:
        """Waits for a place, which must be given back; False, at once, when too many wait."""
        own = self._waiting.get(caller, ())
        if not own and self._may_have_one(caller):
            self._give(caller)
            return True
        if sum(map(len, self._waiting.values())) >= self._waiting_max or len(own) >= self._waiting_each_max:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(caller, turn)
            else:  # It came in the moment in which nobody waited for it any more.
                self.give_back(caller)
            raise
        return True

    def give_back(self, caller: str) -> None:
        self._free += 1
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
        while (following := next(filter(self._may_have_one, self._waiting), None)) is not None:
            own = self._waiting.pop(following)
            turn = own.popleft()
            if own:
                self._waiting[following] = own  # At the end: the others come first.
            if not turn.done():
                self._give(following)
                turn.set_result(None)

    def _may_have_one(self, caller: str) -> bool:
        return self._held[caller] < self._free

    def _give(self, caller: str) -> None:
        self._free -= 1
        self._held[caller] += 1

    def _leave(self, caller: str, turn: "asyncio.Future[None]") -> None:
        own = self._waiting.get(caller)
        if own is None or turn not in own:
            return
        own.remove(turn)
        if not own:
            del self._waiting[caller]
