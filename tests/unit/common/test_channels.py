"""Subjects: whatever text goes in, one safe token comes out, and no two texts share one."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import ValidationError, json

from llmproxy.common import channels
from llmproxy.common.channels import AUDIT, CHANNELS, CONTROL, HOLDING, REPLY, REQUEST_CALL, address, token
from llmproxy.common.frames import Cancel, Control

any_text = st.text(st.characters(exclude_categories=()), max_size=300)
SAFE = re.compile(r"[A-Za-z0-9_=-]+", re.ASCII)
CONTROL_LINE_BYTES = 4_096  # nats-server's default; a longer one ends the connection.


@given(any_text)
@example("")
@example(".")
@example("*")
@example("a.>")
@example("llm proxy\r\nPUB x 0\r\n")
@example("\ud800")
@example("é" * 64)
def test_any_text_becomes_exactly_one_safe_token(text: str) -> None:
    assert SAFE.fullmatch(token(text))


@given(any_text, any_text)
@example("", "=")
@example("A", "a")
@example("QQ", "=QQ")
@example("x" * 200, "x" * 201)
def test_distinct_texts_have_distinct_tokens(one: str, other: str) -> None:
    assert (token(one) == token(other)) == (one == other)


@given(any_text)
@example("long " * 60)
def test_encoding_a_token_again_never_gives_another_texts_token(text: str) -> None:
    first = token(text)
    assert token(first) == first if first == text else token(first) != first


def test_a_plain_name_stays_readable() -> None:
    assert token("tenant-1_eu") == "tenant-1_eu"


@pytest.mark.parametrize("text", ["Acme", "a.b", "a b", "-a", "a" * 65, "é", "*", ">"])
def test_what_is_not_plain_is_encoded(text: str) -> None:
    assert token(text).startswith("=")


def test_a_subject_stays_short_however_long_the_name_in_it() -> None:
    assert len(AUDIT.subject(tenant="x" * 1_000_000)) < CONTROL_LINE_BYTES


@given(any_text)
def test_a_tenant_never_adds_a_place_to_a_subject(tenant: str) -> None:
    subject = AUDIT.subject(tenant=tenant)
    assert subject.count(".") == AUDIT.filter().count(".")
    assert not set(subject) & set("*> \t\r\n")


def test_an_address_is_service_and_instance() -> None:
    assert address("provider-workers", "provider-workers-12") == "provider-workers.provider-workers-12"


@pytest.mark.parametrize(
    ("service", "instance"),
    [
        ("edge", ""),
        ("", "edge-1"),
        ("edge", "Edge-1"),
        ("edge", "a.b"),
        ("edge", "*"),
        ("edge", ">"),
        ("edge", "a b"),
        ("edge", "a\n"),
        ("edge.x", "a"),
        ("edge", "a" * 65),
        ("1edge", "a"),
    ],
)
def test_an_address_refuses_what_could_be_structure(service: str, instance: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        address(service, instance)


@pytest.mark.parametrize("text", ["edge", "edge.*", "edge.>", "edge.1.2", "edge.a b", "", "edge.edge-1\n"])
def test_a_reply_goes_to_an_address_only(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        REPLY.subject(address=text)


def test_a_subject_needs_every_place() -> None:
    with pytest.raises(KeyError):
        REPLY.subject()


def test_a_filter_matches_anything_where_no_place_is_given() -> None:
    assert REQUEST_CALL.filter() == "llmproxy.v1.request.call.*"
    assert REPLY.filter() == "llmproxy.v1.reply.*.*"
    assert REPLY.filter(address="edge.edge-1") == "llmproxy.v1.reply.edge.edge-1"
    assert HOLDING.filter() == "llmproxy.v1.holding.*.*"


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.pattern)
def test_every_filter_is_under_the_root_and_well_formed(channel: channels.Channel[object]) -> None:
    tokens = channel.filter().split(".")
    assert tokens[:2] == ["llmproxy", "v1"]
    assert all(one == "*" or channels.PLAIN_TOKEN.fullmatch(one) for one in tokens[2:])


def test_a_channel_decodes_its_own_type_and_nothing_else() -> None:
    sent: Control = Cancel("id", 3)
    assert CONTROL.decode(json.encode(sent)) == sent
    with pytest.raises(ValidationError):
        CONTROL.decode(b'{"type":"reboot"}')


@pytest.mark.parametrize("channel", [REPLY, REQUEST_CALL, HOLDING], ids=lambda channel: channel.pattern)
def test_a_subject_with_one_place_is_the_same_however_it_is_asked_for(channel: channels.Channel[object]) -> None:
    (name,) = channels.PLACEHOLDER.findall(channel.pattern)
    assert channel.at("edge.edge-1") == channel.subject(**{name: "edge.edge-1"})
    if name == "address":
        with pytest.raises(ValueError, match="address"):
            channel.at("edge.*")
    else:
        assert channel.at("edge.*") == channel.subject(**{name: "edge.*"})


def test_a_subject_with_two_places_needs_their_names() -> None:
    with pytest.raises(AssertionError):
        channels.LEDGER_ANSWER.at("edge.edge-1")
