r"""In the arguments of a tool, which are JSON, a character may be written as an escape. Those of ASCII, of which keys and
addresses are made, and invisible ones are written out here, which says the same, so that what looks for them finds them and
can take all of them out. Held back is an escape that has not ended.
"""

import re

from llmproxy.shield.answers.invisible import UNSEEN

ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|[^u])", re.DOTALL
)
BEGUN = re.compile(r"\\(?:u(?:[0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)?)?\Z")
WRITTEN_OUT = re.compile(rf"[ !#-\[\]-~]|{UNSEEN.pattern}")
HIGH_FIRST, LOW_FIRST, ASTRAL = 0xD800, 0xDC00, 0x10000


class Escapes:
    """One document."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = ""

    @property
    def held(self) -> int:
        return len(self._pending)

    def push(self, piece: str) -> str:
        text, self._pending = self._pending + piece, ""
        if "\\" not in text:
            return text
        end = _ended(text)
        self._pending = text[end:]
        return ESCAPE.sub(_written_out, text[:end])

    def flush(self) -> str:
        pending, self._pending = self._pending, ""
        return ESCAPE.sub(_written_out, pending)


def is_clear(text: str) -> bool:
    return "\\" not in text


def _ended(text: str) -> int:
    """Where the last escape begins if it may go on; else the end of the text."""
    at = text.find("\\")
    while at >= 0:
        if BEGUN.match(text, at) is not None:
            return at
        escape = ESCAPE.match(text, at)
        at = text.find("\\", escape.end() if escape is not None else at + 1)
    return len(text)


def _written_out(escape: re.Match[str]) -> str:
    if escape[1]:
        high, low = int(escape[1], 16), int(escape[2], 16)
        character = chr(ASTRAL + ((high - HIGH_FIRST) << 10) + (low - LOW_FIRST))
    elif escape[3]:
        character = chr(int(escape[3], 16))
    else:
        return "/" if escape[0] == r"\/" else escape[0]
    return character if WRITTEN_OUT.fullmatch(character) else escape[0]
