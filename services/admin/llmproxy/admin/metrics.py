"""The names of what admin measures."""

from prometheus_client import Counter

REQUESTS = Counter("llmproxy_admin_requests", "Requests to the admin API", ["method", "route", "status"])
