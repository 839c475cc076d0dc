"""Text that nobody sees: tag characters, zero-width runs, variation selectors in rows, directions that are overridden, and what only
terminals obey: they hide text, make links of it and fill the clipboard.

What writing needs stays: joiners in Persian and in Indic scripts and in emoji, one variation selector behind a character,
flags, soft hyphens, direction marks, and embeddings and isolates around text that runs from right to left.
"""

import re

from llmproxy.common.answers import AnswerMode
from llmproxy.shield.answers.stage import Report, seen

KIND = "invisible"
RUN_CHARS_MAX = 16
"""No writing needs as many in a row: two flags of regions have eight each, with the flag between them."""
KEPT_MAX = 3  # Of different ones in a row: a variation selector, a joiner and a mark.

_UNSEEN = (
    "\x80-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
UNSEEN, RUN = re.compile(f"[{_UNSEEN}]+"), re.compile(f"[\x1b{_UNSEEN}]+")
"""Without the one of ASCII, which JSON has as an escape alone, and with it."""

FLAG, FLAG_TAGS = "\U0001f3f4", re.compile("[\U000e0030-\U000e007a]{2,7}\U000e007f")
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001efff]")
JOINING = re.compile("[\u0600-\u1cff\ua800-\uabff\ufb50-\ufdff\ufe70-\ufefe\U00010a00-\U00011fff\U0001e900-\U0001e95f]")
"""Arabic, Syriac, N'Ko, the scripts of India and of what lies around it, Mongolian."""

UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u2e80-\u9fff\uac00-\ud7ff]")
"""Scripts in which a space without a width says where a line may break."""

PICTURE = re.compile("[\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff\ufe0f]")
EAST_ASIAN = re.compile("[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff]")

JOINER, NON_JOINER, ZERO_SPACE, WORD_JOINER = "\u200d", "\u200c", "\u200b", "\u2060"
MARKS = frozenset("\u200e\u200f\u061c")
OPENING, CLOSING = frozenset("\u202a\u202b\u2066\u2067\u2068"), frozenset("\u202c\u2069")


ESCAPE = "\x1b"
"""How commands to terminals begin: ECMA-48, 5.3 and 5.6. Each of them has one sign above U+007F, too."""


def is_clear(text: str) -> bool:
    return (text.isascii() and ESCAPE not in text) or RUN.search(text) is None


class Invisible:
    """Takes runs of invisible characters out, but for those that writing needs."""

    __slots__ = ("_before", "_begins", "_is_turned", "_mode", "_opened", "_overlong", "_read", "_report", "_run")

    def __init__(self, mode: AnswerMode, report: Report) -> None:
        self._mode, self._report = mode, report
        self._run = ""  # Not over yet: the character behind it decides.
        self._overlong = False  # The run is longer than any that is needed, and what follows of it is none either.
        self._before = ""  # The last visible character.
        self._is_turned = False  # Something on this line runs from right to left.
        self._opened = 0
        self._read = self._begins = 0  # Characters so far, and where the run begins.

    @property
    def held(self) -> int:
        return len(self._run)

    def push(self, piece: str) -> str:
        first = self._read - len(self._run)
        self._read += len(piece)
        if not self._run and not self._overlong and is_clear(piece):
            self._saw(piece)
            return piece
        out: list[str] = []
        text, at = self._run + piece, 0
        self._run = ""
        for match in RUN.finditer(text):
            start, end = match.span()
            if start > at:
                self._overlong = False
                self._saw(text[at:start])
                out.append(text[at:start])
            self._begins = first + start
            out.append(self._decide(match[0], text[end : end + 1], is_last=end == len(text)))
            at = end
        if at < len(text):
            self._overlong = False
            self._saw(text[at:])
            out.append(text[at:])
        return "".join(out)

    def flush(self) -> str:
        run, self._run = self._run, ""
        return self._kept(run, "") if run else ""

    def _decide(self, run: str, after: str, *, is_last: bool) -> str:
        if self._overlong:
            return run if self._mode == "flag" else ""
        if len(run) > RUN_CHARS_MAX:
            self._overlong = is_last
            return "" if self._is_taken_out(RUN_CHARS_MAX + 1) else run
        if is_last:
            self._run = run
            return ""
        return self._kept(run, after)

    def _saw(self, visible: str) -> None:
        if not visible:
            return
        self._before = visible[-1]
        if "\n" in visible:
            self._is_turned, self._opened = False, 0
            visible = visible[visible.rfind("\n") :]
        if not self._is_turned and not visible.isascii():
            self._is_turned = RIGHT_TO_LEFT.search(visible) is not None

    def _kept(self, run: str, after: str) -> str:
        """What of a run writing needs where it stands."""
        if self._before == FLAG and FLAG_TAGS.fullmatch(run):
            return run
        kept: list[str] = []
        for character in run:
            if character not in kept and len(kept) < KEPT_MAX and self._is_needed(character, after):
                kept.append(character)
        left = "".join(kept)
        if left == run:
            return run
        return left if self._is_taken_out(len(run)) else run

    def _is_taken_out(self, chars: int) -> bool:
        return self._report(seen(KIND, self._mode, self._begins, self._begins + chars))

    def _is_needed(self, character: str, after: str) -> bool:
        before = self._before
        if "\ufe00" <= character <= "\ufe0f":
            return bool(before.strip())
        if "\U000e0100" <= character <= "\U000e01ef":
            return EAST_ASIAN.match(before) is not None
        if character == JOINER:
            return JOINING.match(before) is not None or PICTURE.match(before) is not None
        if character == NON_JOINER:
            return JOINING.match(before) is not None
        if character in (ZERO_SPACE, WORD_JOINER):
            return any(UNSPACED.match(beside) is not None for beside in (before, after))
        if character == "\u00ad":
            return before.isalpha()
        if character in MARKS:
            return True
        if character in OPENING:
            is_needed = self._is_turned or RIGHT_TO_LEFT.match(after) is not None
            self._opened += is_needed
            return is_needed
        if character in CLOSING:
            is_needed = self._opened > 0
            self._opened -= is_needed
            return is_needed
        if character in ("\u115f", "\u1160", "\uffa0"):
            return any(HANGUL.match(beside) is not None for beside in (before, after))
        return "\u180b" <= character <= "\u180f" and "\u1800" <= before <= "\u18af"
