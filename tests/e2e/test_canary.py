"""One secret goes every way through the gateway; afterwards it is in no log, event, row, bucket, metric or error."""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import openai
import pytest
from gateway import Gateway
from openai import OpenAI
from patience import PATIENCE_S, wait_for
from ports import free_port
from traffic import Background, SlowProvider

from llmproxy.common.channels import ALL_EVENTS

VERDICTS = {"answered", "blocked", "refused", "failed", "cancelled"}
EVENTS = (
    (b"event.request.blocked",),
    (b"event.segment.masked", b"email"),
    (b"event.guard.alerted", b"phone"),
)
CANARY = "canary-5e1f0d7c9b"
EMAIL = f"{CANARY}@example.org"
GATEWAY_KEY = f"gateway-{CANARY}"
PROVIDER_KEY = f"provider-{CANARY}"
WRONG_KEY = f"wrong-{CANARY}"


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[SlowProvider, int]]:
    port = free_port()
    with Background(SlowProvider(), port) as provider:
        provider.delay_s = provider.interval_s = 0.01
        yield provider, port


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: tuple[SlowProvider, int]) -> Iterator[Gateway]:
    config = {
        "endpoints": {
            "slow": {
                "provider": "openai",
                "url": f"http://127.0.0.1:{upstream[1]}/v1",
                "models": ["slow"],
                "key": "env:CANARY_PROVIDER_KEY",
            },
            "dead": {
                "provider": "anthropic",
                "url": "http://127.0.0.1:9",
                "models": ["dead"],
                "key": "env:CANARY_PROVIDER_KEY",
            },
        },
        "policy": {
            "kinds": {"us_ssn": "block"},
            "overrides": [{"when": {"apis": ["chat"], "models": ["slow*"]}, "kinds": {"phone": "alert"}}],
        },
        "firewall": {
            "enabled": True,
            "signatures": [{"id": "says", "phrase": "says write to", "severity": "low"}],
        },
    }
    environment = {"CANARY_PROVIDER_KEY": PROVIDER_KEY, "LLM_PROXY_API_KEYS": GATEWAY_KEY}
    running = Gateway(tmp_path_factory.mktemp("canary"), config, environment=environment)
    running.key = GATEWAY_KEY
    with running:
        yield running


def provoke(gateway: Gateway, provider: SlowProvider) -> list[str]:
    """Every kind of outcome, with the canary in the prompt; returns what the caller was told in errors."""
    client = OpenAI(api_key=gateway.key, base_url=gateway.base_url, max_retries=0)
    prompt: list[Any] = [{"role": "user", "content": f"{CANARY} says: write to {EMAIL}"}]
    errors: list[str] = []

    def attempt(**changes: Any) -> None:
        try:
            answer = client.chat.completions.create(**{"model": "slow", "messages": prompt, **changes})
            if changes.get("stream"):
                list(answer)
        except openai.OpenAIError as error:
            errors.append(str(getattr(error, "body", "")) + str(error))

    attempt()
    attempt(stream=True)
    attempt(model=f"no-{CANARY}"[:12])
    attempt(model="dead")
    attempt(messages=[{"role": "user", "content": f"{CANARY} has the number 536-22-8745"}])
    attempt(temperature={CANARY: CANARY})
    attempt(messages=[{"role": "user", "content": f"{CANARY} is at +1 415 555 2671"}])
    attempt(extra_body={"metadata": {CANARY: EMAIL}})
    for status in (400, 401, 429, 500):
        provider.status = status
        attempt()
        attempt(stream=True)
    provider.status = 200
    for body in (b"{", f'{{"model":"slow","messages":"{CANARY}"}}'.encode(), f'["{CANARY}"]'.encode()):
        errors.append(json.dumps(raw(gateway, body)))
    errors.append(json.dumps(gateway.post("/v1/chat/completions", {}, key=WRONG_KEY)[1]))
    chunks, provider.chunks = provider.chunks, 1_000_000  # It is not over before its caller leaves.
    stream = client.chat.completions.create(model="slow", messages=prompt, stream=True)
    next(iter(stream))
    stream.close()
    provider.chunks = chunks
    return errors


