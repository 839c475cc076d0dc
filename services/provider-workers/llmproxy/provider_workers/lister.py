"""Asks vendors for their models, for endpoints that take every name, and publishes the answers for the edges.

The workers do it because they hold the keys. Several of them share the work by looking first whether somebody else has
just done it. A vendor that does not answer keeps its last list until that is too old; nothing else depends on it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from llmproxy.common.bus import Bus
from llmproxy.common.channels import MODELS_BUCKET
from llmproxy.common.errors import GatewayError
from llmproxy.common.model_lists import ANY, DECODER, ENCODER, ModelList
from llmproxy.provider_workers import listings
from llmproxy.provider_workers.destinations import Destination
from llmproxy.provider_workers.transport import Transport

LOOK_S = 60.0  # How often it is looked what is due; also how soon a new endpoint has its list.
REFRESH_MS = 3_600_000
AFTER_FAILURE_MS = 300_000
ANSWER_WITHIN_S = 10.0
LIST_BYTES_MAX = 8 << 20  # The largest reseller's list has some hundred kilobytes.

log = logging.getLogger(__name__)


class Lister:
    """`keep` until cancelled; `look` is one round of it."""

    def __init__(
        self,
        bus: Bus,
        transport: Transport,
        destinations: Callable[[], Iterable[Destination]],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._bus, self._transport, self._destinations, self._now = bus, transport, destinations, now
        self._tried: dict[str, int] = {}  # Endpoint -> when its list was last asked for, in vain.

    async def keep(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Fetches the lists that are due, one after the other: there is no hurry."""
        asked = [one for one in self._destinations() if ANY in one.endpoint.models]
        self._tried = {name: at for name, at in self._tried.items() if any(one.name == name for one in asked)}
        for destination in asked:
            try:
                await self._refresh(destination)
            except (GatewayError, TimeoutError) as error:
                code = error.code if isinstance(error, GatewayError) else "provider_timeout"
                log.info("endpoint '%s' did not list its models: %s", destination.name, code)

    async def _refresh(self, destination: Destination) -> None:
        endpoint = destination.endpoint
        request = listings.request(endpoint.provider, endpoint.url or destination.adapter.default_url)
        if request is None or self._now_ms() - self._tried.get(destination.name, 0) < AFTER_FAILURE_MS:
            return
        bucket = await self._bus.wire.bucket(MODELS_BUCKET)
        known = await bucket.get(destination.name)
        if known is not None and self._is_fresh(known[0], endpoint.provider):
            return
        self._tried[destination.name] = self._now_ms()
        async with asyncio.timeout(ANSWER_WITHIN_S):
            reply = await self._transport.call(destination, request)
            try:
                body = await reply.read_all(LIST_BYTES_MAX) if reply.status == 200 else b""
            finally:
                reply.close()
        names = listings.names(body)
        if names is None:
            raise GatewayError("provider_bad_answer", "its list cannot be read")
        found = ModelList(provider=endpoint.provider, models=names, listed_at_ms=self._now_ms())
        del self._tried[destination.name]  # Whatever comes of it now is not the vendor's doing.
        await bucket.put(destination.name, ENCODER.encode(found))

    def _is_fresh(self, value: bytes, provider: str) -> bool:
        try:
            known = DECODER.decode(value)
        except ValueError:
            return False
        return known.provider == provider and self._now_ms() - known.listed_at_ms < REFRESH_MS

    def _now_ms(self) -> int:
        return int(self._now() * 1000)
