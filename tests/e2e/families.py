"""Every provider family behind one gateway: a fake of each, all in one thread, and the configuration that names them."""

import asyncio
import threading
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from patience import PATIENCE_S
from upstreams import KEY, MODELS, VENDORS, Behaviour, Upstream, running

from llmproxy.provider_workers.adapters import ADAPTERS

KEY_VARIABLE = "FAKE_PROVIDERS_KEY"
ENVIRONMENT = {KEY_VARIABLE: KEY}


@dataclass(frozen=True)
class Family:
    """A row of the matrix: a provider of the configuration, the fake that it calls, and as which model."""

    provider: str
    vendor: str = ""
    model: str = ""
    shown: Mapping[str, Any] = field(default_factory=lambda: {"key": f"env:{KEY_VARIABLE}"})  # How it presents its key.


SIGNED = {"kind": "sigv4", "access_key_id": f"env:{KEY_VARIABLE}", "secret_access_key": f"env:{KEY_VARIABLE}"}
TOKEN = {"auth": {"kind": "bearer", "key": f"env:{KEY_VARIABLE}"}}

SPECIAL = {
    "openai-responses": Family("openai-responses", vendor="openai"),
    "ollama": Family("ollama", shown={}),
    "vllm": Family("vllm", shown={}),
    "bedrock": Family("bedrock", shown={"region": "us-east-1", "auth": SIGNED}),
    "vertex": Family("vertex", shown=TOKEN),
    "vertex-claude": Family("vertex", model="claude-opus-4-6", shown=TOKEN),
}
FAMILIES: dict[str, Family] = {
    name: SPECIAL.get(name, Family(name))
    for name in sorted({*ADAPTERS, *SPECIAL})
    if SPECIAL.get(name, Family(name)).provider in ADAPTERS
}


def vendor_of(name: str) -> str:
    return FAMILIES[name].vendor or FAMILIES[name].provider


def model_of(name: str) -> str:
    return FAMILIES[name].model or MODELS[vendor_of(name)]


class Fakes:
    """One fake per family, so that a test can change the behaviour of one."""

    def __init__(self) -> None:
        self.upstreams = {name: Upstream(VENDORS[vendor_of(name)]) for name in FAMILIES}
        self.urls: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()))

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            for name, upstream in self.upstreams.items():
                self.urls[name] = await stack.enter_async_context(running(upstream))
            self._up.set()
            await self._stop.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)

    def behave(self, family: str, **behaviour: Any) -> Upstream:
        upstream = self.upstreams[family]
        upstream.behaviour = Behaviour(**behaviour)
        upstream.requests.clear()
        return upstream


def configuration(fakes: Fakes) -> dict[str, Any]:
    """Asked for by the family's name, each is called by a model name of its own."""
    endpoints: dict[str, Any] = {}
    for name, upstream in fakes.upstreams.items():
        endpoints[name] = {
            "provider": FAMILIES[name].provider,
            "url": fakes.urls[name] + upstream.vendor.base,
            "models": [model_of(name)],
            **FAMILIES[name].shown,
        }
    groups = {name: {"targets": [{"endpoint": name, "model": model_of(name)}]} for name in fakes.upstreams}
    # The suite makes every family fail again and again: circuits that open would refuse what comes next.
    return {
        "endpoints": endpoints,
        "groups": groups,
        "routing": {"breaker": {"failures": 100_000}},
        "policy": {"guard_timeout_ms": 1_000 * int(PATIENCE_S)},
    }
