"""Postgres for a service that owns tables: named queries from a .sql file, numbered migrations under an advisory lock."""

import re
from collections.abc import Mapping
from importlib import resources

import asyncpg

NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
MIGRATION = re.compile(r"(\d{4})_\w+\.sql")
MIGRATION_LOCK = 0x11A9_0001


def load_queries(package: str) -> Mapping[str, str]:
    """`-- name: append_entry` begins a block; the block is the query."""
    text = resources.files(package).joinpath("queries.sql").read_text()
    parts = NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def load_migrations(package: str) -> list[tuple[int, str]]:
    """(number, SQL) in order."""
    folder = resources.files(package).joinpath("migrations")
    found = [(MIGRATION.fullmatch(entry.name), entry) for entry in folder.iterdir()]
    return sorted((int(match[1]), entry.read_text()) for match, entry in found if match)


async def migrate(connection: "asyncpg.Connection", package: str) -> int:
    """Applies what is missing, each in its own transaction; returns the schema's number. Safe to run from everywhere."""
    await connection.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration"
            " (number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {row["number"] for row in await connection.fetch("SELECT number FROM schema_migration")}
        newest = max(done, default=0)
        for number, text in load_migrations(package):
            if number in done:
                continue
            async with connection.transaction():
                await connection.execute(text)
                await connection.execute("INSERT INTO schema_migration (number) VALUES ($1)", number)
            newest = number
        return newest
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)
