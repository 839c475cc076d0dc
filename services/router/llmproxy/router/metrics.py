"""The router's metric names."""

from prometheus_client import Gauge

from llmproxy.common.meters import Counter

REFUSED = Counter("llmproxy_router_refused", "Requests that no endpoint could be planned for", ["code"])
CIRCUITS_OPEN = Gauge(
    "llmproxy_router_circuits_open", "Circuits that are open or half-open: of endpoints, of models", ["of"]
)
CIRCUIT_CHANGES_DROPPED = Counter(
    "llmproxy_router_circuit_changes_dropped", "Circuit changes not told to Redis because too many were waiting"
)
