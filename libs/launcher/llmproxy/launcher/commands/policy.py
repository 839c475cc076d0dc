"""`llmproxy policy`: say what a policy is to do and check it; ask what another one would have changed."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click
import msgspec
from rich.table import Table

from llmproxy.common.ledger_questions import LedgerEntry
from llmproxy.common.policy import Policies, Policy
from llmproxy.common.records import AuditRecord
from llmproxy.launcher import exits, fixtures, tables
from llmproxy.launcher.commands.keys import Duration
from llmproxy.launcher.jsonl import Lines
from llmproxy.launcher.options import ask_admin, data_option
from llmproxy.launcher.policy_file import READABLE, load_policy, parsed_policy

if TYPE_CHECKING:
    from llmproxy.shield.hindsight import Hindsight
    from llmproxy.shield.trial import Asked, Outcome

PAGE = 500  # Records asked for at once: a record with all its explanations has some four KB.
CHANGED_SHOWN_MAX = 20  # Rows that a terminal names; --json names all.

TEST_EPILOG = """\b
A file of tests (docs/scan.md has all fields):
  policy: policy.yaml          # or the policy itself; --policy is used instead of it
  tests:
    - name: an address does not leave
      text: write to ann@example.org
      tenant: acme
      expect: {verdict: mask, kinds: [email], masked: "write to [EMAIL]"}

\b
Exit codes:
  0  everything is as expected
  1  something is not
  2  wrong usage, or a file that holds no tests: it says where
  3  the policy cannot be used
"""


@click.group()
def policy() -> None:
    """Check what a policy does, and what another one would change. Nothing has to run."""


@policy.command("test", epilog=TEST_EPILOG)
@click.argument("files", nargs=-1, required=True, type=READABLE)
@click.option(
    "--policy", "policy_file", type=READABLE,
    help="YAML: a policy, or a whole configuration.  [default: what each file says, or else the shipped policy]",
)  # fmt: skip
@click.option("--format", "shape", type=click.Choice(list(fixtures.FORMATS)), default="text", show_default=True)
def test_policy(files: tuple[Path, ...], policy_file: Path | None, shape: str) -> None:
    """Check that a policy does what FILES expect of it: for continuous integration.

    Texts and bodies are treated as the shield treats them, overrides included.
    """
    given = load_policy(policy_file) if policy_file else None
    results: list[fixtures.Result] = []
    for file in files:
        found = fixtures.load(file)
        policies = Policies(given or _policy_of(found, file))
        for number, test in enumerate(found.tests, 1):
            problems = fixtures.unmet(test, _tried(test, policies), _path(test))
            results.append(fixtures.Result(file=str(file), name=fixtures.called(test, number), problems=problems))
    click.echo(fixtures.FORMATS[shape](results))
    if any(one.problems for one in results):
        raise click.exceptions.Exit(exits.NOT_SO)


def _policy_of(found: fixtures.Fixtures, file: Path) -> Policy:
    match found.policy:
        case None:
            return Policy()
        case str() as name:
            beside = file.parent / name
            if not beside.is_file():
                raise exits.Failure(f"{file}: policy: there is no file {beside}", exits.CONFIGURATION)
            return load_policy(beside)
        case written:
            return parsed_policy(json.dumps(written, default=str), f"{file}: policy")


def _asked(one: "fixtures.Test | TextRow") -> "Asked":
    from llmproxy.shield.trial import Asked

    return Asked(**{name: getattr(one, name) for name in Asked.__struct_fields__})


def _tried(test: "fixtures.Test | TextRow", policies: Policies) -> "Outcome":
    from llmproxy.shield.trial import try_answer, try_request

    if test.direction == "response":
        return try_answer(test.text or "", _asked(test), policies)
    return try_request(_body(test), _asked(test), policies)


def _body(test: "fixtures.Test | TextRow") -> bytes:
    from llmproxy.shield.trial import request

    if test.text is not None:
        return request(test.text, test.role, test.model)
    return bytes(test.body) if isinstance(test.body, msgspec.Raw) else json.dumps(test.body, default=str).encode()


def _path(test: fixtures.Test) -> str:
    """Where the text of a test stands in the body that is made of it."""
    places = {"parameter": "metadata.text", "definition": "tools[0].function.description"}
    return places.get(test.role, "messages[0].content")


# -- backtest


class TextRow(fixtures.Circumstances, kw_only=True, frozen=True):
    """A line of --jsonl; other fields are ignored."""

    id: msgspec.Raw
    text: str | None = None
    body: msgspec.Raw = msgspec.Raw(b"")

    def problem(self) -> str:
        if (self.text is None) != bool(bytes(self.body)):
            return "give text or body, one of them"
        return "a response is a text, not a body" if self.direction == "response" and self.text is None else ""


class RecordLine(msgspec.Struct):
    """A line of --records: the ledger's entry, as the admin API gives it. Only the record counts."""

    record: AuditRecord


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A row with which the two policies do not do the same."""

    id: msgspec.Raw
    tenant: str
    before: str
    after: str
    kinds: dict[str, tuple[str, str]]


class SideBySide(msgspec.Struct, kw_only=True):
    rows: int = 0
    verdicts: dict[str, int] = {}
    changed: list[Difference] = []


BACKTEST_EPILOG = """\b
What it can tell:
  from the ledger (the default, or --records): which recorded findings would have been refused, masked, flagged or let pass;
    not what was below the threshold of its time or of a kind that was let pass, for that was never recorded
  from --jsonl: everything about those texts, for both policies look at them now; nothing about other traffic

\b
Exit codes:
  0  done
  2  wrong usage, or a line that cannot be read: it is named
  3  a policy cannot be used
  4  the gateway cannot be reached, or refuses the admin token
