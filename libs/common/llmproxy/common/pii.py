"""Which engine looks for personal data, as operators configure it (docs/adr/0020).

`recognizers` are written as in Presidio's own YAML, so that what its documentation says can be pasted:
https://microsoft.github.io/presidio/analyzer/adding_recognizers/
"""

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

from llmproxy.common.actions import Probability
from llmproxy.common.entities import BY_MODEL, LANGUAGES, SWITCHED_OFF, SWITCHED_ON
from llmproxy.common.mistakes import meant

RECOGNIZERS_MAX, PATTERNS_MAX, WORDS_MAX = 64, 32, 1_000
EXPRESSION_CHARS_MAX = 1_000

Language = Annotated[str, Meta(pattern="^[a-z]{2,3}$", description="write a code of ISO 639, such as en")]
Entity = Annotated[
    str, Meta(pattern="^[A-Z][A-Z0-9_]{1,47}$", description="write capitals, digits and _, as in EMPLOYEE_ID")
]
Name = Annotated[str, Meta(min_length=1, max_length=80)]


class Pattern(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A regular expression and how much a match of it alone is worth."""

    name: Name
    regex: Annotated[str, Meta(min_length=1, max_length=EXPRESSION_CHARS_MAX)]
    score: Probability = 0.5


class Recognizer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of Presidio's recognizers: `predefined` switches on one that it has, `custom` is the operator's own."""

    name: Name
    type: Literal["custom", "predefined"] = "custom"
    supported_entity: Entity | Literal[""] = ""
    supported_language: Language | Literal[""] = ""  # Empty: every language of `Pii.languages`.
    patterns: Annotated[tuple[Pattern, ...], Meta(max_length=PATTERNS_MAX)] = ()
    context: Annotated[tuple[Name, ...], Meta(max_length=WORDS_MAX)] = ()
    deny_list: Annotated[tuple[Name, ...], Meta(max_length=WORDS_MAX)] = ()
    deny_list_score: Probability = 1.0


class Pii(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`patterns`: expressions and checksums, in microseconds. `presidio`: the same, and then Presidio in another process, for texts that
    may hold something of its recognizers; with a spaCy model installed also names, places and organisations."""

    engine: Literal["patterns", "presidio"] = "patterns"
    languages: Annotated[tuple[Language, ...], Meta(min_length=1, max_length=16)] = ("en",)
    entities: tuple[Entity, ...] = ()  # Presidio's names; empty: all that its recognizers have.
    score_min: Probability = 0.5  # Below it Presidio's finding is none: its weakest expressions match any eight digits.
    recognizers: Annotated[tuple[Recognizer, ...], Meta(max_length=RECOGNIZERS_MAX)] = ()

    def problem(self) -> tuple[str, str] | None:
        """Where, and what to do."""
        for field in ("recognizers", "entities", "languages"):
            if self.engine != "presidio" and getattr(self, field) != getattr(DEFAULT, field):
                return field, "are Presidio's; write engine: presidio beside them"
        for index, language in enumerate(self.languages):
            if language not in LANGUAGES:
                return (
                    f"languages[{index}]",
                    f"{language!r} is no language that spaCy knows; one of {', '.join(LANGUAGES)}",
                )
        for index, one in enumerate(self.recognizers):
            wrong = _problem(one, self.languages)
            if wrong is not None:
                return f"recognizers[{index}]{wrong[0]}", wrong[1]
        for index, entity in enumerate(self.entities):
            unknown = _nobodys(entity, self.recognizers)
            if unknown:
                return f"entities[{index}]", unknown
        return None


DEFAULT = Pii()


def _nobodys(entity: str, recognizers: tuple[Recognizer, ...]) -> str:
    """Why nothing would ever be found of it, or "". Presidio refuses to look for it then, and so every request with it."""
    own = {one.supported_entity for one in recognizers}
    if entity in own or entity in BY_MODEL or entity in SWITCHED_ON.values():
        return ""
    by = next((name for name, found in SWITCHED_OFF.items() if found == entity), "")
    if not by:
        known = {*own, *BY_MODEL, *SWITCHED_ON.values(), *SWITCHED_OFF.values()}
        return f"{entity!r} is found by no recognizer{meant(entity, known) or '; add one of your own to recognizers'}"
    if any(one.name == by for one in recognizers):
        return ""
    return f"{entity!r} is found by {by}, which is switched off; add {{name: {by}, type: predefined}} to recognizers"


def _problem(one: Recognizer, languages: tuple[str, ...]) -> tuple[str, str] | None:
    if one.supported_language and one.supported_language not in languages:
        return ".supported_language", f"{one.supported_language!r} is none of languages; add it there"
    if one.type == "predefined":
        known = {*SWITCHED_ON, *SWITCHED_OFF}
        if one.name not in known:
            return ".name", f"{one.name!r} is none of Presidio's that work here{meant(one.name, known)}"
        if one.patterns or one.deny_list or one.supported_entity:
            return "", "a predefined recognizer has its own patterns; leave them out, or write type: custom"
        return None
    if not one.supported_entity:
        return ".supported_entity", "name what it finds, in capitals: EMPLOYEE_ID"
    if not one.patterns and not one.deny_list:
        return "", "finds nothing; give it patterns or a deny_list"
    for index, pattern in enumerate(one.patterns):
        try:
            empty = re.compile(pattern.regex, re.IGNORECASE | re.MULTILINE | re.DOTALL).match("")
        except re.error as error:
            return f".patterns[{index}].regex", f"is no regular expression: {error.msg}"
        if empty is not None:
            return f".patterns[{index}].regex", "matches nothing at all, so it would match everywhere"
    return None
