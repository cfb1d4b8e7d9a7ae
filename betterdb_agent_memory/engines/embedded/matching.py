"""A filter as an SQL condition with exactly the meaning of `Filter.accepts`."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from betterdb_agent_memory.engines.embedded.body import read_field
from betterdb_agent_memory.engines.embedded.tables import Tables, column
from betterdb_agent_memory.engines.filters import (
    TAG_SEPARATOR,
    Absent,
    AllOf,
    AnyOf,
    Between,
    Clause,
    Equals,
    Filter,
    HasTag,
    IdIn,
    Not,
    TagsAre,
    leading_number,
)
from betterdb_agent_memory.engines.groups import set_value

Parameter = str | bytes | int | float | None

_LARGEST_INTEGER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Condition:
    """A WHERE text over the record table called `r`, with the values of its question marks."""

    sql: str
    parameters: tuple[Parameter, ...]


def matching(filter: Filter, tables: Tables, now_ms: int, *, by_index: bool = True) -> Condition:
    """Records that have not expired and that `filter.accepts`.

    Tags and ids are found through an index, unless `by_index` is false: then every record is looked
    at, in whichever order the query asks for. Where ids are named only those are looked at. A clause
    on a field without a column reads the whole record.
    """
    translation = _Translation(tables, filter, by_index=by_index)
    parts = ["(r.expires_at_ms IS NULL OR r.expires_at_ms > ?)"]
    parts += [translation.clause(clause) for clause in filter.clauses]
    return Condition(_joined(parts, "AND"), (now_ms, *translation.parameters))


def is_indexed(filter: Filter, tables: Tables) -> bool:
    """Whether a clause that must hold is found through an index."""
    return filter.required_ids is not None or any(
        (isinstance(clause, Equals) and clause.field in tables.whole_tags)
        or (isinstance(clause, HasTag) and clause.field in tables.multiple_tags)
        or (isinstance(clause, TagsAre) and clause.tags and clause.field in tables.multiple_tags)
        for clause in filter.clauses
    )


class _Translation:
    """Clauses as SQL, and the parameters of all of them in the order of the text.

    A comparison with what is missing is NULL. WHERE, AND and OR take that for false, so only `Not`
    has to mind it. A plus before a column keeps SQLite from going by that column's index.
    """

    def __init__(self, tables: Tables, filter: Filter, *, by_index: bool) -> None:
        self._tables = tables
        self._ids = "r.id" if by_index else "+r.id"
        self._by_tag = "" if by_index and filter.required_ids is None else "+"
        self.parameters: list[Parameter] = []

    def clause(self, clause: Clause) -> str:
        match clause:
            case Not(clause=inner):
                return f"(({self.clause(inner)}) IS NOT TRUE)"
            case AllOf(clauses=parts):
                return _joined([self.clause(part) for part in parts], "AND") if parts else "1"
            case AnyOf(clauses=parts):
                return _joined([self.clause(part) for part in parts], "OR") if parts else "0"
            case IdIn(ids=ids):
                self.parameters.append(json.dumps(sorted(ids)))
                return f"{self._ids} IN (SELECT value FROM json_each(?))"
            case Equals(field=field, value=value):
                stored = self._stored(field)
                self.parameters.append(value.encode())
                return f"{stored} = ?"
            case HasTag(field=field, value=value):
                return self._has_tag(field, value.encode())
            case TagsAre(field=field):
                having = [self._has_tag(field, tag.encode()) for tag in clause.tags]
                stored = self._stored(field)
                self.parameters.append(set_value(TAG_SEPARATOR.join(clause.tags).encode()))
                return _joined([*having, f"tag_set({stored}) IS ?"], "AND")
            case Absent(field=field):
                return f"({self._stored(field)} IS NULL)"
            case Between():
                return self._between(clause)

    def _has_tag(self, field: str, value: bytes) -> str:
        if field in self._tables.multiple_tags:
            self.parameters += (field, value)
            return f"{self._by_tag}r.key IN (SELECT key FROM {self._tables.tag} WHERE field = ? AND value = ?)"
        stored = self._stored(field)
        self.parameters.append(value)
        return f"has_tag({stored}, ?)"

    def _between(self, clause: Between) -> str:
        if clause.field in self._tables.numbers:
            number = self._by_tag + f"r.{column(clause.field)}"
        else:
            number = f"leading_number({self._stored(clause.field)})"
        if clause.low is None and clause.high is None:
            return f"{number} IS NOT NULL"
        self.parameters += [_bound(side) for side in (clause.low, clause.high) if side is not None]
        if clause.high is None:
            return f"{number} >= ?"
        return f"{number} <= ?" if clause.low is None else f"{number} BETWEEN ? AND ?"

    def _stored(self, field: str) -> str:
        """The stored value of a field, NULL where it is missing."""
        if field in self._tables.whole_tags:
            return self._by_tag + f"r.{column(field)}"
        if field == self._tables.vector_field:
            return f"(SELECT vector FROM {self._tables.vector} WHERE key = r.key)"
        self.parameters.append(field)
        return f"field_value((SELECT fields FROM {self._tables.body} WHERE key = r.key), ?)"


def _joined(parts: Sequence[str], operator: str) -> str:
    """The parts, in their order, as a balanced tree.

    SQLite takes trees up to a depth of 1,000, and a plain chain of n parts is n deep.
    """
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_joined(parts[:half], operator)} {operator} {_joined(parts[half:], operator)})"


def _bound(side: float) -> int | float:
    return side if isinstance(side, int) and abs(side) <= _LARGEST_INTEGER else float(side)


def register_functions(connection: apsw.Connection) -> None:
    """Make the exact comparisons with fields that have no column known to `connection`."""
    connection.create_scalar_function("field_value", _field_value, 2, deterministic=True)
    connection.create_scalar_function("has_tag", _has_tag, 2, deterministic=True)
    connection.create_scalar_function("tag_set", _tag_set, 1, deterministic=True)
    connection.create_scalar_function("leading_number", _leading_number, 1, deterministic=True)


def _field_value(*arguments: Any) -> bytes | None:
    body, field = arguments
    return read_field(body, field)


def _has_tag(*arguments: Any) -> bool:
    stored, value = arguments
    return stored is not None and value in stored.split(TAG_SEPARATOR.encode())


def _tag_set(*arguments: Any) -> bytes | None:
    return set_value(arguments[0])


def _leading_number(*arguments: Any) -> float | None:
    return leading_number(arguments[0])
