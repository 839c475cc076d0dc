"""Keys are read where a reference points, when they are used, and never said."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from llmproxy.common.auth import Auth, Basic, Bearer, Entra, Header, NoAuth, SigV4
from llmproxy.common.config import Endpoint
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters.base import Credential
from llmproxy.provider_workers.credentials import Credentials, Presented


def test_each_vendor_gets_its_key_in_the_header_it_reads() -> None:
    credentials = Credentials({"KEY": "sk-1"})
    assert credentials.header("up", "env:KEY", "bearer") == ("authorization", "Bearer sk-1")
    assert credentials.header("up", "env:KEY", "x-api-key") == ("x-api-key", "sk-1")
    assert credentials.header("up", "env:KEY", "x-goog-api-key") == ("x-goog-api-key", "sk-1")
    assert credentials.header("up", "env:KEY", "none") is None


def test_a_local_server_needs_no_key_but_a_vendor_with_its_own_header_does() -> None:
    credentials = Credentials({})
    assert credentials.header("local", "", "bearer") is None
    with pytest.raises(GatewayError, match=r"endpoints\.claude\.key") as raised:
        credentials.header("claude", "", "x-api-key")
    assert raised.value.code == "provider_unauthorized"


def test_a_rotated_key_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-old\n")
    credentials = Credentials({})
    assert credentials.header("up", f"file:{path}", "x-api-key") == ("x-api-key", "sk-old")
    path.write_text("sk-new\n")
    os.utime(path, ns=(0, 1))
    assert credentials.header("up", f"file:{path}", "x-api-key") == ("x-api-key", "sk-new")


def test_no_key_of_a_file_outlasts_the_configuration_that_it_was_read_for(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-old")
    os.utime(path, ns=(0, 1))
    credentials = Credentials({})
    credentials.confine(named=True)
    assert credentials.secret("up", f"file:{path}") == "sk-old"
    path.write_text("sk-new")
    os.utime(path, ns=(0, 1))  # As nobody could tell from the file.
    credentials.confine(named=True)
    assert credentials.secret("up", f"file:{path}") == "sk-new"


@pytest.mark.parametrize("auth", [None, Bearer(key="file:{}"), Header(name="x-token", key="file:{}")])
def test_what_an_endpoint_shows_follows_a_rotated_key_file(auth: Bearer | Header | None, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-old")
    reference = f"file:{path}"
    shown = presented(auth and replace(auth, key=reference), {}, **({} if auth else {"key": reference}))
    assert "sk-old" in str(shown.header())
    path.write_text("sk-new")
    os.utime(path, ns=(0, 1))
    assert "sk-new" in str(shown.header())


@pytest.mark.parametrize("reference", ["env:ABSENT", "env:EMPTY", "file:/does/not/exist"])
def test_a_missing_key_is_named_by_endpoint_and_reference(reference: str) -> None:
    with pytest.raises(GatewayError) as raised:
        Credentials({"EMPTY": ""}).header("up", reference, "bearer")
    assert raised.value.code == "provider_unauthorized"
    assert "'up'" in raised.value.message
    assert reference in raised.value.message


@pytest.mark.parametrize("key", ["sk-1\r\nx-evil: 1", "sk 1", "sk-\u00e9", "sk-1\n"])
def test_what_would_break_out_of_a_header_is_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(GatewayError) as raised:
        Credentials({"KEY": key}).header("up", "env:KEY", "bearer")
    assert "sk" not in raised.value.message.replace("asked", "")


def presented(auth: Auth | None, environment: dict[str, str], usual: Credential = "bearer", **fields: str) -> Presented:
    endpoint = Endpoint(provider="openai", auth=auth, models=("*",), **fields)  # type: ignore[arg-type]
    return Credentials(environment, now=lambda: 1_440_938_160).of("up", endpoint, usual)


def test_every_static_kind_is_a_header() -> None:
    environment = {"K": "sk-1", "U": "ada"}
    for auth, header in (
        (Bearer(key="env:K"), ("authorization", "Bearer sk-1")),
        (Header(name="X-Token", key="env:K"), ("x-token", "sk-1")),
        (Basic(user="ada", password="env:K"), ("authorization", "Basic YWRhOnNrLTE=")),
        (Basic(user="env:U", password="env:K"), ("authorization", "Basic YWRhOnNrLTE=")),
        (NoAuth(), None),
    ):
        shown = presented(auth, environment)
        assert shown.header() == header
        assert (shown.source, shown.signer) == (None, None)


@pytest.mark.parametrize(
    "auth",
    [
        Bearer(key="env:GONE"),
        Header(name="x", key="env:BAD"),
        Basic(user="u", password="env:GONE"),
        Basic(user="env:GONE", password="env:K"),
    ],
)
def test_every_static_kind_names_what_is_missing(auth: Auth) -> None:
    with pytest.raises(GatewayError) as raised:
        presented(auth, {"K": "k", "BAD": "hid den"}).header()
    assert raised.value.code == "provider_unauthorized"
    assert "'up'" in raised.value.message
    assert "hid" not in raised.value.message


def test_bedrock_takes_its_api_key_before_keys_that_sign() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s"}
    assert presented(None, {**keys, "AWS_BEARER_TOKEN_BEDROCK": "abc"}, "sigv4").header() == (
        "authorization",
        "Bearer abc",
    )
    assert presented(None, {**keys, "K": "named"}, "sigv4", key="env:K").header() == ("authorization", "Bearer named")
    signed = presented(None, keys, "sigv4", region="eu-west-1")
    assert signed.header() is None
    assert signed.signer is not None
    added = dict(signed.signer.sign("POST", "/", "", [("host", "h")], b""))
    assert "Credential=AKID/20150830/eu-west-1/bedrock/aws4_request" in added["authorization"]


def test_a_session_token_is_signed_and_sent_where_there_is_one() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    signer = presented(SigV4(region="eu-west-1"), keys).signer
    assert signer is not None
    added = dict(signer.sign("POST", "/", "", [("host", "h")], b""))
    assert added["x-amz-security-token"] == "t"
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token" in added["authorization"]


def test_without_keys_nothing_is_signed_and_the_variable_is_named() -> None:
    signer = presented(None, {"AWS_ACCESS_KEY_ID": "AKID"}, "sigv4", region="eu-west-1").signer
    assert signer is not None
    with pytest.raises(GatewayError, match="AWS_SECRET_ACCESS_KEY"):
        signer.sign("POST", "/", "", [("host", "h")], b"")


def test_a_token_outlives_a_change_of_the_configuration_that_is_not_its_own() -> None:
    credentials = Credentials({"S": "s"})
    auth = Entra(tenant_id="t", client_id="c", client_secret="env:S")
    one = credentials.of("up", Endpoint(provider="openai", auth=auth, models=("a",)), "bearer")
    two = credentials.of("up", Endpoint(provider="openai", auth=auth, models=("a", "b")), "bearer")
    other = credentials.of("other", Endpoint(provider="openai", auth=auth, models=("a",)), "bearer")
    assert one.source is two.source
    assert one.source is not other.source
