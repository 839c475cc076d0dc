"""A BERT of a few numbers, in the files that real ones come in."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from llmproxy.shield.embedding import head

SIZE, HEADS, WIDE, LAYERS = 8, 2, 12, 2
VOCABULARY = ["[UNK]", "[CLS]", "[SEP]", "the", "##n", "order", "."]


def tiny_tensors(seed: int, places: int = 16) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    shapes = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), SIZE),
        "embeddings.position_embeddings.weight": (places, SIZE),
        "embeddings.token_type_embeddings.weight": (2, SIZE),
    } | _norm("embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            shapes |= _dense(f"{at}.attention.self.{part}", SIZE, SIZE)
        shapes |= _dense(f"{at}.attention.output.dense", SIZE, SIZE) | _norm(f"{at}.attention.output.LayerNorm")
        shapes |= _dense(f"{at}.intermediate.dense", WIDE, SIZE) | _dense(f"{at}.output.dense", SIZE, WIDE)
        shapes |= _norm(f"{at}.output.LayerNorm")
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _dense(name: str, out: int, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, size), f"{name}.bias": (out,)}


def _norm(name: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (SIZE,), f"{name}.bias": (SIZE,)}


def tiny_folder(folder: Path, seed: int = 0, *, prefix: str = "", places: int = 16) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tiny_tensors(seed, places).items():
        raw = tensor.tobytes()
        header[prefix + name] = {
            "dtype": "F32",
            "shape": tensor.shape,
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    header["embeddings.position_ids"] = {"dtype": "I64", "shape": [1], "data_offsets": [len(data), len(data) + 8]}
    said = json.dumps(header).encode()
    said += b" " * (-len(said) % 8)  # So that numbers lie where numbers may.
    (folder / "model.safetensors").write_bytes(len(said).to_bytes(8, "little") + said + data + bytes(8))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", "utf-8")
    shape = {"num_attention_heads": HEADS, "hidden_size": SIZE, "num_hidden_layers": LAYERS, "vocab_size": 7}
    (folder / "config.json").write_text(json.dumps(shape), "utf-8")
    return folder


def tiny_head(encoder: str, *, packed: bool = False) -> Any:
    """The head itself, or its file."""
    random = np.random.default_rng(9)
    header = head.Header(
        version=1, encoder=encoder, layers=LAYERS, size=SIZE, bias=0.1, first=0.5, second=0.5, intercept=0.0
    )
    data = head.pack(header, random.normal(size=head.PARTS * SIZE).astype(np.float32))
    return data if packed else head.read(data)
