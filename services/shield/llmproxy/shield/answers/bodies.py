"""What stands behind `<style>`, `<script>` and the mark of a diagram: a style sheet, one rule after the other, a script, one statement
after the other, and lines.

Held back is one rule, statement or line. Where a page holds several texts one behind the other, a body goes on from one to the next.
"""

import re
from collections.abc import Callable

from llmproxy.shield.links import URL_CHARS_MAX
from llmproxy.shield.vault import redacted

KIND = "image"
STYLE_OPENS = re.compile(r"<style(?=[\s/>])", re.IGNORECASE)
SCRIPT_OPENS = re.compile(r"<script(?=[\s/>])", re.IGNORECASE)
RULE_ENDS = re.compile(r"\}|</style", re.IGNORECASE)
STATEMENT_ENDS = re.compile(r"[;\n]|</script", re.IGNORECASE)
LINE_ENDS = re.compile(r"\A {0,3}`{3}|\n")
RULE_CHARS_MAX = URL_CHARS_MAX + 1_024  # An address, and what may stand before it.
STATEMENT_CHARS_MAX = 512
CONTEXT_CHARS = 64  # Of a script: a word that is cut by the end of a piece is whole with what was said before it.

Judgement = Callable[[str], str]
"""Why a text is suspicious; "" when it is not."""

Seen = Callable[[str, int, int], bool]
"""Told why, and where in the text; says whether to take it out."""


class Body:
    """Until `is_over`: then all the rest was said. `ends`: of a piece of it, or of the whole, which begins with `<`."""

    __slots__ = (
        "_at",
        "_chars_max",
        "_closing",
        "_context",
        "_context_chars",
        "_ends",
        "_judge",
        "_pending",
        "_seen",
        "_told",
        "is_over",
    )

    def __init__(
        self,
        ends: re.Pattern[str],
        chars_max: int,
        context_chars: int,
        closing: str,
        judge: Judgement,
        seen: Seen,
        at: int,
    ) -> None:
        self._ends, self._chars_max, self._context_chars = ends, chars_max, context_chars
        self._closing, self._judge, self._seen = closing, judge, seen
        self._context = ""
        self._pending = ""
        self._told = 0  # Characters at its beginning that the text before has ended with.
        self._at = at  # Where in the text it begins.
        self.is_over = False

    @property
    def held(self) -> int:
        return len(self._pending) - self._told

    def push(self, piece: str) -> str:
        text, self._pending = self._pending + piece, ""
        out: list[str] = []
        while not self.is_over:
            ends = self._ends.search(text, 0, self._chars_max)
            if ends is None and len(text) < self._chars_max:
                self._pending = text
                return "".join(out)
            self.is_over = ends is not None and (ends[0].startswith("<") or ends[0].endswith("`"))
            end = self._chars_max if ends is None else ends.start() if self.is_over else ends.end()
            out.append(self._judged(text[:end], is_overlong=ends is None))
            text = text[end:]
        return "".join((*out, text))

    def flush(self) -> str:
        """What comes behind it may go on with the piece, if it is what readers put behind it."""
        pending, context = self._pending, self._context
        said = self._judged(pending, is_overlong=False)
        if pending.endswith(said):
            self._pending, self._told, self._context = pending, len(pending), context
        else:
            self._pending = ""
        self._at = -len(self._pending)
        return said

    def _judged(self, piece: str, *, is_overlong: bool) -> str:
        told, self._told = self._told, 0
        at, self._at = self._at, self._at + len(piece)
        before, self._context = self._context, ""
        reason = self._judge(before + piece) or ("overlong" if is_overlong and not self._context_chars else "")
        if reason and len(piece) > told:
            if self._seen(reason, at, at + len(piece)):
                self.is_over = self.is_over or told > 0
                return (self._closing if told else "") + redacted(KIND) + ("\n" if piece.endswith("\n") else "")
        elif self._context_chars:
            self._context = (before + piece)[-self._context_chars :]
        return piece[told:]


def style(judge: Judgement, seen: Seen, at: int) -> Body:
    return Body(RULE_ENDS, RULE_CHARS_MAX, 0, "</style>", judge, seen, at)


def script(judge: Judgement, seen: Seen, at: int) -> Body:
    return Body(STATEMENT_ENDS, STATEMENT_CHARS_MAX, CONTEXT_CHARS, "</script>", judge, seen, at)


def drawing(judge: Judgement, seen: Seen, at: int) -> Body:
    return Body(LINE_ENDS, RULE_CHARS_MAX, 0, "\n", judge, seen, at)
