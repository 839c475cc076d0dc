"""Trains the injection model and writes its weights and its model card. Same seed and data, same bytes.

    uv run --group train python tools/train_injection.py [--corpora ../shared/corpora/dev]
    uv run --group train python tools/train_injection.py --splits 5   # figures alone, over five ways of parting the sources
    uv run --group train python tools/train_injection.py --held-out FILE --keep   # held-out scores alone, for `make eval`

Figures come from cross-validation with whole sources held out: every judged text is scored by the gateway's own code with weights
that saw nothing of its source. Nothing of the corpora is written anywhere but hashed into weights; own/ and phrases.txt are our own.
"""

# ruff: noqa: S311, T201 - chance is for training data here, and this is a program for a terminal.

import argparse
import gzip
import hashlib
import json
import random
import re
import sys
from array import array
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from llmproxy.common import signatures
from llmproxy.common.views import View, views
from llmproxy.shield.injection.model import (
    ALONE_COST,
    DECODED_CHARS_MAX,
    WEIGHTS,
    Evidence,
    Header,
    Model,
    characters,
    pack,
    read,
    without_talk,
)
from llmproxy.shield.injection.windows import (
    COUNT_MIN,
    ENTRY_BYTES,
    FEATURES,
    FILTER_BYTES,
    WEIGHT_BYTES,
    Reader,
    fold,
    word_key,
)

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "services/shield/llmproxy/shield/injection"
CARD = ROOT / "docs/models/injection.md"
HERE = Path(__file__).with_suffix("")
SUMS = HERE / "corpora.sha256"
"""What the weights were trained on, as `sha256sum` writes it: `make eval` asks it whether a text is new to them."""

FILES = ("injection.jsonl.gz", "injection_extra.jsonl.gz", "injection_extra_weak.jsonl.gz")

SEED = 7
FOLDS = 5
SPREAD, PLACES_SPREAD = 0.7, 0.03  # How far the order of sources and their folds differ from one split to another.
LATER = ("signatures_jailbreaks.yaml", "signatures_agents.yaml", "signatures_worldwide.yaml")
"""Written when what is missed in these rows had been read: their matches say nothing of what a match is worth elsewhere."""

REGULARISATION, TEXTS_REGULARISATION, RULES_REGULARISATION = 10.0, 100.0, 3.0
ROUNDS = 2  # Of choosing, for a long attack, the window that holds it.
CHARS_MAX = 8_000
BENIGN_WINDOWS_MAX = 6  # Of one text, in training.
CARRIER_CHARS_MAX, SHORT_CHARS_MAX, AROUND_CHARS_MAX = 1_500, 400, 250
PHRASES_OF_A_TEMPLATE = 25
SOURCE_POWER, SOURCE_ROWS = 0.3, 30  # A source with many attacks counts less than its number says.
ORDINARY_MAX, HARD_MAX = 0.007, 0.035  # Of harmless texts that the proposed threshold may flag.
MEANINGS_MAX = 32
TABLE_LOAD_MAX = 0.5
LEAST_WEIGHT = 1e-6  # Of what is judged and not trained on.
SOURCE_JUDGED_MIN = 8
STEPS_MAX = 32_000  # Of a weight, in 16 bits.

LICENCES = ("MIT", "Apache-2.0", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "BSD-3-Clause", "public record")
# Other people's prompts in an MIT repository: judged on, not trained on.
INTERNAL = frozenset({"chatgpt_system_prompt"})
OWN, DOCUMENTS = "own", "own-documents"
GENERATED = frozenset({"synthetic-templates", "synthetic-carriers2", "own-phrases"})  # Repetitive: train, never judge.
GENERATED_WEIGHT, WEAK_WEIGHT, INSERTED_WEIGHT, PHRASES_WEIGHT = 0.4, 0.5, 0.4, 0.1
OWN_WEIGHT, OWN_FOREIGN_WEIGHT = 0.05, 0.2  # Subtle on purpose; where other texts are few they count more.
DOCUMENTS_WEIGHT = 0.3  # Harmless texts that are no attack's twin.
SAME = {"composed(XQuAD+deepset/garak)": "deepset/prompt-injections", "garak": "deepset/prompt-injections",
        "garak(promptinject)": "deepset/prompt-injections", "Giskard-AI/prompt-injections": "deepset/prompt-injections",
        "garak latentinjection": "agent-threat-rules", "arXiv abstracts (via agent-threat-rules)": "agent-threat-rules"}  # fmt: skip
