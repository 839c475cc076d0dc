"""What no description of a tool has to say: it describes, and rarely orders anything outside of the tool.

Whoever serves a tool writes what a model reads of it, and the user sees none of that. So definitions are held to signatures that would be too
strict for other texts (definitions.yaml): secrets kept from the user, files of credentials, the conversation as an argument, what other tools
are called with. One that is less than certain counts beside another one.
"""

from functools import cache
from hashlib import sha256
from importlib import resources
from math import prod
from threading import Thread

from msgspec import Struct

from llmproxy.common import everyday
from llmproxy.common.signatures import Budget, Matcher, Prepared, Seen, Signatures, prepare, read_file, unpacked
from llmproxy.common.views import Hint, View, hints, in_characters, views
from llmproxy.shield.injection import talk
from llmproxy.shield.injection.sweep import lowered

ROLE = "definition"
DATA = "definitions.yaml"
PREPARED = "definitions.bin"  # What is derived from it, written by tools/prepare_signatures.py.

DECODED_CHARS_MAX = 16_384  # Of one definition, in all its views.

LIKELY = {"high": 0.9, "medium": 0.25, "low": 0.12}
"""How likely a signature alone makes it that somebody orders what is not the tool's to order."""

LISTED = frozenset({"credentials", "destination"})
"""Kinds of which several are one list: of files that a tool does not read, or of addresses."""


class Orders(Struct, frozen=True):
    """What a definition orders."""

    probability: float
    start: int  # Of the most severe one, in characters of the view,
    end: int
    rule: str  # and its id.


def shipped() -> Signatures:
    return read_file(resources.files(__package__).joinpath(DATA))


def fingerprint() -> bytes:
    """Of what they are prepared from."""
    words = resources.files(everyday.__package__).joinpath(everyday.DATA).read_bytes()
    return sha256(words + resources.files(__package__).joinpath(DATA).read_bytes()).digest()


def ready() -> tuple[Prepared, ...]:
    """As they were prepared, or prepared now where they have changed since."""
    return unpacked(resources.files(__package__).joinpath(PREPARED), fingerprint()) or prepare(shipped())


@cache
def matcher() -> Matcher:
    return Matcher(ready())


def warm() -> None:
    """Reads and compiles what the first definition would otherwise have to wait for."""
    matcher().warm(lambda: None)


def warm_beside() -> None:
    Thread(target=warm, daemon=True).start()


def orders(
    text: str, budget: Budget, suspected: Hint | None = None, *, is_suspicious: bool = False
) -> tuple[View, Orders] | None:
    """What a definition orders, and the view of it that shows it. None where that is nothing, or one thing alone that may be honest: such a
    thing counts where the words are suspicious anyway. `suspected`: what `hints` says of the text."""
    suspected = hints(text) if suspected is None else suspected
    known = views(text, suspected, chars_max=DECODED_CHARS_MAX) if suspected else [View(text)]
    least = 1 if is_suspicious else 2
    found = [(view, one) for view in known if (one := _orders(view.text, budget, least)) is not None]
    return max(found, key=lambda seen: seen[1].probability, default=None)


def _orders(text: str, budget: Budget, least: int) -> Orders | None:
    found = _seen_in(text, budget, least)
    if found is None:
        return None
    bare = talk.without(text, lowered(text), budget)  # Of what looks for attacks, or forbids them.
    return found if bare is None else _seen_in(bare, budget, least)


def _seen_in(text: str, budget: Budget, least: int) -> Orders | None:
    plain = lowered(text)
    witnesses: list[Seen] = []
    for one in sorted((one for one in matcher().trials(plain, budget) if one is not None), key=_likely, reverse=True):
        if all(_is_another(one, other) for other in witnesses):
            witnesses.append(one)
    if not witnesses or (len(witnesses) < least and witnesses[0].hit.severity != "high"):
        return None
    worst = witnesses[0]
    start, end = (worst.start, worst.end) if text.isascii() else in_characters(plain, worst.start, worst.end)
    innocent = prod(1 - _likely(one) for one in witnesses)
    return Orders(1 - innocent, min(start, len(text)), min(end, len(text)), worst.hit.id)


def _is_another(one: Seen, other: Seen) -> bool:
    """Whether it says more than the other does: something of another kind, or the same elsewhere."""
    if one.hit.category != other.hit.category:
        return True
    return one.hit.category not in LISTED and (one.end <= other.start or other.end <= one.start)


def _likely(seen: Seen) -> float:
    return LIKELY[seen.hit.severity]
