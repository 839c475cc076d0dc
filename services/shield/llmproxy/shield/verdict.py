"""What a guard says about one segment: values to match, with spans and kinds, never the text."""

from msgspec import Struct, structs

from llmproxy.common.actions import Action
from llmproxy.common.views import View, placed


class Finding(Struct, frozen=True):
    """`segment.text[start:end]` is a `kind`. A guard says what it saw; the chain says who it was and what is done with it."""

    kind: str
    start: int
    end: int
    action: Action = "mask"
    score: float = 1.0  # How likely, from a guard that weighs; the rest are sure.
    guard: str = ""  # By name.
    via: tuple[str, ...] = ()  # The decodings after which it was there, in order.
    is_exact: bool = True  # The span is the thing and nothing else. Only such a span is ever taken out.
    rule: str = ""  # Of a guard with many rules for one kind.
    is_decided: bool = False  # `action` is what an operator's rule says, and not for the policy's kinds to say again.
    # What stands in its place when it is redacted, if an operator's rule says that, too.
    replacement: str | None = None


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


def seen_in(view: View, text: str, finding: Finding) -> Finding:
    """What was found in a view of `text`, placed in the text: as it is where both are the same, else on the whole of what was
    decoded, which is as near as it can be said."""
    start, end, is_exact = placed(view, text, finding.start, finding.end)
    return structs.replace(finding, start=start, end=end, via=view.via, is_exact=finding.is_exact and is_exact)


def found(findings: list[Finding]) -> Verdict:
    """What a guard without an opinion of its own returns."""
    return Mask(tuple(findings)) if findings else ALLOW
