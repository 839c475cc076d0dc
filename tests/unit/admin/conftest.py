"""Admin as it runs, over a fake bus and real HTTP."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from patience import PATIENCE_S

from llmproxy.admin.__main__ import Settings, run
from llmproxy.common.bus import Bus
from llmproxy.common.channels import AUDIT
from llmproxy.common.config_watch import ConfigWatch
from llmproxy.common.probes import Readiness
from llmproxy.common.records import AuditRecord
from llmproxy.common.runtime import Context
from llmproxy.common.testing import FakeBroker, fake_bus

TOKEN = "token-of-the-admin-for-tests"


class AdminServer:
    def __init__(
        self, context: Context[Settings], broker: FakeBroker, session: aiohttp.ClientSession, url: str
    ) -> None:
        self.context, self.broker, self.session, self.url = context, broker, session, url

    @property
    def bus(self) -> Bus:
        return self.context.bus

    async def call(self, method: str, path: str, *, token: str | None = TOKEN, **options: Any) -> tuple[int, Any]:
        headers = {**options.pop("headers", {}), **({} if token is None else {"Authorization": f"Bearer {token}"})}
        async with self.session.request(method, self.url + path, headers=headers, **options) as answer:
            content = await answer.read()
        try:
            return answer.status, msgspec.json.decode(content)
        except msgspec.DecodeError:
            return answer.status, content.decode()

    def recorded(self) -> list[AuditRecord]:
        """What went into the ledger's stream, in order."""
        stored = self.broker.streams["AUDIT"]
        return [record for _, _, payload in stored for record in AUDIT.decode(payload).records]

    def changes(self) -> list[str]:
        """What was recorded beyond the first configuration."""
        return [record.action for record in self.recorded()][1:]

    async def eventually(self, condition: Callable[[], Any], what: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                assert what
                await asyncio.sleep(0.01)


StartAdmin = Callable[..., AbstractAsyncContextManager[AdminServer]]


@asynccontextmanager
async def start(broker: FakeBroker | None = None, *, ready: bool = True, **settings: Any) -> AsyncIterator[AdminServer]:
    broker = broker or FakeBroker()
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    bus = await fake_bus(broker, "admin")
    given = Settings(**{"admin_token": TOKEN, "listen_fd": listener.detach(), **settings})
    context = Context("admin", given, bus, ConfigWatch(bus), Readiness())
    task = asyncio.create_task(run(context))
    try:
        async with aiohttp.ClientSession() as session:
            server = AdminServer(context, broker, session, url)
            if ready:
                await server.eventually(lambda: context.readiness.ready or task.done(), "admin is ready")
            yield server
    finally:
        context.stop.set()
        await task
        await bus.drain(1)


@pytest.fixture
def start_admin() -> StartAdmin:
    return start
