"""A real redis-server that a test may freeze, kill and start again on the same port."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

from patience import wait_for
from ports import LOOPBACK, free_port

PROGRAM = Path(sys.executable).with_name("redis-server")


class RedisServer:
    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        self.process = subprocess.Popen(
            [PROGRAM, "--port", str(self.port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        wait_for(self._answers, "redis-server answers")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        assert self.process.poll() is None, "redis-server ended at once"
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
