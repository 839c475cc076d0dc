"""What several parts of a message say together, where one ends and the next begins (docs/adr/0041): a step of ring 2."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import add, or_
from typing import Literal

from msgspec import structs

from llmproxy.common import segments
from llmproxy.common.actions import REMOVING
from llmproxy.common.plugins.host import PASS, Block, Result
from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.shield import look, normalise
from llmproxy.shield.chain import Chain, applies, decide, rests
from llmproxy.shield.conditional import Conditional
from llmproxy.shield.guards.base import Fitted, Guard, Sighted
from llmproxy.shield.inspection import Inspection, refused
from llmproxy.shield.seams import HOLDERS, NAMED, VIA, Known, Piece, Reading, Whole, outdoes, reaches_beyond, wholes
from llmproxy.shield.verdict import Allow, Finding
from llmproxy.shield.verdict import Block as Refuse

PRIORITY = 70
UNKNOWN = "unknown"  # Whose text it is, where that decides nothing.
SEAMS_CHARS_MAX = 16_384  # Of one request, around the seams of its parts, that the event loop looks at closely.


class Seams(Conditional):
    """What the shield itself knows of is looked for around the seams, what operators look for in all that the parts say."""

    name = "parts"
    priority = PRIORITY
    timeout_ms = Policy().guard_timeout_ms
    fail: Literal["closed", "open"] = "closed"

    def __init__(self, guards: Sequence[Guard]) -> None:
        self._guards = tuple(guard for guard in guards if isinstance(guard, Sighted))
        self._engines = tuple(guard for guard in guards if isinstance(guard, Fitted) and guard.reads_seams)
        self._names = frozenset(guard.name for guard in (*self._guards, *self._engines))
        self._needs = reduce(or_, (guard.needs for guard in self._guards), 0)
        self._rails = tuple(guard for guard in guards if isinstance(guard, Fitted) and guard.reads_parts)

    def is_wanted(self, policy: Policy) -> bool:
        return bool(self._guards) or any(applies(guard, policy) for guard in self._rails)

    def run(self, inspection: Inspection) -> Result:
        if inspection.is_looked_at and inspection.is_too_much:
            return PASS
        if not inspection.parted and HOLDERS.isdisjoint(inspection.tree):
            return PASS
        found = tuple(wholes(inspection.parted, inspection.tree))
        return self._values(found, inspection) or self._hits(found, inspection) or PASS

    def _values(self, found: Sequence[Whole], inspection: Inspection) -> Result | None:
        """None when there is more to look at."""
        chars = 0
        chain: Chain | None = None
        engines = Chain(self._engines, inspection.policy) if found else None
        is_named = bool(inspection.bits & NAMED or (engines is not None and engines.guards))
        for whole in found:
            for first, last in whole.windows(is_named=is_named):
                text = whole.text[first:last]
                is_slow = engines is not None and engines.may_hold(text)
                if normalise.is_plain(text) and not (look.at(text) & self._needs or is_slow):
                    continue
                chars += len(text)
                if inspection.work_max is not None and (is_slow or chars > SEAMS_CHARS_MAX):
                    inspection.needs_elsewhere()
                    inspection.is_looked_at = True
                    return PASS
                chain = chain or Chain((*self._guards, *self._engines), inspection.policy)
                refusal = self._look(chain, UNKNOWN, Reading(text, partial(add, first)), whole, inspection)
                if refusal is not None or (inspection.is_looked_at and inspection.is_too_much):
                    return refusal or PASS
        return None

    def _hits(self, found: Sequence[Whole], inspection: Inspection) -> Result | None:
        """The same for operators' rules."""
        if not found:
            return None
        chain = Chain(self._rails, inspection.policy)
        if not chain.guards:
            return None
        for whole in found:
            role = _role(whole, inspection)
            for reading in whole.readings():
                if not chain.may_hold(reading.text):
                    continue
                if not all(guard.is_quick(reading.text) for guard in chain.guards if isinstance(guard, Fitted)):
                    inspection.needs_elsewhere()
                inspection.is_looked_at = True
                if inspection.is_too_much:
                    return PASS
                refusal = self._look(chain, role, reading, whole, inspection)
                if refusal is not None or inspection.is_too_much:
                    return refusal or PASS
        return None

    def _look(self, chain: Chain, role: str, reading: Reading, whole: Whole, inspection: Inspection) -> Block | None:
        seen = chain.seen(Segment(role=role, path=whole.path, text=reading.text), inspection.budget)
        if isinstance(seen, list):
            seen = [
                one
                for finding in map(_of(whole, reading), seen)
                for one in self._news(finding, whole, inspection, chain)
            ]
            if not seen:
                return None
        # A text of its own, behind those of the body.
        index = len(inspection.segments)
        segment = Segment(role=_role(whole, inspection), path=whole.path, text=whole.text)
        inspection.segments.append(segment)
        match decide(seen, inspection.policy) if isinstance(seen, list) else seen:
            case Allow():
                pass
            case Refuse() as refusal:
                return refused(self.name, refusal, segment, inspection, index)
            case verdict:
                inspection.is_looked_at = True
                for finding in verdict.findings:  # It takes the place of what was found of it before.
                    for known in _known(whole.pieces(finding.start, finding.end), inspection):
                        if _gives_way(known.finding, finding):
                            inspection.seen[known.index].remove(known.finding)
                inspection.seen[index], inspection.wholes[index] = list(verdict.findings), whole
                inspection.work += len(verdict.findings)
        return None

    def _news(self, finding: Finding, whole: Whole, inspection: Inspection, chain: Chain) -> Sequence[Finding]:
        """What of it takes several parts to see."""
        is_value, is_parted = finding.guard in self._names, whole.is_parted(finding.start, finding.end)
        if not is_parted and not (is_value and whole.is_named_before(finding.start)):
            return ()
        pieces = whole.pieces(finding.start, finding.end)
        known = _known(pieces, inspection)
        if not is_value:
            said = [piece.text[piece.start : piece.end] for piece in pieces]
            if not all(
                one.goes_on(said) for one in chain.guards if isinstance(one, Fitted) and one.name == finding.guard
            ):
                return ()
            return _hits(finding, pieces, known, _beside(finding, whole, inspection))
        known = [one for one in known if one.finding.guard in self._names or one.finding.action in REMOVING]
        return (finding,) if (outdoes(finding, pieces, known) if is_parted else not known) else ()


