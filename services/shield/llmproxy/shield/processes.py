"""How a process that works for the shield begins and ends. It imports nothing of the shield, so that such a process need not."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor


def end(pool: ProcessPoolExecutor) -> None:
    processes = list((pool._processes or {}).values())  # The executor has no public way to end a task that hangs.
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()  # It may be stopped, and holds nothing that must be finished.


def belong() -> None:
    """In a process of the shield: leave signals to the shield, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
