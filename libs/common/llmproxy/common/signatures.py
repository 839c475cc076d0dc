"""The firewall's signatures as one matcher: literals in one pass, then the few signatures that may be there, each exactly.

Full expressions in one automaton take minutes to compile or thrash its cache (docs/adr/0011), so each signature is reduced to the
words that it cannot do without; only where all of them occur is its expression tried, and only around them.
"""

import os
import re
import time
import unicodedata
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from hashlib import sha256
from importlib import resources
from importlib.resources.abc import Traversable
from threading import Thread
from typing import Any, Literal

import msgspec
import re2
import yaml
from msgspec import Struct
from msgspec.structs import replace

from llmproxy.common import everyday, spoken
from llmproxy.common.config import Signature as Custom
from llmproxy.common.forms import REACH_BYTES, forms
from llmproxy.common.literals import WORD_BYTES_MIN
from llmproxy.common.words import Candidate, Form, Near

DATA = (
    "signatures.yaml",
    "signatures_framings.yaml",
    "signatures_jailbreaks.yaml",
    "signatures_agents.yaml",
    "signatures_languages.yaml",
    "signatures_worldwide.yaml",
)
CACHED_MAX = 4_000  # Expressions: the shipped ones, and as many custom ones as a configuration may have.
PREPARED = "signatures.bin"  # What is derived from them, written by tools/prepare_signatures.py.
PIECE_BYTES, PIECES_SHARE_BYTES = 8_192, 512
"""Of a long text in one native pass, which sees 2,048 words at most: four bytes for each, and no text is as dense. What stands on the border
of two pieces, with all that is looked at around it, is whole in one of them."""

PART_BYTES, PARTS_SHARE_BYTES = 640, 2 * REACH_BYTES
"""Of a place that is tried where time counts: of a thousand places one is longer, and what stands on the border of two parts is whole in one."""

LONG_BYTES, LONG_TRIALS = 512, 80
"""Such a place is tried where a turn begins: on a text that is made for it, a part may take as long as a few hundred trials."""

SPARSE_WORDS_MAX = 256
"""Of one pass: a text with no more is dense no longer."""

SEPARATOR = r"[\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]{0,4}"
SENTENCE_GAP = r"[^.!?]{0,%s}"
EXPRESSION_BYTES_MAX = 4 << 20  # Of memory for one compiled expression's states.

Severity = Literal["high", "medium", "low"]


