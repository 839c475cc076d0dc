"""Where the sentence ends that a signature matches in."""

import re

AROUND_BYTES_MAX = 400  # On either side of what was found.
END = re.compile(rb"""[.!?]["')\]]*\s|\n|\xe3\x80\x82|\xef\xbc[\x81\x9f]""")


def around(plain: bytes, start: int, end: int) -> tuple[int, int]:
    """From the beginning of the sentence of `start` to the end of the one that `end` stands in, in bytes."""
    low, high = max(0, start - AROUND_BYTES_MAX), min(len(plain), end + AROUND_BYTES_MAX)
    for found in END.finditer(plain, low, start + 1):
        low = min(found.end(), start)  # A signature may begin with what stands before its first word.
    behind = END.search(plain, max(start, end - 1), high)
    return _whole(plain, low), behind.end() if behind else high


def _whole(plain: bytes, at: int) -> int:
    """The character that begins at `at`, or the next one."""
    while at < len(plain) and plain[at] & 0xC0 == 0x80:
        at += 1
    return at
