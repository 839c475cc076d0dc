"""The stream of OpenAI's Responses API, and of its other APIs that stream typed events.

A text comes in `<name>.delta` events, again whole in `<name>.done`, and again in every later event that repeats its item:
the last two come whole and become the same as what the deltas said. Numbers stay a sequence when events are added.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from llmproxy.common.segments.binaries import is_base64
from llmproxy.shield.restore import nested
from llmproxy.shield.restore.held import Held, Texts, beside, measured
from llmproxy.shield.restore.whole import drop_logprobs

DELTA, DONE = ".delta", ".done"
SAID = "_text"  # What readers put together, of all items and their parts: what is said, and what is thought.
SOUND = ".audio"  # What such deltas hold is base64.
ITEM_DONE = "response.output_item.done"
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"})
SEQUENCE = "sequence_number"

INDICES = ("output_index", "content_index", "summary_index", "item_id")
OF_DELTA = frozenset({"type", "delta", SEQUENCE, "logprobs", "obfuscation", *INDICES})
OWN = 1 + len(
    INDICES
)  # Of a place; behind that is the part of a delta that has several, and the place in a structure there.

Place = tuple[Any, ...]
"""The name of the text and the indices that tell it from others: output, content, summary."""


class Stream:
    """Each text by itself; what it holds leaves in a delta of its own before the text's `done`."""

    def __init__(self, texts: Texts) -> None:
        self._held: Held[Place] = Held(texts, "output")
        self._last: dict[Place, dict[str, Any]] = {}  # The delta event that a place was last seen in.
        self._around: dict[Place, tuple[Any, nested.Place]] = {}  # Of a text in a structure: how it last stood there.
        self._added = 0
        self._next = 0  # The number after that of the last event.

    def chunk(self, event: bytes) -> list[bytes]:
        tree = msgspec.json.decode(event)
        if type(tree) is not dict:
            return [self._held.texts.whole(event)]
        kind = tree.get("type")
        if type(number := tree.get(SEQUENCE)) is int:
            self._next = number + 1
        if type(kind) is str and kind.endswith(DELTA) and type(tree.get("delta")) is str:
            return [self._delta(kind.removesuffix(DELTA), tree, event)]
        if type(kind) is str and kind.endswith(DELTA) and type(tree.get("delta")) is dict:
            return [self._deltas(kind.removesuffix(DELTA), tree, event)]
        closed = _closed_by(kind, tree) if type(kind) is str else None
        before = self._flush(closed, number) if closed is not None else []
        return [*before, self._numbered(self._held.texts.whole(event), number)]

    def end(self) -> list[bytes]:
        return self._flush(lambda _: True, self._next)

    def _delta(self, name: str, tree: dict[str, Any], event: bytes) -> bytes:
        changed = beside(self._held.texts, tree, OF_DELTA)
        changed |= measured(self._held.texts, tree, "logprobs")
        place, piece = _place(name, tree), tree["delta"]
        self._last[place] = tree
        if not (name.endswith(SOUND) and is_base64(piece)):
            tree["delta"] = self._held.push(
                place, piece, in_json=name.endswith("arguments"), follows=name if name.endswith(SAID) else None
            )
        if tree["delta"] == piece and not (changed or self._added):
            return event
        if tree["delta"] != piece:
            drop_logprobs(tree)
        if type(tree.get(SEQUENCE)) is int:
            tree = {**tree, SEQUENCE: tree[SEQUENCE] + self._added}
        return msgspec.json.encode(tree)

    def _deltas(self, name: str, tree: dict[str, Any], event: bytes) -> bytes:
        """Several texts at once, such as what a program writes to its two outputs."""
        changed = beside(self._held.texts, tree, OF_DELTA)
        said: dict[str, Any] = {}
        for written, value in tree["delta"].items():
            part = self._held.texts.name(written)
            place = (*_place(name, tree), part)
            if type(value) is str:
                self._last[place] = tree
                said[part] = self._held.push(place, value)
            elif nested.is_new(part, value):
                said[part] = self._nested(place, part, value, tree)
            else:
                said[part] = self._held.texts.value(part, value)
        if said == tree["delta"] and not (changed or self._added):
            return event
        tree["delta"] = said
        return self._numbered(msgspec.json.encode(tree), tree.get(SEQUENCE))

    def _nested(self, own: Place, name: str, value: Any, tree: dict[str, Any]) -> Any:
        new, _, steps = nested.read(
            value,
            lambda place, text: self._held.push((*own, place), text),
            lambda rest: self._held.texts.value(name, rest),
            says_index=True,
        )
        for place, leading in steps.items():
            self._last[*own, place] = tree
            self._around[*own, place] = (new, leading)
        return new

    def _flush(self, is_over: Callable[[Place], bool], number: Any) -> list[bytes]:
        """Deltas with what was held, in the place of the event with this number, which moves on."""
        events = []
        for place, said in self._held.flush(is_over):
            delta = {**self._last[place], "delta": self._delta_of(place, said)}
            if delta.get("logprobs"):
                delta["logprobs"] = []
            if SEQUENCE in delta and type(number) is int:
                delta[SEQUENCE] = number + self._added
                self._added += 1
            events.append(msgspec.json.encode(delta))
        return events

    def _delta_of(self, place: Place, said: str) -> Any:
        match place[OWN:]:
            case ():
                return said
            case (name,):
                return {name: said}
            case (name, _):
                return {name: nested.around(*self._around[place], said)}

    def _numbered(self, event: bytes, number: Any) -> bytes:
        if not self._added or type(number) is not int:
            return event
        return msgspec.json.encode({**msgspec.json.decode(event), SEQUENCE: number + self._added})


def _closed_by(kind: str, tree: dict[str, Any]) -> Callable[[Place], bool] | None:
    """Which texts are over when this event comes."""
    if kind in ENDS:
        return lambda _: True
    if kind == ITEM_DONE:
        return lambda place: bool(place[1] == tree.get("output_index"))
    if kind.endswith(DONE):
        closed = _place(kind.removesuffix(DONE), tree)
        return lambda place: place[:OWN] == closed
    return None


def _place(name: str, tree: dict[str, Any]) -> Place:
    return (name, *(tree.get(index) for index in INDICES))
