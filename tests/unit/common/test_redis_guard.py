"""How long Redis may take is what the configuration says, and a cancellation that the client library keeps to itself still
ends the task."""

import asyncio
from typing import Any

import pytest
from patience import PATIENCE_S
from redis.exceptions import ConnectionError

from llmproxy.common.errors import Unavailable
from llmproxy.common.redis import Redis


@pytest.mark.parametrize("ends", ["with an answer", "with an error"])
def test_a_cancellation_that_the_client_swallows_is_not_lost(ends: str) -> None:
    async def run() -> None:
        redis = Redis("redis://127.0.0.1:1", timeout_s=PATIENCE_S)
        entered = asyncio.Event()

        async def call(_: Any) -> object:
            entered.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if ends == "with an error":
                    raise ConnectionError from None
            return b"PONG"

        calling = asyncio.create_task(redis.guarded(call))
        await entered.wait()
        calling.cancel()
        await asyncio.wait({calling}, timeout=PATIENCE_S)
        assert calling.cancelled()
        assert redis.available
        await redis.close()

    asyncio.run(run())


def test_the_patience_with_redis_is_changed_while_it_is_used() -> None:
    """Of a Redis that takes the connection and says nothing."""

    async def run() -> None:
        async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        silent = await asyncio.start_server(keep, "127.0.0.1", 0)
        redis = Redis(f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}", timeout_s=3600.0)
        redis.wait(1)
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(Unavailable):
                await redis.evaluate(redis.script("return 1"), [], [])
        await redis.close()
        silent.close()

    asyncio.run(run())
