"""The limits while Redis is away, and those that one edge counts by itself."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from llmproxy.edge.quotas import CONCURRENCY_RETRY_MS, UNLIMITED, Dimension, Quota, lease_keys

KEYS_MAX = 20_000  # Counters; the oldest go first.


class LocalLimits:
    """The same decision in this process's memory, over an equal share of each limit; bounded."""

    def __init__(self, monotonic: Callable[[], float], edges: int = 1) -> None:
        self._monotonic, self._edges = monotonic, max(1, edges)
        self._arrivals: OrderedDict[str, int] = OrderedDict()
        self._held: dict[str, int] = {}
        self._leases: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._arrivals)

    def acquire(self, lease: str, wanted: Sequence[Dimension]) -> Quota:
        now_us = int(self._monotonic() * 1_000_000)
        nexts: list[tuple[str, int]] = []
        tightest = UNLIMITED
        for dimension in wanted:
            concurrency = dimension.limit.concurrency
            if concurrency and self._held.get(dimension.lease_key, 0) >= max(1, concurrency // self._edges):
                return Quota(
                    allowed=False,
                    scope=dimension.scope,
                    kind="concurrency",
                    retry_after_ms=CONCURRENCY_RETRY_MS,
                    limit=concurrency,
                )
            if not dimension.emission_us:
                continue
            emission = dimension.emission_us * self._edges
            tolerance = emission * (max(1, dimension.burst // self._edges) - 1)
            arrival = max(self._arrivals.get(dimension.rate_key, now_us), now_us)
            early = arrival - tolerance - now_us
            rate = dimension.limit.requests_per_minute or 0
            if early > 0:
                return Quota(
                    allowed=False,
                    scope=dimension.scope,
                    kind="rate",
                    retry_after_ms=-(-early // 1000),
                    limit=rate,
                    reset_ms=-(-(arrival - now_us) // 1000),
                )
            nexts.append((dimension.rate_key, arrival + emission))
            remaining = -early // emission
            if tightest is UNLIMITED or remaining < tightest.remaining:
                reset_ms = -(-(arrival + emission - now_us) // 1000)
                tightest = Quota(
                    allowed=True,
                    scope=dimension.scope,
                    kind="rate",
                    limit=rate,
                    remaining=remaining,
                    reset_ms=reset_ms,
                )
        self._take(lease, nexts, lease_keys(wanted))
        return tightest

    def release(self, lease: str) -> None:
        for key in self._leases.pop(lease, ()):
            left = self._held[key] - 1
            if left:
                self._held[key] = left
            else:
                del self._held[key]

    def _take(self, lease: str, nexts: list[tuple[str, int]], leases: tuple[str, ...]) -> None:
        for key, arrival in nexts:
            self._arrivals[key] = arrival
            self._arrivals.move_to_end(key)
        while len(self._arrivals) > KEYS_MAX:
            self._arrivals.popitem(last=False)
        for key in leases:
            self._held[key] = self._held.get(key, 0) + 1
        if leases:
            self._leases[lease] = leases
