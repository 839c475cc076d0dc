"""Texts that come apart and are read together: a model is told the parts of one message as one text, so a guard must be, too.

An order in twelve parts of a word each is in none of them, and one that is cut in its middle is in neither half. Short parts
are joined as they are, of long ones their edges are enough, because each is looked at by itself; and most messages have one part.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise, product
from typing import Any

import msgspec
from msgspec import Struct

from llmproxy.common import segments
from llmproxy.common.segments.decoding import strings
from llmproxy.common.segments.tree import tree_of

SHORT_CHARS = 256
EDGE_CHARS = 128  # Of a long part.
JOINED_CHARS_MAX = 8_192  # Of one run; a longer one is looked at in several.
TURNS = ("messages", "input", "contents")
DEFINITIONS = tuple(name for name, role in segments.ROOT_ROLES.items() if role == "definition")
BESIDE_MESSAGES = frozenset((*TURNS[1:], *DEFINITIONS))
DESCRIBING = frozenset(
    {
        "description",
        "title",
        "enum",
        "default",
        "examples",
        "example",
        "const",
        "comment",
        "$comment",
        "instructions",
        "text",
    }
)
"""Where a definition says something. What stands between it are names and types, and a model reads on over them."""

KEPT, KEPT_BYTES_MAX = 64, 65_536  # Definitions whose texts are remembered.

HITS = ("results", "outputs", "output", "content")
TELLING = ("title", "stdout", "stderr", "logs")
"""In the results of searches and of programs."""

SERVED = "mcp_list_tools"  # Definitions that somebody else has written, among the items of a conversation.
PARTS = ("content", "parts", "output")
USER, TOOLS = "user", ("tool", "function")
FOLLOWING = frozenset({(USER, USER), *product(TOOLS, TOOLS)})
"""Whose turns, one after the other, are read together."""

RETURNED = ("tool_result", "search_result")
RESULTS = frozenset({"functionResponse", "function_response"})  # Whose answers are trees.
Place = tuple[str | int, ...]


class Parts(Struct, frozen=True):
    """Texts that are read together. `path` is of what holds them."""

    path: Place
    texts: list[str]
    items: list[Any] | None = None  # The list of which some items say them, where it is one list.
    is_apart: bool = False  # Something else stands between them.


class Joined(Struct, frozen=True):
    """What a run of parts says together. `path` is of what holds them."""

    path: str
    role: str
    text: str
    is_apart: bool = False


def parted(tree: dict[str, Any], plain: segments.Turns | None = None) -> list[Parts]:
    """Of every message, and of definitions; none, nearly always. `plain`: what `segments.plain_turns` says of its messages."""
    found: list[Parts] = []
    is_plain = plain is not None and FOLLOWING.isdisjoint(pairwise(plain.roles))
    if is_plain and BESIDE_MESSAGES.isdisjoint(tree):  # Nearly always.
        return found
    for name in DEFINITIONS:
        found += _described(tree.get(name), (name,))
    for name in TURNS:
        turns = tree.get(name)
        if type(turns) is not list:
            continue
        if name == "messages" and is_plain:
            continue
        follow, returned, nested = _look(turns)
        if returned:
            found += _in_turn(turns, (name,), _result)
        for place in nested:
            if turns[place].get("type") == SERVED:
                found += _described(turns[place].get("tools"), (name, place, "tools"))
        if follow:
            found += _together(name, turns)
        for place in nested:
            found += _in_blocks(turns[place], (name, place))
            _search(turns[place], (name, place), found)
    return found


def joined(tree: dict[str, Any], found: Sequence[Parts]) -> list[Joined]:
    """What the parts say, as a model reads it."""
    if not found:
        return []
    role = segments.roles(tree)
    return [
        Joined(segments.join(one.path), role((*one.path, 0)), said, one.is_apart)
        for one in found
        for run in _runs(one.texts)
        for said in ((" ".join(run),) if one.is_apart else _said(run))
    ]


def _look(turns: list[Any]) -> tuple[bool, bool, list[int]]:
    """Whether two turns of the user's follow each other, or two results of calls, and the places of those that may have parts."""
    follow = before = returned = result_before = False
    nested: list[int] = []
    for place, turn in enumerate(turns):
        if type(turn) is not dict:
            before = result_before = False
            continue
        is_user = _is_users(turn)
        follow = follow or (is_user and before)
        before = is_user
        is_result = not is_user and _is_result(turn)
        returned = returned or (is_result and result_before)
        result_before = is_result
        if type(turn.get("content")) is not str:
            nested.append(place)
    return follow, returned, nested


