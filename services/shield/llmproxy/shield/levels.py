"""How many JSON strings a place of a text is inside of: a document may be a string of another one, as in a tool that is given JSON.

What is put there must be written as JSON writes it, as many times. A text comes in pieces, so what begins like a document is one
until it does not go on like one.
"""

import re
from json import dumps

from llmproxy.common.segments.written import unescape

LEVELS_MAX = 5  # Of documents in strings; in deeper ones all is text.

RUN = re.compile(r'[^"\\]*')
SPACES = " \t\r\n"
OPENING, CLOSING, BEFORE_VALUE = "{[", "}]", "{[,:"
BEGINS, GOES_ON = frozenset("-0123456789tfn"), frozenset("0123456789.eE+-truefalsn")
"""Numbers, `true`, `false`, `null`."""

CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
ESCAPED = re.compile(r'[\x00-\x1f"\\]')  # What a string cannot hold as it is.
CODE_CHARS, HEX = len("\\u0000"), re.compile(r"[0-9a-fA-F]+")


class Levels:
    """One text. `is_document`: it is JSON, whatever it looks like."""

    __slots__ = ("_depth", "_escape", "_inner", "_is_document", "_is_inside", "_is_text", "_last", "_open")

    def __init__(self, *, is_document: bool = False, depth: int = 1) -> None:
        self._is_document, self._depth = is_document, depth
        self._is_text = False
        self._open = 0  # Objects and arrays.
        self._last = ""  # Of what is outside of strings; `v` stands for any value.
        self._is_inside = False  # Of a string,
        self._escape = ""  # and there of an escape.
        self._inner: Levels | None = None  # What is in the string.

    @property
    def count(self) -> int:
        """Of the place that was read to."""
        if self._is_text:
            return 0
        if not self._is_inside:
            return int(self._is_document)
        return 1 + (self._inner.count if self._inner is not None else 0)

    def read(self, text: str) -> None:
        at = 0
        while at < len(text) and not self._is_text:
            if not self._is_inside:
                self._outside(text[at])
                at += 1
            elif self._escape:
                self._escaped(text[at])
                at += 1
            else:
                run = RUN.match(text, at)
                assert run is not None, "it matches nothing, too"
                self._within(run[0])
                end = run.end()
                if end < len(text):
                    self._is_inside = text[end] != '"'
                    self._escape = "\\" if self._is_inside else ""
                at = end + 1

    def _outside(self, sign: str) -> None:
        if sign in SPACES:
            return
        is_expected = self._last in BEFORE_VALUE if self._open else not self._last or self._last in CLOSING
        if sign == '"':
            self._is_text = not (self._open and is_expected) and not self._is_document
            self._is_inside, self._last = True, "v"
            self._inner = Levels(depth=self._depth + 1) if self._depth < LEVELS_MAX else None
        elif sign in OPENING:
            self._is_text = not is_expected and not self._is_document
            self._open, self._last = self._open + 1, sign
        elif self._open and (sign in CLOSING or sign in ",:"):
            self._open, self._last = self._open - (sign in CLOSING), sign
        else:
            goes_on = sign in (BEGINS if is_expected else GOES_ON)
            self._is_text = not (self._open and goes_on) and not self._is_document
            self._last = "v"

    def _escaped(self, sign: str) -> None:
        self._escape += sign
        if self._escape[1] != "u":
            self._within(CONTROLS.get(sign, sign))
            self._escape = ""
        elif len(self._escape) == CODE_CHARS:
            code = self._escape[2:]
            self._within(chr(int(code, 16)) if HEX.fullmatch(code) else code)
            self._escape = ""

    def _within(self, said: str) -> None:
        if self._inner is not None:
            self._inner.read(said)


def is_escaped(value: str) -> bool:
    """Whether `written` writes it otherwise."""
    return ESCAPED.search(value) is not None


def written(value: str, levels: int) -> str:
    """A value as it stands inside of so many strings."""
    for _ in range(levels):
        value = dumps(value, ensure_ascii=False)[1:-1]
    return value


def meant(text: str, start: int, end: int) -> str:
    """The value that is written at a place of a text."""
    value = text[start:end]
    if "\\" not in value:
        return value
    levels = Levels()
    levels.read(text[:start])
    for _ in range(levels.count):
        value = unescape(value)
    return value
