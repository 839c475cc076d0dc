"""The models that callers are told of: the configured names, and those that vendors list for endpoints that take any."""

import asyncio
import logging
import time
from collections.abc import Callable

from llmproxy.common.bus import Bus
from llmproxy.common.channels import MODELS_BUCKET
from llmproxy.common.config import Config, Snapshot
from llmproxy.common.errors import GatewayError
from llmproxy.common.model_lists import DECODER, ModelList, listed

RETRY_S = 5.0
CURRENT_S = 60.0  # After that it is looked again whether a list has become too old.

log = logging.getLogger(__name__)


class Catalogue:
    """`models` costs a look-up: it is put together when something has changed, and once a minute."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._config = Config()
        self._lists: dict[str, ModelList] = {}
        self._models: dict[str, str] = {}
        self._until = 0.0

    @property
    def models(self) -> dict[str, str]:
        """Model -> provider, in the order in which they are shown."""
        if self._now() >= self._until:
            self._models = listed(self._config, self._lists, int(self._now() * 1000))
            self._until = self._now() + CURRENT_S
        return self._models

    def swap(self, snapshot: Snapshot) -> None:
        self._config, self._until = snapshot.config, 0.0

    def change(self, endpoint: str, value: bytes | None) -> None:
        self._until = 0.0
        self._lists.pop(endpoint, None)
        if value is None:
            return
        try:
            self._lists[endpoint] = DECODER.decode(value)
        except ValueError:
            log.error("the list of models of endpoint '%s' does not decode; it is not shown", endpoint)

    async def watch(self, bus: Bus) -> None:
        """Returns when all lists are here. Without them the configured names are shown, so nobody waits for this."""
        while True:
            try:
                bucket = await bus.wire.bucket(MODELS_BUCKET)
                await bucket.watch(self.change)
                return
            except GatewayError:
                await asyncio.sleep(RETRY_S)
