"""Nothing is added without saying what it guarantees: every route, step, guard and setting of answers has its cells (ADR 0025)."""

import ast
import importlib
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from architecture.source_tree import ROOT, modules
from guarantees.asking import ENDPOINT_OF, MODEL_OF, PLACES
from guarantees.cells import CALLS, CONTENTS, Because, Control
from guarantees.controls import (
    AREAS,
    CONTROLS,
    GUARDS_OF_NO_ANSWERS,
    SETTINGS_OF_NO_CONTROL,
    cells,
    lacks,
    promised,
    why_not,
)
from guarantees.proving import WORKS
from guarantees.proving_failures import PARTS, fails
from guarantees.reasons import ABSENT
from guarantees.regressions import MATRIX, OWN, REGRESSIONS
from guarantees.test_guarantees import test_missing_cell as proof_of_a_missing_cell
from guarantees.test_guarantees import test_row as proof_of_a_row
from guarantees.trial import Trial
from msgspec import Struct

from llmproxy.common.answers import Answers
from llmproxy.common.envelope import Api
from llmproxy.common.policy import Injection, Policy
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.guards.base import Fitted

TABLE = "tests/guarantees/controls.py"
ADD = (
    f"add a Control to {TABLE} (what it promises, where it does not apply and why), its proof to WORKS in"
    " tests/guarantees/proving.py, and run `make docs`: docs/adr/0025"
)
WORDS_MIN = 4  # Of a reason.
STEPS_OF = ("edge", "shield", "router")


def steps() -> Iterator[tuple[str, str]]:
    """(name, module) of every class that is a step of a ring, wired or not; a guard's step is called like the guard."""
    for service in STEPS_OF:
        for path in modules(service):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and _is_step(node):
                    name = path.relative_to(ROOT / "services" / service).with_suffix("").as_posix().replace("/", ".")
                    found = getattr(importlib.import_module(name), node.name)
                    if isinstance(getattr(found, "name", None), str):
                        yield found.name, name
    for guard in GUARDS:
        yield guard.name, "llmproxy.shield.guards"


def _is_step(node: ast.ClassDef) -> bool:
    fields = {one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)}
    methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    return "fail" in fields and "run" in methods


def settings(kind: type[Struct] = Answers, before: str = "") -> Iterator[str]:
    """Every setting of `policy.answers`, those of its parts with a dot."""
    default = kind()
    for name in kind.__struct_fields__:
        value = getattr(default, name)
        if isinstance(value, Struct):
            yield from settings(type(value), f"{before}{name}.")
        else:
            yield before + name


def test_every_step_of_every_ring_has_its_cells() -> None:
    found = list(steps())
    assert {"authentication", "secrets", "mask", "resolve", "answer"} <= {name for name, _ in found}
    stated = {control.step for control in CONTROLS}
    missing = [f"{name} ({module})" for name, module in found if name not in stated]
    assert not missing, f"steps without a guarantee: {missing}; {ADD}"
    gone = stated - {name for name, _ in found} - {""}
    assert not gone, f"{TABLE} promises for steps that are no longer there: {gone}"


def test_every_guard_has_its_cells_for_requests_and_for_answers() -> None:
    requests = {control.guard for control in CONTROLS if control.step == control.guard}
    answers = {control.guard for control in CONTROLS if control.step == "answer"}
    for guard in GUARDS:
        assert guard.name in requests, f"the guard {guard.name} has no row for requests; {ADD}"
        assert guard.name in answers or guard.name in GUARDS_OF_NO_ANSWERS, (
            f"the guard {guard.name} has no row for answers: {ADD}; or say why it reads none in GUARDS_OF_NO_ANSWERS"
        )
    reading = [guard.name for guard in GUARDS if not isinstance(guard, Fitted)]
    assert not set(reading) & set(GUARDS_OF_NO_ANSWERS), "a guard that reads answers is said to read none"


def test_every_setting_of_answers_has_its_cells() -> None:
    stated = {control.setting for control in CONTROLS} | set(SETTINGS_OF_NO_CONTROL)
    missing = set(settings()) - stated
    assert not missing, (
        f"policy.answers has settings without a guarantee: {missing}; {ADD}, or to SETTINGS_OF_NO_CONTROL"
    )
    assert stated - {""} <= set(settings()), f"{TABLE} names settings of answers that are no longer there"


