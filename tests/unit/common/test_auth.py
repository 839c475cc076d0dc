"""Credential kinds in a configuration: what is wrong names its place and the fix, and no secret stands in it."""

import pytest
from unit.common.config_problems import problem

from llmproxy.common import auth
from llmproxy.common.config_file import parse

ENDPOINT = "endpoints: {x: {provider: openai, url: 'https://h', models: [m], auth: %s}}"


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("{kind: none}", auth.NoAuth()),
        ("{kind: bearer, key: env:K}", auth.Bearer(key="env:K")),
        ("{kind: header, name: x-token, key: file:/k}", auth.Header(name="x-token", key="file:/k")),
        ("{kind: basic, user: ada, password: env:P}", auth.Basic(user="ada", password="env:P")),
        ("{kind: sigv4, region: eu-west-1}", auth.SigV4(region="eu-west-1")),
        ("{kind: google}", auth.Google()),
        (
            "{kind: entra, tenant_id: t, client_id: c, client_secret: env:S}",
            auth.Entra(tenant_id="t", client_id="c", client_secret="env:S"),
        ),
        (
            "{kind: oauth, token_url: 'https://id/t', client_id: c, client_secret: env:S}",
            auth.OAuth(token_url="https://id/t", client_id="c", client_secret="env:S"),
        ),
    ],
)
def test_every_kind_is_read(written: str, kind: auth.Auth) -> None:
    assert parse(ENDPOINT % written, {}).endpoints["x"].auth == kind


@pytest.mark.parametrize(
    ("written", "place", "fix"),
    [
        ("{kind: magic}", "endpoints.x.auth.kind", "one of none, bearer, header"),
        ("{kind: bearer, key: sk-hidden}", "endpoints.x.auth.key", "env:NAME or file:PATH"),
        ("{kind: bearer, key: ''}", "endpoints.x.auth.key", "write a reference"),
        ("{kind: bearer}", "endpoints.x.auth", "key"),
        ("{kind: bearer, kye: env:K, key: env:K}", "endpoints.x.auth", "did you mean 'key'"),
        ("{kind: header, name: 'x y', key: env:K}", "endpoints.x.auth.name", "x-api-key"),
        ("{kind: header, name: Host, key: env:K}", "endpoints.x.auth.name", "x-api-key"),
        ("{kind: basic, user: 'a:b', password: env:P}", "endpoints.x.auth.user", "no colon"),
        ("{kind: basic, user: a, password: hidden}", "endpoints.x.auth.password", "reference"),
        ("{kind: sigv4}", "endpoints.x.region", "eu-central-1"),
        ("{kind: sigv4, region: 'Frankfurt!'}", "endpoints.x.auth.region", "eu-central-1"),
        ("{kind: sigv4, region: r, secret_access_key: hidden}", "endpoints.x.auth.secret_access_key", "reference"),
        ("{kind: sigv4, region: r, source: moon}", "endpoints.x.auth.source", "keys, container, instance"),
        ("{kind: google, account: '{hidden}'}", "endpoints.x.auth.account", "reference"),
        (
            "{kind: oauth, token_url: 'http://id.example.com/t', client_id: c, client_secret: env:S}",
            "endpoints.x.auth.token_url",
            "https://",
        ),
        (
            "{kind: oauth, token_url: 'https://id/t', client_id: '', client_secret: env:S}",
            "endpoints.x.auth.client_id",
            "empty",
        ),
        (
            "{kind: entra, tenant_id: 'a/b', client_id: c, client_secret: env:S}",
            "endpoints.x.auth.tenant_id",
            "its id or its domain",
        ),
        (
            "{kind: entra, tenant_id: a, client_id: c, client_secret: env:S, authority: 'http://x'}",
            "endpoints.x.auth.authority",
            "https://",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_fix(written: str, place: str, fix: str) -> None:
    said = problem(ENDPOINT % written)
    assert said.startswith(place)
    assert fix in said
    assert "hidden" not in said


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("provider: openai, key: env:K, auth: {kind: none}", "keep one"),
        ("provider: bedrock", "endpoints.x.region"),
        ("provider: bedrock, region: 'a b'", "endpoints.x.region"),
        ("provider: vertex", "endpoints.x.auth"),
        ("provider: vertex, auth: {kind: google}", "endpoints.x.project"),
        ("provider: vertex, project: p, auth: {kind: google}", "endpoints.x.region"),
        ("provider: vertex, project: 'p/q', region: r, auth: {kind: google}", "endpoints.x.project"),
    ],
)
def test_what_a_cloud_wants_to_know_is_asked_for(endpoint: str, says: str) -> None:
    assert says in problem(f"endpoints: {{x: {{{endpoint}, models: [m]}}}}")


@pytest.mark.parametrize(
    "endpoint",
    [
        "provider: bedrock, region: us-east-1",
        "provider: vertex, key: env:K",
        "provider: vertex, project: p, region: global, auth: {kind: google}",
        "provider: vertex, url: 'https://h/v1/projects/p/locations/l', auth: {kind: google}",
    ],
)
def test_what_a_cloud_needs_is_enough(endpoint: str) -> None:
    parse(f"endpoints: {{x: {{{endpoint}, models: [m]}}}}", {})


def test_references_are_named_by_their_field_and_lent_keys_have_none() -> None:
    assert auth.references(auth.SigV4()) == {
        "access_key_id": "env:AWS_ACCESS_KEY_ID",
        "secret_access_key": "env:AWS_SECRET_ACCESS_KEY",
    }
    assert auth.optional(auth.SigV4()) == {"AWS_SESSION_TOKEN"}
    assert auth.references(auth.SigV4(source="container")) == {}
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in auth.optional(auth.SigV4(source="container"))
    assert auth.references(auth.Basic(user="env:U", password="file:/p")) == {"user": "env:U", "password": "file:/p"}
    assert auth.optional(auth.Google()) == {"GOOGLE_APPLICATION_CREDENTIALS"}


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("https://id.example.com/t", True),
        ("http://127.0.0.1:9/t", True),
        ("http://[::1]/t", True),
        ("http://id.example.com", False),
        ("http://127.0.0.1.example.com/", False),
        ("ftp://127.0.0.1/", False),
        ("https:///t", False),
        ("http://[", False),
    ],
)
def test_a_secret_goes_over_tls_or_not_off_the_machine(url: str, is_safe: bool) -> None:
    assert auth.is_safe(url) is is_safe
