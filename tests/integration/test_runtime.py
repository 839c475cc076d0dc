"""What every service has in common, as a process beside a real nats-server."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from patience import NATS_S, PATIENCE_S, wait_for

from llmproxy.common.channels import CONFIG_BUCKET
from llmproxy.common.config import Config, Snapshot
from llmproxy.common.nats_wire import NatsWire
from llmproxy.common.runtime import FAILED
from llmproxy.launcher.embedded import EmbeddedServers

SERVICE = """
from llmproxy.common import runtime

def changed(snapshot):
    if snapshot.revision > 1:
        raise ValueError("SECRET-WORDS")

async def run(context):
    context.config.on_change(changed)
    context.ready()
    print("ready", flush=True)
    await context.stop.wait()

runtime.serve("router", runtime.Settings, run)
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(tmp_path_factory.mktemp("data"), durable=False, which=("nats",)) as started:
        yield started


def address(servers: EmbeddedServers, user: str) -> dict[str, Any]:
    return {"user": user, "password": servers.nats_password(user), "service": user, "timeout_s": NATS_S}


def publish(servers: EmbeddedServers, revision: int) -> None:
    async def publish() -> None:
        wire = await NatsWire.connect(servers.nats_address, **address(servers, "admin"))
        await wire.provision()
        snapshot = Snapshot(revision=revision, config=Config())
        await (await wire.bucket(CONFIG_BUCKET)).put("current", msgspec.json.encode(snapshot))
        await wire.close()

    asyncio.run(publish())


def test_a_service_that_cannot_take_a_change_over_ends_so_that_another_reads_it_anew(
    servers: EmbeddedServers, tmp_path: Path
) -> None:
    """It would go on with what is no longer in force, a key that was revoked for one, and nobody would know."""
    publish(servers, 1)
    log, told = tmp_path / "log", tmp_path / "told"
    environment = {
        "LLM_PROXY_NATS_URL": servers.nats_address,
        "LLM_PROXY_NATS_USER": "router",
        "LLM_PROXY_NATS_PASSWORD": servers.nats_password("router"),
        "LLM_PROXY_NATS_TIMEOUT_S": str(NATS_S),
    }
    with log.open("wb") as stderr, told.open("wb") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE], env={**os.environ, **environment}, stdout=stdout, stderr=stderr
        )
        try:
            wait_for(told.read_bytes, "the service is ready")
            publish(servers, 2)
            assert process.wait(PATIENCE_S) == FAILED
        finally:
            process.kill()
            process.wait()
    said = log.read_text()
    assert "a change could not be taken over" in said
    assert "ValueError" in said
    assert "SECRET-WORDS" not in said
