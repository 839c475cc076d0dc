"""Unmasks a text that arrives in pieces, holding back only what may be the beginning of a placeholder.

For every split of a text into pieces the output is that of the whole: what is streamed and what is not are the same.
"""

from bisect import bisect_left
from collections.abc import Mapping

from llmproxy.shield.levels import Levels, is_escaped, written
from llmproxy.shield.vault import PLACEHOLDER, check_growth, unmask


class Originals:
    """The placeholders of one request and what they stand for."""

    __slots__ = ("in_text", "is_escaped", "ordered")

    def __init__(self, originals: Mapping[str, str]) -> None:
        self.in_text = originals
        self.is_escaped = is_escaped("".join(originals.values()))  # Then it matters where one of them is put.
        self.ordered = sorted(originals)

    def may_continue(self, tail: str) -> bool:
        """Whether `tail` is the beginning of one of them."""
        at = bisect_left(self.ordered, tail)
        return at < len(self.ordered) and self.ordered[at].startswith(tail)


class Window:
    """One text of a stream: a choice's content, its refusal, the arguments of one tool call. `in_json`: it is a document."""

    __slots__ = ("_held", "_levels", "_originals")

    def __init__(self, originals: Originals, *, in_json: bool = False) -> None:
        self._originals = originals
        self._levels = Levels(is_document=in_json) if originals.is_escaped else None
        self._held = ""

    @property
    def is_empty(self) -> bool:
        return not self._held

    def push(self, piece: str) -> str:
        """What can be said now."""
        text = self._held + piece
        start = text.rfind("[")  # A placeholder has one, at its start, so only the last can be unfinished.
        if start >= 0 and self._originals.may_continue(text[start:]) and text[start:] not in self._originals.in_text:
            text, self._held = text[:start], text[start:]
        else:
            self._held = ""
        return self._unmasked(text)

    def flush(self) -> str:
        """What was held back; the text is over."""
        text, self._held = self._held, ""
        return self._unmasked(text)

    def _unmasked(self, text: str) -> str:
        levels, originals = self._levels, self._originals.in_text
        if levels is None:
            return unmask(text, originals)
        check_growth(text, originals)
        said, at = "", 0
        for placeholder in PLACEHOLDER.finditer(text):
            first, last = placeholder.span()
            levels.read(text[at:first])
            value = originals.get(placeholder[0])
            said += text[at:first] + (placeholder[0] if value is None else written(value, levels.count))
            levels.read(placeholder[0])
            at = last
        levels.read(text[at:])
        return said + text[at:]


def restored(text: str, originals: Originals, *, in_json: bool = False) -> str:
    """A text that comes whole."""
    if "[" not in text:
        return text
    window = Window(originals, in_json=in_json)
    return window.push(text) + window.flush()
