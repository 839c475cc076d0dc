"""The firewall's signatures as one matcher: literals in one pass, then the few signatures that may be there, each exactly.

Full expressions in one automaton take minutes to compile or thrash its cache (docs/adr/0011), so each signature is reduced to the
words that it cannot do without; only where all of them occur is its expression tried, and only around them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from re import _parser as regex_parser  # type: ignore[attr-defined]
from typing import Any, Literal

import hyperscan
import msgspec
import re2
import yaml
from msgspec import Struct

from llmproxy.common.config import Signature as Custom
from llmproxy.common.views import MARKS, NONE, Hint

DATA = "signatures.yaml"
WORD_BYTES_MIN = 3  # A shorter literal is everywhere,
SHORT_WORDS = frozenset({"ai"})  # except as a word of its own.
EVERYDAY = frozenset(
    [
        "the",
        "and",
        "for",
        "that",
        "how",
        "ver",
        "you",
        "are",
        "what",
        "all",
        "with",
        "que",
        "turn",
        "can",
        "tes",
        "any",
        "end",
        "use",
        "sen",
        "put",
        "this",
        "ode",
        "art",
        "late",
        "den",
        "pre",
        "not",
        "mai",
        "has",
        "here",
        "each",
        "let",
        "have",
        "was",
        "your",
        "will",
        "them",
        "then",
        "than",
        "ist",
        "ive",
        "out",
        "our",
        "act",
    ]
)
"""In every other prompt; to look for them says nothing."""
WORDS_NEEDED_MAX = 3  # Of one signature: more do not make it rarer.
CELL_BITS = 6  # Words are near each other when they are in the same cell of 64 bytes or in neighbouring ones.
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


class Signatures(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    vocabulary: dict[str, str]
    signatures: tuple[Signature, ...]


class Hit(Struct, frozen=True):
    id: str
    category: str
    severity: Severity


def shipped() -> Signatures:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = resources.files(__package__).joinpath(DATA).read_text(encoding="utf-8")
    return msgspec.convert(yaml.load(text, Loader=loader), Signatures)  # noqa: S506 - a SafeLoader


# -- from the file's notation to an expression

VOCABULARY = re.compile(r"<([a-z]+)>")
GAP = re.compile(r"~(\d+) ?")


def expression(pattern: str, vocabulary: Mapping[str, str]) -> str:
    """The notation of signatures.yaml as a regular expression over lower-case bytes."""
    while (filled := VOCABULARY.sub(lambda found: vocabulary.get(found[1], found[0]), pattern)) != pattern:
        pattern = filled
    starts_word = pattern.isascii() and pattern.removeprefix("(?:")[:1].isalnum()
    parts = [r"\b"] if starts_word else []
    at, in_class = 0, False
    while at < len(pattern):
        one = pattern[at]
        if one == "\\":
            parts.append(pattern[at : at + 2])
            at += 2
            continue
        in_class = one == "[" or (in_class and one != "]")
        gap = GAP.match(pattern, at) if not in_class else None
        if gap is not None:
            parts.append(SENTENCE_GAP % gap[1])
            at = gap.end()
            continue
        parts.append(SEPARATOR if one == " " and not in_class else one)
        at += 1
    return "".join(parts)


def phrase(text: str) -> str:
    """A custom signature is words, not an expression: any space or punctuation may stand between them."""
    words = [re.escape(word) for word in text.lower().split()]
    ends_word = text[-1:].isascii() and text[-1:].isalnum()
    return (r"\b" if text[:1].isascii() and text[:1].isalnum() else "") + SEPARATOR.join(words) + r"\b" * ends_word


# -- what an expression cannot do without

Words = frozenset[str]


def needed(pattern: str) -> list[Words]:
    """Sets of literals; a text that matches holds at least one of each. The rarest first; empty when there is none."""
    groups = sorted(dict.fromkeys(_groups(regex_parser.parse(pattern))), key=_commonness)
    return [group for group in groups if group.isdisjoint(EVERYDAY)][:WORDS_NEEDED_MAX] or groups[:1]


def _commonness(group: Words) -> float:
    """Many, short and everyday alternatives are found often."""
    return sum(
        1.0 if word in EVERYDAY else 0.01 if word in SHORT_WORDS else 12.0 ** -min(len(word.encode()) - 2, 6)
        for word in group
    )


def _groups(nodes: Iterable[tuple[Any, Any]]) -> list[Words]:
    found: list[Words] = []
    run: list[str] = []

    def end_run() -> None:
        if run:
            found.append(frozenset({"".join(run)}))
            run.clear()

    for kind, value in nodes:
        name = str(kind)
        if name == "LITERAL":
            run.append(chr(value))
            continue
        if name == "BRANCH" and run:  # The parser takes the common beginning of alternatives out of them.
            before = [(regex_parser.LITERAL, ord(one)) for one in "".join(run)]
            found += _branch([[*before, *alternative] for alternative in value[1]])
            end_run()
            continue
        end_run()
        if name == "SUBPATTERN":
            found += _groups(value[3])
        elif name == "BRANCH":
            found += _branch(value[1])
        elif name in ("MAX_REPEAT", "MIN_REPEAT") and value[0] > 0:
            found += _groups(value[2])
    end_run()
    return [group for group in found if all(is_telling(word) for word in group)]


def is_telling(word: str) -> bool:
    return len(word.encode()) >= WORD_BYTES_MIN or word in SHORT_WORDS


def literal(word: str) -> bytes:
    bare = re.escape(word).encode()
    return rb"\b%b\b" % bare if word in SHORT_WORDS else bare


def _branch(alternatives: Sequence[Any]) -> list[Words]:
    """One set for all alternatives, unless one of them has no literal of its own."""
    best: list[Words] = []
    for alternative in alternatives:
        groups = _groups(alternative)
        if not groups:
            return []
        best.append(min(groups, key=_commonness))
    return [frozenset().union(*best)]


# -- the matcher


class Compiled(Struct, frozen=True):
    hit: Hit
    expression: Any  # re2's.
    index: int
    needs: int  # A bit for each set of literals.


class Budget:
    """What may still be spent on one body, over all its views. When it is used up, what is left is not looked at."""

    __slots__ = ("exhausted", "trials", "words")

    def __init__(self, words: int, trials: int) -> None:
        self.words = words  # Literals seen,
        self.trials = trials  # and expressions tried.
        self.exhausted = False


class Matcher:
    """All signatures, compiled. Immutable; a change of configuration makes another one."""

    def __init__(self, signatures: Iterable[tuple[Hit, str]]) -> None:
        """Raises ValueError naming the signature that cannot be compiled."""
        self._bits: list[int] = []  # Literal -> the sets that it belongs to.
        self._candidates: list[list[Compiled]] = []  # Literal -> the signatures whose key it is in.
        self._marks: list[int] = []
        self._literals: dict[str, int] = {}
        self._sets: dict[Words, int] = {}
        self._count = 0
        self.signatures = tuple(self._compile(hit, source) for hit, source in signatures)
        self._database = self._build()

    def _compile(self, hit: Hit, source: str) -> Compiled:
        groups = needed(source)
        if not groups:
            raise ValueError(f"signature {hit.id} has no word of {WORD_BYTES_MIN} letters that it cannot do without")
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1  # Bytes are matched: nothing is invalid, and a gap is in bytes.
        options.max_mem = EXPRESSION_BYTES_MAX
        options.log_errors = False
        options.never_capture = True
        try:
            exact = re2.compile(source.encode(), options)
        except re2.error:
            raise ValueError(f"signature {hit.id} is not an expression that RE2 accepts") from None
        needs = 0
        for group in groups:
            bit = self._sets.setdefault(group, 1 << len(self._sets))
            needs |= bit
            for word in group:
                self._bits[self._literal(word)] |= bit
        compiled = Compiled(hit, exact, self._count, needs)
        self._count += 1
        for word in groups[0]:
            self._candidates[self._literal(word)].append(compiled)
        return compiled

    def _literal(self, word: str) -> int:
        index = self._literals.setdefault(word, len(self._literals))
        if index == len(self._bits):
            self._bits.append(0)
            self._candidates.append([])
        return index

    def _build(self) -> hyperscan.Database:
        expressions = [literal(word) for word in self._literals] + [mark.encode() for mark in MARKS.values()]
        self._marks = [int(hint) for hint in MARKS]  # Combining plain numbers is ten times cheaper.
        flags = [0] * len(self._literals)
        flags += [hyperscan.HS_FLAG_SINGLEMATCH | hyperscan.HS_FLAG_CASELESS] * len(MARKS)
        database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        database.compile(expressions=expressions, ids=list(range(len(expressions))), flags=flags)
        return database

    def scan(self, plain: bytes, budget: Budget) -> tuple[list[Hit], Hint, int]:
        """What is in a lower-case text, what may hide more in it, and from where. One pass, whatever there is to find."""
        words: list[int] = []  # Literal, place, literal, place: a list of numbers is the cheapest record of a match.
        marks: list[tuple[int, int]] = []
        literals, left = len(self._literals), 2 * budget.words

        def found(one: int, _from: int, end: int, _flags: int, _context: object) -> bool | None:
            if one >= literals:
                marks.append((one, end))
                return None
            words.extend((one, end))
            return len(words) >= left  # True ends the pass.

        try:
            self._database.scan(plain, found)
        except hyperscan.ScanTerminated:
            budget.exhausted = True
        budget.words -= len(words) // 2
        hints, first = 0, len(plain)
        for mark, end in marks:
            hints |= self._marks[mark - literals]
            first = min(first, end)
        return (self._confirmed(plain, words, budget) if words else []), Hint(hints) if hints else NONE, first

    def _confirmed(self, plain: bytes, words: list[int], budget: Budget) -> list[Hit]:
        """The signatures whose words are all near each other, and whose expression matches there."""
        cells: dict[int, int] = {}
        keys: dict[tuple[int, int], None] = {}  # Each key word once in a cell, in order.
        bits, candidates = self._bits, self._candidates
        for one, end in zip(words[::2], words[1::2], strict=True):
            cell = end >> CELL_BITS
            cells[cell] = cells.get(cell, 0) | bits[one]
            if candidates[one]:
                keys[cell, one] = None
        hits: list[Hit] = []
        tried: set[tuple[int, int]] = set()
        at, near = -1, 0
        for cell, one in keys:
            if cell != at:
                at, near = cell, cells.get(cell - 1, 0) | cells[cell] | cells.get(cell + 1, 0)
            for compiled in candidates[one]:
                if near & compiled.needs != compiled.needs or (cell, compiled.index) in tried:
                    continue
                tried.add((cell, compiled.index))
                if budget.trials <= 0:
                    budget.exhausted = True
                    return hits
                budget.trials -= 1
                start, stop = max(0, (cell - 1) << CELL_BITS), (cell + 2) << CELL_BITS
                if compiled.expression.search(plain[start:stop]) is not None:
                    hits.append(compiled.hit)
        return hits


def matcher(data: Signatures, custom: Sequence[Custom] = (), disabled: Iterable[str] = ()) -> Matcher:
    """Shipped and custom signatures without those disabled, by id or by whole category."""
    off = frozenset(disabled)
    wanted = [
        (Hit(one.id, one.category, one.severity), expression(one.pattern, data.vocabulary))
        for one in data.signatures
        if one.id not in off and one.category not in off
    ]
    wanted += [(Hit(one.id, one.category, one.severity), phrase(one.phrase)) for one in custom if one.id not in off]
    return Matcher(wanted)
