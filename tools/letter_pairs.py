"""Writes libs/common/native/letters.h from texts: which pairs of letters speak for text that is read backwards, or thirteen letters further on.

python tools/letter_pairs.py FILE… > libs/common/native/letters.h      (plain text, mostly English prose, some code)
"""

import math
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

NO_LETTER, DIGIT, ROW = 26, 27, 32
EIGHTHS_MAX = 24  # Three bits: no single pair decides.
SMOOTHING = 3  # Added to each count.

HEAD = """\
/* How much likelier two neighbouring letters are when the text is read backwards, and when it is read thirteen letters further on: eighths of
 * the logarithm to base 2, at most three bits. The last rows and columns are what is neither letter nor digit, and digits, which speak against
 * both. Written by tools/letter_pairs.py from prose and code of many kinds, mostly English. */
#ifndef LLMPROXY_LETTERS_H
#define LLMPROXY_LETTERS_H

#include <stdint.h>

enum { NO_LETTER = 26, LETTERS = 28, ROW = 32 };
"""


def letter(character: str) -> int:
    return ord(character) - ord("a") if "a" <= character <= "z" else NO_LETTER


def counted(texts: list[str]) -> Counter[tuple[int, int]]:
    pairs: Counter[tuple[int, int]] = Counter()
    for text in texts:
        pairs.update(pairwise([NO_LETTER, *map(letter, text.lower())]))
    pairs[NO_LETTER, NO_LETTER] = 0
    return pairs


def turned(one: int) -> int:
    return (one + 13) % 26 if one < NO_LETTER else one


def table(pairs: Counter[tuple[int, int]], *, backwards: bool) -> list[list[int]]:
    letters = range(NO_LETTER + 1)

    def step(one: int, other: int) -> int:
        instead = pairs[other, one] if backwards else pairs[turned(one), turned(other)]
        eighths = round(8 * math.log2((instead + SMOOTHING) / (pairs[one, other] + SMOOTHING)))
        return max(-EIGHTHS_MAX, min(EIGHTHS_MAX, eighths))

    rows = [[*(step(one, other) for other in letters), -EIGHTHS_MAX] for one in letters]
    return [*rows, [-EIGHTHS_MAX] * (DIGIT + 1)]


def written(pairs: Counter[tuple[int, int]]) -> str:
    bytes_as = [
        letter(chr(byte).lower()) if byte < 128 and not chr(byte).isdigit() else NO_LETTER for byte in range(256)
    ]
    bytes_as[ord("0") : ord("9") + 1] = [DIGIT] * 10
    lines = [f"    {', '.join(map(str, bytes_as[at : at + 32]))},\n" for at in range(0, 256, 32)]
    parts = [HEAD, "\nstatic const uint8_t LETTER[256] = {\n", *lines, "};\n"]
    for name, backwards in (("BACKWARDS", True), ("ROTATED", False)):
        rows = [f"    {{{', '.join(map(str, row))}}},\n" for row in table(pairs, backwards=backwards)]
        parts += [f"\nstatic const int8_t {name}[LETTERS][ROW] = {{\n", *rows, "};\n"]
    return "".join([*parts, "\n#endif\n"])


if __name__ == "__main__":
    sys.stdout.write(
        written(counted([Path(name).read_text(encoding="utf-8", errors="replace") for name in sys.argv[1:]]))
    )
