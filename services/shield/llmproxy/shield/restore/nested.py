"""Texts that come in pieces inside a delta: of a message's parts, of the transcript beside a sound, of reasoning told in details."""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from llmproxy.shield.answers.measures import FORMS
from llmproxy.shield.answers.names import CALLED, ECHOED, is_piece

PIECES = frozenset({"text", "thinking", "transcript", "summary", "content"})
"""Names of strings that are pieces. What else stands beside them (kinds, ids, seals) comes whole."""

KNOWN = CALLED.union(ECHOED, FORMS, ("tool_calls", "function_call", "thinking_blocks", "citation"))
"""What has a form of its own. Any other structure of a delta may be a vendor's new one, with pieces of texts in it."""

KINDS = ("type", "format", "index")
Place = tuple[str | int, ...]


def is_new(name: str, value: Any) -> bool:
    return type(value) in (dict, list) and is_piece(name) and name not in KNOWN


class Piece(Struct, frozen=True):
    """One string: `place` tells its text from others, `steps` lead to it in this delta."""

    place: Place
    steps: Place
    holder: dict[str, Any]
    name: str


def pieces(value: Any, place: Place = (), steps: Place = (), *, says_index: bool = False) -> Iterator[Piece]:
    """Of a dict or a list. A member of a list is known by the `index` that it says, else by where it stands; `says_index`: else it is
    whole, as in a list that nobody knows, where each event may have members of its own."""
    if type(value) is list:
        for at, item in enumerate(value):
            said = item.get("index") if type(item) is dict else None
            if type(said) is int or not says_index:
                yield from pieces(
                    item, (*place, said if type(said) is int else at), (*steps, at), says_index=says_index
                )
    elif type(value) is dict:
        for name, item in value.items():
            if type(item) is str and name in PIECES:
                yield Piece((*place, name), (*steps, name), value, name)
            elif type(item) in (dict, list):
                yield from pieces(item, (*place, name), (*steps, name), says_index=says_index)


def read(
    value: Any, push: Callable[[Place, str], str], rest: Callable[[Any], Any], *, says_index: bool
) -> tuple[Any, bool, dict[Place, Place]]:
    """The structure with what is said of its texts now, whether anything changed, and the steps to each of them. What is no text comes
    whole, to `rest`."""
    found = list(pieces(value, says_index=says_index))
    came = [one.holder[one.name] for one in found]
    said = [push(one.place, text) for one, text in zip(found, came, strict=True)]
    for one in found:
        one.holder[one.name] = ""
    new = rest(value)
    changed = said != came or new != value
    for one, before, text in zip(found, came, said, strict=True):
        one.holder[one.name] = before
        put(new, one.steps, text)
    return new, changed, {one.place: one.steps for one in found}


def put(value: Any, steps: Place, said: str) -> None:
    for step in steps[:-1]:
        value = value[step]
    value[steps[-1]] = said


def around(value: Any, steps: Place, said: str) -> Any:
    """The same delta with this text alone in it, and what says of which kind the things around it are."""
    if not steps:
        return said
    first, *rest = steps
    if isinstance(first, int):
        return [around(value[first], tuple(rest), said)]
    kept = {name: value[name] for name in KINDS if name in value}
    return {**kept, first: around(value[first], tuple(rest), said)}
