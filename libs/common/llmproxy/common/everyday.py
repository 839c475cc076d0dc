"""How often ordinary prose has a word that a signature is looked for by."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from math import fsum

import yaml

from llmproxy.common.words import EDGE, WORD_BYTES_MAX

DATA = "everyday.yaml"
RARE = (32.0, 32.0, 32.0, 32.0, 16.0, 8.0, 4.0, 3.0, 2.0)
"""By its bytes, how often a megabyte has a word that DATA does not name. The last one for all that are longer."""


def commonness(words: Iterable[bytes]) -> float:
    """How often a megabyte has any of them. The same in whatever order a set has them."""
    return fsum(map(_commonness, words))


def _commonness(word: bytes) -> float:
    known, letters = everyday(), word.strip(EDGE)
    return known.get(word) or known.get(letters[:WORD_BYTES_MAX]) or RARE[min(len(letters), len(RARE) - 1)]


@cache
def everyday() -> Mapping[bytes, float]:
    """As tools/count_words.py has counted them: as good as powers of two are, which say enough."""
    text = resources.files(__package__).joinpath(DATA).read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    grades: dict[int, list[str]] = yaml.load(text, Loader=loader)  # noqa: S506 - a SafeLoader
    return {word.encode(): float(count) for count, words in grades.items() for word in words}