def test_every_field_of_the_policy_is_some_rows() -> None:
    fields = {*Policy.__struct_fields__} - {"injection"} | {f"injection.{one}" for one in Injection.__struct_fields__}
    assert fields == set(AREAS), (
        f"policy has fields of which {TABLE} does not say which rows are about them, or none any more: {ADD}, and to AREAS"
    )


def test_every_api_has_places_for_every_content_that_is_not_said_to_be_absent() -> None:
    apis = set(get_args(Api)) - {"probe"}
    assert apis == {route.api for route in CALLS.values()}, "an API without a route, or a route without an API"
    assert apis == set(PLACES) == set(MODEL_OF) == set(ENDPOINT_OF), (
        "a new API needs a builder for its bodies in PLACES, MODEL_OF and ENDPOINT_OF of tests/guarantees/asking.py,"
        " and a reader of its answers in tests/guarantees/hearing.py"
    )
    for api in apis:
        absent = {content for one in ABSENT if api in one.apis and not one.modes for content in one.contents}
        assert set(PLACES[api]) == set(CONTENTS) - absent, (
            f"{api}: a content is either built in PLACES or absent for a reason in ABSENT of {TABLE}"
        )


def of_tests(test: Any) -> Iterator[tuple[str, Any]]:
    """(name, what it is given) of each test that is collected from the function."""
    for mark in test.pytestmark:
        for parameter in mark.args[1]:
            yield parameter.id, parameter.values[0]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_every_cell_is_proven_by_a_test_that_is_collected_or_has_a_reason(control: Control) -> None:
    proven = [cell for _, cells in of_tests(proof_of_a_row) for cell in cells if cell.control == control.name]
    missed = [cell for _, cell in of_tests(proof_of_a_missing_cell) if cell.control == control.name]
    assert control.name in WORKS, f"{control.name} has no proof; {ADD}"
    for cell in cells(control):
        absent, missing = why_not(cell), lacks(cell)
        assert proven.count(cell) == (absent is None and missing is None), cell.id
        assert missed.count(cell) == (absent is None and missing is not None), cell.id
        for because in (absent, missing):
            assert because is None or len(because.reason.split()) >= WORDS_MIN, f"{cell.id} does not say why"
    known = {*get_args(Api), ""}
    for because in (*control.absent, *control.missing):
        assert set(because.apis) <= known, f"{control.name}: an API that there is not"
        assert any(because.covers(cell) for cell in cells(control)), (
            f"{control.name}: a reason without cells: {because}"
        )


def test_what_is_broken_for_a_cell_is_the_part_that_keeps_its_promise() -> None:
    """Every cell that raises or is late finds what to break."""
    for cell in promised():
        if cell.outcome != "works":
            assert fails(Trial(None, cell)) is not None  # type: ignore[arg-type]
    assert {control.name for control in CONTROLS if control.step == "answer" and not control.guard} == {
        *PARTS,
        "unmasking",
    }


def test_names_of_controls_are_different_and_fit_into_the_name_of_a_test() -> None:
    names = [control.name for control in CONTROLS]
    assert len(set(names)) == len(names)
    assert not [name for name in names if set("|[]") & set(name)]


def test_no_reason_is_said_without_a_use() -> None:
    unused = [one for one in ABSENT if not any(one.covers(cell) for control in CONTROLS for cell in cells(control))]
    assert not unused
    assert all(isinstance(one, Because) for one in ABSENT)


@pytest.mark.parametrize("number", REGRESSIONS)
def test_every_known_weakness_has_tests_that_exist(number: int) -> None:
    for test in REGRESSIONS[number].tests:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        functions = {one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
        assert name in functions, f"item {number} of docs/guarantees.md names {test}, which is not there"
        assert path not in (OWN, MATRIX) or f"_{number}_" in name
    names = {control.name for control in CONTROLS}
    assert set(REGRESSIONS[number].controls) <= names


def test_the_items_that_must_not_come_back_are_all_listed() -> None:
    assert {*range(10, 20), 25} <= set(REGRESSIONS)
