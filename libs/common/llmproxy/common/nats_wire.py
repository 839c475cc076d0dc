"""The wire over NATS: messages by `nats_client`, JetStream, KV and object store by nats-py.

Beside it stand the parts that have a life of their own: acknowledgements (`nats_acks`), consumers (`nats_consumer`), buckets
and their watchers (`nats_buckets`).
"""

import asyncio
import contextlib
import io
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any

import msgspec
import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.aio.subscription import Subscription as NatsSubscription
from nats.js import JetStreamContext, api
from nats.js.kv import KeyValue

from llmproxy.common.bus import BUG, Bucket, Receive, Subscription, Waiting
from llmproxy.common.errors import Unavailable, place
from llmproxy.common.nats_acks import Acks
from llmproxy.common.nats_buckets import Failed, KvBucket, Watch
from llmproxy.common.nats_client import RETRY_S, DirectClient, apart
from llmproxy.common.nats_complaints import Complaints, shown
from llmproxy.common.nats_consumer import Consuming
from llmproxy.common.topology import BUCKETS, OBJECT_BUCKET, OBJECT_TTL_S, STREAMS, BucketSpec

CONNECT_TIMEOUT_S = 2
RECONNECT_WAIT_S = 0.1
HEADER_BYTES_MAX = 512  # Of ours; NATS counts them to the payload.
TIMEOUT_S = 2.0  # For an answer of NATS or JetStream, where nobody says otherwise (LLM_PROXY_NATS_TIMEOUT_S).
WITHDRAW_TIMEOUT_S = 10.0  # Of 32 MiB. What is discarded while it is read never ends by itself.

log = logging.getLogger(__name__)


def unheard(error: BaseException) -> None:
    """Of a change that could not be taken over: its kind alone, for its words may quote a key."""
    BUG.inc()
    log.critical(
        "a change could not be taken over, and no more are heard: %s at %s", type(error).__name__, place(error)
    )


class _State(Struct, frozen=True):
    messages: int
    first_ts: datetime


class _Stream(Struct, frozen=True):
    """What JetStream says of one."""

    state: _State
    ts: datetime  # Now, by the same clock.


_STREAM = msgspec.json.Decoder(_Stream)


class _Subscribed:
    def __init__(self, client: DirectClient, subscription: NatsSubscription, timeout_s: float) -> None:
        self._client, self._subscription, self._timeout_s = client, subscription, timeout_s

    async def drain(self) -> None:
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await self._client.leave(self._subscription, self._timeout_s)
        self._client.direct.pop(b"%d" % self._subscription._id, None)


