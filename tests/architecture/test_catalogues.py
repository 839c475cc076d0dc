"""Each kind of fact has one place, and its catalogue is complete: channels, metrics, error codes, adapters."""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest
from architecture.source_tree import ROOT, SERVICES, all_modules, at, imported, nodes, package, parsed
from msgspec import Struct

from llmproxy.common import channels, config_file
from llmproxy.common import config as configuration
from llmproxy.common.actions import Action
from llmproxy.common.channels import CHANNELS, Channel
from llmproxy.common.errors import CATALOGUE
from llmproxy.common.explanations import Explanation
from llmproxy.common.permissions import PERMISSIONS
from llmproxy.common.policy import When

UNBOUNDED_LABELS = {
    "key",
    "user",
    "principal",
    "client",
    "client_ip",
    "ip",
    "request",
    "request_id",
    "id",
    "path",
    "model",
}
METRIC_NAME = re.compile(r"llmproxy_[a-z][a-z0-9_]*")
SUBJECT_OWNERS = {"channels.py", "permissions.py", "topology.py"}


@cache
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def pages() -> dict[Path, str]:
    found: dict[Path, str] = generator().pages()
    return found


@pytest.mark.parametrize(
    "name",
    [
        "admin-api.md",
        "channels.md",
        "endpoints.md",
        "guarantees.md",
        "metrics.md",
        "pii.md",
        "policy.md",
        "secrets.md",
        "settings.md",
        "support.md",
    ],
)
def test_generated_pages_are_current(name: str) -> None:
    path = ROOT / "docs" / name
    assert path.read_text() == pages()[path], (
        f"docs/{name} no longer says what the code does: run `make docs` (python docs/generate.py) and commit it."
    )


def test_the_page_about_the_policy_has_every_action_condition_and_field_and_its_examples_are_valid() -> None:
    page = (ROOT / "docs" / "policy.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) | {"end"}
    named = {*get_args(Action), *When.__struct_fields__, *Explanation.__struct_fields__}
    assert named <= rows, f"docs/policy.md has no row for {named - rows}"
    examples = [config_file.parse(text, {}).policy for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert examples
    assert examples[0].overrides


def test_every_channel_is_in_the_catalogue() -> None:
    declared = {name: value for name, value in vars(channels).items() if isinstance(value, Channel)}
    missing = [name for name, channel in declared.items() if channel not in CHANNELS]
    assert not missing, (
        f"{missing} are not in channels.CHANNELS, so docs/channels.md and the permission tests overlook them."
    )


def test_no_two_channels_share_a_subject() -> None:
    filters = [channel.filter() for channel in CHANNELS]
    assert len(filters) == len(set(filters)), "two channels on one subject: a reader cannot know what it receives."


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.pattern)
def test_every_channel_has_somebody_who_may_publish_on_it(channel: Channel[Any]) -> None:
    bounced = channel.pattern.startswith("bounce.")  # nats-server itself publishes those.
    assert bounced or generator().publishers(channel), (
        f"no service's NATS user may publish {channel.pattern}: either it is dead, or permissions.py forgot it."
    )


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.pattern)
def test_every_channel_has_somebody_who_may_read_it(channel: Channel[Any]) -> None:
    assert generator().subscribers(channel), (
        f"no service's NATS user may read {channel.pattern}: either it is dead, or permissions.py forgot it."
    )


def test_every_service_has_permissions() -> None:
    missing = [service for service in SERVICES if service not in PERMISSIONS]
    assert not missing, f"{missing} have no row in permissions.PERMISSIONS; without one a service cannot use the bus."


def test_subjects_are_written_in_the_catalogue_alone() -> None:
    strays = [
        f"{at(path, node)} {node.value!r}"
        for path in all_modules()
        if path.name not in SUBJECT_OWNERS
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(f"{channels.ROOT}.")
    ]
    assert not strays, f"{strays}: subjects come from channels.py, where text is encoded and the type is bound."


# -- metrics


def test_metrics_are_declared_in_metrics_files_alone() -> None:
    strays = [
        at(path, call)
        for path in all_modules()
        if path.name != "metrics.py" and "prometheus_client" in {module for module, _ in imported(nodes(path))}
        for call in generator().metric_calls(parsed(path))
    ]
    assert not strays, f"{strays}: declare metrics in the service's metrics.py, the one list of what it measures."


