"""Reading rows whose types the tables fix, which the driver's annotations cannot know, and writing many rows."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

import apsw

Parameters = Sequence[str | bytes | int | float | None]

AT_ONCE = 250
"""Rows that one statement is about where there are so many. Each statement gives up the interpreter lock and has to get
it back from the threads that embed meanwhile. Inserting a few dozen rows by one takes SQLite longer than one by one.
"""


def rows(connection: apsw.Connection, sql: str, parameters: Parameters = ()) -> list[Any]:
    """All rows of a query, as tuples."""
    found: list[Any] = connection.execute(sql, tuple(parameters)).fetchall()
    return found


def first(connection: apsw.Connection, sql: str, parameters: Parameters = ()) -> Any:
    """The first row of a query as a tuple, or None."""
    return connection.execute(sql, tuple(parameters)).fetchone()


def scalar(connection: apsw.Connection, sql: str, parameters: Parameters = ()) -> Any:
    """The first column of the first row, or None."""
    row = first(connection, sql, parameters)
    return None if row is None else row[0]


def values(connection: apsw.Connection, sql: str, parameters: Parameters = ()) -> list[Any]:
    """The first column of every row."""
    return [row[0] for row in rows(connection, sql, parameters)]


def insert_rows(connection: apsw.Connection, table: str, columns: Sequence[str], rows: Iterable[Parameters]) -> None:
    """Insert rows, each with a value for each of `columns`."""
    left = iter(rows)
    while len(some := list(islice(left, AT_ONCE))) == AT_ONCE:
        connection.execute(_insertion(table, columns, AT_ONCE), tuple(chain.from_iterable(some)))
    connection.executemany(_insertion(table, columns, 1), some)


def _insertion(table: str, columns: Sequence[str], rows: int) -> str:
    one = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([one] * rows)}"
