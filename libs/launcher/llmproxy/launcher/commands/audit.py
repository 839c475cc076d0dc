"""`llmproxy audit`: prove the ledger."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from msgspec import json, to_builtins

from llmproxy.common.errors import GatewayError
from llmproxy.launcher import exits
from llmproxy.launcher.data_folder import AlreadyRunningError, DataFolder, DataFolderError
from llmproxy.launcher.embedded import EmbeddedServers
from llmproxy.launcher.options import data_option

KEPT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
CHECKPOINT, PUBLIC_KEY = "checkpoint", "signing.pub"


@click.group()
def audit() -> None:
    """Work with the audit ledger."""


@audit.command()
@click.option("--json", "as_json", is_flag=True, help="Print the whole result.")
@click.option(
    "--dsn",
    envvar="LLM_PROXY_POSTGRES_DSN",
    help="Of the ledger's database. Default: the data folder's own PostgreSQL.",
)
@click.option("--checkpoint", type=KEPT_FILE, help="A signed head that you kept.")
@click.option("--public-key", type=KEPT_FILE, help="The key that you kept with it.")
@data_option
def verify(data: Path, as_json: bool, dsn: str | None, checkpoint: Path | None, public_key: Path | None) -> None:
    """Check every record of the ledger against its chain and its signed head.

    Works while the gateway runs and while it does not. Exit code 1 when anything was changed, removed, reordered or cut off.
    """
    from llmproxy.audit.verify import verify as verify_ledger

    folder = DataFolder(data)
    if not dsn and not (data / "postgres").is_dir():
        raise exits.Failure(f"{data} holds no ledger; name the gateway's folder with --data", exits.UNREACHABLE)
    checkpoint = checkpoint or data / "audit" / CHECKPOINT
    public_key = public_key or data / "audit" / PUBLIC_KEY
    with _database(folder, dsn) as address:
        try:
            result = asyncio.run(verify_ledger(address, checkpoint, public_key))
        except (GatewayError, OSError) as error:
            raise exits.Failure(f"the ledger cannot be read: {error}", exits.UNREACHABLE) from error
    if as_json:
        click.echo(json.format(json.encode(to_builtins(result)), indent=2))
    elif result.ok:
        tail = f", the last {result.unsigned} of them not signed yet" if result.unsigned else ""
        click.echo(f"valid: {result.records} records{tail}, head {result.head}")
    else:
        click.echo(f"NOT VALID at record {result.at_seq}: {result.problem}", err=True)
    if not result.ok:
        raise click.exceptions.Exit(exits.NOT_SO)


@contextmanager
def _database(folder: DataFolder, dsn: str | None) -> Iterator[str]:
    """The running gateway's database, or one started for as long as this takes."""
    if dsn:
        yield dsn
        return
    servers = EmbeddedServers(folder, which=("postgres",))
    try:
        servers.start()
    except AlreadyRunningError:
        yield servers.attach().postgres_dsn
        return
    except DataFolderError as error:
        raise exits.Failure(str(error), exits.CANNOT_START) from error
    try:
        yield servers.postgres_dsn
    finally:
        servers.stop()
