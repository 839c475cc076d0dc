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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from llmproxy.common.config import ConfigError, parse
from llmproxy.common.policy import Policy
from llmproxy.launcher import exits

if TYPE_CHECKING:
    from llmproxy.shield.scan import Scanned, Text

TEXT_BYTES_MAX = 32 << 20  # As for a request's body.
SHOWN_CHARS_MAX = 24
READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Row(msgspec.Struct):
    """A line of --jsonl; other fields are ignored."""

    id: str | int
    text: str


@click.command()
@click.argument("text", required=False)
@click.option("--file", "file", type=READABLE, help="Scan this file's text.")
@click.option(
    "--jsonl", type=READABLE, help='Scan every line {"id", "text"}; one JSON object a line comes out, in order.'
)
@click.option(
    "--guards", multiple=True, default=("all",), show_default=True, metavar="NAME",
    help="all, or one of the guards (may be repeated): injection, pii, secrets.",
)  # fmt: skip
@click.option("--direction", type=click.Choice(["request", "response"]), default="request", show_default=True)
@click.option(
    "--policy",
    "policy_file",
    type=READABLE,
    help="YAML configuration whose `policy` applies. Default: the shipped one.",
)
@click.option(
    "--processes", type=click.IntRange(1, 256), default=os.cpu_count() or 1, help="For --jsonl. Default: all cores."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a single text too.")
def scan(
    text: str | None,
    file: Path | None,
    jsonl: Path | None,
    guards: tuple[str, ...],
    direction: str,
    policy_file: Path | None,
    processes: int,
    as_json: bool,
) -> None:
    """Say what the guards find in TEXT, in a file, in a file of many texts, or in standard input (-).

    \b
    llmproxy scan "write to ann@example.org"
    llmproxy scan --file prompt.txt --guards pii
    llmproxy scan --jsonl prompts.jsonl > verdicts.jsonl

    Exit code 1 when a single text would be blocked.
    """
    from llmproxy.shield.scan import Text, chosen, guard_names
    from llmproxy.shield.scan import scan as scan_text

    _check_guards(guards, guard_names())
    policy = _policy(policy_file)
    if jsonl is not None:
        if text is not None or file is not None:
            raise click.UsageError("give one of TEXT, --file and --jsonl")
        _scan_lines(jsonl, guards, policy, direction, processes)
        return
    item = Text("text", _one_text(text, file))
    scanned = scan_text(item, chosen(guards), policy, direction)  # type: ignore[arg-type]  # click has checked it
    if as_json:
        click.echo(msgspec.json.encode(scanned))
    else:
        _show(scanned, item.text)
    if scanned.blocked:
        raise click.exceptions.Exit(exits.NOT_SO)


def _check_guards(asked: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in asked:
        if name != "all" and name not in known:
            raise click.UsageError(f"there is no guard {name!r}; there are: all, {', '.join(known)}")


def _policy(file: Path | None) -> Policy:
    if file is None:
        return Policy()
    try:
        return parse(file.read_text(encoding="utf-8"), os.environ).policy
    except (ConfigError, UnicodeDecodeError) as error:
        raise exits.Failure(f"{file}: {error}", exits.CONFIGURATION) from error


def _one_text(text: str | None, file: Path | None) -> str:
    if text is not None and file is not None:
        raise click.UsageError("give TEXT or --file, not both")
    if file is not None:
        return _decoded(file.read_bytes(), str(file))
    if text is None or text == "-":
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


def _scan_lines(path: Path, guards: tuple[str, ...], policy: Policy, direction: str, processes: int) -> None:
    from llmproxy.shield.scan import scan_all

    console = Console(stderr=True)
    bar = (
        Progress("scanning", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True)
        if console.is_terminal
        else nullcontext()
    )
    with path.open("rb") as lines, bar as progress:
        task = progress.add_task("", total=_count(path)) if progress is not None else None
        for scanned in scan_all(_rows(lines, path), guards, policy, direction, processes):  # type: ignore[arg-type]
            click.echo(msgspec.json.encode(scanned))
            if progress is not None and task is not None:
                progress.advance(task)


def _count(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def _rows(lines: BinaryIO, path: Path) -> "Iterator[Text]":
    from llmproxy.shield.scan import Text

    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=Row)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise exits.Failure(f'{path}:{number}: not a line {{"id", "text"}}: {error}', exits.USAGE) from error
        yield Text(str(row.id), row.text)


def _show(scanned: "Scanned", text: str) -> None:
    """A single text is the operator's own, so what was found in it is shown, shortened."""
    if not scanned.findings:
        click.echo(f"nothing found ({scanned.us:.0f} us)")
        return
    table = Table(box=None, header_style="dim")
    for column in ("kind", "from", "to", "text"):
        table.add_column(column, justify="right" if column in ("from", "to") else "left")
    for kind, span in zip(scanned.findings, scanned.spans, strict=True):
        quoted = text[span.start : span.end]
        shown = quoted if len(quoted) <= SHOWN_CHARS_MAX else f"{quoted[: SHOWN_CHARS_MAX - 1]}…"
        table.add_row(kind, str(span.start), str(span.end), repr(shown)[1:-1])
    Console().print(table)
    click.echo(f"{'blocked' if scanned.blocked else 'not blocked'} ({scanned.us:.0f} us)")
