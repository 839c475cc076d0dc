"""The two wires that one suite judges: the fake, and NATS itself."""

import asyncio
import secrets
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from patience import NATS_S, PATIENCE_S
from ports import free_port

from llmproxy.common.bus import Wire
from llmproxy.common.nats_wire import NatsWire
from llmproxy.common.permissions import PERMISSIONS
from llmproxy.common.testing import FakeBroker, FakeWire
from llmproxy.launcher.servers import nats

Connect = Callable[[str], "asyncio.Future[Wire]"]


class RealNats:
    """A nats-server with the generated users and permissions."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.passwords = {user: secrets.token_hex(8) for user in PERMISSIONS}
        config = folder / "nats.conf"
        config.write_text(nats.configuration(self.port, str(folder / "js"), self.passwords))
        with (folder / "nats.log").open("w") as log:
            self.process = subprocess.Popen([nats.binary(), "-c", config], stdout=subprocess.DEVNULL, stderr=log)

    async def connect(self, service: str, **options: Any) -> NatsWire:
        return await NatsWire.connect(
            f"nats://127.0.0.1:{self.port}",
            user=service,
            password=self.passwords[service],
            service=service,
            timeout_s=NATS_S,
            **options,
        )

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)


@pytest.fixture(scope="session")
def real_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNats]:
    server = RealNats(tmp_path_factory.mktemp("nats"))
    yield server
    server.stop()


class Wires:
    """Connections to one broker, whichever kind; provisioned."""

    def __init__(self, connect: Callable[[str], object]) -> None:
        self._connect = connect
        self.open: list[Wire] = []

    async def connect(self, service: str) -> Wire:
        made = self._connect(service)
        wire = await made if asyncio.iscoroutine(made) else made
        self.open.append(wire)
        return wire


@pytest.fixture(params=["fake", "nats"])
def wires(request: pytest.FixtureRequest) -> Callable[[], object]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Wires]:
        if request.param == "fake":
            broker = FakeBroker()
            made = Wires(lambda _: FakeWire(broker))
        else:
            made = Wires(request.getfixturevalue("real_nats").connect)
        admin = await made.connect("admin")
        await admin.provision()
        try:
            yield made
        finally:
            for wire in made.open:
                await wire.close()

    if request.param == "nats":
        request.getfixturevalue("real_nats")
    return opened
