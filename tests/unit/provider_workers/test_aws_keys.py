"""Keys that AWS lends to the machine are asked of its own services only."""

import asyncio
import json

import pytest

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers import aws_keys
from llmproxy.provider_workers.sigv4 import AwsKeys
from llmproxy.provider_workers.wire import HttpRequest

LENT = {
    "AccessKeyId": "ASIA1",
    "SecretAccessKey": "s",
    "Token": "t",
    "Expiration": "2023-11-14T23:13:20Z",
}  # An hour after NOW.
NOW = 1_700_000_000.0
KEYS = AwsKeys(access_key_id="ASIA1", secret_access_key="s", session_token="t")


def nothing(path: str) -> str:
    raise AssertionError(path)


class Service:
    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers, self.asked = list(answers), list[HttpRequest]()

    async def ask(self, request: HttpRequest) -> tuple[int, bytes]:
        self.asked.append(request)
        return self.answers.pop(0)


def test_a_container_asks_where_its_variables_say() -> None:
    service = Service((200, json.dumps(LENT).encode()))
    environment = {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/1",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "proof",
    }
    found = asyncio.run(aws_keys.from_container("up", environment, nothing, service.ask, NOW))
    assert found.value == KEYS
    assert found.lifetime_s == 3600
    (asked,) = service.asked
    assert (asked.method, asked.url) == ("GET", "http://169.254.170.2/v2/credentials/1")
    assert asked.headers == (("authorization", "proof"),)


def test_a_containers_token_file_is_read_at_each_use() -> None:
    environment = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/var/run/token",
    }
    made = aws_keys.container_request("up", environment, {"/var/run/token": "fresh"}.__getitem__)
    assert made.headers == (("authorization", "fresh"),)


@pytest.mark.parametrize(
    "url", ["", "http://evil.example.com/", "http://10.0.0.1/", "ftp://127.0.0.1/", "http://169.254.169.254/latest"]
)
def test_no_other_service_is_asked_for_keys(url: str) -> None:
    with pytest.raises(GatewayError, match="may be asked"):
        aws_keys.container_request("up", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url}, nothing)


def test_an_instance_asks_in_the_second_version() -> None:
    service = Service((200, b"session"), (200, b"my-role"), (200, json.dumps(LENT).encode()))
    assert asyncio.run(aws_keys.from_instance("up", service.ask, NOW)).value == KEYS
    assert [(one.method, one.url.removeprefix("http://169.254.169.254/latest")) for one in service.asked] == [
        ("PUT", "/api/token"),
        ("GET", "/meta-data/iam/security-credentials/"),
        ("GET", "/meta-data/iam/security-credentials/my-role"),
    ]
    assert service.asked[2].headers == (("x-aws-ec2-metadata-token", "session"),)


@pytest.mark.parametrize(
    "answers",
    [
        [(403, b"")],
        [(200, b"a b")],
        [(200, b"session"), (200, b"../../x y")],
        [(200, b"session"), (200, b"role"), (404, b"{}")],
        [(200, b"session"), (200, b"role"), (200, b'{"AccessKeyId":"a\\r\\nb","SecretAccessKey":"hidden"}')],
        [
            (200, b"session"),
            (200, b"role"),
            (200, b'{"AccessKeyId":"a","SecretAccessKey":"hidden","Expiration":"never"}'),
        ],
    ],
)
def test_a_service_that_lends_nothing_is_named_and_not_quoted(answers: list[tuple[int, bytes]]) -> None:
    with pytest.raises(GatewayError, match=r"endpoints\.up\.auth") as raised:
        asyncio.run(aws_keys.from_instance("up", Service(*answers).ask, NOW))
    assert raised.value.code == "provider_unauthorized"
    assert "hidden" not in raised.value.message
