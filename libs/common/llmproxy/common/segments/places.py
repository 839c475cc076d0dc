"""Where a text stands: paths, and how they are shown."""

import re
from collections.abc import Sequence
from functools import lru_cache

from llmproxy.common.segments.names import FILLED, NAMES

PATH_CHARS_MAX = 200  # A path in an error message; the rest is cut.

Path = Sequence[str | int]

PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}", re.ASCII)
_NAME = re.compile(r"[^.\[\]]+")


def join(path: Path) -> str:
    """`messages[3].content[0].text`. A key that is not a plain name may be text, and is written `*`."""
    parts: list[str] = []
    for place in path:
        if isinstance(place, int):
            parts.append(f"[{place}]")
        else:
            parts.append(("." if parts else "") + (place if PLAIN_KEY.fullmatch(place) else "*"))
    return "".join(parts)[:PATH_CHARS_MAX]


@lru_cache(1024)
def shown(path: str) -> str:
    """A path as it may be recorded: names that are not the APIs' own are the caller's words, and are written `*`."""
    return _NAME.sub(lambda name: name[0] if name[0] in NAMES or name[0].isdecimal() else "*", path)


def is_filled(path: Path) -> bool:
    """Whether a value stands in what callers and tools fill as they like."""
    first = 1 if path and path[0] == "input" else 0
    return any(place in FILLED for place in path[first:-1])
