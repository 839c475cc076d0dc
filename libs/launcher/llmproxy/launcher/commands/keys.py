"""`llmproxy keys`: make, list and revoke API keys."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from msgspec import json
from rich.table import Table

from llmproxy.common import keyring
from llmproxy.launcher import exits, tables
from llmproxy.launcher.options import ask_admin, data_option

DURATION = re.compile(r"(\d{1,6})([mhdw])", re.ASCII)
UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class Duration(click.ParamType[int]):
    """`30d`, `12h`, `90m`, `2w`, in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None or not int(match[1]):
            self.fail(f"{value!r}: write a number and m, h, d or w, as in 30d", param, ctx)
        return int(match[1]) * UNIT_MS[match[2]]


@click.group()
def keys() -> None:
    """Make, list and revoke the API keys that clients use."""


@keys.command(epilog=exits.ASKING)
@click.option("--name", required=True, help="What it is for; shown in lists and records.")
@click.option("--tenant", default="default", show_default=True, help="Whose requests these are.")
@click.option("--principal", default="", help="Who uses it.")
@click.option("--model", "models", multiple=True, help="A model it may ask for; repeat for several. Default: all.")
@click.option("--expires", type=Duration(), help="After how long it ends, as in 30d, 12h, 90m.")
@click.option("--rpm", type=click.IntRange(1), help="Requests per minute.")
@click.option(
    "--burst", type=click.IntRange(1), help="Requests at once before the rate of --rpm applies. Default: a tenth of it."
)
@click.option("--concurrency", type=click.IntRange(1), help="Requests under way at the same time.")
@click.option("--json", "as_json", is_flag=True, help="Print admin's answer.")
@data_option
def create(data: Path, as_json: bool, models: tuple[str, ...], expires: int | None, **wanted: Any) -> None:
    """Make a key and print it, once: only its hash is stored."""
    limit = {
        "requests_per_minute": wanted.pop("rpm"),
        "burst": wanted.pop("burst"),
        "concurrency": wanted.pop("concurrency"),
    }
    if not wanted["name"].strip():
        raise click.UsageError("--name is empty; say what the key is for")
    if limit["burst"] and not limit["requests_per_minute"]:
        raise click.UsageError("--burst does nothing without a rate; give --rpm too, or leave it out")
    body: dict[str, Any] = {**wanted, "models": list(models)}
    if any(limit.values()):
        body["limit"] = {name: value for name, value in limit.items() if value}
    if expires is not None:
        body["expires_at_ms"] = int(time.time() * 1000) + expires
    answer = ask_admin(data, lambda admin: admin.create_key(body))
    click.echo(json.format(json.encode(answer), indent=2) if as_json else answer["key"])
    if not as_json:
        click.echo("Shown once; only its hash is stored.", err=True)


@keys.command("list", epilog=exits.ASKING)
@click.option("--json", "as_json", is_flag=True, help="Print admin's answer.")
@data_option
def list_keys(data: Path, as_json: bool) -> None:
    """Show the keys there are, never the keys themselves."""
    found = ask_admin(data, lambda admin: admin.list_keys())
    if as_json:
        click.echo(json.format(json.encode(found), indent=2))
        return
    table = Table("id", "name", "tenant", "models", "limits", "created", "expires", "state", box=None)
    for key in found:
        table.add_row(*(str(cell) for cell in row(key, int(time.time() * 1000))))
    tables.console().print(table)


@keys.command(epilog=exits.ASKING)
@click.argument("key_id")
@data_option
def revoke(data: Path, key_id: str) -> None:
    """Refuse the key with this id from now on."""
    if key_id.startswith(keyring.PREFIX):  # It would be sent, logged and quoted.
        key_id = keyring.key_id(keyring.hash_key(key_id))
    ask_admin(data, lambda admin: admin.revoke_key(key_id))
    click.echo(f"{key_id} is revoked")


def row(key: dict[str, Any], now_ms: int) -> tuple[str, ...]:
    limit = key.get("limit") or {}
    limits = [
        f"{limit[name]}{unit}"
        for name, unit in (("requests_per_minute", "/min"), ("concurrency", " at once"))
        if limit.get(name)
    ]
    return (
        str(key.get("id", "")),
        str(key.get("name", "")),
        str(key.get("tenant", "default")),
        ", ".join(key.get("models") or ()) or "all",
        ", ".join(limits) or "-",
        day(key.get("created_at_ms")),
        day(key.get("expires_at_ms")),
        state(key, now_ms),
    )


def state(key: dict[str, Any], now_ms: int) -> str:
    if key.get("revoked_at_ms"):
        return "revoked"
    expires = key.get("expires_at_ms")
    return "expired" if expires and expires <= now_ms else "valid"


def day(at_ms: int | None) -> str:
    if not at_ms:
        return "-"
    return datetime.fromtimestamp(min(at_ms, keyring.EXPIRES_AT_MS_MAX) / 1000, UTC).strftime("%Y-%m-%d %H:%M")
