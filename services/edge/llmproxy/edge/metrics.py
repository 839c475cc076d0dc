"""Every metric of the edge. No label carries anything that a caller wrote."""

from prometheus_client import Gauge

from llmproxy.common.meters import Counter, Histogram

REQUESTS = Counter("llmproxy_edge_requests", "Requests by route, verdict and error code", ["route", "verdict", "code"])
IN_FLIGHT = Gauge("llmproxy_edge_in_flight", "Requests held now")
CONNECTIONS = Gauge("llmproxy_edge_connections", "Open client connections")
OVERHEAD = Histogram(
    "llmproxy_edge_overhead_seconds",
    "Time in the gateway of answered, non-streamed requests, without the provider's",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0),
)
AUTH_FAILURES = Counter("llmproxy_edge_authentication_failures", "Requests without a good key", ["code"])
LIMITED = Counter("llmproxy_edge_limited", "Requests refused by a limit", ["scope", "kind"])
THREATS = Counter(
    "llmproxy_edge_threats",
    "Requests of callers that stand out: slowed or refused, or only told of",
    ["kind", "step", "mode"],
)
THREATS_WEIGHED = Counter("llmproxy_edge_threats_weighed", "Bad requests that were weighed for a caller", ["kind"])
THREATS_KNOWN = Gauge("llmproxy_edge_threats_known", "Callers that the threat ledger remembers")
LIMITS_DEGRADED = Gauge("llmproxy_edge_limits_degraded", "1 while Redis is away and limits are local or closed")
REPUBLISHED = Counter("llmproxy_edge_republished", "Requests published again", ["reason"])
LOST = Counter("llmproxy_edge_lost", "Requests whose holder died after content had left")
SLOW_CONSUMERS = Counter("llmproxy_edge_slow_consumers", "Streams cancelled because their client did not read")
FIREWALL = Counter("llmproxy_edge_firewall_hits", "Signatures found in bodies", ["category", "severity"])
FIREWALL_EXHAUSTED = Counter("llmproxy_edge_firewall_exhausted", "Bodies of which a part was not decoded")
UNPRICED = Counter(
    "llmproxy_edge_unpriced", "Answers of models without a price, whose cost is recorded as nothing", ["endpoint"]
)
AUDIT_COMMIT = Histogram(
    "llmproxy_edge_audit_commit_seconds",
    "From handing a batch to JetStream to its acknowledgement",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0),
)
AUDIT_FAILURES = Counter("llmproxy_edge_audit_commit_failures", "Batches that JetStream did not acknowledge")
AUDIT_SPOOLED = Gauge("llmproxy_edge_audit_spooled_bytes", "Audit records waiting on disk for JetStream")
AUDIT_UNRECORDED = Counter(
    "llmproxy_edge_audit_unrecorded",
    "Requests without a good key that were too many to have a record each; a later record has their number",
)
AUDIT_LOST = Counter("llmproxy_edge_audit_lost", "Audit records that could not be kept anywhere")
