"""Ring 2: each guard looks at the request, then what they found is masked. Built-in guards are steps like any plugin."""

from collections.abc import Awaitable, Collection, Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Literal, NamedTuple

from msgspec import structs

from llmproxy.common import segments
from llmproxy.common.plugins.host import MODIFIED, PASS, Block, Pipeline, Result, Ring, Step
from llmproxy.common.policy import TRAJECTORY, Policy
from llmproxy.common.segments import Rewrite, Segment
from llmproxy.shield import look
from llmproxy.shield.answers.canary import planted
from llmproxy.shield.chain import Chain, apart, applies, may_hold, suspects, under
from llmproxy.shield.conditional import Conditional
from llmproxy.shield.defined import NOTHING, may_define
from llmproxy.shield.fixed import settle
from llmproxy.shield.guards.base import Apart, Fitted, Guard, Sighted
from llmproxy.shield.inspection import Inspection, outermost, refused
from llmproxy.shield.levels import meant
from llmproxy.shield.made import Made
from llmproxy.shield.parts import Seams
from llmproxy.shield.seams import GAP
from llmproxy.shield.spread import Joined, joined
from llmproxy.shield.trajectory import TURNS_MIN, latest, together, turn_of
from llmproxy.shield.vault import Vault, redacted
from llmproxy.shield.verdict import ALLOW, Allow, Finding, Mask, Verdict
from llmproxy.shield.verdict import Block as Refuse

APART_SHARE = 0.5
"""Of the way from the threshold to certainty: what no text says by itself, and others stand between, has to be as much clearer."""

FIRST_PRIORITY, TURNS_PRIORITY, MASK_PRIORITY, CANARY_PRIORITY = 10, 80, 90, 95

PLAINLY = "write its base64 without escapes in the JSON, or send its text as text"


