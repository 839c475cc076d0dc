"""Why a verdict is what it is: which guard saw which kind where, by which decodings, and what was done. Never the text.

Guards and the firewall explain what they did; it travels with the envelope and the frames into the audit record, whose canonical
form wants integers and strings alone (docs/adr/0018).
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

EXPLANATIONS_MAX = 16  # Of one request, the most severe; of the others the record knows how many there are.
PATH_CHARS_MAX = 120
NAME_CHARS_MAX = 64  # Of a guard, a kind, a rule or a decoding.
VIA_MAX = 8
PER_MILLE = 1_000

SEVERITY = ("block", "alert", "redact", "hash", "mask", "flag")
"""What was done, the most severe first."""

Side = Literal["request", "answer"]


class Explanation(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One finding: by whom, of what, where, how it was seen, and what was done."""

    guard: str
    kind: str
    action: str  # policy.Action, of what applied.
    rule: str = ""  # Of a guard that has many for one kind: a signature's id.
    side: Side = "request"
    path: str = ""  # Of the text in the body: `messages[3].content`. "": the body itself, before it was parsed.
    # In characters of that text, its escapes undone; in bytes of the body as it came. Both 0: all of it.
    start: int = 0
    end: int = 0
    role: str = ""  # Whose text, where it is not the caller's own: a tool's.
    via: tuple[str, ...] = ()  # The decodings that showed it, in order; (): it is written there as it is.
    per_mille: int = PER_MILLE  # How likely, from a guard that weighs.


class Explained(Struct, frozen=True, gc=False, omit_defaults=True):
    """The most severe of what was found in one request, and how much more there is."""

    findings: tuple[Explanation, ...]
    more: int = 0


def explained(findings: Iterable[Explanation], more: int = 0) -> Explained | None:
    """None for nothing, which costs nothing wherever it goes. One of each action is always among what is kept."""
    ranked = sorted(findings, key=_rank)
    if not ranked:
        return None
    if len(ranked) > EXPLANATIONS_MAX:
        firsts = {id(one) for one in {one.action: one for one in reversed(ranked)}.values()}
        others = EXPLANATIONS_MAX - len(firsts)
        kept = []
        for one in ranked:
            is_first = id(one) in firsts
            if is_first or others > 0:
                kept.append(one)
                others -= not is_first
    else:
        kept = ranked
    return Explained(tuple(map(_bounded, kept)), more + len(ranked) - len(kept))


def joined(some: Explained | None, others: Explained | None) -> Explained | None:
    """What two places found, as one."""
    if some is None or others is None:
        return some or others
    return explained((*some.findings, *others.findings), some.more + others.more)


def summed(some: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Findings by kind, of two places, as one."""
    return {kind: some.get(kind, 0) + more.get(kind, 0) for kind in (*some, *more)}


def per_mille(score: float) -> int:
    """Of a probability."""
    return round(min(1.0, max(0.0, score)) * PER_MILLE)


def _rank(one: Explanation) -> tuple[int, int]:
    severity = SEVERITY.index(one.action) if one.action in SEVERITY else len(SEVERITY)
    return severity, -one.per_mille


def _bounded(one: Explanation) -> Explanation:
    """As it may stand in a record: a guard that is a plugin names itself as it likes."""
    names = (one.guard, one.kind, one.rule, *one.via)
    if len(one.path) <= PATH_CHARS_MAX and len(one.via) <= VIA_MAX and max(map(len, names)) <= NAME_CHARS_MAX:
        return one
    return Explanation(
        guard=one.guard[:NAME_CHARS_MAX],
        kind=one.kind[:NAME_CHARS_MAX],
        action=one.action,
        rule=one.rule[:NAME_CHARS_MAX],
        side=one.side,
        path=one.path[:PATH_CHARS_MAX],
        start=one.start,
        end=one.end,
        role=one.role,
        via=tuple(name[:NAME_CHARS_MAX] for name in one.via[:VIA_MAX]),
        per_mille=one.per_mille,
    )
