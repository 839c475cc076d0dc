"""Ways to get in without a key, or with somebody else's; and what the edge gives away while it says no."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from unit.edge.edge_gateway import CHAT, CONFIG, KEY, Gateway, gateway, record_of, until

from llmproxy.common import config, keyring
from llmproxy.common.channels import KEYS_BUCKET
from llmproxy.common.errors import Unavailable
from llmproxy.common.keyring import KeyRecord
from llmproxy.common.testing import FakeBroker, FakeClock
from llmproxy.edge.identity import Keys, client_ip, networks, presented_keys
from llmproxy.edge.local_limits import LocalLimits

NOW_MS = 1_750_000_000_000

GOOD = (
    {"Authorization": f"Bearer {KEY}"},
    {"authorization": f"bearer  {KEY} "},
    {"AUTHORIZATION": f"BEARER {KEY}"},
    {"x-api-key": KEY},
    {"X-Api-Key": f" {KEY}"},
    {"api-key": KEY},
    {"x-goog-api-key": KEY},
    {"Authorization": f"Bearer {KEY}", "x-api-key": KEY},
    {"X-Goog-Api-Key": KEY, "api-key": KEY},
)
BAD = (
    {},
    {"Authorization": ""},
    {"Authorization": KEY},
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": "Bearer"},
    {"Authorization": f"Bearer {KEY}x"},
    {"Authorization": f"Bearer {KEY[:-1]}"},
    {"Authorization": f"Bearer {KEY} {KEY}"},
    {"Authorization": f"Bearer,{KEY}"},
    {"Authorization": f"Bearer {KEY.upper()}"},
    {"Authorization": f"Bearer {KEY}\u00e9"},
    {"Authorization": f"Bearer {keyring.hash_key(KEY)}"},
    {"Authorization": "Bearer " + "k" * 5000},
    {"Authorization": f"Bearer {KEY}", "x-api-key": "another"},
    {"Authorization": f"Basic {KEY}", "x-api-key": KEY},
    {"x-api-key": KEY, "api-key": "another"},
    {"x-api-key": ""},
    {"x-goog-api-key": f"{KEY}x"},
    {"x-goog-api-key": KEY, "x-api-key": "another"},
    {"Cookie": f"api-key={KEY}"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Original-URL": "/livez"},
    {"X-Rewrite-URL": "/livez"},
    {"X-HTTP-Method-Override": "GET"},
)


@pytest.mark.parametrize("headers", GOOD, ids=range(len(GOOD)))
def test_a_key_is_accepted_however_a_client_sends_it(headers: dict[str, str]) -> None:
    async def run() -> None:
        async with gateway() as edge:
            assert (await edge.ask(key=None, headers=headers))[0] == 200

    asyncio.run(run())


def test_what_is_not_exactly_one_good_key_is_401_without_a_word_of_it() -> None:
    async def run() -> None:
        async with gateway() as edge:
            for number, headers in enumerate(BAD):
                if number == 15:  # Guesses are limited per address; see below.
                    await edge.session.close()
                    edge.session = type(edge.session)()
                    edge.edge._pipeline.steps[0]._guesses._arrivals.clear()
                status, answered, body = await edge.ask(key=None, headers=headers)
                error = json.loads(body)["error"]
                assert (number, status) == (number, 401)
                assert (error["type"], error["param"], error["code"]) == (
                    "invalid_request_error",
                    None,
                    "invalid_api_key",
                )
                assert set(error) == {"message", "type", "param", "code"}
                assert answered["www-authenticate"] == "Bearer"
                assert answered["x-should-retry"] == "false"
                assert KEY.encode() not in body
                assert KEY not in str(answered)
            assert edge.seen == []
            await until(lambda: len(edge.records) == len(BAD))
            assert {(record.verdict, record.tenant, record.key) for record in edge.records} == {("refused", "", "")}
            assert not any(KEY.encode() in payload for _, payload in edge.broker.published)

    asyncio.run(run())


def test_a_key_sent_twice_with_different_values_is_401() -> None:
    async def run() -> None:
        async with gateway() as edge:
            answer = await edge.raw(
                f"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                f"Authorization: Bearer {KEY}\r\nAuthorization: Bearer other\r\n\r\n".encode()
            )
            assert answer.startswith(b"HTTP/1.1 40")

    asyncio.run(run())


def test_revoked_expired_and_removed_keys_do_not_open() -> None:
    keys = Keys()
    for name, fields in {"revoked": {"revoked_at_ms": NOW_MS}, "expired": {"expires_at_ms": NOW_MS}, "ok": {}}.items():
        record = record_of(f"sk-{name}", **fields)
        keys.change(record.hash, msgspec.json.encode(record))
    assert keys.authenticate(["sk-ok", "sk-ok"], NOW_MS).tenant == "acme"
    for name, code in {"revoked": "invalid_api_key", "expired": "expired_api_key", "never": "invalid_api_key"}.items():
        with pytest.raises(Exception, match="API key") as refused:
            keys.authenticate([f"sk-{name}"], NOW_MS)
        assert refused.value.code == code
    assert keys.authenticate(["sk-expired"], NOW_MS - 1)
    keys.change(record_of("sk-ok").hash, None)
    with pytest.raises(Exception, match="Incorrect API key"):
        keys.authenticate(["sk-ok"], NOW_MS)


@pytest.mark.parametrize("kept", [b"{not json", b'{"id":"\xff"}', b'{"x":' + b"[" * 100_000])
def test_a_record_that_cannot_be_read_closes_its_key(kept: bytes) -> None:
    keys = Keys()
    record = record_of("sk-ok")
    keys.change(record.hash, msgspec.json.encode(record))
    keys.change(record.hash, kept)
    with pytest.raises(Exception, match="Incorrect API key"):
        keys.authenticate(["sk-ok"], NOW_MS)


def test_a_record_filed_under_another_keys_hash_does_not_open() -> None:
    keys = Keys()
    keys.change(keyring.hash_key("sk-mine"), msgspec.json.encode(record_of("sk-yours")))
    with pytest.raises(Exception, match="Incorrect API key"):
        keys.authenticate(["sk-mine"], NOW_MS)


def test_a_mistyped_key_of_ours_is_told_so_without_being_quoted() -> None:
    key = keyring.generate()
    mistyped = key[:10] + ("A" if key[10] != "A" else "B") + key[11:]
    for wrong in (mistyped, key[:-1], key[:20]):
        with pytest.raises(Exception, match="mistyped or cut off") as refused:
            Keys().authenticate([wrong], NOW_MS)
        assert wrong not in str(refused.value)
    with pytest.raises(Exception, match=r"provided\. Ask"):
        Keys().authenticate([key], NOW_MS)


def test_guesses_are_limited_per_address_and_good_keys_from_there_still_pass() -> None:
    async def run() -> None:
        async with gateway() as edge:
            statuses = [(await edge.ask(key=f"guess-{number}"))[0] for number in range(30)]
            assert statuses[:20] == [401] * 20
            assert statuses[-1] == 429
            status, headers, body = await edge.ask(key="guess")
            assert (status, json.loads(body)["error"]["code"]) == (429, "rate_limit_exceeded")
            assert int(headers["retry-after-ms"]) > 0
            assert (await edge.ask())[0] == 200
            await until(lambda: len(edge.records) == 32)

    asyncio.run(run())


class Store:
    """The bucket of keys, whose watchers hear of nothing: every edge is behind for ever."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.broken = False

    def add(self, key: str, **fields: Any) -> KeyRecord:
        record = record_of(key, **fields)
        self.entries[record.hash] = msgspec.json.encode(record)
        return record

    async def get(self, digest: str) -> tuple[bytes, int] | None:
        self.asked.append(digest)
        value = self.entries.get(digest)
        await self.answers.wait()
        if self.broken:
            raise Unavailable("stage_unavailable", "JetStream KV does not answer (TimeoutError)")
        return None if value is None else (value, 1)

    async def watch(self, _: Callable[[str, bytes | None], None]) -> None:
        pass


