"""The way back: puts the originals in place of this request's placeholders, in whole answers and in streamed ones.

`logprobs` describe the masked tokens, so they are dropped wherever unmasking changed the text they belong to.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from llmproxy.common import segments
from llmproxy.common.segments import Rewrite, Segment
from llmproxy.shield.vault import PLACEHOLDER, check_growth, unmask
from llmproxy.shield.window import Originals, Window

DELTA_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
ANSWER_DEPTH_MAX = 1_000  # Of what a provider sends; our own limit is for what callers send.

Channel = tuple[int, str, int]
"""Choice index, what it is (`content`, `arguments`, …), and which of several (the tool call's index)."""


# -- whole answers


def whole(answer: bytes, originals: Originals) -> bytes:
    """A whole answer with every placeholder of this request replaced, whatever string it is in."""
    text = answer.decode()
    if PLACEHOLDER.search(text) is None and "\\u005" not in text:
        return answer
    check_growth(text, originals.in_text)
    tree = segments.decode(answer, ANSWER_DEPTH_MAX)
    rewrite, changed = Rewrite(), set[int]()
    for segment in segments.segments(text, tree, ANSWER_DEPTH_MAX, embedded=False):
        if (
            "[" in segment.text
            and _replace(segment, originals, rewrite)
            and (choice := _choice(segment.path)) is not None
        ):
            changed.add(choice)
    restored = rewrite.apply(text).encode()
    return _without_logprobs(restored, changed) if b'"logprobs"' in restored else restored


def _replace(segment: Segment, originals: Originals, rewrite: Rewrite) -> bool:
    values = originals.in_json if segment.path.endswith(".arguments") else originals.in_text
    count = 0
    for match in PLACEHOLDER.finditer(segment.text):
        if (value := values.get(match[0])) is not None:
            rewrite.replace(segment, match.start(), match.end(), value)
            count += 1
    return count > 0


def _choice(path: str) -> int | None:
    if not path.startswith("choices["):
        return None
    return int(path[len("choices[") : path.index("]")])


def _without_logprobs(answer: bytes, choices: set[int]) -> bytes:
    tree = msgspec.json.decode(answer)
    dropped = False
    for place in choices:
        if tree["choices"][place].get("logprobs") is not None:
            tree["choices"][place]["logprobs"] = None
            dropped = True
    return msgspec.json.encode(tree) if dropped else answer


# -- streams


class Restorer(Protocol):
    """Takes the events of one answer and returns the events to send in the place of each; at the `end`, what is held."""

    def chunk(self, event: bytes) -> list[bytes]: ...
    def end(self) -> list[bytes]: ...
    def text(self, text: str) -> str:
        """Words about the answer: an error message may quote the request."""


class Whole:
    """An answer that comes as one JSON value."""

    def __init__(self, originals: Mapping[str, str]) -> None:
        self._originals = Originals(originals)

    def text(self, text: str) -> str:
        return unmask(text, self._originals.in_text)

    def chunk(self, event: bytes) -> list[bytes]:
        return [whole(event, self._originals)]

    def end(self) -> list[bytes]:
        return []


class Stream:
    """A streamed answer: texts arrive in pieces, and a placeholder may be split over any number of them."""

    def __init__(self, originals: Mapping[str, str]) -> None:
        self._originals = Originals(originals)
        self._windows: dict[Channel, Window] = {}
        self._last: dict[str, Any] = {}

    def text(self, text: str) -> str:
        return unmask(text, self._originals.in_text)

    def chunk(self, event: bytes) -> list[bytes]:
        tree = msgspec.json.decode(event)
        choices = tree.get("choices") if type(tree) is dict else None
        if type(choices) is not list or not choices:
            return [whole(event, self._originals)]
        self._last = tree
        before: list[bytes] = []
        changed = False
        for choice in choices:
            if type(choice) is dict:
                changed |= self._choice(choice, before)
        return [*before, msgspec.json.encode(tree) if changed else event]

    def end(self) -> list[bytes]:
        """What windows still hold, when the answer ends without saying so."""
        indices = dict.fromkeys(index for index, _, _ in self._windows)
        return [event for index in indices for event in self._flush(index)]

    def _choice(self, choice: dict[str, Any], before: list[bytes]) -> bool:
        """Unmasks the choice in place; says whether anything changed."""
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
                new: Any = self._window((index, name, 0)).push(value)
            elif name == "tool_calls" and type(value) is list:
                for position, call in enumerate(value):
                    if type(call) is dict:
                        changed |= self._call(index, call.get("index", position), call)
                continue
            elif name == "function_call" and type(value) is dict:
                changed |= self._text(value, "arguments", (index, "function_call", 0), in_json=True)
                continue
            else:
                new = self._deep(value)
            if new != value:
                delta[name] = new
                changed = True
        return changed

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
        holder[name] = self._window(channel, in_json=in_json).push(value)
        return bool(holder[name] != value)

    def _deep(self, value: Any) -> Any:
        """Other values, such as annotations, come whole: no window."""
        if type(value) is str:
            return unmask(value, self._originals.in_text)
        if type(value) is list:
            return [self._deep(item) for item in value]
        if type(value) is dict:
            return {key: self._deep(item) for key, item in value.items()}
        return value

    def _window(self, channel: Channel, *, in_json: bool = False) -> Window:
        window = self._windows.get(channel)
        if window is None:
            window = self._windows[channel] = Window(self._originals, in_json=in_json)
        return window

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
        events = []
        for (owner, name, number), window in self._windows.items():
            if owner == index and not window.is_empty:
                events.append(self._event(index, _delta_of(name, number, window.flush())))
        return events

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
