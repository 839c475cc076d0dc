"""OpenAI's chat completions, whole and as a stream of deltas of choices, over any number of which a placeholder may be split."""

from collections.abc import Hashable
from typing import Any

import msgspec

from llmproxy.shield.answers.names import is_piece
from llmproxy.shield.restore import prose, whole
from llmproxy.shield.restore.held import Held, Texts, beside, measured, others, renew
from llmproxy.shield.restore.nested import Place, around, is_new, pieces, read
from llmproxy.shield.restore.whole import drop_logprobs

DELTA_TEXTS = ("content", "refusal", "reasoning_content", "reasoning", "thinking")
OF_CHUNK = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"})
OF_CHOICE = frozenset({"index", "delta", "finish_reason", "logprobs"})
OF_BLOCK = frozenset({"type", "signature", "data", "index"})
OF_THOUGHT = OF_BLOCK | {"thinking"}
OF_CALL = frozenset({"index", "id", "type", "function", "custom"})
OF_CALLED = frozenset({"name", "arguments", "input"})
REPEATED = "message"
"""Some vendors say all of the answer so far beside each delta: half of what is taken out of the deltas would stand in it."""

CALLS = "tool_calls"
SAID = "content"  # As a structure: parts that readers put together.
SIGNED = "thinking_blocks"  # As a provider signed them: docs/adr/0013.

NESTED = frozenset({"audio", "content", "reasoning", "reasoning_content", "reasoning_details"})
"""What may be a structure with pieces of texts in it, as some vendors send it."""

Channel = tuple[int, str, int | Place]
"""Choice index, what it is (`content`, `arguments`, …), and which of several (the tool call's index, or the place in a structure)."""


class Whole(whole.Whole):
    """An answer in which nothing is found is only looked at."""

    def __init__(self, texts: Texts) -> None:
        super().__init__(texts)
        self._clear: bytes | None = None  # The answer, where a glance has told.

    def is_prose(self, event: bytes) -> bool:
        """Whether a glance tells that it stays as it is."""
        texts = prose.texts(event)
        if texts is None or len(texts) != 1 or not self._texts.is_prose(texts[0]):
            return False
        self._clear = event
        return True

    def chunk(self, event: bytes) -> list[bytes]:
        if event is self._clear:
            return [event]
        if not self._texts.unmasks and (texts := prose.texts(event)) is not None:
            if len(texts) > 1:
                texts.append(" ".join(texts))
            for text in texts:
                if not self._texts.stays(text):
                    break
            else:
                return [event]
        return super().chunk(event)


