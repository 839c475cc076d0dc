"""Trains the head of the embedding stage and writes it and its model card. Same seed, data and encoder, same bytes.

    uv run --group train python tools/train_embedding.py --encoder FOLDER [--corpora ../shared/corpora/dev]

FOLDER holds all-MiniLM-L6-v2 as it is published: model.safetensors, vocab.txt, config.json. The encoder stays as it is; what is
trained is a regression over its pooled token states, and one over that and the injection model. Train the injection model first.
"""

# ruff: noqa: S311, T201 - chance is for training data here, and this is a program for a terminal.

import argparse
import hashlib
import random
import sys
from pathlib import Path

import numpy as np
import train_injection as cheaper
from msgspec import Struct
from sklearn.linear_model import LogisticRegression
from train_injection import CARD, FOLDS, OWN, ROOT, SEED, Data, area, at_rate, interval

from llmproxy.common.policy import Injection
from llmproxy.shield.embedding import encoder, head
from llmproxy.shield.embedding.head import PARTS, Head, Header
from llmproxy.shield.embedding.stage import WEIGHTS_FILE, Question, Stage, is_readable
from llmproxy.shield.injection import model

PACKAGE = ROOT / "services/shield/llmproxy/shield/embedding"
TEMPLATE = Path(__file__).with_suffix("") / "card.md"
EMBEDDING_CARD = CARD.with_name("embedding.md")

LAYERS = 4  # Of six: the last ones speak of what a text is about, which is not the question.
REGULARISATION = 0.002
OWN_WEIGHT = 1.0
PROGRESS_EVERY = 2_000
REST = 0.35  # Of judged texts that nobody would ask about, so many are trained with;
SHARES = {"own-phrases": 0.1, "synthetic-carriers2": 0.2, "synthetic-templates": 0.3}  # of repetitive ones so many,
INSERTED = 0.3  # and of attacks inside documents.


class Asked(Struct, frozen=True):
    """A text as the stage is asked about it, and for how many it stands."""

    row: int
    question: Question
    weight: float


def questions(data: Data, seen: cheaper.Seen, logits: np.ndarray, low: float, high: float) -> list[Asked]:
    """Of judged texts the most suspicious view, if it is one that the stage would be asked about; of the others a few."""
    chance = random.Random(SEED)
    found = []
    for at in cheaper._worst_views(np.array(seen.owner), logits):
        row, place, probability = seen.owner[at], seen.places[at], float(1 / (1 + np.exp(-logits[at])))
        question = None if place is None else Question(data.rows[row]["text"], *place, probability)
        if question is None or not is_readable(question):
            continue
        if low <= probability < high:
            found.append(Asked(row, question, 1.0))
        elif chance.random() < REST:
            found.append(Asked(row, question, 1 / REST))
    for row in np.flatnonzero(~data.judged & (data.weight > 0)):
        share = SHARES.get(data.source[row], 1.0) * (INSERTED if data.inserted[row] else 1.0)
        if chance.random() >= share:
            continue
        looked = model.shipped().look(data.rows[row]["text"])
        question = Question(data.rows[row]["text"], looked.start, looked.end, looked.probability)
        if not looked.view.via and is_readable(question):
            found.append(Asked(int(row), question, 1 / share))
    return found


def pooled(own: encoder.Encoder, asked: list[Asked]) -> np.ndarray:
    """What the encoder says of each."""
    stage = Stage(own, Head(_header("", 0.0, 1.0, 1.0, 0.0, own.size), np.zeros(PARTS * own.size, np.float32)))
    states = np.empty((len(asked), PARTS * own.size), np.float32)
    for number, one in enumerate(asked):
        states[number] = head.pooled(own.states(stage.numbers(one.question)))
        if number % PROGRESS_EVERY == 0:
            print(f"{number} of {len(asked)} texts", file=sys.stderr)
    return states


def _header(digest: str, bias: float, first: float, second: float, intercept: float, size: int) -> Header:
    return Header(version=1, encoder=digest, layers=LAYERS, size=size, bias=bias, first=first, second=second, intercept=intercept)  # fmt: skip


