"""`llmproxy policy`: fixtures that a policy is held to, and what another policy would have changed."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import msgspec
import pytest
from click.testing import CliRunner, Result

from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.ledger_questions import LedgerEntry
from llmproxy.common.records import AuditRecord
from llmproxy.launcher import exits
from llmproxy.launcher.cli import cli

EXAMPLE = Path(__file__).parents[3] / "policy-tests.example.yaml"
EMAIL = "ann@example.org"


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    result = CliRunner().invoke(cli, ["policy", *arguments], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def file(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def checked(folder: Path, tests: str, *options: str) -> Result:
    return run("test", file(folder, "tests.yaml", tests), *options)


# -- test


def test_the_example_in_the_repository_is_as_it_says() -> None:
    result = run("test", str(EXAMPLE))
    assert result.exit_code == exits.OK, result.output
    assert " 0 not" in result.output


def test_what_is_not_as_expected_is_named_with_what_it_was(tmp_path: Path) -> None:
    result = checked(
        tmp_path,
        f"""
tests:
  - {{name: right, text: hello there, expect: {{verdict: allow}}}}
  - {{name: wrong, text: "mail {EMAIL}", expect: {{verdict: block, kinds: [phone], masked: "mail [PHONE]"}}}}
""",
    )
    assert result.exit_code == exits.NOT_SO
    assert "ok    right" in result.output
    assert "the verdict is mask, expected block" in result.output
    assert "the kinds are email, expected phone" in result.output
    assert "goes on as 'mail [EMAIL]', expected 'mail [PHONE]'" in result.output


def test_a_text_that_nothing_was_masked_in_goes_on_as_it_is(tmp_path: Path) -> None:
    assert checked(tmp_path, "tests: [{text: hello, expect: {masked: hello}}]").exit_code == exits.OK
    result = checked(tmp_path, "tests: [{text: hello, expect: {masked: hallo}}]")
    assert "goes on as 'hello', expected 'hallo'" in result.output


def test_a_file_without_tests_proves_nothing_and_is_refused(tmp_path: Path) -> None:
    result = checked(tmp_path, "tests: []")
    assert result.exit_code == exits.USAGE
    assert "tests: holds none" in result.output


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{text: a, expect: {verdct: allow}}", "tests[0].expect: unknown field 'verdct'; did you mean 'verdict'?"),
        (
            "{text: a, expect: {verdict: pass}}",
            "tests[0].expect.verdict: Invalid enum value 'pass'; one of allow, flag,",
        ),
        ("{text: a, api: chats, expect: {verdict: allow}}", "tests[0].api: Invalid enum value 'chats'; one of chat,"),
    ],
)
def test_what_is_wrong_in_a_file_of_tests_is_named_with_the_fix(tmp_path: Path, wrong: str, said: str) -> None:
    result = checked(tmp_path, f"tests: [{wrong}]")
    assert result.exit_code == exits.USAGE
    assert said in result.output


def test_results_come_as_json_and_as_junit(tmp_path: Path) -> None:
    tests = 'tests: [{text: hello, expect: {verdict: allow}}, {name: "b\\x01\\u2028", text: hello, expect: {verdict: block}}]'
    found = json.loads(checked(tmp_path, tests, "--format", "json").stdout)
    assert (found["passed"], found["failed"]) == (1, 1)
    assert [one["name"] for one in found["results"]] == ["test 1", "b\x01\u2028"]
    suite = ElementTree.fromstring(checked(tmp_path, tests, "--format", "junit").stdout)[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.find("failure") is not None for case in suite] == [False, True]


def test_overrides_apply_to_whom_they_name(tmp_path: Path) -> None:
    policy = file(
        tmp_path, "policy.yaml", "overrides: [{when: {roles: [doctor], apis: [messages]}, kinds: {email: block}}]"
    )
    expectations = [("[doctor]", "messages", "block"), ("[nurse]", "messages", "mask"), ("[doctor]", "chat", "mask")]
    tests = "\n".join(
        f'  - {{text: "mail {EMAIL}", roles: {roles}, api: {api}, expect: {{verdict: {verdict}}}}}'
        for roles, api, verdict in expectations
    )
    assert checked(tmp_path, f"tests:\n{tests}", "--policy", policy).exit_code == exits.OK
    assert checked(tmp_path, f"policy: policy.yaml\ntests:\n{tests}").exit_code == exits.OK
    assert checked(tmp_path, f"tests:\n{tests}").exit_code == exits.NOT_SO


def test_each_role_can_be_spoken_for(tmp_path: Path) -> None:
    tests = "\n".join(
        f'  - {{text: "mail {EMAIL}", role: {role}, expect: {{verdict: mask, masked: "mail [EMAIL]"}}}}'
        for role in ("user", "assistant", "tool", "definition", "system", "parameter")
    )
    assert checked(tmp_path, f"tests:\n{tests}").exit_code == exits.OK


def test_an_answer_is_the_assistants_words(tmp_path: Path) -> None:
    tests = f'tests: [{{text: "mail {EMAIL}", direction: response, expect: {{verdict: block, kinds: [email]}}}}]'
    policy = file(tmp_path, "policy.yaml", "{kinds: {email: allow}, answers: {kinds: {email: block}}}")
    assert checked(tmp_path, tests, "--policy", policy).exit_code == exits.OK


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("tests: [{text: x, body: {}, expect: {verdict: allow}}]", "text or body"),
        ("tests: [{name: odd, text: x, expect: {}}]", "odd: expect is empty"),
        ("tests: [{text: x, expect: {verdict: perhaps}}]", "perhaps"),
        ("tests: [{text: x, expects: {}}]", "expect"),
        ("tests: [{text: x, direction: response, expect: {masked: x}}]", "masked is of requests"),
        ("tests: [", "not valid YAML at line 1"),
        ("just words", "object"),
    ],
)
def test_a_file_that_holds_no_tests_says_where(tests: str, said: str, tmp_path: Path) -> None:
    result = checked(tmp_path, tests)
    assert result.exit_code == exits.USAGE
    assert said in result.output


def test_a_policy_in_the_file_that_cannot_be_used_is_a_configuration_error(tmp_path: Path) -> None:
    for policy in ("{kinds: {email: shred}}", "missing.yaml"):
        result = checked(tmp_path, f"policy: {policy}\ntests: [{{text: x, expect: {{verdict: allow}}}}]")
        assert result.exit_code == exits.CONFIGURATION
        assert "shred" in result.output or "missing.yaml" in result.output


# -- backtest


def entry(seq: int, record: AuditRecord) -> LedgerEntry:
    return LedgerEntry(seq=seq, hash="00", record=record)


def recorded(number: int, tenant: str, *findings: Explanation) -> AuditRecord:
    return AuditRecord(
        id=str(number),
        at_ms=1,
        verdict="answered",
        tenant=tenant,
        api="chat",
        explained=Explained(findings) if findings else None,
    )


MASKED = Explanation(guard="pii", kind="email", action="mask", path="messages[0].content", start=1, end=9)
LEDGER = [
    entry(3, recorded(3, "acme", MASKED, MASKED)),
    entry(2, recorded(2, "hospital", MASKED)),
    entry(1, recorded(1, "acme")),
]
CANDIDATE = "overrides: [{when: {tenants: [acme]}, kinds: {email: block}}]"


def test_exported_records_say_what_would_have_changed_for_whom(tmp_path: Path) -> None:
    records = file(tmp_path, "records.jsonl", "\n".join(msgspec.json.encode(one).decode() for one in LEDGER))
    options = ("--policy", file(tmp_path, "candidate.yaml", CANDIDATE), "--records", records)
    found = json.loads(run("backtest", *options, "--json").stdout)
    assert (found["requests"], found["with_findings"], found["findings"]) == (3, 2, 3)
    assert found["changes"] == [
        {"tenant": "acme", "kind": "email", "before": "mask", "after": "block", "findings": 2, "requests": 1}
    ]
    assert found["turns"] == [{"tenant": "acme", "before": "mask", "after": "block", "requests": 1}]
    told = run("backtest", *options).stdout
    assert "what this cannot know" in told
    assert "below the threshold" in told


class Admin(BaseHTTPRequestHandler):
    """The one resource that is asked, a page of two at a time."""

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        before = int(asked.get("before_seq", ["99"])[0])
        page = [
            one
            for one in LEDGER
            if one.seq < before and asked.get("tenant", ["acme"])[0] in ("acme", one.record.tenant)
        ][:2]
        answer = msgspec.json.encode({"entries": page, "next_before_seq": page[-1].seq if page else None})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def admin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Admin)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_running_gateways_ledger_is_read_page_by_page(admin: str, tmp_path: Path) -> None:
    environment = {"LLM_PROXY_ADMIN_URL": admin, "LLM_PROXY_ADMIN_TOKEN": "t"}
    options = ("--policy", file(tmp_path, "candidate.yaml", CANDIDATE), "--json", "--data", str(tmp_path))
    assert json.loads(run("backtest", *options, env=environment).stdout)["requests"] == 3
    assert json.loads(run("backtest", *options, "--limit", "2", env=environment).stdout)["requests"] == 2


def test_without_a_gateway_it_says_how_to_name_one(tmp_path: Path) -> None:
    candidate = file(tmp_path, "candidate.yaml", CANDIDATE)
    result = run("backtest", "--policy", candidate, "--data", str(tmp_path), env={"LLM_PROXY_ADMIN_TOKEN": ""})
    assert result.exit_code == exits.UNREACHABLE


def test_two_policies_look_at_the_same_texts_and_bodies(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "text": f"mail {EMAIL}", "tenant": "acme"},
        {"id": "two", "text": f"mail {EMAIL}", "tenant": "hospital"},
        {
            "id": [3],
            "tenant": "acme",
            "body": {"model": "m", "messages": [{"role": "user", "content": f"mail {EMAIL}"}]},
        },
        {"id": 4, "text": "hello \ud83d there"},
    ]
    texts = file(tmp_path, "rows.jsonl", "\n".join(map(json.dumps, rows)))
    candidate = file(tmp_path, "candidate.yaml", CANDIDATE)
    found = json.loads(run("backtest", "--policy", candidate, "--jsonl", texts, "--json").stdout)
    assert found["rows"] == 4
    assert [one["id"] for one in found["changed"]] == [1, [3]]
    assert found["changed"][0]["kinds"] == {"email": ["mask", "block"]}
    same = json.loads(run("backtest", "--policy", candidate, "--against", candidate, "--jsonl", texts, "--json").stdout)
    assert same["changed"] == []
    assert "mask -> block" in run("backtest", "--policy", candidate, "--jsonl", texts).stdout


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    candidate = file(tmp_path, "candidate.yaml", CANDIDATE)
    for option, line in (("--jsonl", '{"id": 1}'), ("--jsonl", "{"), ("--records", '{"id": 1}')):
        result = run("backtest", "--policy", candidate, option, file(tmp_path, "lines.jsonl", line))
        assert result.exit_code == exits.USAGE
        assert "1" in result.stderr
        assert "lines.jsonl" in result.stderr
