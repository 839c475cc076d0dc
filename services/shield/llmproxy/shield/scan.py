"""What the guards would say about a text, without a gateway: for `llmproxy scan` and for evaluation."""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import Literal

from msgspec import Struct

from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.shield.chain import Chain
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.guards.base import Guard
from llmproxy.shield.verdict import Allow, Block

Direction = Literal["request", "response"]
ROLES: dict[Direction, str] = {"request": "user", "response": "assistant"}
BATCH = 64  # Texts that one process takes at a time.
AHEAD = 4  # Batches in hand for each process, so that a file of any size stays on disk.


class Text(Struct, frozen=True):
    """One text to scan, and what it is called."""

    id: str
    text: str


class Span(Struct, frozen=True):
    """`text[start:end]`, in characters."""

    start: int
    end: int
    type: str


class Scanned(Struct, frozen=True, kw_only=True):
    """The verdict on one text. `score` and `blocked` are of injection; spans are of PII and secrets."""

    id: str
    score: float = 0.0
    blocked: bool = False
    spans: list[Span] = []
    findings: list[str] = []  # Kinds, in the order of the text.
    us: float = 0.0  # CPU of all guards on this text, in microseconds.


def guard_names() -> tuple[str, ...]:
    return tuple(guard.name for guard in GUARDS)


def chosen(names: Sequence[str]) -> tuple[Guard, ...]:
    """The guards of these names; `all` is every one."""
    return tuple(guard for guard in GUARDS if "all" in names or guard.name in names)


def type_of(kind: str) -> str:
    """How evaluation data name a kind: `email` is EMAIL, every `secret.<name>` is SECRET."""
    return kind.partition(".")[0].upper()


def scan(item: Text, guards: Sequence[Guard], policy: Policy, direction: Direction = "request") -> Scanned:
    """The verdict of these guards under this policy."""
    segment = Segment(role=ROLES[direction], path="text", text=item.text)
    chain = Chain(guards, policy)
    began = time.thread_time_ns()
    verdict = chain.inspect(segment) if chain.may_hold(item.text) else Allow()
    us = (time.thread_time_ns() - began) / 1000
    findings = [] if isinstance(verdict, Allow) else sorted(verdict.findings, key=lambda finding: finding.start)
    return Scanned(
        id=item.id,
        blocked=isinstance(verdict, Block),
        spans=[Span(finding.start, finding.end, type_of(finding.kind)) for finding in findings],
        findings=[finding.kind for finding in findings],
        us=round(us, 1),
    )


def scan_all(
    items: Iterable[Text], names: Sequence[str], policy: Policy, direction: Direction, processes: int
) -> Iterator[Scanned]:
    """Every text, in order, on so many processes. Memory does not grow with the number of texts."""
    if processes <= 1:
        guards = chosen(names)
        yield from (scan(item, guards, policy, direction) for item in items)
        return
    batches = _batches(items)
    with ProcessPoolExecutor(processes) as pool:
        under_way = [
            pool.submit(_scan_batch, batch, names, policy, direction) for batch in islice(batches, processes * AHEAD)
        ]
        while under_way:
            yield from under_way.pop(0).result()
            under_way += [pool.submit(_scan_batch, batch, names, policy, direction) for batch in islice(batches, 1)]


def _batches(items: Iterable[Text]) -> Iterator[list[Text]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _scan_batch(batch: list[Text], names: Sequence[str], policy: Policy, direction: Direction) -> list[Scanned]:
    guards = chosen(names)
    return [scan(item, guards, policy, direction) for item in batch]
