"""Large bodies in another process: the same answer, and a refusal when the process hangs or dies."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from llmproxy.common.policy import Policy
from llmproxy.shield.examine import Examined, Order, Refused
from llmproxy.shield.offload import UNAVAILABLE, Offload


def order(content: str, **policy: Any) -> Order:
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    return Order(body=body, policy=Policy(**policy), key=b"k" * 32, max_depth=64)


def with_offload(scenario: Callable[[Offload], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        offload = Offload(1)
        try:
            async with asyncio.timeout(30):
                await scenario(offload)
        finally:
            offload.close()

    asyncio.run(main())


def test_a_body_examined_in_a_process_is_masked_or_refused_as_anywhere() -> None:
    async def scenario(offload: Offload) -> None:
        examined = await offload.examine(order("mail ada@example.com", guard_timeout_ms=20_000))
        assert isinstance(examined, Examined)
        assert list(examined.originals.values()) == ["ada@example.com"]
        refused = await offload.examine(order("mail ada@example.com", kinds={"email": "block"}))
        assert isinstance(refused, Refused)
        assert refused.error().code == "content_blocked"

    with_offload(scenario)


def test_a_process_that_dies_refuses_its_request_and_the_next_is_served_by_another() -> None:
    async def scenario(offload: Offload) -> None:
        patient = {"guard_timeout_ms": 20_000}
        assert isinstance(await offload.examine(order("hello", **patient)), Examined)
        (process,) = offload._pool._processes.values()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert await offload.examine(order("hello", **patient)) == UNAVAILABLE
        assert isinstance(await offload.examine(order("hello", **patient)), Examined)

    with_offload(scenario)


def test_a_process_that_hangs_is_replaced_and_its_request_refused() -> None:
    async def scenario(offload: Offload) -> None:
        assert isinstance(await offload.examine(order("hello", guard_timeout_ms=20_000)), Examined)
        (process,) = offload._pool._processes.values()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        assert await offload.examine(order("hello", guard_timeout_ms=1)) == UNAVAILABLE
        assert isinstance(await offload.examine(order("hello", guard_timeout_ms=20_000)), Examined)
        process.join(10)
        assert not process.is_alive()

    with_offload(scenario)
