"""`llmproxy audit`: prove the ledger, and say why a request was treated as it was."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import click
from msgspec import json, structs, to_builtins

from llmproxy.common import server_urls
from llmproxy.common.errors import GatewayError
from llmproxy.common.explanations import PER_MILLE, Explanation
from llmproxy.common.ledger_questions import LedgerVerified, Rekeyed
from llmproxy.common.records import AuditRecord
from llmproxy.launcher import exits
from llmproxy.launcher.data_folder import AlreadyRunningError, DataFolder, DataFolderError
from llmproxy.launcher.embedded import EmbeddedServers
from llmproxy.launcher.options import data_option

KEPT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
CHECKPOINT, PUBLIC_KEY = "checkpoint", "signing.pub"


def _readable(_context: click.Context, _option: click.Parameter, dsn: str | None) -> str | None:
    if dsn and (wrong := server_urls.problem(dsn, server_urls.EXAMPLES["postgres_dsn"])):
        raise click.BadParameter(wrong)
    return dsn


dsn_option = click.option(
    "--dsn",
    envvar="LLM_PROXY_POSTGRES_DSN",
    show_envvar=True,
    callback=_readable,
    help="Of the ledger's database. Default: the data folder's own PostgreSQL.",
)


LEDGER = exits.epilog(exits.OK, exits.NOT_SO, exits.USAGE, exits.UNREACHABLE, exits.CANNOT_START)


@click.group()
def audit() -> None:
    """Work with the audit ledger."""


@audit.command(epilog=LEDGER)
@click.option("--json", "as_json", is_flag=True, help="Print the whole result.")
@dsn_option
@click.option("--checkpoint", type=KEPT_FILE, help="A signed head that you kept.")
@click.option("--public-key", type=KEPT_FILE, help="The key that you kept with it.")
@data_option
def verify(data: Path, as_json: bool, dsn: str | None, checkpoint: Path | None, public_key: Path | None) -> None:
    """Check every record of the ledger against its chain and its signed head.

    Works while the gateway runs and while it does not. Exit code 1 when anything was changed, removed, reordered or cut off; 2 when
    there is no public key to check the signature with.
    """
    from llmproxy.audit.verify import unreadable_key
    from llmproxy.audit.verify import verify as verify_ledger

    folder = _folder(data, dsn)
    checkpoint = checkpoint or data / "audit" / CHECKPOINT
    public_key = public_key or data / "audit" / PUBLIC_KEY
    if problem := unreadable_key(public_key):
        fix = f"nothing was checked; give the ledger's {PUBLIC_KEY}, or a copy that you kept, with --public-key"
        raise exits.Failure(f"{problem}; {fix}", exits.USAGE)
    with _database(folder, dsn) as address:
        try:
            result = asyncio.run(verify_ledger(address, checkpoint, public_key))
        except (GatewayError, OSError) as error:
            raise exits.Failure(f"the ledger cannot be read: {error}", exits.UNREACHABLE) from error
    if as_json:
        click.echo(json.format(json.encode(to_builtins(result)), indent=2))
    else:
        click.echo(verdict(LedgerVerified(**structs.asdict(result))), err=not result.ok)
    if not result.ok:
        raise click.exceptions.Exit(exits.NOT_SO)


def verdict(result: LedgerVerified) -> str:
    """In words, a line for each change of the key."""
    if not result.ok:
        return f"NOT VALID at record {result.at_seq}: {result.problem}"
    tail = f", the last {result.unsigned} of them not signed yet" if result.unsigned else ""
    before = f" after {result.pruned} that were pruned" if result.pruned else ""
    changes = "".join(f"\n  {rekeyed(change)}" for change in result.rekeyed)
    return f"valid: {result.records} records{before}{tail}, head {result.head}{changes}"


@audit.command(epilog=LEDGER)
@click.option("--yes", is_flag=True, help="Do not ask.")
@dsn_option
@data_option
def rekey(data: Path, yes: bool, dsn: str | None) -> None:
    """Go on with a new signing key, when the old one, or the signed head, is lost.

    The ledger's next entry names the new key, for everybody to see; what is still there of the old one is set aside. Restore both
    from a backup instead if you have one: only the old key proves that what stands in the ledger now is what was signed. A gateway
    that runs and refuses to go on takes the new key within seconds.
    """
    from llmproxy.audit.rekey import rekey as change_key

    folder = _folder(data, dsn)
    if not yes:
        click.confirm("The ledger will say that its signing key was changed. Go on?", abort=True)
    with _database(folder, dsn) as address:
        try:
            found = asyncio.run(change_key(address, data / "audit", id=str(uuid4()), now_ms=int(time.time() * 1000)))
        except (GatewayError, OSError) as error:
            raise exits.Failure(f"the key was not changed: {error}", exits.UNREACHABLE) from error
    click.echo(rekeyed(found))
    click.echo(f"keep a copy of {data / 'audit' / PUBLIC_KEY} outside of this machine")


@audit.command(epilog=LEDGER)
@click.option(
    "--before", required=True, type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD", help="A day, in UTC; it stays."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@dsn_option
@data_option
def prune(data: Path, before: datetime, yes: bool, dsn: str | None) -> None:
    """Take the records from before a day out of the ledger, for good.

    What is left proves itself: an entry says up to which one the others are gone, and `audit verify` begins behind it. The audit
    service must not run: end `llmproxy up` first. While it runs, `audit.retention_days` of the configuration does the same.
    """
    from llmproxy.audit.pruning import prune_all

    folder = _folder(data, dsn)
    if not yes:
        click.confirm(f"Records from before {before:%Y-%m-%d} UTC will be deleted for good. Go on?", abort=True)
    before_ms, now_ms = int(before.replace(tzinfo=UTC).timestamp() * 1000), int(time.time() * 1000)
    with _database(folder, dsn) as address:
        try:
            count = asyncio.run(prune_all(address, data / "audit", before_ms, now_ms=now_ms, ids=lambda: str(uuid4())))
        except (GatewayError, OSError) as error:
            raise exits.Failure(f"not everything was pruned: {error}", exits.UNREACHABLE) from error
    click.echo(f"{count} records are gone")


def rekeyed(change: Rekeyed) -> str:
    at = datetime.fromtimestamp(change.at_ms / 1000, UTC)
    return (
        f"the signing key was changed at record {change.seq}, {at:%Y-%m-%d %H:%M} UTC, to {change.key};"
        " what stands before it is proven by copies of earlier signed heads alone"
    )


@audit.command(epilog=LEDGER)
@click.argument("request_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the whole record.")
@dsn_option
@data_option
def show(request_id: str, data: Path, as_json: bool, dsn: str | None) -> None:
    """Show what became of one request, and why.

    ID is the x-request-id of its answer. Each line under it is something that was found: what was done, which guard saw what,
    where in the body, in which characters of that text, how likely, and after which decodings. Exit code 1 when there is no
    such record.
    """
    from llmproxy.audit.verify import record_of

    with _database(_folder(data, dsn), dsn) as address:
        try:
            record = asyncio.run(record_of(address, request_id))
        except (GatewayError, OSError) as error:
            raise exits.Failure(f"the ledger cannot be read: {error}", exits.UNREACHABLE) from error
    if record is None:
        raise exits.Failure("there is no such record; the id is the x-request-id of an answer", exits.NOT_SO)
    click.echo(json.format(json.encode(record), indent=2).decode() if as_json else "\n".join(told(record)))


def told(record: AuditRecord) -> Iterator[str]:
    """A record in words, a line for each finding."""
    facts = (record.verdict, record.code, record.tenant, record.api, record.model, f"revision {record.policy}")
    yield f"{record.id}: {', '.join(fact for fact in facts if fact)}"
    if record.unrecorded:
        yield f"  before it {record.unrecorded} requests without a good key were too many to have a record each"
    if record.explained is None:
        yield "  nothing was found"
        return
    for one in record.explained.findings:
        yield f"  {explanation(one)}"
    if record.explained.more:
        yield f"  and {record.explained.more} more"


def explanation(one: Explanation) -> str:
    """`mask: pii saw email in messages[0].content, characters 5 to 20`."""
    saw = f"{one.kind} ({one.rule})" if one.rule else one.kind
    where = f" in {one.path}" if one.path else ""
    where += " of the answer" if one.side == "answer" else ""
    if one.end:
        where += (
            f", characters {one.start} to {one.end}" if one.path else f" in bytes {one.start} to {one.end} of the body"
        )
    weight = "" if one.per_mille == PER_MILLE else f", probability {one.per_mille / PER_MILLE:.3f}"
    via = f", after {', '.join(one.via)}" if one.via else ""
    return f"{one.action}: {one.guard} saw {saw}{where}{weight}{via}"


def _folder(data: Path, dsn: str | None) -> DataFolder:
    if not dsn and not (data / "postgres").is_dir():
        raise exits.Failure(f"{data} holds no ledger; name the gateway's folder with --data", exits.UNREACHABLE)
    return DataFolder(data)


@contextmanager
def _database(folder: DataFolder, dsn: str | None) -> Iterator[str]:
    """The running gateway's database, or one started for as long as this takes."""
    if dsn:
        yield dsn
        return
    servers = EmbeddedServers(folder, which=("postgres",))
    try:
        yield _reached(servers)
    except DataFolderError as error:
        raise exits.Failure(str(error), exits.CANNOT_START) from error
    finally:
        servers.stop()  # What was started here.


def _reached(servers: EmbeddedServers) -> str:
    """Where the database is. Raises DataFolderError."""
    try:
        servers.start()
    except AlreadyRunningError:
        servers.attach()
    return servers.postgres_dsn
