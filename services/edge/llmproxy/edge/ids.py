"""Request ids: UUIDv7, so that they sort by time and cannot be guessed."""

from collections.abc import Callable

RANDOM_BYTES = 10
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
    bits = int.from_bytes(random) & ((1 << 74) - 1)
    value = now_ms << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & ((1 << 62) - 1)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
