"""The metric names of the bus, which every service has."""

from llmproxy.common.meters import Counter

UNHANDLED = Counter(
    "llmproxy_bus_unhandled",
    "Messages that were dropped (late, undecodable), refused (full), or whose handler failed (bug)",
    ["reason"],
)
