"""`make eval`: how often the detectors are right, on labelled public data, with intervals; writes docs/evaluation.md.

The data are looked for in ../shared/corpora/dev; what is not there is skipped by name. On texts that the injection model was trained
on, every text is judged by a model that saw nothing of its source: the trainer makes those scores, once, in some two minutes. On other
texts the shipped model is judged.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import guards
from evaluation import corpora, figures, held_out, injection, spans
from evaluation.corpora import ROOT, Row
from evaluation.figures import Counts
from evaluation.page import Goal, Judges, Results, Spans, goals, page
from msgspec import Raw, json
from rich.console import Console
from rich.table import Table

from llmproxy.common.policy import Policy
from llmproxy.launcher.commands.scan import cores
from llmproxy.shield.scan import Plan, Scanned, Text, scan_all

PAGE = ROOT / "docs" / "evaluation.md"
UNSTRUCTURED = frozenset({"PERSON", "ADDRESS"})
COSTED_TEXTS = 400
MARKS = {True: "[green]met[/]", False: "[red]missed[/]", None: "[yellow]in sample[/]"}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make eval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", type=Path, default=corpora.CORPORA)
    parser.add_argument("--held-out", type=Path, help="JSONL of id and score, in the place of what the trainer makes")
    parser.add_argument(
        "--no-held-out", action="store_true", help="nor ask the trainer: claim nothing where it trained"
    )
    parser.add_argument(
        "--trained-on", type=Path, default=held_out.SUMS, help="SHA-256 of the files that the model knows"
    )
    parser.add_argument("--output", type=Path, default=PAGE)
    parser.add_argument("--texts", type=int, default=COSTED_TEXTS, help="whose CPU is measured (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=cores())
    given = parser.parse_args(arguments)
    if not given.corpora.is_dir():
        print(f"skipped: there are no labelled texts in {given.corpora}; {given.output} stays as it is")
        return 0
    began = time.monotonic()
    scores = given.held_out
    is_known = scores is None and held_out.are_known(given.corpora, given.trained_on)
    if is_known and not given.no_held_out:
        scores = held_out.scores(given.corpora)
    judges = Judges.HELD_OUT if scores else Judges.IN_SAMPLE if is_known else Judges.SHIPPED
    results, skipped = measure(given.corpora, judges, scores, given.processes, given.texts)
    given.output.write_text(page(results, skipped), encoding="utf-8")
    show(goals(results), results, skipped)
    print(f"\n{time.monotonic() - began:.0f} s; all tables are in {given.output}")
    return 0


def measure(folder: Path, judges: Judges, scores: Path | None, processes: int, texts: int) -> tuple[Results, list[str]]:
    say("CPU of the guards")
    cost = guards.measure(texts)  # First: nothing else of ours runs yet.
    encoded = corpora.rows(folder, corpora.ENCODED)
    found, plain = judged(folder, scores, {row["base_id"] for row in encoded}, processes)
    threshold = Policy().injection.threshold("user")
    say("encodings")
    scanned = scan(encoded, ("injection",), processes)
    say("personal data and secrets")
    personal, secrets = (corpora.rows(folder, name) for name in (corpora.PII, corpora.SECRETS))
    both = ("pii", "secrets")  # On credentials too: what one guard takes for personal data there is a false alarm.
    in_personal, in_secrets = scan(personal, both, processes), scan(secrets, both, processes)
    texts = counted(personal, in_personal, is_typed=True)
    of_secrets = by_type(counted(secrets, in_secrets, is_typed=False))
    results = Results(
        judges=judges,
        threshold=threshold,
        mode=Policy().injection.mode,
        rows={"injection": len(found), "encoded": len(encoded), "pii": len(personal), "secrets": len(secrets)},
        detection=injection.detection(found, threshold) if found else None,
        disguises=injection.disguises(encoded, are_caught(scanned, threshold), plain) if encoded else [],
        pii=by_type(texts),
        pii_sources=by_source(personal, texts),
        secrets=of_secrets[-1] if of_secrets else None,
        secret_alarms=figures.caught(
            bool(one.spans) for row, one in zip(secrets, in_secrets, strict=True) if not row["spans"]
        ),
        cost=cost,
    )
    skipped = [
        name
        for name in (*corpora.INJECTION, corpora.ENCODED, corpora.PII, corpora.SECRETS)
        if not (folder / name).is_file()
    ]
    return results, skipped


def judged(
    folder: Path, scores: Path | None, bases: set[str], processes: int
) -> tuple[list[corpora.Judged], dict[str, bool]]:
    """The texts with their scores, and which of the encodings' plain forms the shipped model catches."""
    rows = corpora.injection(folder)
    every = [row for name in corpora.INJECTION for row in corpora.rows(folder, name)]
    wanted = set() if scores else {row["id"] for row in rows}
    say("injection, by the shipped model")
    scanned = scan([row for row in every if row["id"] in wanted | bases], ("injection",), processes)
    plain = are_caught(scanned, Policy().injection.threshold("user"))
    found = corpora.scores(scores) if scores else {json.decode(one.id): one.score for one in scanned}
    return list(corpora.judged(rows, found)), plain


