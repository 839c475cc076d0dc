"""The stream of OpenAI's Responses API, and of its other APIs that stream typed events.

A text comes in `<name>.delta` events, again whole in `<name>.done`, and again in every later event that repeats its item:
the last two are unmasked whole, so they agree with what the deltas said. Numbers stay a sequence when events are added.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from llmproxy.shield.restore.held import Held
from llmproxy.shield.restore.whole import drop_logprobs, whole

DELTA, DONE = ".delta", ".done"
ITEM_DONE = "response.output_item.done"
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"})
SEQUENCE = "sequence_number"

Place = tuple[Any, ...]
"""The name of the text and the indices that tell it from others: output, content, summary."""


class Stream:
    """One window for each text; what it holds leaves in a delta of its own before the text's `done`."""

    def __init__(self, originals: Mapping[str, str]) -> None:
        self._held: Held[Place] = Held(originals)
        self._last: dict[Place, dict[str, Any]] = {}  # The delta event that a place was last seen in.
        self._added = 0
        self._next = 0  # The number after that of the last event.

    def text(self, text: str) -> str:
        return self._held.text(text)

    def chunk(self, event: bytes) -> list[bytes]:
        tree = msgspec.json.decode(event)
        if type(tree) is not dict:
            return [whole(event, self._held.originals)]
        kind = tree.get("type")
        if type(number := tree.get(SEQUENCE)) is int:
            self._next = number + 1
        if type(kind) is str and kind.endswith(DELTA) and type(tree.get("delta")) is str:
            return [self._delta(kind.removesuffix(DELTA), tree, event)]
        before = self._flush(self._closed(kind, tree), number)
        return [*before, self._numbered(whole(event, self._held.originals), number)]

    def end(self) -> list[bytes]:
        return self._flush(self._held.places, self._next)

    def _delta(self, name: str, tree: dict[str, Any], event: bytes) -> bytes:
        place, piece = _place(name, tree), tree["delta"]
        self._last[place] = tree
        tree["delta"] = self._held.push(place, piece, in_json=name.endswith("arguments"))
        if tree["delta"] == piece and not self._added:
            return event
        if tree["delta"] != piece:
            drop_logprobs(tree)
        if type(tree.get(SEQUENCE)) is int:
            tree = {**tree, SEQUENCE: tree[SEQUENCE] + self._added}
        return msgspec.json.encode(tree)

    def _closed(self, kind: Any, tree: dict[str, Any]) -> list[Place]:
        """The places with something held whose text is over when this event comes."""
        held = self._held.places
        if not held or type(kind) is not str:
            return []
        if kind in ENDS:
            return held
        if kind == ITEM_DONE:
            return [place for place in held if place[1] == tree.get("output_index")]
        place = _place(kind.removesuffix(DONE), tree)
        return [place] if kind.endswith(DONE) and place in held else []

    def _flush(self, places: list[Place], number: Any) -> list[bytes]:
        """Deltas with what was held, in the place of the event with this number, which moves on."""
        events = []
        for place in places:
            delta = {**self._last[place], "delta": self._held.flush(place)}
            if delta.get("logprobs"):
                delta["logprobs"] = []
            if SEQUENCE in delta and type(number) is int:
                delta[SEQUENCE] = number + self._added
                self._added += 1
            events.append(msgspec.json.encode(delta))
        return events

    def _numbered(self, event: bytes, number: Any) -> bytes:
        if not self._added or type(number) is not int:
            return event
        return msgspec.json.encode({**msgspec.json.decode(event), SEQUENCE: number + self._added})


def _place(name: str, tree: dict[str, Any]) -> Place:
    return (name, *(tree.get(index) for index in ("output_index", "content_index", "summary_index", "item_id")))
