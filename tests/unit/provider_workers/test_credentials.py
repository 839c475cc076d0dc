"""Keys are read where a reference points, when they are used, and never said."""

import os
from pathlib import Path

import pytest

from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.credentials import Credentials


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
