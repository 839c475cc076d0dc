"""The injection model: a weight for each feature, in one byte. Reads `weights.bin`, written by tools/train_injection.py."""

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from math import exp, sqrt

import msgspec
from msgspec import Struct

from llmproxy.shield.injection.features import FEATURES, Token, Vocabulary, blocks, features, fold, lexicon, words

WEIGHTS = "weights.bin"
LOGIT_MAX = 30.0  # Beyond it a probability is 0 or 1 anyway.

PLAIN = bytes(ord(chr(code).lower()) if chr(code).isalnum() or code == ord("_") else 0x20 for code in range(128)) + (
    b" " * 128
)
"""ASCII letters in lower case, digits, and spaces for the rest: the quickest way to words."""

WORDY = re.compile(r"[a-z0-9_]+", re.ASCII)


class Header(Struct, frozen=True, kw_only=True):
    """What stands before the weights, as one line of JSON."""

    version: int
    features: int
    scale: float  # Of one step of a weight.
    bias: float
    slope: float  # Calibration: logit = slope * score + intercept.
    intercept: float
    gate: tuple[int, ...]  # Concept masks: a text that has all of none of them cannot be an attack.
    lexicon: str  # SHA-256 of the lexicon that the weights belong to.
    thresholds: dict[str, float]  # What the policy's thresholds were chosen from; the policy's own are what counts.


class Window(Struct, frozen=True):
    """Tokens [first, last) and how likely it is that they are an injection."""

    probability: float
    first: int
    last: int


class Model:
    """Reads any text. Linear in its length, but for what `features` bounds by GAP_TOKENS."""

    def __init__(self, header: Header, weights: bytes) -> None:
        if header.features != FEATURES or len(weights) != FEATURES:
            raise ValueError(f"{WEIGHTS} belongs to other features; train the model again")
        self.header = header
        self._weight = memoryview(weights).cast("b").__getitem__
        self._vocabulary = Vocabulary()
        self._odd: dict[
            str, list[tuple[str, int]]
        ] = {}  # What PLAIN takes apart (apostrophes, markup), by what it needs.
        for word, concepts in lexicon().words.items():
            if word.isascii() and WORDY.fullmatch(word) is None:
                needed = next(part for part in ("'", word[:2], word[0]) if part in word)
                self._odd.setdefault(needed, []).append((word, sum(1 << concept for concept in concepts)))

    def may_be(self, text: str) -> bool:
        """A look of microseconds. False stays False for every part of the text."""
        return self._is_open(self.concepts(text))

    def concepts(self, text: str) -> int:
        """As bits: at least those that any token of the text may stand for."""
        if not text.isascii():
            return self._mask(words(fold(text)))
        lower = text.lower()
        mask = self._mask(text.encode().translate(PLAIN).decode().split())
        for character, terms in self._odd.items():
            if character in lower:
                for term, bits in terms:
                    if term in lower:
                        mask |= bits
        return mask

    def probability(self, text: str) -> float:
        """Of the most suspicious window, whatever the quick look says: for ranking and for evaluation."""
        worst = self._worst(self._tokens(text), gated=False)
        return worst.probability if worst else 0.0

    def find(self, text: str) -> Window | None:
        """The most suspicious window of a text that `may_be` one, None if no window may be."""
        return self._worst(self._tokens(text), gated=True) if self.may_be(text) else None

    def _tokens(self, text: str) -> list[Token]:
        vocabulary = self._vocabulary
        return [vocabulary[word] for word in words(fold(text))]

    def _mask(self, found: Sequence[str]) -> int:
        vocabulary = self._vocabulary
        mask = 0
        for word in set(found):
            mask |= vocabulary[word].mask
        return mask

    def _is_open(self, mask: int) -> bool:
        return any(mask & needed == needed for needed in self.header.gate)

    def _worst(self, tokens: Sequence[Token], gated: bool) -> Window | None:
        """A window is two blocks; a text of one block is one window."""
        spans = blocks(len(tokens))
        masks = [0] * len(spans)
        for index, span in enumerate(spans):
            for one in tokens[span.start : span.stop]:
                masks[index] |= one.mask
        sums: dict[int, tuple[int, int]] = {}  # Of a block: its weights' sum, and how many there are.
        worst: Window | None = None
        for index in range(max(1, len(spans) - 1)):
            pair = range(index, min(index + 2, len(spans)))
            mask = 0
            for at in pair:
                mask |= masks[at]
            if gated and not self._is_open(mask):
                continue
            total = count = 0
            for at in pair:
                known = sums.get(at)
                if known is None:
                    numbers = features(tokens, spans[at])
                    known = sums[at] = (sum(map(self._weight, numbers)), len(numbers))
                total, count = total + known[0], count + known[1]
            probability = self._calibrated(total / sqrt(count or 1))
            if worst is None or probability > worst.probability:
                worst = Window(probability, spans[index].start, spans[pair[-1]].stop)
        return worst

    def _calibrated(self, score: float) -> float:
        header = self.header
        logit = header.slope * (score * header.scale + header.bias) + header.intercept
        return 1 / (1 + exp(-max(-LOGIT_MAX, min(LOGIT_MAX, logit))))


def read(data: bytes) -> Model:
    """A model from the bytes of a weights file."""
    header, _, weights = data.partition(b"\n")
    return Model(msgspec.json.decode(header, type=Header), weights)


@cache
def shipped() -> Model:
    """The model that comes with the package, read once."""
    return read(resources.files(__package__).joinpath(WEIGHTS).read_bytes())
