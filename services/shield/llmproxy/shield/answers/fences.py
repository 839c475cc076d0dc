"""Where an answer shows code, which no renderer takes for images and links.

Whoever could make this file see a fence that a renderer does not see would have a place to hide an image. So a fence opens
only where every renderer opens one, and closes where any might.
"""

import re

LINE_CHARS_MAX = 80  # What is longer opens nothing.
TAIL_CHARS = 10
OPENS = re.compile(r"```[\w+#.-]{0,40}[ \t]*\r?", re.ASCII)
CLOSES = re.compile(r" {0,3}(?:`{3}|~{3})")
HTML = re.compile(r" {0,3}<")
UNCERTAIN = re.compile(r"<(?:!|\?|/|pre|script|style|textarea)|\n {0,3}~~~", re.IGNORECASE)
"""What may make a fence something else: blocks of HTML that outlast an empty line, and fences of the other kind."""


class Fences:
    """Reads an answer in pieces. `is_open` is of the place where the last piece ended."""

    __slots__ = ("_has_html", "_is_uncertain", "_line", "_tail", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self._line = ""  # The beginning of the line that has not ended.
        self._has_html = False  # In the lines since the last empty one.
        self._is_uncertain = False
        self._tail = "\n"

    @property
    def line(self) -> str:
        """What of the current line was read, as far as it is kept."""
        return self._line

    def read(self, text: str) -> None:
        if "\n" in text:  # One by one: what stands in a fence makes none that was open before it uncertain.
            *ended, text = text.split("\n")
            for line in ended:
                self._look(f"{line}\n")
                self._ended((self._line + line)[: LINE_CHARS_MAX + 1])
                self._line = ""
        self._look(text)
        if len(self._line) <= LINE_CHARS_MAX:
            self._line = (self._line + text)[: LINE_CHARS_MAX + 1]

    def _look(self, text: str) -> None:
        recent = self._tail + text
        if not self._is_uncertain and ("<" in recent or "~~~" in recent) and not self.is_open:
            self._is_uncertain = UNCERTAIN.search(recent) is not None
        self._tail = recent[-TAIL_CHARS:]

    def _ended(self, line: str) -> None:
        if self.is_open:
            self.is_open = CLOSES.match(line) is None
        elif not line.strip():
            self._has_html = False
        elif HTML.match(line) is not None:
            self._has_html = True
        elif OPENS.fullmatch(line) is not None and len(line) <= LINE_CHARS_MAX:
            self.is_open = not (self._has_html or self._is_uncertain)
