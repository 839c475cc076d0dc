"""docs/evaluation.md: figures against goals, for somebody who has two minutes, and the tables behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from evaluation.figures import NONE, Figure
from evaluation.injection import HARDER, Detection, Disguise, Line

IN_SAMPLE = "in sample, not a claim"
MET, MISSED = "met", "**missed**"

KNOWN_LIMITS = """\
- The thousand newest signatures were written by people who had read what was missed in eighteen of these sources, so the figures for attacks flatter. In the 22 sources that nobody had read (246 core attacks) 84.6 % are found at 1 % and 93.1 % at 5 %; of 400 attacks that somebody wrote who had seen neither rows nor signatures, 44.2 % as shipped, with 2.9 % of 559 near-misses flagged, and of 322 that somebody else wrote 59.9 %, with 4.5 % of 426 (docs/models/injection.md).
- Definitions of tools are no part of these rows. Of 44 poisoned ones, by an author half of whose other texts had been read, 41 % are found (25 % without the signatures for definitions), and 17 % of his 65 harmless ones, written to be mistaken, were flagged (11 %); of 957 real tools 0.4 %.
- Intervals take rows as independent, which rows of one source are not; the line *over sources* draws whole sources, and is the honest one for data from elsewhere.
- The rows are public data of 2023 to 2025: mostly English, single texts, hardly any real conversations. What your traffic holds is another mixture: `llmproxy scan --jsonl` and `policy.injection.mode: shadow` measure it.
- Encoded rows are 60 attacks and 60 harmless texts in each encoding: one encoding's interval is wide. Wrapped in a request to decode them where the data are.
- False alarms of personal data include what the annotators left out: `pii-anon:test_technology` has logs whose phone numbers (`Phone: +1 (...) ...`) and MAC addresses (`(MAC: ...)`) are not annotated, which was checked row by row; whoever wants them let pass says so in `policy.kinds`. Precision is a lower bound.
- Half of the MAC addresses in these rows, drawn at random, are groups', and some telephone numbers have areas that exist for nobody: by their standards they lead to no device and no subscriber, so they are left alone (docs/adr/0044). These rows count that as missed where it is annotated (recall of MAC addresses 1.00 before, of telephone numbers 1.00) and as right where it is not (precision of all 0.877 before).
- Vendors' forms and the words around secrets were written with some of these rows in mind. Of 565 secrets (240 kinds, in files, logs, code and prose) that somebody wrote before looking at the detector it found 84.1 %, and it took 7.2 % of 446 harmless texts to hold one; with what was learnt from them it finds 99.6 % and takes 0.7 %, which is no measure of others. Of 180 more, in contexts that were chosen to be hard after the first misses were read, it found 53.3 % before and 91.1 % after, when nobody had read these.
- Personal data was tuned on these rows, too. Of 697 texts in thirteen languages by somebody who had seen neither rows nor detector (944 values; 265 texts harmless) it had an F2 of 0.852: precision 0.969, recall 0.827; days of birth and passports beyond English, and Brazilian numbers, were most of what it missed. After that was mended by kinds, 242 further texts that had not been written yet had 0.956 (0.956 and 0.956), where it was 0.803 before. The author was the same, so yours will have less.
- Secrets are judged by place alone, not by vendor. Names and postal addresses are left out of personal data: they need a language model (docs/adr/0020).
- CPU is of the guards alone, in one process, on texts that are all different; `make bench` has the gateway's."""


class Judges(Enum):
    """Whose scores of injection are shown."""

    HELD_OUT = auto()  # Models that saw nothing of a text's source.
    SHIPPED = auto()  # The shipped one, on texts that it was not trained on.
    IN_SAMPLE = auto()  # The shipped one, on texts that it was.


@dataclass(frozen=True)
class Goal:
    """A promise, what was measured, and whether it is kept; None: what was measured cannot say."""

    what: str
    goal: str
    measured: str
    is_met: bool | None

    @property
    def mark(self) -> str:
        return IN_SAMPLE if self.is_met is None else MET if self.is_met else MISSED


@dataclass(frozen=True)
class Spans:
    """Precision, recall, F1 and F2 of one type, or of all."""

    name: str
    precision: Figure
    recall: Figure
    f1: Figure
    f2: Figure


