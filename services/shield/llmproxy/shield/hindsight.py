"""What a candidate policy would have made of what the ledger recorded: facts about findings, never the texts."""

from collections import Counter
from collections.abc import Iterable
from typing import cast

from msgspec import Struct

from llmproxy.common.actions import REMOVING
from llmproxy.common.envelope import Api
from llmproxy.common.explanations import PER_MILLE, SEVERITY, Explanation
from llmproxy.common.policy import INJECTION, SHADOW, Policies, Policy
from llmproxy.common.records import AuditRecord
from llmproxy.common.segments.names import ROOT_ROLES
from llmproxy.shield.trial import Asked, envelope

ALLOWED = "allow"
OPEN = "depends"  # On what the ledger does not hold.
SPEAKERS = ("user", "assistant", "tool", "system")
SHARED = frozenset({"messages", "contents", "input"})
"""Where a body has words of more than one: the path does not say whose."""

UNREADABLE = "unreadable"
FIXED = frozenset({"guard_unavailable", "request_too_large"})
GUARDED_BY_POLICY = frozenset({"secrets", "pii", "presidio", INJECTION})
"""Guards whose findings `policy.kinds` and `policy.injection` are about. What others found stays as it was."""

LIMITS = (
    "Only what was recorded can be judged: what scored below the threshold of its time, or was of a kind that was let pass, is not there.",
    "A request that was refused was not looked at to its end: what else it held is not known.",
    "Whose words a text was is not recorded, where a body has words of several: an injection between two thresholds is counted as depends.",
    "A finding that was only seen after decoding is masked only if its place is exact, and refused otherwise: counted as depends.",
)


class Change(Struct, frozen=True, kw_only=True):
    """So many findings of a kind, in so many requests of a tenant, that were treated in one way and would be in another."""

    tenant: str
    kind: str
    before: str
    after: str
    findings: int
    requests: int


class Turn(Struct, frozen=True, kw_only=True):
    """So many requests of a tenant whose own verdict would be another."""

    tenant: str
    before: str
    after: str
    requests: int


class Hindsight(Struct, frozen=True, kw_only=True):
    requests: int
    with_findings: int
    findings: int
    changes: list[Change]
    turns: list[Turn]
    unknown: list[str]


def look_back(records: Iterable[AuditRecord], policies: Policies) -> Hindsight:
    """One pass; memory grows with tenants and kinds alone."""
    requests = explained = findings = unrecorded = 0
    kinds: Counter[tuple[str, str, str, str]] = Counter()
    holders: Counter[tuple[str, str, str, str]] = Counter()
    turns: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        if record.action:
            continue  # An administrative change.
        requests += 1
        if record.explained is None:
            continue
        explained += 1
        findings += len(record.explained.findings)
        unrecorded += record.explained.more
        policy = policies.of(envelope(asked(record)))
        treated = [(one, reaction(one, policy)) for one in record.explained.findings]
        changed = [(record.tenant, one.kind, one.action, after) for one, after in treated if after != one.action]
        kinds.update(changed)
        holders.update(set(changed))
        before, after = _verdict(one.action for one, _ in treated), _verdict(after for _, after in treated)
        if before != after:
            turns[record.tenant, before, after] += 1
    return Hindsight(
        requests=requests,
        with_findings=explained,
        findings=findings,
        changes=[
            Change(
                tenant=tenant,
                kind=kind,
                before=before,
                after=after,
                findings=count,
                requests=holders[tenant, kind, before, after],
            )
            for (tenant, kind, before, after), count in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        ],
        turns=[
            Turn(tenant=tenant, before=before, after=after, requests=count)
            for (tenant, before, after), count in sorted(turns.items(), key=lambda item: (-item[1], item[0]))
        ],
        unknown=[*LIMITS, *_more(unrecorded, policies)],
    )


def asked(record: AuditRecord) -> Asked:
    """As the overrides see it. The principal's roles are not recorded."""
    return Asked(
        tenant=record.tenant,
        key=record.key,
        principal=record.principal,
        api=cast(Api, record.api),
        model=record.model,
    )


def reaction(one: Explanation, policy: Policy) -> str:
    """What would be done with a recorded finding; `OPEN` where that depends on what is not recorded."""
    if one.side == "answer" or one.kind in FIXED:
        return one.action
    if one.kind == UNREADABLE:
        return "block" if policy.unreadable == "block" else ALLOWED
    if one.guard not in GUARDED_BY_POLICY:
        return one.action
    if one.kind in (INJECTION, SHADOW):
        return _of_injection(one, policy)
    does = policy.action(one.kind)
    if does in REMOVING and one.via and one.action not in REMOVING:
        return OPEN
    return does


def _of_injection(one: Explanation, policy: Policy) -> str:
    if policy.injection.mode == "disabled":
        return ALLOWED
    does = policy.action(SHADOW if policy.injection.mode == "shadow" else INJECTION)
    counts = {one.per_mille >= round(policy.injection.threshold(role) * PER_MILLE) for role in roles(one.path)}
    return OPEN if len(counts) > 1 else does if counts.pop() else ALLOWED


def roles(path: str) -> tuple[str, ...]:
    """Whose words may stand at a recorded path."""
    root = path.partition(".")[0].partition("[")[0]
    return SPEAKERS if root in SHARED else (ROOT_ROLES.get(root, "parameter"),)


def _verdict(actions: Iterable[str]) -> str:
    """Of a request, by what is done with its findings: the most severe that is known, unless what is open is more."""
    done = set(actions)
    if "block" in done:
        return "block"
    if OPEN in done:
        return OPEN
    if done & REMOVING:
        return "mask"
    return "flag" if done & set(SEVERITY) else ALLOWED


def _more(unrecorded: int, policies: Policies) -> list[str]:
    said = []
    if unrecorded:
        said.append(
            f"{unrecorded} findings are counted in the records but not described: a record keeps the most severe."
        )
    if any(override.when.roles for override in policies.configured.overrides):
        said.append("Overrides by roles are taken not to apply: the roles of a principal are not recorded.")
    return said
