"""What a guard says about one segment: values to match, with spans and kinds, never the text."""

from msgspec import Struct

from llmproxy.common.policy import Action


class Finding(Struct, frozen=True):
    """`segment.text[start:end]` is a `kind`. A guard says what it saw; the chain says what is done with it."""

    kind: str
    start: int
    end: int
    action: Action = "mask"
    score: float = 1.0  # How likely, from a guard that weighs; the rest are sure.


class Allow(Struct, frozen=True):
    """Nothing was found."""


class Flag(Struct, frozen=True):
    """Let it pass, and record it."""

    findings: tuple[Finding, ...]


class Mask(Struct, frozen=True):
    """Take these spans out; each says whether its original comes back in the answer (mask) or not (redact)."""

    findings: tuple[Finding, ...]


class Block(Struct, frozen=True):
    """Refuse the request. `code` is one of errors.CATALOGUE."""

    findings: tuple[Finding, ...] = ()
    code: str = "content_blocked"


Verdict = Allow | Flag | Mask | Block
ALLOW = Allow()


def found(findings: list[Finding]) -> Verdict:
    """What a guard without an opinion of its own returns."""
    return Mask(tuple(findings)) if findings else ALLOW
