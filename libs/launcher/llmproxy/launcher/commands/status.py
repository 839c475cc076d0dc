"""`llmproxy status`: what runs, and how it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from msgspec import json
from rich.table import Table

from llmproxy.launcher import exits, tables
from llmproxy.launcher.options import ask_admin, data_option, find_run


@click.command(epilog=exits.ASKING)
@click.option("--json", "as_json", is_flag=True, help="Print admin's answer.")
@data_option
def status(data: Path, as_json: bool) -> None:
    """Show services, instances, readiness and endpoints. Exit code 1 when something is not ready: a service without an instance that
    is, or a ledger to which records have not come for five minutes."""
    answer = ask_admin(data, lambda admin: admin.status())
    if as_json:
        click.echo(json.format(json.encode(answer), indent=2))
    else:
        console = tables.console()
        for table in (instances(answer), endpoints(answer)):
            if table.row_count:
                console.print(table)
        info = find_run(data)
        if info is not None and info.refused:
            click.echo(f"\nthe configuration file, as it is now, is not in force: {info.refused}")
    if not is_ready(answer):
        raise click.exceptions.Exit(exits.NOT_SO)


def is_ready(answer: Mapping[str, Any]) -> bool:
    if answer.get("missing"):
        return False
    if "ready" in answer:
        return bool(answer["ready"])
    return all(bool(instance.get("ready", True)) for instance in _listed(answer.get("instances")))


def instances(answer: Mapping[str, Any]) -> Table:
    table = Table("service", "instance", "ready", "in flight", "revision", "notes", box=None)
    for instance in _listed(answer.get("instances")):
        notes = instance.get("notes") or {}
        table.add_row(
            str(instance.get("service", "")),
            str(instance.get("instance", "")),
            "yes" if instance.get("ready", True) else "no",
            str(instance.get("in_flight", 0)),
            str(instance.get("revision", "-")),
            "; ".join(f"{name}: {text}" for name, text in notes.items()),
        )
    for service in answer.get("missing") or ():
        table.add_row(str(service), "none", "no", "-", "-", "no instance is heard of")
    return table


def endpoints(answer: Mapping[str, Any]) -> Table:
    table = Table("endpoint", "provider", "circuit", "models", box=None)
    for endpoint in _listed(answer.get("endpoints")):
        table.add_row(
            str(endpoint.get("name", "")),
            str(endpoint.get("provider", "")),
            _circuit(endpoint),
            ", ".join(endpoint.get("models") or ()),
        )
    return table


def _circuit(endpoint: Mapping[str, Any]) -> str:
    """The endpoint's own, and the models for which it is not called."""
    failing = ", ".join(map(str, endpoint.get("failing") or ()))
    return f"{endpoint.get('circuit', '-')}{f'; open for {failing}' if failing else ''}"


def _listed(value: Any) -> list[dict[str, Any]]:
    """A list of objects, or an object of objects by name."""
    if isinstance(value, dict):
        return [{"name": name, **entry} for name, entry in value.items() if isinstance(entry, dict)]
    return [entry for entry in value or () if isinstance(entry, dict)]
