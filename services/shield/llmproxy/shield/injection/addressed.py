"""Orders to a machine that reads along, in a text about something else: `AI agents must open …` in a tenancy agreement.

Prompts, rules for agents and their manuals are full of such sentences, so what counts is that a text speaks of a machine in one place alone,
and not from its first words on, as a request to a machine does. Agents, assistants and models may be people and products: they count less.
"""

from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import Any

from msgspec.structs import replace

from llmproxy.common import signatures
from llmproxy.common.signatures import ADDRESSED, Hit, Seen

BEFORE_BYTES_MIN, AROUND_BYTES_MIN, PLACE_BYTES_MAX = 60, 150, 300
"""What has to stand before the place and outside of it, and how wide it is, from the first word for a machine to the last."""
MENTIONS_MAX = 6  # Of a machine, in one place.


def counted(plain: bytes, seen: list[Seen]) -> list[Seen]:
    """What was found in a text, with those orders to machines alone that count: of medium severity where it is certain that a machine
    is meant."""
    orders = [one for one in seen if one.hit.category == ADDRESSED]
    if not orders:
        return seen
    others = [one for one in seen if one.hit.category != ADDRESSED]
    lowered = plain.lower()
    place = _only_place(lowered, orders)
    if place is None:
        return others
    if _words("certainly").search(lowered[slice(*place)]):
        orders = [replace(one, hit=replace(one.hit, severity="medium")) for one in orders]
    return others + orders


def _only_place(lowered: bytes, orders: Sequence[Seen]) -> tuple[int, int] | None:
    """Where a text speaks of machines, if it does so nowhere else, and is about something else."""
    mentions = [one.span() for one in islice(_words("anymachine").finditer(lowered), MENTIONS_MAX + 1)]
    places = [*mentions, *((one.start, one.end) for one in orders)]
    start, end = min(start for start, _ in places), max(end for _, end in places)
    is_one = len(mentions) <= MENTIONS_MAX and end - start <= PLACE_BYTES_MAX
    is_foreign = start >= BEFORE_BYTES_MIN and len(lowered) - (end - start) >= AROUND_BYTES_MIN
    return (start, end) if is_one and is_foreign else None


@cache
def _words(name: str) -> Any:
    """Words for a machine, by their name in the vocabulary of the signatures."""
    source = signatures.expression(f"<{name}>", signatures.read(signatures.ADDRESSED_DATA).vocabulary)
    return signatures.exact(Hit(ADDRESSED, ADDRESSED, "low"), source)
