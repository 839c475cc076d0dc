"""Request ids: UUIDv7, so that they sort by time and cannot be guessed."""

from collections.abc import Callable

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
    time, chance = f"{now_ms:012x}", random.hex()
    return f"{time[:8]}-{time[8:]}-7{chance[1:4]}-{VARIANT[chance[4]]}{chance[5:8]}-{chance[8:]}"
