"""The repository as the architecture tests see it: its packages, its modules, and what they import."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SERVICES = ("edge", "shield", "router", "provider-workers", "audit", "admin")
LIBRARIES = ("common", "fakes", "launcher")


def distributions() -> dict[str, Path]:
    """Name -> folder that holds its pyproject.toml."""
    return {
        **{name: ROOT / "libs" / name for name in LIBRARIES},
        **{name: ROOT / "services" / name for name in SERVICES},
    }


def package(name: str) -> Path:
    return distributions()[name] / "llmproxy" / name.replace("-", "_")


def modules(name: str) -> list[Path]:
    """Source files of a distribution."""
    return sorted(path for path in package(name).rglob("*.py") if "__pycache__" not in path.parts)


def all_modules() -> list[Path]:
    return [path for name in distributions() for path in modules(name)]


def distribution_of(path: Path) -> str:
    """`common` for libs/common/llmproxy/common/bus.py"""
    return path.relative_to(ROOT).parts[1]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Everything in a module; to walk through it costs as much as to parse it, and a dozen tests want to."""
    return tuple(ast.walk(parsed(path)))


def at(path: Path, node: ast.AST) -> str:
    """`services/edge/llmproxy/edge/app.py:12`"""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def imported(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Every absolute module name that is imported, wherever the statement stands."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module, node


def literal_text(node: ast.AST) -> str:
    """The constant text of a string expression, whatever builds it: literal, f-string, `+`, `%`, `.format`, `.join`."""
    return " ".join(one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str))


def is_built(node: ast.AST) -> bool:
    """Whether a string expression puts values into text."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return True
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("format", "join")
