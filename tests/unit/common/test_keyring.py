"""API keys: a typing error is known without a look-up, and what is public tells nothing."""

import hashlib

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec import json

from llmproxy.common import keyring
from llmproxy.common.keyring import (
    ALPHABET,
    KEY_LENGTH,
    PREFIX,
    KeyRecord,
    checksum,
    generate,
    hash_key,
    is_well_formed,
    key_id,
)

bodies = st.text(ALPHABET, min_size=keyring.RANDOM_DIGITS, max_size=keyring.RANDOM_DIGITS)
keys = bodies.map(lambda digits: PREFIX + digits + checksum(PREFIX + digits))
ANY_CHARACTER = st.characters(exclude_categories=())


def test_a_generated_key_is_well_formed_and_new() -> None:
    made = {generate() for _ in range(50)}
    assert len(made) == 50
    assert all(is_well_formed(key) and len(key) == KEY_LENGTH for key in made)


@given(keys, st.integers(len(PREFIX), KEY_LENGTH - 1), st.sampled_from(ALPHABET))
def test_any_single_changed_character_is_detected(key: str, place: int, other: str) -> None:
    assume(key[place] != other)
    assert is_well_formed(key)
    assert not is_well_formed(key[:place] + other + key[place + 1 :])


@given(keys, st.integers(len(PREFIX), KEY_LENGTH - 2))
def test_two_neighbours_exchanged_are_detected(key: str, place: int) -> None:
    assume(key[place] != key[place + 1])
    assert not is_well_formed(key[:place] + key[place + 1] + key[place] + key[place + 2 :])


@given(keys, st.integers(len(PREFIX), KEY_LENGTH - 1))
def test_a_cut_key_is_detected(key: str, length: int) -> None:
    assert not is_well_formed(key[:length])


@given(keys, ANY_CHARACTER)
def test_an_appended_character_is_detected(key: str, more: str) -> None:
    assert not is_well_formed(key + more)


@given(st.text(ANY_CHARACTER, max_size=80))
@example("\ud800")
@example(PREFIX + "\udcff" * 49)
def test_no_text_a_client_may_present_raises(text: str) -> None:
    is_well_formed(text)
    assert len(hash_key(text)) == 64


@given(st.text(max_size=40).filter(lambda text: not text.startswith(PREFIX)))
def test_a_key_in_another_format_is_left_to_the_look_up(text: str) -> None:
    assert is_well_formed(text)


@given(st.text(ANY_CHARACTER, max_size=80), st.text(ANY_CHARACTER, max_size=80))
def test_two_keys_never_share_a_hash(one: str, other: str) -> None:
    assert (hash_key(one) == hash_key(other)) == (one == other)


def test_the_hash_is_the_whole_sha_256() -> None:
    assert hash_key("sk-1") == hashlib.sha256(b"sk-1").hexdigest()


@given(keys)
def test_an_id_reveals_neither_key_nor_hash(key: str) -> None:
    digest = hash_key(key)
    shown = key_id(digest).removeprefix("key_")
    assert shown not in key
    assert shown not in digest
    assert len(shown) == 12


def test_a_record_holds_no_key() -> None:
    key = generate()
    record = KeyRecord(id=key_id(hash_key(key)), hash=hash_key(key), name="ci")
    assert key.removeprefix(PREFIX).encode() not in json.encode(record)
    assert key not in repr(record)


def test_every_checksum_has_six_digits() -> None:
    assert {len(checksum(body)) for body in ("", "a", "llmp-", "x" * 100)} == {6}
    assert len(ALPHABET) ** keyring.CHECK_DIGITS >= 1 << 32


@pytest.mark.parametrize("place", range(len(PREFIX)))
def test_a_key_with_a_broken_prefix_has_another_hash(place: int) -> None:
    key = generate()
    assert hash_key(key[:place] + "X" + key[place + 1 :]) != hash_key(key)
