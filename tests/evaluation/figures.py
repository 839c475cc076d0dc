"""Rates, areas and their 95 % intervals: pure, and exact enough to be argued with."""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import floor, inf, sqrt
from typing import TypeVar

Z = 1.959964  # Of 95 %.
SEED = 7
RESAMPLED = 400
BETA_SQUARED = 4  # F2: recall counts four times as much as precision.

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """A share or a score with its interval; `of` is how many it is from."""

    value: float
    low: float
    high: float
    of: int

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]" if self.of else "none"


NONE = Figure(0.0, 0.0, 1.0, 0)


def share(hits: int, of: int) -> Figure:
    """Wilson's interval: sound near 0 and 1, where most of ours are. It takes the rows as independent."""
    if not of:
        return NONE
    rate = hits / of
    centre = (rate + Z * Z / (2 * of)) / (1 + Z * Z / of)
    half = Z * sqrt(rate * (1 - rate) / of + Z * Z / (4 * of * of)) / (1 + Z * Z / of)
    return Figure(rate, max(0.0, centre - half), min(1.0, centre + half), of)


def caught(flags: Iterable[bool]) -> Figure:
    found = list(flags)
    return share(sum(found), len(found))


def clustered(hits: Sequence[tuple[int, int]]) -> Figure:
    """Of (hits, rows) of each source: rows of one source are alike, so sources are drawn, not rows."""
    rows = sum(of for _, of in hits)
    if not rows:
        return NONE

    def rate(drawn: Sequence[tuple[int, int]]) -> float:
        return sum(hit for hit, _ in drawn) / max(1, sum(of for _, of in drawn))

    low, high = interval(hits, rate)
    return Figure(rate(hits), low, high, rows)


def interval(units: Sequence[T], statistic: Callable[[Sequence[T]], float]) -> tuple[float, float]:
    """Percentiles of the statistic over units drawn again (bootstrap)."""
    chance = random.Random(SEED)
    values = sorted(statistic(chance.choices(units, k=len(units))) for _ in range(RESAMPLED))
    return values[floor(0.025 * RESAMPLED)], values[floor(0.975 * RESAMPLED)]


def threshold_at(harmless: Sequence[float], rate: float) -> float:
    """The lowest threshold that at most so many harmless scores are above. Only what is above it counts as caught."""
    ranked = sorted(harmless, reverse=True)
    allowed = floor(rate * len(ranked))
    return ranked[allowed] if allowed < len(ranked) else -inf


def area(attacks: Sequence[float], harmless: Sequence[float]) -> Figure:
    """Under the ROC curve, with DeLong's interval. https://doi.org/10.2307/2531595"""
    if len(attacks) < 2 or len(harmless) < 2:
        return NONE
    below, above = sorted(harmless), sorted(attacks)
    of_attacks = [_rank(below, score) / len(below) for score in attacks]
    of_harmless = [1 - _rank(above, score) / len(above) for score in harmless]
    value = sum(of_attacks) / len(of_attacks)
    half = Z * sqrt(_variance(of_attacks) / len(of_attacks) + _variance(of_harmless) / len(of_harmless))
    return Figure(value, max(0.0, value - half), min(1.0, value + half), len(attacks))


def _rank(ordered: Sequence[float], score: float) -> float:
    """How many are below; of those that are equal, half."""
    return (bisect_left(ordered, score) + bisect_right(ordered, score)) / 2


def _variance(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


@dataclass(frozen=True)
class Counts:
    """Spans that were found, found where there are none, and missed."""

    found: int = 0
    false: int = 0
    missed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.found + other.found, self.false + other.false, self.missed + other.missed)

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.false) if self.found + self.false else 0.0

    @property
    def recall(self) -> float:
        return self.found / (self.found + self.missed) if self.found + self.missed else 0.0

    def f(self, beta_squared: int = BETA_SQUARED) -> float:
        below = beta_squared * self.precision + self.recall
        return (1 + beta_squared) * self.precision * self.recall / below if below else 0.0


def over_texts(texts: Sequence[Counts], statistic: Callable[[Counts], float]) -> Figure:
    """A statistic of all texts together, with an interval from texts drawn again."""
    total = sum(texts, Counts())
    low, high = interval(texts, lambda drawn: statistic(sum(drawn, Counts())))
    return Figure(statistic(total), low, high, total.found + total.missed)
