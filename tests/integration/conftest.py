"""What several integration tests start."""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import asyncpg
import pytest
from redis_server import RedisServer

from llmproxy.launcher.embedded import EmbeddedServers


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    server = RedisServer()
    yield server.url
    server.kill()


@pytest.fixture
def dsn(servers: EmbeddedServers) -> str:
    """A ledger's database of this test's own, on its module's servers."""
    name = f"ledger_{uuid4().hex}"

    async def create() -> None:
        connection = await asyncpg.connect(servers.postgres_superuser_dsn)
        await connection.execute(f'CREATE DATABASE "{name}" OWNER audit')
        await connection.close()

    asyncio.run(create())
    return servers.postgres_dsn.rpartition("/")[0] + "/" + name
