"""Ports of the embedded servers: nobody else is given one between its choice and its use, nor while its server is away."""

import socket
import sys
from pathlib import Path

import pytest
from ports import LOOPBACK, free_port

from llmproxy.launcher import data_folder
from llmproxy.launcher.data_folder import DataFolder, DataFolderError

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="Linux alone lets a server listen on a port that is kept"
)


def can_be_had(port: int) -> bool:
    """By somebody who wants it for himself."""
    with socket.socket() as stranger:
        try:
            stranger.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def serve(port: int) -> socket.socket:
    """As every server of ours does."""
    return socket.create_server((LOOPBACK, port))


def test_a_port_is_kept_for_its_server_until_the_folder_is_let_go(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    port = data.ports(["redis"], {})["redis"]
    assert not can_be_had(port)
    for _ in range(2):
        with serve(port) as server:
            socket.create_connection(server.getsockname()).close()
        assert not can_be_had(port), "it is away for a moment only"
    data.unlock()
    assert not data._keepers


def test_a_server_that_could_not_start_has_the_same_port_when_it_is_tried_again(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    first = data.ports(["nats", "redis"], {})
    assert data.ports(["redis"], {}) == {"redis": first["redis"]}
    assert data.remembered_ports() == first
    with serve(first["redis"]):
        assert data.ports(["redis"], {})["redis"] != first["redis"]
    data.unlock()


def test_a_port_that_somebody_holds_is_not_chosen_though_nobody_serves_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = free_port()
    monkeypatch.setattr(data_folder, "PORT_FIRST", held)
    monkeypatch.setattr(data_folder, "PORT_LAST", held)
    with pytest.raises(DataFolderError, match="no free port"):
        DataFolder(tmp_path).ports(["redis"], {})


def test_a_service_gives_its_last_port_back_when_it_asks_for_another(tmp_path: Path) -> None:
    data = DataFolder(tmp_path)
    first = data.free_port("edge-1")
    second = data.free_port("edge-1")
    assert first != second
    assert not can_be_had(second)
    assert len(data._keepers) == 1
    data.unlock()


def test_two_servers_cannot_be_told_the_same_port(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(DataFolderError, match=f"port {port} for redis is taken"):
        DataFolder(tmp_path).ports(["nats", "redis"], {"nats": port, "redis": port})