class Look(Conditional):
    """The step of one guard."""

    fail: Literal["closed", "open"] = "closed"

    def __init__(self, guard: Guard, priority: int) -> None:
        self.guard, self.priority = guard, priority
        self.name = guard.name
        self.timeout_ms = Policy().guard_timeout_ms  # What applies to a request is its policy's.
        self._last: tuple[Policy | None, Guard | None] = (None, None)
        self.needs = guard.needs if isinstance(guard, Sighted) else 0
        self._numbers, self._dear = self.needs & look.Look.NUMBER, self.needs & look.DEAR

    def _fitted(self, policy: Policy) -> Guard | None:
        guard = under(self.guard, policy) if applies(self.guard, policy) else None
        self._last = (policy, guard)
        return guard

    def is_wanted(self, policy: Policy) -> bool:
        return applies(self.guard, policy)

    def run(self, inspection: Inspection) -> Result:
        # The guard as this policy wants it, if at all. Nearly every request has the policy of the one before.
        known, guard = self._last
        if known is not inspection.policy:
            guard = self._fitted(inspection.policy)
        if guard is None or inspection.is_given_up or (self.needs and not inspection.bits & self.needs):
            return PASS
        if isinstance(guard, Apart):
            return self._weigh(guard, inspection)
        if self._numbers & inspection.bits and inspection.is_full_of_numbers:
            inspection.needs_elsewhere()
        if inspection.is_dense(self._dear):
            inspection.needs_elsewhere()
        if inspection.is_late or not may_hold(guard, (*inspection.appearances, *inspection.appearances_named)):
            return PASS
        if isinstance(guard, Fitted) and not guard.is_quick("\n".join((inspection.said, *inspection.named))):
            inspection.needs_elsewhere()
        if inspection.is_too_much:
            inspection.is_looked_at = True
            return PASS
        cleared, telling = inspection.cleared(guard), inspection.telling(guard)
        if inspection.is_given_up:
            return PASS
        if not telling and cleared.issuperset(inspection.texts):
            return PASS
        inspection.is_looked_at = True
        return self._look(inspection, cleared, (), telling)

    def _weigh(self, guard: Guard, inspection: Inspection) -> Result:
        """A guard that looks at each text by itself, and then at those that are read together."""
        assert isinstance(guard, Apart)
        sparing = inspection.sparing
        if sparing is not None:
            suspicious = suspects(sparing, inspection.texts)
            cleared = set(inspection.texts).difference(suspicious) if suspicious else None
        else:
            sparing = (
                guard.sparing(inspection.key, inspection.time.is_over) if inspection.work_max is not None else None
            )
            cleared = inspection.cleared(sparing or guard)
            if cleared.issuperset(inspection.texts):
                cleared = None
        if inspection.is_given_up:
            return PASS
        together: list[Joined] = []
        if parts := inspection.parted:
            together = [one for one in joined(inspection.tree, parts) if may_hold(sparing or guard, (one.text,))]
        if sparing is not None and sparing.is_spent:
            inspection.needs_elsewhere()
            return PASS
        ordering = NOTHING
        if may_define(inspection.tree, inspection.body):
            is_in_loop = inspection.work_max is not None
            ordering = guard.defined(inspection.tree, inspection.key, is_in_loop=is_in_loop)
        if ordering.is_spent:
            inspection.needs_elsewhere()
            return PASS
        together += ordering.together
        if ordering.texts:
            cleared = (set(inspection.texts) if cleared is None else cleared) - ordering.texts
        if cleared is None and not together:  # All of them.
            return PASS
        inspection.is_looked_at = True
        if inspection.is_too_much:
            return PASS
        return self._look(inspection, set(inspection.texts) if cleared is None else cleared, together)

    def _look(
        self,
        inspection: Inspection,
        cleared: Collection[str],
        together: Sequence[Joined],
        telling: Collection[str] = frozenset(),
    ) -> Result:
        chain = Chain((self.guard,), inspection.policy)
        for index, segment in enumerate(inspection.segments):
            if _is_cleared(segment, cleared) and not (telling and _is_among(segment, telling)):
                continue
            if inspection.is_late:
                return PASS
            verdict = chain.inspect(segment, inspection.budget)
            if inspection.documents:
                verdict = _beside_files(verdict, segment, inspection)
            if chain.suspicion is not None:
                inspection.suspicions[index] = chain.suspicion
            match (
                settle(verdict, segment, inspection.tree, inspection.policy) if isinstance(verdict, Mask) else verdict
            ):
                case Allow():
                    continue
                case Refuse() as refusal:
                    return refused(self.name, refusal, segment, inspection, index)
                case seen:
                    inspection.seen.setdefault(index, []).extend(seen.findings)
                    inspection.work += len(seen.findings)
                    if inspection.is_too_much:
                        break
        return self._look_together(inspection, chain, together)

    def _look_together(self, inspection: Inspection, chain: Chain, together: Sequence[Joined]) -> Result:
        """What parts of a message say together is a text of its own, behind those of the body; nothing can be taken out of it."""
        for one in together:
            known = (
                finding.guard
                for index, findings in inspection.seen.items()
                if inspection.segments[index].path.startswith(one.path)
                for finding in findings
            )
            if self.name in known:
                continue
            segment, index = Segment(role=one.role, path=one.path, text=one.text), len(inspection.segments)
            verdict = chain.inspect(segment, inspection.budget)
            if one.is_apart and chain.suspicion is not None:
                least = inspection.policy.injection.threshold(one.role)
                if chain.suspicion.score < least + (1 - least) * APART_SHARE:
                    continue
            inspection.segments.append(segment)
            if chain.suspicion is not None:
                inspection.suspicions[index] = chain.suspicion
            match verdict:
                case Allow():
                    continue
                case Refuse() as refusal:
                    return refused(self.name, refusal, segment, inspection, index)
                case Mask(findings):
                    return refused(self.name, Refuse(findings), segment, inspection, index)
                case seen:
                    inspection.seen.setdefault(index, []).extend(seen.findings)
        return PASS


def _is_cleared(segment: Segment, cleared: Collection[str]) -> bool:
    return segment.text in cleared or (segment.host is not None and outermost(segment).text in cleared)


def _is_among(segment: Segment, telling: Collection[str]) -> bool:
    """Whether its name tells what it is."""
    if not segment.label:
        return False
    return segments.beside(segment.label, segment.text, is_number=segment.form == "number")[0] in telling


