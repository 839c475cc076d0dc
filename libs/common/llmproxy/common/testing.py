"""Fakes that ship with the library: an in-memory wire that passes the same conformance suite as NATS, and builders."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from msgspec import Raw

from llmproxy.common.bus import Bus, Receive, Waiting
from llmproxy.common.envelope import Envelope
from llmproxy.common.errors import GatewayError, Unavailable
from llmproxy.common.topology import STREAMS

RETRY_S = 0.02
PAYLOAD_BYTES_MAX = 2 << 20  # As the launcher's nats-server is told.


class FakeClock:
    """Time that moves only when told."""

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeBroker:
    """What NATS is to its clients: subjects, queue groups, streams, buckets.

    `down` breaks everything, `jetstream_down` what needs streams.
    """

    def __init__(self) -> None:
        self.subscriptions: list[_FakeSubscription] = []
        self.streams: dict[str, list[tuple[int, str, bytes]]] = {stream.name: [] for stream in STREAMS}
        self.sequences: dict[str, int] = dict.fromkeys(self.streams, 0)
        self.message_ids: dict[str, int] = {}
        self.buckets: dict[str, _FakeBucket] = {}
        self.objects: dict[tuple[str, str], bytes] = {}
        self.published: list[tuple[str, bytes]] = []  # Everything that travelled, for tests that look for a secret.
        self.stored = asyncio.Event()
        self.down = False
        self.jetstream_down = False
        self.clock: Callable[[], float] = time.monotonic
        self.came_at: dict[tuple[str, int], float] = {}  # Of a stream's message, by its sequence.
        self._turn = 0

    def route(self, publisher: "FakeWire", subject: str, payload: bytes, reply: str) -> None:
        self.published.append((subject, payload))
        matching = [one for one in self.subscriptions if one.matches(subject)]
        groups: dict[str, list[_FakeSubscription]] = {}
        for one in matching:
            if one.queue:
                groups.setdefault(one.queue, []).append(one)
            else:
                one.deliver(subject, payload)
        for members in groups.values():
            self._turn += 1
            members[self._turn % len(members)].deliver(subject, payload)
        captured = self._capture(subject, payload)
        if reply and not matching and captured is None:
            for one in self.subscriptions:
                if one.wire is publisher and one.matches(reply):
                    one.deliver(reply, b"")

    def _capture(self, subject: str, payload: bytes) -> int | None:
        if self.jetstream_down:
            return None
        for stream in STREAMS:
            if any(_pattern(one).fullmatch(subject) for one in stream.subjects):
                self.sequences[stream.name] += 1
                self.streams[stream.name].append((self.sequences[stream.name], subject, payload))
                self.came_at[stream.name, self.sequences[stream.name]] = self.clock()
                self.stored.set()
                return self.sequences[stream.name]
        return None

    def store(self, publisher: "FakeWire", subject: str, payload: bytes, message_id: str) -> int:
        if message_id in self.message_ids:
            return self.message_ids[message_id]
        sequence_before = dict(self.sequences)
        self.route(publisher, subject, payload, "")
        for name, sequence in self.sequences.items():
            if sequence != sequence_before[name]:
                self.message_ids[message_id] = sequence
                return sequence
        raise Unavailable("audit_unavailable", "JetStream did not acknowledge (NoStreamResponseError)")


@cache
def _pattern(filter: str) -> "re.Pattern[str]":
    tokens = [r"[^.]+" if part == "*" else r".+" if part == ">" else re.escape(part) for part in filter.split(".")]
    return re.compile(r"\.".join(tokens))


class _FakeSubscription:
    def __init__(self, wire: "FakeWire", filter: str, receive: Receive, queue: str) -> None:
        self.wire, self.queue = wire, queue
        self._pattern, self._receive = _pattern(filter), receive

    def matches(self, subject: str) -> bool:
        return self._pattern.fullmatch(subject) is not None

    def deliver(self, subject: str, payload: bytes) -> None:
        """On the next turn of the loop, as a socket would."""
        asyncio.get_running_loop().call_soon(self._receive, subject.encode(), payload)

    async def drain(self) -> None:
        if self in self.wire.broker.subscriptions:
            self.wire.broker.subscriptions.remove(self)
        await asyncio.sleep(0)


class _FakeBucket:
    def __init__(self) -> None:
        self.entries: dict[str, tuple[bytes, int]] = {}
        self._revision = 0
        self._watchers: list[Callable[[str, bytes | None], None]] = []

    async def get(self, key: str) -> tuple[bytes, int] | None:
        return self.entries.get(key)

    async def put(self, key: str, value: bytes) -> int:
        self._revision += 1
        self.entries[key] = (value, self._revision)
        self._tell(key, value)
        return self._revision

    async def update(self, key: str, value: bytes, revision: int) -> int:
        if self.entries.get(key, (b"", 0))[1] != revision:
            raise GatewayError("conflict", f"{key} was changed by somebody else; read it again")
        return await self.put(key, value)

    async def delete(self, key: str) -> None:
        if self.entries.pop(key, None) is not None:
            self._revision += 1
            self._tell(key, None)

    async def keys(self) -> list[str]:
        """Of what is there, for tests: no service asks for it."""
        return sorted(self.entries)

    async def watch(self, changed: Callable[[str, bytes | None], None]) -> "_FakeWatch":
        for key, (value, _) in list(self.entries.items()):
            changed(key, value)
        self._watchers.append(changed)
        return _FakeWatch(self._watchers, changed)

    def _tell(self, key: str, value: bytes | None) -> None:
        for changed in list(self._watchers):
            asyncio.get_running_loop().call_soon(changed, key, value)


class _FakeWatch:
    def __init__(self, watchers: list[Callable[[str, bytes | None], None]], mine: Callable[..., None]) -> None:
        self._watchers, self._mine = watchers, mine

    async def drain(self) -> None:
        if self._mine in self._watchers:
            self._watchers.remove(self._mine)


class _FakeConsuming:
    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None

    async def drain(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})


class FakeWire:
    """One connection to a FakeBroker."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self._closed = False
        self._consuming: list[_FakeConsuming] = []

    @property
    def connected(self) -> bool:
        return not self._closed and not self.broker.down

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        if not self.connected:
            raise Unavailable("stage_unavailable", "the gateway's message bus is not connected; retry")
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise Unavailable("stage_unavailable", f"a message of {len(payload)} bytes is above max_payload of NATS")
        self.broker.route(self, subject, payload, reply)

    async def subscribe(self, subject: str, receive: Receive, queue: str = "") -> _FakeSubscription:
        subscription = _FakeSubscription(self, subject, receive, queue)
        self.broker.subscriptions.append(subscription)
        return subscription

    async def commit(self, subject: str, payload: bytes, message_id: str) -> int:
        await asyncio.sleep(0)
        self._need_jetstream()
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise Unavailable("audit_unavailable", f"a message of {len(payload)} bytes is above max_payload of NATS")
        return self.broker.store(self, subject, payload, message_id)

    async def consume(
        self, stream: str, durable: str, subject: str, handle: Callable[[list[tuple[int, bytes]]], Awaitable[None]]
    ) -> _FakeConsuming:
        consuming = _FakeConsuming()
        consuming.task = asyncio.create_task(self._consume(stream, subject, handle))
        self._consuming.append(consuming)
        return consuming

    async def _consume(
        self, stream: str, subject: str, handle: Callable[[list[tuple[int, bytes]]], Awaitable[None]]
    ) -> None:
        pattern = _pattern(subject)
        while True:
            waiting = [one for one in self.broker.streams[stream] if pattern.fullmatch(one[1])]
            if not waiting:
                self.broker.stored.clear()
                await self.broker.stored.wait()
                continue
            try:
                await handle([(sequence, payload) for sequence, _, payload in waiting])
            except GatewayError:
                await asyncio.sleep(RETRY_S)
                continue
            for one in waiting:
                self.broker.streams[stream].remove(one)

    async def waiting(self, stream: str) -> Waiting:
        self._need_jetstream()
        messages = self.broker.streams[stream]
        if not messages:
            return Waiting(0, 0.0)
        return Waiting(len(messages), self.broker.clock() - self.broker.came_at[stream, messages[0][0]])

    async def bucket(self, name: str) -> _FakeBucket:
        self._need_jetstream()
        return self.broker.buckets.setdefault(name, _FakeBucket())

    async def deposit(self, bucket: str, name: str, payload: bytes) -> None:
        self._need_jetstream()
        self.broker.objects[bucket, name] = payload

    async def withdraw(self, bucket: str, name: str) -> bytes:
        self._need_jetstream()
        try:
            return self.broker.objects[bucket, name]
        except KeyError:
            raise Unavailable("stage_unavailable", "the body is not there (ObjectNotFoundError)") from None

    async def discard(self, bucket: str, name: str) -> None:
        self.broker.objects.pop((bucket, name), None)

    async def provision(self) -> None:
        self._need_jetstream()

    async def flush(self) -> None:
        await asyncio.sleep(0)

    async def close(self) -> None:
        self._closed = True
        for consuming in self._consuming:
            await consuming.drain()
        self.broker.subscriptions = [one for one in self.broker.subscriptions if one.wire is not self]

    def _need_jetstream(self) -> None:
        if self.broker.down or self.broker.jetstream_down or self._closed:
            raise Unavailable("audit_unavailable", "JetStream did not acknowledge (TimeoutError)")


async def fake_bus(broker: FakeBroker, service: str, instance: str = "", **options: Any) -> Bus:
    """A started Bus of `service` on a fake wire."""
    bus = Bus(FakeWire(broker), service=service, instance=instance or f"{service}-1", **options)
    await bus.start()
    return bus


def envelope(**fields: Any) -> Envelope:
    """A valid chat envelope; override what the test is about."""
    defaults: dict[str, Any] = {
        "id": "0192f0c1-0000-7000-8000-000000000001",
        "tenant": "default",
        "deadline_ms": 4_102_444_800_000,
        "edge": "edge.edge-1",
        "reply_to": "edge.edge-1",
        "model": "demo",
        "body": Raw(b'{"model":"demo","messages":[{"role":"user","content":"hello"}]}'),
    }
    return Envelope(**{**defaults, **fields})
