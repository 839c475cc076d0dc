"""A chain of guards is a guard: views, verdicts, policy and overlaps in one place, and it fails closed."""

import logging
import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence

from msgspec import Struct, structs

from llmproxy.common.actions import PASSING, REMOVING, Action
from llmproxy.common.policy import INJECTION, SHADOW, Policy
from llmproxy.common.segments import Segment, beside
from llmproxy.common.segments.segment import BESIDE_CHARS_MAX
from llmproxy.shield import normalise
from llmproxy.shield.guards.base import Apart, Fitted, Guard, Spent
from llmproxy.shield.verdict import ALLOW, Allow, Block, Finding, Flag, Mask, Verdict

UNAVAILABLE = Block(code="guard_unavailable")
TOO_DEAR = Block(code="request_too_large")
TOO_DEAR_TEXT = "checking the request takes longer than policy.guard_timeout_ms allows; send less text at once"
PLAIN_VIEW = "plain"
"""How `normalise.view` is called in explanations; the other decodings have the names of `common/views.py`."""

log = logging.getLogger(__name__)


class Late(Exception):
    """The time for this request's guards is over."""


class TooDear(Late):
    """They have worked all of it: the same text would take as long on a machine with nothing else to do."""


def unmeasured() -> float:
    return 0.0


class Budget(Struct, frozen=True):
    """Until when the guards of one request may work. What is synchronous is bounded between two calls."""

    ends_at: float
    clock: Callable[[], float]
    cpu_ends_at: float = math.inf
    cpu: Callable[[], float] = unmeasured  # CPU time of whoever works.

    @property
    def is_over(self) -> bool:
        return self.clock() > self.ends_at

    def check(self) -> None:
        if self.is_over:
            raise TooDear if self.cpu() > self.cpu_ends_at else Late


class Chain:
    """Runs guards over one segment and says what the policy makes of what they found."""

    def __init__(self, guards: Sequence[Guard], policy: Policy) -> None:
        self.policy = policy
        self.guards = tuple(under(guard, policy) for guard in guards if applies(guard, policy))
        self.name = "+".join(guard.name for guard in guards)
        # That the last text is an injection, also where it is below its threshold.
        self.suspicion: Finding | None = None

    def may_hold(self, text: str) -> bool:
        """As of any guard, for the text or for its plain view."""
        appearances = normalise.appearances(text)
        return any(may_hold(guard, appearances) for guard in self.guards)

    def inspect(self, segment: Segment, budget: Budget | None = None) -> Verdict:
        findings = self.seen(segment, budget)
        return decide(findings, self.policy) if isinstance(findings, list) else findings

    def seen(self, segment: Segment, budget: Budget | None = None) -> list[Finding] | Block:
        """What the guards found, before the policy says what follows: for whoever wants to know all of it."""
        try:
            return self._look(segment, budget)
        except TooDear:
            return TOO_DEAR
        except Exception as error:  # noqa: BLE001 - a guard that fails, fails closed; its words may quote the text
            log.error("guard chain %s: %s", self.name, type(error).__name__)
            return UNAVAILABLE

    def _look(self, segment: Segment, budget: Budget | None) -> list[Finding] | Block:
        """What every guard sees in the text, and in its plain view where that differs; spans are those of the text."""
        view = None if normalise.is_plain(segment.text) else normalise.view(segment.text)
        findings: list[Finding] = []
        for guard in self.guards:
            if budget is not None:
                budget.check()
            seen = _seen(guard, segment)
            if isinstance(seen, Block):
                return seen
            if view is not None:
                plain = _seen(guard, structs.replace(segment, text=view.text))
                if isinstance(plain, Block):
                    return plain
                placed = [_in_text(finding, view, segment.text) for finding in plain]
                seen = [*_not_better_known(seen, placed, view), *placed]
            if segment.label and not isinstance(guard, Apart):
                named = _beside_its_name(guard, segment)
                if isinstance(named, Block):
                    return named
                seen += named
                if view is not None:
                    plain = _beside_its_name(guard, structs.replace(segment, text=view.text))
                    if isinstance(plain, Block):
                        return plain
                    seen += (_in_text(finding, view, segment.text) for finding in plain)
            findings += seen
        if budget is not None:
            budget.check()
        self.suspicion = max(
            (finding for finding in findings if finding.kind == INJECTION), key=lambda one: one.score, default=None
        )
        return likely(findings, self.policy, segment.role)