def metric_declarations() -> list[tuple[str, tuple[str, str, list[str]]]]:
    return [
        (at(path, call), generator().described(call))
        for path in all_modules()
        if path.name == "metrics.py"
        for call in generator().metric_calls(parsed(path))
    ]


def test_every_metric_has_our_prefix_and_a_meaning() -> None:
    wrong = [
        f"{place} {name}"
        for place, (name, meaning, _) in metric_declarations()
        if not (METRIC_NAME.fullmatch(name) and meaning)
    ]
    assert not wrong, (
        f"{wrong}: a metric is llmproxy_<service>_<what>_<unit> and says what it means; dashboards depend on it."
    )


def test_no_metric_is_declared_twice() -> None:
    names = [name for _, (name, _, _) in metric_declarations()]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, f"{twice}: two services cannot own one metric."


def test_no_metric_label_is_unbounded_or_personal() -> None:
    wrong = [
        f"{place} {name}{sorted(set(labels) & UNBOUNDED_LABELS)}"
        for place, (name, _, labels) in metric_declarations()
        if set(labels) & UNBOUNDED_LABELS
    ]
    assert not wrong, f"{wrong}: a label that callers choose grows without bound, and tells who asked for what."


# -- errors


def test_every_error_code_is_in_the_catalogue() -> None:
    unknown = [
        f"{at(path, node)} {node.args[0].value!r}"
        for path in all_modules()
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("GatewayError", "Unavailable", "Block")
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
        and node.func.id != "Block"
        and node.args[0].value not in CATALOGUE
    ]
    assert not unknown, f"{unknown}: a code outside errors.CATALOGUE has no status and no dialect; add it there."


# -- adapters


WITHOUT_A_WIRE = {"demo"}  # Answers by itself; tests/unit/provider_workers judges it.


def adapter_names() -> list[str]:
    folder = package("provider-workers") / "adapters"
    files = [path.stem for path in folder.glob("*.py") if path.stem not in {"__init__", "base", *WITHOUT_A_WIRE}]
    return sorted(stem.replace("_", "-") for stem in files)  # The provider's name.


@pytest.mark.parametrize("adapter", adapter_names())
def test_every_adapter_has_wire_cases(adapter: str) -> None:
    folder = ROOT / "tests/conformance/wire" / adapter
    cases = [path for path in folder.glob("*") if path.is_dir()] if folder.is_dir() else []
    assert cases, (
        f"tests/conformance/wire/{adapter}/ has no case. A provider's dialect is known by what it sends and receives; "
        "an adapter without recorded cases is a guess."
    )


@pytest.mark.parametrize(
    "path", [path for path in all_modules() if path.parent.name == "adapters"], ids=lambda path: path.stem
)
def test_an_adapter_names_its_reference(path: Any) -> None:
    if path.stem in ("__init__", "base", "demo"):
        return  # Ours; there is no vendor.
    assert "https://" in (ast.get_docstring(parsed(path)) or ""), (
        f"{path.name}: link the vendor's reference at the top."
    )


def test_provider_libraries_are_not_imported() -> None:
    vendors = {"openai", "anthropic", "google", "ollama"}
    used = [
        at(path, node)
        for path in all_modules()
        for module, node in imported(nodes(path))
        if module.partition(".")[0] in vendors
    ]
    assert not used, (
        f"{used}: vendors' packages judge our answers in tests; shipping them would let them shape the wire."
    )


READ_BY_NAME = {
    "Injection": {"assistant", "parameter"},  # `Injection.threshold` asks by role.
    "Recognizer": {"deny_list_score"},  # Handed to Presidio as a mapping.
    "When": {"tenants", "principals"},  # Compared by `applies`, field after field.
}


def sections(kind: Any) -> set[type[Struct]]:
    """Every struct that a configuration may hold."""
    found: set[type[Struct]] = set()
    todo = [kind]
    while todo:
        one = todo.pop()
        if isinstance(one, type) and issubclass(one, Struct):
            if one not in found:
                found.add(one)
                todo += get_type_hints(one).values()
        else:
            todo += get_args(one)
    return found


def test_every_setting_is_read_by_somebody() -> None:
    code = "\n".join(path.read_text() for path in all_modules())
    read = set(re.findall(r"\.(\w+)\b", code))
    for section in sections(configuration.Config):
        known = READ_BY_NAME.get(section.__name__.removesuffix("Changes"), set())
        dead = set(section.__struct_fields__) - read - known
        assert not dead, f"{section.__name__}: nobody reads {sorted(dead)}; a setting that does nothing is a lie"
