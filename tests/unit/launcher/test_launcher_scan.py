"""`llmproxy scan`: the guards' verdict on a text, a file, standard input and a file of many texts."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from llmproxy.common.policy import Policy
from llmproxy.launcher import exits
from llmproxy.launcher.cli import cli
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.scan import Text, chosen, scan, scan_all

EMAIL = "ann@example.org"
KEY = "AKIA" + "IOSFODNN7EXAMPLA"


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["scan", *arguments], input=stdin)


def scanned(*arguments: str, stdin: str | bytes | None = None) -> Any:
    result = run(*arguments, "--json", stdin=stdin)
    assert result.exit_code == exits.OK, result.output
    return json.loads(result.stdout)


def test_spans_are_of_the_characters_of_the_text() -> None:
    text = f"ünïcode first, then {EMAIL}."
    found = scanned(text)
    (span,) = found["spans"]
    assert text[span["start"] : span["end"]] == EMAIL
    assert span["type"] == "EMAIL"
    assert found["findings"] == ["email"]
    assert found["us"] > 0


def test_a_clean_text_has_no_spans_and_exit_code_0() -> None:
    found = scanned("the quick brown fox")
    assert (found["spans"], found["blocked"]) == ([], False)


def test_only_the_chosen_guards_look() -> None:
    text = f"{EMAIL} and {KEY}"
    assert scanned(text, "--guards", "pii")["findings"] == ["email"]
    assert [kind.partition(".")[0] for kind in scanned(text, "--guards", "secrets")["findings"]] == ["secret"]
    assert len(scanned(text)["findings"]) == 2


def test_a_guard_that_does_not_exist_is_named_with_those_that_do() -> None:
    result = run("x", "--guards", "telepathy")
    assert result.exit_code == exits.USAGE
    assert "telepathy" in result.output
    assert "secrets" in result.output


def test_a_policy_that_blocks_gives_exit_code_1(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("policy: {kinds: {email: block}}\n")
    result = run(EMAIL, "--policy", str(policy), "--json")
    assert result.exit_code == exits.NOT_SO
    assert json.loads(result.stdout)["blocked"] is True


def test_a_broken_policy_is_a_configuration_error(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("policy: {kinds: {email: shred}}\n")
    result = run(EMAIL, "--policy", str(policy))
    assert result.exit_code == exits.CONFIGURATION
    assert str(policy) in result.output


def test_files_and_standard_input_are_read(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(f"mail {EMAIL}")
    assert scanned("--file", str(file))["findings"] == ["email"]
    assert scanned("-", stdin=f"mail {EMAIL}")["findings"] == ["email"]
    assert scanned(stdin=f"mail {EMAIL}")["findings"] == ["email"]


def test_what_is_not_utf8_is_refused(tmp_path: Path) -> None:
    result = run("-", stdin=b"\xff\xfe")
    assert result.exit_code == exits.USAGE
    assert "UTF-8" in result.output


def test_every_line_is_answered_in_order_on_several_processes(tmp_path: Path) -> None:
    rows = [{"id": f"row-{number}", "text": EMAIL if number % 3 else "nothing", "more": 1} for number in range(500)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    result = run("--jsonl", str(file), "--processes", "2")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [row["id"] for row in rows]
    assert [len(answer["spans"]) for answer in answers] == [1 if number % 3 else 0 for number in range(500)]
    assert set(answers[0]) == {"id", "score", "blocked", "spans", "findings", "us"}


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": 1, "text": "a"}\n{"id": 2}\n')
    result = run("--jsonl", str(file), "--processes", "1")
    assert result.exit_code == exits.USAGE
    assert f"{file}:2" in result.output


def test_two_sources_at_once_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("x")
    assert run("x", "--file", str(file)).exit_code == exits.USAGE
    assert run("x", "--jsonl", str(file)).exit_code == exits.USAGE


def test_a_single_text_is_explained_on_a_terminal() -> None:
    result = run(f"mail {EMAIL}")
    assert "email" in result.output
    assert EMAIL in result.output
    assert "not blocked" in result.output


@pytest.mark.parametrize("processes", [1, 2])
def test_scanning_many_is_scanning_each(processes: int) -> None:
    items = [Text(str(number), f"text {number} {EMAIL if number % 2 else ''}") for number in range(130)]
    together = [one.findings for one in scan_all(items, ("all",), Policy(), "request", processes)]
    assert together == [scan(item, GUARDS, Policy()).findings for item in items]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300))
def test_any_text_has_a_verdict_with_spans_inside_it(text: str) -> None:
    found = scan(Text("x", text), chosen(("all",)), Policy())
    assert all(0 <= span.start < span.end <= len(text) for span in found.spans)