@dataclass(frozen=True)
class Results:
    """All that was measured; None or empty where the data are not there."""

    judges: Judges
    threshold: float
    mode: str
    rows: Mapping[str, int]
    detection: Detection | None
    disguises: Sequence[Disguise]
    pii: Sequence[Spans]  # The last one is all of them.
    pii_sources: Sequence[Spans]  # Those of each source of texts.
    secrets: Spans | None
    secret_alarms: Figure
    cost: Mapping[str, Mapping[str, float]]


def goals(results: Results) -> list[Goal]:
    of_injection = _of_injection(results)
    if results.judges is Judges.IN_SAMPLE:
        of_injection = [replace(one, is_met=None) for one in of_injection]
    every = [*of_injection, *_of_disguises(results.disguises), *_of_spans(results), *_of_cost(results.cost)]
    return [one for one in every if one.measured != str(NONE)]  # Of which there are no rows.


def _of_injection(results: Results) -> list[Goal]:
    found = results.detection
    if found is None:
        return []
    by_name = {line.name: line for line in found.categories}
    one, five = found.core.at_one, found.core.at_five
    made = [
        _at_least("injection, core, at 1 % false alarms", one, 0.55),
        _at_least("injection, core, at 5 %", five, 0.72),
        _at_least("the same, sources never seen, at 1 % (interval over sources)", found.by_source[0], 0.45),
        _at_least("the same, sources never seen, at 5 % (interval over sources)", found.by_source[1], 0.65),
        Goal("area under the curve, core", "≥ 0.90", _score(found.area), found.area.value >= 0.9),
    ]
    made += [
        _at_least(f"{name}, core, at 1 %", by_name[name].at_one, 0.40)
        for name in ("indirect", "multilingual")
        if name in by_name
    ]
    return [
        *made,
        _at_most("false alarms as shipped, ordinary texts", found.ordinary, 0.01),
        _at_most("false alarms as shipped, hard ones (security talk, role play, code)", found.hard, 0.05),
    ]


def _of_disguises(found: Sequence[Disguise]) -> list[Goal]:
    if not found:
        return []
    by_name = {one.name: one for one in found}
    made = [_at_least("encoded: stays caught of what is caught plain, all encodings", by_name["all"].kept, 0.85)]
    made += [_at_least(f"the same, {HARDER[name]}", by_name[name].kept, 0.60) for name in HARDER if name in by_name]
    return [*made, _at_most("false alarms on harmless texts in the same encodings", by_name["all"].false, 0.02)]


def _of_spans(results: Results) -> list[Goal]:
    made = []
    if results.pii:
        whole = results.pii[-1]
        made += [
            Goal("structured personal data, F2", "≥ 0.92", _score(whole.f2), whole.f2.value >= 0.92),
            Goal(
                "structured personal data, precision", "≥ 0.90", _score(whole.precision), whole.precision.value >= 0.90
            ),
        ]
    if results.secrets:
        own = results.secrets
        made += [
            Goal("secrets, recall", "≥ 0.88", _score(own.recall), own.recall.value >= 0.88),
            Goal("secrets, precision", "≥ 0.92", _score(own.precision), own.precision.value >= 0.92),
        ]
    return made


def _of_cost(cost: Mapping[str, Mapping[str, float]]) -> list[Goal]:
    return [
        Goal(
            f"CPU of all default guards, clean {size}, median",
            f"≤ {limit / 1000:g} ms",
            f"{cost[size]['p50_us'] / 1000:.3f} ms (p99 {cost[size]['p99_us'] / 1000:.3f})",
            cost[size]["p50_us"] <= limit,
        )
        for size, limit in (("1 KB", 150), ("16 KB", 1_500))
        if size in cost
    ]


def _at_least(what: str, figure: Figure, goal: float) -> Goal:
    return Goal(what, f"≥ {100 * goal:.0f} %", str(figure), figure.of > 0 and figure.value >= goal)


def _at_most(what: str, figure: Figure, goal: float) -> Goal:
    return Goal(what, f"≤ {100 * goal:.0f} %", str(figure), figure.of > 0 and figure.value <= goal)


def _score(figure: Figure) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]" if figure.of else "none"


# -- the page


