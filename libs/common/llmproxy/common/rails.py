"""Guard rails as operators write them: rules, topics, links, languages; what is looked for and what follows (docs/rails.md)."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, structs

from llmproxy.common import terms
from llmproxy.common.actions import Action
from llmproxy.common.envelope import Api

RULES_MAX, TOPICS_MAX, DOMAINS_MAX = 200, 64, 10_000
PATTERNS_MAX, TERMS_MAX = 32, 2_000  # Of one topic.
PATTERN_CHARS_MAX, TERM_CHARS_MAX, REPLACEMENT_CHARS_MAX = 1_000, 80, 200
FUZZY_CHARS_MIN, FUZZY_CHARS_MAX = 4, 32

RailAction = Literal["reject", "replace", "mask", "flag", "alert"]
"""reject: refuse; replace: the rule's own text in its place; mask: a placeholder, and the original is back in the answer;
flag: let it pass and record it; alert: the same, and operators see it at once."""

DOES: dict[RailAction, Action] = {
    "reject": "block",
    "replace": "redact",
    "mask": "mask",
    "flag": "flag",
    "alert": "alert",
}

Direction = Literal["request", "answer", "both"]
Role = Literal["system", "developer", "user", "assistant", "tool", "function", "definition", "parameter", "unknown"]

Name = Annotated[
    str,
    Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="write lower-case letters, digits, - and _, at most 63"),
]
Expression = Annotated[str, Meta(min_length=1, max_length=PATTERN_CHARS_MAX)]
Term = Annotated[str, Meta(min_length=1, max_length=TERM_CHARS_MAX)]
Terms = Annotated[tuple[Term, ...], Meta(max_length=TERMS_MAX)]
Replacement = Annotated[str, Meta(max_length=REPLACEMENT_CHARS_MAX)]
Domain = Annotated[
    str,
    Meta(
        pattern=r"^=?(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])$",
        max_length=254,
        description="write a domain alone, in small letters and in its ASCII form, as in evil.example or xn--bcher-kva.example",
    ),
]
Domains = Annotated[tuple[Domain, ...], Meta(max_length=DOMAINS_MAX)]
Scheme = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]{0,30}$", description="write a scheme alone, as in https")]


class Rail(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every rule and topic has."""

    name: Name
    action: RailAction = "flag"
    replacement: Replacement | None = None  # Of `replace`; left out: `[RULE_REDACTED]`.
    direction: Direction = "both"
    roles: tuple[Role, ...] = ()  # Whose texts, in requests; empty: everybody's.
    apis: tuple[Api, ...] = ()  # Empty: all.
    show_name: bool = False  # Callers read its name in an error and in the header of findings.


