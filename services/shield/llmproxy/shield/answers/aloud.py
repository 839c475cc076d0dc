"""What one answer says in all of its texts, in the order in which they come: a marker or a system text may be in none of them, and in
several together: blocks, thoughts and what follows them, the arguments of one call and the next.

Each text is looked at by itself, too, so only what is around a change from one to the other is looked at here.
"""

import re
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence

import msgspec

from llmproxy.common.segments.decoding import strings
from llmproxy.common.segments.tree import tree_of
from llmproxy.common.segments.written import unescape
from llmproxy.shield.answers.canary import DIGITS, KIND
from llmproxy.shield.answers.leak import Leak
from llmproxy.shield.answers.stage import Report, seen
from llmproxy.shield.verdict import Finding

BEFORE_CHARS = 512  # Of the text before: so many words as a passage has.
SEAM_CHARS = 256  # On each side of a change from one text to another, for a glance.
BEHIND_CHARS = 2_048  # Of a text, from where it begins; behind that it is a passage of its own.
PIECES_MAX = 256
NAME_CHARS_MAX = 256  # Of an argument; a longer string is a value.

BETWEEN = re.compile(r"[^0-9a-zA-Z]+")  # As in canary.py.
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?', re.DOTALL)
INSIDE = re.compile(r'((?:[^"\\]|\\.)*)(")?', re.DOTALL)


class Aloud:
    """One answer, or one of several choices. `new_leak` begins to look for the system text, None where it is not looked for; `is_clear` is a
    promise that it would not find it in all of a text."""

    __slots__ = (
        "_before", "_canary", "_end", "_is_clear", "_leaks", "_left", "_new_leak", "_report", "_spaced", "_text", "alone", "found", "said",
    )  # fmt: skip

    def __init__(
        self,
        canary: str,
        new_leak: Callable[[Report], Leak | None],
        is_clear: Callable[[str], bool],
        report: Report,
    ) -> None:
        self._canary, self._new_leak, self._is_clear, self._report = canary, new_leak, is_clear, report
        self._text: Hashable = None  # Which one was heard last,
        self.said = deque[str](maxlen=PIECES_MAX)  # and its last pieces.
        self._before = self._spaced = ""  # The ends of those before it, as they are and with spaces between them.
        self.alone: Hashable = None  # The last one, where there is nothing to look for but in the text itself.
        self._end = ""  # Of it all, where there is a marker.
        self._leaks: list[Leak] = []  # In what is before it and in it, both ways.
        self._left = 0
        self.found = False

    def hear(self, text: Hashable, piece: str) -> bool:
        """What comes next, of some text; whether the system text was found in it now."""
        if text != self._text and piece:
            self._goes_over(text)
            if self._before and not self.found:
                self._begin()
        is_new = bool(self._canary or self._leaks) and self._look(piece)
        self.alone = None if self._canary or self._leaks else self._text
        self.said.append(piece[-BEFORE_CHARS:])
        return is_new

    def hear_all(self, text: str) -> bool:
        """The same of a text that comes whole: nearly always a glance at it, with what is before it, is enough."""
        if not text:
            return False
        self._goes_over(object())
        self._leaks = []  # What they have seen is in what was said before.
        if self._before and not self.found and not self._is_clear_with(text[:SEAM_CHARS]):
            self._begin()
        is_new = bool(self._canary or self._leaks) and self._look(text)
        self.said.append(text[-BEFORE_CHARS:])
        return is_new

    def _is_clear_with(self, begins: str) -> bool:
        if not self._is_clear(f"{self._spaced[-SEAM_CHARS:]} {begins}"):
            return False
        is_one = self._before[-1].isalnum() and begins[0].isalnum()  # Else both ways have the same words.
        return not is_one or self._is_clear(f"{self._before[-SEAM_CHARS:]}{begins}")

    def _goes_over(self, text: Hashable) -> None:
        last = "".join(self.said)
        self.said.clear()
        self._before = (self._before + last)[-BEFORE_CHARS:]
        self._spaced = f"{self._spaced} {last}"[-BEFORE_CHARS:]
        self._text, self.alone = text, None

    def _begin(self) -> None:
        if not self._leaks:
            for before in (self._before, self._spaced):
                if (leak := self._new_leak(self._note)) is not None:
                    leak.read(before)
                    self._leaks.append(leak)
        for leak in self._leaks[1:]:
            leak.read(" ")
        self._left = BEHIND_CHARS

    def _look(self, piece: str) -> bool:
        if self._canary:
            self._end += BETWEEN.sub("", piece).lower()
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
        return [*strings(tree_of(text))]
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return [text]
