"""The life of an API key: made, shown once, listed, revoked, imported; each change in the ledger's stream first."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from llmproxy.admin.changes import Changes
from llmproxy.admin.key_store import KeyStore
from llmproxy.common import keyring
from llmproxy.common.channels import EVENT_KEY_CHANGED, KEYS_BUCKET
from llmproxy.common.keyring import KeyRecord
from llmproxy.common.testing import FakeBroker, fake_bus


def stored(broker: FakeBroker) -> dict[str, KeyRecord]:
    entries = broker.buckets[KEYS_BUCKET].entries
    return {name: msgspec.json.decode(value, type=KeyRecord) for name, (value, _) in entries.items()}


def test_a_key_is_made_shown_once_listed_and_revoked(start_admin: Any) -> None:
    async def scenario() -> None:
        async with start_admin() as admin:
            wanted = {
                "name": "ci",
                "tenant": "acme",
                "principal": "robot",
                "roles": ["dev"],
                "models": ["gpt-4o"],
                "expires_at_ms": int(time.time() * 1000) + 60_000,
                "limit": {"requests_per_minute": 60},
            }
            status, made = await admin.call("POST", "/api/v1/keys", json=wanted)
            assert status == 201
            assert keyring.is_well_formed(made["key"])
            assert made["key"].startswith("llmp-")
            record = made["record"]
            assert {name: record[name] for name in wanted} == wanted
            assert stored(admin.broker)[keyring.hash_key(made["key"])].id == record["id"]
            assert await admin.call("GET", "/api/v1/keys") == (200, {"keys": [record]})
            assert await admin.call("GET", f"/api/v1/keys/{record['id']}") == (200, record)
            status, revoked = await admin.call("DELETE", f"/api/v1/keys/{record['id']}")
            assert status == 200
            assert revoked == {**record, "revoked_at_ms": revoked["revoked_at_ms"]}
            assert stored(admin.broker)[keyring.hash_key(made["key"])].revoked_at_ms == revoked["revoked_at_ms"]
            assert await admin.call("DELETE", f"/api/v1/keys/{record['id']}") == (200, revoked)
            assert await admin.call("GET", "/api/v1/keys") == (200, {"keys": [revoked]})
            assert [(one.verdict, one.action, one.subject) for one in admin.recorded()][-2:] == [
                ("changed", "key.created", record["id"]),
                ("changed", "key.revoked", record["id"]),
            ]
            assert admin.recorded()[-1].client_ip == "127.0.0.1"

    asyncio.run(scenario())


def test_operators_hear_of_each_change_without_the_key(start_admin: Any) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        operator = await fake_bus(broker, "operator")
        heard: list[dict[str, Any]] = []
        await operator.subscribe(EVENT_KEY_CHANGED, lambda event: heard.append(dict(event.facts)))
        async with start_admin(broker) as admin:
            _, made = await admin.call("POST", "/api/v1/keys", json={})
            await admin.eventually(lambda: heard, "the event came")
            assert heard == [{"key": made["record"]["id"], "action": "key.created"}]

    asyncio.run(scenario())


def test_nothing_but_the_answer_that_made_it_contains_a_key(start_admin: Any) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        async with start_admin(broker, api_keys="environment-key-canary, ,llmp-cut-off") as admin:
            _, made = await admin.call("POST", "/api/v1/keys", json={"name": "n"})
            _, document = await admin.call("GET", "/openapi.json")
            said: list[str] = []
            for path, entry in document["paths"].items():
                for method in set(entry) - {"put"}:
                    if "audit" not in path and (method, path) != ("post", "/api/v1/keys"):
                        path = path.replace("{id}", made["record"]["id"])
                        said.append(str(await admin.call(method.upper(), path, data=b"")))
            text = "\n".join(said) + str(broker.published) + str(broker.buckets[KEYS_BUCKET].entries)
            assert made["record"]["id"] in text
            for secret in (made["key"], made["key"][5:20], "environment-key-canary", "token-of-the-admin"):
                assert secret not in text
            assert keyring.hash_key("environment-key-canary") not in "\n".join(said)

    asyncio.run(scenario())


def test_keys_of_the_environment_come_and_go_with_it(start_admin: Any) -> None:
    async def scenario() -> None:
        broker = FakeBroker()

        async def names(keys: str) -> list[tuple[str, str]]:
            async with start_admin(broker, api_keys=keys) as admin:
                _, listed = await admin.call("GET", "/api/v1/keys")
                return sorted((one["id"], one["source"]) for one in listed["keys"])

        def environment(key: str) -> tuple[str, str]:
            return keyring.key_id(keyring.hash_key(key)), "environment"

        async with start_admin(broker) as admin:
            _, made = await admin.call("POST", "/api/v1/keys", json={})
        own = (made["record"]["id"], "api")
        assert await names("one,two") == sorted([environment("one"), environment("two"), own])
        before = stored(broker)
        assert await names(" two , three,two") == sorted([environment("two"), environment("three"), own])
        assert stored(broker)[keyring.hash_key("two")] == before[keyring.hash_key("two")]
        assert await names("") == [own]

    asyncio.run(scenario())


def test_a_revoked_key_of_the_environment_stays_revoked_after_a_restart(start_admin: Any) -> None:
    async def scenario() -> None:
        broker = FakeBroker()
        async with start_admin(broker, api_keys="one") as admin:
            _, listed = await admin.call("GET", "/api/v1/keys")
            await admin.call("DELETE", f"/api/v1/keys/{listed['keys'][0]['id']}")
        async with start_admin(broker, api_keys="one") as admin:
            _, listed = await admin.call("GET", "/api/v1/keys")
            assert listed["keys"][0]["revoked_at_ms"] is not None

    asyncio.run(scenario())


def test_a_key_that_was_cut_off_is_noted_and_not_imported(start_admin: Any) -> None:
    async def scenario() -> None:
        async with start_admin(api_keys="good," + keyring.generate()[:-3]) as admin:
            _, listed = await admin.call("GET", "/api/v1/keys")
            assert len(listed["keys"]) == 1
            _, report = await admin.call("GET", "/readyz")
            assert "key 2 has a wrong checksum" in report["notes"]["api_keys"]

    asyncio.run(scenario())


@pytest.mark.parametrize("key", ["sch\u00f6n", "one\ntwo", "a\x00b"])
def test_a_key_that_no_header_can_carry_is_noted_and_not_imported(start_admin: Any, key: str) -> None:
    async def scenario() -> None:
        async with start_admin(api_keys=f"good,{key}") as admin:
            _, listed = await admin.call("GET", "/api/v1/keys")
            assert len(listed["keys"]) == 1
            _, report = await admin.call("GET", "/readyz")
            assert "key 2 has a line break" in report["notes"]["api_keys"]
            assert key not in report["notes"]["api_keys"]

    asyncio.run(scenario())


@pytest.mark.parametrize("kept", [b"{", b'{"id":"\xff"}', b'{"x":' + b"[" * 100_000])
def test_a_record_that_cannot_be_read_is_not_listed_and_ends_nothing(kept: bytes) -> None:
    async def scenario() -> None:
        bus = await fake_bus(FakeBroker(), "admin")
        store = KeyStore(bus, Changes(bus))
        store._changed("f" * 64, kept)
        assert store.records == []
        await bus.drain(0)

    asyncio.run(scenario())


def test_a_name_shows_all_that_it_holds(start_admin: Any) -> None:
    async def scenario() -> None:
        async with start_admin() as admin:
            for name in ("two\nlines", "left\u202eright", "no\u200bthing", "\ufeffmark", "nul\x00"):
                status, body = await admin.call("POST", "/api/v1/keys", json={"name": name})
                assert status == 400, name
                assert "invisible signs" in body["error"]["message"]
            for name in ("Zoë's team", "می‌خواهم", "👩\u200d💻", "キー 1"):
                status, made = await admin.call("POST", "/api/v1/keys", json={"name": name})
                assert (status, made["record"]["name"]) == (201, name)

    asyncio.run(scenario())


def test_what_cannot_be_recorded_is_not_done(start_admin: Any) -> None:
    async def scenario() -> None:
        async with start_admin() as admin:
            _, made = await admin.call("POST", "/api/v1/keys", json={})
            before = stored(admin.broker)
            admin.broker.jetstream_down = True
            assert (await admin.call("POST", "/api/v1/keys", json={}))[0] == 503
            assert (await admin.call("DELETE", f"/api/v1/keys/{made['record']['id']}"))[0] == 503
            assert stored(admin.broker) == before
            admin.broker.jetstream_down = False

    asyncio.run(scenario())
