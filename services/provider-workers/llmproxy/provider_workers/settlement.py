"""Outcomes of attempts, gathered for a moment and published once per provider: what routers and settlement learn from."""

import asyncio
from functools import cache

from llmproxy.common.bus import Bus
from llmproxy.common.channels import OUTCOME
from llmproxy.common.errors import Unavailable
from llmproxy.common.meters import Spread
from llmproxy.common.outcomes import Outcome, Outcomes
from llmproxy.provider_workers import metrics

GATHER_S = 0.05
BATCH_MAX = 1_000  # Outcomes a message; well below a message's size limit.
WAITING_MAX = 50_000  # While NATS is away; then the oldest are dropped, and counted.


class Settlement:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: list[Outcome] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, outcome: Outcome) -> None:
        self._waiting.append(outcome)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_S, self.flush)

    def flush(self) -> None:
        """Publishes what waits. What cannot be published now is kept for the next time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        by_provider: dict[str, list[Outcome]] = {}
        for outcome in waiting:
            by_provider.setdefault(outcome.provider, []).append(outcome)
        for provider, outcomes in by_provider.items():
            for first in range(0, len(outcomes), BATCH_MAX):
                self._publish(provider, outcomes[first : first + BATCH_MAX])

    def _publish(self, provider: str, outcomes: list[Outcome]) -> None:
        try:
            self._bus.publish(OUTCOME, Outcomes(self._bus.instance, outcomes), provider=provider)
        except Unavailable:
            self._keep(outcomes)
            return
        for outcome in outcomes:
            _measure(outcome)

    def _keep(self, outcomes: list[Outcome]) -> None:
        self._waiting.extend(outcomes)
        excess = len(self._waiting) - WAITING_MAX
        if excess > 0:
            del self._waiting[:excess]
            metrics.OUTCOMES_DROPPED.inc(excess)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self.flush)


def _measure(outcome: Outcome) -> None:
    _attempts(outcome.endpoint, outcome.provider, outcome.code).inc()
    if outcome.ok:
        first_byte, duration = _times(outcome.endpoint)
        first_byte.observe(outcome.first_byte_ms / 1000)
        duration.observe(outcome.total_ms / 1000)


_attempts = cache(metrics.ATTEMPTS.labels)  # What is kept here the metrics keep anyhow.


@cache
def _times(endpoint: str) -> tuple[Spread, Spread]:
    return metrics.FIRST_BYTE.labels(endpoint), metrics.DURATION.labels(endpoint)
