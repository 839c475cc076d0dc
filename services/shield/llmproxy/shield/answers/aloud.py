"""What one answer says in all of its texts, in the order in which they come: a marker or a system text may be in none of them, and in
several together: blocks, thoughts and what follows them, the arguments of one call and the next.

Each text is looked at by itself, too, so only what is around a change from one to the other is looked at here.
"""

import re
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import msgspec

from llmproxy.common.segments.written import unescape
from llmproxy.shield.answers.canary import DIGITS, KIND
from llmproxy.shield.answers.leak import Leak
from llmproxy.shield.answers.stage import Report, seen
from llmproxy.shield.verdict import Finding

BEFORE_CHARS = 512  # Of the text before: so many words as a passage has.
BEHIND_CHARS = 2_048  # Of a text, from where it begins; behind that it is a passage of its own.
PIECES_MAX = 256
NAME_CHARS_MAX = 256  # Of an argument; a longer string is a value.

STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?', re.DOTALL)
INSIDE = re.compile(r'((?:[^"\\]|\\.)*)(")?', re.DOTALL)


class Aloud:
    """One answer, or one of several choices. `new_leak` begins to look for the system text; None where it is not looked for."""

    __slots__ = ("_canary", "_end", "_leaks", "_left", "_new_leak", "_report", "_text", "alone", "found", "said")

    def __init__(self, canary: str, new_leak: Callable[[Report], Leak | None], report: Report) -> None:
        self._canary, self._new_leak, self._report = canary, new_leak, report
        self._text: Hashable = None  # Which one was heard last,
        self.said = deque[str](maxlen=PIECES_MAX)  # and its last pieces.
        self.alone: Hashable = None  # The same, where there is nothing to look for but in the text itself.
        self._end = ""  # Of it all, where there is a marker.
        self._leaks: list[Leak] = []  # As the texts are, and with spaces between them.
        self._left = 0
        self.found = False

    def hear(self, text: Hashable, piece: str) -> bool:
        """What comes next, of some text; whether the system text was found in it now."""
        if text != self._text and piece:
            if self.said and not self.found:
                self._goes_over()
            self._text = text
        is_new = bool(self._canary or self._leaks) and self._look(piece)
        self.alone = None if self._canary or self._leaks else self._text
        self.said.append(piece[-BEFORE_CHARS:])
        return is_new

    def _before(self) -> str:
        return "".join(self.said)[-BEFORE_CHARS:]

    def _goes_over(self) -> None:
        if not self._leaks:
            self._leaks = [
                leak for leak in (self._new_leak(self._note), self._new_leak(self._note)) if leak is not None
            ]
            for leak in self._leaks:
                leak.read(self._before())
        for leak in self._leaks[1:]:
            leak.read(" ")
        self._left = BEHIND_CHARS

    def _look(self, piece: str) -> bool:
        if self._canary:
            self._end += piece.lower()
            if self._canary in self._end:
                self._report(seen(KIND, "block"))
            self._end = self._end[1 - DIGITS :]
        was_found = self.found
        for leak in self._leaks:
            leak.read(piece)
        self._left -= len(piece)
        if self._left <= 0 or self.found:
            self._leaks = []
        return self.found and not was_found

    def _note(self, finding: Finding) -> bool:
        """Both may find it."""
        if not self.found:
            self.found = True
            self._report(finding)
        return False


class Values:
    """The texts in a JSON document that comes in pieces, without the names between them: (which one, what comes next of it)."""

    __slots__ = ("_count", "_is_inside", "_pending")

    def __init__(self) -> None:
        self._pending = ""
        self._is_inside = False  # Of a value that is said already.
        self._count = 0

    def push(self, piece: str) -> Iterator[tuple[int, str]]:
        text, at = self._pending + piece, 0
        while True:
            if self._is_inside:
                value = INSIDE.match(text, at)
                assert value is not None, "it matches nothing, too"
                yield self._count, unescape(value[1])
                at, self._is_inside = value.end(), value[2] is None
                if self._is_inside:
                    break
            at = text.find('"', at)
            if at < 0:
                at = len(text)
                break
            string = STRING.match(text, at)
            if string is None:
                if len(text) - at <= NAME_CHARS_MAX:
                    break
                at, self._is_inside, self._count = at + 1, True, self._count + 1
            elif string.end() == len(text) and string[2] is None:
                break  # A colon may follow.
            else:
                at = string.end()
                if string[2] is None:
                    self._count += 1
                    yield self._count, unescape(string[1])
        self._pending = text[at:]

    def flush(self) -> Iterator[tuple[int, str]]:
        pending, self._pending = self._pending, ""
        yield self._count + 1, unescape(pending.strip().strip('"'))


def values(text: str) -> Sequence[str]:
    """Of a whole document; of what is none the text itself."""
    try:
        return [*_strings(msgspec.json.decode(text))]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return [text]


def _strings(value: Any) -> Iterator[str]:
    if type(value) is str:
        yield value
    elif type(value) is list:
        for item in value:
            yield from _strings(item)
    elif type(value) is dict:
        for item in value.values():
            yield from _strings(item)
