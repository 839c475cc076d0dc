"""What follows when somebody else is sure of what the injection guard was not, or cannot be asked: the same for whoever it was."""

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from llmproxy.common import segments
from llmproxy.common.explanations import Explanation, explained, joined, per_mille
from llmproxy.common.policy import INJECTION, SHADOW, THRESHOLDS, Policy
from llmproxy.shield.examine import Examined, Refused
from llmproxy.shield.inspection import Doubt


def convict(
    examined: Examined, policy: Policy, guard: str, convicted: Sequence[tuple[Doubt, float]]
) -> Examined | Refused:
    """What was examined, with these texts as injections that `guard` is so sure of. Nobody is asked about them again."""
    kind = SHADOW if policy.injection.mode == "shadow" else INJECTION
    action = policy.action(kind)
    why = explained(_explain(doubt, probability, guard, kind, action) for doubt, probability in convicted)
    said: dict[str, Any] = {
        "findings": {**examined.findings, kind: examined.findings.get(kind, 0) + len(convicted)},
        "explained": joined(examined.explained, why),
    }
    if action != "block":
        known = {doubt.path for doubt, _ in convicted}
        return structs.replace(
            examined, doubts=tuple(doubt for doubt in examined.doubts if doubt.path not in known), **said
        )
    path = convicted[0][0].path
    return Refused(
        code="content_blocked", message=f"{path} holds what the policy blocks: {kind}; remove it", param=path, **said
    )


def _explain(doubt: Doubt, probability: float, guard: str, kind: str, action: str) -> Explanation:
    return Explanation(
        guard=guard,
        kind=kind,
        action=action,
        path=segments.shown(doubt.path),
        start=doubt.start,
        end=doubt.end,
        role=doubt.role if THRESHOLDS.get(doubt.role) == "tool" else "",
        per_mille=per_mille(probability),
    )


def unchecked(examined: Examined, guard: str, path: str, *, called: str) -> Refused:
    """What was examined is refused, because `guard` could not be asked about the text at this path and must be."""
    why = Explanation(guard=guard, kind="guard_unavailable", action="block", path=segments.shown(path))
    return Refused(
        code="guard_unavailable",
        message=f"the {called} could not check the request; retry",
        retry_after_ms=1_000,
        findings=examined.findings,
        explained=joined(examined.explained, explained([why])),
    )
