"""The API keys as admin keeps them: records in a bucket that every edge watches, found by hash, never the keys."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable

import msgspec

from llmproxy.admin import problems
from llmproxy.admin.changes import Changes
from llmproxy.admin.routes import Actor
from llmproxy.common import keyring
from llmproxy.common.bus import UNREADABLE, Bucket, Bus
from llmproxy.common.channels import EVENT_KEY_CHANGED, KEYS_BUCKET
from llmproxy.common.keyring import KeyRecord

ENVIRONMENT = "environment"
IMPORTER = Actor("LLM_PROXY_API_KEYS")
SEEN_TIMEOUT_S = 2.0  # How long a change may take to come back to us; then we answer anyway.

log = logging.getLogger(__name__)


class KeyStore:
    def __init__(self, bus: Bus, changes: Changes, now: Callable[[], float] = time.time) -> None:
        self._bus, self._changes, self._now = bus, changes, now
        self._records: dict[str, KeyRecord] = {}  # By hash.
        self._told = asyncio.Event()
        self._decoder = msgspec.json.Decoder(KeyRecord)
        self._bucket: Bucket | None = None

    async def open(self) -> None:
        """Returns when all keys are known. Raises Unavailable."""
        self._bucket = await self._bus.wire.bucket(KEYS_BUCKET)
        await self._bucket.watch(self._changed)

    @property
    def records(self) -> list[KeyRecord]:
        """Oldest first."""
        return sorted(self._records.values(), key=lambda record: (record.created_at_ms, record.id))

    def get(self, key_id: str) -> KeyRecord:
        """Raises Problem."""
        for record in self._records.values():
            if record.id == key_id:
                return record
        raise problems.not_found(f"there is no key {key_id!r}")

    async def add(self, record: KeyRecord, action: str, actor: Actor) -> None:
        await self._changes.record(action, record.id, actor)
        await self._kv.put(record.hash, msgspec.json.encode(record))
        await self._seen(record.hash, record)
        self._announce(action, record)

    async def revoke(self, key_id: str, actor: Actor) -> KeyRecord:
        """From now on, at every edge. Again is no error. Raises Problem."""
        known = self.get(key_id)
        found = await self._kv.get(known.hash)
        if found is None:
            raise problems.not_found(f"there is no key {key_id!r}")
        record = self._decoder.decode(found[0])
        if record.revoked_at_ms is not None:
            return record
        revoked = msgspec.structs.replace(record, revoked_at_ms=int(self._now() * 1000))
        await self._changes.record("key.revoked", record.id, actor)
        await self._kv.update(record.hash, msgspec.json.encode(revoked), found[1])
        await self._seen(record.hash, revoked)
        self._announce("key.revoked", revoked)
        return revoked

    async def import_keys(self, keys: Iterable[str]) -> list[str]:
        """Makes the keys of the environment those given; a revoked one stays revoked. Returns what is wrong with some."""
        complaints: list[str] = []
        wanted: dict[str, KeyRecord] = {}
        for position, key in enumerate(keys, 1):
            if not keyring.is_sendable(key):
                complaints.append(f"key {position} has {keyring.UNSENDABLE}: nobody can present it")
                continue
            if not keyring.is_well_formed(key):
                complaints.append(f"key {position} has a wrong checksum; was it cut off?")
                continue
            record = self._imported(key, position)
            wanted.setdefault(record.hash, record)
        known = {record.hash: record for record in self._records.values()}
        for digest, record in wanted.items():
            if digest not in known:
                await self.add(record, "key.imported", IMPORTER)
        for digest, record in known.items():
            if record.source == ENVIRONMENT and digest not in wanted:
                await self._remove(record)
        return complaints

    def _imported(self, key: str, position: int) -> KeyRecord:
        digest = keyring.hash_key(key)
        return KeyRecord(
            id=keyring.key_id(digest),
            hash=digest,
            name=f"LLM_PROXY_API_KEYS {position}",
            created_at_ms=int(self._now() * 1000),
            source=ENVIRONMENT,
        )

    async def _remove(self, record: KeyRecord) -> None:
        await self._changes.record("key.removed", record.id, IMPORTER)
        await self._kv.delete(record.hash)
        await self._seen(record.hash, None)
        self._announce("key.removed", record)

    def _announce(self, action: str, record: KeyRecord) -> None:
        self._bus.event(EVENT_KEY_CHANGED, tenant=record.tenant, key=record.id, action=action)

    @property
    def _kv(self) -> Bucket:
        assert self._bucket is not None, "open() comes first"
        return self._bucket

    def _changed(self, digest: str, value: bytes | None) -> None:
        if value is None:
            self._records.pop(digest, None)
        else:
            try:
                self._records[digest] = self._decoder.decode(value)
            except UNREADABLE:
                log.error("a key record does not decode; it is not listed")
        self._told.set()

    async def _seen(self, digest: str, expected: KeyRecord | None) -> None:
        """Waits until our own change has come back, so that who writes and then reads sees what they wrote."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SEEN_TIMEOUT_S):
                while self._records.get(digest) != expected:
                    self._told.clear()
                    await self._told.wait()
