"""Every provider family behind one gateway: a fake of each, all in one thread, and the configuration that names them."""

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import Any, Self

from upstreams import KEY, MODELS, VENDORS, Behaviour, Upstream, running

from llmproxy.provider_workers.adapters import ADAPTERS

SERVED_BY = {"openai-responses": "openai"}
"""Families that are another way to speak to the same vendor -> that vendor."""

KEY_VARIABLE = "FAKE_PROVIDERS_KEY"
FAMILIES = sorted(name for name in ADAPTERS if SERVED_BY.get(name, name) in VENDORS)


class Fakes:
    """One fake per family, so that a test can change the behaviour of one."""

    def __init__(self) -> None:
        self.upstreams = {name: Upstream(VENDORS[SERVED_BY.get(name, name)]) for name in FAMILIES}
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
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

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
            "provider": name,
            "url": fakes.urls[name] + upstream.vendor.base,
            "models": [model_of(name)],
            **({"key": f"env:{KEY_VARIABLE}"} if upstream.key else {}),
        }
    groups = {name: {"targets": [{"endpoint": name, "model": model_of(name)}]} for name in fakes.upstreams}
    # The suite makes every family fail again and again: circuits that open would refuse what comes next.
    return {"endpoints": endpoints, "groups": groups, "routing": {"breaker": {"failures": 100_000}}}


def model_of(family: str) -> str:
    return MODELS[SERVED_BY.get(family, family)]


ENVIRONMENT = {KEY_VARIABLE: KEY}
