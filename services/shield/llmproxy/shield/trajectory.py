"""Attacks in several turns, none of which is one by itself: what the turns of one conversation come to together.

A law over probabilities in the order of the turns; whose they are, and from which sum on something follows, is said elsewhere.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from llmproxy.common.segments import Segment

SUSPICIOUS = 0.5  # Of the threshold for a single turn: below it a turn is as ordinary as any.
TURNS_MIN = 3
"""Suspicious ones. One strong turn is the guard's own business, and a second may be the same question again."""
KEPT = 0.8  # Of what a turn says, one turn later.
TURNS_MAX = 32  # The last ones; before them nothing is left to count.
TURN = re.compile(r"[A-Za-z_]+\[\d+\]")


class Trajectory(Struct, frozen=True):
    """Together they are an attack with this probability; `turns` are those that count, in order."""

    probability: float
    turns: tuple[int, ...]


def together(turns: Sequence[float], threshold: float) -> Trajectory | None:
    """`turns`: how likely each is an injection, the last one is what is asked now. None where there is no trajectory.

    Only when the last turn is suspicious itself: what was asked before was answered for then, and whoever goes on with something
    harmless is not held to it. A turn counts for at most the threshold, so that none decides alone.
    """
    first = max(0, len(turns) - TURNS_MAX)
    counting = tuple(index for index in range(first, len(turns)) if turns[index] >= SUSPICIOUS * threshold)
    if len(counting) < TURNS_MIN or counting[-1] != len(turns) - 1:
        return None
    innocent = 1.0
    for index in counting:
        innocent *= 1 - min(turns[index], threshold) * KEPT ** (len(turns) - 1 - index)
    return Trajectory(1 - innocent, counting)


def latest(turns: Sequence[float], threshold: float, least: float) -> Trajectory | None:
    """As they were together when the latest turn was said that made them an attack with at least this probability."""
    for end in range(len(turns), TURNS_MIN - 1, -1):
        if turns[end - 1] < SUSPICIOUS * threshold:
            continue
        first = max(0, end - TURNS_MAX)
        found = together(turns[first:end], threshold)
        if found is not None and found.probability >= least:
            return Trajectory(found.probability, tuple(first + turn for turn in found.turns))
    return None


def remembered(turns: Sequence[float], threshold: float) -> tuple[float, ...]:
    """What of these turns may still count when others follow: of the last ones, from the first suspicious one on."""
    last = turns[-TURNS_MAX:]
    first = next((index for index, turn in enumerate(last) if turn >= SUSPICIOUS * threshold), len(last))
    return tuple(last[first:])


def turn_of(segment: Segment) -> str:
    """The message that a text of the user's is part of."""
    found = TURN.match(segment.path)
    return found[0] if found is not None else segment.path
