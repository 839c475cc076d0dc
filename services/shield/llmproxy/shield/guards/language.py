"""In which scripts and languages may be written (docs/rails.md)."""

from functools import lru_cache

from llmproxy.common.policy import Policy
from llmproxy.common.rails import DOES, LanguageRule, Rails
from llmproxy.common.segments import Segment
from llmproxy.shield.guards.base import Apart, Fitted
from llmproxy.shield.made import Made
from llmproxy.shield.rails import languages
from llmproxy.shield.verdict import ALLOW, Finding, Flag, Verdict

KIND = "language"
KEPT_MAX = 64
QUICK_CHARS_MAX = 16_384  # Some 150 us for a thousand: longer texts are no place for a loop.
DOCUMENT = ("{", "[")


class Language(Fitted, Apart):
    """Without settings it does nothing; `under` gives the guard of a policy."""

    name = "language"
    reads_answers = True

    def __init__(self, settings: LanguageRule | None = None) -> None:
        self._settings = settings or LanguageRule()

    def applies(self, policy: Policy) -> bool:
        return not policy.rails.language.is_empty

    def under(self, policy: Policy) -> "Language":
        return _settled.of(policy.rails)

    def may_hold(self, text: str) -> bool:
        """All that can be known is known here, but of a document in a string, which is made of texts, and of what is long."""
        if self._settings.is_empty or len(text) < languages.LETTERS_MIN:
            return False
        return not self.is_quick(text) or text.lstrip()[:1] in DOCUMENT or self._seen(text) != ""

    def is_quick(self, text: str) -> bool:
        return len(text) <= QUICK_CHARS_MAX

    def inspect(self, segment: Segment) -> Verdict:
        settings, text = self._settings, segment.text
        if (
            settings.is_empty
            or len(text) < languages.LETTERS_MIN
            or (settings.roles and segment.role not in settings.roles)
        ):
            return ALLOW
        seen = self._seen(text)
        if not seen:
            return ALLOW
        does = DOES[settings.action]
        return Flag((Finding(KIND, 0, len(text), does, rule=seen, is_decided=True),))

    def _seen(self, text: str) -> str:
        """The language or script that is not wanted; "" when there is none."""
        settings = self._settings
        if settings.scripts:
            others = languages.written_in(text).difference(settings.scripts)
            if others:
                return min(others)
        if settings.languages:
            return next((one for one in languages.languages(text) if one not in settings.languages), "")
        return ""


@lru_cache(KEPT_MAX)
def _of(settings: LanguageRule) -> Language:
    return Language(settings)


_settled: Made[Rails, Language] = Made(lambda rails: _of(rails.asking().language))