class Stream:
    """Each text of each choice by itself; what they hold leaves before the choice's finish."""

    def __init__(self, texts: Texts) -> None:
        self._held: Held[Channel] = Held(texts, "choices")
        self._last: dict[str, Any] = {}
        self._around: dict[Channel, tuple[Any, Place]] = {}  # Of a text in a structure: how it last stood there.

    def chunk(self, event: bytes) -> list[bytes]:
        tree = msgspec.json.decode(event)
        choices = tree.get("choices") if type(tree) is dict else None
        if type(choices) is not list or not choices:
            return [self._held.texts.whole(event)]
        self._last = tree
        before: list[bytes] = []
        changed = beside(self._held.texts, tree, OF_CHUNK)
        changed |= measured(self._held.texts, tree, "usage")
        changed |= others(self._held.texts, choices)
        for choice in choices:
            if type(choice) is dict:
                changed |= self._choice(choice, before)
        return [*before, msgspec.json.encode(tree) if changed else event]

    def end(self) -> list[bytes]:
        """What is still held, when the answer ends without saying so."""
        return [
            self._event(channel[0], self._delta_of(channel, said)) for channel, said in self._held.flush(lambda _: True)
        ]

    def _choice(self, choice: dict[str, Any], before: list[bytes]) -> bool:
        """Changes the choice in place; says whether anything changed."""
        index = self._held.texts.choice = choice.get("index", 0)
        delta = choice.get("delta")
        if type(delta) is dict:
            changed = self._delta(index, delta, before)
        else:
            changed = delta is not None and renew(self._held.texts, choice, "delta")
        if type(delta) is dict and choice.pop(REPEATED, None) is not None:
            changed = True
        changed |= beside(self._held.texts, choice, OF_CHOICE)
        changed |= measured(self._held.texts, choice, "logprobs")
        if changed:
            drop_logprobs(choice)
        if choice.get("finish_reason"):  # Some vendors say an empty one until then.
            before += self._finish(index, choice, delta if type(delta) is dict else {})
            changed = True
        return changed

    def _delta(self, index: int, delta: dict[str, Any], before: list[bytes]) -> bool:
        changed = False
        for name, value in [*delta.items()]:
            if type(value) is str and (name in DELTA_TEXTS or is_piece(name)):
                new = self._held.push((index, name, 0), value)
            elif (name in NESTED and type(value) in (dict, list)) or is_new(name, value):
                before += self._parts_before(index, name, value)
                delta[name], was_changed = self._nested(index, name, value)
                changed |= was_changed
                continue
            elif name == CALLS and type(value) is list:
                changed |= others(self._held.texts, value)
                for position, call in enumerate(value):
                    if type(call) is dict:
                        changed |= self._call(index, call.get("index", position), call)
                continue
            elif name == "function_call" and type(value) is dict:
                changed |= self._called(value, "arguments", (index, "function_call", 0), in_json=True)
                continue
            elif name == SIGNED and type(value) is list:
                changed |= self._signed(index, value)
                continue
            else:
                changed |= renew(self._held.texts, delta, name)
                continue
            if new != value:
                delta[name] = new
                changed = True
        return changed

    def _signed(self, index: int, blocks: list[Any]) -> bool:
        """What a provider signed is read, and stays as it is."""
        changed = False
        for number, block in enumerate(blocks):
            if type(block) is not dict:
                blocks[number] = self._held.texts.value(SIGNED, block)
                changed |= bool(blocks[number] != block)
                continue
            if type(thought := block.get("thinking")) is str:
                self._held.push((index, SIGNED, number), thought, is_signed=True)
            changed |= beside(self._held.texts, block, OF_THOUGHT if type(thought) is str else OF_BLOCK)
        return changed

    def _call(self, index: int, number: int, call: dict[str, Any]) -> bool:
        changed = beside(self._held.texts, call, OF_CALL)
        if type(function := call.get("function")) is dict:
            changed |= self._called(function, "arguments", (index, "arguments", number), in_json=True)
        elif function is not None:
            changed |= renew(self._held.texts, call, "function")
        if type(custom := call.get("custom")) is dict:
            changed |= self._called(custom, "input", (index, "input", number), in_json=False)
        elif custom is not None:
            changed |= renew(self._held.texts, call, "custom")
        return changed

    def _called(self, called: dict[str, Any], written: str, channel: tuple[int, str, int], *, in_json: bool) -> bool:
        new = [
            name for name, value in called.items() if type(value) is str and name not in OF_CALLED and is_piece(name)
        ]
        changed = beside(self._held.texts, called, OF_CALLED.union(new))
        changed |= self._name(called)
        index, holder, number = channel
        for name in new:
            changed |= self._text(called, name, (index, CALLS, (holder, number, name)), in_json=False)
        return self._text(called, written, channel, in_json=in_json) or changed

    def _name(self, called: dict[str, Any]) -> bool:
        """Of a tool: it comes whole."""
        name = called.get("name")
        if not name:
            return False
        called["name"] = self._held.texts.value("name", name)
        return bool(called["name"] != name)

    def _parts_before(self, index: int, name: str, value: Any) -> list[bytes]:
        """What the parts of a message still hold when the next one begins."""
        channels = [(index, name, one.place) for one in pieces(value, says_index=name not in NESTED)]
        begin = {_together(one) for one in channels if not self._held.is_open(one)} - {None}
        if not begin:
            return []
        held = self._held.flush(lambda place: place not in channels and _together(place) in begin)
        return [self._event(index, self._delta_of(channel, said)) for channel, said in held]

    def _nested(self, index: int, name: str, value: Any) -> tuple[Any, bool]:
        """A structure in which texts come in pieces, and all the rest whole; and whether anything changed."""
        new, changed, steps = read(
            value,
            lambda place, text: self._held.push((index, name, place), text, follows=_together((index, name, place))),
            lambda rest: self._held.texts.value(name, rest),
            says_index=name not in NESTED,
        )
        for place, leading in steps.items():
            self._around[index, name, place] = (new, leading)
        return new, changed

    def _text(self, holder: dict[str, Any], name: str, channel: Channel, *, in_json: bool) -> bool:
        value = holder.get(name)
        if value is None:
            return False
        if type(value) is str:
            holder[name] = self._held.push(channel, value, in_json=in_json)
        else:  # Some vendors give arguments as the object that they are, and whole.
            holder[name] = self._held.texts.value(name, value)
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
            self._event(index, self._delta_of(channel, said))
            for channel, said in self._held.flush(lambda place: place[0] == index)
        ]

    def _event(self, index: int, delta: dict[str, Any]) -> bytes:
        """A chunk like the last one, with this delta of this choice alone."""
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        like = {key: value for key, value in self._last.items() if key != "usage"}
        usage = {"usage": None} if "usage" in self._last else {}
        return msgspec.json.encode({**like, "choices": [choice], **usage})

    def _delta_of(self, channel: Channel, text: str) -> dict[str, Any]:
        match channel:
            case (_, "arguments" | "input" | "function_call" as holder, number):
                return _call(holder, number, "input" if holder == "input" else "arguments", text)
            case (_, "tool_calls", (holder, number, name)):
                return _call(holder, number, name, text)
            case (_, name, tuple()):
                return {name: around(*self._around[channel], text)}
            case (_, name, _):
                return {name: text}


def _call(holder: str | int, number: int | str | Place, name: str | int, text: str) -> dict[str, Any]:
    """A delta with this text of one call, under this name."""
    if holder == "function_call":
        return {holder: {name: text}}
    return {CALLS: [{"index": number, "custom" if holder == "input" else "function": {name: text}}]}


def _together(channel: Channel) -> Hashable:
    """What the parts of a message have in common: which choice's, and the names around them. None of what is no part."""
    index, name, place = channel
    if name != SAID or not isinstance(place, tuple):
        return None
    return index, tuple(step for step in place if isinstance(step, str))
