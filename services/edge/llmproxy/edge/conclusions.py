"""What becomes of every request: one audit record, and in strict mode no last word before it is safe."""

import asyncio
from collections.abc import Callable

import msgspec

from llmproxy.common.errors import GatewayError, status_of
from llmproxy.common.frames import Failure
from llmproxy.common.records import AuditRecord
from llmproxy.edge import metrics
from llmproxy.edge.exchange import Exchange
from llmproxy.edge.ingress import Ingress, Settled
from llmproxy.edge.journal import Journal
from llmproxy.edge.outcome import LEFT, Outcome, record
from llmproxy.edge.routes.table import UNKNOWN
from llmproxy.edge.threats import Ledger


class Conclusions:
    def __init__(
        self, settled: Settled, journal: Journal, ledger: Ledger, *, instance: str, monotonic: Callable[[], float]
    ) -> None:
        self._settled, self._journal, self._ledger = settled, journal, ledger
        self._instance, self._monotonic = instance, monotonic

    def write(
        self, context: Ingress, outcome: Outcome, acknowledged: "asyncio.Future[None] | None" = None
    ) -> "asyncio.Future[None] | None":
        """Done when the record is safe, and raises GatewayError when in strict mode it could not be committed; None where nobody waits for that."""
        context.concluded = True
        latency_ms = int((self._monotonic() - context.started) * 1000)
        written = record(context, outcome, self._settled, instance=self._instance, latency_ms=latency_ms)
        metrics.REQUESTS.labels(written.route, written.verdict, written.code).inc()
        if written.unpriced:
            metrics.UNPRICED.labels(written.endpoint).inc()
        if written.explained is not None and context.record is not None:
            self._ledger.weigh(context.record, context.end_user, written.explained)
        acknowledged = self._journal.write(written, acknowledged)
        return None if context.is_flood else acknowledged

    def write_unread(self, request_id: str, failure: Failure, now_ms: int, address: str) -> None:
        """Of what was not HTTP nothing is known but who sent it, and that it was answered under this id."""
        written = AuditRecord(
            id=request_id,
            at_ms=now_ms,
            verdict="refused",
            client_ip=address,
            route=UNKNOWN.name,
            status=failure.status,
            code=failure.code,
            policy=self._settled.snapshot.revision,
            instance=self._instance,
        )
        metrics.REQUESTS.labels(written.route, written.verdict, written.code).inc()
        self._journal.write(written)

    async def commit(self, context: Ingress, outcome: Outcome) -> Failure | None:
        """Writes the record; what to say instead of the answer when in strict mode it could not be committed."""
        acknowledged = self.write(context, outcome)
        if acknowledged is None:
            return None
        try:
            await acknowledged
        except GatewayError as error:
            return error.failure("edge")
        return None

    def write_cancelled(self, context: Ingress, exchange: Exchange) -> None:
        outcome = outcome_of(exchange, status_of(LEFT))
        self.write(context, msgspec.structs.replace(outcome, failure=left(exchange.failure), cancelled=True))


def outcome_of(exchange: Exchange, status: int) -> Outcome:
    first_ms = (exchange.first_data_at - exchange.opened_at) * 1000 if exchange.first_data_at else 0
    return Outcome(
        status=status,
        failure=exchange.failure,
        head=exchange.head,
        end=exchange.end,
        publications=exchange.publications,
        first_byte_ms=int(first_ms),
    )


def left(failure: Failure | None) -> Failure:
    """That the client left is the reason, whatever else happened then; what was used up is kept."""
    return LEFT if failure is None else msgspec.structs.replace(failure, code=LEFT.code, status=0, type="")
