"""The sockets that the launcher binds for the gateway and the admin API, and whether it may bind them there."""

import errno
import socket
from collections.abc import Mapping

from llmproxy.common.config import ConfigError
from llmproxy.launcher.data_folder import LOOPBACK

BACKLOG = 1024  # Connections that wait while an edge restarts.
TOKEN = "LLM_PROXY_ADMIN_TOKEN"  # noqa: S105 - the variable's name
TOKEN_LENGTH_MIN = 16


class CannotStartError(Exception):
    """The message names what is in the way and the fix."""


def listen(host: str, port: int, option: str) -> socket.socket:
    """Bound here and handed to the services, so that the port answers however often they restart."""
    if not host:  # To the system it is every address; here it is a variable that was not set.
        raise CannotStartError(f"{option.replace('port', 'host')} is empty; write an address, 0.0.0.0 for all of them")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        choice = option.replace("port", "host") if is_host else option
        raise CannotStartError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with {choice}"
        ) from error
    listener.listen(BACKLOG)
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": LOOPBACK, "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{host}:{port}"


def check_exposure(host: str, admin_host: str, environment: Mapping[str, str]) -> None:
    """Off this machine, every credential that opens the gateway must be one that cannot be guessed."""
    keys = [key.strip() or None for key in environment.get("LLM_PROXY_API_KEYS", "").split(",")]
    for option, address, variable, values in (
        ("--host", host, "LLM_PROXY_API_KEYS", keys),
        ("--admin-host", admin_host, TOKEN, [environment.get(TOKEN)]),
    ):
        if _exposed(address) and any(value is not None and len(value) < TOKEN_LENGTH_MIN for value in values):
            raise ConfigError(
                f"{variable}: too short to listen on a non-loopback address; "
                f"use at least {TOKEN_LENGTH_MIN} characters, or {option} {LOOPBACK}"
            )


def _exposed(host: str) -> bool:
    return not (host in ("localhost", "::1") or host.startswith("127."))