def _beside_files(verdict: Verdict, segment: Segment, inspection: Inspection) -> Verdict:
    """Without what the base64 of a file holds: it is taken out of the file, which is a text of its own."""
    if not isinstance(verdict, Mask) or segment.form != "value" or segment.path not in inspection.files:
        return verdict
    kept = tuple(finding for finding in verdict.findings if finding.via[:1] != ("base64",))
    return Mask(kept) if kept else ALLOW


def user_turns(inspection: Inspection) -> list[tuple[int, float]]:
    """Of each turn of the user's, in order: its most suspicious text, and how suspicious that is."""
    turns: dict[str, tuple[int, float]] = {}
    for index, segment in enumerate(inspection.segments):
        if segment.role == "user" and segment.form in ("value", "document"):
            found_here = inspection.suspicions.get(index)
            suspicion = found_here.score if found_here is not None else 0.0
            known = turns.setdefault(turn_of(segment), (index, suspicion))
            if suspicion > known[1]:
                turns[turn_of(segment)] = (index, suspicion)
    return list(turns.values())


class Turns(Conditional):
    """The step that looks at the user's turns of a conversation together."""

    name = TRAJECTORY
    priority = TURNS_PRIORITY
    timeout_ms = Policy().guard_timeout_ms
    fail: Literal["closed", "open"] = "closed"

    def is_wanted(self, policy: Policy) -> bool:
        return policy.injection.trajectory < 1

    def run(self, inspection: Inspection) -> Result:
        wanted = inspection.policy.injection
        if len(inspection.suspicions) < TURNS_MIN or inspection.is_too_much:
            return PASS
        places = user_turns(inspection)
        turns = [suspicion for _, suspicion in places]
        if inspection.policy.action(_kind(inspection.policy)) == "block":
            # A turn that was refused is not answered because something harmless was put behind it.
            found = latest(turns, wanted.threshold("user"), wanted.trajectory)
        else:
            found = together(turns, wanted.threshold("user"))
        if found is None or found.probability < wanted.trajectory:
            return PASS
        return self._found(inspection, [places[turn] for turn in found.turns], found.probability)

    def _found(self, inspection: Inspection, places: list[tuple[int, float]], probability: float) -> Result:
        """The last turn is where it became one, and has the probability of all; those before it are recorded with their own."""
        kind = _kind(inspection.policy)
        does = inspection.policy.action(kind)
        last = places[-1][0]
        for index, suspicion in places:
            segment = inspection.segments[index]
            finding = Finding(kind, 0, len(segment.text), "flag", suspicion, TRAJECTORY, is_exact=False)
            if index == last:
                finding = structs.replace(finding, action=does, score=probability)
            inspection.seen.setdefault(index, []).append(finding)
        if does != "block":
            return PASS
        path = inspection.segments[last].path
        return Block(
            "content_blocked",
            f"{path} goes on with what earlier turns began, and the policy blocks that: {kind}; begin anew",
            path,
        )


def _kind(policy: Policy) -> str:
    return f"{TRAJECTORY}.shadow" if policy.injection.mode == "shadow" else TRAJECTORY


