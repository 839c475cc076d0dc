"""The stream of OpenAI's chat completions: deltas of choices. A placeholder may be split over any number of them."""

from typing import Any

import msgspec

from llmproxy.shield.restore.held import Held, Texts

DELTA_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
SIGNED = "thinking_blocks"  # As a provider signed them: docs/adr/0013.

Channel = tuple[int, str, int]
"""Choice index, what it is (`content`, `arguments`, …), and which of several (the tool call's index)."""


class Stream:
    """Each text of each choice by itself; what they hold leaves before the choice's finish."""

    def __init__(self, texts: Texts) -> None:
        self._held: Held[Channel] = Held(texts)
        self._last: dict[str, Any] = {}

    def chunk(self, event: bytes) -> list[bytes]:
        tree = msgspec.json.decode(event)
        choices = tree.get("choices") if type(tree) is dict else None
        if type(choices) is not list or not choices:
            return [self._held.texts.whole(event)]
        self._last = tree
        before: list[bytes] = []
        changed = False
        for choice in choices:
            if type(choice) is dict:
                changed |= self._choice(choice, before)
        return [*before, msgspec.json.encode(tree) if changed else event]

    def end(self) -> list[bytes]:
        """What is still held, when the answer ends without saying so."""
        return [
            self._event(index, _delta_of(name, number, said))
            for (index, name, number), said in self._held.flush(lambda _: True)
        ]

    def _choice(self, choice: dict[str, Any], before: list[bytes]) -> bool:
        """Changes the choice in place; says whether anything changed."""
        index = choice.get("index", 0)
        delta = choice.get("delta")
        changed = self._delta(index, delta) if type(delta) is dict else False
        if changed and choice.get("logprobs") is not None:
            choice["logprobs"] = None
        if choice.get("finish_reason") is not None:
            before += self._finish(index, choice, delta if type(delta) is dict else {})
            changed = True
        return changed

    def _delta(self, index: int, delta: dict[str, Any]) -> bool:
        changed = False
        for name, value in delta.items():
            if name in DELTA_TEXTS and type(value) is str:
                new: Any = self._held.push((index, name, 0), value)
            elif name == "tool_calls" and type(value) is list:
                for position, call in enumerate(value):
                    if type(call) is dict:
                        changed |= self._call(index, call.get("index", position), call)
                continue
            elif name == "function_call" and type(value) is dict:
                changed |= self._text(value, "arguments", (index, "function_call", 0), in_json=True)
                continue
            elif name == SIGNED:
                self._signed(index, value)
                continue
            else:
                new = self._held.texts.value(name, value)
            if new != value:
                delta[name] = new
                changed = True
        return changed

    def _signed(self, index: int, blocks: Any) -> None:
        """What a provider signed is read, and stays as it is."""
        for number, block in enumerate(blocks if type(blocks) is list else ()):
            if type(block) is dict and type(thought := block.get("thinking")) is str:
                self._held.push((index, SIGNED, number), thought, is_signed=True)

    def _call(self, index: int, number: int, call: dict[str, Any]) -> bool:
        changed = False
        if type(function := call.get("function")) is dict:
            changed |= self._text(function, "arguments", (index, "arguments", number), in_json=True)
        if type(custom := call.get("custom")) is dict:
            changed |= self._text(custom, "input", (index, "input", number), in_json=False)
        return changed

    def _text(self, holder: dict[str, Any], name: str, channel: Channel, *, in_json: bool) -> bool:
        value = holder.get(name)
        if type(value) is not str:
            return False
        holder[name] = self._held.push(channel, value, in_json=in_json)
        return bool(holder[name] != value)

    def _finish(self, index: int, choice: dict[str, Any], delta: dict[str, Any]) -> list[bytes]:
        """The held text goes out before the finish: the delta of the finishing chunk itself is sent first, without it."""
        held = self._flush(index)
        if not held:
            return []
        first: list[bytes] = []
        if delta:
            first = [self._event(index, dict(delta))]
            choice["delta"] = {}
        return [*first, *held]

    def _flush(self, index: int) -> list[bytes]:
        return [
            self._event(index, _delta_of(name, number, said))
            for (_, name, number), said in self._held.flush(lambda place: place[0] == index)
        ]

    def _event(self, index: int, delta: dict[str, Any]) -> bytes:
        """A chunk like the last one, with this delta of this choice alone."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        like = {key: value for key, value in self._last.items() if key != "usage"}
        usage = {"usage": None} if "usage" in self._last else {}
        return msgspec.json.encode({**like, "choices": [choice], **usage})


def _delta_of(name: str, number: int, text: str) -> dict[str, Any]:
    match name:
        case "arguments":
            return {"tool_calls": [{"index": number, "function": {"arguments": text}}]}
        case "input":
            return {"tool_calls": [{"index": number, "custom": {"input": text}}]}
        case "function_call":
            return {"function_call": {"arguments": text}}
        case _:
            return {name: text}
