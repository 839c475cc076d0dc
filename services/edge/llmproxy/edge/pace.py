"""How often requests come, and how long one waits for others so that they go on together: only while many come (docs/adr/0040)."""

from math import exp

OVER_S = 0.1  # What a rate is a mean over.
WAIT_MAX_S = 0.01
TOGETHER = 12  # So many are enough; with more requests the wait is shorter.
WORTH = 4  # Where fewer would come together in WAIT_MAX_S, nobody waits.


class Rate:
    """A fading mean."""

    def __init__(self) -> None:
        self.per_s = 0.0
        self._counted_at = 0.0

    def came(self, requests: int, now: float) -> None:
        """Since the last count; `now` in seconds, on the loop's clock."""
        since_s = max(now - self._counted_at, 1e-6)
        fading = exp(-since_s / OVER_S)
        self.per_s = self.per_s * fading + (1 - fading) * requests / since_s
        self._counted_at = now


class Pace(Rate):
    @property
    def wait_s(self) -> float:
        """From one group to the next; the first request after a pause never waits."""
        together = self.per_s * WAIT_MAX_S
        return 0.0 if together < WORTH else min(WAIT_MAX_S, TOGETHER / self.per_s)
