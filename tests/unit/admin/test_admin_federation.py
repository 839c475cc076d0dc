"""One page of metrics for all instances: labelled, grouped by family, and complete when some do not answer."""

import asyncio

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from llmproxy.admin.federation import federate
from llmproxy.common.records import Announcement


def instance(service: str, name: str, url: str) -> Announcement:
    return Announcement(at_ms=0, service=service, instance=name, version="1", probes_url=url)


def metrics_of(count: int) -> str:
    registry = CollectorRegistry()
    Counter("requests", "Requests, \\ and more", ["route"], registry=registry).labels('/a"}{').inc(count)
    Histogram("seconds", "Time", registry=registry).observe(count)
    Counter("plain", "No labels", registry=registry).inc()
    return generate_latest(registry).decode()


PAGES = {"http://a:1/metrics": metrics_of(2), "http://b:1/metrics": metrics_of(5)}


async def fetch(url: str) -> str:
    if url not in PAGES:
        raise TimeoutError
    return PAGES[url]


def test_metrics_of_all_instances_are_one_valid_page() -> None:
    instances = [
        instance("edge", "edge-1", "http://a:1"),
        instance("edge", 'edge-"2', "http://b:1"),
        instance("shield", "shield-1", "http://gone:1"),
        instance("router", "router-1", "file:///etc/passwd"),
    ]
    text = asyncio.run(federate(instances, fetch))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(families) == sum(line.startswith("# TYPE") for line in text.splitlines())
    requests = {
        sample.labels["instance"]: (sample.labels["route"], sample.value)
        for sample in families["requests"].samples
        if sample.name == "requests_total"
    }
    assert requests == {"edge-1": ('/a"}{', 2.0), 'edge-"2': ('/a"}{', 5.0)}
    assert families["seconds"].type == "histogram"
    assert {one.labels["service"] for one in families["seconds"].samples} == {"edge"}
    up = {one.labels["instance"]: one.value for one in families["llmproxy_up"].samples}
    assert up == {"edge-1": 1.0, 'edge-"2': 1.0, "shield-1": 0.0}


def test_nobody_to_ask_is_an_empty_page() -> None:
    assert asyncio.run(federate([], fetch)).strip() == ""
