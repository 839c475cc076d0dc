"""What somebody most likely meant to write, for messages that name the fix."""

import difflib
from collections.abc import Iterable

LIKE = 0.7  # Of 1. Below it names share their letters by chance.


def meant(written: str, known: Iterable[str]) -> str:
    """`; did you mean 'email'?`, or nothing where nothing that is known is like it."""
    close = difflib.get_close_matches(written, sorted(known), n=1, cutoff=LIKE)
    return f"; did you mean {close[0]!r}?" if close else ""
