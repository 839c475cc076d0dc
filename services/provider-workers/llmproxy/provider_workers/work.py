"""One request at the providers: call, translate, stream; and before the first content byte, try the next of the plan.

Nothing has left for the caller until there is content, so everything before it can be tried again elsewhere. After it
the provider is never changed: what goes wrong then is said, with what was used so far.
"""

import time
from collections.abc import Callable, Coroutine
from random import random
from typing import Any

from msgspec.structs import replace

from llmproxy.common import addresses
from llmproxy.common.bus import Answer, Bus
from llmproxy.common.channels import REQUEST_CALL
from llmproxy.common.config import Config
from llmproxy.common.envelope import Attempt, Envelope
from llmproxy.common.errors import GatewayError
from llmproxy.common.frames import End, Head
from llmproxy.provider_workers.adapters import ADAPTERS, at
from llmproxy.provider_workers.call import Call
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.destinations import Destination
from llmproxy.provider_workers.fetcher import Fetcher
from llmproxy.provider_workers.retries import goes_on, pause_ms
from llmproxy.provider_workers.settlement import Settlement
from llmproxy.provider_workers.transport import Transport


class Work:
    """The handler of REQUEST_CALL."""

    def __init__(
        self,
        bus: Bus,
        transport: Transport,
        settlement: Settlement,
        credentials: Credentials,
        *,
        providers: frozenset[str],
        demo_chunk_ms: int = 0,
        random: Callable[[], float] = random,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.bus, self.transport, self.settlement = bus, transport, settlement
        self.providers, self.demo_chunk_ms = providers, demo_chunk_ms
        self.random, self.now = random, now
        self._credentials = credentials
        self._destinations: dict[str, Destination] = {}
        self.fetcher: Fetcher | None = None  # When contents at callers' addresses are fetched.
        self.is_lenient = False  # Parameters that a provider cannot express are left out.

    def configure(self, config: Config, *, named: bool = False) -> None:
        """`named`: the operator's own file or environment says it, see `addresses.reach` and `references.within`."""
        self._credentials.confine(named=named)
        networks = addresses.networks(*config.gateway.private_networks)
        self.fetcher = (
            Fetcher(config.fetch, self.transport.once, body_bytes_max=config.gateway.max_body_bytes)
            if config.fetch.enabled
            else None
        )
        self.is_lenient = config.routing.unsupported_parameters == "drop"
        self._destinations = {
            name: Destination(
                name,
                endpoint,
                at(ADAPTERS[endpoint.provider], endpoint.url),
                self._credentials,
                networks=networks,
                named=named,
            )
            for name, endpoint in config.endpoints.items()
            if endpoint.provider in self.providers and endpoint.provider in ADAPTERS
        }

    def __call__(self, envelope: Envelope, answer: Answer) -> Coroutine[Any, Any, None] | None:
        if envelope.api == "probe":
            answer.send(Head(), End())
            return None
        if (
            not (envelope.stream or envelope.body_ref or self.fetcher is not None)
            and envelope.step < len(envelope.plan)
            and Call(self, envelope, bytes(envelope.body), answer).begin()
        ):
            return None
        return self.serve(envelope, answer)

    def destinations(self) -> list[Destination]:
        """Every endpoint of this worker, as configured now."""
        return list(self._destinations.values())

    def destination(self, attempt: Attempt) -> Destination:
        found = self._destinations.get(attempt.endpoint)
        if found is None or found.adapter.name != attempt.provider:
            raise GatewayError(
                "no_endpoint_available", f"endpoint '{attempt.endpoint}' has left the configuration; try again"
            )
        return found

    async def serve(self, envelope: Envelope, answer: Answer, begun: "Call | None" = None) -> None:
        """`begun`: the first attempt, where it is under way already."""
        if envelope.step >= len(envelope.plan):
            raise GatewayError("no_endpoint_available", "the request came without a plan")
        held = self.bus.holds.get((envelope.id, envelope.attempt, "chain"))
        body = await self.bus.withdraw(envelope.body_ref) if envelope.body_ref else bytes(envelope.body)
        tried = 0
        while True:
            call, begun = begun or Call(self, envelope, body, answer), None
            if held is not None:
                held.cancelled = call.abandon
            error = await call.run()
            if error is None:
                return
            following = next(iter(envelope.plan[envelope.step + 1 :]), None)
            if following is None or not goes_on(error):
                call.fail(error)
                return
            pause = pause_ms(call.attempt, following, error.retry_after_ms, tried, self.random())
            if self.now() * 1000 + pause >= envelope.deadline_ms:
                call.fail(error)
                return
            await call.rest(pause)
            envelope, tried = replace(envelope, step=envelope.step + 1), tried + 1
            if following.provider not in self.providers:
                self.bus.forward(REQUEST_CALL, envelope, provider=following.provider)
                return
