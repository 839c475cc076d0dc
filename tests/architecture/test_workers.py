"""The tests that share a gateway are said to, so that it is started once."""

import ast

from architecture.source_tree import ROOT
from workers import APART, GATEWAY_OF

FILES = {path.stem: path for folder in ("integration", "e2e") for path in (ROOT / "tests" / folder).glob("test_*.py")}
SHARED = {"demo", "families"}  # The fixtures of tests/e2e/conftest.py that are gateways.


def test_files_that_are_named_are_there() -> None:
    assert {*GATEWAY_OF, *APART} <= set(FILES), "tests/workers.py names files that are not there"


def test_whoever_uses_a_gateway_of_the_session_is_named() -> None:
    for name, path in FILES.items():
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        used = SHARED & {argument.arg for function in functions for argument in function.args.args}
        assert not used or name in GATEWAY_OF, f"{path.name} uses {used}: say in tests/workers.py with which files"
