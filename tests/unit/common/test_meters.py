"""Our counters and histograms say in the registry what prometheus_client's own would say."""

from collections.abc import Callable
from typing import Any

import prometheus_client
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from llmproxy.common.meters import RECENT_MAX, Counter, Histogram

BUCKETS = (0.0005, 0.01, 0.25, 1, 320)


def exposed(fill: Callable[[CollectorRegistry], Any]) -> str:
    """The text that is scraped, without the times at which prometheus_client made its metrics."""
    registry = CollectorRegistry()
    fill(registry)
    lines = generate_latest(registry).decode().splitlines()
    return "\n".join(line for line in lines if "_created" not in line)


@given(st.lists(st.sampled_from(["answered", "blocked"])))
def test_a_counter_is_exposed_as_the_library_would(verdicts: list[str]) -> None:
    def fill(kind: Any) -> Callable[[CollectorRegistry], None]:
        def counted(registry: CollectorRegistry) -> None:
            plain = kind("llmproxy_plain", "Without labels", registry=registry)
            counter = kind("llmproxy_requests", "By verdict", ["verdict", "code"], registry=registry)
            for verdict in verdicts:
                counter.labels(verdict, "").inc()
                plain.inc(2)

        return counted

    assert exposed(fill(Counter)) == exposed(fill(prometheus_client.Counter))


@given(st.lists(st.one_of(st.sampled_from(BUCKETS), st.floats(0, 1000))))
@example([number / 1000 for number in range(3 * RECENT_MAX, -2, -1)])
def test_a_histogram_is_exposed_as_the_library_would(amounts: list[float]) -> None:
    def fill(kind: Any) -> Callable[[CollectorRegistry], None]:
        def observed(registry: CollectorRegistry) -> None:
            plain = kind("llmproxy_plain_seconds", "Without labels", registry=registry, buckets=BUCKETS)
            labelled = kind("llmproxy_seconds", "By endpoint", ["endpoint"], registry=registry, buckets=BUCKETS)
            for amount in amounts:
                plain.observe(amount)
                labelled.labels("main").observe(amount)

        return observed

    assert exposed(fill(Histogram)) == exposed(fill(prometheus_client.Histogram))


def test_labels_that_are_not_all_given_are_a_mistake_at_once() -> None:
    counter = Counter("llmproxy_requests", "By verdict", ["verdict", "code"], registry=CollectorRegistry())
    with pytest.raises(ValueError, match="has the labels"):
        counter.labels("answered")


def test_two_metrics_of_one_name_are_refused() -> None:
    registry = CollectorRegistry()
    Counter("llmproxy_requests", "Once", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Counter("llmproxy_requests", "Twice", registry=registry)


def test_buckets_that_do_not_ascend_are_refused() -> None:
    with pytest.raises(ValueError, match="ascending"):
        Histogram("llmproxy_seconds", "Odd", registry=CollectorRegistry(), buckets=(2, 1))
