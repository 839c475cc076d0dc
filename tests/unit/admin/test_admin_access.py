"""Nobody without the token learns or changes anything: checked for every route of the table, and for those that are none."""

import asyncio
import gzip
import json
from typing import Any

import pytest
from unit.admin.conftest import TOKEN

from llmproxy.admin.app import Token
from llmproxy.common.runtime import WRONG_SETTINGS

PUBLIC = {("GET", "/livez"), ("GET", "/readyz")}


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, entry in document["paths"].items() for method in entry]


def test_no_route_answers_without_the_token_or_with_a_wrong_one(start_admin: Any) -> None:
    async def scenario() -> None:
        async with start_admin() as admin:
            status, document = await admin.call("GET", "/openapi.json")
            assert status == 200
            table = operations(document)
            assert len(table) >= 17
            for method, path in table:
                for token in (None, "", "wrong", "token-of-the-admin-for-test", "token-of-the-admin-for-tests2"):
                    status, body = await admin.call(method, path.replace("{id}", "key_1"), token=token)
                    if (method, path) in PUBLIC:
                        assert status == 200
                    else:
                        assert (status, body["error"]["code"]) == (401, "unauthorized"), (method, path, token)
            assert admin.changes() == []

    asyncio.run(scenario())


def test_what_is_no_route_does_not_say_so_without_the_token(start_admin: Any) -> None:
    async def scenario() -> None:
        async with start_admin() as admin:
            for method, path in (("GET", "/api/v1/nothing"), ("PATCH", "/api/v1/keys"), ("HEAD", "/api/v1/status")):
                assert (await admin.call(method, path, token=None))[0] == 401
            assert (await admin.call("GET", "/api/v1/nothing"))[0] == 404
            status, body = await admin.call("PATCH", "/api/v1/keys")
            assert (status, body["error"]["message"]) == (405, "use GET, HEAD, POST here")

    asyncio.run(scenario())


def test_what_watches_a_page_may_ask_for_its_head_and_is_told_what_else_it_may(start_admin: Any) -> None:
    async def scenario() -> None:
        async with start_admin() as admin:
            for path in ("/readyz", "/metrics", "/api/v1/status"):
                assert await admin.call("HEAD", path) == (200, "")
            assert await admin.call("HEAD", "/readyz", token=None) == (200, "")
            async with admin.session.delete(
                f"{admin.url}/api/v1/config", headers={"Authorization": f"Bearer {TOKEN}"}
            ) as answer:
                assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, PUT")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("header", "admitted"),
    [
        ("Bearer s3cret", True),
        ("bearer s3cret", True),
        ("Bearer  s3cret ", True),
        ("Basic s3cret", False),
        ("s3cret", False),
        ("Bearer", False),
        ("", False),
        ("Bearer s3cret\udce9", False),
    ],
)
def test_only_a_bearer_token_that_is_the_token_is_admitted(header: str, admitted: bool) -> None:
    assert Token("s3cret").admits(header) is admitted


