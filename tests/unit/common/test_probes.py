"""Liveness, readiness and metrics over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
from patience import PATIENCE_S
from prometheus_client import Counter

from llmproxy.common.probes import Readiness, serve_probes

Get = Callable[[str], Awaitable[tuple[int, str, str]]]


def probing(readiness: Readiness, scenario: Callable[[Get], Awaitable[None]]) -> None:
    async def main() -> None:
        runner, url = await serve_probes(readiness, "127.0.0.1", 0)
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):

            async def get(path: str) -> tuple[int, str, str]:
                async with session.get(url + path) as response:
                    return response.status, response.content_type, await response.text()

            await scenario(get)
        await runner.cleanup()

    asyncio.run(main())


def test_an_instance_is_not_ready_until_it_says_so() -> None:
    readiness = Readiness()

    async def scenario(get: Get) -> None:
        status, kind, text = await get("/readyz")
        assert (status, kind) == (503, "application/json")
        assert "starting" in text
        readiness.block("start", "")
        assert (await get("/readyz"))[0] == 200

    probing(readiness, scenario)


def test_liveness_does_not_depend_on_readiness() -> None:
    async def scenario(get: Get) -> None:
        assert (await get("/livez"))[0] == 200

    probing(Readiness(), scenario)


def test_metrics_are_in_the_prometheus_format() -> None:
    async def scenario(get: Get) -> None:
        status, kind, text = await get("/metrics")
        assert (status, kind) == (200, "text/plain")
        assert "# TYPE python_info gauge" in text
        assert "llmproxy_probes_total 0.0" in text
        assert "_created" not in text  # When each of them began: of that docs/metrics.md says nothing.

    Counter("llmproxy_probes", "Probed in this test")

    probing(Readiness(), scenario)


def test_one_blocker_is_enough_and_each_is_lifted_by_its_own_name() -> None:
    readiness = Readiness()
    readiness.block("start", "")
    readiness.block("nats", "not connected")
    readiness.block("redis", "closed")
    readiness.block("nats", "")
    assert not readiness.ready
    assert readiness.report()["blockers"] == {"redis": "closed"}


def test_a_note_is_shown_and_blocks_nothing() -> None:
    readiness = Readiness()
    readiness.block("start", "")
    readiness.note("redis", "slow: local limits in force")
    assert readiness.ready
    assert readiness.report() == {"ready": True, "blockers": {}, "notes": {"redis": "slow: local limits in force"}}
    readiness.note("redis", "")
    readiness.note("never-there", "")
    assert readiness.notes == {}
