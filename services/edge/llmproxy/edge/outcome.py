"""What became of a request, as the one audit record that stands for it."""

from msgspec import Struct

from llmproxy.common.actions import REMOVING
from llmproxy.common.errors import kind_of, status_of
from llmproxy.common.explanations import Explained, joined, summed
from llmproxy.common.frames import End, Failure, Head, Usage
from llmproxy.common.records import AuditRecord, Verdict
from llmproxy.edge.ingress import Ingress, Settled

LEFT = Failure(code="client_closed_request", message="the client has left", stage="edge")
VERDICTS: dict[str, Verdict] = {"caller": "refused", "guard": "blocked", "provider": "failed", "gateway": "failed"}
NOTHING = Head()


class Outcome(Struct, frozen=True, kw_only=True):
    status: int = 200
    failure: Failure | None = None
    head: Head | None = None
    end: End | None = None
    cancelled: bool = False
    publications: int = 0
    first_byte_ms: int = 0

    @property
    def verdict(self) -> Verdict:
        if self.cancelled:
            return "cancelled"
        return "answered" if self.failure is None else VERDICTS[kind_of(self.failure).blame]

    @property
    def findings(self) -> dict[str, int]:
        """Of the request, which the failure or the head has; and of the answer, which its end has."""
        found = self.failure.findings if self.failure is not None else {}
        if not found and self.head is not None:
            found = self.head.findings
        return summed(found, self.end.findings) if self.end is not None and self.end.findings else found

    @property
    def explained(self) -> Explained | None:
        found = self.failure.explained if self.failure is not None else None
        if found is None and self.head is not None:
            found = self.head.explained
        if self.end is None or self.end.explained is None:
            return found
        return joined(found, self.end.explained)

    @property
    def usage(self) -> Usage:
        if self.end is not None:
            return self.end.usage
        return self.failure.usage if self.failure is not None else Usage()


def refusal(failure: Failure, status: int = 0) -> Outcome:
    return Outcome(failure=failure, status=status or status_of(failure))


def record(context: Ingress, outcome: Outcome, settled: Settled, *, instance: str, latency_ms: int) -> AuditRecord:
    failure, end, usage = outcome.failure, outcome.end, outcome.usage
    head = outcome.head or NOTHING
    known, wanted = context.record, context.wanted
    findings, explained = outcome.findings, outcome.explained
    if context.findings:
        findings = summed(findings, context.findings)
    if context.explained is not None:
        explained = joined(explained, context.explained)
    model = wanted.model if wanted is not None else context.model_id
    is_served = failure is None and wanted is not None  # It was asked of when the body was validated.
    return AuditRecord(
        id=context.id,
        at_ms=context.now_ms,
        verdict=outcome.verdict,
        tenant=known.tenant if known is not None else "",
        key=known.id if known is not None else "",
        principal=known.principal if known is not None else "",
        client_ip=context.ip,
        api=context.route.label,
        method=context.method if context.method in METHODS else "",
        route=context.route.name,
        model=model if is_served or is_a_name(model, failure, settled) else "",
        endpoint=head.endpoint or (failure.endpoint if failure is not None else ""),
        provider=head.provider or (failure.provider if failure is not None else ""),
        provider_model=head.model or (failure.model if failure is not None else ""),
        stream=wanted is not None and wanted.stream,
        status=outcome.status,
        code=failure.code if failure is not None else "",
        findings=findings,
        explained=explained,
        masked=explained is not None and is_masked(explained),
        attempts=outcome.publications,
        retries=max(head.retries, failure.retries if failure is not None else 0),
        finish=end.finish if end is not None else "",
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        reasoning_tokens=usage.reasoning,
        estimated=usage.estimated,
        cost=end.cost if end is not None else failure.cost if failure is not None else 0,
        latency_ms=latency_ms,
        first_byte_ms=outcome.first_byte_ms,
        policy=settled.snapshot.revision,
        instance=instance,
    )


def is_a_name(model: str, failure: Failure | None, settled: Settled) -> bool:
    """A name that we do not know, or that a guard has refused, may be anything."""
    return settled.serves(model) and not (failure is not None and failure.param == "model")


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def is_masked(explained: Explained) -> bool:
    """Whether something of the request was taken out. One of each action is among what is explained."""
    return any(one.action in REMOVING and one.side == "request" for one in explained.findings)
