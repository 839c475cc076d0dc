"""What is only to be known, not to be taken out: an answer is read in blocks, and nothing is held back for it.

A block ends at the last line break, or space, of `BLOCK_CHARS`: so blocks are the same however the answer is cut.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator

from llmproxy.common.answers import Answers
from llmproxy.shield.answers import noise
from llmproxy.shield.answers.fences import Fences
from llmproxy.shield.answers.noise import BLOCK_CHARS
from llmproxy.shield.answers.ordinary import Ordinary
from llmproxy.shield.answers.stage import Look, Report, moved, seen
from llmproxy.shield.answers.targets import may_lead, targets
from llmproxy.shield.answers.words import CONTEXT_CHARS, SCHEME
from llmproxy.shield.links import URL_CHARS_MAX, link_reason

SCHEME_CHARS_MAX = 10
SEAM_CHARS = 256  # Of the text before: a link may begin there.
ADDRESS = re.compile(rf"[a-zA-Z]{{2,{SCHEME_CHARS_MAX}}}://[^\s\"'<>`)\]]{{1,{URL_CHARS_MAX}}}")


class Watch:
    """One text. `look` is what guards see in a block behind what is known of it already; `ordinary` is new; `before` is the end of the
    text before, if readers put them together."""

    __slots__ = (
        "_asked_for",
        "_at",
        "_before",
        "_context",
        "_fences",
        "_is_known",
        "_look",
        "_ordinary",
        "_pending",
        "_repeated",
        "_report",
        "_settings",
        "end",
    )

    def __init__(
        self,
        settings: Answers,
        look: Look,
        report: Report,
        *,
        is_known: Callable[[str], bool],
        asked_for: Callable[[], bool],
        ordinary: Ordinary,
        before: str = "",
    ) -> None:
        self._settings, self._look, self._report = settings, look, report
        self._is_known, self._asked_for = is_known, asked_for
        self._ordinary, self._fences = ordinary, Fences()
        self._pending = ""
        self._context = ""
        self._at = 0  # Where in the text the block begins.
        self._repeated = 0
        self._before = before
        self.end = before  # Of all that was read.

    def read(self, piece: str) -> None:
        self._pending += piece
        while len(self._pending) >= BLOCK_CHARS:
            end = _end(self._pending)
            self._block(self._pending[:end], is_full=True)
            self._pending = self._pending[end:]

    def over(self) -> None:
        if self._pending:
            self._block(self._pending, is_full=False)
            self._pending = ""

    def _block(self, block: str, *, is_full: bool) -> None:
        before, settings = self._context, self._settings
        self.end = (self.end + block)[-SEAM_CHARS:]
        self._context = (before + block)[-CONTEXT_CHARS:]
        at, self._at = self._at, self._at + len(block)
        for finding in self._look(before + block, len(before)):
            self._report(moved(finding, at - len(before)))
        if settings.links.others != "disabled":
            shown = self._shown(block)
            self._links(links(shown), block, at)
            if self._before:
                self._links(_across(self._before, shown), block, at)
                self._before = ""
        if settings.entropy != "disabled":
            unexplained = self._ordinary.unexplained(block)
            if noise.is_random(unexplained) and not self._asked_for():
                self._report(seen("entropy", settings.entropy, at, self._at))
        if settings.repetition != "disabled" and is_full:
            self._repeated = self._repeated + 1 if noise.is_repetitive(block) else 0
            if self._repeated == noise.REPEATED_BLOCKS:
                self._report(seen("repetition", settings.repetition, at, self._at))

    def _shown(self, block: str) -> str:
        """Without the code in it."""
        if "```" not in block and not self._fences.may_be_open:
            self._fences.read(block)
            return block
        shown: list[str] = []
        for line in block.splitlines(keepends=True):
            was_open = self._fences.may_be_open
            self._fences.read(line)
            if not (was_open and self._fences.may_be_open):
                shown.append(line)
        return "".join(shown)

    def _links(self, found: Iterator[str], block: str, at: int) -> None:
        """A link that is not written as it leads is somewhere in the block."""
        for link in found:
            reason = link_reason(link, self._settings.links, self._is_known)
            if reason:
                first = block.find(link)
                start, end = (first, first + len(link)) if first >= 0 else (0, len(block))
                self._report(seen(f"link.{reason}", self._settings.links.others, at + start, at + end))


def _across(before: str, block: str) -> Iterator[str]:
    """The links that are in neither of two texts, but in both together."""
    known = Counter((*links(before), *links(block)))
    for link in links(before + block):
        if not known[link]:
            yield link
        known[link] -= known[link] > 0


def is_clear(text: str, settings: Answers, may_hold: Callable[[str], bool]) -> bool:
    """`may_hold`: a quick look for what `look` would see."""
    if settings.links.others != "disabled" and (SCHEME in text or may_lead(text)):
        return False
    if settings.entropy != "disabled" and noise.may_be_random(text):
        return False
    before = ""
    repeated = 0
    while len(text) >= BLOCK_CHARS:
        end = _end(text)
        block, text = text[:end], text[end:]
        if may_hold(before + block):
            return False
        before = (before + block)[-CONTEXT_CHARS:]
        repeated += settings.repetition != "disabled" and noise.is_repetitive(block)
    return repeated < noise.REPEATED_BLOCKS and not (text and may_hold(before + text))


def _end(text: str) -> int:
    """Of the first block of a text that has one."""
    return text.rfind("\n", BLOCK_CHARS // 2, BLOCK_CHARS) + 1 or text.rfind(" ", 0, BLOCK_CHARS) + 1 or BLOCK_CHARS


def links(text: str) -> Iterator[str]:
    """The addresses in a text, and what links lead to that is none."""
    at = text.find(SCHEME)
    while at >= 0:
        first = at
        while first > 0 and at - first < SCHEME_CHARS_MAX and text[first - 1].isalpha():
            first -= 1
        found = ADDRESS.match(text, first)
        if found is not None:
            yield found[0].rstrip(".,;:!?*_")
        at = text.find(SCHEME, found.end() if found is not None else at + len(SCHEME))
    if may_lead(text):
        yield from targets(text)
