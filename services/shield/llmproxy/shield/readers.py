"""Answers are read beside the loop where that may take milliseconds, in two threads for what is short and two for what is long.

Threads take turns at the interpreter, so an answer that is made to take long holds up no other one. Not in many: the loop waits for its
turn until all that work have had one.
"""

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

SHORT_BYTES_MAX = 64 << 10  # What is longer takes up to a second.
SHORT_THREADS, LONG_THREADS = 2, 2
TURN_S = 0.001  # How long a thread goes on while another one wants to work: Python's 5 ms add up to what a chunk may be late.


class Readers:
    """For the whole process: it says how all of its threads take turns."""

    def __init__(self) -> None:
        sys.setswitchinterval(TURN_S)
        self._short = ThreadPoolExecutor(SHORT_THREADS, "short answers")
        self._long = ThreadPoolExecutor(LONG_THREADS, "long answers")

    async def read(self, size: int, work: Callable[[], T]) -> T:
        """The work, on an answer of so many bytes."""
        threads = self._short if size <= SHORT_BYTES_MAX else self._long
        return await asyncio.get_running_loop().run_in_executor(threads, work)