def test_admin_does_not_start_without_a_token(start_admin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        async with start_admin(admin_token="", ready=False):
            pass

    with pytest.raises(SystemExit) as stopped:
        asyncio.run(scenario())
    assert stopped.value.code == WRONG_SETTINGS
    assert "LLM_PROXY_ADMIN_TOKEN is empty" in capsys.readouterr().err


def test_metrics_can_be_made_public(start_admin: Any) -> None:
    async def scenario() -> None:
        async with start_admin(metrics_public=True) as admin:
            assert (await admin.call("GET", "/metrics", token=None))[0] == 200
            assert (await admin.call("GET", "/api/v1/status", token=None))[0] == 401

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "/api/v1/keys", b"{", 400, None),
        ("POST", "/api/v1/keys", b'{"nme":"x"}', 400, "nme"),
        ("POST", "/api/v1/keys", b'{"models":"gpt-4o"}', 400, "models"),
        ("POST", "/api/v1/keys", b'{"limit":{"burts":1}}', 400, "limit.burts"),
        ("POST", "/api/v1/keys", b'{"limit":{"burst":0}}', 400, "limit.burst"),
        ("POST", "/api/v1/keys", b'{"limit":{"burst":5,"concurrency":2}}', 400, "limit.burst"),
        ("POST", "/api/v1/keys", b'{"expires_at_ms":1}', 400, "expires_at_ms"),
        ("POST", "/api/v1/keys", b'{"expires_at_ms":1893456000000000}', 400, "expires_at_ms"),
        ("POST", "/api/v1/keys", b'{"name":"' + b"x" * 200 + b'"}', 400, "name"),
        ("POST", "/api/v1/keys", b" " * 300_000, 413, None),
        ("POST", "/api/v1/keys", b"[]", 400, None),
        ("POST", "/api/v1/keys", b'{"name":"\xff"}', 400, None),
        ("POST", "/api/v1/keys", b'{"name":"two\\nlines"}', 400, "name"),
        ("POST", "/api/v1/keys", b'{"tenant":""}', 400, "tenant"),
        ("POST", "/api/v1/keys", b'{"tenant":"-"}', 400, "tenant"),
        ("POST", "/api/v1/keys", b'{"models":[""]}', 400, "models[0]"),
        ("POST", "/api/v1/keys", b'{"models":["gpt-4o","ft:*"]}', 400, "models[1]"),
        ("POST", "/api/v1/keys", b'{"limit":{"burst":99999999999999999999}}', 400, "limit.burst"),
        ("GET", "/api/v1/keys/key_none", None, 404, None),
        ("DELETE", "/api/v1/keys/key_none", None, 404, None),
        ("GET", "/api/v1/audit?limit=0", None, 400, "limit"),
        ("GET", "/api/v1/audit?limit=many", None, 400, "limit"),
        ("GET", "/api/v1/audit?tenant=%00", None, 400, "tenant"),
        ("GET", "/api/v1/audit?modle=x", None, 400, "modle"),
        ("GET", "/api/v1/audit?model=x&model=y", None, 400, None),
        ("GET", "/api/v1/audit?verdict=guilty", None, 400, "verdict"),
        ("GET", "/api/v1/status?verbose=1", None, 400, "verbose"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_name_of_the_field(
    start_admin: Any, method: str, path: str, body: bytes | None, status: int, param: str | None
) -> None:
    async def scenario() -> None:
        async with start_admin() as admin:
            found, answer = await admin.call(method, path, data=body)
            assert (found, answer["error"]["param"]) == (status, param), answer
            assert json.dumps(answer).count("x" * 50) == 0
            assert admin.changes() == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("method", "path", "body", "name"),
    [
        ("POST", "/api/v1/keys", '{"name": "ci", "tenant": "acme", "name": "other"}', "name"),
        ("POST", "/api/v1/keys", '{"name": "ci", "n\\u0061me": "other"}', "name"),
        ("POST", "/api/v1/keys", '{"name": "ci", "limit": {"burst": 1, "burst": 900}}', "limit.burst"),
        ("PUT", "/api/v1/config", '{"version": 1, "version": 1}', "version"),
        ("PUT", "/api/v1/config", '{"policy": {"unreadable": "block", "unre\\u0061dable": "allow"}}', "unreadable"),
    ],
)
def test_a_key_that_is_given_twice_is_refused_by_name_and_changes_nothing(
    start_admin: Any, method: str, path: str, body: str, name: str
) -> None:
    async def scenario() -> None:
        async with start_admin(config_source="api") as admin:
            before = admin.changes()
            status, said = await admin.call(method, path, data=body)
            assert status == 400
            assert said["error"]["code"] in ("duplicate_key", "invalid_config")
            assert "given twice" in said["error"]["message"]
            assert name in said["error"]["message"]
            assert admin.changes() == before
            assert await admin.call("GET", "/api/v1/keys") == (200, {"keys": []})

    asyncio.run(scenario())


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x"])
def test_a_compressed_body_is_refused_and_not_inflated(start_admin: Any, encoding: str) -> None:
    async def scenario() -> None:
        async with start_admin() as admin:
            for data in (b"\x1f\x8b08", gzip.compress(b"{}")):
                headers = {"Content-Encoding": encoding}
                status, body = await admin.call("POST", "/api/v1/keys", data=data, headers=headers)
                assert (status, body["error"]["code"]) == (400, "invalid_encoding")
            assert admin.changes() == []

    asyncio.run(scenario())


def test_every_route_with_a_body_is_one_of_those(start_admin: Any) -> None:
    async def scenario() -> None:
        async with start_admin() as admin:
            _, document = await admin.call("GET", "/openapi.json")
            taking = {
                (method.upper(), path)
                for path, methods in document["paths"].items()
                for method, one in methods.items()
                if "requestBody" in one
            }
            assert taking == {("POST", "/api/v1/keys"), ("PUT", "/api/v1/config"), ("POST", "/api/v1/config/check")}

    asyncio.run(scenario())
