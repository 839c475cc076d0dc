"""Placeholders: stable for a tenant, meaningless to others, and undone over any split of the text."""

import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.common.errors import GatewayError
from llmproxy.shield import vault as vaults
from llmproxy.shield.vault import PLACEHOLDER, Vault, tenant_key, unmask
from llmproxy.shield.window import Originals, Window

KEY = tenant_key(b"secret", "acme")


def vault(quoted: str = "", key: bytes = KEY) -> Vault:
    return Vault(key, lambda: frozenset(PLACEHOLDER.findall(quoted)))


def test_the_same_value_has_the_same_placeholder_in_every_request_of_a_tenant() -> None:
    assert vault().mask("email", "a@b.co") == vault().mask("email", "a@b.co")


def test_another_tenant_another_deployment_another_kind_and_another_value_have_another_placeholder() -> None:
    placeholders = {
        vault().mask("email", "a@b.co"),
        vault().mask("email", "a@b.com"),
        vault().mask("phone", "a@b.co"),
        vault(key=tenant_key(b"secret", "other")).mask("email", "a@b.co"),
        vault(key=tenant_key(b"another", "acme")).mask("email", "a@b.co"),
    }
    assert len(placeholders) == 5


def test_a_placeholder_is_short_plain_and_holds_64_bits() -> None:
    for kind in ("email", "us_ssn", "secret.github"):
        placeholder = vault().mask(kind, "x")
        assert re.fullmatch(r"\[[A-Z_]+_[0-9a-f]{16}\]", placeholder)
        assert PLACEHOLDER.fullmatch(placeholder)


def test_a_placeholder_that_the_caller_wrote_himself_stays_his_and_ours_is_another() -> None:
    usual = vault().mask("email", "a@b.co")
    careful = vault(f"what is {usual}?")
    ours = careful.mask("email", "a@b.co")
    assert ours != usual
    assert unmask(f"{usual} {ours}", careful.originals) == f"{usual} a@b.co"


def test_nothing_that_this_request_did_not_mask_is_resolved() -> None:
    other = vault(key=tenant_key(b"secret", "other")).mask("email", "a@b.co")
    mine = vault()
    placeholder = mine.mask("email", "a@b.co")
    text = f"{other} {placeholder.lower()} {placeholder[:-1]} {placeholder}"
    assert unmask(text, mine.originals) == f"{other} {placeholder.lower()} {placeholder[:-1]} a@b.co"


def test_an_original_that_looks_like_a_placeholder_is_not_resolved_a_second_time() -> None:
    mine = vault()
    first = mine.mask("email", "a@b.co")
    second = mine.mask("secret.assigned", first)
    assert unmask(second, mine.originals) == first


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaults, "VALUES_MAX", 2)
    mine = vault()
    for number in range(2):
        mine.mask("email", f"a{number}@b.co")
    mine.mask("email", "a0@b.co")
    with pytest.raises(GatewayError) as caught:
        mine.mask("email", "a2@b.co")
    assert caught.value.code == "content_blocked"


VALUES = st.text(min_size=1, max_size=12)
PIECES = st.sampled_from(["[", "]", "[E", "[EMAIL_", "_", "EMAIL", "0", "[[", "text ", "\n", "ä"])


@st.composite
def masked_texts(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """A text with whole, broken and foreign placeholders between words and brackets, and the map of a request."""
    mine = vault()
    known = [
        mine.mask(draw(st.sampled_from(["email", "us_ssn", "secret.x"])), value)
        for value in draw(st.lists(VALUES, max_size=3))
    ]
    foreign = vault(key=tenant_key(b"secret", "other")).mask("email", "x")
    whole = st.sampled_from([*known, foreign])
    broken = whole.flatmap(lambda placeholder: st.integers(1, len(placeholder)).map(lambda end: placeholder[:end]))
    return "".join(draw(st.lists(whole | broken | PIECES, max_size=12))), dict(mine.originals)


def split(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in itertools.pairwise(places)]


@given(masked_texts(), st.lists(st.integers(0, 1_000), max_size=30))
def test_for_every_split_the_windows_output_is_the_unmasked_whole(
    masked: tuple[str, dict[str, str]], cuts: list[int]
) -> None:
    text, originals = masked
    window = Window(Originals(originals))
    assert "".join([window.push(piece) for piece in split(text, cuts)] + [window.flush()]) == unmask(text, originals)


@given(masked_texts())
def test_a_window_holds_back_nothing_that_cannot_become_a_placeholder(masked: tuple[str, dict[str, str]]) -> None:
    text, originals = masked
    window = Window(Originals(originals))
    said = "".join(window.push(character) for character in text)
    held = unmask(text, originals)[len(said) :]
    assert held == "" or any(placeholder.startswith(held) and held != placeholder for placeholder in originals)


@given(VALUES)
def test_inside_a_json_string_the_original_is_written_as_json(value: str) -> None:
    mine = vault()
    placeholder = mine.mask("email", value)
    window = Window(Originals(mine.originals), in_json=True)
    arguments = json.dumps({"to": f"x{placeholder}y"})
    restored = "".join(window.push(character) for character in arguments) + window.flush()
    assert json.loads(restored) == {"to": f"x{value}y"}
