"""The guarantees, cell by cell: made from the table (`controls.py`), one test for each cell that applies (docs/guarantees.md)."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import uvloop
from guarantees.controls import Cell, lacks, promised
from guarantees.proving import prove
from guarantees.standing import Standing, standing

SECONDS_MAX = 20.0  # For one cell; then something hangs.


class Running:
    """The gateway, and the loop that it lives in between two cells."""

    def __init__(self, runner: asyncio.Runner, gateway: Standing) -> None:
        self._runner, self._gateway = runner, gateway

    def prove(self, cell: Cell) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(SECONDS_MAX):
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


def marked(cell: Cell) -> object:
    missing = lacks(cell)
    marks = [pytest.mark.xfail(reason=missing.reason, strict=True, raises=AssertionError)] if missing else []
    return pytest.param(cell, id=cell.id, marks=marks)


@pytest.mark.parametrize("cell", [marked(cell) for cell in promised()])
def test_cell(cell: Cell, running: Running) -> None:
    missing = lacks(cell)
    try:
        running.prove(cell)
    except AssertionError:
        if missing is None:
            raise
        raise AssertionError(
            missing.reason
        ) from None  # What is expected needs no traceback, which takes a tenth of a second.
