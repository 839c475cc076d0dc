"""Signed heads: made and read as signed notes, and nothing that was changed is accepted."""

import base64
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.audit import checkpoint
from llmproxy.audit.checkpoint import CheckpointError, Signer
from llmproxy.audit.ledger import GENESIS, Head

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = Signer(KEY)
HEAD = Head(7, bytes(32))
NOTE, SIGNATURE = SIGNER.sign(HEAD)


def test_a_checkpoint_has_the_form_of_a_signed_note() -> None:
    text, _, signature = NOTE.partition("\n\n")
    assert text.split("\n") == ["llmproxy-ledger/v1", "7", base64.b64encode(bytes(32)).decode()]
    assert signature == f"— llmproxy-ledger {SIGNATURE}\n"
    raw = base64.b64decode(SIGNATURE)
    assert len(raw) == 4 + 64
    KEY.public_key().verify(raw[4:], f"{text}\n".encode())


def test_what_was_signed_is_read_back() -> None:
    assert checkpoint.read_note(NOTE, SIGNER.public) == HEAD


def test_the_public_key_is_read_back() -> None:
    assert checkpoint.read_vkey(checkpoint.vkey(SIGNER.public)).public_bytes_raw() == SIGNER.public.public_bytes_raw()


@given(st.integers(0, len(NOTE.encode()) - 1), st.integers(1, 255))
def test_a_changed_checkpoint_is_refused(position: int, difference: int) -> None:
    changed = bytearray(NOTE.encode())
    changed[position] ^= difference
    with pytest.raises(ValueError):  # noqa: PT011 - bytes that are not UTF-8 are refused by decode, with its own words
        assert checkpoint.read_note(changed.decode(), SIGNER.public) != HEAD


def test_another_key_is_not_this_ledgers() -> None:
    with pytest.raises(ValueError, match="another key"):
        checkpoint.read_note(NOTE, Ed25519PrivateKey.generate().public_key())


def test_the_key_is_made_once_private_and_found_again(tmp_path: Path) -> None:
    first = checkpoint.open_signer(tmp_path / "audit")
    second = checkpoint.open_signer(tmp_path / "audit")
    assert first.public.public_bytes_raw() == second.public.public_bytes_raw()
    assert stat.S_IMODE((tmp_path / "audit" / "signing.key").stat().st_mode) == 0o600
    assert checkpoint.read_public(tmp_path / "audit" / "signing.pub") == first.public


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "signing.key").write_bytes(b"short")
    with pytest.raises(CheckpointError, match=r"signing\.key is not an Ed25519 key"):
        checkpoint.open_signer(tmp_path)


def test_a_checkpoint_is_written_whole_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    assert checkpoint.read(path, SIGNER.public) is None
    checkpoint.write(path, SIGNER.sign(GENESIS)[0])
    checkpoint.write(path, NOTE)
    assert checkpoint.read(path, SIGNER.public) == HEAD
    assert [one.name for one in tmp_path.iterdir()] == ["checkpoint"]


def test_a_damaged_checkpoint_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(NOTE.encode()[:-20])
    with pytest.raises(CheckpointError, match="checkpoint"):
        checkpoint.read(path, SIGNER.public)


def test_a_key_is_looked_for_without_making_one(tmp_path: Path) -> None:
    assert checkpoint.find_signer(tmp_path / "audit") is None
    assert not (tmp_path / "audit").exists()
    made = checkpoint.open_signer(tmp_path / "audit")
    found = checkpoint.find_signer(tmp_path / "audit")
    assert found is not None
    assert found.public == made.public


def test_what_is_set_aside_is_kept_whole(tmp_path: Path) -> None:
    assert checkpoint.set_aside(tmp_path / "nothing", "aside") is None
    first = checkpoint.open_signer(tmp_path)
    checkpoint.write(tmp_path / checkpoint.FILE, NOTE)
    aside = checkpoint.set_aside(tmp_path, "aside")
    assert aside == tmp_path / "aside"
    assert aside.stat().st_mode & 0o077 == 0
    kept = checkpoint.find_signer(aside)
    assert kept is not None
    assert kept.public == first.public
    assert (aside / checkpoint.FILE).read_text() == NOTE
    assert checkpoint.find_signer(tmp_path) is None
    assert checkpoint.open_signer(tmp_path).public != first.public


def test_leave_to_delete_is_signed_by_itself_and_no_signed_head_is_one() -> None:
    allowed = SIGNER.allow(HEAD)
    assert checkpoint.is_allowed(HEAD, allowed, SIGNER.public)
    assert not checkpoint.is_allowed(GENESIS, allowed, SIGNER.public)
    assert not checkpoint.is_allowed(HEAD, allowed, Ed25519PrivateKey.generate().public_key())
    _, published = SIGNER.sign(HEAD)
    for other in (published, published[8:], "", "x", allowed[:-1]):
        assert not checkpoint.is_allowed(HEAD, other, SIGNER.public)
