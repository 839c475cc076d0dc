"""Words that are nearly one of a list: one letter wrong, missing or too many, two in long words.

Whatever two words that far apart are, taking so many letters out of each can leave the same. So what can be left of each word
of the list is known beforehand, and a word of a text is looked up by what can be left of it (the deletion neighbourhood).
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import combinations

WORD = re.compile(r"[^\W\d_]{3,34}")  # Unbroken letters; longer runs are no words of a list.
LONG = 8  # Letters from which on two mistakes are forgiven.
WORDS_KEPT = 16_384


def mistakes(word: str) -> int:
    return 2 if len(word) >= LONG else 1


def left(word: str, taken: int) -> Iterator[str]:
    """What can be left of a word without so many letters, or fewer."""
    yield word
    for count in range(1, taken + 1):
        for places in combinations(range(len(word)), count):
            at, parts = 0, []
            for place in places:
                parts.append(word[at:place])
                at = place + 1
            yield "".join(parts) + word[at:]


def distance(one: str, other: str) -> int:
    """Letters to change, add or take out; two neighbours that are exchanged are one mistake."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, wanted in enumerate(other, 1):
            cost = min(last[column] + 1, line[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                cost = min(cost, before[column - 2] + 1)
            line.append(cost)
        before, last = last, line
    return last[-1]


class Fuzzy:
    """A list of words. What was looked up is remembered, for texts repeat their words."""

    def __init__(self, words: Iterable[str]) -> None:
        self._near: dict[str, set[str]] = {}
        folded = {word.casefold() for word in words}
        for word in folded:
            for rest in left(word, mistakes(word)):
                self._near.setdefault(rest, set()).add(word)
        self.shortest = min(len(word) - mistakes(word) for word in folded)
        self.longest = max(len(word) + mistakes(word) for word in folded)
        self.is_near = lru_cache(WORDS_KEPT)(self._is_near)

    def _is_near(self, word: str) -> bool:
        folded = word.casefold()
        if not self.shortest <= len(folded) <= self.longest:
            return False
        candidates = {
            near for rest in left(folded, 2 if len(folded) >= LONG - 2 else 1) for near in self._near.get(rest, ())
        }
        return any(distance(folded, near) <= mistakes(near) for near in candidates)

    def may_hold(self, text: str) -> bool:
        return any(map(self.is_near, set(WORD.findall(text))))

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        for found in WORD.finditer(text):
            if self.is_near(found[0]):
                yield found.span()
