"""The wire over NATS: messages by `nats_client`, JetStream, KV and object store by nats-py."""

import asyncio
import contextlib
import io
import itertools
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.js import JetStreamContext, api
from nats.js.kv import KeyValue
from nats.js.object_store import ObjectStore

from llmproxy.common.bus import Bucket, Receive, Subscription
from llmproxy.common.errors import GatewayError, Unavailable
from llmproxy.common.nats_client import DirectClient
from llmproxy.common.topology import BUCKETS, OBJECT_BUCKET, OBJECT_TTL_S, STREAMS, BucketSpec

CONNECT_TIMEOUT_S = 2
RECONNECT_WAIT_S = 0.1
HEADER_BYTES_MAX = 512  # Of ours; NATS counts them to the payload.
TIMEOUT_S = 2.0  # For an answer of NATS or JetStream, where nobody says otherwise (LLM_PROXY_NATS_TIMEOUT_S).
WITHDRAW_TIMEOUT_S = 10.0  # Of 32 MiB. What is discarded while it is read never ends by itself.
FETCH_MESSAGES = 256
FETCH_WAIT_S = 0.25  # Between two questions: how long a batch gathers, for each costs a transaction.
ACK_WAIT_S = 5.0  # How long what a killed consumer held keeps its successor waiting, in order; a late acknowledgement still counts.
RETRY_S = 0.2
STATUS_HEADER, STATUS_NONE, STATUS_EXPIRED = "Status", "404", "408"  # How JetStream ends a batch.
LEAVE_S = 20.0  # Above the longest that a handler may take.
COMPLAIN_AGAIN_S = 10.0  # nats-py tries ten times a second, and says each time why it could not.
COMPLAINTS_MAX = 64

log = logging.getLogger(__name__)


def shown(url: str) -> str:
    """Without the user and password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", url)


class Complaints:
    """What goes wrong with the connection, in words of ours, and not again and again."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._said_at: dict[str, float] = {}

    def said(self, error: Exception) -> str:
        """What to log; "" when that was said a moment ago. The server's own words may name a subject, and with it a tenant."""
        words = REFUSED if "authorization" in str(error).lower() else type(error).__name__
        now = self._monotonic()
        if now < self._said_at.get(words, -COMPLAIN_AGAIN_S) + COMPLAIN_AGAIN_S:
            return ""
        if len(self._said_at) >= COMPLAINTS_MAX:
            self._said_at.clear()
        self._said_at[words] = now
        return words


REFUSED = "it refuses the user or the password; check LLM_PROXY_NATS_USER and LLM_PROXY_NATS_PASSWORD"


class _Subscribed:
    def __init__(self, client: DirectClient, subscription: NatsSubscription, timeout_s: float) -> None:
        self._client, self._subscription, self._timeout_s = client, subscription, timeout_s

    async def drain(self) -> None:
        with contextlib.suppress(nats.errors.Error, TimeoutError):
            await self._client.leave(self._subscription, self._timeout_s)
        self._client.direct.pop(self._subscription._id, None)


