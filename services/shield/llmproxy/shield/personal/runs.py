"""A run of digits, and what matches in it: one number may stand directly behind another."""

import re
from collections.abc import Callable, Iterable, Iterator

from llmproxy.shield.personal.page import HEAD, Page

CHARS_BEFORE, CHARS_AFTER = 6, 14
"""How far around a run of digits a pattern may look."""

FOLLOWING = re.compile(r"[ ./_-]{1,3}(?=[\d(+])", re.ASCII)
FOLLOWING_CHARS_MAX = 48  # Of the number behind another one.


class Run:
    """Where digits stand together in a page, with what stands between them and before them."""

    __slots__ = ("before", "behind", "count", "end", "first", "heads", "is_spaced", "last", "page", "start", "text")

    def __init__(self, page: Page, start: int, end: int, count: int) -> None:
        """`count` of the characters are digits."""
        text = page.text
        self.page, self.text = page, text
        self.start, self.end, self.count = start, end, count
        self.behind = -1  # Where something else ends that has been found.
        self.first, self.last = max(0, start - CHARS_BEFORE), min(len(text), end + CHARS_AFTER)
        self.is_spaced = count < end - start
        self.before = page.before(start)
        self.heads: list[bytes] = HEAD.findall(self.before)

    def beside(self, spans: Iterable[tuple[int, int]]) -> "Iterator[Run]":
        """What is left of it without these, each piece by itself."""
        at = self.start
        for start, end in (*sorted(spans), (self.end, self.end)):
            digits = [place for place in range(at, start) if self.text[place].isdecimal()]
            if digits:
                piece = Run(self.page, digits[0], start, len(digits))
                piece.behind = at
                piece.last = start if start < self.end else self.last
                yield piece
            at = max(at, end)

    def spans(
        self, pattern: re.Pattern[str], holds: Callable[[re.Match[str]], bool], last: int | None = None
    ) -> Iterator[tuple[int, int]]:
        """Of the matches that begin in the run and hold.

        One that does not hold hides none that begins inside it. What follows one that does is looked at as if that were
        not there: a list of numbers is not one long number, although what a digit stands before is usually part of
        something else.
        """
        text, at, end = self.text, self.first, self.end
        last = self.last if last is None else last
        while (match := pattern.search(text, at, last)) is not None and match.start() < end:
            if not holds(match):
                at = match.start() + 1
                continue
            yield match.span()
            at = match.end()
            while (gap := FOLLOWING.match(text, at, last)) is not None:
                start = gap.end()
                following = pattern.match(text[start : min(start + FOLLOWING_CHARS_MAX, last)])
                if following is None or not holds(following):
                    break
                at = start + following.end()
                yield start, at


def only_digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())