class Signature(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    category: str
    severity: Severity
    source: str
    pattern: str
    why: str
    example: str = ""  # What it must find. For the tests.


class Signatures(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    vocabulary: dict[str, str]
    signatures: tuple[Signature, ...]


class Hit(Struct, frozen=True):
    id: str
    category: str
    severity: Severity
    always: bool = False  # Also where the words are only talked about.


class Seen(Struct, frozen=True, gc=False):
    """A signature that matches, and where in the text that was looked at, in bytes."""

    hit: Hit
    start: int
    end: int


def shipped() -> Signatures:
    """All files as one: the vocabulary of each holds in all of them."""
    files = [read(name) for name in DATA]
    vocabulary = {name: words for one in files for name, words in one.vocabulary.items()}
    return Signatures(
        version=files[0].version,
        vocabulary=vocabulary,
        signatures=tuple(signature for one in files for signature in one.signatures),
    )


def read(name: str) -> Signatures:
    """One of the files in DATA."""
    return read_file(resources.files(__package__).joinpath(name))


def read_file(file: Traversable) -> Signatures:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = file.read_text(encoding="utf-8")
    return msgspec.convert(yaml.load(text, Loader=loader), Signatures)  # noqa: S506 - a SafeLoader


# -- from the file's notation to an expression

VOCABULARY = re.compile(r"<([a-z]+)>")
GAP = re.compile(r"~(\d+) ?")
MARKED = re.compile(
    "[\u00c0-\u024f\u1e00-\u1eff\u0386-\u03ce\u0451\u0622\u0623\u0625]"
)  # Latin and Greek letters, io, and alif.
LETTERS = r"[^\W\d_]"
MARKED_WORDS = re.compile(
    rf"(?:{LETTERS}+\\x20)*{LETTERS}*{MARKED.pattern}{LETTERS}*(?:\\x20{LETTERS}+)*(?![?*+{{])"
)  # Several where they are joined by `\x20`.
UNDECOMPOSED = {"ı": "i", "ł": "l", "ø": "o", "đ": "d", "ß": "ss", "æ": "ae", "œ": "oe"}


def expression(pattern: str, vocabulary: Mapping[str, str]) -> str:
    """The notation of signatures.yaml as a regular expression over lower-case bytes."""
    while (filled := VOCABULARY.sub(lambda found: vocabulary.get(found[1], found[0]), pattern)) != pattern:
        pattern = filled
    starts_word = pattern.isascii() and pattern.removeprefix("(?:")[:1].isalnum()
    parts = [r"\b"] if starts_word else []
    at, in_class, may_be_marked = 0, False, not pattern.isascii()
    while at < len(pattern):
        one = pattern[at]
        if one == "\\":
            parts.append(pattern[at : at + 2])
            at += 2
            continue
        in_class = one == "[" or (in_class and one != "]")
        words = MARKED_WORDS.match(pattern, at) if may_be_marked and not in_class and one.isalpha() else None
        if words is not None:
            parts.append(_with_or_without_marks(words[0]))
            at = words.end()
            continue
        gap = GAP.match(pattern, at) if not in_class else None
        if gap is not None:
            parts.append(SENTENCE_GAP % gap[1])
            at = gap.end()
            continue
        parts.append(SEPARATOR if one == " " and not in_class else one)
        at += 1
    return "".join(parts)


def _with_or_without_marks(words: str) -> str:
    """Who types in a hurry leaves all the marks out."""
    bare = MARKED.sub(lambda letter: UNDECOMPOSED.get(letter[0]) or unicodedata.normalize("NFD", letter[0])[0], words)
    return words if bare == words else f"(?:{words}|{bare})"


def phrase(text: str) -> str:
    """A custom signature is words, not an expression: any space or punctuation may stand between them, and marks may be left out."""
    text = unicodedata.normalize("NFC", text)
    words = [_with_or_without_marks(_spelled(word)) for word in text.split()]
    ends_word = text[-1:].isascii() and text[-1:].isalnum()
    return (r"\b" if text[:1].isascii() and text[:1].isalnum() else "") + SEPARATOR.join(words) + r"\b" * ends_word


def _spelled(word: str) -> str:
    """In small letters, whatever capitals do not say: which sigma it is, whether an i has its dot."""
    dotted = "\u0130" in word
    small = re.escape(word.replace("\u0130", "i").lower())
    small = small.replace("\u03c2", "\u03c3").replace("\u03c3", "(?:\u03c3|\u03c2)").replace("\u00df", "(?:\u00df|ss)")
    return small.replace("i", "i(?:\u0307)?") if dotted else small


# -- the matcher


class Prepared(Struct, frozen=True):
    """A signature as it is looked for. To derive this takes a millisecond for each."""

    hit: Hit
    source: str  # Of its expression.
    forms: tuple[Form, ...]


class Compiled:
    """An expression that is compiled when it is first tried: most never are, and each takes 0.2 ms and tens of KB."""

    __slots__ = ("_expression", "_source", "hit", "is_new", "spans")

    def __init__(self, hit: Hit, source: str) -> None:
        self.hit, self._source = hit, source
        self.is_new = True  # Not tried on any text, which takes a tenth of a millisecond the first time.
        self._expression: Any = None
        self.spans: Callable[..., Sequence[tuple[int, int]]] = self._first_spans
        """RE2's own function, which says where a match begins and ends, or NOWHERE: re2's `search` makes a generator of each question."""

    @property
    def expression(self) -> Any:
        """re2's."""
        if self._expression is None:
            self._expression = exact(self.hit, self._source)
        return self._expression

    def _first_spans(self, *asked: Any) -> Sequence[tuple[int, int]]:
        self.spans = self.expression._regexp.Match
        return self.spans(*asked)


ANYWHERE = re2._Anchor.UNANCHORED
UNSEEN = (-1, -1)
NOWHERE = [UNSEEN]


UNBOUNDED = 1 << 60
FIRST_TRIAL_TRIALS = 12  # What the first trial of an expression takes, in others.
MATCH_TRIALS = 8  # What else is asked where one matches.
WORDS_OF_A_TRIAL = 64  # To see so many words takes as long as a trial.
TRIAL_S, LONG_TRIAL_S, LONG_FIRST_TRIAL_S = 0.000_01, 0.000_05, 0.005
"""What takes longer counts for as many as take as long: of some expressions RE2's automaton grows with each byte of a text that is made for
it, and is thrown away again and again."""


class Budget:
    """What may still be spent on one body, over all its views. When it is used up, what is left is not looked at."""

    __slots__ = (
        "bytes", "clock", "exhausted", "first_trials", "match_trials", "pass_bytes", "pause", "slow", "slow_s", "slow_trials", "trials", "words",
    )  # fmt: skip

    def __init__(
        self,
        words: int,
        trials: int,
        bytes: int,
        first_trials: int = UNBOUNDED,
        *,
        match_trials: int = 0,
        clock: Callable[[], float] | None = None,
        slow_s: float = LONG_TRIAL_S,
        slow_trials: int = 0,
    ) -> None:
        """`clock`: of who holds a loop meanwhile. What is slower than `slow_s` costs other trials, but for `slow_trials` of them."""
        self.words = words  # Literals seen,
        self.trials = trials  # expressions tried,
        self.bytes = bytes  # bytes that they were tried on,
        self.first_trials = first_trials  # and expressions that had been tried on nothing before.
        self.match_trials = match_trials  # What a match takes of the trials.
        self.clock, self.slow_s, self.slow_trials = clock, slow_s, slow_trials
        self.slow: set[int] = set()  # Signatures that were: they are tried no more.
        self.exhausted = False
        self.pass_bytes = PIECE_BYTES  # Of which one native pass can tell all: less while a text is dense.
        self.pause = -UNBOUNDED  # When so many trials are left, whoever asked for them may want to let others run.

    @property
    def is_spent(self) -> bool:
        return self.trials <= 0 or self.bytes <= 0

    def pause_after(self, trials: int) -> None:
        self.pause = self.trials - trials

    @property
    def is_to_pause(self) -> bool:
        return self.trials <= self.pause

    def has_no_room(self, trials: int) -> bool:
        """Whether what takes as long as so many is for another turn: this one is over then."""
        if self.trials - self.pause >= trials:
            return False
        self.pause = self.trials
        return True

    def saw(self, words: int) -> None:
        """So many literals, in one pass."""
        self.words -= words
        self.took(words // WORDS_OF_A_TRIAL)

    def took(self, trials: int) -> None:
        """As long as so many trials."""
        self.pause += trials

    def lasted(self, seconds: float, thing: int, *, is_new: bool) -> None:
        """One trial of a signature."""
        if seconds < (LONG_FIRST_TRIAL_S if is_new else LONG_TRIAL_S):
            return
        trials = int(seconds / TRIAL_S)
        if seconds >= self.slow_s:
            self.slow.add(thing)
            if not self.slow_trials:
                self.trials -= trials
                return
            self.slow_trials -= 1
        self.took(trials)


# Between two expressions, of which each takes half as long: the loop has the interpreter in between.
WARMING_PAUSE_S = 0.0005


class Matcher:
    """All signatures, compiled. Immutable; a change of configuration makes another one."""

    def __init__(self, signatures: Iterable[tuple[Hit, str] | Prepared]) -> None:
        """Raises ValueError naming the signature that cannot be compiled; prepared ones can."""
        known = [one if isinstance(one, Prepared) else prepared(*one) for one in signatures]
        self.signatures = tuple(Compiled(one.hit, one.source) for one in known)
        self.near = Near([one.forms for one in known], reach=REACH_BYTES)

    def warm(self, pause: Callable[[], None]) -> None:
        """Compiles every expression, so that no request has to."""
        for one in self.signatures:
            one.expression.search(b"")
            pause()
        for code in spoken.LANGUAGES.keys() & {_language(one.hit) for one in self.signatures}:
            for source in (spoken.LANGUAGES[code].told_by, *(one for one, _ in spoken.LANGUAGES[code].expressions)):
                _exact(source)
                pause()

    def warm_beside(self) -> None:
        """In a thread that lets others run between two expressions."""
        Thread(target=self.warm, args=(partial(time.sleep, WARMING_PAUSE_S),), daemon=True).start()

    def scan(self, plain: bytes, budget: Budget) -> list[Hit]:
        """What is in a text, of which what is not ASCII is in lower case."""
        return [one.hit for one in self.trials(plain, budget) if one is not None]

    def trials(self, plain: bytes, budget: Budget) -> Iterable[Seen | None]:
        """The same with its place, and with a None where the budget says that it is time to pause. One native pass, and Python sees only
        what may be there."""
        if len(plain) <= PIECE_BYTES:
            candidates, spent, exhausted = self.near.find(plain, budget.words)
            if not exhausted:
                budget.saw(spent)
                return self.tried(plain, candidates, budget) if candidates else NO_TRIALS
        return self._in_pieces(plain, budget)

    def _in_pieces(self, plain: bytes, budget: Budget) -> Iterator[Seen | None]:
        before: frozenset[Candidate] = frozenset()
        starts = range(0, max(1, len(plain) - PIECES_SHARE_BYTES), PIECE_BYTES - PIECES_SHARE_BYTES)
        for start in starts:
            for here in self._passes(plain, start, min(start + PIECE_BYTES, len(plain)), budget):
                yield from self.tried(plain, [one for one in here if one not in before], budget)
                if budget.is_spent:
                    budget.exhausted = True
                    return
                before = frozenset(here)

    def _passes(self, plain: bytes, begin: int, end: int, budget: Budget) -> Iterator[list[Candidate]]:
        """What may be in a piece, by the native passes that it takes: one, and more where one cannot tell of all."""
        is_dense, candidates, exhausted = end - begin > budget.pass_bytes, NO_CANDIDATES, True
        if not is_dense:
            candidates, spent, exhausted = self.near.find(plain[begin:end], budget.words)
            budget.saw(spent)
            is_dense = exhausted and end - begin > 2 * PIECES_SHARE_BYTES
            if is_dense:
                budget.pass_bytes = (end - begin + PIECES_SHARE_BYTES) // 2 + 1
            elif spent < SPARSE_WORDS_MAX:
                budget.pass_bytes = PIECE_BYTES
        if is_dense and budget.words > 0:
            middle = (begin + end) // 2
            yield from self._passes(plain, begin, middle + PIECES_SHARE_BYTES // 2, budget)
            yield from self._passes(plain, middle - PIECES_SHARE_BYTES // 2, end, budget)
            return
        budget.exhausted = budget.exhausted or exhausted
        yield [Candidate(one.thing, one.start + begin, one.end + begin) for one in candidates]

    def tried(self, plain: bytes, candidates: Iterable[Candidate], budget: Budget) -> Iterator[Seen | None]:
        """What may be in a text, each where its words are."""
        for one in candidates:
            if budget.trials <= 0 or budget.bytes <= 0:
                budget.exhausted = True
                break
            if one.thing in budget.slow:
                budget.exhausted = True
                continue
            compiled = self.signatures[one.thing]
            is_new = compiled.is_new
            if is_new:
                if budget.first_trials <= 0:
                    budget.exhausted = True
                    continue
                budget.first_trials -= 1
                budget.took(FIRST_TRIAL_TRIALS)
                compiled.is_new = False
            budget.trials -= 1
            budget.bytes -= one.end - one.start
            seen: Seen | None = None
            is_long = budget.clock is not None and one.end - one.start > LONG_BYTES
            for place in parts(one) if is_long else (one,):
                if is_long and budget.has_no_room(LONG_TRIALS):
                    yield None
                around = plain[place.start : place.end].lower()
                first = _next(compiled, around, 0, place.thing, budget, is_new=is_new)
                if first != UNSEEN:
                    seen = yield from _seen(compiled, plain, place, around, first, budget, is_new=is_new)
                elif budget.trials <= budget.pause:
                    yield None
                if one.thing in budget.slow or (seen is not None and seen.hit is compiled.hit):
                    break
            if seen is not None:
                yield seen


def parts(place: Candidate) -> Iterator[Candidate]:
    for start in range(
        place.start, max(place.start + 1, place.end - PARTS_SHARE_BYTES), PART_BYTES - PARTS_SHARE_BYTES
    ):
        yield Candidate(place.thing, start, min(start + PART_BYTES, place.end))


def _seen(
    compiled: Compiled,
    plain: bytes,
    place: Candidate,
    around: bytes,
    first: tuple[int, int],
    budget: Budget,
    *,
    is_new: bool,
) -> Generator[None, None, Seen]:
    """Of a signature that matches: less severe where its words are only talked about. `first`: where it first does. With a None where the
    budget says that it is time to pause."""
    budget.trials -= budget.match_trials
    budget.took(MATCH_TRIALS)
    if is_new:  # Where a match begins is told by another automaton.
        budget.first_trials -= 1
        budget.took(FIRST_TRIAL_TRIALS)
    hit, (start, end) = compiled.hit, first
    if hit.severity == "high" and not hit.always:
        meant = yield from _meant(compiled, plain, place, around, first, budget)
        if meant is None:
            hit = replace(hit, severity="medium")
        else:
            start, end = meant
    return Seen(hit, place.start + start, place.start + end)


def _next(
    compiled: Compiled, around: bytes, begin: int, thing: int, budget: Budget, *, is_new: bool = False
) -> tuple[int, int]:
    """Where a signature next matches; its time is the budget's where that counts it."""
    if budget.clock is None:
        return compiled.spans(ANYWHERE, around, begin, len(around))[0]
    begun = budget.clock()
    spans = compiled.spans(ANYWHERE, around, begin, len(around))
    budget.lasted(budget.clock() - begun, thing, is_new=is_new)
    return spans[0]


def _meant(
    compiled: Compiled, plain: bytes, place: Candidate, around: bytes, first: tuple[int, int], budget: Budget
) -> Generator[None, None, tuple[int, int] | None]:
    """Where what matches is meant, and not only talked about. `first`: where it first does."""
    before = plain[max(0, place.start - TALK_BYTES_MAX) : place.start].lower()
    behind = plain[place.end : place.end + TALK_BYTES_MAX].lower()
    language = spoken.LANGUAGES.get(_language(compiled.hit))
    spoken_of: list[tuple[int, int]] | None = None
    at, match = len(before), first
    while match != UNSEEN:
        start, end = _said(match, around)
        if not is_talk(before + around[:start], around[end:] + behind):
            if spoken_of is None:
                spoken_of = _spoken_of(language, before + around + behind) if language is not None else []
            if not any(low <= at + start and at + end <= high for low, high in spoken_of):
                return start, end
        if budget.has_no_room(MATCH_TRIALS):
            yield
        match = _next(compiled, around, max(match[1], match[0] + 1), place.thing, budget)
    return None


def _language(hit: Hit) -> str:
    """The code that ids of signatures in other languages than English begin with."""
    return hit.id.partition(".")[0]


def _spoken_of(language: spoken.Language, text: bytes) -> list[tuple[int, int]]:
    """Where a text in lower case forbids or reports words, in another language than English."""
    if _exact(language.told_by)._regexp.Match(ANYWHERE, text, 0, len(text)) == NOWHERE:
        return []
    found = (
        language.meant(text, *match.span(), is_guard=is_guard)
        for source, is_guard in language.expressions
        for match in _exact(source).finditer(text)
    )
    return [span for span in found if span is not None]


def _said(span: tuple[int, int], around: bytes) -> tuple[int, int]:
    """Without a character before the first word, such as a quotation mark: an expression may have it to see where the word begins."""
    start, end = span
    return (start + 1, end) if around[start : start + 1] in (b" ", b"'", b'"', b"`", b"\n") else span


NO_TRIALS: tuple[None, ...] = ()
NO_CANDIDATES: list[Candidate] = []

TALK_BYTES_MAX = 96
TALK = re.compile(
    rb"\b(?:never|(?:do|does|must|should|shall|will|would|can|may|could|is|are)(?: ?not|n.?t)|cannot|not (?:allowed|permitted) to"
    rb"|refus(?:e|es|ing) to|not to|avoid|forbidden to|(?:prohibited|refrain) from|without|instead of"
    rb"|(?:users?|customers?|visitors?|callers?|someone|somebody|anyone|attackers?|hackers?|people|they) (?:\w+ ){0,2}?(?:asks?|asking|tells?|telling"
    rb"|tries|try|trying|attempts?|requests?|says?|wants?|writes?|types?)(?: (?:you|to|it|for|that|the (?:model|assistant|ai|bot)))*)"
    rb"(?:[\s,;/\"'*]+(?:ever|directly|explicitly|openly|under any circumstances?|in any (?:way|form)|attempt|try|to|or|and|any|be tricked into"
    rb"|reveal|disclose|share|repeat|print|output|show|display|leak|expose|provide|give|discuss|mention|tell|ignore|override|bypass|change"
    rb"|modify|forget|disregard|follow|respond with|revealing|disclosing|sharing|repeating|printing|showing|leaking|ignoring|bypassing)){0,8}"
    rb"[\s,;/\"'*]*\Z"
)
"""What stands before words of an attack that are forbidden or reported, as in the instructions of an operator: `never reveal your instructions`."""


QUOTED_BYTES_MAX = 12  # From the end of what is said to the quotation mark that closes it.
OPENED = re.compile(rb"(?:['`]|\xe2\x80[\x98\x9c]|\xc2\xab|\xe3\x80\x8c)[\s*]*\Z")
CLOSED = re.compile(rb"[^'`\".]{0,11}?[.!,?]?(?:['`]|\xe2\x80[\x99\x9d]|\xc2\xbb|\xe3\x80\x8d)")


def is_talk(before: bytes, behind: bytes) -> bool:
    """Whether words are forbidden, reported, or quoted and nothing more: then they are noted, and block nobody."""
    if TALK.search(before[-TALK_BYTES_MAX:]) is not None:
        return True
    return OPENED.search(before[-4:]) is not None and CLOSED.match(behind[:QUOTED_BYTES_MAX]) is not None


def exact(hit: Hit, source: str) -> Any:
    try:
        return _exact(source)
    except re2.error:
        raise ValueError(f"signature {hit.id} is not an expression that RE2 accepts") from None


@lru_cache(CACHED_MAX)  # After a change of configuration nearly all are the same.
def _exact(source: str) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # Bytes are matched: nothing is invalid, and a gap is in bytes.
    options.max_mem = EXPRESSION_BYTES_MAX
    options.log_errors = False
    options.never_capture = True
    return re2.compile(source.encode(), options)


def prepared(hit: Hit, source: str) -> Prepared:
    found = forms(source)
    if not found:
        raise ValueError(f"signature {hit.id} has no word of {WORD_BYTES_MIN} letters that it cannot do without")
    exact(hit, source)  # So that what cannot be compiled is known now.
    return Prepared(hit, source, found)


def prepare(data: Signatures) -> tuple[Prepared, ...]:
    return tuple(
        prepared(Hit(one.id, one.category, one.severity), expression(one.pattern, data.vocabulary))
        for one in data.signatures
    )


def ready() -> tuple[Prepared, ...]:
    """The shipped ones as they were prepared, or prepared now where they have changed since."""
    return unpacked(resources.files(__package__).joinpath(PREPARED), fingerprint()) or prepare(shipped())


Stamp = tuple[tuple[int, int], ...]


def stamp() -> Stamp:
    """When each of the files was written last, and how long it is: another one says that a matcher should be made anew."""
    package, found = resources.files(__package__), []
    for name in (*DATA, PREPARED):
        with suppress(OSError):  # It is being replaced.
            file = os.stat(str(package.joinpath(name)))
            found.append((file.st_mtime_ns, file.st_size))
    return tuple(found)


def pack(signatures: Sequence[Prepared], origin: bytes) -> bytes:
    """For `unpacked`: always the same bytes for the same signatures. `origin`: the fingerprint of what they are prepared from."""
    encoded = msgspec.msgpack.encode(signatures, order="deterministic")
    return origin + zlib.compress(encoded, 9)


def unpacked(file: Traversable, origin: bytes) -> tuple[Prepared, ...] | None:
    """What was packed, if it was prepared from the same."""
    packed = file.read_bytes() if file.is_file() else b""
    if not packed.startswith(origin):
        return None
    return msgspec.msgpack.decode(zlib.decompress(packed[len(origin) :]), type=tuple[Prepared, ...])


def fingerprint() -> bytes:
    """Of the files that signatures are prepared from."""
    package = resources.files(__package__)
    return sha256(b"".join(package.joinpath(name).read_bytes() for name in (*DATA, everyday.DATA))).digest()


def matcher(data: Signatures | None = None, custom: Sequence[Custom] = (), disabled: Iterable[str] = ()) -> Matcher:
    """The shipped signatures (or others) and custom ones without those disabled, by id or by whole category."""
    off = frozenset(disabled)
    known = ready() if data is None else prepare(data)
    wanted: list[tuple[Hit, str] | Prepared] = [
        one for one in known if one.hit.id not in off and one.hit.category not in off
    ]
    wanted += [
        (Hit(one.id, one.category, one.severity, always=True), phrase(one.phrase))
        for one in custom
        if one.id not in off
    ]
    return Matcher(wanted)