"""


@policy.command(epilog=BACKTEST_EPILOG)
@click.option("--policy", "candidate", type=READABLE, required=True, help="YAML: a policy, or a whole configuration.")
@click.option(
    "--against", type=READABLE,
    help="With --jsonl: the policy to compare with.  [default: the shipped policy]",
)  # fmt: skip
@click.option(
    "--jsonl", type=READABLE,
    help='Lines {"id", "text"} or {"id", "body"}; also role, tenant, key, principal, roles, api, model.',
)  # fmt: skip
@click.option(
    "--records",
    type=READABLE,
    help="Entries of the ledger as the admin API gives them (GET /api/v1/audit), one JSON object a line.",
)
@click.option("--since", type=Duration(), default="7d", show_default=True, help="Of the running gateway's ledger.")
@click.option("--tenant", help="Of the running gateway's ledger.")
@click.option("--limit", type=click.IntRange(1), default=100_000, show_default=True, help="Records to ask for at most.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@data_option
def backtest(
    data: Path,
    candidate: Path,
    against: Path | None,
    jsonl: Path | None,
    records: Path | None,
    since: int,
    tenant: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Say what another policy would have changed: over the ledger, over exported records, or over texts of your own."""
    if jsonl is not None and records is not None:
        raise click.UsageError("give --jsonl or --records, not both")
    if against is not None and jsonl is None:
        raise click.UsageError("--against is for --jsonl; the ledger says itself what was done")
    after = Policies(load_policy(candidate))
    if jsonl is not None:
        _show_side_by_side(_compare(jsonl, Policies(load_policy(against)), after), as_json)
        return
    from llmproxy.shield.hindsight import look_back

    found = look_back(_kept(records) if records else _ledger(data, since, tenant, limit), after)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        _show_hindsight(found)


def _compare(file: Path, before: Policies, after: Policies) -> SideBySide:
    from llmproxy.shield.trial import differences

    found = SideBySide()
    with file.open("rb") as opened:
        lines = Lines(opened, str(file), TextRow, '{"id", "text"} or {"id", "body"}')
        for row in lines:
            if wrong := row.problem():
                raise exits.Failure(f"{file}: row {found.rows + 1}: {wrong}", exits.USAGE)
            one, other = _tried(row, before), _tried(row, after)
            found.rows += 1
            turn = one.verdict if one.verdict == other.verdict else f"{one.verdict} -> {other.verdict}"
            found.verdicts[turn] = found.verdicts.get(turn, 0) + 1
            kinds = differences(one, other)
            if kinds or one.verdict != other.verdict:
                found.changed.append(
                    Difference(id=row.id, tenant=row.tenant, before=one.verdict, after=other.verdict, kinds=kinds)
                )
    if lines.failure is not None:
        raise lines.failure
    return found


def _kept(file: Path) -> Iterator[AuditRecord]:
    with file.open("rb") as opened:
        lines = Lines(opened, str(file), RecordLine, '{"record": {"id", "at_ms", "verdict", ...}}')
        for row in lines:
            yield row.record
    if lines.failure is not None:
        raise lines.failure


def _ledger(data: Path, since_ms: int, tenant: str | None, limit: int) -> Iterator[AuditRecord]:
    """Of the running gateway, newest first."""
    wanted: dict[str, Any] = {"from_ms": max(0, int(time.time() * 1000) - since_ms)} | (
        {"tenant": tenant} if tenant else {}
    )
    left = limit
    while left > 0:
        question = "/api/v1/audit?" + urlencode({**wanted, "limit": min(PAGE, left)})
        page = ask_admin(data, lambda admin, question=question: admin.ask("GET", question))  # type: ignore[misc]
        entries = msgspec.convert(page.get("entries", []), list[LedgerEntry], strict=False)
        yield from (entry.record for entry in entries)
        left -= len(entries)
        if not entries or not page.get("next_before_seq"):
            return
        wanted["before_seq"] = page["next_before_seq"]


def _show_hindsight(found: "Hindsight") -> None:
    console = tables.console()
    click.echo(f"requests: {found.requests}, with findings: {found.with_findings}; findings: {found.findings}")
    if found.changes:
        console.print(_table(("tenant", "kind", "was", "would be", "findings", "requests"), found.changes))
    if found.turns:
        click.echo("\nrequests whose own verdict would be another:")
        console.print(_table(("tenant", "was", "would be", "requests"), found.turns))
    if not found.changes:
        click.echo("nothing that was recorded would be treated differently")
    click.echo("\nwhat this cannot know:")
    for sentence in found.unknown:
        click.echo(f"  - {sentence}")


def _table(columns: tuple[str, ...], rows: Any) -> Table:
    table = Table(box=None, header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column in ("findings", "requests") else "left")
    for row in rows:
        table.add_row(*(str(value) for value in msgspec.structs.astuple(row)))
    return table


def _show_side_by_side(found: SideBySide, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        return
    click.echo(f"{found.rows} rows; {len(found.changed)} are treated differently")
    for turn, count in sorted(found.verdicts.items(), key=lambda item: (-item[1], item[0])):
        click.echo(f"  {count:>8}  {turn}")
    for one in found.changed[:CHANGED_SHOWN_MAX]:
        kinds = ", ".join(f"{kind}: {before} -> {after}" for kind, (before, after) in one.kinds.items())
        click.echo(f"  {bytes(one.id).decode()}: {kinds or f'{one.before} -> {one.after}'}")
    if len(found.changed) > CHANGED_SHOWN_MAX:
        click.echo(f"  and {len(found.changed) - CHANGED_SHOWN_MAX} more; --json names all")
