"""Scores of texts by injection models that saw nothing of their source: made by the trainer, once, and kept."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from evaluation.corpora import INJECTION, ROOT

TRAINER = ROOT / "tools" / "train_injection.py"
SUMS = ROOT / "tools" / "train_injection" / "corpora.sha256"
KEPT = ROOT / ".cache" / "evaluation"
OF_A_MODEL = (
    "tools/train_injection*",
    "tools/train_injection/**/*",
    "services/shield/llmproxy/shield/injection/**/*",
    "libs/common/llmproxy/common/views*.py",
    "libs/common/llmproxy/common/signatures*",
    "libs/common/native/*.[ch]",
)
"""What the scores depend on, beside the texts."""


def are_known(folder: Path, sums: Path) -> bool:
    """Whether the shipped model was trained on any of these files, going by `sums` (as `sha256sum` writes it)."""
    known = {line.split()[0] for line in sums.read_text("utf-8").splitlines()} if sums.is_file() else set()
    return any(_digest([folder / name]) in known for name in INJECTION if (folder / name).is_file())


def scores(folder: Path) -> Path | None:
    """The file of them, or none where the trainer could not make it: it says why."""
    kept = KEPT / f"held-out-{_digest(_made_from(folder))[:16]}.jsonl"
    if not kept.is_file():
        print("injection, cross-validation with whole sources held out (once, some two minutes) …", file=sys.stderr)
        KEPT.mkdir(parents=True, exist_ok=True)
        made = kept.with_suffix(".new")
        command = [Path(sys.executable).with_name("uv"), "run", "--frozen", "--inexact", "--all-packages", "--group", "train"]  # fmt: skip
        command += ["python", TRAINER, "--corpora", folder, "--held-out", made, "--keep"]
        try:
            subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"UV_PROJECT_ENVIRONMENT": sys.prefix})
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"skipped: the trainer did not get through ({error})", file=sys.stderr)
            return None
        made.replace(kept)
    return kept


def _made_from(folder: Path) -> Iterable[Path]:
    yield from sorted(folder.glob("injection*.jsonl.gz"))
    for pattern in OF_A_MODEL:
        yield from sorted(one for one in ROOT.glob(pattern) if one.is_file() and one.suffix not in {".pyc", ".md"})


def _digest(files: Iterable[Path]) -> str:
    together = hashlib.sha256()
    for file in files:
        together.update(file.read_bytes())
    return together.hexdigest()
