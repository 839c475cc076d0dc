"""The chain: any change of any stored byte of any entry is seen, and so is every entry that is missing, moved or added."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.audit.ledger import (
    GENESIS,
    PRUNED,
    REKEYED,
    REKEYED_MAX,
    Entry,
    Head,
    Verification,
    Walk,
    check,
    entry_hash,
    extend,
    head_of,
    is_pruning,
    said_of,
)
from llmproxy.audit.record import canonical, columns
from llmproxy.common.ledger_questions import Rekeyed
from llmproxy.common.records import AuditRecord


def records(count: int, model: str = "gpt-4o") -> list[AuditRecord]:
    return [
        AuditRecord(id=f"id-{n}", at_ms=1_732_000_000_000 + n, verdict="answered", tenant="acme", key="k", model=model)
        for n in range(1, count + 1)
    ]


def chain(count: int, model: str = "gpt-4o") -> list[Entry]:
    return extend(GENESIS, [(columns(record), canonical(record)) for record in records(count, model)])


ENTRIES = chain(8)
HEAD = head_of(ENTRIES, GENESIS)


def test_a_good_ledger_is_good() -> None:
    found = check(ENTRIES, HEAD)
    assert (found.ok, found.records, found.head) == (True, 8, HEAD.hash.hex())


def test_an_empty_ledger_is_good() -> None:
    assert check([]).ok


def test_the_hash_of_an_entry_is_the_published_one() -> None:
    assert GENESIS.hash.hex() == "55ab9e278556476246eea3a436511b3b02baf7374111ec03299fd5be51e4cd71"
    assert (
        entry_hash(GENESIS.hash, 1, b"{}").hex() == "701a9f3f084eaba47ca27784d58b24a3ffce5ba762726ceb0a141ca81c0067d5"
    )


def test_extending_in_parts_gives_the_same_chain() -> None:
    pairs = [(columns(record), canonical(record)) for record in records(8)]
    first = extend(GENESIS, pairs[:3])
    assert first + extend(head_of(first, GENESIS), pairs[3:]) == ENTRIES


def changed(entry: Entry, field: str, position: int, bit: int) -> Entry:
    """One bit of one byte of one field is another."""
    value: Any = getattr(entry, field)
    if isinstance(value, int):
        return entry._replace(**{field: value ^ (1 << (position % 62))})
    if isinstance(value, bytes):
        flipped = bytearray(value)
        flipped[position % len(value)] ^= 1 << bit
        return entry._replace(**{field: bytes(flipped)})
    flipped = bytearray(value.encode())
    flipped[position % len(flipped)] ^= 1 << (bit % 7)
    return entry._replace(**{field: flipped.decode("utf-8", "replace")})


@given(
    index=st.integers(0, len(ENTRIES) - 1),
    field=st.sampled_from(Entry._fields),
    position=st.integers(0, 1000),
    bit=st.integers(0, 7),
)
def test_any_change_of_any_byte_of_any_field_is_seen(index: int, field: str, position: int, bit: int) -> None:
    entries = list(ENTRIES)
    entries[index] = changed(entries[index], field, position, bit)
    found = check(sorted(entries, key=lambda entry: entry.seq), HEAD)
    assert not found.ok
    assert found.problem
    assert found.at_seq in (index + 1, index + 2) or field == "seq"


@given(st.integers(0, len(ENTRIES) - 1), st.integers(1, len(ENTRIES)))
def test_missing_entries_are_named(start: int, count: int) -> None:
    entries = ENTRIES[:start] + ENTRIES[start + count :]
    found = check(entries, HEAD)
    assert not found.ok
    assert found.at_seq == start + 1
    assert found.records == start


@given(st.permutations(ENTRIES))
def test_any_other_order_is_seen(entries: list[Entry]) -> None:
    assert check(entries, HEAD).ok is (entries == ENTRIES)


@given(st.permutations(range(len(ENTRIES))))
def test_contents_that_changed_places_are_seen(order: list[int]) -> None:
    """The sequence numbers stay; what stands under them is another entry's."""
    entries = [ENTRIES[source]._replace(seq=n + 1) for n, source in enumerate(order)]
    assert check(entries, HEAD).ok is (entries == ENTRIES)


