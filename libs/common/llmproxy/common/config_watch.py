"""The configuration as a service sees it: the newest snapshot from KV, swapped whole."""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from llmproxy.common.bus import UNREADABLE, Bus
from llmproxy.common.channels import CONFIG_BUCKET, EVENT_CONFIG_APPLIED
from llmproxy.common.config import Config, Snapshot
from llmproxy.common.errors import GatewayError
from llmproxy.common.policy import problems

CURRENT = "current"
RETRY_S = 0.2

log = logging.getLogger(__name__)


class ConfigWatch:
    """`snapshot` is always whole; `changed` callbacks run on the loop right after it was swapped."""

    def __init__(self, bus: Bus | None = None, snapshot: Snapshot | None = None) -> None:
        self.snapshot = snapshot or Snapshot(revision=0, config=Config())
        self._bus = bus
        self._callbacks: list[Callable[[Snapshot], None]] = []
        self._decoder = msgspec.json.Decoder(Snapshot)

    @property
    def config(self) -> Config:
        return self.snapshot.config

    def on_change(self, callback: Callable[[Snapshot], None]) -> None:
        """Calls back now and after every change. A callback must not raise: a snapshot was checked before it was published."""
        self._callbacks.append(callback)
        callback(self.snapshot)

    def swap(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        for callback in self._callbacks:
            callback(snapshot)

    async def start(self) -> None:
        """Returns when the first snapshot is here; until the control plane has published one, waits for it."""
        assert self._bus is not None
        first = asyncio.Event()

        def changed(key: str, value: bytes | None) -> None:
            if key != CURRENT or value is None:
                return
            try:
                snapshot = self._decoder.decode(value)
            except UNREADABLE:
                log.error("the published configuration does not decode; keeping revision %d", self.snapshot.revision)
                return
            wrong = next(problems(snapshot.config.policy), None)
            if wrong is not None:  # Of a version that accepts more than this one.
                log.error(
                    "the published policy cannot be used here: %s; keeping revision %d",
                    wrong[0],
                    self.snapshot.revision,
                )
                return
            self.swap(snapshot)
            first.set()
            assert self._bus is not None
            self._bus.event(EVENT_CONFIG_APPLIED, revision=snapshot.revision)

        while True:
            try:
                bucket = await self._bus.wire.bucket(CONFIG_BUCKET)
                await bucket.watch(changed)
                break
            except GatewayError:
                await asyncio.sleep(RETRY_S)
        await first.wait()