"""Sources that share attack strings are held out together."""
CARRIERS = ("XQuAD", "tldr-pages", "FastAPI docs", "ABCD", "BIPIA", "GPTeacher-codegen", "GSM8K", "MGSM", "self-instruct",
            "BFCL", "CrossWOZ", "Open-Assistant", "Banking77", "ko-redteam")  # fmt: skip

Row = dict[str, Any]


# -- data


def read_rows(folder: Path) -> list[Row]:
    rows: list[Row] = []
    for name in FILES:
        with gzip.open(folder / name, "rt", encoding="utf-8") as lines:
            rows += (json.loads(line) for line in lines)
    return [row for row in rows if any(row["licence"].startswith(licence) for licence in LICENCES)]


def own_rows() -> list[Row]:
    rows: list[Row] = []
    for path in sorted((HERE / "own").glob("*.jsonl")):
        source = DOCUMENTS if path.name.startswith("documents_") else OWN
        read = map(json.loads, path.read_text("utf-8").splitlines())
        rows += [{**row, "core": row["label"] == "attack", "source": source} for row in read]
    return rows


def phrases(chance: random.Random) -> list[Row]:
    """phrases.txt with its slots filled."""
    slots: dict[str, list[str]] = {}
    rows: list[Row] = []
    for line in (HERE / "phrases.txt").read_text("utf-8").splitlines():
        if line[:2] not in ("+ ", "- "):
            name, is_slot, terms = line.partition(" = ")
            if is_slot:
                slots[name] = terms.split(" | ")
            continue
        seen = set()
        for _ in range(PHRASES_OF_A_TEMPLATE if "{" in line else 3):
            text = re.sub(r"\{(\w+)\}", lambda slot: chance.choice(slots[slot[1]]).strip(" |"), line[2:])
            text = text[0].upper() + text[1:] if chance.random() < 0.25 else text
            if text not in seen:
                seen.add(text)
                rows.append(_phrase(text, line[0] == "+"))
    return rows


def _phrase(text: str, is_attack: bool) -> Row:
    label, category = ("attack", "direct") if is_attack else ("benign", "benign")
    return {
        "text": text,
        "label": label,
        "category": category,
        "core": is_attack,
        "lang": "en",
        "source": "own-phrases",
    }


def inserted(rows: list[Row], chance: random.Random) -> list[Row]:
    """Short attacks inside harmless documents, as an indirect injection comes; of the document what stands around them."""
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
        same = by_language.get(row["lang"]) if chance.random() < 0.7 else None
        document = chance.choice(same or carriers)["text"][:CARRIER_CHARS_MAX]
        cut = chance.choice([m.end() for m in re.finditer(r"[.!?。！？]\s|\n", document)] or [len(document)])
        before = document[:cut][-chance.randrange(AROUND_CHARS_MAX) :]
        after = document[cut:][: chance.randrange(AROUND_CHARS_MAX)]
        gap = chance.choice([" ", " ", "\n", "\n\n"])
        made.append({**row, "text": before + gap + row["text"] + gap + after, "inserted": True})
    return made


