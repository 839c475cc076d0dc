"""When nats-server has to be started again: once a disk was full it goes on refusing to write, however much room there is by then."""

import math

STUCK_S = 20.0  # Whatever else keeps records from being committed for a moment is over by then.
AGAIN_S = 300.0  # What a restart has not mended is none of this.
ROOM_BYTES_MIN = 64 << 20


class Stuck:
    """Told every few seconds whether records can be committed, and how much room the disk has."""

    def __init__(self) -> None:
        self._since = math.inf
        self._last = -math.inf

    def look(self, is_blocked: bool, room_bytes: int, now: float) -> bool:
        """Whether to start nats-server again. `now` is monotonic seconds."""
        if not is_blocked or room_bytes < ROOM_BYTES_MIN:
            self._since = math.inf
            return False
        self._since = min(self._since, now)
        if now - self._since < STUCK_S or now - self._last < AGAIN_S:
            return False
        self._since, self._last = math.inf, now
        return True