def _hits(
    finding: Finding, pieces: Sequence[Piece], known: Sequence[Known], beside: Sequence[Finding]
) -> Sequence[Finding]:
    """What a rule finds, if it was not found by it already, without what is taken out there for something that reaches beyond it."""
    found = (*(one.finding for one in known), *beside)
    if any(one.guard == finding.guard and one.rule == finding.rule for one in found):
        return ()
    if finding.action not in REMOVING:
        return (finding,)
    taken = [one for one in beside if one.action in REMOVING]
    at = finding.start
    for piece in pieces:
        taken += (
            structs.replace(
                one.finding, start=at + one.finding.start - piece.start, end=at + one.finding.end - piece.start
            )
            for one in known
            if one.piece is piece and one.finding.action in REMOVING and reaches_beyond(one)
        )
        at += piece.end - piece.start
    return rests(sorted(taken, key=lambda one: one.start), finding)


def _known(pieces: Sequence[Piece], inspection: Inspection) -> list[Known]:
    """What was found in the parts themselves."""
    return [
        Known(piece, index, one)
        for piece in (pieces if inspection.seen else ())
        if (index := inspection.index_of.get(piece.path)) is not None
        for one in inspection.seen.get(index, ())
        if one.start < piece.end and piece.start < one.end
    ]


def _beside(finding: Finding, whole: Whole, inspection: Inspection) -> list[Finding]:
    """What was found at its place in what the same parts say together."""
    return [
        one
        for index, other in inspection.wholes.items()
        if other is whole
        for one in inspection.seen[index]
        if one.start < finding.end and finding.start < one.end
    ]


def _gives_way(known: Finding, finding: Finding) -> bool:
    """As in one text: what is taken out is so once, and what is only recorded takes the place of nothing that is taken out."""
    if finding.action in REMOVING:
        return known.action in REMOVING or known.guard == finding.guard
    return known.action not in REMOVING and known.guard == finding.guard


def _role(whole: Whole, inspection: Inspection) -> str:
    return segments.roles(inspection.tree)((*whole.place, 0))


def _of(whole: Whole, reading: Reading) -> Callable[[Finding], Finding]:
    """A finding in a reading, as one in all that the parts say."""
    return lambda finding: structs.replace(
        finding,
        start=reading.at(finding.start),
        end=reading.at(finding.end),
        via=(VIA, *finding.via),
        is_exact=finding.is_exact and whole.is_placed,
    )
