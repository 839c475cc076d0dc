"""How spans are counted: one prediction for one span of the same type, when they overlap by half."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.figures import Counts

OVERLAP_MIN = 0.5  # Of both together.
ANY = "*"

Span = Mapping[str, Any]


def counted(
    gold: Sequence[Span],
    predicted: Sequence[Span],
    *,
    ignored: Sequence[Span] = (),
    is_typed: bool = True,
    leaving_out: frozenset[str] = frozenset(),
) -> dict[str, Counts]:
    """Type -> counts, of one text. What overlaps something ignored, or of a type that is left out, is no false alarm."""
    wanted = [span for span in gold if span["type"] not in leaving_out]
    passed_over = [*ignored, *(span for span in gold if span["type"] in leaving_out)]
    offered = [span for span in predicted if not is_typed or span["type"] not in leaving_out]
    pairs = sorted(
        (
            (overlap(one, other), at, which)
            for at, one in enumerate(wanted)
            for which, other in enumerate(offered)
            if not is_typed or one["type"] == other["type"]
        ),
        reverse=True,
    )
    met: set[int] = set()
    used: set[int] = set()
    counts: dict[str, Counts] = {}

    def count(span: Span, one: Counts) -> None:
        kind = span["type"] if is_typed else ANY
        counts[kind] = counts.get(kind, Counts()) + one

    for share, at, which in pairs:
        if share >= OVERLAP_MIN and at not in met and which not in used:
            met.add(at)
            used.add(which)
            count(wanted[at], Counts(found=1))
    for at, span in enumerate(wanted):
        if at not in met:
            count(span, Counts(missed=1))
    for which, span in enumerate(offered):
        if which not in used and not any(overlap(span, other) > 0 for other in passed_over):
            count(span, Counts(false=1))
    return counts


def overlap(one: Span, other: Span) -> float:
    """What both cover, of what either covers."""
    common = min(one["end"], other["end"]) - max(one["start"], other["start"])
    return max(0, common) / ((max(one["end"], other["end"]) - min(one["start"], other["start"])) or 1)