@asynccontextmanager
async def behind() -> AsyncIterator[tuple[Gateway, Store]]:
    broker, store = FakeBroker(), Store()
    broker.buckets[KEYS_BUCKET] = store
    async with gateway(broker=broker) as edge:
        yield edge, store


def test_a_key_that_was_made_a_moment_ago_opens_at_an_edge_that_has_not_heard_of_it() -> None:
    async def run() -> None:
        async with behind() as (edge, store):
            key = keyring.generate()
            store.add(key, tenant="new")
            answers = await asyncio.gather(*(edge.ask(key=key) for _ in range(50)))
            assert {status for status, _, _ in answers} == {200}
            assert {envelope.tenant for envelope in edge.seen} == {"new"}

    asyncio.run(run())


def test_what_the_store_says_of_a_key_is_held_to_the_same_rules() -> None:
    async def run() -> None:
        async with behind() as (edge, store):
            mine, revoked, expired, unread = (keyring.generate() for _ in range(4))
            store.entries[keyring.hash_key(mine)] = msgspec.json.encode(record_of(keyring.generate()))
            store.entries[keyring.hash_key(unread)] = b"{not json"
            store.add(revoked, revoked_at_ms=1)
            store.add(expired, expires_at_ms=1)
            for key in (mine, revoked, expired, unread):
                assert (await edge.ask(key=key))[0] == 401
            assert edge.seen == []

    asyncio.run(run())