def test_an_inserted_entry_is_seen() -> None:
    forged = extend(Head(3, ENTRIES[2].entry_hash), [(ENTRIES[0][1:7], b"{}")])  # type: ignore[list-item]
    assert not check([*ENTRIES[:3], *forged, *ENTRIES[3:]], HEAD).ok


def test_a_truncated_ledger_is_seen_by_what_was_signed() -> None:
    assert check(ENTRIES[:5]).ok
    found = check(ENTRIES[:5], HEAD)
    assert (found.ok, found.at_seq) == (False, 6)
    assert "8 were signed: it was truncated" in found.problem


def test_a_ledger_rewritten_from_the_start_with_a_good_chain_is_seen_by_what_was_signed() -> None:
    forged = chain(8, model="another")
    assert check(forged).ok
    found = check(forged, HEAD)
    assert (found.ok, found.at_seq) == (False, 8)
    assert "rewritten" in found.problem


def test_entries_after_the_checkpoint_are_fine_and_counted() -> None:
    found = check(ENTRIES, Head(5, ENTRIES[4].entry_hash))
    assert (found.ok, found.unsigned) == (True, 3)
    assert check(ENTRIES, HEAD).unsigned == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("tenant", "other"), ("key", "other"), ("model", "other"), ("verdict", "blocked"), ("at_ms", 7), ("id", "other")],
)
def test_a_column_that_says_something_else_than_the_record_is_named(field: str, value: object) -> None:
    entries = list(ENTRIES)
    entries[3] = entries[3]._replace(**{field: value})
    found = check(entries, HEAD)
    assert found.problem == f"entry 4 was changed: {field} differs from its record"


@pytest.mark.parametrize("record", [b"not json", b'{"id":"\xff"}', b'{"x":' + b"[" * 100_000])
def test_a_record_that_cannot_be_read_is_named(record: bytes) -> None:
    entries = extend(GENESIS, [(columns(records(1)[0]), record)])
    assert check(entries).problem == "entry 1: its record cannot be read"


def rekeyed(*keys: str) -> list[Entry]:
    """A ledger whose third entry and those after it name new keys, one each, and one more entry."""
    changes = [
        AuditRecord(id=f"r{n}", at_ms=n, verdict="changed", action=REKEYED, subject=key) for n, key in enumerate(keys)
    ]
    all_records = [*records(2), *changes, AuditRecord(id="last", at_ms=9, verdict="changed", action="key.created")]
    return extend(GENESIS, [(columns(record), canonical(record)) for record in all_records])


def walked(entries: list[Entry], signed: Head, key: str) -> Verification:
    walk = Walk(signed, key)
    for entry in entries:
        if (broken := walk.step(entry)) is not None:
            return broken
    return walk.finish()


def test_a_change_of_the_signing_key_is_told() -> None:
    entries = rekeyed("new")
    found = walked(entries, head_of(entries, GENESIS), "new")
    assert (found.ok, found.records) == (True, 4)
    assert found.rekeyed == (Rekeyed(seq=3, at_ms=0, key="new"),)


def test_a_head_after_the_change_must_be_signed_with_the_key_that_the_ledger_names() -> None:
    entries = rekeyed("new", "newer")
    for signed_at, key, is_good in ((3, "new", True), (3, "old", False), (4, "newer", True), (5, "new", False)):
        found = walked(entries, Head(signed_at, entries[signed_at - 1].entry_hash), key)
        assert found.ok is is_good, (signed_at, key)
        if not is_good:
            assert "signed with another key" in found.problem
            assert found.at_seq == signed_at


def test_a_head_that_was_kept_from_before_the_change_still_proves_what_it_covers() -> None:
    entries = rekeyed("new")
    found = walked(entries, Head(2, entries[1].entry_hash), "old")
    assert (found.ok, found.unsigned) == (True, 2)


