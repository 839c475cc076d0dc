"""Guards made of a policy's rails, once for each: by identity, which costs a request nothing."""

from collections.abc import Callable
from typing import Generic, TypeVar

from llmproxy.common.rails import Rails

KEPT_MAX = 256  # Policies that have one of these ready.

G = TypeVar("G")


class Settled(Generic[G]):
    def __init__(self, make: Callable[[Rails], G]) -> None:
        self._make = make
        self._made: dict[int, tuple[Rails, G]] = {}

    def of(self, rails: Rails) -> G:
        known = self._made.get(id(rails))
        if known is not None and known[0] is rails:
            return known[1]
        if len(self._made) >= KEPT_MAX:
            self._made.clear()
        made = self._make(rails)
        self._made[id(rails)] = (rails, made)
        return made
