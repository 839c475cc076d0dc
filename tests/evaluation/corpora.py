"""The labelled texts, read where they are: nothing of them is copied, and what is not there is skipped by name."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CORPORA = ROOT.parent / "shared" / "corpora" / "dev"
INJECTION = ("injection.jsonl.gz", "injection_extra.jsonl.gz")
ENCODED, PII, SECRETS = "injection_encoded.jsonl.gz", "pii.jsonl.gz", "secrets.jsonl.gz"

Row = dict[str, Any]


def rows(folder: Path, name: str) -> list[Row]:
    """Empty when the file is not there."""
    path = folder / name
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def injection(folder: Path) -> list[Row]:
    """What detectors are judged on. Generated rows repeat themselves, and weak labels are guesses: neither is here."""
    return [row for name in INJECTION for row in rows(folder, name) if not row.get("weak") and not is_generated(row)]


def is_generated(row: Row) -> bool:
    return str(row["source"]).startswith("synthetic-") or str(row.get("sub", "")).startswith("template")


@dataclass(frozen=True)
class Judged:
    """A text with its score."""

    id: str
    is_attack: bool
    is_core: bool  # The text alone says that it is an attack.
    category: str
    language: str
    source: str
    score: float


def judged(found: list[Row], scores: dict[str, float]) -> Iterator[Judged]:
    """Those that have a score."""
    for row in found:
        if row["id"] in scores:
            yield Judged(
                id=row["id"],
                is_attack=row["label"] == "attack",
                is_core=bool(row.get("core")),
                category=row["category"],
                language=row.get("lang") or "?",
                source=row["source"],
                score=scores[row["id"]],
            )


def scores(file: Path) -> dict[str, float]:
    """Scores by models that saw nothing of a text's source: a line {"id", "score"} each."""
    with file.open("rb") as lines:
        return {row["id"]: float(row["score"]) for row in map(json.loads, lines)}