def test_of_many_changes_the_newest_are_told() -> None:
    entries = rekeyed(*(f"k{n}" for n in range(REKEYED_MAX + 5)))
    found = check(entries)
    assert len(found.rekeyed) == REKEYED_MAX
    assert found.rekeyed[-1].key == f"k{REKEYED_MAX + 4}"


def pruned(last: int, said_at: int = 6, length: int = 8) -> list[Entry]:
    """A ledger without its first `last` entries, of which the entry `said_at` says so."""
    whole = chain(said_at - 1)
    subject = f"{said_of(head_of(whole[:last], GENESIS))} good"
    said = AuditRecord(id="p", at_ms=1, verdict="changed", action=PRUNED, subject=subject)
    tail = [said, *records(length)[said_at - 1 :]]
    return [*whole, *extend(head_of(whole, GENESIS), [(columns(one), canonical(one)) for one in tail])][last:]


def signed_at(seq: int, entries: list[Entry]) -> Head:
    return next(Head(one.seq, one.entry_hash) for one in entries if one.seq == seq)


def begun(entries: list[Entry], signed: int | Head, *, is_good: bool = True) -> Verification:
    signed = signed if isinstance(signed, Head) else signed_at(signed, entries)
    walk = Walk(signed, "", lambda last, signature: is_good and signature == "good")
    for entry in entries:
        if (broken := walk.step(entry)) is not None:
            return broken
    return walk.finish()


@pytest.mark.parametrize("last", [1, 3, 5])
def test_a_ledger_whose_oldest_entries_were_pruned_proves_what_is_left(last: int) -> None:
    entries = pruned(last)
    found = begun(entries, 9)
    assert (found.ok, found.records, found.pruned, found.unsigned) == (True, 9 - last, last, 0)
    assert not walked(entries, signed_at(9, entries), "").ok, "nobody allowed it"


def test_entries_that_are_gone_must_be_those_that_the_ledger_names() -> None:
    for entries in (pruned(0)[2:], pruned(3)[1:]):
        found = begun(entries, 8)
        assert not found.ok
        assert "no signed entry says that they were pruned" in found.problem
        assert (found.records, found.at_seq) == (0, 1)


def test_what_says_that_entries_are_gone_must_be_signed_and_allowed() -> None:
    assert not begun(pruned(3), 5).ok, "it stands after the signed head"
    assert begun(pruned(3), 6).ok
    assert not begun(pruned(3), 8, is_good=False).ok


def test_a_head_that_was_signed_where_the_ledger_begins_now_speaks_for_the_rest() -> None:
    whole = chain(8)
    walk = Walk(Head(3, whole[2].entry_hash))
    assert all(walk.step(entry) is None for entry in whole[3:])
    found = walk.finish()
    assert (found.ok, found.pruned, found.unsigned) == (True, 3, 5)
    other = Walk(Head(3, b"x" * 32))
    assert all(other.step(entry) is None for entry in whole[3:])
    assert not other.finish().ok


def test_a_head_whose_entry_was_pruned_asks_for_a_later_one() -> None:
    entries = pruned(3)
    walk = Walk(Head(2, b"x" * 32), "", lambda last, signature: True)
    assert all(walk.step(entry) is None for entry in entries)
    found = walk.finish()
    assert not found.ok
    assert "give a head that was signed later" in found.problem


@given(st.integers(1, 7), st.integers(0, 7))
def test_after_pruning_every_missing_entry_is_still_seen(last: int, gone: int) -> None:
    entries = pruned(last, 8, 10)
    gone %= len(entries) - 1
    left = entries[:gone] + entries[gone + 1 :]
    assert not begun(left, signed_at(10, entries)).ok


def test_an_entry_that_tells_of_pruning_is_told_from_others() -> None:
    entries = pruned(3)
    assert [is_pruning(entry) for entry in entries] == [False, False, True, False, False, False]
    assert not is_pruning(entries[2]._replace(record=b"{"))
