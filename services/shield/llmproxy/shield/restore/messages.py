"""The stream of Anthropic's Messages API: content blocks that open, grow and close.

Thinking passes as it is: the signature behind it covers it to the byte, so it must come back as it was sent (docs/adr/0013).
"""

from collections.abc import Callable
from typing import Any

import msgspec

from llmproxy.shield.restore.held import Held, Texts

TEXTS = {"text_delta": "text", "input_json_delta": "partial_json", "compaction_delta": "content"}
"""The kinds of deltas that are pieces of a text, and where the piece is."""

ARGUMENTS = "input_json_delta"
THINKING, SIGNATURE = "thinking_delta", "signature_delta"
ENDS = frozenset({"message_delta", "message_stop", "error"})

Place = tuple[int, str]
"""The index of the block and the kind of its deltas."""


class Stream:
    """One text for each block; what it holds leaves before the block closes."""

    def __init__(self, texts: Texts) -> None:
        self._held: Held[Place] = Held(texts)

    def chunk(self, event: bytes) -> list[bytes]:
        tree = msgspec.json.decode(event)
        if type(tree) is not dict:
            return [self._held.texts.whole(event)]
        match tree.get("type"):
            case "content_block_delta" if type(tree.get("delta")) is dict:
                return [self._delta(tree["delta"], tree, event)]
            case "content_block_start" if _begun(tree):
                block = tree["content_block"]
                block["text"] = self._held.push((tree.get("index", 0), "text_delta"), block["text"])
                return [msgspec.json.encode(tree)]
            case "content_block_stop":
                index = tree.get("index", 0)
                return [*self._flush(lambda place: place[0] == index), event]
            case kind if kind in ENDS:
                return [*self.end(), self._held.texts.whole(event)]
        return [self._held.texts.whole(event)]

    def end(self) -> list[bytes]:
        return self._flush(lambda _: True)

    def _delta(self, delta: dict[str, Any], tree: dict[str, Any], event: bytes) -> bytes:
        kind = delta.get("type", "")
        if kind == THINKING and type(thought := delta.get("thinking")) is str:
            self._held.push((tree.get("index", 0), kind), thought, is_signed=True)
        if kind in (THINKING, SIGNATURE):
            return event
        name = TEXTS.get(kind, "")
        if type(piece := delta.get(name)) is not str:
            return self._held.texts.whole(event)
        said = self._held.push((tree.get("index", 0), kind), piece, in_json=kind == ARGUMENTS)
        if said == piece:
            return event
        delta[name] = said
        return msgspec.json.encode(tree)

    def _flush(self, is_over: Callable[[Place], bool]) -> list[bytes]:
        return [
            msgspec.json.encode(
                {
                    "type": "content_block_delta",
                    "index": index,
                    "delta": {"type": kind, TEXTS[kind]: said},
                }
            )
            for (index, kind), said in self._held.flush(is_over)
        ]


def _begun(tree: dict[str, Any]) -> bool:
    """Whether a block of text opens with some of its text."""
    block = tree.get("content_block")
    return (
        type(block) is dict and block.get("type") == "text" and type(block.get("text")) is str and block["text"] != ""
    )
