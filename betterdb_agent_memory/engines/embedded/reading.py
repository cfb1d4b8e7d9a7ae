"""What reads records, each inside a read transaction of the caller's."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import apsw

from betterdb_agent_memory.engines.base import Page, Row
from betterdb_agent_memory.engines.embedded.body import unpack
from betterdb_agent_memory.engines.embedded.matching import Condition
from betterdb_agent_memory.engines.embedded.queries import first, rows, scalar
from betterdb_agent_memory.engines.embedded.tables import Tables, column
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import InvalidInputError


def read_fields(connection: apsw.Connection, tables: Tables, key: int, names: Sequence[str] | None) -> Fields:
    """Those of the fields `names` that a record has, None for all. A vector is read only when asked for."""
    stored: dict[str, bytes] = {}
    if names is None or any(name != tables.vector_field for name in names):
        stored = unpack(scalar(connection, f"SELECT fields FROM {tables.body} WHERE key = ?", (key,)))
    if names is None or tables.vector_field in names:
        vector = scalar(connection, f"SELECT vector FROM {tables.vector} WHERE key = ?", (key,))
        if vector is not None:
            stored[tables.vector_field] = vector
    return stored if names is None else {name: stored[name] for name in names if name in stored}


def read_records(
    connection: apsw.Connection, tables: Tables, ids: Iterable[str], names: Sequence[str] | None, now_ms: int
) -> list[Fields | None]:
    """The fields `names` of each id, None for all; None for one that has none of them, or expired."""
    answers: list[Fields | None] = []
    for id in ids:
        key = scalar(
            connection,
            f"SELECT key FROM {tables.record} WHERE id = ? AND (expires_at_ms IS NULL OR expires_at_ms > ?)",
            (id, now_ms),
        )
        answers.append((read_fields(connection, tables, key, names) or None) if key is not None else None)
    return answers


def read_expiries(connection: apsw.Connection, tables: Tables, ids: Iterable[str], now_ms: int) -> list[int | None]:
    """When each record expires; None for never, for no record and for one that has expired."""
    sql = f"SELECT expires_at_ms FROM {tables.record} WHERE id = ? AND expires_at_ms > ?"
    return [scalar(connection, sql, (id, now_ms)) for id in ids]


def read_lifetimes(connection: apsw.Connection, tables: Tables, ids: Iterable[str], now_ms: int) -> list[float]:
    """How many ms each record has left; infinity for ever, 0 for no record and for one that has expired."""
    sql = f"SELECT expires_at_ms FROM {tables.record} WHERE id = ?"
    found = [first(connection, sql, (id,)) for id in ids]
    # Up to a millisecond of now has passed.
    return [0 if row is None else math.inf if row[0] is None else max(0, row[0] - now_ms - 1) for row in found]


def scan_page(
    connection: apsw.Connection, tables: Tables, names: Sequence[str], now_ms: int, *, after: int, page_size: int
) -> tuple[tuple[Row, ...], int | None]:
    """The records behind the key `after`, and the last key, None when there are no more.

    A record keeps its key as long as it is there, however often it is replaced.
    """
    page = rows(
        connection,
        f"SELECT key, id FROM {tables.record} WHERE key > ? AND (expires_at_ms IS NULL OR expires_at_ms > ?) "
        "ORDER BY key LIMIT ?",
        (after, now_ms, page_size),
    )
    found = tuple(Row(id, read_fields(connection, tables, key, names)) for key, id in page)
    return found, page[-1][0] if len(page) == page_size else None


def count_records(connection: apsw.Connection, tables: Tables, condition: Condition) -> int:
    """How many records meet `condition`."""
    return int(
        scalar(connection, f"SELECT count(*) FROM {tables.record} AS r WHERE {condition.sql}", condition.parameters)
    )


def select_records(
    connection: apsw.Connection,
    tables: Tables,
    condition: Condition,
    *,
    names: Sequence[str],
    limit: int,
    offset: int,
    order_by: str | None,
    descending: bool,
) -> Page:
    """A page of records; what lacks the number to order by comes last, and ids break ties."""
    page = rows(
        connection,
        f"SELECT r.key, r.id FROM {tables.record} AS r WHERE {condition.sql} "
        f"ORDER BY {_order(tables, order_by, descending)} LIMIT ? OFFSET ?",
        (*condition.parameters, limit, offset),
    )
    return Page(
        rows=tuple(Row(id, read_fields(connection, tables, key, names)) for key, id in page),
        total=count_records(connection, tables, condition),
        scanned=len(page),
    )


def _order(tables: Tables, order_by: str | None, descending: bool) -> str:
    if order_by is None:
        return "r.key"
    if order_by not in tables.numbers:
        raise InvalidInputError(f"cannot order by {order_by!r}; the number fields are {', '.join(tables.numbers)}")
    return f"r.{column(order_by)} {'DESC' if descending else 'ASC'} NULLS LAST, r.id"