class Data:
    """Rows as windows of features."""

    def __init__(self, rows: list[Row], reader: Reader) -> None:
        self.rows = rows
        self.source = np.array([SAME.get(r["source"], "project docs" if r["source"].startswith("project") else r["source"]) for r in rows])  # fmt: skip
        self.category = np.array([r["category"] for r in rows])
        self.language = np.array([r["lang"] for r in rows])
        self.attack = np.array([r["label"] == "attack" for r in rows])
        self.inserted = np.array([bool(r.get("inserted")) for r in rows])
        self.weak = np.array([bool(r.get("weak")) for r in rows])
        self.core = np.array([bool(r.get("core")) for r in rows]) & ~self.weak
        self.generated = np.isin(self.source, [*GENERATED, OWN, DOCUMENTS])
        self.judged = ~self.inserted & ~self.generated & ~self.weak
        self.windows, self.row, self.texts = _read(rows, reader)
        self.weight = self._weights()

    def _weights(self) -> np.ndarray:
        weight = np.ones(len(self.rows))
        weight[np.isin(self.source, list(GENERATED))] = GENERATED_WEIGHT
        weight[self.source == "own-phrases"] = PHRASES_WEIGHT
        weight[self.source == OWN] = OWN_WEIGHT
        weight[(self.source == OWN) & (self.language != "en")] = OWN_FOREIGN_WEIGHT
        weight[self.source == DOCUMENTS] = DOCUMENTS_WEIGHT
        weight[self.weak] = WEAK_WEIGHT
        weight[self.attack & ~self.core & ~self.weak] = 0.0  # The text alone does not say that it is an attack.
        weight[self.inserted] *= INSERTED_WEIGHT
        for source, count in Counter(self.source[self.attack & self.core & ~self.inserted]).items():
            if source != OWN:
                weight[(self.source == source) & self.attack] *= (SOURCE_ROWS / max(count, SOURCE_ROWS)) ** SOURCE_POWER
        weight[np.isin(self.source, list(INTERNAL))] = 0.0
        return weight

    def worst(self, scores: np.ndarray) -> np.ndarray:
        worst = np.full(len(self.rows), -np.inf)
        np.maximum.at(worst, self.row, scores)
        return worst


def _read(rows: list[Row], reader: Reader) -> tuple[sp.csr_matrix, np.ndarray, sp.csr_matrix]:
    """A line for each window (two blocks) with the number of its row, and one for each row: every feature once."""
    windows, owners, texts = [], [], []
    for number, row in enumerate(rows):
        blocks = [
            np.array(one, np.int32) for one in reader.blocks(fold(row["text"][:CHARS_MAX]).encode("utf-8", "replace"))
        ] or [np.zeros(0, np.int32)]
        for index in range(max(1, len(blocks) - 1)):
            windows.append(np.concatenate(blocks[index : index + 2]))
            owners.append(number)
        texts.append(np.unique(np.concatenate(blocks)))
    return _matrix(windows), np.array(owners), _matrix(texts)


def _matrix(lines: list[np.ndarray]) -> sp.csr_matrix:
    """The features of each line over the root of how many they are, as windows.c has it."""
    lengths = np.array([len(one) for one in lines])
    values = np.repeat(1 / np.sqrt(np.maximum(lengths, COUNT_MIN)), lengths).astype(np.float32)
    ends = np.r_[0, np.cumsum(lengths)]
    matrix = sp.csr_matrix((values, np.concatenate(lines), ends), shape=(len(lines), FEATURES))
    matrix.sum_duplicates()
    return matrix


# -- words


