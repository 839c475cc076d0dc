"""When to try again: a pure decision over attempts, hints and a random number."""

RETRY_AFTER_MS_MAX = 24 * 3_600_000  # A provider may say anything; nobody waits longer than a day.


def backoff_ms(attempt: int, *, random: float, base_ms: int = 50, cap_ms: int = 2_000) -> int:
    """Full jitter over a doubling ceiling. `attempt` counts from 0; `random` is in [0, 1)."""
    return int(min(cap_ms, base_ms << min(attempt, 16)) * random)


def parse_retry_after_ms(value: str, now_s: float) -> int:
    """The `Retry-After` header (seconds, or an HTTP date) in milliseconds; 0 when absent or unreadable."""
    from email.utils import parsedate_to_datetime

    if not value:
        return 0
    try:
        return _bounded_ms(float(value))
    except (ValueError, OverflowError):
        pass
    try:
        return _bounded_ms(parsedate_to_datetime(value).timestamp() - now_s)
    except (ValueError, TypeError, OverflowError):
        return 0


def _bounded_ms(seconds: float) -> int:
    return min(max(0, int(seconds * 1000)), RETRY_AFTER_MS_MAX)
