"""Whatever an entry is made to say, with a chain that is made to fit, verification ends with a verdict in one line of text."""

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from llmproxy.audit import checkpoint, pruning
from llmproxy.audit.checkpoint import Signer
from llmproxy.audit.ledger import GENESIS, REKEYED, Entry, Head, Verification, Walk, change, entry_hash, extend, head_of
from llmproxy.audit.record import canonical, columns, parse
from llmproxy.common.ledger_questions import LedgerVerified
from llmproxy.common.records import AuditRecord
from llmproxy.launcher.commands import audit

SIGNER = Signer(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
KEY = checkpoint.vkey(SIGNER.public)


def ledger() -> list[Entry]:
    """Every kind of entry, behind two that were pruned."""
    requests = [
        AuditRecord(
            id=f"r{n}", at_ms=1_732_000_000_000 + n, verdict="answered", tenant="acme", model="m", input_tokens=n
        )
        for n in range(4)
    ]
    whole = extend(GENESIS, [(columns(one), canonical(one)) for one in requests])
    last = Head(2, whole[1].entry_hash)
    behind = [
        change("key.created", "key_1", now_ms=1_732_000_000_010, id="c"),
        change(REKEYED, KEY, now_ms=1_732_000_000_011, id="k"),
        pruning.said(last, SIGNER, now_ms=1_732_000_000_012, id="p"),
        (columns(requests[0]), canonical(requests[0])),
    ]
    return [*whole, *extend(head_of(whole, GENESIS), behind)][2:]


ENTRIES = ledger()
BEFORE = Head(ENTRIES[0].seq - 1, ENTRIES[0].prev_hash)
NAMES = [name for name in AuditRecord.__struct_fields__ if name != "explained"]


def verdict(found: Verification) -> str:
    return audit.verdict(LedgerVerified(**msgspec.structs.asdict(found)))


def walked(entries: list[Entry], signed: Head) -> Verification:
    walk = Walk(signed, KEY, lambda last, signature: checkpoint.is_allowed(last, signature, SIGNER.public))
    for entry in entries:
        if (broken := walk.step(entry)) is not None:
            return broken
    return walk.finish()


def forged(at: int, record: bytes) -> list[Entry]:
    """The ledger with another record there, and columns and hashes that fit it, as whoever owns the database can write them."""
    try:
        said = columns(parse(record))
    except msgspec.DecodeError:
        said = columns(parse(ENTRIES[at].record))
    entries, previous = ENTRIES[:at], ENTRIES[at].prev_hash
    for entry in [Entry(ENTRIES[at].seq, *said, record, b"", b""), *ENTRIES[at + 1 :]]:
        digest = entry_hash(previous, entry.seq, entry.record)
        entries.append(entry._replace(prev_hash=previous, entry_hash=digest))
        previous = digest
    return entries


def judged(entries: list[Entry], at: int) -> None:
    """With a head that was signed before all of them, only their chain speaks for them; with the newest, it is not valid."""
    assert verdict(walked(entries, BEFORE)).replace("\n", "").isprintable()
    found = walked(entries, head_of(ENTRIES, GENESIS))
    assert verdict(found).isprintable()
    assert not found.ok
    assert found.at_seq >= ENTRIES[at].seq or found.at_seq == 1  # There, or where it would have to begin.


PLACES = st.integers(0, len(ENTRIES) - 1)
VALUES = st.one_of(
    st.integers(-(2**70), 2**70), st.text(max_size=20), st.none(), st.booleans(), st.floats(allow_nan=False)
)


def test_untouched_it_is_valid() -> None:
    found = walked(ENTRIES, head_of(ENTRIES, GENESIS))
    assert (found.ok, found.pruned, len(found.rekeyed)) == (True, 2, 1)
    assert verdict(found).startswith("valid: 6 records after 2 that were pruned")


@given(PLACES, st.sampled_from(NAMES), VALUES)
@example(3, "at_ms", 2**60)
@example(3, "at_ms", -(2**60))
@example(3, "subject", "key \x1b[2J")
@example(4, "subject", "2 \ud7ff")
def test_a_field_that_says_something_else_never_ends_in_an_error(at: int, name: str, value: Any) -> None:
    said = {**msgspec.json.decode(ENTRIES[at].record), name: value}
    record = msgspec.json.encode(said) if not isinstance(value, int) or abs(value) < 2**63 else _with_number(said, name)
    if record != ENTRIES[at].record:
        judged(forged(at, record), at)


def _with_number(said: dict[str, Any], name: str) -> bytes:
    """Larger than the encoder writes."""
    number = said[name]
    return msgspec.json.encode({**said, name: "NUMBER"}).replace(b'"NUMBER"', b"%d" % number)


@given(PLACES, st.integers(0, 1_000), st.binary(min_size=1, max_size=3))
@example(0, 0, b"\xff")
def test_bytes_that_are_others_never_end_in_an_error(at: int, position: int, others: bytes) -> None:
    record = bytearray(ENTRIES[at].record)
    position %= len(record)
    record[position : position + len(others)] = others
    if bytes(record) != ENTRIES[at].record:
        judged(forged(at, bytes(record)), at)


@pytest.mark.parametrize("at", range(len(ENTRIES)))
@given(st.sampled_from(("seq", "at_ms", "id", "prev_hash", "entry_hash", "verdict")), VALUES)
def test_a_column_that_says_something_else_never_ends_in_an_error(at: int, name: str, value: Any) -> None:
    """Of the types that the table has."""
    kind = type(getattr(ENTRIES[at], name))
    if kind is int and not (isinstance(value, int) and -(2**63) <= value < 2**63):
        return
    other = value if kind is int else str(value) if kind is str else str(value).encode("utf-8", "replace")
    if other == getattr(ENTRIES[at], name):
        return
    judged([*ENTRIES[:at], ENTRIES[at]._replace(**{name: other}), *ENTRIES[at + 1 :]], at)