def may_hold(guard: Guard, appearances: Sequence[str]) -> bool:
    """A guard's quick look at one text, as `normalise.appearances` gives it."""
    try:
        for text in appearances:  # noqa: SIM110 - a generator for nearly always one text costs as much as many a look
            if guard.may_hold(text):
                return True
        return False
    except Exception as error:  # noqa: BLE001 - `inspect` will fail closed; the error's words may quote the text
        log.error("guard %s: %s", guard.name, type(error).__name__)
        return True


def first_look(guard: Spent, texts: list[str]) -> int | None:
    """Its bits; None where it failed, and nothing is known."""
    try:
        return guard.look(texts)
    except Exception as error:  # noqa: BLE001 - as above
        log.error("guard %s: %s", guard.name, type(error).__name__)
        return None


def suspects(guard: Spent, texts: Collection[str]) -> Collection[str]:
    """Of the texts of its first look those in which it may see something; all where it failed."""
    try:
        return guard.suspects()
    except Exception as error:  # noqa: BLE001 - as above
        log.error("guard %s: %s", guard.name, type(error).__name__)
        return texts


def applies(guard: Guard, policy: Policy) -> bool:
    """Whether the policy wants this guard at all."""
    if isinstance(guard, Fitted):
        return guard.applies(policy)
    return guard.name != INJECTION or policy.injection.mode != "disabled"


def under(guard: Guard, policy: Policy) -> Guard:
    """The guard with what the policy says of it, for one that depends on that."""
    return guard.under(policy) if isinstance(guard, Fitted) else guard


def _of(guard: Guard, finding: Finding, text: str) -> Finding:
    """With the guard's name, and a place that there is: a span that no text has is the whole of it."""
    if 0 <= finding.start < finding.end <= len(text):
        return structs.replace(finding, guard=finding.guard or guard.name)
    return structs.replace(finding, guard=finding.guard or guard.name, start=0, end=len(text), is_exact=False)


def _blamed(verdict: Block, guard: Guard) -> Block:
    """A guard that refuses by itself does what its findings say."""
    named = (structs.replace(one, guard=one.guard or guard.name, action="block") for one in verdict.findings)
    return structs.replace(verdict, findings=tuple(named))


def _in_text(finding: Finding, view: normalise.View, text: str) -> Finding:
    if not finding.is_exact and finding.end - finding.start == len(view.text):
        start, end = 0, len(text)
    else:
        start, end = view.span(finding.start, finding.end)
    return structs.replace(finding, start=start, end=end, via=(PLAIN_VIEW, *finding.via))


def _seen(guard: Guard, segment: Segment) -> list[Finding] | Block:
    """What one guard found in one text, under its name."""
    match guard.inspect(segment):
        case Allow():
            return []
        case Block() as verdict:
            return _blamed(verdict, guard)
        case verdict:
            return [_of(guard, finding, segment.text) for finding in verdict.findings]


def _beside_its_name(guard: Guard, segment: Segment) -> list[Finding] | Block:
    """What a guard sees in a value that stands behind its name, as it would in the document as a whole."""
    text, first = beside(segment.label, segment.text, is_number=segment.form == "number")
    seen = _seen(guard, structs.replace(segment, text=text))
    if isinstance(seen, Block):
        return seen
    last = first + min(len(segment.text), BESIDE_CHARS_MAX)
    return [
        structs.replace(one, start=one.start - first, end=one.end - first)
        for one in seen
        if first <= one.start and one.end <= last
    ]


