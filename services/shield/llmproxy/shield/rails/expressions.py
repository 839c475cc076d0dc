"""Operators' expressions, compiled once: one pass over a text says which of them may be there, and only those are tried.

Everything is matched as UTF-8, in which RE2 works; places are characters.
"""

import re
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from msgspec import Struct, structs

from llmproxy.common import expressions
from llmproxy.common.rails import DOES, Rail, Source
from llmproxy.common.segments import Segment
from llmproxy.common.views import CONFUSABLES
from llmproxy.shield.verdict import Finding

HITS_MAX = 1_000  # Of one expression in one text. What is behind them is not looked for one by one.
WORK_MAX = 2_000_000  # Instructions times bytes: the worst text needs about 5 ms for so many.
PIECE_BYTES = 1_024
SLOW_NS = 1_000_000
SLOW_FOR_S = 60
"""After a text that took long. So many can be written, but they are rare, and a busy machine looks like one: to read every answer in a
thread for ever after would be too much, and one such text a minute does not hold the loop."""
STATES_MIN = 150
"""Instructions: a smaller program takes under a millisecond for what is looked at at once, in whatever states."""
SAMPLES, SAMPLE_BYTES = 8, 256
SAMPLE_SLOW_NS = 60_000  # An ordinary expression takes 3,000, one like `a.{200}b` a million.


class Compiled(Struct, frozen=True):
    source: Source
    expression: Any  # re2's.
    size: int
    width: int  # In characters; 0 when there is no bound.


FORMS = frozenset(
    ["system", "developer", "user", "assistant", "tool", "function", "model", "text", "image_url", "image", "document", "file",
     "tool_use", "tool_result", "thinking", "message", "input_text", "output_text", "input_image", "input_file", "refusal",
     "function_call", "function_call_output", "reasoning", "custom", "object", "string", "number", "integer", "boolean", "array",
     "null", "json_schema", "json_object", "ephemeral", "enabled", "disabled", "auto", "none", "any"]
)  # fmt: skip
"""What the APIs want to be written at `FORM_NAMES`: a word there is nobody's, and without it a provider takes nothing."""

FORM_NAMES = (".role", ".type", "tool_choice")


def is_form(segment: Segment) -> bool:
    return segment.text in FORMS and segment.path.endswith(FORM_NAMES)


FOLDED = "fold"  # As `common/views.py` calls it.
WORD = re.compile(r"[^\W\d_]+")
MIXED = re.compile(r"[\u0370-\u052f](?:(?=[a-zA-Z])|(?<=[a-zA-Z].))", re.DOTALL)
"""A Greek or Cyrillic letter beside a Latin one: no language has such words."""


def unmixed(text: str) -> str:
    """With Latin letters for those that look like them, in words of two alphabets: letter for letter, so all places are the same."""
    if text.isascii() or MIXED.search(text) is None:
        return text
    return WORD.sub(lambda word: word[0].translate(CONFUSABLES) if MIXED.search(word[0]) else word[0], text)


