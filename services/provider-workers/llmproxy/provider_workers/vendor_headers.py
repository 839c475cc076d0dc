"""Which of a provider's headers a caller may see."""

from collections.abc import Mapping
from functools import lru_cache

HEADERS_MAX = 24
HEADER_NAMES_KEPT_MAX = 512  # Providers send two dozen each, and they are the same in every answer.
HEADER_CHARS_MAX = 256
REEXPOSED = frozenset({"x-request-id", "request-id", "x-amzn-requestid", "openai-processing-ms", "retry-after"})
REEXPOSED_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")


def reexposed(headers: Mapping[str, str]) -> dict[str, str]:
    """What of the provider's headers a caller may see."""
    shown: dict[str, str] = {}
    for name, value in headers.items():
        shown_as = _shown_as(name)
        if shown_as and len(value) <= HEADER_CHARS_MAX and value.isprintable():  # Bytes that are no text are not.
            shown[shown_as] = value
            if len(shown) == HEADERS_MAX:
                break
    return shown


@lru_cache(HEADER_NAMES_KEPT_MAX)
def _shown_as(name: str) -> str:
    """A header's name in lower case; "" of one that a caller is not shown."""
    lower = name.lower()
    return lower if lower in REEXPOSED or lower.startswith(REEXPOSED_PREFIXES) else ""
