"""What texts of many beginnings of keys cost: no more than their length."""

import re
from collections.abc import Callable

import pytest
from effort import effort
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from llmproxy.shield.guards import secrets
from llmproxy.shield.guards.secrets import INSIDE, TELLING, find
from llmproxy.shield.look import ALL
from llmproxy.shield.passwords import is_password
from llmproxy.shield.vendors import Vendor

SHORT_CHARS = 6  # Of such literals a text may have one in every few characters.


def width(vendor: Vendor) -> int:
    return re._parser.parse(vendor.pattern.pattern).getwidth()[1]  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("vendor", INSIDE, ids=lambda one: f"{one.name} {one.literals[0].decode()}")
def test_a_key_is_looked_for_around_what_it_has_inside_and_no_further(vendor: Vendor) -> None:
    assert vendor.chars_max >= width(vendor)
    if min(map(len, vendor.literals)) <= SHORT_CHARS:
        assert vendor.chars_max <= width(vendor) + 8


def calls(run: Callable[[], object]) -> int:
    """When all expressions are compiled."""
    run()
    return effort(run)


def test_whether_a_value_is_a_password_is_not_asked_of_each_of_its_characters() -> None:
    """8 KB of such names, each of which may be one of the next one's password, took 30 ms."""
    value = "jelszó://" * 14
    assert calls(lambda: is_password(value, is_quoted=False, sign="")) < len(value)


class Searched:
    """An expression that counts the characters in which it searches."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern, self.chars = pattern, 0

    def search(self, text: str, first: int, end: int) -> re.Match[str] | None:
        self.chars += min(end, len(text)) - first
        return self.pattern.search(text, first, end)


def test_a_text_of_the_middles_of_keys_is_not_searched_through_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 KB of `:AA` took 25 ms."""
    telegram = next(vendor for vendor in INSIDE if vendor.name == "telegram")
    searched = Searched(telegram.pattern)
    monkeypatch.setattr(secrets, "INSIDE", (structs.replace(telegram, pattern=searched),))  # type: ignore[arg-type]
    text = ":AA" * 1_000
    assert [*find(text, ALL)] == []
    assert 0 < searched.chars < 25 * len(text)


@given(st.lists(st.sampled_from([*(literal for literal, _ in TELLING), b"x", b"_", b"-", b"ghp", b" "])).map(b"".join))
def test_the_literals_that_tell_are_found_by_the_sign_that_they_end_with(said: bytes) -> None:
    assert [*secrets._told(said)] == [told for told in TELLING if told[0] in said]


def test_of_two_keys_of_one_vendor_in_a_row_each_is_found_whole() -> None:
    key = "123456789:AA" + "hS7fK2mQ9xZ4vB1nC6wE3rT8yU5iO0pLd"
    text = f"{key} {key}x {key}"
    found = [text[one.start : one.end] for one in find(text, ALL) if one.kind == "secret.telegram"]
    assert found == [key, key]
