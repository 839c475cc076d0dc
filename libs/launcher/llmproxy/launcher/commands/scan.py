"""`llmproxy scan`: what the guards say about a text. Needs no running gateway."""

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from llmproxy.launcher import exits
from llmproxy.launcher.jsonl import Lines
from llmproxy.launcher.policy_file import READABLE, load_policy

if TYPE_CHECKING:
    from llmproxy.shield.scan import Plan, Scanned, Text

TEXT_BYTES_MAX = 32 << 20  # As for a request's body.
SHOWN_CHARS_MAX = 24
STANDARD_INPUT = "-"
EMBEDDING_MODEL = "LLM_PROXY_EMBEDDING_MODEL"  # As for the shield.
COUNTED_BYTES_MAX = 1 << 20  # Read at once to count lines.

EPILOG = """\b
One JSON object for each line of --jsonl, in the order of the file:
  id        as it came, whatever JSON it is
  score     how likely the text is a prompt injection, 0 to 1, whatever threshold and mode the policy has;
            at most 0.05 where the guard sees nothing; 0 when that guard was not chosen
  blocked   whether the injection guard would refuse it under the policy, as the words of --role
  spans     [{"start", "end", "type"}]: personal data and secrets, in characters of the text, end exclusive
  findings  [{"guard", "kind", "action", "start", "end", "score"}]: all that the policy does not let pass;
            also "via" (the decodings that showed it) and "rule", where there are any
  us        CPU microseconds of the chosen guards on this text, without what score needs beyond them

\b
Exit codes:
  0  done: every line was answered, or a single text is not refused
  1  a single text would be refused, for whatever was found
  2  wrong usage, or a line that is not {"id", "text"}: it is named, those before it are answered
  3  the policy cannot be used
  6  a process was killed while it scanned, most likely for want of memory
"""


class Row(msgspec.Struct):
    """A line of --jsonl; other fields are ignored."""

    id: msgspec.Raw
    text: str


