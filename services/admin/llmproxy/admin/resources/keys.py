"""`/api/v1/keys`: make, list, show and revoke API keys. The key itself is in one answer only, the one that made it."""

import time
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from llmproxy.admin.key_store import KeyStore
from llmproxy.admin.problems import Problem
from llmproxy.admin.routes import ONE_LINE, Call, Reply, Route
from llmproxy.common import config_checks, keyring
from llmproxy.common.config import Config, ConfigError, Limit, Limits
from llmproxy.common.keyring import KeyRecord
from llmproxy.common.records import ADMINISTRATION

Text = Annotated[str, Meta(max_length=128, pattern=ONE_LINE)]
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=ONE_LINE)]
Names = Annotated[tuple[Name, ...], Meta(max_length=256)]


class NewKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Text = ""
    tenant: Name = "default"
    principal: Text = ""
    roles: Names = ()
    models: Names = ()  # Empty: every model.
    expires_at_ms: int | None = None
    limit: Limit | None = None


class Key(Struct, frozen=True, kw_only=True):
    """What can be known of a key. Neither it nor its hash: keys from the environment may be short enough to guess."""

    id: str
    name: str
    tenant: str
    principal: str
    roles: tuple[str, ...]
    models: tuple[str, ...]
    expires_at_ms: int | None
    limit: Limit | None
    created_at_ms: int
    revoked_at_ms: int | None
    source: str


class Keys(Struct, frozen=True):
    keys: list[Key]


class CreatedKey(Struct, frozen=True, kw_only=True):
    key: str  # Shown once, here.
    record: Key


class KeysResource:
    def __init__(
        self,
        store: KeyStore,
        now: Callable[[], float] = time.time,
        generate: Callable[[], str] = keyring.generate,
    ) -> None:
        self._store, self._now, self._generate = store, now, generate

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path="/api/v1/keys", handle=self.list, summary="All keys, oldest first", response=Keys),
            Route(
                method="POST",
                path="/api/v1/keys",
                handle=self.create,
                summary="Make a key; it is shown once",
                request=NewKey,
                response=CreatedKey,
                status=201,
                problems=(503,),
            ),
            Route(
                method="GET",
                path="/api/v1/keys/{id}",
                handle=self.show,
                summary="One key",
                response=Key,
                problems=(404,),
            ),
            Route(
                method="DELETE",
                path="/api/v1/keys/{id}",
                handle=self.revoke,
                summary="Revoke a key, at once",
                response=Key,
                problems=(404, 409, 503),
            ),
        ]

    async def list(self, _: Call) -> Keys:
        return Keys([view(record) for record in self._store.records])

    async def show(self, call: Call) -> Key:
        return view(self._store.get(call.path["id"]))

    async def create(self, call: Call) -> Reply:
        wanted: NewKey = call.body
        self._check(wanted)
        key = self._generate()
        digest = keyring.hash_key(key)
        record = KeyRecord(
            id=keyring.key_id(digest),
            hash=digest,
            created_at_ms=int(self._now() * 1000),
            **{name: getattr(wanted, name) for name in wanted.__struct_fields__},
        )
        await self._store.add(record, "key.created", call.actor)
        return Reply(body=CreatedKey(key=key, record=view(record)), headers={"Location": f"/api/v1/keys/{record.id}"})

    async def revoke(self, call: Call) -> Key:
        return view(await self._store.revoke(call.path["id"], call.actor))

    def _check(self, wanted: NewKey) -> None:
        if wanted.expires_at_ms is not None and wanted.expires_at_ms <= self._now() * 1000:
            raise Problem(400, "invalid_parameter", "expires_at_ms is in the past; it is in Unix ms", "expires_at_ms")
        if (wanted.expires_at_ms or 0) > keyring.EXPIRES_AT_MS_MAX:
            raise Problem(
                400, "invalid_parameter", "expires_at_ms is after the year 9999; it is in Unix ms", "expires_at_ms"
            )
        if wanted.limit is not None:
            try:
                config_checks.check(Config(limits=Limits(key=wanted.limit)))
            except ConfigError as error:
                text = str(error).replace("limits.key.", "limit.")
                raise Problem(400, "invalid_parameter", text, text.partition(":")[0]) from None
        for index, name in enumerate(wanted.models):
            if "*" in name:  # As endpoints and overrides have it; a key would be good for nothing.
                text = f"models[{index}]: a key names each model whole; leave models out for all of them"
                raise Problem(400, "invalid_parameter", text, f"models[{index}]")
        if wanted.tenant == ADMINISTRATION:
            text = f"tenant: {ADMINISTRATION!r} stands for the administration in the ledger; write another name"
            raise Problem(400, "invalid_parameter", text, "tenant")


def view(record: KeyRecord) -> Key:
    return Key(**{name: getattr(record, name) for name in Key.__struct_fields__})
