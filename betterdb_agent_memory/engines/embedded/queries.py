"""Reading rows whose types the tables fix, which the driver's annotations cannot know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

Parameters = Sequence[str | bytes | int | float | None]


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
