"""As configured: the second is called only when the first cannot."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def failover(candidates: Sequence[T], turn: int) -> list[T]:
    return list(candidates)
