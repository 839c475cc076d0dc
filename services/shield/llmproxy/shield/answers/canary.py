"""A marker in the system text of a request. Whoever gets the model to repeat its instructions repeats the marker too."""

import hmac
import re
from functools import lru_cache
from typing import NamedTuple

from llmproxy.common import segments
from llmproxy.common.segments import Rewrite
from llmproxy.shield.answers.asked import TRUSTED_ROLES
from llmproxy.shield.answers.stage import Report, seen

KIND = "canary"
DIGITS = 16


def marker(key: bytes, system: str) -> str:
    """The same for a tenant's same text, so that a provider's prompt cache still hits; nobody else can tell it."""
    return hmac.digest(key, b"canary\0" + system.encode("utf-8", "surrogatepass"), "sha256").hex()[:DIGITS]


def planted(body: bytes, max_depth: int, key: bytes) -> tuple[bytes, str] | None:
    """The body with the marker behind its first system text, and the marker; None when it has no such text."""
    text = body.decode()
    for segment in segments.segments(text, segments.decode(body, max_depth), max_depth, embedded=False):
        if segment.role in TRUSTED_ROLES and segment.form == "value" and segment.path.endswith(ENDINGS):
            canary, end, rewrite = marker(key, segment.text), len(segment.text), Rewrite()
            rewrite.replace(segment, end, end, f"\n\n[{canary}]")
            return rewrite.apply(text).encode(), canary
    return None


ENDINGS = ("system", "instructions", "content", "text")
"""Where a path leads to what a system message says, and not to a name or a type beside it."""


BETWEEN = r"[^0-9a-zA-Z]{0,4}"
"""Whoever asks for instructions with a sign between any two, in bold or as a list, has asked for the marker so, too."""

FORMS_KEPT = 1_024


class Forms(NamedTuple):
    """How a marker is said, and how it begins where a text ends."""

    said: re.Pattern[str]
    begun: re.Pattern[str]


@lru_cache(FORMS_KEPT)
def forms(canary: str) -> Forms:
    begun = ""
    for digit in reversed(canary[:-1]):
        begun = f"{digit}{BETWEEN}(?:\\Z{'|' if begun else ''}{begun})"
    flags = re.IGNORECASE | re.ASCII
    return Forms(re.compile(BETWEEN.join(canary), flags), re.compile(begun, flags))


HELD_MAX = 5 * DIGITS


class Canary:
    """Looks for the marker in one text; holds back what may be its beginning."""

    __slots__ = ("_forms", "_pending", "_read", "_report")

    def __init__(self, canary: str, report: Report) -> None:
        self._forms, self._report, self._pending = forms(canary), report, ""
        self._read = 0  # Characters so far.

    @property
    def held(self) -> int:
        return len(self._pending)

    def push(self, piece: str) -> str:
        text = self._pending + piece
        self._read += len(piece)
        found = self._forms.said.search(text)
        if found is not None:
            first = self._read - len(text)
            self._report(seen(KIND, "block", first + found.start(), first + found.end()))
        begun = self._forms.begun.search(text, max(0, len(text) - HELD_MAX))
        end = begun.start() if begun is not None else len(text)
        self._pending = text[end:]
        return text[:end]

    def flush(self) -> str:
        pending, self._pending = self._pending, ""
        return pending
