"""Answers and events that come as one JSON value: what is found in a string of them is replaced in its place.

What describes the tokens (`logprobs`) is dropped wherever the text that it belongs to was changed.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

import msgspec

from llmproxy.common import segments
from llmproxy.common.errors import GatewayError
from llmproxy.common.segments import TEXT_CHARS_MIN, Rewrite, Segment
from llmproxy.shield.restore.held import Steps, Text, Texts
from llmproxy.shield.vault import PLACEHOLDER, check_growth
from llmproxy.shield.window import Originals, Window, restored

ANSWER_DEPTH_MAX = 1_000  # Of what a provider sends; our own limit is for what callers send.

ARGUMENTS = re.compile(
    r"choices\[\d+\]\.(?:message|delta)\.(?:tool_calls\[\d+\]\.function|function_call)\.arguments"
    r"|(?:(?:response\.)?output\[\d+\]\.|item\.)?arguments"
)
"""Where a string is a JSON document: what is put into it is written as JSON writes it."""

THOUGHTS = re.compile(
    r"(?:(?:message\.)?content\[\d+\]|content_block|delta|choices\[\d+\]\.(?:message|delta)\.thinking_blocks\[\d+\])\.thinking"
)
"""Where a provider's signature covers the text to the byte: docs/adr/0013."""

MEASURED = re.compile(
    r"choices\[\d+\]|candidates\[\d+\]|(?:(?:response\.)?output\[\d+\]|item)\.content\[\d+\]|part(?=\.)|segments\[\d+\]|(?=text$)"
)
"""What may have its tokens beside its texts; the empty one is the event itself."""

GOOGLES = ("logprobsResult", "avgLogprobs")
LOGPROBS = ("logprobs", *GOOGLES, "token_ids", "tokens", "words")
"""What says the text once more, by its tokens or words: vLLM's ids, and what transcriptions have beside it."""

AGAIN = re.compile(rb'ogprobs|"token_ids"|"tokens"|"words"')
_STEP = re.compile(r"(\w+)|\[(\d+)\]")


class Restorer(Protocol):
    """Takes the events of one answer and returns the events to send in the place of each; at the `end`, what is held."""

    def chunk(self, event: bytes) -> list[bytes]: ...
    def end(self) -> list[bytes]: ...


class Whole:
    """An answer that comes as one JSON value."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def chunk(self, event: bytes) -> list[bytes]:
        return [self._texts.whole(event)]

    def end(self) -> list[bytes]:
        return []


class Encoded:
    """An answer that is a plain text, such as a transcript: it travels as a JSON string of its base64."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts

    def chunk(self, event: bytes) -> list[bytes]:
        try:
            said = b64decode(msgspec.json.decode(event, type=str)).decode()
        except (msgspec.DecodeError, ValueError):
            return [event]  # In an encoding that is not ours, so nothing of ours stands in it.
        restored = self._texts.text(said)
        return [event if restored == said else msgspec.json.encode(b64encode(restored.encode()).decode())]

    def end(self) -> list[bytes]:
        return []


class Unmasking:
    """Puts the originals in place of this request's placeholders, and does nothing else."""

    unmasks = True
    choice: Hashable = 0

    def __init__(self, originals: Mapping[str, str]) -> None:
        self._originals = Originals(originals)

    def open(
        self, *, in_json: bool = False, is_signed: bool = False, follows: Hashable = None, place: Steps = ()
    ) -> Text:
        return SIGNED if is_signed else Window(self._originals, in_json=in_json)

    def is_prose(self, text: str) -> bool:
        return False

    def text(self, text: str) -> str:
        return restored(text, self._originals)

    def stays(self, text: str) -> bool:
        return self.text(text) == text

    def words(self, text: str) -> str:
        return self.text(text)

    def value(self, key: str, value: Any) -> Any:
        return deep(self.text, value)

    def name(self, name: str) -> str:
        return self.text(name)

    def whole(self, event: bytes) -> bytes:
        """Every placeholder is replaced, whatever string it is in."""
        text = written(event)
        if PLACEHOLDER.search(text) is None and "\\u005" not in text:
            return event
        check_growth(text, self._originals.in_text)
        return rewritten(event, text, decoded(event), self._unmasked)

    def _unmasked(self, segment: Segment) -> str:
        if "[" not in segment.text or THOUGHTS.fullmatch(segment.path):
            return segment.text
        return restored(segment.text, self._originals, in_json=ARGUMENTS.fullmatch(segment.path) is not None)


class _Signed:
    """A text that is not ours to change."""

    def push(self, piece: str) -> str:
        return piece

    def flush(self) -> str:
        return ""


SIGNED = _Signed()


def _unreadable() -> GatewayError:
    return GatewayError("provider_bad_answer", "the answer cannot be read, so nothing can be looked for in it")


def written(answer: bytes) -> str:
    try:
        return answer.decode()
    except UnicodeDecodeError:
        raise _unreadable() from None


def decoded(answer: bytes) -> Any:
    try:
        return msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _unreadable() from None


def rewritten(
    answer: bytes, text: str, tree: Any, change: Callable[[Segment], str], *, shortest: int = TEXT_CHARS_MIN
) -> bytes:
    """The answer with each string as `change` has it; what is not changed stays to the byte."""
    rewrite, changed = Rewrite(), set[str]()
    for segment in segments.segments(text, tree, ANSWER_DEPTH_MAX, embedded=False, shortest=shortest):
        becomes = change(segment)
        if becomes != segment.text:
            rewrite.replace(segment, 0, len(segment.text), becomes)
            if (owner := MEASURED.match(segment.path)) is not None:
                changed.add(owner[0])
    if rewrite.is_empty:
        return answer
    restored = rewrite.apply(text).encode()
    return _without_logprobs(restored, changed) if AGAIN.search(restored) else restored


def deep(change: Callable[[str], str], value: Any) -> Any:
    """A value that comes whole, with every string in it changed."""
    if type(value) is str:
        return change(value)
    if type(value) is list:
        return [deep(change, item) for item in value]
    if type(value) is dict:
        return {change(key): deep(change, item) for key, item in value.items()}
    return value


def _without_logprobs(answer: bytes, owners: set[str]) -> bytes:
    tree = msgspec.json.decode(answer)
    dropped = [drop_logprobs(_at(tree, owner)) for owner in owners]
    return msgspec.json.encode(tree) if any(dropped) else answer


def _at(tree: Any, path: str) -> Any:
    for step in _STEP.finditer(path):
        tree = tree[step[1]] if step[1] else tree[int(step[2])]
    return tree


def drop_logprobs(owner: Any) -> bool:
    """Says whether there were any. What is a list is empty then: clients expect one."""
    found = [name for name in LOGPROBS if owner.get(name)] if type(owner) is dict else []
    for name in found:
        if name in GOOGLES:
            del owner[name]
        else:
            owner[name] = [] if type(owner[name]) is list else None
    return bool(found)
