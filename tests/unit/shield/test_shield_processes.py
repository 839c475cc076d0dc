"""The shield's pools end with their processes, whatever was still to be done in them."""

import os
import signal
import threading
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import pytest
from patience import PATIENCE_S

from llmproxy.shield import processes


def test_work_that_was_cancelled_does_not_keep_those_waiting_who_come_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stumbled: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", stumbled.append)
    pool = processes.Pool(1, mp_context=get_context("spawn"))
    process = pool.submit(os.getpid).result(PATIENCE_S)
    manager = pool._executor_manager_thread
    os.kill(process, signal.SIGSTOP)
    asked: list[Future[int]] = [pool.submit(os.getpid) for _ in range(8)]
    assert asked[6].cancel(), "it has not begun"
    os.kill(process, signal.SIGKILL)
    assert isinstance(asked[7].exception(PATIENCE_S), BrokenProcessPool)
    manager.join(PATIENCE_S)
    assert not manager.is_alive()
    assert stumbled == []
