"""Counters and histograms for code on one event loop: prometheus_client's own take a lock and four calls for each count.

They look like prometheus_client's and stand in its registry beside them. Count on the loop alone, never in a thread.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import Generic, TypeVar

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

RECENT_MAX = 256


class Count:
    """How often, for one set of label values."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, by: int = 1) -> None:
        self.value += by


class Spread:
    """How many at most so large, for one set of label values. To find the places of many amounts at once costs a tenth."""

    __slots__ = ("_bounds", "_recent", "_sums", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self._sums, self._total = bounds, [0] * (len(bounds) + 1), 0.0
        self._recent: list[float] = []  # That have no place yet.

    def observe(self, amount: float) -> None:
        recent = self._recent
        recent.append(amount)
        if len(recent) >= RECENT_MAX:
            self._place()

    @property
    def total(self) -> float:
        self._place()
        return self._total

    def cumulated(self) -> list[tuple[str, float]]:
        self._place()
        return list(zip((*map(str, self._bounds), "+Inf"), self._sums, strict=True))

    def _place(self) -> None:
        recent, self._recent = self._recent, []
        self._total = reduce(add, recent, self._total)
        recent.sort()
        for place, bound in enumerate(self._bounds):
            self._sums[place] += bisect_right(recent, bound)
        self._sums[-1] += len(recent)


C = TypeVar("C", Count, Spread)


class _Labelled(Collector, Generic[C]):
    """The children of one metric by their label values, of which there are few."""

    def __init__(
        self, name: str, documentation: str, labelnames: Iterable[str] = (), registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._name, self._documentation, self._labelnames = name, documentation, tuple(labelnames)
        self._children: dict[tuple[str, ...], C] = {}
        if not self._labelnames:
            self._children[()] = self._child()
        registry.register(self)

    def labels(self, *values: str) -> C:
        child = self._children.get(values)
        if child is None:
            if len(values) != len(self._labelnames):
                raise ValueError(f"{self._name} has the labels {self._labelnames}")
            child = self._children[values] = self._child()
        return child

    def _child(self) -> C:
        raise NotImplementedError

    def _family(self) -> Metric:
        raise NotImplementedError

    def describe(self) -> Iterator[Metric]:
        yield self._family()


class Counter(_Labelled[Count]):
    def _child(self) -> Count:
        return Count()

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)

    def inc(self, by: int = 1) -> None:
        """Of a counter without labels."""
        self._children[()].value += by

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for values, child in self._children.items():
            family.add_metric(values, child.value)
        yield family


class Histogram(_Labelled[Spread]):
    def __init__(
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        registry: CollectorRegistry = REGISTRY,
        *,
        buckets: Sequence[float],
    ) -> None:
        if not buckets or list(buckets) != sorted(buckets):
            raise ValueError(f"{name}: buckets are upper bounds, ascending")
        self._bounds = tuple(float(bound) for bound in buckets)
        super().__init__(name, documentation, labelnames, registry)

    def _child(self) -> Spread:
        return Spread(self._bounds)

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)

    def observe(self, amount: float) -> None:
        """Of a histogram without labels."""
        self._children[()].observe(amount)

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for values, child in self._children.items():
            family.add_metric(values, child.cumulated(), child.total)
        yield family