class Rule(Rail, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One regular expression of RE2: https://github.com/google/re2/wiki/Syntax"""

    pattern: Expression
    ignore_case: bool = False


class Topic(Rail, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Lists of words that are about one thing. Case is ignored, and a space stands for any space."""

    keywords: Terms = ()  # Also inside words.
    words: Terms = ()  # As whole words, in the languages that have spaces between them.
    patterns: Annotated[tuple[Expression, ...], Meta(max_length=PATTERNS_MAX)] = ()
    fuzzy: Terms = ()  # Single words, with one letter wrong, missing or too many; two in words of eight letters and more.


class Source(Struct, frozen=True, kw_only=True):
    """An expression, and the rule or topic that it belongs to."""

    rail: Rail
    at: str  # Of it, in the rule or topic.
    pattern: str
    ignore_case: bool = True
    is_words: bool = False  # Made of a list of words: as large as the list is.
    groups: bool = False  # What was found is the group that matched, and not what must stand around it.


def sources(rail: Rule | Topic) -> Iterator[Source]:
    """The expressions of a rule or topic; a list of words is one."""
    if isinstance(rail, Rule):
        yield Source(rail=rail, at="pattern", pattern=rail.pattern, ignore_case=rail.ignore_case)
        return
    if rail.keywords:
        yield Source(rail=rail, at="keywords", pattern=terms.anywhere(rail.keywords), is_words=True)
    if rail.words:
        yield Source(rail=rail, at="words", pattern=terms.whole(rail.words), is_words=True, groups=True)
    for index, pattern in enumerate(rail.patterns):
        yield Source(rail=rail, at=f"patterns[{index}]", pattern=pattern)


class LinkRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where links may lead. A domain stands for itself and what is below it; with `=` before it, for itself alone."""

    action: RailAction = "flag"
    replacement: Replacement | None = None
    direction: Direction = "both"
    allowed: Domains = ()  # Never suspicious, whatever the risk.
    denied: Domains = ()  # Always.
    only_allowed: bool = False  # What is not in `allowed` is denied.
    schemes: Annotated[tuple[Scheme, ...], Meta(max_length=32)] = ()  # Others are denied; empty: any.
    risk_min: Annotated[int, Meta(ge=0, le=100)] = 0  # The risk from which on a link counts; 0: it is not weighed.

    @property
    def is_empty(self) -> bool:
        return not (self.denied or self.only_allowed or self.schemes or self.risk_min)


class LanguageRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """In what may be written. What is too short to tell, code and numbers are in no language, and pass."""

    action: Literal["reject", "flag", "alert"] = "flag"
    direction: Direction = "request"
    roles: tuple[Role, ...] = ("user",)
    languages: tuple[str, ...] = ()  # ISO 639-1; empty: any.
    scripts: tuple[str, ...] = ()  # Names of Unicode's: Latin, Cyrillic, Han. Empty: any.

    @property
    def is_empty(self) -> bool:
        return not (self.languages or self.scripts)


class Rails(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Nothing is looked for unless it is written here."""

    rules: tuple[Rule, ...] = ()
    topics: tuple[Topic, ...] = ()
    links: LinkRule = LinkRule()
    language: LanguageRule = LanguageRule()

    @property
    def is_empty(self) -> bool:
        return not (self.rules or self.topics) and self.links.is_empty and self.language.is_empty

    @property
    def is_by_api(self) -> bool:
        return any(one.apis for one in (*self.rules, *self.topics))

    def of(self, api: Api) -> "Rails":
        """What of it is for requests of this API."""
        if not self.is_by_api:
            return self
        return structs.replace(
            self,
            rules=tuple(one for one in self.rules if not one.apis or api in one.apis),
            topics=tuple(one for one in self.topics if not one.apis or api in one.apis),
        )

    def asking(self) -> "Rails":
        """What of it is for requests."""
        return self._directed("request")

    def answering(self) -> "Rails":
        """What of it is for what comes back; whose text that is, is no question there."""
        return self._directed("answer")

    def _directed(self, direction: Direction) -> "Rails":
        """It has no direction any more: the guards ask for what is for requests, whichever of the two they are given."""
        wanted = (direction, "both")
        settled: dict[str, Any] = {"direction": "both"}
        changes = settled if direction == "request" else {**settled, "roles": ()}
        return Rails(
            rules=tuple(structs.replace(one, **changes) for one in self.rules if one.direction in wanted),
            topics=tuple(structs.replace(one, **changes) for one in self.topics if one.direction in wanted),
            links=structs.replace(self.links, **settled) if self.links.direction in wanted else LinkRule(),
            language=structs.replace(self.language, **changes) if self.language.direction in wanted else LanguageRule(),
        )

    def problem(self) -> tuple[str, str] | None:
        """Where, and what to do."""
        return _problem(self)


SCRIPTS = (
    "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Telugu", "Thai", "Georgian", "Armenian",
    "Ethiopic", "Khmer", "Han", "Japanese", "Hangul",
)  # fmt: skip
LANGUAGES = (
    "en", "de", "fr", "es", "pt", "it", "nl", "sv", "da", "no", "fi", "pl", "cs", "ro", "hu", "tr", "vi", "id", "ru", "uk", "bg",
    "el", "ar", "fa", "he", "hi", "bn", "ta", "te", "th", "ka", "hy", "am", "km", "zh", "ja", "ko",
)  # fmt: skip
"""What can be told apart: those with an alphabet of their own by that, the others by their commonest words."""

PUBLIC_SUFFIXES = frozenset(
    [
        "co.uk",
        "org.uk",
        "ac.uk",
        "gov.uk",
        "me.uk",
        "com.au",
        "net.au",
        "org.au",
        "co.nz",
        "co.jp",
        "ne.jp",
        "or.jp",
        "ac.jp",
        "co.kr",
        "or.kr",
        "com.br",
        "com.cn",
        "net.cn",
        "org.cn",
        "com.tw",
        "com.hk",
        "com.sg",
        "com.my",
        "co.id",
        "co.in",
        "co.za",
        "com.tr",
        "com.mx",
        "com.ar",
        "com.co",
        "com.pe",
        "com.ua",
        "com.pl",
        "com.ru",
        "co.il",
        "com.sa",
        "com.eg",
        "com.ng",
        "co.ke",
        "com.vn",
        "co.th",
        "com.ph",
        "com.pk",
        "com.bd",
        "github.io",
        "gitlab.io",
        "pages.dev",
        "workers.dev",
        "vercel.app",
        "netlify.app",
        "herokuapp.com",
        "web.app",
        "firebaseapp.com",
        "azurewebsites.net",
        "blogspot.com",
        "s3.amazonaws.com",
        "cloudfront.net",
        "appspot.com",
        "ngrok.io",
        "ngrok-free.app",
        "glitch.me",
        "repl.co",
    ]
)
"""Below which anybody can have a name."""


@lru_cache(64)
def _problem(rails: Rails) -> tuple[str, str] | None:
    """Once for the overrides that leave it as it is."""
    return next(_problems(rails), None)


def _problems(rails: Rails) -> Iterator[tuple[str, str]]:
    yield from _of_names("rules", rails.rules, RULES_MAX)
    yield from _of_names("topics", rails.topics, TOPICS_MAX)
    for index, topic in enumerate(rails.topics):
        yield from _of_topic(f"topics[{index}]", topic)
    yield from _of_expressions("rules", rails.rules)
    yield from _of_expressions("topics", rails.topics)
    for domain in rails.links.allowed:
        bare = domain.removeprefix("=")
        if ("." not in bare and not bare.startswith("[") and bare != "localhost") or bare in PUBLIC_SUFFIXES:
            yield (
                "links.allowed",
                f"{domain!r} is a suffix below which anybody can have a name; write the names that are meant",
            )
    if rails.links.only_allowed and not rails.links.allowed:
        yield "links.only_allowed", "denies every link, because allowed is empty; write the domains there"
    for field, known in (("languages", LANGUAGES), ("scripts", SCRIPTS)):
        for value in getattr(rails.language, field):
            if value not in known:
                yield f"language.{field}", f"{value!r} cannot be told; one of {', '.join(known)}"


def _of_names(field: str, rails: Sequence[Rail], most: int) -> Iterator[tuple[str, str]]:
    if len(rails) > most:
        yield field, f"at most {most}; there are {len(rails)}"
    seen: set[str] = set()
    for index, rail in enumerate(rails):
        if rail.name in seen:
            yield f"{field}[{index}].name", f"{rail.name!r} is given twice; keep one"
        seen.add(rail.name)
        if rail.replacement is not None and rail.action != "replace":
            yield f"{field}[{index}].replacement", f"is of no use with action {rail.action}; write action: replace"


def _of_expressions(field: str, rails: Sequence[Rule | Topic]) -> Iterator[tuple[str, str]]:
    """Each by itself, and then all as they are looked for."""
    if not rails:
        return
    from llmproxy.common import expressions  # RE2 is loaded where there is something for it.

    found = [(index, source) for index, rail in enumerate(rails) for source in sources(rail)]
    size = 0
    for index, source in found:
        try:
            made = expressions.of(source) if source.is_words else expressions.check(source)
        except expressions.Unusable as error:
            yield f"{field}[{index}].{source.at}", f"of {source.rail.name!r}: {error}"
            return
        size += 0 if source.is_words else made.programsize
    if size > expressions.SIZES_MAX:
        yield (
            field,
            f"are too large together: {size} instructions of {expressions.SIZES_MAX}; write fewer, or shorter ones",
        )
        return
    try:
        expressions.together([source for _, source in found])
    except expressions.Unusable as error:
        yield field, str(error)


LETTERS = re.compile(r"[^\W\d_]+")


def _of_topic(at: str, topic: Topic) -> Iterator[tuple[str, str]]:
    if not (topic.keywords or topic.words or topic.patterns or topic.fuzzy):
        yield at, f"{topic.name!r} finds nothing; give it keywords, words, patterns or fuzzy"
    for field in ("keywords", "words"):
        for term in getattr(topic, field):
            if not term.strip():
                yield f"{at}.{field}", "nothing but spaces would be found everywhere; remove it"
                return
    for term in topic.fuzzy:
        if not FUZZY_CHARS_MIN <= len(term) <= FUZZY_CHARS_MAX or LETTERS.fullmatch(term) is None:
            yield (
                f"{at}.fuzzy",
                f"{term!r}: write single words of {FUZZY_CHARS_MIN} to {FUZZY_CHARS_MAX} letters, and others under words",
            )
