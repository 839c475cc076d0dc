"""The provider workers' metric names."""

from llmproxy.common.meters import Counter, Histogram

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)

ATTEMPTS = Counter(
    "llmproxy_provider_attempts",
    "Attempts at providers by how they ended; the code is empty when they answered",
    ["endpoint", "provider", "code"],
)
FIRST_BYTE = Histogram(
    "llmproxy_provider_first_byte_seconds",
    "From the call to the first byte of the answer",
    ["endpoint"],
    buckets=SECONDS,
)
DURATION = Histogram(
    "llmproxy_provider_duration_seconds", "From the call to the end of the answer", ["endpoint"], buckets=SECONDS
)
OUTCOMES_DROPPED = Counter("llmproxy_provider_outcomes_dropped", "Outcomes not published: NATS was away for too long")
CONNECTIONS = Counter(
    "llmproxy_provider_connections",
    "Calls by the connection they went over: opened for them, or reused",
    ["endpoint", "state"],
)
