"""Keys stay at their origin, and the head of a request says what it must."""

import os
from pathlib import Path

import pytest

from llmproxy.common.config import Endpoint
from llmproxy.common.errors import GatewayError
from llmproxy.provider_workers.adapters import ADAPTERS
from llmproxy.provider_workers.adapters.base import HttpRequest
from llmproxy.provider_workers.credentials import Credentials
from llmproxy.provider_workers.destinations import HEADS_KEPT_MAX, Destination

HEADERS = (("content-type", "application/json"),)


def destination(url: str = "https://api.example.com/v1", key: str = "env:KEY") -> Destination:
    endpoint = Endpoint(provider="openai", url=url, key=key, models=("*",))
    return Destination("up", endpoint, ADAPTERS["openai"], Credentials({"KEY": "sk-1"}))


def head(kept: Destination, url: str = "https://api.example.com/v1/chat/completions", traceparent: str = "") -> bytes:
    return kept.head(HttpRequest(method="POST", url=url, headers=HEADERS, body=b"{}"), traceparent)


def test_the_vendors_own_origin_is_used_when_none_is_configured() -> None:
    assert b"host: api.openai.com\r\n" in head(destination(url=""), "https://api.openai.com/v1/chat/completions")
    with pytest.raises(GatewayError):
        head(destination(url=""))


@pytest.mark.parametrize("url", ["http://", "https:///v1", "http://[::1", "http://host:99999/v1"])
def test_an_address_that_is_none_is_said_when_it_is_used_and_not_before(url: str) -> None:
    kept = destination(url)
    with pytest.raises(GatewayError, match=r"endpoints\.up\.url"):
        head(kept, url)


def test_the_head_says_what_it_must_and_nothing_else() -> None:
    assert head(destination(), traceparent="00-aa-bb-01").decode().split("\r\n") == [
        "POST /v1/chat/completions HTTP/1.1",
        "host: api.example.com",
        "accept: */*",
        "accept-encoding: identity",
        "user-agent: llmproxy",
        "content-type: application/json",
        "authorization: Bearer sk-1",
        "traceparent: 00-aa-bb-01",
        "content-length: 2",
        "",
        "",
    ]


def test_a_port_that_is_not_the_schemes_own_is_named() -> None:
    url = "http://[::1]:8080/v1"
    assert b"host: [::1]:8080\r\n" in head(destination(url=url), f"{url}/chat/completions")


@pytest.mark.parametrize("bad", ["a\r\nx-evil: 1", "a b", "a\x00b", "\u00e9"])
def test_what_comes_from_a_model_name_cannot_start_another_line(bad: str) -> None:
    lines = head(destination(), f"https://api.example.com/v1/models/{bad}").split(b"\r\n")
    assert lines[0].startswith(b"POST /v1/models/")
    assert len(lines[0].split(b" ")) == 3
    assert not [line for line in lines if line.startswith(b"x-evil")]


@pytest.mark.parametrize("bad", ["00-aa\r\nx-evil: 1", "x" * 100, "00 aa"])
def test_a_trace_context_that_is_none_is_left_out(bad: str) -> None:
    assert b"traceparent" not in head(destination(), traceparent=bad)


def test_what_is_kept_of_heads_is_bounded() -> None:
    kept = destination()
    for number in range(HEADS_KEPT_MAX * 2 + 3):
        head(kept, f"https://api.example.com/v1/models/{number}")
    assert len(kept._heads) <= HEADS_KEPT_MAX


def test_a_rotated_key_is_in_the_next_head(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-1")
    os.utime(key, ns=(1, 1))
    endpoint = Endpoint(provider="openai", url="https://api.example.com", key=f"file:{key}", models=("*",))
    kept = Destination("up", endpoint, ADAPTERS["openai"], Credentials({}))
    assert b"Bearer sk-1" in head(kept)
    key.write_text("sk-2")
    os.utime(key, ns=(2, 2))
    assert b"Bearer sk-2" in head(kept)
    assert b"sk-1" not in head(kept)


def test_a_key_that_is_written_within_the_tick_in_which_its_file_was_emptied_is_read(tmp_path: Path) -> None:
    key = tmp_path / "key"
    endpoint = Endpoint(provider="openai", url="https://api.example.com", key=f"file:{key}", models=("*",))
    kept = Destination("up", endpoint, ADAPTERS["openai"], Credentials({}))
    key.write_text("")
    os.utime(key, ns=(1, 1))
    with pytest.raises(GatewayError, match="is not there"):
        head(kept)
    key.write_text("sk-1")
    os.utime(key, ns=(1, 1))
    assert b"Bearer sk-1" in head(kept)