def table() -> tuple[bytes, bytes]:
    """lexicon.txt and families.txt as the native reader wants them: what words mean by open addressing, and a filter."""
    meanings: dict[int, int] = defaultdict(int)
    families: dict[int, int] = {}
    concepts: list[str] = []
    for line in (HERE / "lexicon.txt").read_text("utf-8").splitlines():
        if not line or line.startswith("# "):
            continue
        concept, *terms = line.split()
        if concept not in concepts:
            concepts.append(concept)
        for term in terms:
            plain = fold(term)
            is_stem = plain.endswith("*") and len(plain) > 2
            meanings[_key(plain[:-1] if is_stem else plain, is_stem)] |= 1 << concepts.index(concept)
    assert len(concepts) <= MEANINGS_MAX, "the feature numbers have no room for more concepts"
    lines = [line for line in (HERE / "families.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    for number, line in enumerate(lines):
        families.update({_key(word, False): number + 1 for word in line.split()})
    keys = sorted({*meanings, *families})
    slots = 1 << int(np.ceil(np.log2(len(keys) / TABLE_LOAD_MAX)))
    entries, known = bytearray(slots * ENTRY_BYTES), bytearray(FILTER_BYTES)
    for key in keys:
        at = (key >> 20) & (slots - 1)
        while entries[at * ENTRY_BYTES : at * ENTRY_BYTES + 8] != bytes(8):
            at = (at + 1) & (slots - 1)
        entry = key.to_bytes(8, "little") + array("I", [meanings.get(key, 0), families.get(key, 0)]).tobytes()
        entries[at * ENTRY_BYTES : (at + 1) * ENTRY_BYTES] = entry
        known[(key >> 4 & 0xFFFF) >> 3] |= 1 << (key >> 4 & 7)
    return bytes(entries), bytes(known)


def _key(word: str, is_stem: bool) -> int:
    raw = word.encode()
    return int(word_key(raw, len(raw), is_stem))


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
    weights = np.zeros(FEATURES, np.float32)
    weights[columns] = model.coef_[0]
    return weights, float(model.intercept_[0])


def fit_texts(data: Data, used: np.ndarray) -> tuple[np.ndarray, float]:
    """The same for whole texts, of which each is as it came: none that was put into a document."""
    chosen = used & (data.weight > 0) & ~data.inserted & (np.diff(data.texts.indptr) > 0)
    weight, is_attack = data.weight[chosen], data.attack[chosen]
    weight[~is_attack] *= weight[is_attack].sum() / weight[~is_attack].sum()
    columns = np.unique(data.texts[chosen].indices)
    model = LogisticRegression(C=TEXTS_REGULARISATION, max_iter=100, tol=1e-4)
    model.fit(data.texts[chosen][:, columns], is_attack, sample_weight=weight)
    weights = np.zeros(FEATURES, np.float32)
    weights[columns] = model.coef_[0]
    return weights, float(model.intercept_[0])


class Weights(NamedTuple):
    """Of windows and of whole texts, as a weights file has them."""

    steps: bytes
    scale: float
    bias: float
    whole_scale: float
    whole_bias: float


def fitted(data: Data, used: np.ndarray) -> Weights:
    weights, bias = fit(data, used, np.random.default_rng(SEED))
    whole_weights, whole_bias = fit_texts(data, used)
    scale, steps = quantised(weights)
    whole_scale, whole_steps = quantised(whole_weights)
    return Weights(np.stack([steps, whole_steps], 1).tobytes(), scale, bias, whole_scale, whole_bias)


def quantised(weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The step, and 16 bits for each weight."""
    scale = float(np.abs(weights).max()) / STEPS_MAX
    return scale, np.round(weights / scale).astype("<i2")


def header_of(weights: Weights, **fields: Any) -> Header:
    return Header(
        version=4,
        scale=weights.scale,
        bias=weights.bias,
        whole_scale=weights.whole_scale,
        whole_bias=weights.whole_bias,
        **fields,
    )


def folds(data: Data, split: int = 0) -> np.ndarray:
    """Whole sources to folds, each with about as many attacks and as many harmless texts; generated rows to none. Splits
    other than the first are as good ones, by chance."""
    chance = np.random.default_rng(split)
    load = np.zeros((FOLDS, 2))
    placed: dict[str, int] = {}
    judged = data.judged
    sources = sorted(Counter(data.source[judged]).items(), key=lambda item: (-item[1], item[0]))
    if split:
        large = {source: count * chance.lognormal(0, SPREAD) for source, count in sources}
        sources.sort(key=lambda item: -large[item[0]])
    for source, _ in sources:
        own = judged & (data.source == source)
        share = np.array(
            [
                (own & data.core).sum() / (judged & data.core).sum(),
                (own & ~data.attack).sum() / (judged & ~data.attack).sum(),
            ]
        )
        noise = chance.uniform(0, PLACES_SPREAD, FOLDS) if split else np.zeros(FOLDS)
        placed[source] = int(np.argmin((load + share).max(1) + noise))
        load[placed[source]] += share
    return np.array([placed.get(source, -1) for source in data.source])


class Seen:
    """What the gateway's code sees of each judged text, view by view, with weights that saw nothing of its source."""

    def __init__(self, data: Data, fold: np.ndarray, words: tuple[bytes, bytes], matcher: signatures.Matcher) -> None:
        self.owner: list[int] = []
        score: list[float] = []
        rules: list[frozenset[str]] = []
        learned: list[frozenset[str]] = []
        alone: list[bool] = []
        self.places: list[tuple[int, int] | None] = []  # Of the worst window; None where it was decoded first.
        for number in range(FOLDS):
            weights = fitted(data, fold != number)
            header = header_of(weights, slope=1, intercept=0, rules={}, several=0, entries=0, threshold=1)
            model = Model(header, Reader(*words, weights.steps), matcher)
            for at in np.flatnonzero((fold == number) & data.judged):
                for view, seen in evidence(model, data.rows[at]["text"]):
                    self.owner.append(int(at))
                    self.places.append(None if view.via else characters(view.text, seen.start, seen.end))
                    score.append(model.score(seen))
                    rules.append(seen.rules)
                    learned.append(rules_without_later(seen))
                    alone.append(seen.alone)
            print(f"fold {number + 1} of {FOLDS}", file=sys.stderr)
        self.alone = np.array(alone)  # Sentences by themselves: judged, and not learned from.
        self.names = sorted({name for one in rules for name in one})
        self.table = self._table(score, rules)
        self.learned = self._table(score, learned)

    def _table(self, score: list[float], rules: list[frozenset[str]]) -> np.ndarray:
        column = {name: 1 + at for at, name in enumerate(self.names)}
        table = np.zeros((len(score), 2 + len(column)))
        table[:, 0] = np.maximum(score, -20)
        for at, one in enumerate(rules):
            table[at, [column[name] for name in one]] = 1
        # The last column: how many there are beside the first.
        table[:, -1] = np.maximum(table[:, 1:-1].sum(1) - 1, 0)
        return table


@cache
def learned_from() -> dict[str, signatures.Signature]:
    """The signatures that weights are learned from, by id."""
    later = {one.id for name in LATER for one in signatures.read(name).signatures}
    return {one.id: one for one in signatures.shipped().signatures if one.id not in later}


def rules_without_later(seen: Evidence) -> frozenset[str]:
    """What rules would match without the signatures of LATER."""
    found = [learned_from()[id] for id in seen.hits if id in learned_from()]
    names = ((f"{one.category}.{one.severity}", f"{one.category}.medium") for one in found)
    return frozenset(name if name in seen.rules else less for name, less in names)


def evidence(model: Model, text: str) -> list[tuple[View, Evidence]]:
    """Of each view, without what it only speaks of, what speaks for an injection in all of it and in single sentences."""
    plain = [View(without_talk(view.text) or view.text, view.via) for view in views(text, chars_max=DECODED_CHARS_MAX)]
    return [(view, seen) for view in plain for seen in model.readings(view.text)]


def weigh(seen: Seen, data: Data, fold: np.ndarray, used: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Slope, intercept and the rules' weights, from the worst view of each text; so that the logit is calibrated."""
    owner = np.array(seen.owner)
    worst = _worst_views(owner, np.where(seen.alone, -np.inf, seen.learned[:, 0] + 3 * seen.learned[:, 1:].any(1)))
    chosen = worst[used[owner[worst]] & (data.core | ~data.attack)[owner[worst]]]
    model = LogisticRegression(C=RULES_REGULARISATION, max_iter=1000)
    weight = np.maximum(data.weight[owner[chosen]], LEAST_WEIGHT)
    model.fit(seen.learned[chosen], data.attack[owner[chosen]], sample_weight=weight)
    coefficients = model.coef_[0]
    rules = np.maximum(coefficients[1:], 0)
    # What is said more plainly is not weaker, though prompts that guard themselves say it, too.
    for at, name in enumerate(seen.names):
        category, _, severity = name.partition(".")
        if severity == "high" and f"{category}.medium" in seen.names:
            rules[at] = max(rules[at], rules[seen.names.index(f"{category}.medium")])
    return float(coefficients[0]), float(model.intercept_[0]), rules


def _worst_views(owner: np.ndarray, score: np.ndarray) -> np.ndarray:
    order = np.lexsort((score, owner))
    return order[np.r_[owner[order][1:] != owner[order][:-1], True]]


def logits(seen: Seen, slope: float, intercept: float, rules: np.ndarray) -> np.ndarray:
    return seen.table[:, 0] * slope + intercept + seen.table[:, 1:] @ rules - ALONE_COST * seen.alone


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


def compare(data: Data, words: tuple[bytes, bytes], matcher: signatures.Matcher, splits: int) -> None:
    """Prints the figures of each split, and their mean and spread: what is better is so in all of them."""
    lines = []
    for split in range(splits):
        fold = folds(data, split)
        lines.append(headline(data, held_out(Seen(data, fold, words, matcher), data, fold)))
        print(split, *(f"{name} {figure:.1f}" for name, figure in lines[-1].items()), flush=True)
    for name in lines[0]:
        every = [line[name] for line in lines]
        print(f"{name}: {np.mean(every):.1f} (from {min(every):.1f} to {max(every):.1f})")


def headline(data: Data, logit: np.ndarray) -> dict[str, float]:
    """Core attacks found, in percent: at 1 % and 5 % false alarms, as means over sources, and by category at 1 %."""
    benign, core = data.judged & ~data.attack, data.judged & data.core
    one, five = at_rate(logit[benign], 0.01), at_rate(logit[benign], 0.05)
    found = {"at 1 %": np.mean(logit[core] > one), "at 5 %": np.mean(logit[core] > five), "area": area(logit[core], logit[benign])}  # fmt: skip
    large = sources_of(data, core)
    found |= {f"sources at {rate}": np.mean([np.mean(logit[core & own] > limit) for own in large]) for rate, limit in (("1 %", one), ("5 %", five))}  # fmt: skip
    found |= {name: np.mean(logit[core & (data.category == name)] > one) for name in sorted(set(data.category[core]))}
    return {name: 100 * float(figure) for name, figure in found.items()}


def sources_of(data: Data, rows: np.ndarray) -> list[np.ndarray]:
    """The rows of each source that has enough of them."""
    every = [data.source == source for source in sorted(set(data.source[rows]))]
    return [own for own in every if (rows & own).sum() >= SOURCE_JUDGED_MIN]


def card(data: Data, probability: np.ndarray, threshold: float, digest: str) -> str:
    judged, benign = data.judged, data.judged & ~data.attack
    core = judged & data.core
    category, language = data.category, data.language
    one, five = at_rate(probability[benign], 0.01), at_rate(probability[benign], 0.05)
    by_source = sources_of(data, core)
    macro = [100 * np.mean([(probability[core & own] > t).mean() for own in by_source]) for t in (one, five)]

    def line(name: str, rows: np.ndarray) -> str:
        at = (probability[rows] > one, probability[rows] > five, probability[rows] >= threshold)
        return f"| {name} | {rows.sum()} | {' | '.join(map(interval, at))} |"

    def false(name: str, rows: np.ndarray) -> str:
        return f"| {name} | {rows.sum()} | {interval(probability[rows] >= threshold)} |"

    found = [line("all core", core)] + [line(c, core & (category == c)) for c in sorted(set(category[core]))]
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
        own=int((np.isin(data.source, [OWN, DOCUMENTS]) & ~data.inserted).sum()), auc=f"{area(probability[core], probability[benign]):.3f}",
        macro=f"{macro[0]:.1f} % and {macro[1]:.1f} %", sources=len(by_source), threshold=threshold,
        table="\n".join(found), tongues="\n".join(tongues), harmless="\n".join(harmless),
        data="\n".join(f"| {s} | {licence} | {n} |" for (s, licence), n in sources.most_common()),
    )  # fmt: skip


TEMPLATE = (HERE / "card.md").read_text("utf-8")


def gathered(corpora: Path) -> tuple[Data, tuple[bytes, bytes], signatures.Matcher]:
    """All rows, what words mean, and the signatures."""
    chance = random.Random(SEED)
    rows = read_rows(corpora)
    rows += phrases(chance) + own_rows()
    words = table()
    data = Data(rows + inserted(rows, chance), Reader(*words, bytes(WEIGHT_BYTES * FEATURES)))
    return data, words, signatures.matcher(signatures.shipped())


def held_out(seen: Seen, data: Data, fold: np.ndarray) -> np.ndarray:
    """Of each text its worst view's logit; of those that are not judged the least there is."""
    found = np.full(len(data.rows), -np.inf)
    np.maximum.at(found, np.array(seen.owner), held_out_logits(seen, data, fold))
    return found


def held_out_logits(seen: Seen, data: Data, fold: np.ndarray) -> np.ndarray:
    """Of each view, by what was learned without its fold."""
    owner = np.array(seen.owner)
    found = np.empty(len(owner))
    for number in range(FOLDS):
        own = fold[owner] == number
        found[own] = logits(seen, *weigh(seen, data, fold, fold != number))[own]
    return found


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--corpora", type=Path, default=ROOT.parent / "shared/corpora/dev")
    arguments.add_argument("--held-out", type=Path, help="also write the held-out scores (JSONL: id, score) here")
    arguments.add_argument("--keep", action="store_true", help="leave weights and card as they are")
    arguments.add_argument("--splits", type=int, default=0, help="print the figures of so many splits; write nothing")
    given = arguments.parse_args()
    if not given.corpora.is_dir():
        print(f"skipped: no corpora in {given.corpora}")
        return
    data, words, matcher = gathered(given.corpora)
    if given.splits:
        compare(data, words, matcher, given.splits)
        return
    fold = folds(data)
    seen = Seen(data, fold, words, matcher)
    probability = 1 / (1 + np.exp(-np.clip(held_out(seen, data, fold), -30, 30)))
    if given.held_out:
        scored = zip(data.rows, probability, data.judged, strict=True)
        lines = [json.dumps({"id": r["id"], "score": float(p)}) for r, p, is_judged in scored if is_judged]
        given.held_out.write_text("\n".join(lines) + "\n", "utf-8")
    if given.keep:
        return
    ordinary = data.judged & (data.category == "benign")
    hard = data.judged & (data.category == "hard-benign")
    threshold = max(at_rate(probability[ordinary], ORDINARY_MAX), at_rate(probability[hard], HARD_MAX))
    threshold = round(float(np.ceil(threshold * 100) / 100), 2)

    slope, intercept, rules = weigh(seen, data, fold, data.judged)
    weights = fitted(data, np.ones(len(data.rows), bool))
    named = {name: round(float(weight), 4) for name, weight in zip(seen.names, rules[:-1], strict=True)}
    header = header_of(
        weights,
        slope=slope,
        intercept=intercept,
        rules=named,
        several=round(float(rules[-1]), 4),
        entries=len(words[0]),
        threshold=threshold,
    )
    packed = pack(header, *words, weights.steps)
    read(packed, matcher)
    (PACKAGE / WEIGHTS).write_bytes(packed)
    CARD.parent.mkdir(parents=True, exist_ok=True)
    text = card(data, probability, threshold, hashlib.sha256(packed).hexdigest())
    CARD.write_text(text, "utf-8")
    SUMS.write_text("".join(f"{digest(given.corpora / name)}  {name}\n" for name in FILES), "utf-8")
    print(text[: text.index("## What was tried")])
    print(header)


if __name__ == "__main__":
    main()
