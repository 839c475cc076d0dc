"""Answers are read beside the loop where that may take milliseconds, in one thread for what is short and one for what is long.

Not in more: whoever works has the interpreter, and the loop waits for its turn until all the others have had one.
"""

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

SHORT_BYTES_MAX = 64 << 10  # What is longer takes up to a second, and nobody else waits for it.
TURN_S = 0.001  # How long a thread goes on while another one wants to work: Python's 5 ms add up to what a chunk may be late.


class Readers:
    """For the whole process: it says how all of its threads take turns."""

    def __init__(self) -> None:
        sys.setswitchinterval(TURN_S)
        self._short, self._long = ThreadPoolExecutor(1, "short answers"), ThreadPoolExecutor(1, "long answers")

    async def read(self, size: int, work: Callable[[], T]) -> T:
        """The work, on an answer of so many bytes."""
        threads = self._short if size <= SHORT_BYTES_MAX else self._long
        return await asyncio.get_running_loop().run_in_executor(threads, work)
