"""On the wire: requests are signed as they are sent, tokens are fetched first, and no key goes where it does not belong."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirKeys
from patience import PATIENCE_S
from scripted_upstream import always, answer, upstream

from llmproxy.common.auth import Auth, OAuth
from llmproxy.common.config import Endpoint
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.destinations import Destination
from llmproxy.provider_workers.transport import Transport
from llmproxy.provider_workers.wire import HttpRequest, Target

OK = answer(200, b"{}")
TOKEN = answer(200, b'{"access_token":"tok-1","expires_in":3600}')
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "hidden", "S": "hidden", "K": "hidden"}
BODY = b'{"messages":[{"role":"user","content":"Hi"}]}'


def destination(
    provider: str, url: str, auth: Auth | None = None, credentials: Credentials | None = None, key: str = ""
) -> Destination:
    endpoint = Endpoint(
        provider=provider,  # type: ignore[arg-type]
        url=url,
        auth=auth,
        key=key,
        region="eu-west-1",
        models=("*",),
        connect_ms=1_000 * int(PATIENCE_S),
    )
    return Destination("up", endpoint, ADAPTERS[provider], credentials or Credentials(ENVIRONMENT))


def house(url: str) -> OAuth:
    return OAuth(token_url=f"{url}/token", client_id="me", client_secret="env:S")


def run(scenario: Callable[[Transport], Awaitable[None]]) -> None:
    async def bounded() -> None:
        transport = Transport()
        try:
            await asyncio.wait_for(scenario(transport), PATIENCE_S)
        finally:
            await transport.close()

    asyncio.run(bounded())


async def post(transport: Transport, to: Destination, url: str) -> int:
    request = HttpRequest(method="POST", url=url, headers=(("content-type", "application/json"),), body=BODY)
    reply = await transport.call(to, request)
    await reply.read_all()
    return reply.status


class At(SigV4Auth):  # type: ignore[misc]
    def __init__(self, time: str) -> None:
        super().__init__(TheirKeys("AKID", "hidden"), "bedrock", "eu-west-1")
        self._time = time

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self._time
        super()._modify_request_before_signing(request)


@pytest.mark.parametrize(
    "model", ["us.anthropic.claude-v1:0", "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.x", "a b/%2f ü"]
)
def test_what_is_signed_is_what_is_sent(model: str) -> None:
    async def scenario(transport: Transport) -> None:
        async with upstream(always(OK)) as served:
            to = destination("bedrock", served.url)
            made = to.adapter.request(
                b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}', Target(model=model, url=to.endpoint.url)
            )
            reply = await transport.call(to, made)
            assert reply.status == 200
            (asked,) = served.asked
            path = asked.line.split(" ")[1]
            assert path.removeprefix("/v1").count("/") == 3, "the model's name stays one step of the path"
            theirs = AWSRequest(
                "POST",
                served.url.removesuffix("/v1") + path,
                {"content-type": asked.headers["content-type"]},
                asked.body,
            )
            At(asked.headers["x-amz-date"]).add_auth(theirs)
            assert asked.headers["authorization"] == theirs.headers["Authorization"]

    run(scenario)


def test_a_token_is_fetched_first_and_kept_for_the_next() -> None:
    async def scenario(transport: Transport) -> None:
        async with upstream(always(TOKEN)) as identity, upstream(always(OK)) as served:
            to = destination("openai", served.url, house(identity.url))
            assert [await post(transport, to, f"{served.url}/x") for _ in range(3)] == [200] * 3
            (asked,) = identity.asked
            assert b"client_secret=hidden" in asked.body
            assert "authorization" not in asked.headers
            assert [one.headers["authorization"] for one in served.asked] == ["Bearer tok-1"] * 3
            assert not any("hidden" in str(one) for one in served.asked)

    run(scenario)


def test_many_first_calls_fetch_one_token() -> None:
    async def scenario(transport: Transport) -> None:
        async with upstream(always(TOKEN)) as identity, upstream(always(OK)) as served:
            to = destination("openai", served.url, house(identity.url))
            await asyncio.gather(*(post(transport, to, f"{served.url}/x") for _ in range(20)))
            assert len(identity.asked) == 1

    run(scenario)


@pytest.mark.parametrize(
    "said",
    [
        answer(401, b'{"error":"invalid_client","error_description":"hidden"}'),
        answer(302, b"", "location: https://evil.example.com/hidden"),
        answer(200, b"x" * (1 << 17)),
        b"hidden is not HTTP\r\n\r\n",
    ],
)
def test_without_a_token_nothing_is_sent_and_no_secret_is_said(said: bytes) -> None:
    async def scenario(transport: Transport) -> None:
        async with upstream(always(said)) as identity, upstream(always(OK)) as served:
            to = destination("openai", served.url, house(identity.url))
            with pytest.raises(GatewayError) as raised:
                await post(transport, to, f"{served.url}/x")
            assert raised.value.code == "provider_unauthorized"
            assert "'up'" in raised.value.message
            assert "hidden" not in raised.value.message
            assert served.asked == []

    run(scenario)


def test_a_token_endpoint_that_is_not_there_is_named() -> None:
    async def scenario(transport: Transport) -> None:
        async with upstream(always(OK)) as served:
            to = destination("openai", served.url, house("http://127.0.0.1:1"))
            with pytest.raises(GatewayError, match=r"127\.0\.0\.1") as raised:
                await post(transport, to, f"{served.url}/x")
            assert raised.value.code == "provider_unauthorized"

    run(scenario)


def test_a_token_that_was_refused_is_fetched_again() -> None:
    async def scenario(transport: Transport) -> None:
        now = [1000.0]
        async with upstream(always(TOKEN)) as identity, upstream(always(answer(401, b"{}"))) as served:
            to = destination("openai", served.url, house(identity.url), Credentials(ENVIRONMENT, lambda: now[0]))
            fetched = []
            for _ in range(4):
                assert await post(transport, to, f"{served.url}/x") == 401
                fetched.append(len(identity.asked))
                now[0] += 60
            assert fetched == [1, 1, 2, 2], "one that is new is shown again: another would not be better"

    run(scenario)


@pytest.mark.parametrize(
    ("provider", "auth", "key"),
    [("bedrock", None, ""), ("openai", house("https://id.example.com"), ""), ("cohere", None, "env:K")],
)
def test_no_kind_of_credential_leaves_its_origin(provider: str, auth: Auth | None, key: str) -> None:
    async def scenario(transport: Transport) -> None:
        async with upstream(always(OK)) as evil, upstream(always(TOKEN)) as identity:
            shown = house(identity.url) if auth is not None else None
            to = destination(provider, "https://api.example.com", shown, key=key)
            with pytest.raises(GatewayError, match="leave its origin"):
                await post(transport, to, f"{evil.url}/x")
            assert evil.asked == []

    run(scenario)
