"""The first layers of a BERT encoder, read from the files it is published in (vocab.txt, config.json, model.safetensors).

Inference is numpy, in one thread, one text at a time: what is asked is seldom, short and not worth a runtime of its own.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from llmproxy.shield.embedding.wordpiece import WordPieces

WEIGHTS_FILE: Final = "model.safetensors"
VOCABULARY_FILE: Final = "vocab.txt"
CONFIG_FILE: Final = "config.json"

LENGTH_BYTES, HEADER_BYTES_MAX = 8, 1 << 20
FLOAT, METADATA = "F32", "__metadata__"
WORDS = "embeddings.word_embeddings.weight"
MEAN_EPS = 1e-12

Array = NDArray[np.float32]


class Shape(Struct, frozen=True):
    """What config.json says and this needs; the rest of it is ignored."""

    num_attention_heads: int
    hidden_size: int
    num_hidden_layers: int
    layer_norm_eps: float = MEAN_EPS


class _Told(Struct, frozen=True):
    """Of a tensor, in the file's header. https://huggingface.co/docs/safetensors"""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]  # Of its bytes, after the header.


_HEADER = msgspec.json.Decoder(dict[str, Any])


class _Dense(Struct, frozen=True):
    weight: Array  # [in, out]
    bias: Array

    def __call__(self, states: Array) -> Array:
        return states @ self.weight + self.bias


class _Norm(Struct, frozen=True):
    weight: Array
    bias: Array
    eps: float

    def __call__(self, states: Array) -> Array:
        centred = states - states.mean(axis=1, keepdims=True)
        variance = np.square(centred).mean(axis=1, keepdims=True)
        scaled: Array = centred / np.sqrt(variance + self.eps) * self.weight + self.bias
        return scaled


class _Layer(Struct, frozen=True):
    attended: _Dense  # Queries, keys and values, side by side.
    mixed: _Dense
    mixed_norm: _Norm
    widened: _Dense
    narrowed: _Dense
    norm: _Norm
    heads: int

    def __call__(self, states: Array) -> Array:
        count, size = states.shape
        parts = self.attended(states).reshape(count, 3, self.heads, size // self.heads).transpose(1, 2, 0, 3)
        queries, keys, values = parts
        weights = _softmax(queries @ keys.transpose(0, 2, 1) / np.float32(math.sqrt(size // self.heads)))
        seen = (weights @ values).transpose(1, 0, 2).reshape(count, size)
        states = self.mixed_norm(self.mixed(seen) + states)
        return self.norm(self.narrowed(_gelu(self.widened(states))) + states)


class Encoder:
    """Token states after some layers. Immutable, and any number of threads may use one."""

    def __init__(self, pieces: WordPieces, tensors: Mapping[str, Array], shape: Shape, layers: int) -> None:
        self.pieces = pieces
        self._words = tensors[WORDS]
        self._places = tensors["embeddings.position_embeddings.weight"]
        self._kind = tensors["embeddings.token_type_embeddings.weight"][0]
        self._norm = _norm(tensors, "embeddings.LayerNorm", shape)
        self._layers = [_layer(tensors, f"encoder.layer.{number}", shape) for number in range(layers)]
        self.size = shape.hidden_size

    def states(self, numbers: list[int]) -> Array:
        """One line for each piece. `numbers` are no more than the model has places for."""
        states = self._norm(self._words[numbers] + self._places[: len(numbers)] + self._kind)
        for layer in self._layers:
            states = layer(states)
        return states


def load(folder: Path, layers: int) -> Encoder:
    """ValueError or OSError, which name what is wrong with the folder."""
    shape = _shape(folder / CONFIG_FILE)
    if layers > shape.num_hidden_layers:
        raise ValueError(f"{folder / CONFIG_FILE}: it has {shape.num_hidden_layers} layers; {layers} are needed")
    vocabulary = (folder / VOCABULARY_FILE).read_text("utf-8").removesuffix("\n").split("\n")
    pieces, tensors = WordPieces(vocabulary), tensors_of(folder / WEIGHTS_FILE)
    try:
        if len(tensors[WORDS]) != len(vocabulary):
            raise ValueError(f"{folder}: {VOCABULARY_FILE} and {WEIGHTS_FILE} have not as many pieces")
        return Encoder(pieces, tensors, shape, layers)
    except KeyError as error:
        raise ValueError(f"{folder / WEIGHTS_FILE}: it has no tensor {error}") from error


def tensors_of(path: Path) -> dict[str, Array]:
    """The float32 tensors of a safetensors file, as it lies on disk; names without the model's own prefix.
    The file is eight bytes of length, that much JSON, then numbers. ValueError if it is anything else."""
    if path.stat().st_size <= LENGTH_BYTES:
        raise ValueError(f"{path}: it is no safetensors file")
    raw = np.memmap(path, np.uint8, "r")
    length = int.from_bytes(bytes(raw[:LENGTH_BYTES]), "little")
    if not 0 < length <= min(HEADER_BYTES_MAX, len(raw) - LENGTH_BYTES):
        raise ValueError(f"{path}: it is no safetensors file")
    try:
        header = _HEADER.decode(bytes(raw[LENGTH_BYTES:][:length]))
        told = {name: msgspec.convert(one, _Told) for name, one in header.items() if name != METADATA}
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: its header is not that of a safetensors file") from error
    data = raw[LENGTH_BYTES + length :]
    return {name.removeprefix("bert."): _tensor(data, one) for name, one in told.items() if one.dtype == FLOAT}


def _tensor(data: NDArray[np.uint8], told: _Told) -> Array:
    start, end = told.data_offsets
    return data[start:end].view("<f4").reshape(told.shape)


def _shape(path: Path) -> Shape:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Shape)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path}: it is no configuration of a BERT encoder") from error


def _layer(tensors: Mapping[str, Array], name: str, shape: Shape) -> _Layer:
    asked = [_dense(tensors, f"{name}.attention.self.{part}") for part in ("query", "key", "value")]
    return _Layer(
        _Dense(np.hstack([one.weight for one in asked]), np.hstack([one.bias for one in asked])),
        _dense(tensors, f"{name}.attention.output.dense"),
        _norm(tensors, f"{name}.attention.output.LayerNorm", shape),
        _dense(tensors, f"{name}.intermediate.dense"),
        _dense(tensors, f"{name}.output.dense"),
        _norm(tensors, f"{name}.output.LayerNorm", shape),
        shape.num_attention_heads,
    )


def _dense(tensors: Mapping[str, Array], name: str) -> _Dense:
    return _Dense(np.ascontiguousarray(tensors[f"{name}.weight"].T), tensors[f"{name}.bias"])


def _norm(tensors: Mapping[str, Array], name: str, shape: Shape) -> _Norm:
    return _Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"], shape.layer_norm_eps)


def _softmax(scores: Array) -> Array:
    raised: Array = np.exp(scores - scores.max(axis=-1, keepdims=True))
    raised /= raised.sum(axis=-1, keepdims=True)
    return raised


def _gelu(states: Array) -> Array:
    risen: Array = states * np.float32(0.5) * (1 + _erf(states * np.float32(math.sqrt(0.5))))
    return risen


def _erf(values: Array) -> Array:
    """Abramowitz and Stegun 7.1.26: wrong by 1.5e-7 at most. numpy has none of its own."""
    size = np.abs(values)
    t = 1 / (1 + np.float32(0.3275911) * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    found: Array = np.copysign(1 - series * np.exp(-size * size), values)
    return found
