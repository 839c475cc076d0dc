"""The ledger in Postgres: one connection that holds the writer's lock and writes, and a few that read.

The lock and the writes share a connection on purpose: whoever lost the lock has lost the means to write.
Everything Postgres can do wrong arrives as `Unavailable`, except what only tampering explains, which is `Broken`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg
import msgspec

from llmproxy.audit import ledger
from llmproxy.audit.ledger import Entry, Head
from llmproxy.audit.record import Columns, column
from llmproxy.common.database import load_queries, migrate
from llmproxy.common.errors import Unavailable
from llmproxy.common.ledger_questions import LedgerQuery

PACKAGE = "llmproxy.audit"
TABLE = "ledger"
WRITER_LOCK = 0x11A9_0002
CONNECT_TIMEOUT_S = 3.0
COMMAND_TIMEOUT_S = 15.0
LOOK_EVERY_S = 0.5
QUERY_TIMEOUT_MS = 5_000
READERS_MAX = 2
PAGE_LIMIT_MAX = 1_000
LOOK = "run `llmproxy audit verify`"
GO_ON = "restore what is missing from a backup, or go on with a new key by `llmproxy audit rekey`, of which the ledger keeps a record"
WALK_ROWS = 256  # Per fetch: memory stays flat, and the loop is held for less than 5 ms.

# A server that cannot reach its writer any more frees the lock within ten seconds.
KEEPALIVE = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "1", "tcp_keepalives_count": "4"}
# What is signed must not be lost by a crash of the server, whatever the server's own default is.
WRITING = {**KEEPALIVE, "synchronous_commit": "on"}
# Every filter of a page may be absent, so a plan made without their values is a bad one.
READING = {
    "default_transaction_read_only": "on",
    "statement_timeout": str(QUERY_TIMEOUT_MS),
    "plan_cache_mode": "force_custom_plan",
}


class Broken(Exception):
    """The ledger is not as this writer left it. Nothing may be added before somebody has looked."""


@contextmanager
def _translated() -> Iterator[None]:
    """Postgres' own words may quote a row; only the kind of error goes on.

    InternalClientError is what asyncpg raises when the server was killed between two of its own steps.
    """
    try:
        yield
    except asyncpg.UndefinedTableError:
        raise Unavailable(
            "audit_unavailable", "the ledger has no table yet; the audit service is about to make it"
        ) from None
    except (
        OSError,
        TimeoutError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    ) as error:
        raise Unavailable("audit_unavailable", f"Postgres does not answer: {type(error).__name__}") from None


class Writer:
    """The one connection that may append. Use `take_lock` first."""

    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self.lost = asyncio.Event()
        self.broken: Broken | None = None  # Why it was lost, when tampering explains it.
        self.head = ledger.GENESIS
        self.duplicates = 0
        self._connection = connection
        self._queries = load_queries(PACKAGE)
        connection.add_termination_listener(lambda _: self.lost.set())

    @classmethod
    async def connect(cls, dsn: str) -> "Writer":
        """Raises Unavailable."""
        with _translated():
            connection = await asyncpg.connect(
                dsn, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S, server_settings=WRITING
            )
        return cls(connection)

    async def migrate(self) -> None:
        with _translated():
            await migrate(self._connection, PACKAGE)

    async def take_lock(self) -> bool:
        """True when this session is the writer now, and until it ends."""
        with _translated():
            return bool(await self._connection.fetchval(self._queries["try_lock"], WRITER_LOCK))

    async def begin(self, signed: Head | None) -> None:
        """Finds the head. Raises Broken when the ledger does not contain what was signed, or nothing of it was."""
        await self.resume()
        if signed is None:
            if self.head.seq:
                raise Broken(f"the ledger has {self.head.seq} entries, and there is no signed head of it; {GO_ON}")
            return
        if signed.seq == 0:
            return
        with _translated():
            found = await self._connection.fetchval(self._queries["entry_hash_at"], signed.seq)
        if found != signed.hash:
            raise Broken(f"the ledger does not contain entry {signed.seq} as it was signed; {LOOK}, and {GO_ON}")

    async def resume(self) -> None:
        """Goes on from what is there, whatever was signed."""
        with _translated():
            row = await self._connection.fetchrow(self._queries["head"])
        self.head = ledger.GENESIS if row is None else Head(row[0], row[1])

    async def append(self, spelled: Sequence[tuple[Columns, bytes]]) -> Head:
        """Adds the records that are not there yet, in one transaction.

        Raises Unavailable: nothing, or everything, was written; this connection is closed, and asking again is safe.
        """
        fresh = _once(spelled)
        try:
            with _translated():
                if not await self._insert(fresh):
                    known = await self._known(fresh)
                    fresh = [pair for pair in fresh if pair[0].id not in known]
                    if not await self._insert(fresh):
                        self.broken = Broken(f"somebody else wrote entry {self.head.seq + 1}; {LOOK}")
                        raise Unavailable("audit_unavailable", "the ledger was written to by somebody else")
        except Unavailable:
            self.close()
            raise
        self.duplicates += len(spelled) - len(fresh)
        return self.head

    async def _insert(self, fresh: Sequence[tuple[Columns, bytes]]) -> bool:
        """False when an id or a sequence is there already; nothing was written then."""
        if not fresh:
            return True
        entries = ledger.extend(self.head, fresh)
        try:
            await self._connection.copy_records_to_table(TABLE, records=entries, columns=Entry._fields)
        except asyncpg.UniqueViolationError:
            return False
        self.head = ledger.head_of(entries, self.head)
        return True

    async def _known(self, fresh: Sequence[tuple[Columns, bytes]]) -> set[str]:
        rows = await self._connection.fetch(self._queries["known_ids"], [columns.id for columns, _ in fresh])
        return {row[0] for row in rows}

    async def oldest(self, limit: int) -> list[Entry]:
        """Raises Unavailable, and Broken of a row that no writer wrote."""
        with _translated():
            rows = await self._connection.fetch(self._queries["oldest"], limit)
        try:
            return [msgspec.convert(tuple(row), Entry) for row in rows]
        except msgspec.ValidationError:
            raise Broken(f"one of the oldest entries is none; {LOOK}") from None

    async def forget(self, seq: int) -> None:
        """Removes the entries up to this one, all or none. Raises Unavailable."""
        with _translated():
            await self._connection.execute(self._queries["forget"], seq)

    async def ended(self) -> None:
        """Returns when the session is over. Looks, too: asyncpg does not always say so when a server is killed."""
        while not self.lost.is_set() and not self._connection.is_closed():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):  # Before 3.12 `wait_for` could lose its task's end.
                    await self.lost.wait()

    def close(self) -> None:
        """At once: the server ends the session and frees the lock."""
        self._connection.terminate()
        self.lost.set()


def _once(spelled: Iterable[tuple[Columns, bytes]]) -> list[tuple[Columns, bytes]]:
    """The first of each id."""
    first: dict[str, tuple[Columns, bytes]] = {}
    for pair in spelled:
        first.setdefault(pair[0].id, pair)
    return list(first.values())


class Reader:
    """Pages of the ledger. Connects when first asked."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._queries = load_queries(PACKAGE)

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str) -> AsyncIterator["Reader"]:
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=READERS_MAX,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings=READING,
        )
        try:
            yield cls(pool)
        finally:
            pool.terminate()

    async def page(self, query: LedgerQuery) -> list[tuple[int, bytes, bytes]]:
        """(sequence, record, entry hash), newest first. Raises Unavailable."""
        with _translated():
            rows = await self._pool.fetch(
                self._queries["page"],
                query.before_seq,
                query.from_ms,
                query.to_ms,
                *(None if text is None else column(text) for text in (query.tenant, query.key, query.model)),
                query.verdict,
                min(max(query.limit, 1), PAGE_LIMIT_MAX),
                query.request,
            )
        return [(row[0], row[1], row[2]) for row in rows]


@asynccontextmanager
async def entries(dsn: str) -> AsyncIterator[AsyncIterator[Entry]]:
    """Each entry in order, from one unchanging view of the table.

    Raises Unavailable, and Broken when there is no such table or a row that no writer wrote.
    """
    queries = load_queries(PACKAGE)
    with _translated():
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S, server_settings=KEEPALIVE)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                rows = connection.cursor(queries["walk"], prefetch=WALK_ROWS)
                yield _entries(rows)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
            raise Broken("the ledger's table is missing, or is not the one that was made") from None
        finally:
            connection.terminate()


async def _entries(rows: AsyncIterator[Any]) -> AsyncIterator[Entry]:
    before = 0
    async for row in rows:
        try:
            yield msgspec.convert(tuple(row), Entry)
        except msgspec.ValidationError:
            raise Broken(f"the row after entry {before} has a column that is empty or of another type") from None
        before = row[0]
