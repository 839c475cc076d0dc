"""Tokens for providers that take no lasting key: what to ask their token endpoints, and what the answers say. Pure.

https://www.rfc-editor.org/rfc/rfc6749#section-4.4 (client credentials), https://www.rfc-editor.org/rfc/rfc7523 (a signed
assertion), https://developers.google.com/identity/protocols/oauth2/service-account#httprest.
"""

import re
from base64 import b64encode
from urllib.parse import quote_plus, urlencode, urlsplit

import jwt
import msgspec
from msgspec import Struct

from llmproxy.common.auth import Entra, Google, OAuth, is_safe
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.renewal import Fetched
from llmproxy.provider_workers.wire import HttpRequest

LIFETIME_S = 3600  # RFC 6749 lets a token endpoint leave it out, and wants an hour to be written as 3600.
ASSERTION_S = 3600  # Google takes no longer ones.
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
FORM = ("content-type", "application/x-www-form-urlencoded")
ACCEPT = ("accept", "application/json")
ERROR_CODE = re.compile(r"[a-z_]{1,48}", re.ASCII)
TOKEN = re.compile(r"[\x21-\x7e]{1,16384}", re.ASCII)  # What may stand in a header.


class Account(Struct, frozen=True):
    """Of a service account's JSON, what signing needs."""

    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address


class TokenReply(Struct, frozen=True):
    access_token: str = ""
    expires_in: int | float | str | None = None
    error: str = ""


ACCOUNT = msgspec.json.Decoder(Account)
REPLY = msgspec.json.Decoder(TokenReply)


def client_credentials(auth: OAuth, secret: str) -> HttpRequest:
    form = {"grant_type": "client_credentials"}
    headers = [FORM, ACCEPT]
    if auth.client_auth == "basic":  # RFC 6749, 2.3.1: both halves are form-encoded first.
        pair = f"{quote_plus(auth.client_id)}:{quote_plus(secret)}"
        headers.append(("authorization", f"Basic {b64encode(pair.encode()).decode()}"))
    else:
        form |= {"client_id": auth.client_id, "client_secret": secret}
    form |= {name: value for name, value in (("scope", auth.scope), ("audience", auth.audience)) if value}
    return post(auth.token_url, headers, form)


def entra(auth: Entra, secret: str) -> HttpRequest:
    """https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow"""
    form = {
        "grant_type": "client_credentials",
        "client_id": auth.client_id,
        "client_secret": secret,
        "scope": auth.scope,
    }
    return post(f"{auth.authority.rstrip('/')}/{auth.tenant_id}/oauth2/v2.0/token", [FORM, ACCEPT], form)


def google(auth: Google, account_json: str, endpoint: str, now: float) -> HttpRequest:
    """The account signs that it is itself. Raises GatewayError of an account that cannot."""
    try:
        account = ACCOUNT.decode(account_json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _bad_account(endpoint, "is not the JSON of a service account") from None
    if not is_safe(account.token_uri):
        raise _bad_account(endpoint, "names a token_uri that is not https://")
    claims = {
        "iss": account.client_email,
        "sub": account.client_email,
        "aud": account.token_uri,
        "scope": auth.scope,
        "iat": int(now),
        "exp": int(now) + ASSERTION_S,
    }
    headers = {"kid": account.private_key_id} if account.private_key_id else None
    try:
        assertion = jwt.encode(claims, account.private_key, algorithm="RS256", headers=headers)
    except (ValueError, TypeError, jwt.PyJWTError):
        raise _bad_account(endpoint, "has a private_key that cannot sign") from None
    return post(account.token_uri, [FORM, ACCEPT], {"grant_type": JWT_BEARER, "assertion": assertion})


def post(url: str, headers: list[tuple[str, str]], form: dict[str, str]) -> HttpRequest:
    return HttpRequest(method="POST", url=url, headers=tuple(headers), body=urlencode(form).encode())


def token(endpoint: str, asked: str, status: int, body: bytes) -> Fetched[str]:
    """What the token endpoint at `asked` gave. Raises GatewayError, in which only its error's code is quoted."""
    try:
        reply = REPLY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        reply = TokenReply()
    if not 200 <= status < 300 or not TOKEN.fullmatch(reply.access_token):
        code = f" ({reply.error})" if ERROR_CODE.fullmatch(reply.error) else ""
        raise GatewayError(
            "provider_unauthorized",
            f"endpoint '{endpoint}' got no token: {urlsplit(asked).hostname} answered with status {status}{code};"
            f" check endpoints.{endpoint}.auth",
        )
    return Fetched(reply.access_token, lifetime(reply.expires_in))


def lifetime(said: int | float | str | None) -> float:
    """Seconds. Some endpoints write the number as a string."""
    try:
        seconds = float(said) if said is not None else LIFETIME_S
    except ValueError:
        seconds = LIFETIME_S
    return seconds if 0 < seconds < float("inf") else LIFETIME_S


def _bad_account(endpoint: str, what: str) -> GatewayError:
    return GatewayError(
        "provider_unauthorized",
        f"the account of endpoint '{endpoint}' {what}; check endpoints.{endpoint}.auth.account",
    )
