"""What is said in a log of the connection to NATS: words of ours, no password, and not again and again."""

import re
from collections.abc import Callable

COMPLAIN_AGAIN_S = 10.0  # nats-py tries ten times a second, and says each time why it could not.
COMPLAINTS_MAX = 64
REFUSED = "it refuses the user or the password; check LLM_PROXY_NATS_USER and LLM_PROXY_NATS_PASSWORD"


def shown(url: str) -> str:
    """Without the user and password that it may hold, whatever signs they have."""
    return re.sub(r"//(?:(?!,\w+://).)*@", "//", url)


class Complaints:
    """What goes wrong with the connection, in words of ours, and not again and again."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._said_at: dict[str, float] = {}

    def said(self, error: Exception) -> str:
        """What to log; "" when that was said a moment ago. The server's own words may name a subject, and with it a tenant."""
        words = REFUSED if "authorization" in str(error).lower() else type(error).__name__
        now = self._monotonic()
        if now < self._said_at.get(words, -COMPLAIN_AGAIN_S) + COMPLAIN_AGAIN_S:
            return ""
        if len(self._said_at) >= COMPLAINTS_MAX:
            self._said_at.clear()
        self._said_at[words] = now
        return words