class Masking:
    """The step that takes out what the steps before it found."""

    name = "mask"
    priority = MASK_PRIORITY
    timeout_ms = Policy().guard_timeout_ms
    fail: Literal["closed", "open"] = "closed"

    def run(self, inspection: Inspection) -> Result:
        if not inspection.seen or inspection.is_too_much:
            return PASS
        # Nothing that the inspection keeps leads back to it: what is in a circle stays in memory until a collector looks for it.
        vault = Vault(inspection.key, lambda: inspection.quoted)
        inspection.originals = vault.originals
        rewrite = Rewrite()
        files: list[tuple[Segment, Rewrite]] = []
        for index, findings in inspection.seen.items():
            segment = inspection.segments[index]
            inspection.seen[index] = kept = apart(findings)
            own = Rewrite() if segment.form == "document" else rewrite
            for finding in kept:
                stands = _stands(finding, meant(segment.text, finding.start, finding.end), vault)
                if stands is None:
                    continue
                if index not in inspection.wholes:
                    own.replace(segment, finding.start, finding.end, stands)
                    continue
                first, *rest = inspection.wholes[index].pieces(finding.start, finding.end)
                own.replace(inspection.written[first.path], first.start, first.end, stands)
                for piece in rest:
                    own.replace(inspection.written[piece.path], piece.start, piece.end, GAP if piece.is_all else "")
            if own is not rewrite and not own.is_empty:
                files.append((segment, own))
        if rewrite.is_empty and not files:
            return PASS
        return self._masked(inspection, rewrite.apply(inspection.text), files)

    def _masked(self, inspection: Inspection, masked: str, files: Sequence[tuple[Segment, Rewrite]]) -> Result:
        """With the files put back as they were encoded. The longest first: one may begin with all of another."""
        texts = {(segment.path, segment.text): own.apply(segment.text) for segment, own in files}
        changed = {
            one.payload: (one, path)
            for one in inspection.documents
            if ((path := segments.join(one.path)), one.text) in texts
        }
        for payload, (one, path) in sorted(changed.items(), key=lambda item: -len(item[0])):
            if payload not in masked:
                return Block("content_blocked", f"{path} cannot be masked as it is written; {PLAINLY}", path)
            masked = masked.replace(payload, one.encoded(texts[path, one.text]))
        inspection.masked = masked.encode()
        return MODIFIED


def _stands(finding: Finding, value: str, vault: Vault) -> str | None:
    """What comes in the place of a value; None where it stays."""
    match finding.action:
        case "mask":
            return vault.mask(finding.kind, value)
        case "hash":
            return vault.hashed(finding.kind, value)
        case "redact":
            return redacted(finding.kind) if finding.replacement is None else finding.replacement
        case _:
            return None


class Planting(Conditional):
    """The step that puts a marker into the system text, where answers are searched for one."""

    name = "canary"
    priority = CANARY_PRIORITY
    timeout_ms = Policy().guard_timeout_ms
    fail: Literal["closed", "open"] = "closed"

    def is_wanted(self, policy: Policy) -> bool:
        return policy.answers.canary

    def run(self, inspection: Inspection) -> Result:
        if inspection.is_too_much:
            return PASS
        body = inspection.masked if inspection.masked is not None else inspection.body
        found = planted(body, inspection.max_depth, inspection.key)
        if found is None:
            return PASS
        inspection.masked, inspection.canary = found
        return MODIFIED


class _Plan(NamedTuple):
    """Of one policy: who takes the first look, the steps, and those without the looks of guards that find nothing where it sets none of `needs`."""

    apart: Apart | None
    steps: Pipeline[Inspection]
    needs: int
    others: Pipeline[Inspection]


class Preflight(Pipeline[Inspection]):
    """The ring. Under each policy those steps run that it wants."""

    def __init__(self, steps: Iterable[Step[Inspection]]) -> None:
        super().__init__(Ring.PRE_FLIGHT, steps)
        self._wanted, self._of = Made(self._under), self.steps

    def _under(self, policy: Policy) -> "_Plan":
        wanted = [step for step in self.steps if not isinstance(step, Conditional) or step.is_wanted(policy)]
        looks = [step for step in wanted if isinstance(step, Look)]
        apart = next((step.guard for step in looks if isinstance(step.guard, Apart)), None)
        sighted = [step for step in looks if step.needs and not isinstance(step.guard, Fitted)]
        others = [step for step in wanted if not any(step is one for one in sighted)]
        return _Plan(apart, self.only(wanted), reduce(or_, (step.needs for step in sighted), 0), self.only(others))

    def start(self, inspection: Inspection) -> Result | Awaitable[Result]:
        if self._of is not self.steps:  # Others have been put in their place.
            self._wanted, self._of = Made(self._under), self.steps
        plan = self._wanted.of(inspection.policy)
        if plan.apart is not None:
            inspection.look_first(plan.apart)
        return (plan.steps if inspection.bits & plan.needs else plan.others).start(inspection)


def pipeline(guards: Sequence[Guard]) -> Pipeline[Inspection]:
    looks = [Look(guard, FIRST_PRIORITY + index) for index, guard in enumerate(guards)]
    return Preflight([*looks, Seams(guards), Turns(), Masking(), Planting()])
