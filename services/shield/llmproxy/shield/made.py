"""What is made of a policy, once for each: found by the policy's identity, which costs a request nothing."""

from collections.abc import Callable
from typing import Generic, TypeVar

P = TypeVar("P")
T = TypeVar("T")

KEPT_MAX = 256  # Policies for which one of these is kept ready.


class Made(Generic[P, T]):
    """`make` is called with a policy, or a part of one, that was not seen before, or not for long."""

    __slots__ = ("_kept", "_last", "_make")

    def __init__(self, make: Callable[[P], T]) -> None:
        self._make = make
        self._kept: dict[int, tuple[P, T]] = {}
        self._last: tuple[P, T] | None = None

    def of(self, policy: P) -> T:
        known = self._last  # Nearly every request has the policy of the one before.
        if known is not None and known[0] is policy:
            return known[1]
        known = self._kept.get(id(policy))
        if known is not None and known[0] is policy:
            self._last = known
            return known[1]
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        made = self._make(policy)
        self._kept[id(policy)] = (policy, made)
        return made

    def clear(self) -> None:
        """All of it is made anew."""
        self._kept.clear()
        self._last = None