def fit(states: np.ndarray, is_attack: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and bias; attacks together weigh as much as all that is harmless."""
    middle, spread = states.mean(0), states.std(0) + 1e-6
    weight = weight.copy()
    weight[~is_attack] *= weight[is_attack].sum() / weight[~is_attack].sum()
    learned = LogisticRegression(C=REGULARISATION, max_iter=60)
    learned.fit((states - middle) / spread, is_attack, sample_weight=weight)
    weights = learned.coef_[0] / spread
    return weights.astype(np.float32), float(learned.intercept_[0] - middle @ weights)


def together(
    first: np.ndarray, second: np.ndarray, is_attack: np.ndarray, weight: np.ndarray
) -> tuple[float, float, float]:
    """How both opinions count, and the intercept."""
    learned = LogisticRegression(C=1.0, max_iter=1000)
    learned.fit(np.c_[first, second], is_attack, sample_weight=weight)
    return float(learned.coef_[0][0]), float(learned.coef_[0][1]), float(learned.intercept_[0])


def card(data: Data, before: np.ndarray, after: np.ndarray, asked: np.ndarray, digest: str, own: str) -> str:
    """Figures of the injection model alone and with this stage, on the same held-out texts."""
    benign, core = data.judged & ~data.attack, data.judged & data.core
    shipped = Injection().user
    ordinary, hard = benign & (data.category == "benign"), benign & (data.category == "hard-benign")
    lower = {name: at_rate(before[rows], (after[rows] >= shipped).mean()) for name, rows in (("ordinary", ordinary),)}

    def line(name: str, rows: np.ndarray) -> str:
        cells = [interval(x[rows] >= shipped) for x in (before, after)]
        same = interval(before[rows] > lower["ordinary"])
        for rate in (0.01, 0.05):
            cells += [interval(x[rows] > at_rate(x[benign], rate)) for x in (before, after)]
        return f"| {name} | {rows.sum()} | {cells[0]} | {cells[1]} | {same} | {' | '.join(cells[2:])} |"

    def false(name: str, rows: np.ndarray) -> str:
        cells = [interval(x[rows] >= shipped) for x in (before, after)]
        return f"| {name} | {rows.sum()} | {interval(asked[rows])} | {' | '.join(cells)} |"

    lines = [line("all core", core)]
    lines += [
        line(c, core & (data.category == c))
        for c in sorted(set(data.category[core]))
        if (core & (data.category == c)).sum() >= 40
    ]
    lines += [line(f"language {t}", core & (data.language == t)) for t in ("en", "ko", "ru", "de", "zh")]
    return TEMPLATE.read_text("utf-8").format(
        seed=SEED, folds=FOLDS, layers=LAYERS, encoder=digest, digest=own, shipped=shipped,
        low=Injection().embedding.low, table="\n".join(lines), harmless="\n".join([false("ordinary", ordinary), false("hard", hard)]),
        asked=interval(asked[core]), before=f"{area(before[core], before[benign]):.3f}", after=f"{area(after[core], after[benign]):.3f}",
    )  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--encoder", type=Path, required=True)
    arguments.add_argument("--corpora", type=Path, default=ROOT.parent / "shared/corpora/dev")
    given = arguments.parse_args()
    if not given.corpora.is_dir():
        print(f"skipped: no corpora in {given.corpora}")
        return
    wanted = Injection()
    data, words, matcher = cheaper.gathered(given.corpora)
    fold = cheaper.folds(data)
    seen = cheaper.Seen(data, fold, words, matcher)
    logits = cheaper.held_out_logits(seen, data, fold)
    asked = questions(data, seen, logits, wanted.embedding.low, wanted.user)
    states = pooled(encoder.load(given.encoder, LAYERS), asked)

    row = np.array([one.row for one in asked])
    first = np.array([head.logit_of(one.question.probability) for one in asked])
    weight = data.weight[row] * np.array([one.weight for one in asked])
    own = data.source[row] == OWN
    weight[own] *= OWN_WEIGHT / np.where(
        data.language[row][own] == "en", cheaper.OWN_WEIGHT, cheaper.OWN_FOREIGN_WEIGHT
    )
    weight = np.maximum(weight, cheaper.LEAST_WEIGHT)
    is_attack, is_judged = data.attack[row], data.judged[row] & (data.core[row] | ~data.attack[row])
    second = np.full(len(asked), np.nan)
    for number in range(FOLDS):
        held = fold[row] == number
        weights, bias = fit(states[~held], is_attack[~held], weight[~held])
        second[held] = states[held] @ weights + bias

    before = np.full(len(data.rows), -np.inf)
    np.maximum.at(before, np.array(seen.owner), logits)
    before = 1 / (1 + np.exp(-np.clip(before, -30, 30)))
    after, was_asked = before.copy(), np.zeros(len(data.rows), bool)
    is_unsure = (
        np.array([wanted.embedding.low <= one.question.probability < wanted.user for one in asked]) & data.judged[row]
    )
    for number in range(FOLDS):
        used, held = is_judged & (fold[row] != number), is_unsure & (fold[row] == number)
        one, other, intercept = together(first[used], second[used], is_attack[used], weight[used])
        convicted = 1 / (1 + np.exp(-(one * first[held] + other * second[held] + intercept)))
        after[row[held]] = np.where(convicted >= wanted.user, convicted, before[row[held]])
        was_asked[row[held]] = True

    weights, bias = fit(states, is_attack, weight)
    one, other, intercept = together(first[is_judged], second[is_judged], is_attack[is_judged], weight[is_judged])
    with (given.encoder / WEIGHTS_FILE).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    packed = head.pack(_header(digest, bias, one, other, intercept, states.shape[1] // PARTS), weights)
    head.read(packed)
    (PACKAGE / head.HEAD).write_bytes(packed)
    text = card(data, before, after, was_asked, digest, hashlib.sha256(packed).hexdigest())
    EMBEDDING_CARD.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