def test_a_revocation_that_overtakes_the_stores_answer_counts() -> None:
    async def run() -> None:
        async with behind() as (edge, store):
            key = keyring.generate()
            store.add(key)
            store.answers.clear()
            asking = asyncio.create_task(edge.ask(key=key))
            await until(lambda: bool(store.asked))
            edge.add_key(key, revoked_at_ms=1)
            store.answers.set()
            assert (await asking)[0] == 401
            assert (await edge.ask(key=key))[0] == 401
            store.add(key)  # And what was asked for is not kept: here the watch says that the key is gone.
            edge.keys.change(keyring.hash_key(key), None)
            assert (await edge.ask(key=key))[0] == 200
            del store.entries[keyring.hash_key(key)]
            assert (await edge.ask(key=key))[0] == 401

    asyncio.run(run())


def test_a_store_that_does_not_answer_opens_to_nobody_and_calls_no_key_wrong() -> None:
    async def run() -> None:
        async with behind() as (edge, store):
            store.broken = True
            status, _, body = await edge.ask(key=keyring.generate())
            assert (status, json.loads(body)["error"]["code"]) == (503, "guard_unavailable")
            assert edge.seen == []
            assert (await edge.ask())[0] == 200

    asyncio.run(run())


def test_the_store_is_asked_once_for_a_wrong_key_and_never_for_what_we_did_not_make() -> None:
    async def run() -> None:
        async with behind() as (edge, store):
            key = keyring.generate()
            for wrong in (key, key, key[:-1], "sk-somebody-elses", key):
                assert (await edge.ask(key=wrong))[0] == 401
            assert store.asked == [keyring.hash_key(key)]

    asyncio.run(run())


def test_a_flood_of_unknown_keys_of_our_form_hardly_reaches_the_store_and_no_good_key_is_refused_for_it() -> None:
    async def run() -> None:
        async with behind() as (edge, store):
            edge.configure(msgspec.structs.replace(CONFIG, gateway=config.Gateway(trusted_proxies=("127.0.0.1",))))
            authentication = edge.edge._pipeline.steps[0]
            authentication._guesses, authentication._look_ups = LocalLimits(FakeClock()), LocalLimits(FakeClock())
            statuses = [(await edge.ask(key=keyring.generate()))[0] for _ in range(30)]
            assert statuses == [401] * 20 + [429] * 10
            assert len(store.asked) == 20
            for number in range(100):
                await edge.ask(key=keyring.generate(), headers={"X-Forwarded-For": f"192.0.2.{number}"})
            assert len(store.asked) == 100
            status, headers, body = await edge.ask(key=keyring.generate(), headers={"X-Forwarded-For": "198.51.100.1"})
            assert (status, json.loads(body)["error"]["code"]) == (429, "rate_limit_exceeded")
            assert int(headers["retry-after-ms"]) > 0
            assert (await edge.ask(headers={"X-Forwarded-For": "198.51.100.1"}))[0] == 200

    asyncio.run(run())


