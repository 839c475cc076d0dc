"""Each in turn is the first; the others follow it in their order."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def round_robin(candidates: Sequence[T], turn: int) -> list[T]:
    if not candidates:
        return []
    first = turn % len(candidates)
    return [*candidates[first:], *candidates[:first]]