class NatsWire:
    """One connection of one service."""

    def __init__(self, client: DirectClient, timeout_s: float) -> None:
        self._client, self.timeout_s = client, timeout_s
        self._jetstream: JetStreamContext = client.jetstream(timeout=timeout_s)
        self._watches: list[_Watch] = []
        self._acks: _Acks | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._provisions = False  # It is this one that makes the streams and buckets.

    @classmethod
    async def connect(
        cls, url: str, *, user: str = "", password: str = "", service: str = "", timeout_s: float = TIMEOUT_S
    ) -> "NatsWire":
        """Tries for ever: a service that starts before NATS waits for it. Connected, each answer may take `timeout_s`."""
        client = DirectClient()
        wires: list[NatsWire] = []
        complaints = Complaints(time.monotonic)

        async def reconnected() -> None:
            log.warning("connected to NATS again")
            for wire in wires:
                wire._provision_again()
                wire._watch_again()

        async def failed(error: Exception) -> None:
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
                    error_cb=failed,
                    ping_interval=20,
                )
                break
            except (OSError, nats.errors.Error, TimeoutError) as error:
                log.warning("cannot reach NATS at %s (%s); trying again", shown(url), type(error).__name__)
                await asyncio.sleep(RETRY_S)
        wire = cls(client, timeout_s)
        wires.append(wire)
        return wire

    @property
    def connected(self) -> bool:
        return bool(self._client.is_connected)

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        problem = self._client.problem(len(payload))
        if problem:
            raise Unavailable("stage_unavailable", problem)
        self._client.publish_now(subject, payload, reply)

    async def subscribe(self, subject: str, receive: Receive, queue: str = "") -> Subscription:
        async def never(_: Any) -> None:
            raise AssertionError("direct subscriptions are dispatched by the client")

        subscription = await self._client.subscribe(subject, queue=queue, cb=never)
        self._client.direct[subscription._id] = receive
        await self.flush()  # The server knows of it when we return.
        return _Subscribed(self._client, subscription, self.timeout_s)

    async def commit(self, subject: str, payload: bytes, message_id: str) -> int:
        problem = self._client.problem(len(payload) + HEADER_BYTES_MAX)
        if problem:
            raise Unavailable("audit_unavailable", f"JetStream did not acknowledge: {problem}")
        if self._acks is None:
            self._acks = await _Acks.open(self)
        return await self._acks.commit(subject, payload, message_id, self.timeout_s)

    async def consume(
        self, stream: str, durable: str, subject: str, handle: Callable[[list[tuple[int, bytes]]], Awaitable[None]]
    ) -> Subscription:
        consuming = _Consuming(self._client, self._jetstream, stream, durable, subject, handle, self.timeout_s)
        consuming.task = asyncio.create_task(consuming.run())
        return consuming

    async def bucket(self, name: str) -> Bucket:
        return _KvBucket(self, await self._kv(name))

    async def _kv(self, name: str) -> KeyValue:
        try:
            return await self._jetstream.key_value(name)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise Unavailable("stage_unavailable", f"bucket {name} cannot be reached; is admin running?") from error

    async def deposit(self, bucket: str, name: str, payload: bytes) -> None:
        try:
            store = await self._jetstream.object_store(bucket)
            await self._put(store, bucket, name, payload)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise Unavailable("stage_unavailable", f"the body could not be stored ({type(error).__name__})") from error

    async def _put(self, store: ObjectStore, bucket: str, name: str, payload: bytes) -> None:
        """Whoever waits may be cancelled; half an object cannot be deleted, so it is finished first."""
        putting = asyncio.ensure_future(store.put(name, payload))
        try:
            await asyncio.shield(putting)
        except asyncio.CancelledError:
            self._in_background(self._finish_and_discard(putting, bucket, name))
            raise

    async def _finish_and_discard(self, putting: "asyncio.Future[Any]", bucket: str, name: str) -> None:
        await asyncio.wait({putting})
        await self.discard(bucket, name)

    async def withdraw(self, bucket: str, name: str) -> bytes:
        try:
            async with asyncio.timeout(WITHDRAW_TIMEOUT_S):
                store = await self._jetstream.object_store(bucket)
                payload = io.BytesIO()  # Without it nats-py appends to one bytes object: quadratic, seconds for 28 MiB.
                await store.get(name, writeinto=payload)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise Unavailable("stage_unavailable", f"the body is not there ({type(error).__name__})") from error
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

    async def watch(self, watch: "_Watch") -> None:
        self._watches.append(watch)
        await watch.start()

    def _watch_again(self) -> None:
        """After a reconnection a server may have lost our ephemeral consumers: everything is delivered anew."""
        for watch in self._watches:
            self._in_background(watch.again())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _PubAck(msgspec.Struct):
    """https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-1.md"""

    seq: int = 0
    error: Any = None


