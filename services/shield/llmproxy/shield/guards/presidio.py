"""What Presidio's recognizers find, where the policy wants them (docs/adr/0020): an operator's own patterns, other countries' numbers,
and names, places and organisations where a language model is installed.

It takes milliseconds for a text, and seconds to import: so the loop only asks whether a text may hold something, and another process looks.
"""

import re
from functools import lru_cache

from llmproxy.common.pii import Pii
from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.shield import look
from llmproxy.shield.guards.base import Fitted
from llmproxy.shield.look import Look
from llmproxy.shield.presidio.models import model_of
from llmproxy.shield.verdict import ALLOW, Verdict, found

NAME = "presidio"

CANDIDATES = (
    Look.AT | Look.COLONS | Look.DOTS | Look.YEAR | Look.CODED | Look.NUMBER | Look.WALLET | Look.URL | Look.BEYOND
)
NUMBERED = re.compile(r"\d[\d ./-]{2,}")
"""Presidio's weakest patterns begin at four digits with context; what has fewer is none of its own."""

LETTER = re.compile(r"\w")


class Presidio(Fitted):
    """Under no policy it does nothing; `under` gives the guard of one."""

    name = NAME
    reads_seams = True

    def __init__(self, settings: Pii | None = None) -> None:
        self._settings = settings

    def under(self, policy: Policy) -> "Presidio":
        return _of(policy.pii)

    def applies(self, policy: Policy) -> bool:
        return policy.pii.engine == "presidio"

    def may_hold(self, text: str) -> bool:
        """An operator's expression and a language model may find something in any words; Presidio's own patterns want digits or signs."""
        settings = self._settings
        if settings is None:
            return False
        if settings.recognizers or _has_model(settings.languages):
            return LETTER.search(text) is not None
        return bool(look.at(text) & CANDIDATES) or NUMBERED.search(text) is not None

    def inspect(self, segment: Segment) -> Verdict:
        if self._settings is None or not self.may_hold(segment.text):
            return ALLOW
        from llmproxy.shield.presidio import engine

        return found(engine.analyzer(self._settings).find(segment.text))


@lru_cache(64)
def _of(settings: Pii) -> Presidio:
    return Presidio(settings)


@lru_cache(64)
def _has_model(languages: tuple[str, ...]) -> bool:
    return any(model_of(language) for language in languages)
