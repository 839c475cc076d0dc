"""Where an answer shows code, which no renderer takes for images and links.

Whoever could make this file see a fence that a renderer does not see would have a place to hide an image. So a fence opens
only where every renderer opens one, and closes where any might.
"""

import re

LINE_CHARS_MAX = 80  # What is longer opens nothing.
TAIL_CHARS = 10
OPENS = re.compile(r"```[\w+#.-]{0,40}[ \t]*\r?", re.ASCII)
MARK = re.compile(r"( {0,3}(?:(?:[-*+]|\d{1,9}[.)]) {1,4})*)`{3,}")
"""What may open a fence: at the beginning of its line, or in an item of a list."""

CLOSES = re.compile(r" {0,3}(?:`{3}|~{3})")
CLOSED = re.compile(r" {0,3}`{3,}[ \t]*\r?")
"""As it closes for every renderer. What only might leaves in doubt which of the next marks opens and which closes."""

MATHS = re.compile(r" {0,3}(?P<sign>\$\$|\\\[)")
MATHS_CLOSED = re.compile(r" {0,3}(?:\$\$|\\\])[ \t]*\r?")
CLOSING = {"$$": "$$", "\\[": "\\]"}
"""A block of mathematics, in which marks are no fence. Not every renderer knows them."""

TELLING = re.compile(r"[`~<$\\\r]")
RETURN = re.compile(r"\r(?!\n|\Z)")
HTML = re.compile(r" {0,3}<")
UNCERTAIN = re.compile(r"<(?:!|\?|/|pre|script|style|textarea)|\n {0,3}~~~", re.IGNORECASE)
"""What may make a fence something else: blocks of HTML that outlast an empty line, and fences of the other kind."""


class Fences:
    """Reads an answer in pieces. `is_open` is of the place where the last piece ended."""

    __slots__ = ("_has_html", "_indent", "_is_listed", "_is_open", "_is_uncertain", "_line", "_maths", "_tail")

    def __init__(self) -> None:
        self._is_open = False
        self._line = ""  # The beginning of the line that has not ended.
        self._has_html = False  # In the lines since the last empty one.
        self._is_uncertain = False
        self._indent = 0  # Of the fence that may be open, where that is not at the beginning of its line.
        self._is_listed = False  # And it is certain that that is where the item's text begins.
        self._maths = ""  # What closes the block of mathematics that may be open.
        self._tail = "\n"

    @property
    def is_open(self) -> bool:
        """Not behind a line that ends as only some end theirs, of which the next one may be the end of the fence."""
        return self._is_open and not self._tail.endswith("\r")

    @property
    def may_be_open(self) -> bool:
        """In an item of a list, too."""
        return self.is_open or (self._indent > 0 and not self._is_dedented(self._line))

    @property
    def line(self) -> str:
        """What of the current line was read, as far as it is kept."""
        return "" if self._tail.endswith("\r") else self._line

    @property
    def is_escaped(self) -> bool:
        """Whether a backslash stands before this place."""
        return self._tail.endswith("\\")

    def read(self, text: str) -> None:
        if self._is_plain(text):
            _, is_ended, last = text.rpartition("\n")
            self._line = (last if is_ended else self._line + last)[: LINE_CHARS_MAX + 1]
            self._tail = (self._tail + text)[-TAIL_CHARS:]
            return
        if "\r" in text or self._tail.endswith("\r"):
            text = self._returned(text)
        if "\n" in text:  # One by one: what stands in a fence makes none that was open before it uncertain.
            *ended, text = text.split("\n")
            for line in ended:
                self._look(f"{line}\n")
                self._ended((self._line + line)[: LINE_CHARS_MAX + 1])
                self._line = ""
        self._look(text)
        if len(self._line) <= LINE_CHARS_MAX:
            self._line = (self._line + text)[: LINE_CHARS_MAX + 1]

    def _is_plain(self, text: str) -> bool:
        """Whether nothing in it, or in the line that it goes on with, changes anything, as in nearly all."""
        is_amid = self._is_open or self._has_html or self._indent or self._maths or self._tail.endswith("\r")
        return not is_amid and TELLING.search(text) is None and TELLING.search(self._line) is None

    def _returned(self, text: str) -> str:
        """A carriage return alone ends a line for most renderers, and for some it is a space."""
        if RETURN.search(self._tail[-1:] + text) is not None:
            if self._tail.endswith("\r"):
                self._line = ""
            self._is_open, self._is_uncertain = False, True
        return text.replace("\r", "\n") if self._is_uncertain else text

    def _look(self, text: str) -> None:
        recent = self._tail + text
        if not self._is_uncertain and ("<" in recent or "~~~" in recent) and not self._is_open:
            self._is_uncertain = UNCERTAIN.search(recent) is not None
        self._tail = recent[-TAIL_CHARS:]

    def _ended(self, line: str) -> None:
        is_whole = len(line) <= LINE_CHARS_MAX
        if self._is_open:
            if CLOSES.match(line) is not None:
                self._is_open = False
                self._is_uncertain |= not is_whole or CLOSED.fullmatch(line) is None
            return
        if not line.strip():
            self._has_html = False
        elif HTML.match(line) is not None:
            self._has_html = True
        if self._maths:
            self._in_maths(line, is_whole=is_whole)
        elif self._indent:
            self._in_indented(line, is_whole=is_whole)
        elif (mark := MARK.match(line)) is not None:
            self._marked(mark, line, is_whole=is_whole)
        elif (opened := MATHS.match(line)) is not None:
            closing = CLOSING[opened["sign"]]
            self._maths = "" if closing in line[opened.end() :] + self._rest(is_whole) else closing

    def _marked(self, mark: re.Match[str], line: str, *, is_whole: bool) -> None:
        if not is_whole or OPENS.fullmatch(line, mark.end(1)) is None:
            self._is_uncertain |= not (is_whole and "`" in line[mark.end() :])  # Which are code within a line.
        elif self._has_html:
            self._is_uncertain = True
        elif mark[1]:
            self._indent, self._is_listed = len(mark[1]), not mark[1].isspace()
        else:
            self._is_open = not self._is_uncertain

    def _in_indented(self, line: str, *, is_whole: bool) -> None:
        """It may be that of a list's item, which ends with the item. So its text is no code here, and only its end is looked for."""
        if self._is_dedented(line):
            self._indent, self._is_uncertain = 0, True
        elif CLOSES.match(line, at := self._indent if self._is_listed else 0) is not None:
            self._is_uncertain |= not is_whole or CLOSED.fullmatch(line, at) is None
            self._indent = 0

    def _is_dedented(self, line: str) -> bool:
        text = line.lstrip(" ")
        return text.strip() != "" and len(line) - len(text) < self._indent and not line.startswith("\t")

    def _in_maths(self, line: str, *, is_whole: bool) -> None:
        """Where renderers may differ in whether it is over, or whether there was any, no mark opens a fence any more."""
        if is_whole and MATHS_CLOSED.fullmatch(line) is not None:
            self._maths = ""
        elif self._maths in line + self._rest(is_whole) or CLOSES.match(line) is not None:
            self._maths, self._is_uncertain = "", True

    def _rest(self, is_whole: bool) -> str:
        """How a line ended of which only the beginning is kept."""
        return "" if is_whole else f" {self._tail}"