class _Acks:
    """JetStream's acknowledgements, one subscription for all: nats-py's request machinery costs more than the commit."""

    def __init__(self, client: DirectClient, prefix: str) -> None:
        self._client, self._prefix = client, prefix
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._numbers = itertools.count()

    @classmethod
    async def open(cls, wire: "NatsWire") -> "_Acks":
        acks = cls(wire._client, wire._client.new_inbox())
        await wire.subscribe(f"{acks._prefix}.*", acks._receive)
        return acks

    async def commit(self, subject: str, payload: bytes, message_id: str, timeout_s: float) -> int:
        loop = asyncio.get_running_loop()
        reply = f"{self._prefix}.{next(self._numbers)}"
        future: asyncio.Future[bytes] = loop.create_future()
        self._waiting[reply.encode()] = future
        late = loop.call_later(timeout_s, self._give_up, future)
        try:
            self._client.publish_now(subject, payload, reply, f"NATS/1.0\r\nNats-Msg-Id: {message_id}\r\n\r\n".encode())
            answer = await future
        finally:
            late.cancel()
            del self._waiting[reply.encode()]
        if not answer:  # The server's no-responders: no stream takes this subject.
            raise Unavailable("audit_unavailable", "JetStream did not acknowledge (no stream)")
        try:
            ack = msgspec.json.decode(answer, type=_PubAck)
        except msgspec.DecodeError as error:
            raise Unavailable("audit_unavailable", "JetStream did not acknowledge (unreadable)") from error
        if ack.error is not None:
            raise Unavailable("audit_unavailable", "JetStream did not acknowledge (refused)")
        return ack.seq

    def _receive(self, subject: bytes, payload: bytes) -> None:
        future = self._waiting.get(subject)
        if future is not None and not future.done():
            future.set_result(payload)

    def _give_up(self, future: "asyncio.Future[bytes]") -> None:
        if not future.done():
            future.set_exception(Unavailable("audit_unavailable", "JetStream did not acknowledge (timeout)"))


class _Consuming:
    """A durable pull consumer: batches are acknowledged after they were handled, and come again when they were not."""

    def __init__(
        self,
        client: DirectClient,
        jetstream: JetStreamContext,
        stream: str,
        durable: str,
        subject: str,
        handle: Callable[[list[tuple[int, bytes]]], Awaitable[None]],
        timeout_s: float,
    ) -> None:
        self._client, self._jetstream, self._timeout_s = client, jetstream, timeout_s
        self._stream, self._durable, self._subject = stream, durable, subject
        self._handle = handle
        self._stop = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        while not self._stop.is_set():
            try:
                await self._session()
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError) as error:
                log.warning("consumer %s: %s; trying again", self._durable, type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def _session(self) -> None:
        """Asks for one batch at a time: with a second question open, as nats-py's `fetch` leaves it, messages would arrive
        here that a successor must have before later ones."""
        made = await self._jetstream.pull_subscribe(
            self._subject,
            durable=self._durable,
            stream=self._stream,
            config=api.ConsumerConfig(
                ack_policy=api.AckPolicy.EXPLICIT, ack_wait=ACK_WAIT_S, max_ack_pending=FETCH_MESSAGES
            ),
        )
        await made.unsubscribe()  # It has made the durable; asking is up to us.
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        try:
            while not self._stop.is_set():
                asked_at = time.monotonic()
                if await self._batch(inbox, subscription) < FETCH_MESSAGES:
                    with contextlib.suppress(TimeoutError):
                        # Before 3.12 `wait_for` could lose its task's end, and who drains waits for it.
                        async with asyncio.timeout(asked_at + FETCH_WAIT_S - time.monotonic()):
                            await self._stop.wait()
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _batch(self, inbox: str, subscription: NatsSubscription) -> int:
        messages = await self._fetch(inbox, subscription)
        if not messages:
            return 0
        handled = await self._until_handled([(m.metadata.sequence.stream, m.data) for m in messages])
        for message in messages:
            await (message.ack() if handled else message.nak())
        return len(messages)

    async def _fetch(self, inbox: str, subscription: NatsSubscription) -> list[Msg]:
        """What there is by now, in one piece: to wait for each message costs several times as much as to handle it. The server
        says when it has sent all, and sends nothing afterwards."""
        question = {"batch": FETCH_MESSAGES, "no_wait": True}
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._durable}"
        await self._client.publish(subject, json.dumps(question).encode(), reply=inbox)
        messages: list[Msg] = []
        while len(messages) < FETCH_MESSAGES:
            try:
                message = await subscription.next_msg(timeout=self._timeout_s)
            except (TimeoutError, nats.errors.TimeoutError):
                break  # The server went away; what it had sent is in `messages`.
            status = (message.headers or {}).get(STATUS_HEADER, "")
            if not status:
                messages.append(message)
            elif status in (STATUS_NONE, STATUS_EXPIRED):
                break
            elif messages:
                break  # The next question meets it again.
            else:
                raise nats.js.errors.APIError.from_msg(message)
        return messages

    async def _until_handled(self, batch: list[tuple[int, bytes]]) -> bool:
        """In order, whatever it takes: the next batch waits until this one is handled. False when told to stop before."""
        while not self._stop.is_set():
            try:
                await self._handle(batch)
                return True
            except GatewayError as error:
                log.warning("consumer %s: %s", self._durable, error.message)
                await asyncio.sleep(RETRY_S)
        return False

    async def drain(self) -> None:
        """What was fetched is handled, or given back at once for whoever consumes next: never left to expire."""
        self._stop.set()
        if self.task is None:
            return
        await asyncio.wait({self.task}, timeout=LEAVE_S)
        self.task.cancel()
        await asyncio.wait({self.task})


