"""A sleep that signals and other threads end: without a lock, which a signal's handler might find taken by the very thread that it interrupts."""

import contextlib
import os
import select
import signal
from collections.abc import Iterator


class Wake:
    def __init__(self) -> None:
        self._ours, self._theirs = os.pipe()
        os.set_blocking(self._ours, False)
        os.set_blocking(self._theirs, False)

    def set(self) -> None:
        """From anywhere: the sleep ends, or the next one does not begin."""
        with contextlib.suppress(BlockingIOError):  # It was set more often than anybody slept.
            os.write(self._theirs, b"\0")

    @contextlib.contextmanager
    def by_signals(self) -> Iterator[None]:
        """Every signal that has a handler ends the sleep, whichever thread it comes to: the handlers run in the one that sleeps."""
        before = signal.set_wakeup_fd(self._theirs, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    def wait(self, timeout_s: float) -> None:
        select.select([self._ours], [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._ours, 4_096):
                pass
