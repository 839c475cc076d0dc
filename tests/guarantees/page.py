"""`docs/guarantees.md`, written from the table (`make docs`)."""

from collections.abc import Iterable, Iterator

from guarantees.cells import CALLS, CONTENTS, MODES, OUTCOMES, Because, Cell, Control
from guarantees.controls import CONTROLS, cells, lacks, why_not
from guarantees.reasons import ABSENT
from guarantees.regressions import MATRIX, REGRESSIONS

TEST = f"{MATRIX}::test_row"
TEST_MISSING = f"{MATRIX}::test_missing_cell"
PROVEN, NOT_APPLICABLE, MISSING = "proven", "not applicable", "missing"

INTRODUCTION = f"""# Guarantees

Each control, on every route that reaches a provider, for whole and streamed answers, wherever the text stands, and when the control itself raises or is late. A cell is **proven** by the test of its control and route, which names every cell that is not as promised; says **not applicable** and why;
or is **missing**: then it has a test of its own that is expected to fail until the product is better. [ADR 0025](adr/0025-what-a-guarantee-is.md) says what `proven` means. The page and the tests are made from the same table, `tests/guarantees/controls.py`; a route, a step, a guard or a setting of answers that has no cells fails the build.

The test of a cell is `{TEST}[<control>|<route>]`, of one that is missing `{TEST_MISSING}[<control>|<route>|<mode>|<content>|<outcome>]`. So this runs a route, and this one control on it:

```
pytest tests/guarantees -k "v1/messages"
pytest "{TEST}[pii|/v1/messages]"
```

| content | where the text is |
|---|---|
| text | what a user says, the system text, an earlier answer; a prompt, an input, a query |
| tool call | definitions of tools and arguments of calls; for answers, the arguments of the second of two calls that the model makes |
| tool result | what a tool returned; documents to rank |
| multimodal | text beside a picture; names of files; documents |
| text file | a text that comes as a file in base64, whatever it says of its kind; for answers, what is said to it |
| n>1 | a request for two answers: in each of them, or in the second alone |

*works*: the control does what it promises, in every place of the content (`tests/guarantees/asking.py` has them by name). *raises*: it, or the part of it that matters, raises at the very text. *is late*: its time is over.
Where the three are alike they are said once; · stands where the endpoint has no such thing.
"""


def states(control: Control) -> dict[Cell, tuple[str, Because | None]]:
    found: dict[Cell, tuple[str, Because | None]] = {}
    for cell in cells(control):
        absent, missing = why_not(cell), lacks(cell)
        found[cell] = (NOT_APPLICABLE, absent) if absent else (MISSING, missing) if missing else (PROVEN, None)
    return found


def page(generated: str) -> str:
    """`generated` is the mark of such pages."""
    table = {control: states(control) for control in CONTROLS}
    return "\n".join(
        [
            generated,
            INTRODUCTION,
            "## Summary",
            "",
            *_totals(table),
            "",
            *_summary(table),
            "",
            "## What an endpoint does not have",
            "",
            "These cells are not applicable for any control, and are left out of the tables below.",
            "",
            *_rows(("routes", "mode", "content", "not applicable, because"), (_absent(one) for one in ABSENT)),
            "",
            *(line for control, found in table.items() for line in _of_control(control, found)),
            "## Known weaknesses of other gateways",
            "",
            "By their number in the survey that this project began with.",
            "",
            *_rows(("item", "weakness", "tests"), _regressions()),
            "",
        ]
    )


def _rows(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


Table = dict[Control, dict[Cell, tuple[str, Because | None]]]


def _totals(table: Table) -> list[str]:
    found = [state for states in table.values() for state, _ in states.values()]
    counts = ((state, found.count(state)) for state in (PROVEN, NOT_APPLICABLE, MISSING))
    return [", ".join(f"{count:,} {state}" for state, count in counts) + f": {len(found):,} cells."]


def _summary(table: Table) -> list[str]:
    """Proven cells of those that apply, for each control and route."""
    rows = []
    for control, found in table.items():
        counts = []
        for route in CALLS:
            of = [state for cell, (state, _) in found.items() if cell.route == route and state != NOT_APPLICABLE]
            proven = of.count(PROVEN)
            counts.append("–" if not of else str(proven) if proven == len(of) else f"**{proven} of {len(of)}**")
        rows.append((f"[{control.name}](#{_anchor(control)})", *counts))
    heads = tuple(f"`{_short(route)}`" for route in CALLS)
    note = "Proven cells; of how many, where some are missing; – where the control does not apply."
    return [note, "", *_rows(("control", *heads), rows)]


def _short(route: str) -> str:
    return route.rpartition(":")[2] if ":" in route else route


def _anchor(control: Control) -> str:
    return control.name.replace(":", "").replace(" ", "-")


def _absent(because: Because) -> tuple[str, str, str, str]:
    routes = [name for name, route in CALLS.items() if route.api in because.apis or name in because.routes]
    return (
        ", ".join(f"`{_short(name)}`" for name in routes),
        ", ".join(because.modes) or "both",
        ", ".join(because.contents) or "all",
        because.reason,
    )


def _of_control(control: Control, found: dict[Cell, tuple[str, Because | None]]) -> Iterator[str]:
    yield f"## {control.name}"
    yield ""
    step = f"Step `{control.step}` of `GET /api/v1/plugins`. " if control.step else ""
    setting = f"Setting `policy.answers.{control.setting}`. " if control.setting else ""
    yield f"{step}{setting}**{_sentence(control.promise)}** When it raises or is late: {_sentence(control.failure)}"
    yield ""
    notes: list[Because] = []
    rows = []
    for route in CALLS:
        for mode in MODES:
            columns = [
                _column([found[Cell(control.name, route, mode, content, outcome)] for outcome in OUTCOMES], notes)
                for content in CONTENTS
            ]
            if any(columns):
                rows.append((f"`{route}`", mode, *(column or "·" for column in columns)))
    yield from _rows(("route", "mode", *CONTENTS), rows)
    yield ""
    yield f"{' / '.join(OUTCOMES)}; `{TEST}[{control.name}|<route>]`"
    yield ""
    for number, because in enumerate(notes, 1):
        yield f"{number}. {_sentence(because.reason)}"
    if notes:
        yield ""


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _column(states: list[tuple[str, Because | None]], notes: list[Because]) -> str:
    """What works, raises and is late; "" where the endpoint has no such thing."""
    if all(because in ABSENT for _, because in states):
        return ""
    shown = []
    for state, because in states:
        if because is None:
            shown.append(state)
            continue
        if because not in notes:
            notes.append(because)
        number = notes.index(because) + 1
        shown.append(f"**{MISSING}** ({number})" if state == MISSING else f"n/a ({number})")
    return shown[0] if len(set(shown)) == 1 else " / ".join(shown)


def _regressions() -> Iterator[tuple[str, str, str]]:
    for number, weakness in REGRESSIONS.items():
        tests = [f"`{test}`" for test in weakness.tests]
        tests += [
            f"[{name}](#{_anchor(next(one for one in CONTROLS if one.name == name))})" for name in weakness.controls
        ]
        yield str(number), weakness.what, "<br>".join(tests)
