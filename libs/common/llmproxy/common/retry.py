"""When to try again: a pure decision over attempts, hints and a random number."""


def backoff_ms(attempt: int, *, random: float, base_ms: int = 50, cap_ms: int = 2_000) -> int:
    """Full jitter over a doubling ceiling. `attempt` counts from 0; `random` is in [0, 1)."""
    return int(min(cap_ms, base_ms << min(attempt, 16)) * random)


def parse_retry_after_ms(value: str, now_s: float) -> int:
    """The `Retry-After` header (seconds, or an HTTP date) in milliseconds; 0 when absent or unreadable."""
    from email.utils import parsedate_to_datetime

    if not value:
        return 0
    try:
        return max(0, int(float(value) * 1000))
    except ValueError:
        pass
    except OverflowError:
        return 0
    try:
        return max(0, int((parsedate_to_datetime(value).timestamp() - now_s) * 1000))
    except (ValueError, TypeError):
        return 0