class Encoded:
    """A text as UTF-8. Places are best asked for in order: each begins where the last one was."""

    __slots__ = ("_byte", "_char", "data", "is_ascii", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_ascii = text.isascii()
        self.data = text.encode("utf-8", "replace")  # Half a surrogate pair is one sign for another.
        self._byte = self._char = 0

    def char(self, byte: int) -> int:
        if self.is_ascii:
            return byte
        if byte < self._byte:
            self._byte = self._char = 0
        self._char += len(self.data[self._byte : byte].decode("utf-8", "replace"))
        self._byte = byte
        return self._char

    def byte(self, char: int) -> int:
        if self.is_ascii:
            return char
        if char < self._char:
            self._byte = self._char = 0
        self._byte += len(self.text[self._char : char].encode("utf-8", "replace"))
        self._char = char
        return self._byte


class Expressions:
    """Many, in order."""

    def __init__(
        self,
        sources: Sequence[Source],
        clock_ns: Callable[[], int] = time.thread_time_ns,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock_ns` says what they cost, `now` what time it is, in seconds."""
        self._clock_ns, self._now = clock_ns, now
        self.all = tuple(_compiled(source) for source in sources)
        self.size = sum(one.size for one in self.all)
        self._together: Any = expressions.together(sources) if sources else None
        self._last: tuple[str, tuple[int, ...]] = ("", ())
        self._is_always_slow = any(
            self._is_slow_on_samples(one.source.pattern)
            for one in self.all
            if one.size > STATES_MIN and not one.source.is_words
        )
        self._slow_until = 0.0

    @property
    def is_slow(self) -> bool:
        """Whether texts can be written that hold an event loop: those of the expressions' own signs do, or one that came a moment ago did.

        `a.{200}b` is such an expression. Which of the last signs were an `a` is another state for each way they can be.
        """
        return self._is_always_slow or (self._slow_until > 0 and self._now() < self._slow_until)

    def may_hold(self, text: str) -> bool:
        return bool(self.possible(text)) or ((read := unmixed(text)) != text and bool(self.possible(read)))

    def possible(self, text: str) -> tuple[int, ...]:
        """Which of them are to be tried: all of them when it would take long to know."""
        known = self._last
        if self._together is None:
            return ()
        if known[0] is text:
            return known[1]
        data = text.encode("utf-8", "replace")
        possible = tuple(range(len(self.all))) if self._is_slow(data) else self._seen(data)
        self._last = (text, possible)
        return possible

    def is_quick(self, text: str) -> bool:
        """Whether they can be tried in the time that an event loop has."""
        return sum(self.all[index].size for index in self.possible(text)) * len(text) <= WORK_MAX

    def _is_slow_on_samples(self, pattern: str) -> bool:
        """Of a few signs that it names, and behind as many others: a state that an ordinary expression needs is there then.

        Asked twice, because whatever else the machine does takes time, too.
        """
        signs = sorted({sign for sign in pattern if sign.isascii() and sign.isalnum()} | {" "})
        draw = Random(0)  # noqa: S311 - any would do
        for number in range(SAMPLES):
            few = draw.sample(signs, min(len(signs), 2 + number % 3))
            self._together.Match(_drawn(draw, few))
            if self._takes_long(_drawn(draw, few)) and self._takes_long(_drawn(draw, few)):
                return True
        return False

    def _takes_long(self, data: bytes) -> bool:
        began = self._clock_ns()
        self._together.Match(data)
        return self._clock_ns() - began > SAMPLE_SLOW_NS

    def _seen(self, data: bytes) -> tuple[int, ...]:
        began = self._clock_ns()
        seen = self._together.Match(data)
        if self._clock_ns() - began > max(SLOW_NS, len(data) * SLOW_NS // PIECE_BYTES):
            self._slow_until = self._now() + SLOW_FOR_S
        if len(self.all) not in seen:  # It had no memory.
            return tuple(range(len(self.all)))
        return tuple(sorted(index for index in seen if index < len(self.all)))

    def _is_slow(self, data: bytes) -> bool:
        """Whether the automaton needs more for some piece than for text as it usually is: then it is no place for a loop.

        An automaton's states are made as a text needs them, and a text can be written that needs a new one for every byte.
        """
        if len(data) <= max(PIECE_BYTES, WORK_MAX // self.size):
            return False
        for at in range(0, len(data), PIECE_BYTES):
            began = self._clock_ns()
            self._together.Match(data[at : at + PIECE_BYTES])
            if self._clock_ns() - began > SLOW_NS:
                self._slow_until = self._now() + SLOW_FOR_S
                return True
        return False

    def find(self, segment: Segment, kind: str) -> list[Finding]:
        """Every match in a text whose role it is about. Overlaps are the chain's to resolve."""
        if is_form(segment):
            return []
        findings = self._find(segment, kind)
        read = unmixed(segment.text)
        if read != segment.text:
            known = {(one.rule, one.start, one.end) for one in findings}
            findings += (
                structs.replace(one, via=(FOLDED,))
                for one in self._find(structs.replace(segment, text=read), kind)
                if (one.rule, one.start, one.end) not in known
            )
        return findings

    def _find(self, segment: Segment, kind: str) -> list[Finding]:
        findings: list[Finding] = []
        encoded: Encoded | None = None
        for index in self.possible(segment.text):
            one = self.all[index]
            rail = one.source.rail
            if rail.roles and segment.role not in rail.roles:
                continue
            encoded = encoded or Encoded(segment.text)
            findings += _findings(one, encoded, kind)
        return findings


def _drawn(draw: Random, signs: Sequence[str]) -> bytes:
    return "".join(draw.choices(signs, k=SAMPLE_BYTES)).encode()


def _compiled(source: Source) -> Compiled:
    made = expressions.of(source)
    return Compiled(source, made, made.programsize, expressions.width(source.pattern))


def first(one: Compiled, data: bytes, at: int, end: int | None = None) -> tuple[int, int] | None:
    """The first match that begins there or behind it and is not empty, in bytes."""
    for found in one.expression.finditer(data, at, end):
        start, beyond = found.span() if not one.source.groups else found.span(found.lastindex)
        if start < beyond:
            return start, beyond
    return None


def _findings(one: Compiled, encoded: Encoded, kind: str) -> list[Finding]:
    rail = one.source.rail
    findings: list[Finding] = []
    at = 0
    while (span := first(one, encoded.data, at)) is not None:
        start, end = encoded.char(span[0]), encoded.char(span[1])
        is_exact = len(findings) < HITS_MAX
        findings.append(finding(rail, kind, start, end if is_exact else len(encoded.text), is_exact=is_exact))
        if not is_exact:
            break
        at = span[1]
    return findings


def finding(rail: Rail, kind: str, start: int, end: int, *, is_exact: bool = True, score: float = 1.0) -> Finding:
    """What a rule has found, with what it says of it. The name is for the record; callers read it only if the rule says so."""
    return Finding(
        kind=named(kind, rail),
        start=start,
        end=end,
        action=DOES[rail.action],
        score=score,
        is_exact=is_exact,
        rule=rail.name,
        is_decided=True,
        replacement=rail.replacement,
    )


def named(kind: str, rail: Rail) -> str:
    return f"{kind}.{rail.name}" if rail.show_name else kind
