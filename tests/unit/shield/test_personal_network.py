"""MAC and IP addresses between colons and dots."""

import pytest
from unit.shield.personal_findings import of_kind

from llmproxy.shield import glance


@pytest.mark.parametrize("signs", [":", "::", "a::", "f:::"])
def test_a_run_of_colons_is_gone_through_once(signs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address may begin 45 signs before its gap, and this has a gap at every sign."""
    walked = 0
    begin_of = glance.begin_of

    def counted(data: bytes, at: int, least: int) -> int:
        nonlocal walked
        begin = begin_of(data, at, least)
        walked += at - begin
        return begin

    monkeypatch.setattr(glance, "begin_of", counted)
    text = f"from 2001:db8::1 {signs * 2_000} to 2001:db8::2 now"
    assert of_kind(text, "ip_address") == ["2001:db8::1", "2001:db8::2"]
    assert walked < 3 * len(text)


@pytest.mark.parametrize("address", ["001b.4411.3ab7", "00A1.B2C3.D4E5", "f0de.f1a2.0c3d"])
def test_a_mac_address_in_groups_of_four_is_found_without_a_word(address: str) -> None:
    for text in (address, f"10.1.2.3 0 {address} ARPA Vlan1", f'{{"to":"{address}"}}', f"it is {address}."):
        assert of_kind(text, "mac_address") == [address]


@pytest.mark.parametrize(
    "text", ["MAC 0011.2233.4455", "Internet hardware: dead.beef.cafe", "vlan 10, mac is 0050.5678.9012,"]
)
def test_one_of_digits_or_letters_alone_needs_its_word(text: str) -> None:
    assert len(of_kind(text, "mac_address")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "version 2024.1234.5678", "0011.2233.4455", "dead.beef.cafe", "1234.5678.9012.3456", "a1b2.c3d4.e5f6.a7b8", "mac 0000.0000.0000", "mac ffff.ffff.ffff", "mac 0100.5e00.00fb",
        "3333.0000.00fb", "module.a1b2.c3d4.e5f6", "x001b.4411.3ab7", "001b.4411.3ab7e", "001b.4411.3ab7.png", "the machine 0011.2233.4455",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_mac_address_is_none(text: str) -> None:
    assert of_kind(text, "mac_address") == []
