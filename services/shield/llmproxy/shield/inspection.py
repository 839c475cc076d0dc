"""What ring 2 knows of one request: its texts, what was found in them, and what is left in doubt."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from msgspec import Struct

from llmproxy.common import explanations, segments
from llmproxy.common.errors import GatewayError
from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.plugins.host import Block
from llmproxy.common.policy import THRESHOLDS, Policy
from llmproxy.common.rails import Rails
from llmproxy.common.segments import Segment
from llmproxy.shield import glance, look, normalise
from llmproxy.shield.chain import (
    TOO_DEAR,
    TOO_DEAR_TEXT,
    UNAVAILABLE,
    Budget,
    first_look,
    may_hold,
    unmeasured,
)
from llmproxy.shield.documents import documents
from llmproxy.shield.fixed import ROUTED_BY, is_thinking
from llmproxy.shield.guards.base import Apart, Guard, Spent
from llmproxy.shield.made import Made
from llmproxy.shield.seams import Whole
from llmproxy.shield.spread import Parts, parted
from llmproxy.shield.vault import PLACEHOLDER
from llmproxy.shield.verdict import Block as Refuse
from llmproxy.shield.verdict import Finding

DOUBTS_MAX = 4  # Texts of one request that anybody else is asked about, the most suspicious;
DOUBT_CHARS_MAX = 6_000  # and so much of each, around the suspicious place.
CHARS_PER_WORK = 50  # A text this long may hold a finding, and costs as much to look at as another segment.
LOOP_DIGITS_MAX = 1_200
"""In the loop: each takes up to 5 us, as in a table of numbers, and a letter a thousandth of that."""

LOOP_PLACES_MAX = 750
"""In the loop: where a text differs from its plain view."""

PIECE_CHARS, LOOP_DENSE_CHARS_MAX = 64, 8_192
"""In the loop: so much of a text may be pieces in which something stands that is tried under many rules. Of a program it is a tenth."""

LOOP_FILES_MAX = 24
"""In the loop: to read one takes up to 50 us, however short it is."""

OF_PARTS = (b'"text"', b'"content"')
SHORT_BYTES_MAX, LOOP_PARTS_MAX = 8 << 10, 768
"""In the loop: to tell what belongs to a turn, or to a part of one, takes up to 5 us. A short body has few."""

LOOP_S = 0.002
"""In the loop, for what is looked at text by text."""

ESCAPED_SIGN = re.compile(r"\\+([ntrbf\"])")
"""In a document in a string, at whatever depth."""


def _sign(escaped: re.Match[str]) -> str:
    return '"' if escaped[1] == '"' else " "


class TooMuch(Exception):
    """For the event loop: there it is not even begun."""


class LoopTime:
    """What the loop may take for the texts of one request that it looks at one by one."""

    __slots__ = ("_begun", "_clock", "_cpu")

    def __init__(self, clock: Callable[[], float], cpu: Callable[[], float]) -> None:
        self._clock, self._cpu = clock, cpu
        self._begun: tuple[float, float] | None = None  # When the first one was, by both clocks.

    def is_over(self) -> bool:
        if self._begun is None:
            self._begun = self._clock(), self._cpu()
            return False
        clock_s, cpu_s = self._begun
        return self._clock() - clock_s > LOOP_S and self._cpu() - cpu_s > LOOP_S  # The first costs little.


class Inspection:
    """One body on its way through the ring. What no step asks for is never computed."""

    def __init__(
        self,
        body: bytes,
        *,
        policy: Policy,
        key: bytes,
        max_depth: int,
        model: str,
        clock: Callable[[], float],
        cpu: Callable[[], float] = unmeasured,
        work_max: int | None = None,
        loop_cpu: Callable[[], float] = unmeasured,
    ) -> None:
        self.body, self.policy, self.max_depth, self.model = body, policy, max_depth, model
        self.key = key
        self.canary = ""  # The marker that a step has put into the system text.
        if work_max is not None and len(body) > SHORT_BYTES_MAX and sum(map(body.count, OF_PARTS)) > LOOP_PARTS_MAX:
            raise TooMuch
        timeout_s = policy.guard_timeout_ms / 1000
        self.budget = Budget(clock() + timeout_s, clock, cpu() + timeout_s, cpu)
        self.tree: Any = segments.decode(body, max_depth)
        if policy.unreadable == "block" and (field := segments.token_ids(self.tree)):
            raise GatewayError(
                "content_blocked",
                f"{field} holds token ids, which the guards cannot read; send text (policy.unreadable lets them pass)",
                param=field,
            )
        # What operators look for may be shorter than anything that the shield knows of.
        self.shortest = _shortest.of(policy.rails)
        self.turns = segments.plain_turns(self.tree.get("messages"))
        filled: list[segments.Filled] = []
        self.texts = segments.texts(self.tree, body, max_depth, shortest=self.shortest, turns=self.turns, filled=filled)
        # What stands in tools' arguments and results, beside its name.
        self.named = segments.named(self.tree, filled, shortest=self.shortest) if filled else []
        if model:
            self.texts.append(model)
        files = documents(self.tree, body, None if work_max is None else LOOP_FILES_MAX)
        if files is None:
            raise TooMuch
        self.documents = files
        if self.documents:
            self.texts += (one.text for one in self.documents)
        self.said = "\n".join(self.texts)
        # In segments, findings and lines of text; None: no bound.
        self.work, self.work_max = len(self.texts) + len(self.named) + len(self.said) // CHARS_PER_WORK, work_max
        self.is_looked_at = False  # Some guard wanted more than the quick look.
        self.is_given_up = False  # It is to be examined elsewhere, whatever else is in it.
        self.time = LoopTime(clock, loop_cpu)
        self.appearances = self.appearances_of(self.said)  # What is said, in every way a guard will see it.
        self.appearances_named = self.appearances_of("\n".join(self.named)) if self.named else ()
        self.sparing: Spent | None = None  # Who has taken the first look, if anybody has; and what it says:
        self.bits = look.ALL  # What is not ruled out, as `look.Look` has it.
        self.seen: dict[int, list[Finding]] = {}  # Index of a segment -> what the guards found in it.
        self.parted: Sequence[Parts] = parted(self.tree, self.turns)  # Texts that are read together.
        self.suspicions: dict[int, Finding] = {}  # Index of a segment -> that it is an injection, however unlikely.
        self.failed: tuple[Explanation, ...] = ()  # Of guards that refused without a finding: they could not look.
        self.masked: bytes | None = None
        self.originals: dict[str, str] = {}  # Placeholder -> what it stands for.

    @property
    def is_too_much(self) -> bool:
        """Whether this place may not go on with it. What was found so far is then worth nothing."""
        return self.work_max is not None and self.work > self.work_max

    def needs_elsewhere(self) -> None:
        """Too much for the event loop, whatever its size; where there is no bound it is not."""
        if self.work_max is not None:
            self.work = self.work_max + 1
            self.is_looked_at = self.is_given_up = True

    @property
    def is_late(self) -> bool:
        """Whether the loop has no more time to look at texts one by one."""
        if self.work_max is None or self.is_given_up:
            return self.is_given_up
        if self.time.is_over():
            self.needs_elsewhere()
        return self.is_given_up

    @cached_property
    def text(self) -> str:
        return self.body.decode()

    @property
    def is_full_of_numbers(self) -> bool:
        """Whether the loop has no time for a look at all that may be a card, a phone or somebody's number."""
        if self.work_max is None:
            return False
        data = glance.plain(self.appearances[-1])
        return len(data) - len(data.translate(None, glance.DIGITS)) > LOOP_DIGITS_MAX

    def is_dense(self, bits: int) -> bool:
        """Whether more of it may hold such things, as `look.Look` has them, than the loop has time to look at."""
        text = self.appearances[-1]
        if self.work_max is None or not bits or len(text) <= LOOP_DENSE_CHARS_MAX:
            return False
        dense = 0
        for start in range(0, len(text), PIECE_CHARS):
            if found := look.at(text[start : start + PIECE_CHARS]) & bits:
                dense += (
                    PIECE_CHARS if found & ~look.Look.PASSWORD else PIECE_CHARS // 2
                )  # Those are words of prose, too.
                if dense > LOOP_DENSE_CHARS_MAX:
                    return True
        return False

    def appearances_of(self, text: str) -> tuple[str, ...]:
        """A document in a string also without its escapes."""
        if text.isascii() and "\\" not in text:  # As `normalise.appearances` says of nearly all; without three calls.
            return (text,)
        if self.work_max is not None and normalise.is_beyond(text, LOOP_PLACES_MAX):
            self.needs_elsewhere()
            return (text,)
        appearances = normalise.appearances(text)
        if "\\" in text and (b'"arguments"' in self.body or b"\\u" in self.body):
            appearances += (ESCAPED_SIGN.sub(_sign, appearances[-1]),)
        return appearances

    def look_first(self, guard: Apart) -> None:
        """With one look for all guards, where each text is seen in one way alone: what has one appearance is made of texts that have one."""
        if self.work_max is None or len(self.appearances) > 1:
            return
        sparing = guard.sparing(self.key, self.time.is_over)
        if sparing is not None and (bits := first_look(sparing, self.texts)) is not None:
            for text in self.appearances_named:
                bits |= look.at(text)
            self.sparing, self.bits = sparing, bits

    def cleared(self, guard: Guard) -> set[str]:
        """The texts in which the guard sees nothing, each by itself: for those no place has to be known."""
        cleared = set[str]()
        for text in self.texts:
            if self.is_late:
                break
            if not may_hold(guard, self.appearances_of(text)):
                cleared.add(text)
        return cleared

    def telling(self, guard: Guard) -> set[str]:
        """The values in which the guard sees something because of their names."""
        if not may_hold(guard, self.appearances_named):
            return set()
        return {one for one in self.named if not self.is_late and may_hold(guard, self.appearances_of(one))}

    @cached_property
    def segments(self) -> list[Segment]:
        found = segments.segments(self.text, self.tree, self.max_depth, shortest=self.shortest)
        if self.model:
            found.append(Segment(role="parameter", path=ROUTED_BY, text=self.model))
        if self.documents:
            files = {(segments.join(one.path), one.whole) for one in self.documents}
            found = [one for one in found if one.form != "value" or (one.path, one.text) not in files]
            role = segments.roles(self.tree)
            found += (
                Segment(role=role(one.path), path=segments.join(one.path), text=one.text, form="document")
                for one in self.documents
            )
        return found

    @cached_property
    def wholes(self) -> dict[int, Whole]:
        """Index of a segment -> the parts that say it, of those that are several."""
        return {}

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Path -> index of the segment that is the text there."""
        return {one.path: at for at, one in reversed(tuple(enumerate(self.segments))) if one.form == "value"}

    @cached_property
    def written(self) -> dict[str, Segment]:
        """Path -> the string that is written there, however short."""
        found = segments.segments(self.text, self.tree, self.max_depth, embedded=False, shortest=1)
        return {one.path: one for one in found if one.form == "value"}

    @cached_property
    def files(self) -> frozenset[str]:
        """Where texts that come as files stand."""
        return frozenset(segments.join(one.path) for one in self.documents)

    @cached_property
    def quoted(self) -> frozenset[str]:
        """What looks like a placeholder in the caller's own words. A model's thoughts are none: those are ours."""
        return frozenset(
            found
            for segment in self.segments
            if "[" in segment.text and not is_thinking(segment)
            for found in PLACEHOLDER.findall(segment.text)
        )

    def counts(self) -> dict[str, int]:
        """Kind -> how many."""
        counts: dict[str, int] = {}
        for findings in self.seen.values():
            for finding in findings:
                counts[finding.kind] = counts.get(finding.kind, 0) + 1
        return counts

    def explained(self) -> Explained | None:
        """Where what was found stands, and what is done with it."""
        if not self.seen and not self.failed:
            return None
        found = (
            explain(finding, self.segments[index]) for index, findings in self.seen.items() for finding in findings
        )
        return explanations.explained((*self.failed, *found))


_shortest: Made[Rails, int] = Made(lambda rails: segments.TEXT_CHARS_MIN if rails.is_empty else 1)


class Doubt(Struct, frozen=True):
    """A text that may be an injection and is below the threshold of its role: what is told to a judge, and where it stands."""

    path: str
    role: str
    text: str  # Around the place; not more than a judge has to read.
    start: int
    end: int
    score: float
    begins: int = 0  # Where in the whole text `text` begins.


def doubts(inspection: Inspection) -> tuple[Doubt, ...]:
    """The most suspicious of those that the policy wants judged."""
    judge = inspection.policy.injection.judge
    return _between(judge.low, judge.high, inspection) if judge.model else ()


def uncertain(inspection: Inspection) -> tuple[Doubt, ...]:
    """The most suspicious of those that a local model is to look at, too: as they stand, for it does not decode."""
    return _between(inspection.policy.injection.embedding.low, 1.0, inspection, encoded=False)


def _between(low: float, high: float, inspection: Inspection, *, encoded: bool = True) -> tuple[Doubt, ...]:
    """From `low` on, below `high` and below the threshold of their role."""
    wanted = inspection.policy.injection
    found = []
    for index, one in inspection.suspicions.items():
        segment = inspection.segments[index]
        if low <= one.score < min(high, wanted.threshold(segment.role)) and (encoded or not one.via):
            first = max(0, (one.start + one.end - DOUBT_CHARS_MAX) // 2)
            text = segment.text[first : first + DOUBT_CHARS_MAX]
            found.append(Doubt(segment.path, segment.role, text, one.start, one.end, one.score, first))
    return tuple(sorted(found, key=lambda doubt: -doubt.score)[:DOUBTS_MAX])


def outermost(segment: Segment) -> Segment:
    """The text of the body itself in which this one is embedded."""
    while segment.host is not None:
        segment = segment.host
    return segment


def explain(finding: Finding, segment: Segment) -> Explanation:
    """A finding as the audit record has it: names, places and numbers."""
    return Explanation(
        guard=finding.guard,
        kind=finding.kind,
        action=finding.action,
        rule=finding.rule,
        path=segments.shown(segment.path),
        role=segment.role if THRESHOLDS.get(segment.role) == "tool" else "",
        start=finding.start,
        end=finding.end,
        via=("base64", *finding.via) if segment.form == "document" else finding.via,
        per_mille=explanations.per_mille(finding.score),
    )


def refused(name: str, refusal: Refuse, segment: Segment, inspection: Inspection, index: int) -> Block:
    """What becomes of the request. `name` is of the step."""
    if not refusal.findings:
        why = Explanation(guard=name, kind=refusal.code, action="block", path=segments.shown(segment.path))
        inspection.failed = (*inspection.failed, why)
    if refusal.code == UNAVAILABLE.code:
        return Block(refusal.code, f"the {name} guard could not check the request; retry", retry_after_ms=1000)
    if refusal.code == TOO_DEAR.code:
        return Block(refusal.code, TOO_DEAR_TEXT)
    inspection.seen.setdefault(index, []).extend(refusal.findings)
    kinds = ", ".join(sorted({finding.kind for finding in refusal.findings})) or name
    return Block(refusal.code, f"{segment.path} holds what the policy blocks: {kinds}; remove it", segment.path)
