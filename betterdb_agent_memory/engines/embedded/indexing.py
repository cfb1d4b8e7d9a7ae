"""What of a record's fields is searched by: columns of the record table and rows of the tag table."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any

import apsw

from betterdb_agent_memory.engines.embedded.body import unpack
from betterdb_agent_memory.engines.embedded.queries import insert_rows, rows
from betterdb_agent_memory.engines.embedded.tables import Tables, column
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR, Fields, leading_number

_BATCH = 1000


def column_values(tables: Tables, fields: Fields) -> tuple[bytes | float | None, ...]:
    """The values of `tables.columns`: tags as stored, numbers to order by."""
    return (*map(fields.get, tables.whole_tags), *map(number, map(fields.get, tables.numbers)))


def column_value(tables: Tables, name: str, fields: Fields) -> bytes | float | None:
    """The value of one of `tables.columns`."""
    return fields.get(name) if name in tables.whole_tags else number(fields.get(name))


@lru_cache(maxsize=1024)
def number(stored: bytes | None) -> float | None:
    """What `leading_number` reads, in a third of the time; None sorts last and is in no range.

    Remembered, since records that are written together have nearly all their numbers in common.
    """
    if stored is None:
        return None
    try:
        value = float(stored)
    except ValueError:
        return leading_number(stored)
    if b"_" in stored:  # Python alone reads 1_000 as a thousand
        return leading_number(stored)
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
    insert_rows(connection, tables.tag, ("field", "value", "key"), rows)


def reindex(connection: apsw.Connection, tables: Tables, names: Collection[str]) -> None:
    """Index the fields `names` anew, from the records that are there.

    Reads every record, 1,000 at a time, and writes only what is other than it should be.
    """
    columns = [name for name in tables.columns if name in names]
    multiple = [name for name in tables.multiple_tags if name in names]
    selected = "".join(f", r.{column(name)}" for name in columns)
    assignments = ", ".join(f"{column(name)} = ?" for name in columns)
    last = -1
    while page := rows(
        connection,
        f"SELECT r.key, b.fields{selected} FROM {tables.record} AS r JOIN {tables.body} AS b ON b.key = r.key "
        "WHERE r.key > ? ORDER BY r.key LIMIT ?",
        (last, _BATCH),
    ):
        start, last = last + 1, page[-1][0]
        wrong: list[tuple[Any, ...]] = []
        tags: set[tuple[str, bytes, int]] = set()
        for key, body, *stored in page:
            fields = unpack(body)
            right = [column_value(tables, name, fields) for name in columns]
            if right != stored:
                wrong.append((*right, key))
            tags.update(tag_rows(multiple, fields, key))
        if wrong:
            connection.executemany(f"UPDATE {tables.record} SET {assignments} WHERE key = ?", wrong)
        if multiple:
            _correct_tags(connection, tables, multiple, (start, last), tags)


def _correct_tags(
    connection: apsw.Connection,
    tables: Tables,
    names: Collection[str],
    span: tuple[int, int],
    right: set[tuple[str, bytes, int]],
) -> None:
    """Make `right` the tags of the fields `names` for the keys of `span`, both ends included."""
    found = rows(connection, f"SELECT field, value, key FROM {tables.tag} WHERE key BETWEEN ? AND ?", span)
    stored = {row for row in found if row[0] in names}
    connection.executemany(f"DELETE FROM {tables.tag} WHERE field = ? AND value = ? AND key = ?", list(stored - right))
    insert_tags(connection, tables, list(right - stored))
