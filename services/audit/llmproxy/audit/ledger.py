"""The chain: each entry's hash covers the entry before it, so nothing can be changed without changing all that follows.

    entry_hash = SHA-256( 0x00 ‖ prev_hash (32 bytes) ‖ seq (8 bytes, big-endian) ‖ canonical record )

Everything before the record has a fixed length, so two different entries never give the same input. 0x00 keeps entries apart
from what else may be hashed one day (RFC 6962 does the same: 0x00 is a leaf, 0x01 a node).
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
from msgspec import Struct

from llmproxy.audit import record as records
from llmproxy.audit.record import Columns
from llmproxy.common.keyring import EXPIRES_AT_MS_MAX
from llmproxy.common.ledger_questions import Rekeyed
from llmproxy.common.records import ADMINISTRATION, AuditRecord, Verdict

ENTRY = b"\x00"
CHANGED: Verdict = "changed"  # The verdict of administrative records,
REKEYED = "ledger.rekeyed"  # and the action of the one that says that another key signs from here on.
PRUNED = "ledger.pruned"  # The action of the one that says that the oldest entries are gone.
REKEYED_MAX = 100  # Of them are told, the newest.


class Head(NamedTuple):
    """The newest entry: how many there are, and the hash that covers them all."""

    seq: int
    hash: bytes


GENESIS = Head(0, hashlib.sha256(b"llmproxy ledger v1\n").digest())


class Entry(NamedTuple):
    """One row of the ledger, in the order of its columns."""

    seq: int
    id: str
    at_ms: int
    tenant: str
    key: str
    model: str
    verdict: str
    record: bytes
    prev_hash: bytes
    entry_hash: bytes


class Verification(Struct, frozen=True, kw_only=True):
    """What a walk over the whole ledger found."""

    ok: bool
    records: int  # That were checked and are good.
    problem: str = ""
    at_seq: int = 0  # Where the problem is.
    head: str = ""  # Hash of the last good entry, hex.
    unsigned: int = 0  # Of `records`, those after the signed head: nothing but their chain speaks for them yet.
    rekeyed: tuple[Rekeyed, ...] = ()  # Where the signing key was changed, the newest.
    pruned: int = 0  # Entries before the first of `records`: gone, as the ledger itself says.


def change(action: str, subject: str, *, now_ms: int, id: str) -> tuple[Columns, bytes]:
    """A record of what was done to the ledger itself, as `Writer.append` takes it."""
    made = AuditRecord(id=id, at_ms=now_ms, verdict=CHANGED, tenant=ADMINISTRATION, action=action, subject=subject)
    storable, spelled = records.spell(made)
    return records.columns(storable), spelled


def entry_hash(prev_hash: bytes, seq: int, spelled: bytes) -> bytes:
    return hashlib.sha256(b"".join((ENTRY, prev_hash, seq.to_bytes(8, "big"), spelled))).digest()


def extend(head: Head, spelled: Iterable[tuple[Columns, bytes]]) -> list[Entry]:
    """The entries for these records, in order, after `head`."""
    seq, previous = head
    entries: list[Entry] = []
    for columns, record in spelled:
        seq += 1
        digest = entry_hash(previous, seq, record)
        entries.append(Entry(seq, *columns, record, previous, digest))
        previous = digest
    return entries


def head_of(entries: list[Entry], before: Head) -> Head:
    return Head(entries[-1].seq, entries[-1].entry_hash) if entries else before


class Walk:
    """Follows the ledger entry by entry from the oldest and compares it with what was signed."""

    def __init__(
        self,
        signed: Head | None = None,
        key: str = "",
        is_allowed: Callable[[Head, str], bool] = lambda last, signature: False,
    ) -> None:
        """`key` is the public one that `signed` was signed with; `is_allowed` tells whether it has signed that entries may be gone."""
        self.head = self._start = GENESIS
        self._is_pruned = False  # An entry that is signed says what stood before the oldest one.
        self._signed, self._key, self._is_allowed = signed, key, is_allowed
        self._rekeyed: deque[Rekeyed] = deque(maxlen=REKEYED_MAX)

    @property
    def records(self) -> int:
        """That were checked and are good."""
        return self.head.seq - self._start.seq

    def step(self, entry: Entry) -> Verification | None:
        """None while all is well. Must be given every entry, ordered by sequence."""
        if self.head is GENESIS and entry.seq > 1:
            self.head = self._start = Head(entry.seq - 1, entry.prev_hash)
        problem = _problem(self.head, entry)
        if not problem and entry.verdict == CHANGED:
            problem = self._note(entry)
        problem = problem or self._signed_problem(entry)
        if problem:
            return self._broken(problem, self.head.seq + 1)
        self.head = Head(entry.seq, entry.entry_hash)
        return None

    def unreadable(self, problem: str) -> Verification:
        """What follows is not even an entry."""
        return self._broken(problem, self.head.seq + 1)

    def finish(self) -> Verification:
        """The ledger ends here."""
        signed, start = self._signed, self._start
        if signed is not None and self.head.seq < signed.seq:
            return self._broken(
                f"the ledger ends at entry {self.head.seq}, but {signed.seq} were signed: it was truncated",
                self.head.seq + 1,
            )
        if problem := self._start_problem():
            return Verification(ok=False, records=0, problem=problem, at_seq=1)
        return Verification(
            ok=True,
            records=self.records,
            head=self.head.hash.hex(),
            unsigned=self.head.seq - (signed.seq if signed is not None else start.seq),
            rekeyed=tuple(self._rekeyed),
            pruned=start.seq,
        )

    def _start_problem(self) -> str:
        """Why the oldest entry cannot be where the ledger begins."""
        signed, start = self._signed, self._start
        if start.seq == 0 or signed == start:
            return ""
        if signed is not None and signed.seq < start.seq:
            return f"entry {signed.seq}, which was signed, is not there any more; give a head that was signed later"
        missing = "entry 1 is" if start.seq == 1 else f"entries 1 to {start.seq} are"
        return "" if self._is_pruned else f"{missing} missing, and no signed entry says that they were pruned"

    def _note(self, entry: Entry) -> str:
        """What the ledger says of itself; why this service cannot have said it, or empty."""
        said = records.parse(entry.record)
        if said.action == REKEYED:
            if not (0 <= said.at_ms <= EXPIRES_AT_MS_MAX and said.subject.isprintable()):
                return f"entry {entry.seq} says of a new signing key what is no time, or no key"
            self._rekeyed.append(Rekeyed(seq=entry.seq, at_ms=said.at_ms, key=said.subject))
        if said.action == PRUNED and (self._signed is None or entry.seq <= self._signed.seq):
            told, _, signature = said.subject.rpartition(" ")
            if told == said_of(self._start) and self._is_allowed(self._start, signature):
                self._is_pruned = True
        return ""

    def _signed_problem(self, entry: Entry) -> str:
        signed = self._signed
        if signed is None or entry.seq != signed.seq:
            return ""
        if entry.entry_hash != signed.hash:
            return f"entry {entry.seq} is not the one that was signed: the ledger was rewritten"
        if self._rekeyed and self._key and self._rekeyed[-1].key != self._key:
            return f"entry {entry.seq} was signed with another key than entry {self._rekeyed[-1].seq} names"
        return ""

    def _broken(self, problem: str, at_seq: int) -> Verification:
        return Verification(
            ok=False,
            records=self.records,
            problem=problem,
            at_seq=at_seq,
            head=self.head.hash.hex(),
            rekeyed=tuple(self._rekeyed),
        )


def said_of(head: Head) -> str:
    """How the entry that says that the entries up to this one are gone calls it, before the signature."""
    return f"{head.seq} {head.hash.hex()}"


def is_pruning(entry: Entry) -> bool:
    """Whether it is such an entry. One that cannot be read is none."""
    try:
        return entry.verdict == CHANGED and records.parse(entry.record).action == PRUNED
    except msgspec.DecodeError:
        return False


def check(entries: Iterable[Entry], signed: Head | None = None) -> Verification:
    """Walks entries that are in memory."""
    walk = Walk(signed)
    for entry in entries:
        broken = walk.step(entry)
        if broken is not None:
            return broken
    return walk.finish()


def _problem(head: Head, entry: Entry) -> str:
    """Why `entry` cannot follow `head`; empty when it does."""
    expected = head.seq + 1
    if entry.seq > expected:
        gap = f"entry {expected} is" if entry.seq == expected + 1 else f"entries {expected} to {entry.seq - 1} are"
        return f"{gap} missing"
    if entry.seq < expected:
        return f"entry {entry.seq} comes after entry {head.seq}: out of order or inserted"
    if entry.prev_hash != head.hash:
        return f"entry {entry.seq} does not follow entry {head.seq}: its previous hash is another"
    if entry.entry_hash != entry_hash(head.hash, entry.seq, entry.record):
        return f"entry {entry.seq} was changed: its content does not have its hash"
    return _column_problem(entry)


def _column_problem(entry: Entry) -> str:
    """The columns beside the record are not hashed; they must say what the record says."""
    try:
        columns = records.columns(records.parse(entry.record))
    except msgspec.DecodeError:
        return f"entry {entry.seq}: its record cannot be read"
    if columns == entry[1:7]:
        return ""
    wrong = [name for name in Columns._fields if getattr(columns, name) != getattr(entry, name)]
    return f"entry {entry.seq} was changed: {', '.join(wrong)} differs from its record"