def test_a_key_reaches_only_its_models() -> None:
    async def run() -> None:
        async with gateway() as edge:
            edge.add_key("sk-narrow", models=("other",))
            assert (await edge.ask(key="sk-narrow", json={**CHAT, "model": "other"}))[0] == 200
            for model in ("demo", "does-not-exist"):  # Whether it exists is not said.
                status, _, body = await edge.ask(key="sk-narrow", json={**CHAT, "model": model})
                assert status == 403
                assert json.loads(body)["error"] == {
                    "message": "this API key may not use that model; GET /v1/models lists those that it may",
                    "type": "permission_error",
                    "param": "model",
                    "code": "model_not_allowed",
                }
            assert (await edge.ask("/v1/models/demo", "GET", key="sk-narrow"))[0] == 404

    asyncio.run(run())


def test_a_revocation_counts_for_the_next_request() -> None:
    async def run() -> None:
        async with gateway() as edge:
            assert (await edge.ask())[0] == 200
            edge.add_key(KEY, revoked_at_ms=int(time.time() * 1000) - 1)
            assert (await edge.ask())[0] == 401

    asyncio.run(run())


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("1.2.3.4", ["9.9.9.9"], [], "1.2.3.4"),
        ("1.2.3.4", ["9.9.9.9"], ["5.5.5.5"], "1.2.3.4"),
        ("10.0.0.1", ["9.9.9.9"], ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.1", ["6.6.6.6, 9.9.9.9"], ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.1", ["6.6.6.6, 9.9.9.9, 10.0.0.2"], ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.1", ["6.6.6.6", "9.9.9.9"], ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.1", ["nonsense"], ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", ["9.9.9.9, <script>"], ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", [], ["10.0.0.0/8"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["9.9.9.9"], ["10.0.0.0/8"], "9.9.9.9"),
        ("fd00::1", ["2001:db8::5"], ["fd00::/8"], "2001:db8::5"),
        ("10.0.0.1", ["6.6.6.6:80, 9.9.9.9:4711"], ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.1", ["[2001:db8::5]:4711, 10.0.0.2:80"], ["10.0.0.0/8"], "2001:db8::5"),
        ("10.0.0.1", ["9.9.9.9:80:80"], ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", ["fe80::1%eth0"], ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", ["9.9.9.9, [fe80::1%any text at all]:4711"], ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1," * 100 + "10.0.0.3"], ["10.0.0.0/8"], "1.1.1.1"),
    ],
)
def test_the_address_is_the_rightmost_that_no_trusted_proxy_owns(
    peer: str, forwarded: list[str], trusted: list[str], expected: str
) -> None:
    assert client_ip(peer, forwarded, networks(trusted)) == expected


def test_an_untrusted_client_cannot_choose_the_address_in_its_record() -> None:
    async def run() -> None:
        async with gateway() as edge:
            await edge.ask(headers={"X-Forwarded-For": "6.6.6.6"})
            edge.configure(msgspec.structs.replace(CONFIG, gateway=config.Gateway(trusted_proxies=("127.0.0.1",))))
            await edge.ask(headers={"X-Forwarded-For": "5.5.5.5, 6.6.6.6"})
            assert [record.client_ip for record in edge.records] == ["127.0.0.1", "6.6.6.6"]

    asyncio.run(run())


def test_what_is_no_text_in_the_place_of_an_address_holds_up_nobody() -> None:
    async def run() -> None:
        behind_a_proxy = msgspec.structs.replace(CONFIG, gateway=config.Gateway(trusted_proxies=("127.0.0.1",)))
        async with gateway(config=behind_a_proxy) as edge:
            line = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            answer = await edge.raw(line + b"x-api-key: %s\r\nX-Forwarded-For: fe80::1%%\xff\r\n\r\n" % KEY.encode())
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert (await edge.ask())[0] == 200
            assert [record.client_ip for record in edge.records] == ["127.0.0.1", "127.0.0.1"]

    asyncio.run(run())


def test_every_key_header_is_looked_at() -> None:
    assert presented_keys(["Bearer a", "x"], [" b "], ["c"]) == ["a", "", "b", "c"]
