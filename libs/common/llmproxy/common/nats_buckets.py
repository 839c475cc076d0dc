"""JetStream's key-value buckets, and watchers that outlive the connection."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import nats.errors
import nats.js.errors
from nats.js.kv import KeyValue

from llmproxy.common.bus import Subscription
from llmproxy.common.errors import GatewayError, Unavailable
from llmproxy.common.nats_client import RETRY_S, apart

Failed = Callable[[BaseException], None]


class KvBucket:
    def __init__(
        self, kv: KeyValue, begin: Callable[["Watch"], Awaitable[None]], failed: Failed, timeout_s: float
    ) -> None:
        """`begin` starts a watch, and starts it again after every reconnection. `failed` is told of one that cannot go on."""
        self._kv, self._begin, self._failed, self._timeout_s = kv, begin, failed, timeout_s

    async def get(self, key: str) -> tuple[bytes, int] | None:
        try:
            entry = await apart(self._kv.get(key))
        except nats.js.errors.KeyNotFoundError:
            return None
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise _unavailable(error) from error
        return (entry.value or b"", int(entry.revision or 0))

    async def put(self, key: str, value: bytes) -> int:
        try:
            return int(await apart(self._kv.put(key, value)))
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise _unavailable(error) from error

    async def update(self, key: str, value: bytes, revision: int) -> int:
        try:
            if revision == 0:
                return int(await apart(self._kv.create(key, value)))
            return int(await apart(self._kv.update(key, value, last=revision)))
        except (nats.js.errors.KeyWrongLastSequenceError, nats.js.errors.KeyDeletedError) as error:
            raise GatewayError("conflict", f"{key} was changed by somebody else; read it again") from error
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise _unavailable(error) from error

    async def delete(self, key: str) -> None:
        try:
            await apart(self._kv.delete(key))
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise _unavailable(error) from error

    async def watch(self, changed: Callable[[str, bytes | None], None]) -> Subscription:
        watch = Watch(self._kv, changed, self._failed, self._timeout_s)
        try:
            await self._begin(watch)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise _unavailable(error) from error
        return watch


def _unavailable(error: BaseException) -> Unavailable:
    return Unavailable("stage_unavailable", f"JetStream KV does not answer ({type(error).__name__})")


class Watch:
    """One watcher of a bucket, started anew after every reconnection; keys that went meanwhile are reported as gone.

    A callback that raises ends it: what else would come is not known, and `failed` is told so.
    """

    def __init__(
        self, kv: KeyValue, changed: Callable[[str, bytes | None], None], failed: Failed, timeout_s: float
    ) -> None:
        self._kv, self._changed, self._failed, self._timeout_s = kv, changed, failed, timeout_s
        self._starting = asyncio.Lock()  # Connections may come and go faster than a watcher starts.
        self._watcher: KeyValue.KeyWatcher | None = None
        self._task: asyncio.Task[None] | None = None
        self._known: set[str] = set()

    async def start(self) -> None:
        watcher = await self._kv.watchall()
        self._watcher = watcher
        # nats-py marks the end of what was there by None, but too early when all of it is on its way already.
        assert watcher._sub is not None
        info = await watcher._sub.consumer_info()
        coming = info.num_pending + info.delivered.consumer_seq
        initial: set[str] = set()
        while coming:
            entry = await watcher.updates(timeout=self._timeout_s)  # type: ignore[no-untyped-call]
            if entry is None:
                continue
            self._deliver(entry)
            initial.add(entry.key)
            coming -= 1
        for key in self._known - initial:
            self._changed(key, None)
        self._known &= initial
        self._task = asyncio.create_task(self._follow(watcher))
        self._task.add_done_callback(self.ended)

    async def again(self) -> None:
        async with self._starting:
            while True:
                await self._stop()
                try:
                    await self.start()
                    return
                except (nats.errors.Error, nats.js.errors.Error, TimeoutError):
                    await asyncio.sleep(RETRY_S)

    def ended(self, task: "asyncio.Task[None]") -> None:
        """Called back by what follows it, or starts it again."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed(error)

    async def _follow(self, watcher: "KeyValue.KeyWatcher") -> None:
        while True:
            try:
                entry = await watcher.updates(timeout=None)  # type: ignore[no-untyped-call]
            except (TimeoutError, nats.errors.TimeoutError):
                continue
            if entry is not None:
                self._deliver(entry)

    def _deliver(self, entry: "KeyValue.Entry") -> None:
        if entry.operation in ("DEL", "PURGE"):
            self._known.discard(entry.key)
            self._changed(entry.key, None)
        else:
            self._known.add(entry.key)
            self._changed(entry.key, entry.value)

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._watcher is not None:
            with contextlib.suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError):
                await self._watcher.stop()  # type: ignore[no-untyped-call]

    async def drain(self) -> None:
        await self._stop()