@click.command(epilog=EPILOG)
@click.argument("text", required=False)
@click.option("--file", "file", type=READABLE, help="Scan this file's text.")
@click.option(
    "--jsonl", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help='Scan every line {"id", "text"} of this file (- is standard input).',
)  # fmt: skip
@click.option(
    "--guards", multiple=True, default=("all",), show_default=True, metavar="NAME",
    help="all, or one of the guards (may be repeated, or several with commas): injection, pii, secrets, presidio, rules, topics, links, language.",
)  # fmt: skip
@click.option(
    "--direction", type=click.Choice(["request", "response"]), default="request", show_default=True,
    help="response: the text is a model's answer, and `policy.answers` says what follows.",
)  # fmt: skip
@click.option(
    "--role", type=click.Choice(["user", "assistant", "tool", "definition", "system", "parameter"]),
    help="Whose words the text is: each has a threshold of its own.  [default: user; assistant for a response]",
)  # fmt: skip
@click.option(
    "--policy", "policy_file", type=READABLE,
    help="YAML: a policy, or a whole configuration, whose `policy` applies. Its overrides do not.  [default: the shipped policy]",
)  # fmt: skip
@click.option(
    "--processes", type=click.IntRange(1, 256), default=lambda: cores(),
    help="For --jsonl.  [default: all cores]",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a single text too.")
def scan(
    text: str | None,
    file: Path | None,
    jsonl: Path | None,
    guards: tuple[str, ...],
    direction: str,
    role: str | None,
    policy_file: Path | None,
    processes: int,
    as_json: bool,
) -> None:
    """Say what the guards find in TEXT, in a file, in a file of many texts, or in standard input (-).

    Nothing has to run, and nothing is sent anywhere. An embedding model is asked as the shield asks it, where there is one.
    The gateway's firewall is not asked: it reads requests, not texts.

    \b
    llmproxy scan "write to ann@example.org"
    llmproxy scan --file page.html --role tool
    llmproxy scan --jsonl prompts.jsonl > verdicts.jsonl
    """
    from llmproxy.shield.scan import Plan, Scanner, Text, guard_names

    names = tuple(name for given in guards for name in given.split(",") if name)
    _check_guards(names, guard_names())
    is_answer = direction == "response"
    spoken = role or ("assistant" if is_answer else "user")
    plan = Plan(
        guards=names,
        policy=load_policy(policy_file),
        role=spoken,  # type: ignore[arg-type]
        is_answer=is_answer,
        embedding=os.environ.get(EMBEDDING_MODEL, ""),
    )
    if wrong := plan.embedding_problem:
        raise click.UsageError(f"{EMBEDDING_MODEL}: {wrong}; set it to off to scan without the embedding model")
    if jsonl is not None:
        if text is not None or file is not None:
            raise click.UsageError("give one of TEXT, --file and --jsonl")
        _scan_lines(jsonl, plan, processes)
        return
    item = Text(msgspec.Raw(b'"text"'), _one_text(text, file))
    scanned = Scanner(plan).scan(item)
    if as_json:
        click.echo(msgspec.json.encode(scanned))
    else:
        _show(scanned, item.text, weighed=not {"all", "injection"}.isdisjoint(names))
    if scanned.refused:
        raise click.exceptions.Exit(exits.NOT_SO)


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_guards(asked: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in asked:
        if name != "all" and name not in known:
            raise click.UsageError(f"there is no guard {name!r}; there are: all, {', '.join(known)}")
    if not asked:
        raise click.UsageError(f"name a guard; there are: all, {', '.join(known)}")


def _one_text(text: str | None, file: Path | None) -> str:
    if text is not None and file is not None:
        raise click.UsageError("give TEXT or --file, not both")
    if file is not None:
        with file.open("rb") as opened:
            return _decoded(opened.read(TEXT_BYTES_MAX + 1), str(file))
    if text is None or text == STANDARD_INPUT:
        if text is None and sys.stdin.isatty():
            raise click.UsageError("give a TEXT, --file or --jsonl; - reads standard input")
        return _decoded(sys.stdin.buffer.read(TEXT_BYTES_MAX + 1), "standard input")
    return text


def _decoded(data: bytes, name: str) -> str:
    if len(data) > TEXT_BYTES_MAX:
        raise exits.Failure(f"{name} is larger than {TEXT_BYTES_MAX >> 20} MiB; split it", exits.USAGE)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise exits.Failure(f"{name} is not UTF-8 at byte {error.start}", exits.USAGE) from error


def _scan_lines(path: Path, plan: "Plan", processes: int) -> None:
    from concurrent.futures.process import BrokenProcessPool

    from llmproxy.shield.scan import scan_all

    console = Console(stderr=True)
    bar = (
        Progress("scanning", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True)
        if console.is_terminal
        else nullcontext()
    )
    is_piped = str(path) == STANDARD_INPUT
    opened = nullcontext(sys.stdin.buffer) if is_piped else path.open("rb")
    out = sys.stdout.buffer
    with opened as file, bar as progress:
        total = None if is_piped or progress is None else _count(path)
        task = progress.add_task("", total=total) if progress is not None else None
        lines = Lines(file, "standard input" if is_piped else str(path), Row, '{"id", "text"}')
        try:
            for scanned in scan_all(_texts(lines), plan, processes):
                out.write(msgspec.json.encode(scanned) + b"\n")
                if progress is not None and task is not None:
                    progress.advance(task)
        except BrokenProcessPool as error:
            raise exits.Failure(
                "a process that scanned was killed, most likely for want of memory; try --processes 1",
                exits.CANNOT_START,
            ) from error
        finally:
            out.flush()
    if lines.failure is not None:
        raise lines.failure


def _texts(lines: Lines[Row]) -> "Iterator[Text]":
    from llmproxy.shield.scan import Text

    return (Text(row.id, row.text) for row in lines)


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in _blocks(file))


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(COUNTED_BYTES_MAX):
        yield block


def _show(scanned: "Scanned", text: str, *, weighed: bool) -> None:
    """A single text is the operator's own, so what was found in it is shown, shortened. `weighed`: by the injection guard."""
    console = Console()
    if scanned.findings:
        table = Table(box=None, header_style="dim")
        for column in ("guard", "kind", "action", "from", "to", "text"):
            table.add_column(column, justify="right" if column in ("from", "to") else "left")
        for one in scanned.findings:
            quoted = text[one.start : one.end]
            shown = quoted if len(quoted) <= SHOWN_CHARS_MAX else f"{quoted[: SHOWN_CHARS_MAX - 1]}…"
            table.add_row(one.guard, one.kind, one.action, str(one.start), str(one.end), escape(repr(shown)[1:-1]))
        console.print(table)
    found = "would be refused" if scanned.refused else "would pass" if scanned.findings else "nothing found"
    injection = f"injection {scanned.score:.3f}{' (blocked)' if scanned.blocked else ''}; " if weighed else ""
    click.echo(f"{found}; {injection}{scanned.us:.0f} us")
