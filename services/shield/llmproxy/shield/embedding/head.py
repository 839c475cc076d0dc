"""What of the encoder's token states makes an injection: a few weights of our own, and how its word counts beside the cheaper verdict.

Reads `head.bin`, written by tools/train_embedding.py. It belongs to one encoder, which it names by the digest of its weights.
"""

import zlib
from importlib import resources
from math import exp, log
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

HEAD: Final = "head.bin"
LOGIT_MAX = 12.0  # Of either opinion: beyond it a probability is 0 or 1 anyway.

PARTS = 3  # Of what is pooled.

Array = NDArray[np.float32]


class Header(Struct, frozen=True, kw_only=True):
    """What stands before the numbers, as one line of JSON."""

    version: int
    encoder: str  # SHA-256 of the model.safetensors that it was trained with.
    layers: int  # Of the encoder, that are needed.
    size: int  # Of a token's state.
    bias: float
    first: float  # logit = first * the cheaper one + second * this one + intercept.
    second: float
    intercept: float


class Head:
    """Immutable."""

    def __init__(self, header: Header, weights: Array) -> None:
        """`weights` of what `pooled` makes of the states."""
        self.header, self._weights = header, weights

    def logit(self, states: Array) -> float:
        """Of one text, by itself."""
        return float(pooled(states) @ self._weights) + self.header.bias

    def together(self, probability: float, states: Array) -> float:
        """How likely an injection, by what the cheaper verdict says and by this one."""
        header = self.header
        logit = header.first * logit_of(probability) + header.second * _bounded(self.logit(states)) + header.intercept
        return 1 / (1 + exp(-_bounded(logit)))


def pooled(states: Array) -> Array:
    """Of all tokens together: what they say on average, and what any of them says."""
    found: Array = np.concatenate([states.mean(axis=0), states.max(axis=0), states.min(axis=0)])
    return found


def logit_of(probability: float) -> float:
    inside = min(max(probability, 1e-6), 1 - 1e-6)
    return _bounded(log(inside / (1 - inside)))


def _bounded(logit: float) -> float:
    return max(-LOGIT_MAX, min(LOGIT_MAX, logit))


def pack(header: Header, weights: Array) -> bytes:
    """The bytes of a head's file."""
    return msgspec.json.encode(header) + b"\n" + zlib.compress(weights.astype("<f4").tobytes(), 9)


def read(data: bytes) -> Head:
    """ValueError if it is no head's file."""
    head, _, packed = data.partition(b"\n")
    header = msgspec.json.decode(head, type=Header)
    weights = np.frombuffer(zlib.decompress(packed), "<f4")
    if len(weights) != PARTS * header.size:
        raise ValueError("the numbers of the head are not as many as its header says; train it again")
    return Head(header, weights)


def shipped() -> Head:
    return read(resources.files(__package__).joinpath(HEAD).read_bytes())
