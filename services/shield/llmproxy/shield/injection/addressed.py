"""Orders to a machine that reads along, in a text about something else: `AI agents must open …` in a tenancy agreement.

Prompts, rules for agents and their manuals are full of such sentences, so what counts is that a text speaks of a machine in one place alone,
and not from its first words on, as a request to a machine does.
"""

from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import Any

from llmproxy.common import signatures
from llmproxy.common.signatures import ADDRESSED, Hit, Seen

BEFORE_BYTES_MIN, AROUND_BYTES_MIN, PLACE_BYTES_MAX = 60, 150, 300
"""What has to stand before the place and outside of it, and how wide it is, from the first word for a machine to the last."""
MENTIONS_MAX = 6  # Of a machine, in one place.


def counted(plain: bytes, seen: list[Seen]) -> list[Seen]:
    """Of what was found in a text, without orders to machines in a text that speaks of them elsewhere, too."""
    orders = [one for one in seen if one.hit.category == ADDRESSED]
    if not orders or _is_alone(plain, orders):
        return seen
    return [one for one in seen if one.hit.category != ADDRESSED]


def _is_alone(plain: bytes, orders: Sequence[Seen]) -> bool:
    mentions = [one.span() for one in islice(_machines().finditer(plain.lower()), MENTIONS_MAX + 1)]
    places = [*mentions, *((one.start, one.end) for one in orders)]
    start, end = min(start for start, _ in places), max(end for _, end in places)
    return (
        len(mentions) <= MENTIONS_MAX
        and end - start <= PLACE_BYTES_MAX
        and start >= BEFORE_BYTES_MIN
        and len(plain) - (end - start) >= AROUND_BYTES_MIN
    )


@cache
def _machines() -> Any:
    """Any word for a machine, as the signatures have it."""
    vocabulary = signatures.read(signatures.ADDRESSED_DATA).vocabulary
    source = signatures.expression(r"(?:\b<machine>\b|<machineabroad>)", vocabulary)
    return signatures.exact(Hit(ADDRESSED, ADDRESSED, "low"), source)
