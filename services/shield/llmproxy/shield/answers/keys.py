r"""Takes private keys out of an answer: recognised by the head and the first letters of the body, and swallowed as they come.

Held back is what may become a head; the body, which is thousands of characters, never is.
"""

import re

from llmproxy.common.answers import AnswerAction
from llmproxy.shield.answers.stage import Report
from llmproxy.shield.vault import redacted
from llmproxy.shield.verdict import Finding

KIND = "secret.private_key"
HELD_CHARS_MAX = 480
HEADER_LINES_MAX = 6
HEAD = "-----BEGIN "

_BREAK = r"(?:\s|\\[nr])"  # In the arguments of a tool, a line break is written.
BEGIN = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{1,10} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    rf"{_BREAK}{{1,4}}(?:[A-Za-z-]{{3,20}}: [^\n\\]{{0,100}}{_BREAK}{{1,4}}){{0,{HEADER_LINES_MAX}}}[A-Za-z0-9+/=]{{24}}"
)
BEGUN = re.compile(
    r"-{1,5}\Z|-----B(?:E(?:G(?:I(?:N(?: [A-Z0-9 ]{0,45}+(?:-{1,5}(?:[\sA-Za-z0-9+/=:;,.()\\-]{0,400})?)?)?)?)?)?)?\Z"
)
BODY = re.compile(r"(?:[A-Za-z0-9+/=\s]|\\[nr])*")
END = re.compile(r"-----END [A-Z0-9 ]{0,45}-----")
END_BEGUN = re.compile(r"(?:\\|-{1,5}|-----E(?:N(?:D(?: [A-Z0-9 ]{0,45}-{0,4})?)?)?)\Z")


class PrivateKeys:
    __slots__ = ("_action", "_begun", "_pending", "_read", "_report", "_swallows")

    def __init__(self, action: AnswerAction, report: Report) -> None:
        self._action, self._report = action, report
        self._pending = ""
        self._begun = ""  # Of a head: what was said at the end of the text before this one.
        self._swallows = False
        self._read = 0  # Characters of the text so far.

    @property
    def held(self) -> int:
        return len(self._pending)

    def push(self, piece: str) -> str:
        self._read += len(piece)
        if self._begun:
            return self._headed(piece)
        if not self._pending and not self._swallows and "-" not in piece:
            return piece
        return self._through(self._pending + piece, is_over=False)

    def flush(self) -> str:
        """What comes behind it may go on with a head, if it is what readers put behind it."""
        pending = self._pending
        said = pending if self._begun else self._through(pending, is_over=True)
        self._read = 0
        self._begun, self._pending = (self._begun + pending if said == pending else ""), ""
        return said

    def _headed(self, piece: str) -> str:
        """Behind the beginning of a head."""
        text, behind = self._begun + self._pending + piece, len(self._begun)
        found = BEGIN.match(text)
        if found is None and len(text) <= HELD_CHARS_MAX and BEGUN.match(text) is not None:
            self._pending = text[behind:]
            return ""
        self._begun = self._pending = ""
        if found is None or found.end() <= behind:
            return self._through(text[behind:], is_over=False)
        if not self._is_taken_out(text, found):
            return text[behind : found.end()] + self._through(text[found.end() :], is_over=False)
        self._swallows = True
        return redacted(KIND) + self._through(text[found.end() :], is_over=False)

    def _through(self, text: str, *, is_over: bool) -> str:
        self._pending = ""
        out: list[str] = []
        while text:
            if self._swallows:
                text = self._behind_body(text, is_over=is_over)
                continue
            at = text.find("-")
            while at >= 0 and (found := BEGIN.match(text, at)) is None:
                if not is_over and len(text) - at <= HELD_CHARS_MAX and BEGUN.match(text, at) is not None:
                    self._pending = text[at:]
                    out.append(text[:at])
                    return "".join(out)
                at = text.find("-", at + 1)
            if at < 0 or found is None:
                out.append(text)
                break
            out.append(text[:at])
            if self._is_taken_out(text, found):
                out.append(redacted(KIND))
                self._swallows = True
            else:
                out.append(found[0])
            text = text[found.end() :]
        return "".join(out)

    def _is_taken_out(self, rest: str, head: re.Match[str]) -> bool:
        """Told at its head, before the body has come. `rest`: what is left of all that was read."""
        first = self._read - len(rest)
        return self._report(Finding(KIND, first + head.start(), first + head.end(), self._action, guard="secrets"))

    def _behind_body(self, text: str, *, is_over: bool) -> str:
        body = BODY.match(text)
        rest = text[body.end() if body is not None else 0 :]
        end = END.match(rest)
        if end is not None:
            self._swallows = False
            return rest[end.end() :]
        if not rest:
            return ""
        if not is_over and END_BEGUN.match(rest) is not None:
            self._pending = rest
            return ""
        self._swallows = False
        return rest


def is_clear(text: str) -> bool:
    return HEAD not in text
