"""Ports for the servers that tests start, each kept for the process that asked for it."""

import socket

LOOPBACK = "127.0.0.1"
KEPT: list[socket.socket] = []


def free_port() -> int:
    """One that stays this process's own until it ends: held, but not listened on, so that nobody is given it by chance. A server
    that sets SO_REUSEADDR, as all of ours do, listens on it beside that, as often as it is started."""
    keeper = socket.socket()
    keeper.bind((LOOPBACK, 0))
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Not before: the kernel would choose less carefully.
    KEPT.append(keeper)
    return int(keeper.getsockname()[1])
