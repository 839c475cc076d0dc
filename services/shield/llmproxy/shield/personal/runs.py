"""What matches in a run of digits, where one number may stand directly behind another."""

import re
from collections.abc import Callable, Iterator

FOLLOWING = re.compile(r"[ ./_-]{1,3}(?=[\d(+])", re.ASCII)
FOLLOWING_CHARS_MAX = 48  # Of the number behind another one.


def each(
    pattern: re.Pattern[str], text: str, first: int, end: int, last: int, holds: Callable[[re.Match[str]], bool]
) -> Iterator[tuple[int, int]]:
    """Spans of the matches that begin before `end` and hold.

    One that does not hold hides none that begins inside it. What follows one that does is looked at as if that were not
    there: a list of numbers is not one long number, although what a digit stands before is usually part of something else.
    """
    at = first
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
