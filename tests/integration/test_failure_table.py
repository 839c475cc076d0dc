"""Every row of the failure table that a caller can see, with the real servers and real deaths.

Deaths of whole stages under load, and rolling restarts, are in tests/chaos/test_kills.py.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import nats
import psutil
import pytest
from gateway import Gateway
from nats.js import api
from patience import PATIENCE_S, wait_for
from ports import free_port
from traffic import REQUEST, Background, Connection, SlowProvider

from llmproxy.common.channels import ROOT

STREAM = REQUEST.replace(b'{"model"', b'{"stream":true,"model"')


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def provider(ports: tuple[int, int]) -> Iterator[SlowProvider]:
    with Background(SlowProvider(), ports[0]) as serving:
        serving.delay_s = 0.05
        yield serving


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, ports: tuple[int, int]) -> Iterator[Gateway]:
    slow, absent = (f"http://127.0.0.1:{port}/v1" for port in ports)
    config = {
        # Longer than whatever a test kills is away, on any machine.
        "gateway": {"max_in_flight": 60, "grace_ms": 1000 * int(PATIENCE_S)},
        "endpoints": {
            "slow": {"provider": "openai", "url": slow, "models": ["slow"]},
            "absent": {"provider": "openai", "url": absent, "models": ["absent"]},
            "second": {"provider": "openai", "url": slow, "models": ["second"]},
        },
        "fallbacks": {"absent": [{"endpoint": "second", "model": "second"}]},
        "prices": {"slow": {"input": "1", "output": "2"}},
        "limits": {"key": {"requests_per_minute": 100000, "burst": 10000}},
    }
    lost = {"LLM_PROXY_LOST_S": "5"}  # A worker is killed.
    with Gateway(tmp_path_factory.mktemp("failures"), config, environment=lost) as running:
        yield running


def call(gateway: Gateway, body: bytes = REQUEST) -> Any:
    return asyncio.run(Connection(gateway.port, gateway.key).post(body))


def record_of(gateway: Gateway, request_id: str) -> dict[str, Any]:
    def find() -> Any:
        status, page = gateway.get("/api/v1/audit?limit=300", admin=True)
        entries = page["entries"] if status == 200 else []  # The ledger's database may be the thing that is away.
        return next((one["record"] for one in entries if one["record"]["id"] == request_id), None)

    found: dict[str, Any] = wait_for(find, f"the record of {request_id}")
    return found


def server_pid(gateway: Gateway, name: str) -> int:
    for child in psutil.Process(gateway.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # It ends while it is looked at.
            if name in child.name() or name in " ".join(child.cmdline()[:1]):
                return int(child.pid)
    raise AssertionError(f"{name} does not run")


def test_a_worker_that_dies_in_mid_stream_ends_it_with_one_error_and_no_done(
    gateway: Gateway, provider: SlowProvider
) -> None:
    provider.chunks, provider.interval_s = 100_000, 0.2  # It is not over before the worker dies.

    async def scenario() -> bytes:
        reader, writer = await Connection(gateway.port, gateway.key).begin(STREAM)
        received = b""
        while b"word1" not in received:
            received += await reader.read(1024)
        gateway.kill("provider-workers")
        async with asyncio.timeout(PATIENCE_S):
            while chunk := await reader.read(1024):
                received += chunk
                if received.endswith(b"0\r\n\r\n"):
                    break
        writer.close()
        return received

    received = asyncio.run(scenario())
    request_id = received.lower().split(b"x-request-id: ")[1].split(b"\r\n")[0].decode()
    assert b"[DONE]" not in received
    assert received.count(b'data: {"error"') == 1
    record = record_of(gateway, request_id)
    assert record["verdict"] == "failed"
    assert record["estimated"]
    assert record["output_tokens"] >= 2
    assert record["cost"] > 0  # What was delivered is settled.
    gateway.wait_ready()


def test_a_provider_that_is_gone_is_replaced_by_the_next_of_the_plan(gateway: Gateway, provider: SlowProvider) -> None:
    result = call(gateway, REQUEST.replace(b'"slow"', b'"absent"'))
    assert result.ok
    assert json.loads(provider.bodies[-1])["model"] == "second"
    record = record_of(gateway, result.request_id)
    assert (record["endpoint"], record["retries"]) == ("second", 1)


@pytest.mark.parametrize(("status", "seen"), [(429, 429), (500, 502), (503, 503), (400, 400), (401, 502)])
def test_a_provider_error_without_another_attempt_is_rendered(
    gateway: Gateway, provider: SlowProvider, status: int, seen: int
) -> None:
    provider.status = status
    result = call(gateway)
    assert result.status == seen
    assert set(json.loads(result.body)["error"]) == {"message", "type", "param", "code"}
    assert record_of(gateway, result.request_id)["verdict"] == "failed"


def test_a_client_that_leaves_closes_the_connection_to_the_provider(gateway: Gateway, provider: SlowProvider) -> None:
    provider.holds = True

    async def scenario() -> None:
        _, writer = await Connection(gateway.port, gateway.key).begin(REQUEST)
        async with asyncio.timeout(PATIENCE_S):
            while not provider.open:
                await asyncio.sleep(0.01)
        writer.close()

    asyncio.run(scenario())
    wait_for(lambda: provider.aborted, "the provider's connection closed")  # Long before it would be late.


def test_requests_go_on_when_redis_hangs_or_dies_and_readiness_says_so(
    gateway: Gateway, provider: SlowProvider
) -> None:
    redis = server_pid(gateway, "redis-server")
    os.kill(redis, signal.SIGSTOP)
    try:
        assert all(call(gateway).ok for _ in range(5))
        assert "redis" in json.dumps(gateway.get("/readyz")[1]).lower()
    finally:
        os.kill(redis, signal.SIGCONT)
    os.kill(redis, signal.SIGKILL)
    assert call(gateway).ok
    wait_for(
        lambda: "redis" not in json.dumps(gateway.get("/readyz")[1]).lower() or call(gateway) is None, "redis back"
    )


def test_requests_go_on_when_postgres_is_killed_and_the_ledger_catches_up(
    gateway: Gateway, provider: SlowProvider
) -> None:
    before = call(gateway)
    record_of(gateway, before.request_id)
    os.kill(server_pid(gateway, "postgres"), signal.SIGKILL)
    during = [call(gateway) for _ in range(10)]
    assert all(result.ok for result in during)
    for result in during:
        record_of(gateway, result.request_id)
    counted = [one["id"] for one in gateway.records(300)]
    assert all(counted.count(result.request_id) == 1 for result in during)
    assert gateway.verify_ledger()["ok"]


def refuse_records(gateway: Gateway, refuse: bool) -> None:
    """JetStream is there but takes no audit records: the stream is narrowed to nothing with admin's own rights."""

    async def narrow() -> None:
        port = json.loads((gateway.data / "ports.json").read_text())["nats"]
        password = (gateway.data / "secrets" / "nats-admin").read_text().strip()
        connection = await nats.connect(
            f"nats://127.0.0.1:{port}",
            user="admin",
            password=password,
            inbox_prefix="_INBOX_admin",
            connect_timeout=int(PATIENCE_S),
        )
        await connection.jetstream(timeout=PATIENCE_S).update_stream(
            api.StreamConfig(
                name="AUDIT",
                subjects=[f"{ROOT}.audit.*"],
                retention=api.RetentionPolicy.WORK_QUEUE,
                discard=api.DiscardPolicy.NEW,
                max_bytes=4 << 30,
                max_msg_size=1 if refuse else -1,
                storage=api.StorageType.FILE,
            )
        )
        await connection.close()

    asyncio.run(narrow())


