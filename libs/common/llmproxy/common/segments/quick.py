"""The quick pass: the texts of a body without their places. It costs microseconds, and most bodies need no other."""

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from msgspec import Struct

from llmproxy.common.segments.binaries import BLOB_CHARS_MIN, blobs
from llmproxy.common.segments.exact import DEPTH_MAX, check
from llmproxy.common.segments.names import BLOB_KEYS, EMBEDDED, FILLED, KNOWN_KEYS, TOKEN_HOLDERS
from llmproxy.common.segments.repeats import keys
from llmproxy.common.segments.segment import NUMBER_MIN, TEXT_CHARS_MIN, beside, is_telling
from llmproxy.common.segments.written import digits

UNREADABLE = frozenset({int, float, bool, list})
"""Servers take 64.0 for 64, and true for 1."""

Filled = tuple[str, Any]
"""A name of `FILLED`, and the object or array that stands there."""


ROLE, CONTENT = itemgetter("role"), itemgetter("content")
STRINGS = frozenset({str})


class Turns(Struct, frozen=True, gc=False):
    """Of messages that have a role and a text and nothing else: `said` has both, as they stand one after the other."""

    said: list[str]
    roles: list[str]
    contents: list[str]


def texts(
    tree: Any,
    body: bytes,
    max_depth: int = DEPTH_MAX,
    *,
    shortest: int = TEXT_CHARS_MIN,
    turns: Turns | None = None,
    filled: list[Filled] | None = None,
) -> list[str]:
    """Every text of the tree, for a quick look. Raises GatewayError when too deep, or when a key is there twice. `turns`: what
    `plain_turns` says of its messages, if that is known. `filled` gets what `named` is to be asked about."""
    found: list[str] = []
    messages = tree["messages"] if turns is not None else None
    places: set[tuple[int, str]] | None = None
    known, depth, level = 0, 0, [tree]
    while level:
        depth += 1
        if depth > max_depth:
            check(body.decode(), max_depth)
            raise AssertionError("the scan counts levels as the tree does")
        below: list[Any] = []
        place = -1  # Where plain turns belong in what is below.
        for node in level:
            if type(node) is dict:
                known += len(node)
                for key, value in node.items():
                    if key not in KNOWN_KEYS:
                        found.append(key)
                    kind = type(value)
                    if kind is str:
                        if len(value) >= shortest:
                            if len(value) >= BLOB_CHARS_MIN and key in BLOB_KEYS:
                                if places is None:
                                    places = {(id(holder), name) for _, holder, name in blobs(tree)}
                                if (id(node), key) in places:
                                    continue
                            found.append(value)
                    elif kind is dict or kind is list:
                        below.append(value)
                        if key in FILLED and filled is not None:
                            filled.append((key, value))
                    elif (kind is int or kind is float) and abs(value) > NUMBER_MIN:
                        found.append(digits(value))
            elif node is messages:
                place = len(below)
            else:
                for value in node:
                    kind = type(value)
                    if kind is str:
                        found.append(value)
                    elif kind is dict or kind is list:
                        below.append(value)
                    elif (kind is int or kind is float) and abs(value) > NUMBER_MIN:
                        found.append(digits(value))
        if turns is not None and place >= 0:
            if below or depth == max_depth:
                below[place:place] = tree["messages"]
            else:  # Nothing else is as deep: their texts come next.
                known += len(turns.said)
                found += [text for text in turns.said if len(text) >= shortest]
        level = below
    if keys(body) != known:
        check(body.decode(), max_depth)
    return found


def named(tree: Any, filled: Sequence[Filled], *, shortest: int = TEXT_CHARS_MIN) -> list[str]:
    """The values of what tools fill, each beside its name, for a quick look: what the exact pass gives a label."""
    found: list[str] = []
    rest = list(filled)
    walked = {id(tree.get("input"))}
    while rest:
        name, node = rest.pop()
        if id(node) in walked:
            continue
        walked.add(id(node))
        for key, value in node.items() if type(node) is dict else ((name, item) for item in node):
            kind = type(value)
            if kind is dict or kind is list:
                rest.append((key, value))
            elif not is_telling(key):
                continue
            elif kind is str:
                if len(value) >= shortest:
                    found.append(beside(key, value)[0])
            elif (kind is int or kind is float) and abs(value) > NUMBER_MIN:
                found.append(beside(key, digits(value), is_number=True)[0])
    return found


def plain_turns(messages: Any) -> Turns | None:
    """Most conversations have no others, and what is expensive to ask of any message is known of these."""
    if type(messages) is not list or not messages:
        return None
    try:  # What takes a loop in Python ten times as long.
        said = [*chain.from_iterable(map(dict.values, messages))]
        turns = Turns(said, [*map(ROLE, messages)], [*map(CONTENT, messages)])
    except (TypeError, KeyError):
        return None
    return turns if len(said) == 2 * len(messages) and STRINGS.issuperset(map(type, said)) else None


def token_ids(tree: Any) -> str:
    """The field that holds a text as the numbers of its tokens, which no guard can read; "" when none does."""
    if not any(map(tree.get, TOKEN_HOLDERS)):  # As nearly always.
        return ""
    for key in TOKEN_HOLDERS:
        value = tree.get(key)
        if type(value) is list and any(type(item) in UNREADABLE for item in value):
            return key
        if value and key == EMBEDDED:
            return key
    return ""
