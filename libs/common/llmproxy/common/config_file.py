"""A configuration file as a checked configuration: YAML without its traps, with values of the environment filled in."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from llmproxy.common import auth as authentication
from llmproxy.common.config import Config, ConfigError
from llmproxy.common.config_checks import check
from llmproxy.common.mistakes import explained
from llmproxy.common.policy import Policy

VALUES_MAX = 500_000  # Of a file. Aliases of aliases can make more of a few lines than any machine holds.
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")  # Of `"\ud83d"`, or for a byte of the environment that is no text.
SWITCH = "tag:yaml.org,2002:bool"  # YAML 1.1 has six words for it that begin with other letters than true and false.
UNWANTED = {f"tag:yaml.org,2002:{kind}" for kind in ("binary", "omap", "pairs", "set")}  # No setting is one.
TOO_DEEP = "nested too deeply; does an alias (*name) refer to what holds it?"


def parse(text: str, environment: Mapping[str, str]) -> Config:
    """YAML to a checked Config. `${NAME}` in a value is replaced from `environment`. Raises ConfigError.

    A text that says nothing is most likely cut off or not written yet, and would take every endpoint, limit and rule away.
    """
    tree = _tree(text)
    if tree is None:
        raise ConfigError("it is empty; write {} if nothing is to be configured")
    return _config(tree, environment)


def parse_policy(text: str, environment: Mapping[str, str]) -> Policy:
    """The policy of a whole configuration file, or a file that is one: what stands under `policy`. Raises ConfigError.

    The rest of a whole file is not looked at, so that a policy can be tried where the variables of the endpoints are not set.
    """
    tree = _tree(text) or {}
    if isinstance(tree, dict):
        is_whole = any(name in Config.__struct_fields__ for name in tree)
        tree = {"policy": (tree.get("policy") or {}) if is_whole else tree}
    return _config(tree, environment).policy


def _tree(text: str) -> Any:
    try:
        tree = yaml.load(text, Loader=Loader)  # noqa: S506 - it is a SafeLoader
        values = _values(tree, {})
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"not valid YAML{where}: {getattr(error, 'problem', None) or 'cannot be read'}") from None
    except RecursionError:
        raise ConfigError(TOO_DEEP) from None
    if values > VALUES_MAX:
        raise ConfigError(f"more than {VALUES_MAX} values once its aliases (*name) are written out; write fewer")
    return tree


def _values(tree: Any, known: dict[int, int]) -> int:
    """How many values there are with every alias written out, found without writing them out."""
    if not isinstance(tree, dict | list):
        return 1
    if id(tree) not in known:
        below = tree.values() if isinstance(tree, dict) else tree
        known[id(tree)] = 1 + sum(_values(value, known) for value in below)
    return known[id(tree)]


def _config(tree: Any, environment: Mapping[str, str]) -> Config:
    try:
        tree = expand(tree, environment)
        config = msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(explained(str(error), tree, Config, {".auth.kind": authentication.TAGS})) from None
    except RecursionError:
        raise ConfigError(TOO_DEEP) from None
    check(config)
    return config


def expand(tree: Any, environment: Mapping[str, str]) -> Any:
    """`${NAME}` in every string of the tree. An unset variable is an error, not an empty string."""

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environment:
            raise ConfigError(f"${{{name}}} is not set; export {name} or remove the reference")
        if HALF_A_CHARACTER.search(environment[name]):
            raise ConfigError(f"${{{name}}} is not UTF-8; export {name} as text")
        return environment[name]

    if isinstance(tree, str):
        return REFERENCE.sub(value_of, tree)
    if isinstance(tree, dict):
        return {name: expand(value, environment) for name, value in tree.items()}
    if isinstance(tree, list):
        return [expand(value, environment) for value in tree]
    return tree


class Loader(yaml.SafeLoader):
    """Refuses a key given twice: YAML would keep the last one, and nobody would know which rule holds. `off`, `no` and `on` are
    words, as in YAML 1.2: one is a mode, one is Norwegian. Whatever is wrong is a YAMLError."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - an instance variable to those who typed PyYAML
        first: [(tag, form) for tag, form in forms if tag != SWITCH or first in "tTfF"]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012 - as above
        tag: construct for tag, construct in yaml.SafeLoader.yaml_constructors.items() if tag not in UNWANTED
    }

    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: yaml.Mark) -> list[str]:
        try:
            return super().scan_flow_scalar_non_spaces(double, start_mark)
        except (ValueError, OverflowError):
            raise yaml.scanner.ScannerError(None, None, "an escape (\\U…) is of no character", start_mark) from None

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """PyYAML raises whatever it comes across in a value that is not what it looks like, such as the date 2024-13-45."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, LookupError, AttributeError):
            kind = node.tag.rpartition(":")[2]
            what = f"this reads as a value of type {kind}, and is none; put it in quotes"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from None

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        text = super().construct_scalar(node)
        if isinstance(text, str) and HALF_A_CHARACTER.search(text):
            what = "half of a surrogate pair (\\ud800 to \\udfff) is no character; write it whole"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for name, _ in node.value:
            called = str(name.value)
            if isinstance(name, yaml.ScalarNode) and called in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{called!r} is given twice; keep one", name.start_mark
                )
            seen.add(called)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Keeps of what `<<` merges only what holds: merges of merges would double it each time."""
        super().flatten_mapping(node)
        node.value = list({str(name.value): (name, value) for name, value in node.value}.values())