def test_no_answer_leaves_unrecorded_when_jetstream_refuses(gateway: Gateway, provider: SlowProvider) -> None:
    refuse_records(gateway, True)
    try:
        whole, stream = call(gateway), call(gateway, STREAM)
    finally:
        refuse_records(gateway, False)
    assert whole.status == 503
    assert json.loads(whole.body)["error"]["code"] == "audit_unavailable"
    assert b"all is well" not in whole.body
    assert b"[DONE]" not in stream.body
    assert call(gateway).ok


def test_more_than_the_bound_is_refused_at_once_and_the_rest_is_answered(
    gateway: Gateway, provider: SlowProvider
) -> None:
    provider.holds = True

    async def scenario() -> tuple[list[Any], list[Any]]:
        asked = [asyncio.create_task(Connection(gateway.port, gateway.key).post()) for _ in range(100)]
        async with asyncio.timeout(PATIENCE_S):
            while sum(one.done() for one in asked) < 40:
                await asyncio.sleep(0.01)
        refused, held = [one.result() for one in asked if one.done()], [one for one in asked if not one.done()]
        provider.holds = False
        return refused, await asyncio.gather(*held)

    refused, answered = asyncio.run(scenario())
    assert len(refused) == 40
    assert all(result.ok for result in answered)
    assert {result.status for result in refused} == {503}
    assert {json.loads(result.body)["error"]["code"] for result in refused} == {"server_is_overloaded"}


def test_a_client_that_does_not_read_is_cut_off_and_others_do_not_notice(
    gateway: Gateway, provider: SlowProvider
) -> None:
    provider.chunks, provider.interval_s = 3_000_000, 0

    async def scenario() -> None:
        reader, writer = await Connection(gateway.port, gateway.key).begin(STREAM)
        await reader.read(16)
        async with asyncio.timeout(2 * PATIENCE_S):
            while provider.open:
                other = await Connection(gateway.port, gateway.key).post(REQUEST.replace(b'"slow"', b'"second"'))
                assert other.ok
        writer.close()

    asyncio.run(scenario())
    assert provider.aborted


def test_a_death_of_nats_is_a_clear_503_and_service_returns(gateway: Gateway, provider: SlowProvider) -> None:
    os.kill(server_pid(gateway, "nats-server"), signal.SIGKILL)
    result = call(gateway)
    assert result.status in (200, 503)
    gateway.wait_ready()
    assert call(gateway).ok
