"""The quick look promises: what it does not name, no guard finds. Held against every form there is and against noise."""

import random
import re

import forms
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmproxy.shield import encoded, look, passwords, words
from llmproxy.shield.guards import pii, secrets
from llmproxy.shield.ids import NUMBERS
from llmproxy.shield.look import Look
from llmproxy.shield.vendors import VENDORS

EVERYTHING = look.NAME - 1  # All bits of `Look`.

PIECES = (
    "my password is Winter2024", "пароль: Qwerty!23", "密码是Zhang1988!", "seed phrase: " + "river stone " * 6, "sshpass -p Hk39!kd", "token = ",
    "postgres://a:s3cr3tPw@db/x", "Basic dXNlcjpwYXNzd29yZA==", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n", "cloudflare ", "api key: ",
    "ada@example.org", "+1 415 555 2671", "(351) 935 736 819", "4111 1111 1111 1111", "4111111111111111", "219-09-9998", "ssn 219099998", "10.1.2.3",
    "fe80::1", "2001:db8:0:0:0:0:0:1", "00:1b:44:11:3a:b7", "00-1B-44-11-3A-B7", "001b.4411.3ab7", "mac 0011.2233.4455", "born on 12 May 1985", "né le 12/05/1985", "DOB 1985-05-12", "IBAN GB82 WEST 1234 5698 7654 32",
    "DE89370400440532013000", "ABCDE1234F", "RSSMRA85T10A562S", "passport C01X00T47", "BIC DEUTDEFF", "plate B-AB 1234", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
    "0x52908400098527886E0F7030069857D2E4169EE7", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "AB 12 34 56 C", "2024-05-01", "12.345678", "1.2.3.4", "é", "名", "\u200b", "\ud800",
)  # fmt: skip


def drawn_values() -> list[str]:
    chance = random.Random(1)
    patterns = [vendor.pattern for vendor in VENDORS] + [number.pattern for number in NUMBERS]
    return [forms.drawn(pattern, chance) for pattern in patterns for _ in range(2)]


VALUES = drawn_values()
NOISE = st.one_of(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), max_size=12),
    st.text("0123456789 ()./_-", max_size=30),
    st.text("abcdefABCDEF0123456789:.-", max_size=50),
    st.text("aA1_", min_size=12, max_size=30),
    st.text(max_size=6),
)
NAMES = st.sampled_from(
    [name.decode() for name in (*words.NAMES, *sorted(words.VENDOR_NAMES), *words.STATED, *passwords.LITERALS)]
)
TEXTS = st.lists(
    st.one_of(st.sampled_from(PIECES), st.sampled_from(VALUES), NOISE, NAMES), min_size=1, max_size=6
).flatmap(
    lambda parts: st.sampled_from(["", " ", "\n", ": ", "=", '"', "名", "-", "."]).map(
        lambda between: between.join(parts)
    )
)


@settings(max_examples=150)
@given(TEXTS)
def test_what_the_quick_look_does_not_name_no_guard_finds(text: str) -> None:
    bits = look.at(text)
    assert list(pii.find(text, bits)) == list(pii.find(text, EVERYTHING))
    assert list(secrets.find(text, bits)) == list(secrets.find(text, EVERYTHING))


@settings(max_examples=300)
@given(
    TEXTS | st.lists(st.sampled_from(["aGVs", "bG8gdGhlcmUg", "68656c6c6f20", "%", "%4", "61", "Zz", "+", "/", "-", "_", "=", " ", "\n", "é", "word"]), max_size=14).map("".join)
)  # fmt: skip
def test_what_the_quick_look_does_not_name_says_nothing_in_code(text: str) -> None:
    if not look.at(text) & Look.ENCODED:
        assert list(encoded._runs(text)) == []


@pytest.mark.parametrize("value", VALUES + list(PIECES))
def test_every_documented_form_is_named_in_a_sentence(value: str) -> None:
    for text in (value, f"here: {value}.", f'{{"x": "{value}"}}', f"名{value}名"):
        bits = look.at(text)
        assert list(secrets.find(text, bits)) == list(secrets.find(text, EVERYTHING))
        assert list(pii.find(text, bits)) == list(pii.find(text, EVERYTHING))


@pytest.mark.parametrize(
    "text",
    ["", "a", "Please summarise the minutes of Tuesday's meeting in 3 points.", "def f(x):\n    return x[0] + 42\n"],
)
def test_ordinary_text_is_named_nothing(text: str) -> None:
    assert look.at(text) & ~Look.MARKUP == 0


def test_a_date_is_no_number_and_a_number_beside_it_is() -> None:
    assert not look.at("on 2024-01-15 at 12.123456 and 2024-01-15 12") & Look.NUMBER
    assert look.at("2024-01-15 12:00 and 4155552671") & Look.NUMBER
    assert look.at("2024-01-15-33") & Look.NUMBER


def test_the_last_text_is_remembered_by_itself_not_by_what_it_says() -> None:
    first, second = "x" * 9 + "@", "y" * 9
    assert look.at(first) == look.at(first) != look.at(second) == look.at("".join(["y"] * 9))


def test_every_name_that_is_not_ascii_has_a_stem() -> None:
    chance = random.Random(2)
    for name in passwords.NAMES_BEYOND:
        for spelled in {forms.drawn(re.compile(name), chance) for _ in range(9)}:
            assert any(stem in spelled for stem in passwords.STEMS), spelled