def page(results: Results, skipped: Sequence[str]) -> str:
    parts = [
        "# Evaluation",
        "Written by `make eval`; do not edit. What is measured, how, and where a goal is missed. Intervals are 95 %.",
        _label(results),
        *(f"Skipped: {name}." for name in skipped),
        "## Figures against goals",
        _table(
            ("", "goal", "measured", ""),
            [f"| {one.what} | {one.goal} | {one.measured} | {one.mark} |" for one in goals(results)],
        ),
        *_injection(results),
        *_encodings(results.disguises),
        *_spans(results),
        *_costs(results.cost),
        "## How it is measured",
        METHOD,
        "## Known limits",
        KNOWN_LIMITS,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _label(results: Results) -> str:
    if results.detection is None:
        return ""
    return LABELS[results.judges]


LABELS = {
    Judges.HELD_OUT: "Injection: every text is scored by a model that saw **nothing of its source**; sources that share strings are held out together (docs/models/injection.md).",
    Judges.SHIPPED: "Injection: the shipped model, on texts that it was **not trained on**.",
    Judges.IN_SAMPLE: f"Injection: the shipped model's own scores on data that it was trained on: **{IN_SAMPLE}**. The trainer makes those of models that did not see them (`make eval`).",
}

METHOD = """\
- **Injection.** Attacks are judged on `core` rows, whose text alone says that they are one. The thresholds for 1 % and 5 % are those that at most so many of **all** harmless texts are above, ordinary and hard ones together; *as shipped* is `policy.injection.user`. Generated rows and weak labels train and are never judged.
- **Encodings.** Of the attacks whose plain form the shipped detector catches, how many it still catches in each encoding; the shipped model, whose training data the plain forms are among: what is judged is the disguise.
- **Personal data and secrets.** A prediction counts for one annotated span of the same type (secrets: of any) when they share at least half of what either covers. F2 weighs recall four times.
- **CPU.** `time.thread_time_ns` around the guards, after warming up."""


def _injection(results: Results) -> list[str]:
    found = results.detection
    if found is None:
        return []
    columns = ("", "rows", "at 1 %", "at 5 %", f"as shipped ({results.threshold:g})")
    return [
        "## Injection",
        f"Shipped mode: `{results.mode}`. Mean over the {found.sources} sources with ten core attacks or more: "
        f"{100 * found.macro[0]:.1f} % and {100 * found.macro[1]:.1f} % at 1 % and 5 %.",
        _table(columns, map(_line, [found.core, found.every, *found.categories])),
        _table(("language", *columns[1:]), map(_line, found.languages)),
        "False alarms as shipped:",
        _table(
            ("harmless texts", "rows", "flagged"),
            [
                f"| {name} | {figure.of} | {figure} |"
                for name, figure in [("ordinary", found.ordinary), ("hard", found.hard), *found.alarms]
            ],
        ),
    ]


def _line(line: Line) -> str:
    return f"| {line.name} | {line.shipped.of} | {line.at_one} | {line.at_five} | {line.shipped} |"


def _encodings(found: Sequence[Disguise]) -> list[str]:
    if not found:
        return []
    lines = [f"| {one.name} | {one.kept.of} | {one.kept} | {one.false} |" for one in found]
    return ["## Encodings", _table(("", "caught plain", "stays caught", "false alarms"), lines)]


def _spans(results: Results) -> list[str]:
    parts: list[str] = []
    if results.pii:
        parts += [
            "## Personal data",
            _table(SPAN_COLUMNS, map(_spans_line, results.pii)),
            "By source of the text:",
            _table(SPAN_COLUMNS, map(_spans_line, results.pii_sources)),
        ]
    if results.secrets:
        parts += [
            "## Secrets",
            _table(SPAN_COLUMNS, [_spans_line(results.secrets)]),
            f"Texts without a secret in which one was seen: {results.secret_alarms}.",
        ]
    return parts


SPAN_COLUMNS = ("", "spans", "precision", "recall", "F1", "F2")


def _spans_line(one: Spans) -> str:
    cells = " | ".join(map(_score, (one.precision, one.recall, one.f1, one.f2)))
    return f"| {one.name} | {one.recall.of} | {cells} |"


def _costs(cost: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = [f"| {size} | {one['p50_us']:.0f} | {one['p99_us']:.0f} |" for size, one in cost.items()]
    return ["## CPU of the default guards", _table(("clean text", "median, µs", "p99, µs"), lines)] if lines else []


def _table(columns: Sequence[str], lines: Any) -> str:
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines])
