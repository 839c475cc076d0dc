"""How much work something is, counted and not timed: the same on every machine."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def is_call(frame: FrameType, event: str) -> bool:
    """Of Python or C, and that a generator goes on."""
    return event in ("call", "c_call")


def effort(run: Callable[[], object], counts: Callable[[FrameType, str], bool] = is_call) -> int:
    """How many of the profiler's events count while it runs."""
    count = 0

    def note(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += counts(frame, event)

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count