def raw(gateway: Gateway, body: bytes) -> Any:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(
        f"{gateway.base_url}/chat/completions",
        data=body,
        headers={"Authorization": f"Bearer {gateway.key}", "Content-Type": "application/json"},
    )
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=PATIENCE_S)
        raise AssertionError("a bad body was accepted")
    try:
        urllib.request.urlopen(request, timeout=PATIENCE_S)
    except urllib.error.HTTPError as error:
        return error.read().decode()


class Tail:
    """What an operator sees on the bus while the gateway works."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.seen: list[bytes] = []

    async def __aenter__(self) -> "Tail":
        port = json.loads((self._gateway.data / "ports.json").read_text())["nats"]
        password = (self._gateway.data / "secrets" / "nats-operator").read_text().strip()
        self._connection = await nats.connect(
            f"nats://127.0.0.1:{port}", user="operator", password=password, connect_timeout=int(PATIENCE_S)
        )

        async def note(message: Any) -> None:
            self.seen.append(message.subject.encode() + b" " + message.data)

        await self._connection.subscribe(ALL_EVENTS, cb=note)
        await self._connection.flush(int(PATIENCE_S))  # The server knows of it.
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


def test_the_canary_is_found_nowhere(gateway: Gateway, upstream: tuple[SlowProvider, int]) -> None:
    def verdicts() -> set[str]:
        return {one["verdict"] for one in gateway.records(1000)}

    async def scenario() -> tuple[list[str], list[bytes]]:
        async with Tail(gateway) as tail:

            def told() -> bool:
                return all(any(all(word in event for word in words) for event in tail.seen) for words in EVENTS)

            errors = await asyncio.to_thread(provoke, gateway, upstream[0])
            await asyncio.to_thread(wait_for, lambda: verdicts() >= VERDICTS, "every verdict is recorded")
            await asyncio.to_thread(wait_for, told, "every kind of event was seen")
            return errors, tail.seen

    errors, events = asyncio.run(scenario())
    assert len(errors) >= 12
    reasons = [one for record in gateway.records(1000) for one in record.get("explained", {}).get("findings", [])]
    assert {(one["guard"], one["action"]) for one in reasons} >= {
        ("pii", "mask"), ("pii", "block"), ("pii", "alert"), ("firewall", "flag"),
    }  # fmt: skip
    assert {"messages[0].content", "metadata.*"} <= {one.get("path") for one in reasons}
    masked = next(record for record in gateway.records(1000) if record["masked"])
    found = gateway.ledger_page(f"/api/v1/audit?request={masked['id']}")
    assert [entry["record"] for entry in found["entries"]] == [masked]
    shown = {
        "errors": "\n".join(errors),
        "events": b"\n".join(events).decode(),
        "audit": json.dumps(gateway.records(1000)),
        "status": json.dumps(gateway.get("/api/v1/status", admin=True)[1]),
        "config": json.dumps(gateway.get("/api/v1/config", admin=True)[1]),
        "keys": json.dumps(gateway.get("/api/v1/keys", admin=True)[1]),
        "metrics": str(gateway.get("/metrics", admin=True)[1]),
        "printed": gateway.printed(),
    }
    for place, text in shown.items():
        assert text
        assert CANARY not in text, place


def test_the_canary_is_in_no_file_of_the_data_folder(gateway: Gateway, upstream: tuple[SlowProvider, int]) -> None:
    """Logs, the ledger's tables, JetStream's files, Redis: everything that was written."""
    provoke(gateway, upstream[0])
    searched = 0
    for folder, _, names in os.walk(gateway.data):  # It goes on where a folder has gone meanwhile; `rglob` does not.
        for path in (Path(folder, name) for name in names):
            if path.is_file() and not path.is_symlink():
                searched += 1
                assert CANARY.encode() not in _read(path), path
    assert searched > 50


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, PermissionError):
        return b""