def _not_better_known(seen: Sequence[Finding], placed: Sequence[Finding], view: normalise.View) -> Iterator[Finding]:
    r"""Without what takes the n of a `\n` for a letter, where the plain view shows what is there."""
    for one in seen:
        is_better_known = view.parts(one.start, one.end) and any(
            other.kind == one.kind and other.start < one.end and one.start < other.end for other in placed
        )
        if not is_better_known:
            yield one


def likely(findings: list[Finding], policy: Policy, role: str) -> list[Finding]:
    """Without the injections that are too unlikely for whose text it is; in shadow mode under a name of their own."""
    if not any(finding.kind == INJECTION for finding in findings):
        return findings
    threshold = policy.injection.threshold(role)
    kind = SHADOW if policy.injection.mode == "shadow" else INJECTION
    return [
        structs.replace(finding, kind=kind) if finding.kind == INJECTION else finding
        for finding in findings
        if finding.kind != INJECTION or finding.score >= threshold
    ]


def decide(findings: Sequence[Finding], policy: Policy) -> Verdict:
    """The policy's verdict on what was found, overlaps resolved. One kind to block blocks."""
    known = [
        structs.replace(finding, action=does) for finding in findings if (does := action(finding, policy)) != "allow"
    ]
    if not known:
        return ALLOW
    blocked = tuple(apart([finding for finding in known if finding.action == "block"]))
    if blocked:
        return Block(blocked)
    kept = tuple(apart(known))
    return Mask(kept) if any(finding.action in REMOVING for finding in kept) else Flag(kept)


def action(finding: Finding, policy: Policy) -> Action:
    """The policy's; but what cannot be taken out without taking out something else, or leaving some of it, does not go on."""
    does = finding.action if finding.is_decided else policy.action(finding.kind)
    return "block" if does in REMOVING and not finding.is_exact else does


def apart(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that do not contradict each other, in order of place: the longest wins, then the guard that comes first.

    What is taken out overlaps nothing else that is: of what reaches beyond something longer, the rest is taken out by itself.
    What is only recorded is kept beside it if another guard saw it, for that is another fact: an injection around an address is
    still one when the address is masked.
    """
    ranked = sorted(
        enumerate(findings),
        key=lambda ranked: (ranked[1].action in PASSING, ranked[1].start - ranked[1].end, ranked[0]),
    )
    removed: list[Finding] = []
    recorded: dict[str, list[Finding]] = {}
    for _, finding in ranked:
        own = recorded.setdefault(finding.guard, [])
        if finding.action in PASSING:
            _insert(own, finding)
            continue
        for rest in rests(removed, finding) if finding.action in REMOVING else (finding,):
            if _insert(removed, rest):
                _insert(own, rest)
    return sorted((one for own in recorded.values() for one in own), key=_start)


def rests(kept: Sequence[Finding], finding: Finding) -> list[Finding]:
    """What none of those that are kept, in order of place, covers of it: nearly always all of it."""
    found: list[Finding] = []
    begin = finding.start
    index = max(0, bisect_left(kept, begin, key=_start) - 1)
    while index < len(kept) and kept[index].start < finding.end:
        if begin < kept[index].start:
            found.append(structs.replace(finding, start=begin, end=kept[index].start))
        begin = max(begin, kept[index].end)
        index += 1
    if begin < finding.end:
        found.append(structs.replace(finding, start=begin))
    return found


def _insert(kept: list[Finding], finding: Finding) -> bool:
    """Whether there was room between those that are kept, in order of place."""
    at = bisect_left(kept, finding.start, key=_start)
    is_free = (at == 0 or kept[at - 1].end <= finding.start) and (at == len(kept) or finding.end <= kept[at].start)
    if is_free:
        kept.insert(at, finding)
    return is_free


def _start(finding: Finding) -> int:
    return finding.start
