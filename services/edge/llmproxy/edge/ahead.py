"""Places that were taken beforehand, for a caller who asks often and is far from every limit (docs/adr/0040)."""

from collections.abc import Sequence

from llmproxy.edge.pace import Rate
from llmproxy.edge.quotas import UNLIMITED, Dimension, Quota

LAST_S = 0.1  # Then what was not used is given back.
PLACES_MAX = 128
PLACES_PER_CALL_MAX = 1_024  # Of all callers: what a script can unpack.
OFTEN = 8  # Requests in LAST_S; whoever sends fewer is asked about for each.
ROOM = 8  # So many times as much must be left under each limit, or nothing is taken beforehand.
ANSWER_FIELDS = 4


class Ahead:
    """One caller's. Every place has been counted in Redis, so a limit never lets more pass than it says."""

    def __init__(self, wanted: Sequence[Dimension]) -> None:
        self._wanted = wanted
        self._places: list[str] = []  # Leases, none of which anybody holds yet.
        self._is_asked = False
        self._rate = Rate()
        self._served = 0  # Requests since it was counted.
        self._granted_at = 0.0
        self._tightest: Dimension | None = None
        self._remaining, self._reset_us = 0, 0  # Once all places are used.

    def wish(self, coming: int, now: float, most: int) -> int:
        """How many places to ask for beside those of the requests that a call is for: as many as come in LAST_S, no more than `most`."""
        self._rate.came(self._served + coming, now)
        self._served = 0
        likely = round(self._rate.per_s * LAST_S)
        if self._is_asked or self._places or likely < OFTEN or not most:
            return 0
        self._is_asked = True
        return min(likely, PLACES_MAX, most)

    def answered(self, places: list[str], fields: Sequence[int], now: float) -> bool:
        """What the script said of a wish; false when it gave nothing."""
        self._is_asked = False
        granted, index, self._remaining, self._reset_us = fields
        if not granted:
            return False
        self._places, self._granted_at = places, now
        self._tightest = self._wanted[index - 1] if index else None
        return True

    def unanswered(self) -> None:
        self._is_asked = False

    def take(self, now: float) -> tuple[str, Quota] | None:
        """A lease, and what to tell its holder; None when Redis has to be asked."""
        if not self._places:
            return None
        self._served += 1
        lease, left, tightest = self._places.pop(), len(self._places), self._tightest
        if tightest is None:
            return lease, UNLIMITED
        reset_us = self._reset_us - left * tightest.emission_us - int((now - self._granted_at) * 1_000_000)
        return lease, Quota(
            allowed=True,
            scope=tightest.scope,
            kind="rate",
            limit=tightest.limit.requests_per_minute or 0,
            remaining=self._remaining + left,
            reset_ms=-(-reset_us // 1000) if reset_us > 0 else 0,
        )
