"""How an endpoint is shown a credential: the kinds as data, checked with the fix in the message. Only provider workers resolve them.

Every secret is a reference (`env:NAME` or `file:PATH`).
"""

import re
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

REFERENCES = ("env:", "file:")
HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII | re.IGNORECASE)
REGION = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
PROJECT = re.compile(r"[a-z0-9:.-]{1,63}", re.ASCII)
TENANT = re.compile(r"[a-zA-Z0-9.-]{1,128}", re.ASCII)
OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "traceparent"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class NoAuth(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="none"
):
    """No credential at all."""


class Bearer(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="bearer"
):
    """`Authorization: Bearer <key>`."""

    key: str


class Header(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="header"
):
    """The key in a header of any name."""

    name: str
    key: str


class Basic(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="basic"
):
    """`Authorization: Basic <user:password>`. The user may be written as it is."""

    user: str
    password: str


class SigV4(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="sigv4"
):
    """AWS Signature Version 4 over every request.

    `source` says where the keys are: in the references; at the container's credential service (ECS, EKS Pod Identity);
    or at the instance's metadata service (EC2, IMDSv2).
    """

    region: str = ""  # "" is the endpoint's.
    service: str = "bedrock"
    source: Literal["keys", "container", "instance"] = "keys"
    access_key_id: str = "env:AWS_ACCESS_KEY_ID"
    secret_access_key: str = "env:AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a reference
    session_token: str = ""  # "" is env:AWS_SESSION_TOKEN when that is set.


class OAuth(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="oauth"
):
    """OAuth 2.0 client credentials (RFC 6749, 4.4) at any token endpoint."""

    token_url: str
    client_id: str
    client_secret: str
    scope: str = ""
    audience: str = ""
    client_auth: Literal["body", "basic"] = "body"  # Where the token endpoint reads the client's secret.


class Entra(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="entra"
):
    """Microsoft Entra ID, client credentials of an application."""

    tenant_id: str
    client_id: str
    client_secret: str
    scope: str = "https://cognitiveservices.azure.com/.default"
    authority: str = "https://login.microsoftonline.com"  # National clouds have others.


class Google(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind", tag="google"
):
    """A Google service account: its JSON signs an assertion that is exchanged for a token (RFC 7523)."""

    account: str = ""  # The JSON. "" is the file that GOOGLE_APPLICATION_CREDENTIALS names.
    scope: str = "https://www.googleapis.com/auth/cloud-platform"


Auth = NoAuth | Bearer | Header | Basic | SigV4 | OAuth | Entra | Google
KINDS: tuple[type[Struct], ...] = (NoAuth, Bearer, Header, Basic, SigV4, OAuth, Entra, Google)
TAGS = tuple(str(kind.__struct_config__.tag) for kind in KINDS)

SECRETS = ("key", "password", "access_key_id", "secret_access_key", "session_token", "client_secret", "account")
"""Fields that hold a secret, so only by reference."""

IMPLIED = ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables that are read without being named in the configuration: AWS's own names."""
IMPLIED_BY_CONTAINER = (
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
)
GOOGLE_ACCOUNT = "GOOGLE_APPLICATION_CREDENTIALS"


def references(auth: Auth) -> dict[str, str]:
    """Field -> the reference in it, defaults included; AWS keys that come from elsewhere are none."""
    if isinstance(auth, SigV4) and auth.source != "keys":
        return {}
    found = {field: getattr(auth, field, "") for field in (*SECRETS, "user")}
    return {field: text for field, text in found.items() if text.startswith(REFERENCES)}


def optional(auth: Auth) -> set[str]:
    """Environment variables that are read if they are there."""
    match auth:
        case SigV4(source="keys", session_token=""):
            return {"AWS_SESSION_TOKEN"}
        case SigV4(source="container"):
            return set(IMPLIED_BY_CONTAINER)
        case Google(account=""):
            return {GOOGLE_ACCOUNT}
    return set()


def problem(auth: Auth) -> tuple[str, str] | None:
    """(field, what is wrong with it and the fix); None when nothing is."""
    for field in SECRETS:
        value = getattr(auth, field, "")
        if value and not value.startswith(REFERENCES):
            return field, "write a reference, env:NAME or file:PATH, not the secret itself"
        if not value and field in auth.__struct_fields__ and field not in ("session_token", "account"):
            return field, "write a reference, env:NAME or file:PATH"
    match auth:
        case Header(name=name) if not HEADER_NAME.fullmatch(name) or name.lower() in OURS:
            return "name", f"{name!r} is not a header that can hold a key; write one such as x-api-key"
        case Basic(user=user) if not user or ":" in user.removeprefix("env:").removeprefix("file:"):
            return "user", "a user name is not empty and has no colon"
        case SigV4(region=region) if region and not REGION.fullmatch(region):
            return "region", f"{region!r} is not a region; write one such as eu-central-1"
        case SigV4(service=service) if not REGION.fullmatch(service):
            return "service", f"{service!r} is not a service; for Bedrock leave it out"
        case OAuth(token_url=url) if not is_safe(url):
            return (
                "token_url",
                "must start with https:// (http:// only to this machine): the client's secret goes there",
            )
        case OAuth(client_id=""):
            return "client_id", "must not be empty"
        case Entra(authority=url) if not is_safe(url):
            return "authority", "must start with https://: the client's secret goes there"
        case Entra(tenant_id=tenant) if not TENANT.fullmatch(tenant):
            return "tenant_id", f"{tenant!r} is not a tenant; write its id or its domain"
        case Entra(client_id=""):
            return "client_id", "must not be empty"
    return None


def is_safe(url: str) -> bool:
    """Where a secret may be sent: over TLS, or not off this machine."""
    try:
        at = urlsplit(url)
        return bool(at.hostname) and (at.scheme == "https" or (at.scheme == "http" and at.hostname in LOOPBACK))
    except ValueError:
        return False
