"""Definitions that order something, of all that a request brings: each tool is read as a whole, for what one of its texts leaves out another
may say. Applications send the same ones with every request, and what was clear a moment ago is not read again."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from llmproxy.common import segments
from llmproxy.common.recent import KEY_BYTES, siphash
from llmproxy.common.segments.decoding import strings
from llmproxy.common.signatures import Budget
from llmproxy.common.views import Hint, hints
from llmproxy.shield.injection import definitions
from llmproxy.shield.injection.model import ample
from llmproxy.shield.spread import DEFINITIONS, SERVED, Joined, Place

DEFINED = frozenset(DEFINITIONS)
IS_SERVED = SERVED.encode()
DECLARATIONS = ("functionDeclarations", "function_declarations")  # One item holds many tools there.
PROPERTIES = "properties"
TYPES = frozenset({"object", "string", "number", "integer", "boolean", "array", "function"})
HIDING_CHARS_MAX = 16_384  # In a loop, of tools that hide something, which is to be decoded first.
TOOLS_MAX = 500  # In a loop, of one list,
READ_MAX = 128  # and of those that are not known yet, which take 10 us each, however short.
CLEAR_MAX = 8_192  # Tools, and lists of tools, that are remembered.


class Defined(Struct, frozen=True):
    """`is_spent`: there was no time for all of it, and nothing else counts."""

    texts: frozenset[str] = frozenset()  # That order something by themselves.
    together: tuple[Joined, ...] = ()  # Tools of which no text does so by itself.
    is_spent: bool = False


NOTHING, SPENT = Defined(), Defined(is_spent=True)


def may_define(tree: dict[str, Any], body: bytes) -> bool:
    """Whether there are definitions in it: nearly never, and most requests pay no more than this."""
    return not DEFINED.isdisjoint(tree) or ("input" in tree and IS_SERVED in body)


class Reading:
    """What definitions order, and which of them were clear: by digests that nobody outside of this process can make."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._clear: dict[bytes, None] = {}

    def of(self, tree: dict[str, Any], tenant: bytes, budget: Budget | None = None) -> Defined:
        """`budget`: what may be spent in a loop; without one each tool has all that it may need."""
        key = blake2b(tenant, digest_size=KEY_BYTES, key=self._secret).digest()
        read, hiding_chars, found = 0, 0, list[Defined]()
        for path, holder in _holders(tree):
            digest = _digest(key, holder)
            if digest in self._clear:
                continue
            before = len(found)
            for number, (place, tool) in enumerate(_tools(holder, path)):
                said = self._unknown(key, tool)
                if said is not None:
                    suspected = hints(said.text)
                    read, hiding_chars = read + 1, hiding_chars + (len(said.text) if suspected else 0)
                    if budget is not None and (read > READ_MAX or hiding_chars > HIDING_CHARS_MAX):
                        return SPENT
                    ordering = _ordering(said, place, suspected, budget or ample(3 * len(said.text)))
                    if ordering is None and (budget is None or not budget.exhausted):
                        self._remember(said.digest)
                    elif ordering is not None:
                        found.append(ordering)
                if budget is not None and (budget.exhausted or number >= TOOLS_MAX):
                    return SPENT
            if len(found) == before:
                self._remember(digest)
        return _sum(found)

    def _unknown(self, key: bytes, tool: Any) -> "_Said | None":
        digest = _digest(key, tool)
        if digest in self._clear:
            return None
        texts = [one for one in strings(tool) if len(one) >= segments.TEXT_CHARS_MIN and one not in TYPES]
        named = [f"argument named {name.replace('_', ' ')}" for name in _names(tool) if "_" in name]
        return _Said(digest, texts, "\n".join((*texts, *named)))

    def _remember(self, digest: bytes) -> None:
        if len(self._clear) >= CLEAR_MAX:
            self._clear.clear()
        self._clear[digest] = None


class _Said(Struct, frozen=True):
    """What one tool says, text by text and as a whole, to which the names of arguments belong: one may be the order."""

    digest: bytes
    texts: list[str]
    text: str


def _ordering(said: _Said, place: Place, suspected: Hint, budget: Budget) -> Defined | None:
    if definitions.orders(said.text, budget, suspected) is None:
        return None
    alone = frozenset(one for one in said.texts if definitions.orders(one, budget))
    return Defined(alone) if alone else Defined(together=(Joined(segments.join(place), definitions.ROLE, said.text),))


def _digest(key: bytes, value: Any) -> bytes:
    return siphash(key, msgspec.json.encode(value))


def _names(value: Any) -> Iterator[str]:
    """Of all that a schema calls properties, at any depth."""
    if type(value) is list:
        for item in value:
            yield from _names(item)
    elif type(value) is dict:
        for name, item in value.items():
            if name == PROPERTIES and type(item) is dict:
                yield from item
            yield from _names(item)


def _sum(found: list[Defined]) -> Defined:
    if not found:
        return NOTHING
    return Defined(
        frozenset(text for one in found for text in one.texts),
        tuple(tool for one in found for tool in one.together),
    )


def _holders(tree: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """The fields that hold definitions, and what servers list among the items of a conversation."""
    for name in DEFINITIONS:
        if value := tree.get(name):
            yield (name,), value
    items = tree.get("input")
    for place, item in enumerate(items if type(items) is list else ()):
        if type(item) is dict and item.get("type") == SERVED:
            yield ("input", place, "tools"), item.get("tools")


def _tools(holder: Any, path: Place) -> Iterator[tuple[Place, Any]]:
    if type(holder) is not list:
        yield path, holder
        return
    for place, item in enumerate(holder):
        declared = next((name for name in DECLARATIONS if type(item) is dict and item.get(name)), None)
        if declared is None:
            yield (*path, place), item
        else:
            yield from _tools(item[declared], (*path, place, declared))