def _forgetful(bucket: BucketSpec) -> api.StreamConfig:
    """As nats-py makes a bucket, but that what is full gives up its oldest entry instead of refusing a new one."""
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


class _KvBucket:
    def __init__(self, wire: NatsWire, kv: KeyValue) -> None:
        self._wire, self._kv = wire, kv

    async def get(self, key: str) -> tuple[bytes, int] | None:
        try:
            entry = await self._kv.get(key)
        except nats.js.errors.KeyNotFoundError:
            return None
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise _kv_unavailable(error) from error
        return (entry.value or b"", int(entry.revision or 0))

    async def put(self, key: str, value: bytes) -> int:
        try:
            return int(await self._kv.put(key, value))
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise _kv_unavailable(error) from error

    async def update(self, key: str, value: bytes, revision: int) -> int:
        try:
            if revision == 0:
                return int(await self._kv.create(key, value))
            return int(await self._kv.update(key, value, last=revision))
        except (nats.js.errors.KeyWrongLastSequenceError, nats.js.errors.KeyDeletedError) as error:
            raise GatewayError("conflict", f"{key} was changed by somebody else; read it again") from error
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise _kv_unavailable(error) from error

    async def delete(self, key: str) -> None:
        try:
            await self._kv.delete(key)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise _kv_unavailable(error) from error

    async def watch(self, changed: Callable[[str, bytes | None], None]) -> Subscription:
        watch = _Watch(self._kv, changed, self._wire.timeout_s)
        try:
            await self._wire.watch(watch)
        except (nats.errors.Error, nats.js.errors.Error, TimeoutError) as error:
            raise _kv_unavailable(error) from error
        return watch


def _kv_unavailable(error: BaseException) -> Unavailable:
    return Unavailable("stage_unavailable", f"JetStream KV does not answer ({type(error).__name__})")


class _Watch:
    """One watcher of a bucket, started anew after every reconnection; keys that went meanwhile are reported as gone."""

    def __init__(self, kv: KeyValue, changed: Callable[[str, bytes | None], None], timeout_s: float) -> None:
        self._kv, self._changed, self._timeout_s = kv, changed, timeout_s
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

    async def again(self) -> None:
        await self._stop()
        while True:
            try:
                await self.start()
                return
            except (nats.errors.Error, nats.js.errors.Error, TimeoutError):
                await asyncio.sleep(RETRY_S)

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
