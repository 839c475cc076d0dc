"""Reads an answer sentence by sentence, with what stands before each: whether it orders somebody about can be told as soon as it ends.

Where a sentence ends does not depend on the pieces in which it comes.
"""

import re
from collections.abc import Callable

from llmproxy.shield.answers.stage import Look, Report, moved

SENTENCE_CHARS_MIN, SENTENCE_CHARS_MAX = 40, 512  # What is shorter is read with the next one, what is longer in parts.
CONTEXT_CHARS = 1_024  # Before a sentence: an order may take several.
ENDS = re.compile(r"\n|[.!?][\"')\]]{0,3}\s|[。！？]")


class Sentences:
    """One text. `look` is asked about each sentence behind its context."""

    __slots__ = ("_at", "_context", "_look", "_pending", "_report")

    def __init__(self, look: Look, report: Report) -> None:
        self._look, self._report = look, report
        self._context = self._pending = ""
        self._at = 0  # Where in the text that is pending.

    def read(self, piece: str) -> None:
        text, at = self._pending + piece, 0
        while (end := _end(text, at)) > 0:
            self._sentence(text[at:end])
            at = end
        self._pending = text[at:]

    def over(self) -> None:
        if self._pending:
            self._sentence(self._pending)
            self._pending = ""

    def _sentence(self, sentence: str) -> None:
        before, at = self._context, self._at
        self._at += len(sentence)
        self._context = (before + sentence)[-CONTEXT_CHARS:]
        for finding in self._look(before + sentence, len(before)):
            self._context = ""  # It is told once.
            self._report(moved(finding, at - len(before)))


def is_clear(text: str, may_hold: Callable[[str], bool]) -> bool:
    """`may_hold`: a quick look for what `look` would see."""
    at = 0
    while at < len(text):
        end = _end(text, at) or len(text)
        if may_hold(text[max(0, at - CONTEXT_CHARS) : end]):
            return False
        at = end
    return True


def _end(text: str, at: int) -> int:
    """Of the sentence that begins there; 0 when it goes on."""
    last = at + SENTENCE_CHARS_MAX
    found = ENDS.search(text, at + SENTENCE_CHARS_MIN, last)
    if found is not None:
        return found.end()
    if len(text) < last:
        return 0
    return text.rfind(" ", at, last) + 1 or last
