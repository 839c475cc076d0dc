"""The tree can be predicted: where things are, what they are called, what each part declares."""

import ast
import re
import sys
import tomllib
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest
from architecture.source_tree import (
    ROOT,
    SERVICES,
    all_modules,
    at,
    distributions,
    imported,
    modules,
    nodes,
    package,
    parsed,
)

VAGUE = {"utils", "util", "helpers", "helper", "manager", "core", "base", "misc", "common_utils"}
BASES = {"adapters/base.py", "guards/base.py"}
SERVICE_FILES = ("__init__.py", "__main__.py", "metrics.py", "py.typed")
SHIPPED_WITH_COMMON = "common"


def test_llmproxy_is_a_namespace_without_an_init_file() -> None:
    found = [str(path.relative_to(ROOT)) for path in ROOT.glob("*/*/llmproxy/__init__.py")]
    assert not found, (
        f"{found}: delete them. `llmproxy` is one namespace over nine distributions; with an __init__.py the first one "
        "found on the path hides all the others."
    )


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_files(service: str) -> None:
    missing = [name for name in SERVICE_FILES if not (package(service) / name).is_file()]
    assert not missing, (
        f"{service} lacks {missing}. Every service has a __main__ that constructs and a metrics.py that names what it "
        "measures, so that whoever knows one service knows where to look in the next."
    )


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_says_in_its_readme_how_it_fails(service: str) -> None:
    readme = distributions()[service] / "README.md"
    assert readme.is_file(), (
        f"services/{service}/README.md is missing: what it reads, writes, owns, its limits, how it fails."
    )


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [
        str(path.relative_to(ROOT))
        for path in all_modules()
        if path.stem in VAGUE and f"{path.parent.name}/{path.name}" not in BASES
    ]
    assert not vague, f"{vague}: name a module for what is in it; such names collect what nobody wanted to place."


def test_every_module_opens_with_what_it_is_for() -> None:
    silent = [
        at(path, parsed(path)) for path in all_modules() if path.stat().st_size and not ast.get_docstring(parsed(path))
    ]
    assert not silent, (
        f"{silent}: begin with one sentence on what the module is for; `ls` and `head -1` are documentation."
    )


def test_imports_are_absolute() -> None:
    relative = [
        at(path, node)
        for path in all_modules()
        for node in nodes(path)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative, f"{relative}: import absolutely, so that a search for a module's name finds all of its users."


def test_test_files_have_unique_names() -> None:
    counted = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    twice = [name for name, count in counted.items() if count > 1]
    assert not twice, f"{twice}: a failure report names the file alone, and tests import by name; give each its own."


def test_unit_tests_mirror_the_source() -> None:
    known = {name.replace("-", "_") for name in distributions()}
    strangers = [path.name for path in (ROOT / "tests/unit").iterdir() if path.is_dir() and path.name not in known]
    assert not set(strangers) - {"__pycache__"}, (
        f"{strangers}: tests/unit/<package>/ mirrors the packages of libs/ and services/."
    )


# -- dependencies


def requirement_name(requirement: str) -> str:
    return re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def declared(name: str) -> set[str]:
    project = tomllib.loads((distributions()[name] / "pyproject.toml").read_text())["project"]
    return {requirement_name(one) for one in project["dependencies"]}


def extras(name: str) -> dict[str, set[str]]:
    """Extra -> what it brings. Its folder of the same name alone may import that."""
    project = tomllib.loads((distributions()[name] / "pyproject.toml").read_text())["project"]
    optional = project.get("optional-dependencies", {})
    return {extra: {requirement_name(one) for one in needs} for extra, needs in optional.items()}


def top_level(name: str) -> dict[str, tuple[str, ...]]:
    """Third-party import -> where, for one distribution."""
    found: dict[str, tuple[str, ...]] = {}
    for path in modules(name):
        for module, node in imported(nodes(path)):
            root = module.partition(".")[0]
            if root not in sys.stdlib_module_names and root != "llmproxy":
                found[root] = (*found.get(root, ()), at(path, node))
    return found


def are_in(folder: str, places: tuple[str, ...]) -> bool:
    return all(f"/{folder}/" in place for place in places)


@pytest.mark.parametrize("name", list(distributions()))
def test_a_distribution_declares_what_it_imports(name: str) -> None:
    allowed = declared(name) | declared(SHIPPED_WITH_COMMON)
    providers = metadata.packages_distributions()
    undeclared = {
        root: places
        for root, places in top_level(name).items()
        if not {one.lower().replace("_", "-") for one in providers.get(root, [root])}
        & (allowed | {one for extra, needs in extras(name).items() if are_in(extra, places) for one in needs})
    }
    assert not undeclared, (
        f"{name} imports {undeclared} without declaring it in its pyproject.toml. It works here because the workspace "
        "installs everything; in the service's own image it does not start."
    )


@pytest.mark.parametrize("name", list(distributions()))
def test_a_distribution_declares_the_packages_of_ours_that_it_imports(name: str) -> None:
    used = {
        ".".join(module.split(".")[:2]): at(path, node)
        for path in modules(name)
        for module, node in imported(nodes(path))
        if module.startswith("llmproxy.")
    }
    needed = {root.replace(".", "-").replace("_", "-"): place for root, place in used.items()}
    missing = {root: place for root, place in needed.items() if root not in declared(name) | {f"llmproxy-{name}"}}
    assert not missing, f"{name} imports {missing} without declaring it in its pyproject.toml."


def test_every_python_file_is_in_a_known_place() -> None:
    ours = {package(name) for name in distributions()}
    strays = [
        str(path.relative_to(ROOT))
        for folder in ("libs", "services")
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts
        and path.name != "hatch_build.py"  # Runs when the package is built, and is not in it.
        and not any(home in path.parents for home in ours)
    ]
    assert not strays, (
        f"{strays}: a distribution holds one package, llmproxy.<its name>, and nothing beside it is installed."
    )


def test_the_lock_file_is_committed_beside_the_workspace() -> None:
    assert (ROOT / "uv.lock").is_file(), "uv.lock is what makes two installations the same; commit it."
    assert Path(ROOT / ".importlinter").is_file(), ".importlinter holds the import contracts; `make imports` needs it."


def test_no_two_decisions_have_one_number() -> None:
    numbers = [path.name[:4] for path in (ROOT / "docs" / "adr").glob("*.md")]
    twice = sorted({number for number in numbers if numbers.count(number) > 1})
    assert not twice, f"docs/adr: {twice} are there twice; references name a decision by its number."
