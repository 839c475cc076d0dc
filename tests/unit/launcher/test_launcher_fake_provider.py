"""`llmproxy fake-provider`: it prints a configuration that can be used, and answers as it was told to."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from patience import PATIENCE_S

from llmproxy.common.config_file import parse
from llmproxy.fakes.families import FAMILIES, MODELS
from llmproxy.launcher import exits
from llmproxy.launcher.cli import cli
from llmproxy.launcher.commands.fake_provider import snippet, variable


@contextmanager
def fake(*options: str) -> Iterator[tuple[str, str]]:
    """(its base URL, the configuration that it prints)"""
    command = [str(Path(sys.executable).with_name("llmproxy")), "fake-provider", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert process.stdout is not None
        printed = ""
        while "Ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        found = re.search(r"answers at (\S+)", printed)
        assert found is not None
        yield found[1], "".join(line[4:] for line in printed.splitlines(keepends=True) if line.startswith("    "))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def post(url: str, body: Any, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_it_answers_by_its_script_and_prints_how_to_use_it(tmp_path: Path) -> None:
    script = tmp_path / "answers.yaml"
    script.write_text("rules: [{when: {says: fail}, status: 529, message: busy}, {text: 'scripted: {said}'}]")
    with fake("--family", "anthropic", "--script", str(script), "--key", "k", "--model", "claude-x") as (url, printed):
        assert yaml.safe_load(printed)["endpoints"]["fake-anthropic"]["models"] == ["claude-x"]
        headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        body = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        status, answer = post(f"{url}/v1/messages", body, **headers)
        assert (status, answer["content"]) == (200, [{"type": "text", "text": "scripted: Hi"}])
        body["messages"] = [{"role": "user", "content": "now fail"}]
        status, answer = post(f"{url}/v1/messages", body, **headers)
        assert (status, answer["error"]) == (529, {"type": "overloaded_error", "message": "busy"})
        assert post(f"{url}/v1/messages", {**body, "model": "other"}, **headers)[0] == 404
        assert post(f"{url}/v1/messages", body)[0] == 401


def test_failures_by_rate_are_the_same_at_every_start() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
    seen = []
    for _ in range(2):
        with fake("--family", "openai", "--error-rate", "0.5", "--key", "", "--quiet") as (url, _printed):
            seen.append([post(f"{url}/chat/completions", body)[0] for _ in range(12)])
    assert seen[0] == seen[1]
    assert 200 in seen[0]
    assert set(seen[0]) - {200} <= {429, 500, 503}
    assert len(set(seen[0])) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_configuration_that_it_prints_can_be_used(family: str) -> None:
    vendor = FAMILIES[family]
    written = snippet(vendor, f"http://127.0.0.1:9{vendor.base}", MODELS[family], vendor.key)
    config = parse(written, {variable(vendor): vendor.key})
    (endpoint,) = config.endpoints.values()
    assert endpoint.provider == family
    assert "upstream-key" not in written


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--family", "nobody"], exits.USAGE), (["--family", "openai", "--error-rate", "2"], exits.USAGE)],
)
def test_wrong_usage_is_told(arguments: list[str], code: int) -> None:
    assert CliRunner().invoke(cli, ["fake-provider", *arguments]).exit_code == code


def test_a_script_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    script = tmp_path / "bad.yaml"
    script.write_text("rules: [{txt: a}]")
    result = CliRunner().invoke(cli, ["fake-provider", "--family", "openai", "--script", str(script)])
    assert result.exit_code == exits.CONFIGURATION
    assert "txt" in result.output
    assert "bad.yaml" in result.output


def test_a_port_that_is_taken_is_told_once_with_the_fix() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = CliRunner().invoke(cli, ["fake-provider", "--family", "openai", "--port", str(port)])
    assert answer.exit_code == exits.CANNOT_START
    assert answer.output.count("127.0.0.1") == 1
    assert "choose another with --host or --port" in answer.output


def test_other_commands_start_without_a_web_server() -> None:
    asks = "import sys, llmproxy.launcher.cli; sys.exit(bool({'aiohttp', 'llmproxy.shield'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", asks], check=False).returncode == 0
