"""What of a record's fields is searched by: columns of the record table and rows of the tag table."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import apsw

from betterdb_agent_memory.engines.base import SchemaField
from betterdb_agent_memory.engines.embedded.body import unpack
from betterdb_agent_memory.engines.embedded.queries import rows
from betterdb_agent_memory.engines.embedded.tables import Tables, column
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR, Fields

_BACKFILL_BATCH = 1000


def column_values(tables: Tables, fields: Fields) -> tuple[bytes | float | None, ...]:
    """The values of `tables.columns`: tags as stored, numbers to order by."""
    return (
        *(fields.get(name) for name in tables.whole_tags),
        *(number(fields.get(name)) for name in tables.numbers),
    )


def number(stored: bytes | None) -> float | None:
    """The number that decimal text stands for; None, which sorts last, for anything else."""
    if stored is None:
        return None
    try:
        value = float(stored)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def tag_rows(names: Sequence[str], fields: Fields, key: int) -> Iterator[tuple[str, bytes, int]]:
    """One row for each different value of the comma-separated fields `names`."""
    for name in names:
        stored = fields.get(name)
        if stored is not None:
            for value in set(stored.split(TAG_SEPARATOR.encode())):
                yield name, value, key


def insert_tags(connection: apsw.Connection, tables: Tables, rows: Sequence[tuple[str, bytes, int]]) -> None:
    """Make the values that `tag_rows` gave findable."""
    connection.executemany(f"INSERT INTO {tables.tag} (field, value, key) VALUES (?, ?, ?)", rows)


def backfill(connection: apsw.Connection, tables: Tables, added: Sequence[SchemaField]) -> None:
    """Index the fields `added` of the records that are already there."""
    names = {field.name for field in added}
    columns = [name for name in tables.columns if name in names]
    multiple = [name for name in tables.multiple_tags if name in names]
    assignments = ", ".join(f"{column(name)} = ?" for name in columns)
    last = -1
    while page := rows(
        connection,
        f"SELECT key, fields FROM {tables.body} WHERE key > ? ORDER BY key LIMIT ?",
        (last, _BACKFILL_BATCH),
    ):
        last = page[-1][0]
        records = [(key, unpack(body)) for key, body in page]
        if columns:
            at = [tables.columns.index(name) for name in columns]
            connection.executemany(
                f"UPDATE {tables.record} SET {assignments} WHERE key = ?",
                [(*(column_values(tables, fields)[i] for i in at), key) for key, fields in records],
            )
        insert_tags(connection, tables, [row for key, fields in records for row in tag_rows(multiple, fields, key)])