def _together(name: str, turns: list[Any]) -> Iterator[Parts]:
    """Anthropic makes one turn of those that follow each other, and so do templates of open models."""
    first, texts = 0, list[str]()
    for place, turn in enumerate((*turns, None)):
        if type(turn) is dict and _is_users(turn) and (said := _texts(turn)):
            first = first if texts else place
            texts += said
            continue
        if len(texts) > 1 and place - first > 1:
            yield Parts((name, first, "parts" if "parts" in turns[first] else "content"), texts)
        texts = []


def _in_blocks(turn: dict[str, Any], path: Place) -> Iterator[Parts]:
    """Results of several calls in one turn, as Anthropic and Google have them."""
    if type(blocks := turn.get("content")) is list:
        yield from _in_turn(blocks, (*path, "content"), _result_block)
    if type(parts := turn.get("parts")) is list:
        yield from _in_turn(parts, (*path, "parts"), _response)


def _in_turn(
    items: list[Any], path: Place, result: Callable[[dict[str, Any]], tuple[str, list[str]] | None]
) -> Iterator[Parts]:
    """What several calls have returned, one after the other. `result`: of an item its key and texts, if it is one."""
    texts: list[str] = []
    count, begin = 0, path
    for place, item in enumerate((*items, None)):
        one = result(item) if type(item) is dict else None
        if one is not None:
            begin = begin if count else (*path, place, one[0])
            count += 1
            texts += one[1]
            continue
        if count > 1 and len(texts) > 1:
            yield Parts(begin, texts, is_apart=True)
        texts, count = [], 0


def _result(item: dict[str, Any]) -> tuple[str, list[str]] | None:
    if not _is_result(item):
        return None
    return ("content", _texts(item)) if "role" in item else ("output", _said_in(item.get("output")))


def _is_result(item: dict[str, Any]) -> bool:
    role = item.get("role")
    return role in TOOLS if role is not None else str(item.get("type")).endswith("_output")


def _result_block(block: dict[str, Any]) -> tuple[str, list[str]] | None:
    return ("content", _said_in(block.get("content"))) if str(block.get("type")).endswith(RETURNED) else None


def _response(part: dict[str, Any]) -> tuple[str, list[str]] | None:
    name = next((name for name in RESULTS if name in part), None)
    return (name, [*strings(part[name])]) if name is not None else None


def _is_users(turn: dict[str, Any]) -> bool:
    """Gemini's turns are the user's if they do not say whose they are."""
    return turn.get("role", USER if "parts" in turn else None) == USER


def _texts(turn: dict[str, Any]) -> list[str]:
    """What a turn says, in one text or in parts."""
    return _said_in(turn.get("parts") if "parts" in turn else turn.get("content"))


def _said_in(said: Any) -> list[str]:
    if type(said) is str:
        return [said]
    texts = (part.get("text") if type(part) is dict else part for part in (said if type(said) is list else ()))
    return [text for text in texts if type(text) is str]


