"""What the pages say there is, there is: links and paths, configurations, commands, settings, variables and metrics."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import pytest
from architecture.source_tree import ROOT
from msgspec import Struct

from llmproxy.common import config as configuration
from llmproxy.common import config_file
from llmproxy.common.errors import CATALOGUE
from llmproxy.launcher.cli import cli

PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "services").glob("*/README.md"),
]
NAMED = [page for page in PAGES if page.name not in ("CHANGELOG.md", "secrets.md")]
"""Without what tells of the past, and a table of expressions."""

RUNBOOK = ROOT / "docs" / "runbooks" / "requests-fail.md"

FENCED = re.compile(r"^( *)```\w*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PLACE = re.compile(r"(?<![\w/.~-])((?:docs|tests|libs|services|tools)/[\w./*-]+)")
PROGRAM = re.compile(r"(?:\.venv/bin/)?llmproxy")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", FENCED.sub("", text_of(page)), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


@pytest.mark.parametrize("page", NAMED, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(INLINE.sub("", FENCED.sub("", text_of(page)))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name(page)} links to {target}, which is not there"
        assert not anchor or anchor in anchors(there), f"{name(page)} links to {target}, and there is no such heading"


@pytest.mark.parametrize("page", NAMED, ids=name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    for found in set(PLACE.findall(text_of(page))):
        path = found.rstrip("./")
        decision = re.fullmatch(r"docs/adr/\d{4}", path)
        assert list(ROOT.glob(f"{path}-*" if decision else path)), f"{name(page)} names {path}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_configuration_of_a_page_can_be_used(page: Path) -> None:
    for example in re.findall(r"^```yaml\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL):
        config_file.parse(example, {})


def commands(text: str) -> Iterator[list[str]]:
    """What follows `llmproxy` in every command of a page, written in a line or in a block."""
    blocks = "\n".join(block for _, block in FENCED.findall(text)).replace("\\\n", " ")
    for line in (*blocks.splitlines(), *INLINE.findall(FENCED.sub("", text))):
        try:
            words = shlex.split(line.partition("  #")[0])
        except ValueError:  # Prose, or a picture.
            continue
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            del words[0]
        if words and PROGRAM.fullmatch(words[0]) and len(words) > 1:
            yield words[1:]


def unknown_word(words: list[str]) -> str:
    """The first command or option that there is not; "" when there are all. What is no option is taken for an argument."""
    command: click.Command = cli
    for word in words:
        if isinstance(command, click.Group):
            if word not in command.commands:
                return word
            command = command.commands[word]
        elif word.startswith("--"):
            options = {spelling for option in command.params for spelling in option.opts}
            if word.partition("=")[0] not in {*options, "--help"}:
                return word
    return ""


@pytest.mark.parametrize("page", NAMED, ids=name)
def test_every_command_of_a_page_is_one(page: Path) -> None:
    for words in commands(text_of(page)):
        wrong = unknown_word(words)
        assert not wrong, f"{name(page)}: llmproxy {' '.join(words)}: there is no {wrong}"


def test_commands_are_found_in_pages_and_wrong_ones_in_commands() -> None:
    given = "`llmproxy audit show ID`\n```\nA=b .venv/bin/llmproxy up \\\n  --port 1   # why\nmake run\n```\n"
    assert list(commands(given)) == [["up", "--port", "1"], ["audit", "show", "ID"]]
    assert unknown_word(["audit", "show", "ID", "--json"]) == ""
    assert unknown_word(["audit", "prove"]) == "prove"
    assert unknown_word(["up", "--no-such"]) == "--no-such"


def settings(kind: Any, prefix: str = "") -> Iterator[str]:
    """`policy.injection.judge.model`, and all the others."""
    for field, of in get_type_hints(kind).items():
        yield prefix + field
        for inner in structs(of):
            yield from settings(inner, f"{prefix}{field}.")


def structs(kind: Any) -> Iterator[type[Struct]]:
    if isinstance(kind, type) and issubclass(kind, Struct):
        yield kind
    for inner in get_args(kind):
        yield from structs(inner)


SETTINGS = frozenset(settings(configuration.Config))
SECTIONS = "|".join(sorted({one.partition(".")[0] for one in SETTINGS}))
SETTING = re.compile(rf"`((?:{SECTIONS})\.[a-z_]+(?:\.[a-z_]+)*)`")
NO_SETTINGS = re.compile(r"policy\.kinds\.\w+|threats\.(?:ask|answer)|firewall\.override|.*\.(?:py|lua|yaml|json)")
"""Kinds are named one by one; subjects, kinds of findings and files look alike."""


@pytest.mark.parametrize("page", NAMED, ids=name)
def test_every_setting_that_a_page_names_is_one(page: Path) -> None:
    named = {one for one in SETTING.findall(text_of(page)) if not NO_SETTINGS.match(one)}
    assert named <= SETTINGS, f"{name(page)} names {sorted(named - SETTINGS)}; there is no such setting"


def test_every_variable_is_on_the_page_of_settings() -> None:
    listed = set(re.findall(r"LLM_PROXY_[A-Z_]+[A-Z]", text_of(ROOT / "docs" / "settings.md")))
    for page in (*NAMED, ROOT / "llmproxy.example.yaml", ROOT / "docker-compose.yml"):
        named = set(re.findall(r"LLM_PROXY_[A-Z_]+[A-Z]", text_of(page)))
        strange = {one for one in named - listed if not one.startswith("LLM_PROXY_ENDPOINT_")} - {"LLM_PROXY_KEY"}
        assert not strange, f"{name(page)} names {sorted(strange)}, which docs/settings.md does not"


def test_every_metric_that_a_page_names_is_measured() -> None:
    measured = set(re.findall(r"^\| `(llmproxy_\w+)`", text_of(ROOT / "docs" / "metrics.md"), re.MULTILINE))
    for page in NAMED:
        named = {re.sub(r"_(?:total|bucket)$", "", one) for one in re.findall(r"\bllmproxy_[a-z_]+", text_of(page))}
        strange = named - measured - {"llmproxy_up", "llmproxy_workers"}
        assert not strange, f"{name(page)} names {sorted(strange)}, which nobody measures"


def test_the_runbook_has_every_code_that_is_no_matter_of_the_request() -> None:
    rows = " ".join(line.split("|")[1] for line in text_of(RUNBOOK).splitlines() if line.startswith("| `"))
    codes = {code for code, kind in CATALOGUE.items() if kind.blame != "caller"}
    assert codes <= set(re.findall(r"`(\w+)`", rows)), "docs/runbooks/requests-fail.md says what to do about each"
