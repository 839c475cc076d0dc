"""Whether another attempt may do better, and after how long."""

from llmproxy.common.envelope import Attempt
from llmproxy.common.errors import CATALOGUE, GatewayError
from llmproxy.common.retry import backoff_ms

RETRY_AFTER_MS_MAX = 1_000  # What a provider asks for is waited for up to this long; a caller should not wait longer.

# The caller's fault at this provider, perhaps not at another: it cannot express it, or does not have it.
ELSEWHERE = frozenset({"unsupported_parameter", "unsupported_endpoint", "model_not_found"})
FINAL = frozenset({"provider_rejected", "deadline_exceeded"})


def goes_on(error: GatewayError) -> bool:
    """Whether another attempt may do better."""
    if error.code in ELSEWHERE:
        return True
    return CATALOGUE[error.code].blame in ("provider", "gateway") and error.code not in FINAL


def counts(error: GatewayError) -> bool:
    """Whether it says something about the endpoint."""
    return CATALOGUE[error.code].blame == "provider" and error.code not in FINAL


def pause_ms(failed: Attempt, following: Attempt, retry_after_ms: int, tried: int, random: float) -> int:
    """Before the next attempt: jitter always; the provider's own wish if it is asked again, and only if it is short."""
    wish_ms = retry_after_ms if failed.endpoint == following.endpoint and retry_after_ms <= RETRY_AFTER_MS_MAX else 0
    return max(wish_ms, backoff_ms(tried, random=random))
