"""A text as the searches for personal data want it."""

import re

from llmproxy.shield import glance

CONTEXT_CHARS = 40
HEAD = re.compile(rb"(?<![a-z])(?=([a-z?][a-z?/][a-z?/#: -]))")
"""The first three characters of each word: a set of them is compared faster than sixty words are looked for."""


class Page:
    """A text and what the patterns need to know of it, each computed once."""

    __slots__ = ("data", "lower", "phone", "shape", "text")

    def __init__(self, text: str) -> None:
        self.text, self.data = text, glance.plain(text)
        self.lower, self.shape = self.data.lower(), glance.shape(self.data)
        self.phone = (-1, -1)  # The last one that was found.

    def before(self, at: int) -> bytes:
        """The words that say what stands here."""
        return self.lower[max(0, at - CONTEXT_CHARS) : at]
