"""The guarantees, cell by cell: made from the table (`controls.py`), a test for each control on each route (docs/guarantees.md)."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import uvloop
from guarantees.cells import Cell
from guarantees.controls import lacks, promised
from guarantees.proving import prove
from guarantees.standing import Standing, standing
from patience import PATIENCE_S


class Running:
    """The gateway, and the loop that it lives in between two cells."""

    def __init__(self, runner: asyncio.Runner, gateway: Standing) -> None:
        self._runner, self._gateway = runner, gateway

    def prove(self, cell: Cell) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE_S):
                await prove(self._gateway, cell)

        self._runner.run(bounded())


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        gateway = runner.run(stack.enter_async_context(standing()))
        try:
            yield Running(runner, gateway)
        finally:
            runner.run(stack.aclose())


def rows() -> dict[str, list[Cell]]:
    """The cells of each control on each route of which nothing is missing."""
    found: dict[str, list[Cell]] = {}
    for cell in promised():
        if lacks(cell) is None:
            found.setdefault(f"{cell.control}|{cell.route}", []).append(cell)
    return found


def missing(cell: Cell) -> object:
    because = lacks(cell)
    assert because is not None
    return pytest.param(
        cell, id=cell.id, marks=pytest.mark.xfail(reason=because.reason, strict=True, raises=AssertionError)
    )


@pytest.mark.parametrize("cells", [pytest.param(cells, id=name) for name, cells in rows().items()])
def test_row(cells: list[Cell], running: Running) -> None:
    """Each cell is proven by itself, whatever came of the others; those that are not are named, each with its failure."""
    failures: list[Exception] = []
    for cell in cells:
        try:
            running.prove(cell)
        except Exception as failure:
            failure.add_note(f"in the cell {cell.id}")
            failures.append(failure)
    if failures:
        names = "; ".join(note for failure in failures for note in failure.__notes__[-1:])
        raise ExceptionGroup(f"{len(failures)} of {len(cells)} cells are not as promised: {names}", failures)


@pytest.mark.parametrize("cell", [missing(cell) for cell in promised() if lacks(cell)])
def test_missing_cell(cell: Cell, running: Running) -> None:
    try:
        running.prove(cell)
    except AssertionError:
        because = lacks(cell)
        assert because is not None
        raise AssertionError(because.reason) from None  # A traceback takes a tenth of a second.
