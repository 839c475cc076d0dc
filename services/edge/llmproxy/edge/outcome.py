"""What became of a request, as the one audit record that stands for it."""

from msgspec import Struct
from msgspec.structs import replace

from llmproxy.common.actions import REMOVING
from llmproxy.common.errors import kind_of, status_of
from llmproxy.common.explanations import Explained, joined, summed
from llmproxy.common.frames import End, Failure, Head
from llmproxy.common.keyring import KeyRecord
from llmproxy.common.prices import FREE_APIS
from llmproxy.common.records import AuditRecord, Verdict
from llmproxy.edge.body import MODEL_CHARACTERS_MAX
from llmproxy.edge.ingress import Ingress, Settled

LEFT = Failure(code="client_closed_request", message="the client has left", stage="edge")
VERDICTS: dict[str, Verdict] = {"caller": "refused", "guard": "blocked", "provider": "failed", "gateway": "failed"}
# In the place of what there was not, so that nobody has to ask for each field.
NOTHING, NO_FAILURE, NOBODY = Head(), Failure(code="", message=""), KeyRecord(id="", hash="", tenant="")


class Outcome(Struct, frozen=True, gc=False, kw_only=True):
    status: int = 200
    failure: Failure | None = None
    head: Head | None = None
    end: End | None = None
    cancelled: bool = False
    publications: int = 0
    first_byte_ms: int = 0


def refusal(failure: Failure, status: int = 0) -> Outcome:
    return Outcome(failure=failure, status=status or status_of(failure))


def record(context: Ingress, outcome: Outcome, settled: Settled, *, instance: str, latency_ms: int) -> AuditRecord:
    head, failure, end = outcome.head or NOTHING, outcome.failure or NO_FAILURE, outcome.end
    usage = end.usage if end is not None else failure.usage
    known, wanted, route = context.record or NOBODY, context.wanted, context.route
    findings, explained = failure.findings or head.findings, failure.explained or head.explained
    if end is not None and (end.findings or end.explained is not None):  # Of the answer.
        findings, explained = summed(findings, end.findings), joined(explained, end.explained)
    if context.findings:
        findings = summed(findings, context.findings)
    if context.explained is not None:
        explained = joined(explained, context.explained)
    model = wanted.model if wanted is not None else context.model_id
    is_served = failure is NO_FAILURE and wanted is not None  # It was asked of when the body was validated.
    # In parts: of more arguments Python makes a dictionary.
    asked = AuditRecord(
        id=context.id,
        at_ms=context.now_ms,
        verdict=verdict_of(outcome),
        tenant=known.tenant,
        key=known.id,
        principal=known.principal,
        client_ip=context.ip,
        api=route.label,
        method=context.method if context.method in METHODS else "",
        route=route.name,
        model=model if is_served or is_a_name(model, failure, settled, context.record) else "",
        stream=wanted is not None and wanted.stream,
        status=outcome.status,
        policy=settled.snapshot.revision,
        instance=instance,
    )
    answered = replace(
        asked,
        endpoint=head.endpoint or failure.endpoint,
        provider=head.provider or failure.provider,
        provider_model=head.model or failure.model,
        attempts=outcome.publications,
        retries=head.retries if failure is NO_FAILURE else max(head.retries, failure.retries),
        finish=end.finish if end is not None else "",
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        reasoning_tokens=usage.reasoning,
        cost=end.cost if end is not None else failure.cost,
        latency_ms=latency_ms,
        first_byte_ms=outcome.first_byte_ms,
    )
    unpriced = head.price.unknown and usage.charged is None and route.api not in FREE_APIS
    if not (failure.code or findings or explained or usage.estimated or unpriced):
        return answered
    return replace(
        answered,
        code=failure.code,
        findings=findings,
        explained=explained,
        masked=explained is not None and is_masked(explained),
        estimated=usage.estimated,
        unpriced=unpriced,
    )


def verdict_of(outcome: Outcome) -> Verdict:
    if outcome.cancelled:
        return "cancelled"
    return "answered" if outcome.failure is None else VERDICTS[kind_of(outcome.failure).blame]


def findings_of(outcome: Outcome) -> dict[str, int]:
    """Of the request, which the failure or the head has; and of the answer, which its end has."""
    found = (outcome.failure or NO_FAILURE).findings or (outcome.head or NOTHING).findings
    end = outcome.end
    return summed(found, end.findings) if end is not None and end.findings else found


def is_a_name(model: str, failure: Failure, settled: Settled, asking: KeyRecord | None) -> bool:
    """A name that we do not know, or that a guard has refused, may be anything. Where an endpoint takes any, so may that in the path
    of a request which was refused before it was read: it is as long as a path, and without a good key it is anybody's."""
    if failure.param == "model" or len(model) > MODEL_CHARACTERS_MAX:
        return False
    return model in settled.models or (settled.any_model and asking is not None)


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def is_masked(explained: Explained) -> bool:
    """Whether something of the request was taken out. One of each action is among what is explained."""
    return any(one.action in REMOVING and one.side == "request" for one in explained.findings)