def are_caught(scanned: Iterable[Scanned], threshold: float) -> dict[str, bool]:
    """By the detector as shipped, whatever its mode does about it."""
    return {json.decode(one.id): one.blocked or one.score >= threshold for one in scanned}


def scan(rows: Sequence[Row], names: tuple[str, ...], processes: int) -> list[Scanned]:
    return list(
        scan_all((Text(Raw(json.encode(row["id"])), row["text"]) for row in rows), Plan(guards=names), processes)
    )


def counted(rows: Sequence[Row], scanned: Sequence[Scanned], *, is_typed: bool) -> list[dict[str, Counts]]:
    """Of each text, by type."""
    return [
        spans.counted(
            row["spans"],
            [{"start": span.start, "end": span.end, "type": span.type} for span in one.spans],
            ignored=row.get("ignore_spans") or (),
            is_typed=is_typed,
            leaving_out=UNSTRUCTURED if is_typed else frozenset(),
        )
        for row, one in zip(rows, scanned, strict=True)
    ]


def by_type(texts: Sequence[dict[str, Counts]]) -> list[Spans]:
    """Of each type, if they have any, and then of all."""
    types = sorted({kind for text in texts for kind in text} - {spans.ANY})
    made = [_figures(kind, [text[kind] for text in texts if kind in text]) for kind in types]
    return [*made, _figures("all", [sum(text.values(), Counts()) for text in texts])] if texts else []


def by_source(rows: Sequence[Row], texts: Sequence[dict[str, Counts]]) -> list[Spans]:
    """Of each source that has any span, found or not, all types together."""
    sources: dict[str, list[Counts]] = {}
    for row, text in zip(rows, texts, strict=True):
        sources.setdefault(row["source"], []).append(sum(text.values(), Counts()))
    return [
        _figures(name, counts) for name, counts in sorted(sources.items()) if any(one != Counts() for one in counts)
    ]


def _figures(name: str, texts: Sequence[Counts]) -> Spans:
    return Spans(
        name=name,
        precision=figures.over_texts(texts, lambda one: one.precision),
        recall=figures.over_texts(texts, lambda one: one.recall),
        f1=figures.over_texts(texts, lambda one: one.f(1)),
        f2=figures.over_texts(texts, lambda one: one.f()),
    )


def show(found: Sequence[Goal], results: Results, skipped: Sequence[str]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    if results.detection is not None and results.judges is Judges.IN_SAMPLE:
        console.print("[yellow]injection: the shipped model on data that it was trained on: in sample, not a claim[/]")
    for name in skipped:
        console.print(f"[yellow]skipped: {name} is not there[/]")
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("", "goal", "measured, 95 %", ""):
        table.add_column(column)
    for one in found:
        table.add_row(one.what, one.goal, one.measured.replace("[", r"\["), MARKS[one.is_met])
    console.print(table)


def say(what: str) -> None:
    print(f"{what} …", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
