"""Request ids: UUIDv7, so that they sort by time and cannot be guessed."""

from collections.abc import Callable
from functools import lru_cache

RANDOM_BYTES = 10
VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}  # Two bits of it, behind the bits 10.
POOL_BYTES = 409 * RANDOM_BYTES  # A page: the operating system is asked once for so many ids.


def pooled(random: Callable[[int], bytes]) -> Callable[[], bytes]:
    """Ten bytes at a time of what `random` gives; none is given twice."""
    pool, at = b"", 0

    def take() -> bytes:
        nonlocal pool, at
        if at == len(pool):
            pool, at = random(POOL_BYTES), 0
        at += RANDOM_BYTES
        return pool[at - RANDOM_BYTES : at]

    return take


def uuid7(now_ms: int, random: bytes) -> str:
    """RFC 9562, section 5.7. `random` is ten bytes."""
    chance = random.hex()
    return f"{_time(now_ms)}-7{chance[1:4]}-{VARIANT[chance[4]]}{chance[5:8]}-{chance[8:]}"


@lru_cache(1)
def _time(now_ms: int) -> str:
    """What the ids of a millisecond begin with."""
    digits = f"{now_ms:012x}"
    return f"{digits[:8]}-{digits[8:]}"