def _search(holder: dict[str, Any], path: Place, found: list[Parts]) -> None:
    """Every list of parts, and their texts."""
    for key in HITS:
        if type(items := holder.get(key)) is list and len(items) > 1:
            told = [text for item in items if type(item) is dict for text in _told(item, is_part=key in PARTS)]
            if len(told) > 1:
                found.append(Parts((*path, key), told, is_apart=True))
    for key in PARTS:
        parts = holder.get(key)
        if type(parts) is not list:
            continue
        texts: list[str] = []
        for place, part in enumerate(parts):
            text = part.get("text") if type(part) is dict else part
            if type(text) is str:
                texts.append(text)
            if type(part) is dict and (len(part) > 2 or type(text) is not str):
                # A tool's result, or a document, has parts of its own.
                _search(part, (*path, key, place), found)
                if type(source := part.get("source")) is dict:
                    _search(source, (*path, key, place, "source"), found)
                if not RESULTS.isdisjoint(part):
                    found += _results(part, (*path, key, place))
        if len(texts) > 1:
            found.append(Parts((*path, key), texts, parts))


def _described(value: Any, path: Place) -> Iterator[Parts]:
    """What definitions say, of all tools or of all the fields of a form."""
    if not value or type(value) not in (dict, list):
        return
    written = msgspec.json.encode(value)
    texts = _sayings(written) if len(written) <= KEPT_BYTES_MAX else _sayings.__wrapped__(written)
    if len(texts) > 1:
        yield Parts(path, texts, is_apart=True)


@lru_cache(KEPT)
def _sayings(written: bytes) -> list[str]:
    """Of definitions, in their order. An application sends the same ones with every request, and to walk through them takes ten times as long."""
    texts: list[str] = []
    rest: list[Any] = [tree_of(written)]
    while rest:
        node = rest.pop()
        below: list[Any] = []
        for name, item in node.items() if type(node) is dict else (("", item) for item in node):
            kind = type(item)
            if kind is str:
                if name in DESCRIBING and item:
                    texts.append(item)
            elif kind is list and name in DESCRIBING:
                texts += [one for one in item if type(one) is str and one]
                below += [one for one in item if type(one) is dict or type(one) is list]
            elif (kind is dict or kind is list) and item:
                below.append(item)
        rest += reversed(below)
    return texts


def _told(hit: dict[str, Any], *, is_part: bool) -> Iterator[str]:
    """What one of several results of a search, or of a program, says; where it `is_part`, beside the text of one."""
    for name in TELLING if is_part else (*TELLING, "text"):
        if type(text := hit.get(name)) is str and text:
            yield text


def _results(part: dict[str, Any], path: Place) -> Iterator[Parts]:
    for name in RESULTS & part.keys():
        yield from _parts_within(part[name], (*path, name))
        if len(texts := list(strings(part[name]))) > 1:
            yield Parts((*path, name), texts)


def _parts_within(value: Any, path: Place) -> Iterator[Parts]:
    """Lists of parts in what a function returned, such as the results of tools over MCP: other APIs have a place of their own for them."""
    if type(value) is list:
        for place, item in enumerate(value):
            yield from _parts_within(item, (*path, place))
    if type(value) is not dict:
        return
    for name, item in value.items():
        yield from _parts_within(item, (*path, name))
        if name in PARTS and type(item) is list and all(type(one) is dict for one in item):
            texts = [text for one in item if type(text := one.get("text")) is str]
            if len(texts) > 1:
                yield Parts((*path, name), texts, item)


def _runs(texts: Sequence[str]) -> Iterator[list[str]]:
    """Short texts that follow each other, and the edges of the long ones around them."""
    run: list[str] = []
    size = 0
    for text in texts:
        is_short = len(text) <= SHORT_CHARS
        run.append(text if is_short else text[:EDGE_CHARS])
        size += len(run[-1])
        if is_short and size < JOINED_CHARS_MAX:
            continue
        if len(run) > 1:
            yield run
        run, size = [text[-EDGE_CHARS:]], 0
    if len(run) > 1:
        yield run


def _said(run: Sequence[str]) -> Iterator[str]:
    """As it is; and where that would join two words, with spaces between, too."""
    yield "".join(run)
    if any(one and other and not (one[-1].isspace() or other[0].isspace()) for one, other in pairwise(run)):
        yield " ".join(run)
