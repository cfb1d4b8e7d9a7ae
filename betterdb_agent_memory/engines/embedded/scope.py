"""The records that a condition leaves, counted and listed once however many questions are about them."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

import json
from functools import cached_property

import apsw
import numpy as np
import numpy.typing as npt

from betterdb_agent_memory.engines.embedded.matching import Condition, matching
from betterdb_agent_memory.engines.embedded.queries import scalar, values
from betterdb_agent_memory.engines.embedded.reading import count_records
from betterdb_agent_memory.engines.embedded.tables import Tables
from betterdb_agent_memory.engines.embedded.words import Keys, as_keys
from betterdb_agent_memory.engines.filters import Filter

_FEW = 500
"""Keys that are held against the condition one by one, at most, rather than listing the whole scope."""


class Scope:
    """What passes `filter` in one read transaction, at one time."""

    def __init__(self, connection: apsw.Connection, tables: Tables, filter: Filter, now_ms: int) -> None:
        self._connection = connection
        self._tables = tables
        self._now_ms = now_ms
        self.condition: Condition = matching(filter, tables, now_ms)
        self.filtered = bool(filter.clauses)
        self._at_most: tuple[int, bool] | None = None

    def has_at_most(self, limit: int) -> bool:
        """Whether no more than `limit` records are left; looks at no more of them."""
        if self._at_most is None or self._at_most[0] != limit:
            found = scalar(
                self._connection,
                f"SELECT count(*) FROM (SELECT 1 FROM {self._tables.record} AS r WHERE {self.condition.sql} LIMIT ?)",
                (*self.condition.parameters, limit + 1),
            )
            self._at_most = (limit, found <= limit)
        return self._at_most[1]

    @cached_property
    def keys(self) -> Keys:
        """The keys of the records, in no order."""
        # Joined inside SQLite, which takes half the time of fetching them as rows.
        sql = f"SELECT group_concat(r.key) FROM {self._tables.record} AS r WHERE {self.condition.sql}"
        return as_keys(scalar(self._connection, sql, self.condition.parameters))

    @cached_property
    def size(self) -> int:
        """How many records are left."""
        if "keys" in self.__dict__:
            return len(self.keys)
        return count_records(self._connection, self._tables, self.condition)

    def count(self, keys: Keys) -> int:
        """How many of these records are left."""
        if not self.filtered:
            return len(self.only(keys))
        if len(keys) > _FEW or "_member" in self.__dict__:
            return int(self._member[keys].sum())
        return int(
            scalar(
                self._connection,
                f"SELECT count(*) FROM json_each(?) AS wanted CROSS JOIN {self._tables.record} AS r "
                f"ON r.key = wanted.value WHERE {self.condition.sql}",
                (json.dumps(keys.tolist()), *self.condition.parameters),
            )
        )

    def only(self, keys: Keys) -> Keys:
        """Those of these records that are left."""
        if self.filtered:
            return keys[self._member[keys]]
        return np.setdiff1d(keys, self.expired) if len(self.expired) else keys

    @cached_property
    def expired(self) -> Keys:
        """Records that have expired and are still in the file."""
        sql = f"SELECT key FROM {self._tables.record} WHERE expires_at_ms <= ?"
        return np.array(values(self._connection, sql, (self._now_ms,)), dtype=np.int64)

    @cached_property
    def _member(self) -> npt.NDArray[np.bool_]:
        """For each key whether its record is left."""
        slots = scalar(self._connection, f"SELECT coalesce(max(key) + 1, 0) FROM {self._tables.record}")
        member = np.zeros(slots, dtype=bool)
        member[self.keys] = True
        return member
