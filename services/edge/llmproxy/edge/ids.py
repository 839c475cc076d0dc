"""Request ids: UUIDv7, so that they sort by time and cannot be guessed."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

AT_ONCE = 409  # A page of random bytes: the operating system is asked once for so many ids.
RANDOM_BYTES = 10
POOL_BYTES = AT_ONCE * RANDOM_BYTES
VERSION_KEPT, VERSION = int("0fff" * AT_ONCE, 16), int("7000" * AT_ONCE, 16)
VARIANT_KEPT, VARIANT = int("3fff" * AT_ONCE, 16), int("8000" * AT_ONCE, 16)

Chance = tuple[str, str, str]
"""The last three groups of an id: what of it is random, with its version and its variant."""


def pooled(random: Callable[[int], bytes]) -> Callable[[], Chance]:
    """Ten bytes at a time of what `random` gives; none is given twice."""
    return partial(next, _chances(random))


def uuid7(now_ms: int, chance: Chance) -> str:
    """RFC 9562, section 5.7."""
    third, fourth, last = chance
    return f"{_time(now_ms)}-{third}-{fourth}-{last}"


def _chances(random: Callable[[int], bytes]) -> Iterator[Chance]:
    """Written for a page at once: what is cut out of each id by itself costs more than the id."""
    while True:
        page = random(POOL_BYTES)
        thirds = _numbers(page[: 2 * AT_ONCE]) & VERSION_KEPT | VERSION
        fourths = _numbers(page[2 * AT_ONCE : 4 * AT_ONCE]) & VARIANT_KEPT | VARIANT
        lasts = page[4 * AT_ONCE :]
        yield from zip(_groups(thirds), _groups(fourths), lasts.hex("-", 6).split("-"), strict=True)


def _numbers(page: bytes) -> int:
    return int.from_bytes(page, "big")


def _groups(numbers: int) -> list[str]:
    """Of four digits."""
    return numbers.to_bytes(2 * AT_ONCE, "big").hex("-", 2).split("-")


@lru_cache(1)
def _time(now_ms: int) -> str:
    """What the ids of a millisecond begin with."""
    digits = f"{now_ms:012x}"
    return f"{digits[:8]}-{digits[8:]}"
