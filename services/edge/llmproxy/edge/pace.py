"""How long a request waits for others, so that they go on together through every stage: only while many come (docs/adr/0040)."""

from math import exp

WAIT_MAX_S = 0.01
TOGETHER = 12  # So many are enough; with more requests the wait is shorter.
WORTH = 4  # Where fewer would come together in WAIT_MAX_S, nobody waits.
OVER_S = 0.1  # What the rate is a mean over.


class Pace:
    def __init__(self) -> None:
        self._per_s = 0.0
        self._counted_at = 0.0

    def came(self, requests: int, now: float) -> None:
        """`now` in seconds, on the loop's clock; no two calls at one moment."""
        since_s = max(now - self._counted_at, 1e-6)
        fading = exp(-since_s / OVER_S)
        self._per_s = self._per_s * fading + (1 - fading) * requests / since_s
        self._counted_at = now

    @property
    def wait_s(self) -> float:
        """From one group to the next; the first request after a pause never waits."""
        together = self._per_s * WAIT_MAX_S
        return 0.0 if together < WORTH else min(WAIT_MAX_S, TOGETHER / self._per_s)
