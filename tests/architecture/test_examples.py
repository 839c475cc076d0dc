"""The examples of a property are the same for a commit, whatever else runs."""

import sys
from types import ModuleType

import pytest
from architecture.source_tree import ROOT
from hypothesis import given
from hypothesis import strategies as st


def drawn() -> list[tuple[int, str]]:
    examples: list[tuple[int, str]] = []

    @given(st.integers(), st.text())
    def seen(number: int, text: str) -> None:
        examples.append((number, text))

    seen()
    return examples


def test_examples_do_not_depend_on_what_other_tests_have_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    before = drawn()
    stranger = ModuleType("stranger")
    stranger.__file__ = str(ROOT / "docs" / "generate.py")
    monkeypatch.setitem(sys.modules, stranger.__name__, stranger)
    assert drawn() == before
