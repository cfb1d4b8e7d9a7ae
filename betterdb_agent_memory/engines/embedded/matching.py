"""A filter as an SQL condition with exactly the meaning of `Filter.accepts`."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from betterdb_agent_memory.engines.embedded.body import read_field
from betterdb_agent_memory.engines.embedded.tables import Tables, column
from betterdb_agent_memory.engines.filters import TAG_SEPARATOR, Clause, Equals, Filter

Parameter = str | bytes | int | float | None


@dataclass(frozen=True, slots=True)
class Condition:
    """A WHERE text over the record table called `r`, with the values of its question marks."""

    sql: str
    parameters: tuple[Parameter, ...]


def matching(filter: Filter, tables: Tables, now_ms: int) -> Condition:
    """Records that have not expired and that `filter.accepts`.

    Tags are found through an index; a clause on any other field looks into every record.
    """
    parts = ["(r.expires_at_ms IS NULL OR r.expires_at_ms > ?)"]
    parameters: list[Parameter] = [now_ms]
    for clause in filter.clauses:
        sql, values = _clause(clause, tables)
        parts.append(sql)
        parameters.extend(values)
    return Condition(_all_of(parts), tuple(parameters))


def _all_of(parts: Sequence[str]) -> str:
    """All of `parts`, in their order, as a balanced tree.

    SQLite takes trees up to a depth of 1,000, and a plain chain of n parts is n deep.
    """
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_all_of(parts[:half])} AND {_all_of(parts[half:])})"


def _clause(clause: Clause, tables: Tables) -> tuple[str, tuple[Parameter, ...]]:
    value = clause.value.encode()
    if isinstance(clause, Equals):
        if clause.field in tables.whole_tags:
            return f"r.{column(clause.field)} = ?", (value,)
        return f"field_equals((SELECT fields FROM {tables.body} WHERE key = r.key), ?, ?)", (clause.field, value)
    if clause.field in tables.multiple_tags:
        return f"r.key IN (SELECT key FROM {tables.tag} WHERE field = ? AND value = ?)", (clause.field, value)
    return f"field_has_tag((SELECT fields FROM {tables.body} WHERE key = r.key), ?, ?)", (clause.field, value)


def register_functions(connection: apsw.Connection) -> None:
    """Make the exact comparisons with fields that have no index known to `connection`."""
    connection.create_scalar_function("field_equals", _field_equals, 3, deterministic=True)
    connection.create_scalar_function("field_has_tag", _field_has_tag, 3, deterministic=True)


def _field_equals(*arguments: Any) -> bool:
    body, field, value = arguments
    return bool(read_field(body, field) == value)


def _field_has_tag(*arguments: Any) -> bool:
    body, field, value = arguments
    stored = read_field(body, field)
    return stored is not None and value in stored.split(TAG_SEPARATOR.encode())
