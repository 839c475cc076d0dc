"""The stream of Anthropic's Messages API: content blocks that open, grow and close.

Thinking passes as it is: the signature behind it covers it to the byte, so it must come back as it was sent (docs/adr/0013).
"""

from collections.abc import Callable
from typing import Any

import msgspec

from llmproxy.shield.restore import nested
from llmproxy.shield.restore.held import Held, Texts, beside

TYPE = "type"
"""Of a delta; whatever other string stands in one, of whatever kind, is a piece of a text."""

SAID = ("text_delta", "text")
"""What readers put together: the texts of all blocks."""

OF_DELTA = frozenset({"type", "index", "delta"})
OF_START = frozenset({"type", "index", "content_block"})
OF_STOP = frozenset({"type", "index"})
OF_TEXT = frozenset({"type", "text"})
ARGUMENTS = "input_json_delta"
THINKING, SIGNATURE = "thinking_delta", "signature_delta"
THOUGHT = "thinking"
SEALED = {THINKING: frozenset({"type", THOUGHT}), SIGNATURE: frozenset({"type", "signature"})}
ENDS = frozenset({"message_delta", "message_stop", "error"})

Place = tuple[int, str, str, nested.Place]
"""The index of the block, the kind of its deltas, and where in them the piece is: its name, and the place in a structure."""


class Stream:
    """One text for each block; what it holds leaves before the block closes."""

    def __init__(self, texts: Texts) -> None:
        self._held: Held[Place] = Held(texts, "content")
        self._around: dict[Place, tuple[Any, nested.Place]] = {}  # Of a text in a structure: how it last stood there.

    def chunk(self, event: bytes) -> list[bytes]:
        tree = msgspec.json.decode(event)
        if type(tree) is not dict:
            return [self._held.texts.whole(event)]
        match tree.get("type"):
            case "content_block_delta" if type(tree.get("delta")) is dict:
                return [self._delta(tree["delta"], tree, event)]
            case "content_block_start" if _begun(tree):
                block = tree["content_block"]
                block["text"] = self._held.push((tree.get("index", 0), *SAID, ()), block["text"], follows=SAID)
                beside(self._held.texts, block, OF_TEXT)
                beside(self._held.texts, tree, OF_START)
                return [msgspec.json.encode(tree)]
            case "content_block_stop":
                index = tree.get("index", 0)
                changed = beside(self._held.texts, tree, OF_STOP)
                return [*self._flush(lambda place: place[0] == index), msgspec.json.encode(tree) if changed else event]
            case kind if kind in ENDS:
                return [*self.end(), self._held.texts.whole(event)]
        return [self._held.texts.whole(event)]

    def end(self) -> list[bytes]:
        return self._flush(lambda _: True)

    def _delta(self, delta: dict[str, Any], tree: dict[str, Any], event: bytes) -> bytes:
        kind = delta.get("type", "")
        changed = beside(self._held.texts, tree, OF_DELTA)
        if kind == THINKING and type(thought := delta.get(THOUGHT)) is str:
            self._held.push((tree.get("index", 0), kind, THOUGHT, ()), thought, is_signed=True)
        if kind in SEALED and all(type(delta.get(name)) is str for name in SEALED[kind]):
            changed |= beside(self._held.texts, delta, SEALED[kind])
            return msgspec.json.encode(tree) if changed else event
        said = {
            (called := self._held.texts.name(name)): self._said(tree, kind, called, value)
            for name, value in delta.items()
            if name != TYPE
        }
        if not changed and all(delta.get(name) == value for name, value in said.items()):
            return event
        tree["delta"] = {TYPE: kind, **said}
        return msgspec.json.encode(tree)

    def _said(self, tree: dict[str, Any], kind: str, name: str, value: Any) -> Any:
        index = tree.get("index", 0)
        if nested.is_new(name, value):
            return self._nested(index, kind, name, value)
        if type(value) is not str:
            return self._held.texts.value(name, value)
        follows = SAID if (kind, name) == SAID else None
        return self._held.push((index, kind, name, ()), value, in_json=kind == ARGUMENTS, follows=follows)

    def _nested(self, index: int, kind: str, name: str, value: Any) -> Any:
        new, _, steps = nested.read(
            value,
            lambda place, text: self._held.push((index, kind, name, place), text),
            lambda rest: self._held.texts.value(name, rest),
            says_index=True,
        )
        for place, leading in steps.items():
            self._around[index, kind, name, place] = (new, leading)
        return new

    def _flush(self, is_over: Callable[[Place], bool]) -> list[bytes]:
        return [
            msgspec.json.encode(
                {"type": "content_block_delta", "index": place[0], "delta": self._delta_of(place, said)}
            )
            for place, said in self._held.flush(is_over)
        ]

    def _delta_of(self, place: Place, said: str) -> dict[str, Any]:
        _, kind, name, inside = place
        return {TYPE: kind, name: nested.around(*self._around[place], said) if inside else said}


def _begun(tree: dict[str, Any]) -> bool:
    """Whether a block of text opens with some of its text."""
    block = tree.get("content_block")
    return (
        type(block) is dict and block.get("type") == "text" and type(block.get("text")) is str and block["text"] != ""
    )
