"""Pages of records in an order that others' writes do not disturb, each inside a read transaction."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

import math
from collections.abc import Sequence

import apsw

from betterdb_agent_memory.engines.base import Position, Row
from betterdb_agent_memory.engines.embedded.matching import Condition, Parameter, is_indexed, matching
from betterdb_agent_memory.engines.embedded.queries import rows, scalar
from betterdb_agent_memory.engines.embedded.reading import read_fields
from betterdb_agent_memory.engines.embedded.tables import Tables, column, is_odd, whole_number
from betterdb_agent_memory.engines.filters import Filter

_SMALL_SCOPE_PAGES = 4

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1

Query = tuple[str, tuple[Parameter, ...]]


def is_small_scope(connection: apsw.Connection, tables: Tables, filter: Filter, page_size: int, now_ms: int) -> bool:
    """Whether sorting the records of the filter for each page is less work than going through all in order."""
    if not is_indexed(filter, tables):
        return False
    condition = matching(filter, tables, now_ms)
    limit = _SMALL_SCOPE_PAGES * page_size
    found = scalar(
        connection,
        f"SELECT count(*) FROM (SELECT 1 FROM {tables.record} AS r WHERE {condition.sql} LIMIT ?)",
        (*condition.parameters, limit + 1),
    )
    return bool(found <= limit)


def walk_page(
    connection: apsw.Connection,
    tables: Tables,
    filter: Filter,
    now_ms: int,
    *,
    names: Sequence[str],
    after: Position | None,
    page_size: int,
    by_scope: bool,
) -> tuple[tuple[Row, ...], Position | None]:
    """The next records behind `after`, and the position of the last of them; None when there are no more.

    The order is that of the order field's number, as a whole number cut towards zero and within 64 bits,
    0 where there is none; then that of the ids' UTF-8 bytes, which is Python's order of texts.

    With `by_scope` the filter's own index leads to the records, which are sorted for every page;
    otherwise the index of the order does, and each record is held against the filter.
    """
    condition = matching(filter, tables, now_ms, by_index=by_scope)
    query = _by_scope if by_scope or tables.order_field is None else _in_order
    found = rows(connection, *query(tables, condition, after, page_size))
    page = tuple(Row(id, read_fields(connection, tables, key, names)) for _, id, key in found)
    return page, Position(found[-1][0], found[-1][1]) if len(found) == page_size else None


def _by_scope(tables: Tables, condition: Condition, after: Position | None, page_size: int) -> Query:
    number = "0" if tables.order_field is None else whole_number(tables.order_field)
    sql = (
        f"SELECT {number} AS number, r.id, r.key FROM {tables.record} AS r "
        f"WHERE (+{number}, +r.id) > (?, ?) AND {condition.sql} ORDER BY number, +r.id LIMIT ?"
    )
    return sql, (*_whole_bound(after), *condition.parameters, page_size)


def _in_order(tables: Tables, condition: Condition, after: Position | None, page_size: int) -> Query:
    """The first of the whole numbers, from the index that ordered pages use, and of the odd ones, from theirs."""
    assert tables.order_field is not None
    stored, number = f"r.{column(tables.order_field)}", whole_number(tables.order_field)
    sql = (
        "SELECT * FROM ("
        f"SELECT CAST({stored} AS INTEGER) AS number, r.id AS id, r.key FROM {tables.record} AS r "
        f"WHERE ({stored}, r.id) > (?, ?) AND {stored} = CAST({stored} AS INTEGER) AND {condition.sql} "
        f"ORDER BY {stored}, r.id LIMIT ?"
        ") UNION ALL SELECT * FROM ("
        f"SELECT {number} AS number, r.id AS id, r.key FROM {tables.record} AS r "
        f"WHERE {is_odd(tables.order_field)} AND ({number}, r.id) > (?, ?) AND {condition.sql} "
        f"ORDER BY {number}, r.id LIMIT ?"
        ") ORDER BY number, id LIMIT ?"
    )
    common = (*condition.parameters, page_size)
    return sql, (*_real_bound(after), *common, *_whole_bound(after), *common, page_size)


def _whole_bound(after: Position | None) -> tuple[int | float, str]:
    """What a pair of whole number and id must exceed."""
    return (-math.inf, "") if after is None else (min(max(after.number, _SMALLEST), _LARGEST), after.id)


def _real_bound(after: Position | None) -> tuple[float, str | bytes]:
    """The same for a pair of stored number, which is a float, and id."""
    number, id = _whole_bound(after)
    real = float(number)
    if real == number:
        return real, id
    # No float equals the number, so the id decides nothing: every text is smaller than an empty BLOB.
    return (real if real < number else math.nextafter(real, -math.inf)), b""
