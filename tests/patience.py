"""How long a test waits for what must happen: much longer than it takes, for a machine may be slow and have other work.

No test proves a time by it. One that shows that something never happens says how it knows.
"""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 60.0
NATS_S = 20.0
"""What tests, and the services that they start, allow NATS for an answer. In production it is less: who gets none asks again."""


def wait_for(true: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """Polls until `true` returns something true, and returns it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s: {what}")