class NatsWire:
    """One connection of one service."""

    def __init__(self, client: DirectClient, timeout_s: float, failed: Failed) -> None:
        self._client, self.timeout_s, self._failed = client, timeout_s, failed
        self.publish = client.publish_now
        self._jetstream: JetStreamContext = client.jetstream(timeout=timeout_s)
        self._watches: list[Watch] = []
        self._acks: Acks | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._provisions = False  # It is this one that makes the streams and buckets.

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        user: str = "",
        password: str = "",
        service: str = "",
        timeout_s: float = TIMEOUT_S,
        failed: Failed = unheard,
    ) -> "NatsWire":
        """Tries for ever: a service that starts before NATS waits for it. Connected, each answer may take `timeout_s`.

        `failed` is called when the watch of a bucket cannot go on: from then on changes are not heard of.
        """
        client = DirectClient()
        wires: list[NatsWire] = []
        complaints = Complaints(time.monotonic)

        async def reconnected() -> None:
            log.warning("connected to NATS again")
            for wire in wires:
                wire._provision_again()
                wire._watch_again()

        async def complained(error: Exception) -> None:
            if said := complaints.said(error):
                log.warning("NATS at %s: %s", shown(url), said)

        while True:
            try:
                await client.connect(
                    url,
                    name=service,
                    user=user or None,
                    password=password or None,
                    inbox_prefix=f"_INBOX_{service}" if service else "_INBOX",
                    connect_timeout=CONNECT_TIMEOUT_S,
                    reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]
                    max_reconnect_attempts=-1,
                    allow_reconnect=True,
                    reconnected_cb=reconnected,
                    error_cb=complained,
                    ping_interval=20,
                )
                break
            except (OSError, nats.errors.Error, TimeoutError) as error:
                log.warning("cannot reach NATS at %s (%s); trying again", shown(url), type(error).__name__)
                await asyncio.sleep(RETRY_S)
        wire = cls(client, timeout_s, failed)
        wires.append(wire)
        return wire

    @property
    def connected(self) -> bool:
        return bool(self._client.is_connected)

    async def subscribe(self, subject: str, receive: Receive, queue: str = "") -> Subscription:
        async def never(_: Any) -> None:
            raise AssertionError("direct subscriptions are dispatched by the client")

        subscription = await self._client.subscribe(subject, queue=queue, cb=never)
        self._client.direct[b"%d" % subscription._id] = receive
        await self.flush()  # The server knows of it when we return.
        return _Subscribed(self._client, subscription, self.timeout_s)

    async def commit(self, subject: str, payload: bytes, message_id: str) -> int:
        problem = self._client.problem(len(payload) + HEADER_BYTES_MAX)
        if problem:
            raise Unavailable("audit_unavailable", f"JetStream did not acknowledge: {problem}")
        if self._acks is None:
            acks = Acks(self._client)
            await self.subscribe(acks.subject, acks.receive)
            self._acks = acks
        return await self._acks.commit(subject, payload, message_id, self.timeout_s)

    async def consume(
        self, stream: str, durable: str, subject: str, handle: Callable[[list[tuple[int, bytes]]], Awaitable[None]]
    ) -> Subscription:
        consuming = Consuming(self._client, self._jetstream, stream, durable, subject, handle, self.timeout_s)
        consuming.task = asyncio.create_task(consuming.run())
        return consuming

    async def waiting(self, stream: str) -> Waiting:
        """nats-py leaves out when the first message came."""
        try:
            answer = await apart(self._client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=self.timeout_s))
            found = _STREAM.decode(answer.data)
        except (nats.errors.Error, TimeoutError, msgspec.DecodeError) as error:
            raise Unavailable("stage_unavailable", f"JetStream does not answer ({type(error).__name__})") from error
        if not found.state.messages:
            return Waiting(0, 0.0)
        return Waiting(found.state.messages, (found.ts - found.state.first_ts).total_seconds())

    async def bucket(self, name: str) -> Bucket:
        return KvBucket(await self._kv(name), self._watch, self._failed, self.timeout_s)

    async def _kv(self, name: str) -> KeyValue:
        try:
            return await apart(self._jetstream.key_value(name))
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise Unavailable("stage_unavailable", f"bucket {name} cannot be reached; is admin running?") from error

    async def deposit(self, bucket: str, name: str, payload: bytes) -> None:
        try:
            await self._put(bucket, name, payload)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise Unavailable("stage_unavailable", f"the body could not be stored ({type(error).__name__})") from error

    async def _put(self, bucket: str, name: str, payload: bytes) -> None:
        """Whoever waits may be cancelled; half an object cannot be deleted, so it is finished first. As `apart` from them."""
        putting = asyncio.ensure_future(self._store(bucket, name, payload))
        try:
            await asyncio.shield(putting)
        except asyncio.CancelledError:
            self._in_background(self._finish_and_discard(putting, bucket, name))
            raise

    async def _store(self, bucket: str, name: str, payload: bytes) -> None:
        store = await self._jetstream.object_store(bucket)
        await store.put(name, payload)

    async def _finish_and_discard(self, putting: "asyncio.Future[Any]", bucket: str, name: str) -> None:
        await asyncio.wait({putting})
        await self.discard(bucket, name)

    async def withdraw(self, bucket: str, name: str) -> bytes:
        try:
            async with asyncio.timeout(WITHDRAW_TIMEOUT_S):
                return await apart(self._read(bucket, name))
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise Unavailable("stage_unavailable", f"the body is not there ({type(error).__name__})") from error

    async def _read(self, bucket: str, name: str) -> bytes:
        store = await self._jetstream.object_store(bucket)
        payload = io.BytesIO()  # Without it nats-py appends to one bytes object: quadratic, seconds for 28 MiB.
        await store.get(name, writeinto=payload)
        return payload.getvalue()

    async def discard(self, bucket: str, name: str) -> None:
        with contextlib.suppress(nats.errors.Error, nats.js.errors.Error, TimeoutError):
            store = await self._jetstream.object_store(bucket)
            await store.delete(name)

    async def provision(self) -> None:
        self._provisions = True
        try:
            await self._provision()
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise Unavailable("stage_unavailable", f"JetStream cannot be set up ({type(error).__name__})") from error

    def _provision_again(self) -> None:
        """What lies in memory is gone when nats-server has started anew."""
        if self._provisions:
            self._in_background(self._provision_patiently())

    async def _provision_patiently(self) -> None:
        while True:
            try:
                await self.provision()
                return
            except Unavailable as error:
                log.warning("%s; trying again", error.message)
                await asyncio.sleep(RETRY_S)

    async def _provision(self) -> None:
        for stream in STREAMS:
            await self._provision_stream(
                api.StreamConfig(
                    name=stream.name,
                    subjects=list(stream.subjects),
                    retention=api.RetentionPolicy.WORK_QUEUE if stream.work_queue else api.RetentionPolicy.LIMITS,
                    discard=api.DiscardPolicy.NEW if stream.work_queue else api.DiscardPolicy.OLD,
                    max_age=stream.max_age_s,
                    max_bytes=stream.max_bytes,
                    storage=api.StorageType.FILE,
                )
            )
        for bucket in BUCKETS:
            if bucket.ttl_s:
                await self._provision_stream(_forgetful(bucket))
                continue
            with contextlib.suppress(nats.js.errors.BadRequestError):  # It is there already.
                await self._jetstream.create_key_value(
                    bucket=bucket.name, history=bucket.history, max_bytes=bucket.max_bytes, direct=True
                )
        with contextlib.suppress(nats.js.errors.BadRequestError):
            await self._jetstream.create_object_store(
                OBJECT_BUCKET.name,
                config=api.ObjectStoreConfig(
                    bucket=OBJECT_BUCKET.name,
                    ttl=OBJECT_TTL_S,
                    max_bytes=OBJECT_BUCKET.max_bytes,
                    storage=api.StorageType.MEMORY,  # Prompts: never on a disk.
                ),
            )

    async def _provision_stream(self, config: api.StreamConfig) -> None:
        try:
            await self._jetstream.add_stream(config)
        except nats.js.errors.BadRequestError:
            await self._jetstream.update_stream(config)

    async def flush(self) -> None:
        try:
            await self._client.settle(self.timeout_s)
        except (nats.errors.Error, TimeoutError) as error:
            raise Unavailable("stage_unavailable", f"NATS does not answer ({type(error).__name__})") from error

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await asyncio.wait_for(self._client.close(), self.timeout_s)

    async def _watch(self, watch: Watch) -> None:
        self._watches.append(watch)
        try:
            await watch.start()
        except BaseException:  # Whoever wants it tries again, with another.
            self._watches.remove(watch)
            raise

    def _watch_again(self) -> None:
        """After a reconnection a server may have lost our ephemeral consumers: everything is delivered anew."""
        for watch in self._watches:
            self._in_background(watch.again()).add_done_callback(watch.ended)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _forgetful(bucket: BucketSpec) -> api.StreamConfig:
    """As nats-py makes a bucket, except that a full one gives up its oldest entry instead of refusing a new one."""
    return api.StreamConfig(
        name=f"KV_{bucket.name}",
        subjects=[f"$KV.{bucket.name}.>"],
        allow_direct=True,
        allow_rollup_hdrs=True,
        deny_delete=True,
        discard=api.DiscardPolicy.OLD,
        max_age=bucket.ttl_s,
        max_bytes=bucket.max_bytes,
        max_msgs_per_subject=bucket.history,
        storage=api.StorageType.FILE,  # A bucket in memory would be gone after a restart of nats-server alone.
    )
