"""Which texts of a whole answer readers put one behind the other: the parts of a message, the blocks and items of an answer."""

from collections.abc import Iterator
from typing import Any

from llmproxy.common import segments

ALTERNATIVES = frozenset({"choices", "candidates"})
"""Lists of which a reader takes one."""

Step = str | int
Texts = dict[str, str]
"""Path -> text, in their order."""


def together(tree: Any) -> list[Texts]:
    """Those of one place and one kind; what the model only thinks is not what it says."""
    found: dict[tuple[tuple[Step, ...], str], Texts] = {}
    for place, holder in _holders(tree, ()):
        kind = "thought" if holder.get("thought") is True else str(holder.get("type"))
        found.setdefault((_common(place), kind), {})[segments.join((*place, "text"))] = holder["text"]
    return [texts for texts in found.values() if len(texts) > 1]


def _holders(value: Any, place: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], dict[str, Any]]]:
    if type(value) is dict:
        if type(text := value.get("text")) is str and text:
            yield place, value
        for name, item in value.items():
            if type(item) in (dict, list):
                yield from _holders(item, (*place, name))
    elif type(value) is list:
        for at, item in enumerate(value):
            yield from _holders(item, (*place, at))


def _common(place: tuple[Step, ...]) -> tuple[Step, ...]:
    """A place is told by names, and among alternatives by number."""
    return tuple(
        step for at, step in enumerate(place) if type(step) is str or (at > 0 and place[at - 1] in ALTERNATIVES)
    )
