"""Text that says nothing: the same over and over, and long random words that nobody asked for.

Both look at thousands of characters, so that code, indentation, tables, drawings and dumps are neither.
"""

import re
import zlib
from collections import Counter
from math import log2

from llmproxy.shield import glance

BLOCK_CHARS = 2_048
REPEATED_BLOCKS = 2  # In a row: 4,096 characters of the same.
REPETITION_RATIO = 0.035
"""Of what deflate leaves of a block: prose 0.5, code 0.3, a table of one value 0.08, a loop of a sentence under 0.03."""

LETTERS_SHARE_MIN = 0.5  # Rules, zeroes and drawings repeat too, and say what they are for.

RANDOM_CHARS_MIN = 256
RANDOM = re.compile(rf"[A-Za-z0-9+/_-]{{{RANDOM_CHARS_MIN},}}={{0,2}}")
RANDOM_BITS_MIN = 4.8  # For each character. Hexadecimal has 4, base64 of text 5.5, of ciphers 6.


def is_repetitive(block: str) -> bool:
    words = " ".join(block.split())
    if len(words) < BLOCK_CHARS // 2:  # Mostly indentation.
        return False
    if sum(map(str.isalpha, words)) < LETTERS_SHARE_MIN * len(words):
        return False
    raw = words.encode()
    return len(zlib.compress(raw, 1)) < REPETITION_RATIO * len(raw)


def may_be_random(text: str) -> bool:
    return len(text) >= RANDOM_CHARS_MIN and any(glance.long_words(glance.plain(text), RANDOM_CHARS_MIN))


def is_random(block: str) -> bool:
    """Whether a word of it is long and random."""
    return any(
        bits(word) >= RANDOM_BITS_MIN
        for start, end in glance.long_words(glance.plain(block), RANDOM_CHARS_MIN)
        for word in RANDOM.findall(block, start, end)
    )


def bits(text: str) -> float:
    """Shannon entropy for each character."""
    return -sum(count / len(text) * log2(count / len(text)) for count in Counter(text).values())
