"""Processes are killed for real while requests are held: no request fails, and each has exactly one record."""

import asyncio
import os
import signal
from collections import Counter

import psutil
import pytest
from chaos.conftest import Started
from gateway import Gateway
from patience import wait_for
from traffic import Connection, Result, SlowProvider, serving

CONCURRENT = 200
KILLS = 3

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def check_ledger(gateway: Gateway, results: list[Result]) -> None:
    """Exactly one record for each request, and a chain that verifies."""
    ids = {result.request_id for result in results}
    assert len(ids) == len(results)

    def complete() -> bool:
        return ids <= {record["id"] for record in gateway.records(5000)}

    wait_for(complete, "a record for every request", 30)
    counts = Counter(record["id"] for record in gateway.records(5000))
    assert {id_: counts[id_] for id_ in ids} == dict.fromkeys(ids, 1)
    verified = gateway.verify_ledger()
    assert verified["ok"], verified


async def held(provider: SlowProvider, number: int) -> None:
    async with asyncio.timeout(20):
        while provider.open < number:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("stage", ["shield", "router", "provider-workers"])
def test_killing_every_instance_of_a_stage_fails_no_request(started: Started, upstream_port: int, stage: str) -> None:
    async def scenario(gateway: Gateway) -> list[Result]:
        results: list[Result] = []
        provider = SlowProvider()
        async with serving(provider, upstream_port):
            for _ in range(KILLS):
                connections = [Connection(gateway.port, gateway.key) for _ in range(CONCURRENT)]
                running = [asyncio.create_task(one.post()) for one in connections]
                await held(provider, CONCURRENT // 4)  # Some are with the provider, some still on their way.
                victims = gateway.kill(stage)
                results += await asyncio.gather(*running)
                await asyncio.to_thread(gateway.wait_replaced, stage, victims)
                for connection in connections:
                    connection.close()
        return results

    with started() as gateway:
        results = asyncio.run(scenario(gateway))
        failed = Counter((result.status, result.body[:200]) for result in results if not result.ok)
        assert not failed
        assert all(b"all is well" in result.body for result in results)
        check_ledger(gateway, results)


async def send_to(
    gateway: Gateway, provider: SlowProvider, *, asleep: int, number: int
) -> list["asyncio.Task[Result]"]:
    """So many requests to the edge that is awake: the two share a socket, and who accepts is chance."""
    os.kill(asleep, signal.SIGSTOP)
    try:
        before = provider.open
        running = [asyncio.create_task(Connection(gateway.port, gateway.key).post()) for _ in range(number)]
        await held(provider, before + number)
        return running
    finally:
        os.kill(asleep, signal.SIGCONT)


def test_killing_one_of_two_edges_leaves_the_other_edges_requests_alone(started: Started, upstream_port: int) -> None:
    async def scenario(gateway: Gateway) -> tuple[list[Result], set[int]]:
        provider = SlowProvider()
        provider.delay_s = 3.0
        async with serving(provider, upstream_port):
            victim, other = gateway.pids("edge")
            running = await send_to(gateway, provider, asleep=other, number=CONCURRENT // 2)
            running += await send_to(gateway, provider, asleep=victim, number=CONCURRENT // 2)
            lost = {
                connection.raddr.port
                for connection in psutil.Process(victim).net_connections("tcp")
                if connection.raddr and connection.laddr.port == gateway.port
            }
            os.kill(victim, signal.SIGKILL)
            return list(await asyncio.gather(*running)), lost

    with started(edge=2) as gateway:
        results, lost = asyncio.run(scenario(gateway))
        survivors = [result for result in results if result.local_port not in lost]
        assert len(survivors) == CONCURRENT // 2
        assert all(result.ok for result in survivors)
        check_ledger(gateway, survivors)


@pytest.mark.parametrize("service", ["edge", "shield", "router", "provider-workers", "audit", "admin"])
def test_a_rolling_restart_under_load_fails_no_request(started: Started, upstream_port: int, service: str) -> None:
    async def scenario(gateway: Gateway) -> list[Result]:
        results: list[Result] = []
        stop = asyncio.Event()
        provider = SlowProvider()
        provider.delay_s = 0.05

        async def client() -> None:
            connection = Connection(gateway.port, gateway.key)
            while not stop.is_set():
                results.append(await connection.post())
            connection.close()

        async with serving(provider, upstream_port):
            clients = [asyncio.create_task(client()) for _ in range(20)]
            for pid in gateway.pids(service):
                answered = len(results)
                gateway.terminate(pid)
                await asyncio.to_thread(gateway.wait_replaced, service, [pid])
                async with asyncio.timeout(20):
                    while len(results) < answered + 100:
                        await asyncio.sleep(0.01)
            stop.set()
            await asyncio.gather(*clients)
        return results

    with started(**{service.replace("-", "_"): 2}) as gateway:
        results = asyncio.run(scenario(gateway))
        failed = Counter((result.status, result.body[:200]) for result in results if not result.ok)
        assert not failed
        check_ledger(gateway, results)
