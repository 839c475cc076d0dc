"""Token endpoints are asked as their references say, and whatever they answer, no secret is in an error."""

import json
from base64 import b64decode
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.auth import Entra, Google, OAuth
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers import oauth
from llmproxy.provider_workers.renewal import Fetched
from llmproxy.provider_workers.wire import HttpRequest

PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = PRIVATE.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
ACCOUNT = {"client_email": "sa@p.iam.gserviceaccount.com", "private_key": PEM, "private_key_id": "k1", "type": "x"}
HOUSE = OAuth(
    token_url="https://id.example.com/token", client_id="me", client_secret="env:S", scope="a b", audience="x"
)


def form(request: HttpRequest) -> dict[str, str]:
    assert ("content-type", "application/x-www-form-urlencoded") in request.headers
    return {name: values[0] for name, values in parse_qs(request.body.decode(), strict_parsing=True).items()}


def test_client_credentials_are_sent_in_the_body() -> None:
    request = oauth.client_credentials(HOUSE, "s&cret=")
    assert (request.method, request.url) == ("POST", "https://id.example.com/token")
    assert form(request) == {
        "grant_type": "client_credentials",
        "client_id": "me",
        "client_secret": "s&cret=",
        "scope": "a b",
        "audience": "x",
    }


def test_client_credentials_are_sent_as_basic_authentication() -> None:
    auth = OAuth(token_url="https://id.example.com/token", client_id="m:e", client_secret="env:S", client_auth="basic")
    request = oauth.client_credentials(auth, "s cret")
    assert form(request) == {"grant_type": "client_credentials"}
    shown = dict(request.headers)["authorization"].removeprefix("Basic ")
    assert b64decode(shown) == b"m%3Ae:s+cret"


def test_entra_is_asked_at_its_tenants_address() -> None:
    request = oauth.entra(Entra(tenant_id="acme", client_id="app", client_secret="env:S"), "s")
    assert request.url == "https://login.microsoftonline.com/acme/oauth2/v2.0/token"
    assert form(request)["scope"] == "https://cognitiveservices.azure.com/.default"


def test_a_service_account_signs_who_it_is() -> None:
    request = oauth.google(Google(), json.dumps(ACCOUNT), "up", now=1_700_000_000)
    assert request.url == "https://oauth2.googleapis.com/token"
    sent = form(request)
    assert sent["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert jwt.get_unverified_header(sent["assertion"]) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    claims = jwt.decode(
        sent["assertion"],
        PRIVATE.public_key(),
        algorithms=["RS256"],
        audience="https://oauth2.googleapis.com/token",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["iss"] == "sa@p.iam.gserviceaccount.com"
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert (claims["iat"], claims["exp"]) == (1_700_000_000, 1_700_003_600)


@pytest.mark.parametrize(
    "account",
    [
        "",
        "not json",
        "{}",
        json.dumps({**ACCOUNT, "private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"}),
        json.dumps({**ACCOUNT, "private_key": "secret"}),
        json.dumps({**ACCOUNT, "token_uri": "http://evil.example.com/token"}),
        json.dumps({**ACCOUNT, "token_uri": "file:///secret"}),
    ],
)
def test_an_account_that_cannot_sign_is_named_and_not_quoted(account: str) -> None:
    with pytest.raises(GatewayError, match=r"endpoints\.up\.auth\.account") as raised:
        oauth.google(Google(), account, "up", now=0)
    assert raised.value.code == "provider_unauthorized"
    assert "secret" not in raised.value.message
    assert "BEGIN" not in raised.value.message


@pytest.mark.parametrize(
    ("said", "lifetime_s"),
    [("3599", 3599), ('"3599"', 3599), ("1e3", 1000), ("null", 3600), ('"soon"', 3600), ("-1", 3600), ('"inf"', 3600)],
)
def test_a_token_is_good_for_as_long_as_is_said(said: str, lifetime_s: float) -> None:
    body = f'{{"access_token":"tok","token_type":"Bearer","expires_in":{said}}}'.encode()
    assert oauth.token("up", "https://id.example.com/token", 200, body) == Fetched("tok", lifetime_s)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, b'{"error":"invalid_client","error_description":"secret s3cr3t is wrong"}', "(invalid_client)"),
        (401, b'{"error":"no code but s3cr3t"}', "status 401;"),
        (500, b"<html>s3cr3t</html>", "status 500"),
        (200, b'{"access_token":""}', "status 200"),
        (200, b'{"access_token":"s3cr3t\\r\\nx-evil: 1"}', "status 200"),
        (302, b'{"access_token":"tok"}', "status 302"),
        (200, b'["s3cr3t"]', "status 200"),
    ],
)
def test_an_endpoint_that_gives_none_is_named_and_not_quoted(status: int, body: bytes, says: str) -> None:
    with pytest.raises(GatewayError) as raised:
        oauth.token("up", "https://id.example.com/token?s3cr3t=1", status, body)
    assert raised.value.code == "provider_unauthorized"
    assert "id.example.com" in raised.value.message
    assert says in raised.value.message
    assert "s3cr3t" not in raised.value.message


@given(st.integers(100, 599), st.binary(max_size=60))
def test_any_answer_is_a_token_or_a_named_error(status: int, body: bytes) -> None:
    try:
        lifetime_s = oauth.token("up", "https://id.example.com/t", status, body).lifetime_s
    except GatewayError as error:
        code = error.code
    else:
        code = "provider_unauthorized" if lifetime_s > 0 else "a token without a life"
    assert code == "provider_unauthorized"
