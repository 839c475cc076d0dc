"""Answers and events that come as one JSON value: every string of them is unmasked, whatever it is called.

What describes the masked tokens (`logprobs`) is dropped wherever unmasking changed the text that it belongs to.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from llmproxy.common import segments
from llmproxy.common.errors import GatewayError
from llmproxy.common.segments import Rewrite, Segment
from llmproxy.shield.vault import PLACEHOLDER, check_growth, unmask
from llmproxy.shield.window import Originals

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
    r"choices\[\d+\]|candidates\[\d+\]|(?:(?:response\.)?output\[\d+\]|item)\.content\[\d+\]|part(?=\.)|(?=text$)"
)
"""What may have `logprobs` beside its texts; the empty one is the event itself."""

LOGPROBS = ("logprobs", "logprobsResult", "avgLogprobs")  # The last two are Gemini's.
_STEP = re.compile(r"(\w+)|\[(\d+)\]")


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


class Encoded:
    """An answer that is a plain text, such as a transcript: it travels as a JSON string of its base64."""

    def __init__(self, text: Callable[[str], str]) -> None:
        self.text = text

    def chunk(self, event: bytes) -> list[bytes]:
        try:
            said = b64decode(msgspec.json.decode(event, type=str)).decode()
        except (msgspec.DecodeError, ValueError):
            return [event]  # In an encoding that is not ours, so nothing of ours stands in it.
        restored = self.text(said)
        return [event if restored == said else msgspec.json.encode(b64encode(restored.encode()).decode())]

    def end(self) -> list[bytes]:
        return []


def whole(answer: bytes, originals: Originals) -> bytes:
    """A whole answer with every placeholder of this request replaced, whatever string it is in."""
    try:
        text = answer.decode()
        if PLACEHOLDER.search(text) is None and "\\u005" not in text:
            return answer
        check_growth(text, originals.in_text)
        tree = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise GatewayError(
            "provider_bad_answer", "the answer cannot be read, so nothing can be unmasked in it"
        ) from None
    rewrite, changed = Rewrite(), set[str]()
    for segment in segments.segments(text, tree, ANSWER_DEPTH_MAX, embedded=False):
        if (
            "[" in segment.text
            and _replace(segment, originals, rewrite)
            and (owner := MEASURED.match(segment.path)) is not None
        ):
            changed.add(owner[0])
    if rewrite.is_empty:
        return answer
    restored = rewrite.apply(text).encode()
    return _without_logprobs(restored, changed) if b"ogprobs" in restored else restored


def _replace(segment: Segment, originals: Originals, rewrite: Rewrite) -> bool:
    if THOUGHTS.fullmatch(segment.path):
        return False
    values = originals.in_json if ARGUMENTS.fullmatch(segment.path) else originals.in_text
    count = 0
    for match in PLACEHOLDER.finditer(segment.text):
        if (value := values.get(match[0])) is not None:
            rewrite.replace(segment, match.start(), match.end(), value)
            count += 1
    return count > 0


def _without_logprobs(answer: bytes, owners: set[str]) -> bytes:
    tree = msgspec.json.decode(answer)
    dropped = [drop_logprobs(_at(tree, owner)) for owner in owners]
    return msgspec.json.encode(tree) if any(dropped) else answer


def _at(tree: Any, path: str) -> Any:
    for step in _STEP.finditer(path):
        tree = tree[step[1]] if step[1] else tree[int(step[2])]
    return tree


def drop_logprobs(owner: Any) -> bool:
    """Says whether there were any. The Responses API has a list of them, which is then empty."""
    found = [name for name in LOGPROBS if owner.get(name)] if type(owner) is dict else []
    for name in found:
        if name != "logprobs":
            del owner[name]
        else:
            owner[name] = [] if type(owner[name]) is list else None
    return bool(found)
