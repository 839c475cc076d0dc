"""What a text of an answer goes through: stages that take it in pieces and say what can be said now.

The law of every stage: whatever the pieces, what it returns adds up to the same text, and it finds the same things. So an
answer that is streamed and one that comes whole are the same, and a whole one is the stream of one piece.

What a stage finds it places in the text as it was given it: what stages before it have taken out counts as what was said instead. A stage
that goes on from one text to the next counts from the beginning of each.

Nearly every text holds nothing that any stage looks for. So beside each stage stands its `is_clear`: a promise that the stage
would say this whole text as it is, and report nothing.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import structs

from llmproxy.shield.vault import redacted
from llmproxy.shield.verdict import Finding

Report = Callable[[Finding], bool]
"""Told of each finding, with what its setting says. Says whether to take it out; raises `Stopped` to end the answer."""

Look = Callable[[str, int], Sequence[Finding]]
"""What the guards see in a text behind a place. Raises `Unavailable`."""


class Stage(Protocol):
    @property
    def held(self) -> int:
        """Characters held back."""
        ...

    def push(self, piece: str) -> str:
        """What can be said now."""
        ...

    def flush(self) -> str:
        """The text is over: what was held back."""
        ...


class Stopped(Exception):
    """The answer may not go on: it holds what the policy blocks. Only the kind is said, never the text."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Unavailable(Exception):
    """A guard failed or was late. What was not looked at does not pass."""


def instead(finding: Finding) -> str:
    """What is said in the place of what is taken out."""
    return redacted(finding.kind) if finding.replacement is None else finding.replacement


def seen(kind: str, mode: str, start: int = 0, end: int = 0) -> Finding:
    """A finding of a guard of answers alone: one that has a setting of its own."""
    does = "redact" if mode == "strip" else mode
    return Finding(kind, start, end, does, guard=kind.partition(".")[0])  # type: ignore[arg-type]


def moved(finding: Finding, by: int) -> Finding:
    """As it stands in the text, of which the look saw a part."""
    return structs.replace(finding, start=finding.start + by, end=finding.end + by)
