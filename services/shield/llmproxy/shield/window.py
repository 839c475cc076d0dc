"""Unmasks a text that arrives in pieces, holding back only what may be the beginning of a placeholder.

For every split of a text into pieces the output is `unmask` of the whole: what is streamed and what is not are the same.
"""

from bisect import bisect_left
from collections.abc import Mapping
from json import dumps

from llmproxy.shield.vault import unmask


class Originals:
    """The placeholders of one request and what they stand for: in text, and inside a JSON string."""

    __slots__ = ("in_json", "in_text", "ordered")

    def __init__(self, originals: Mapping[str, str]) -> None:
        self.in_text = originals
        # Tool-call arguments are JSON in a string: what is put into them is written as JSON writes it.
        self.in_json = {placeholder: in_json_string(value) for placeholder, value in originals.items()}
        self.ordered = sorted(originals)

    def may_continue(self, tail: str) -> bool:
        """Whether `tail` is the beginning of one of them."""
        at = bisect_left(self.ordered, tail)
        return at < len(self.ordered) and self.ordered[at].startswith(tail)


def in_json_string(value: str) -> str:
    return dumps(value, ensure_ascii=False)[1:-1]


class Window:
    """One text of a stream: a choice's content, its refusal, the arguments of one tool call."""

    __slots__ = ("_held", "_originals", "_replacements")

    def __init__(self, originals: Originals, *, in_json: bool = False) -> None:
        self._originals = originals
        self._replacements = originals.in_json if in_json else originals.in_text
        self._held = ""

    @property
    def is_empty(self) -> bool:
        return not self._held

    def push(self, piece: str) -> str:
        """What can be said now."""
        text = self._held + piece
        start = text.rfind("[")  # A placeholder has one, at its start, so only the last can be unfinished.
        if start >= 0 and self._originals.may_continue(text[start:]) and text[start:] not in self._replacements:
            text, self._held = text[:start], text[start:]
        else:
            self._held = ""
        return unmask(text, self._replacements)

    def flush(self) -> str:
        """What was held back; the text is over."""
        text, self._held = self._held, ""
        return unmask(text, self._replacements)
