"""How many records the groups of a collection have, counted in the transactions that write them."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

from collections.abc import Sequence

import apsw

from betterdb_agent_memory.engines.base import Collection, GroupCount
from betterdb_agent_memory.engines.embedded.changes import leading_integer
from betterdb_agent_memory.engines.embedded.keys import live_fields, put_fields, take_fields
from betterdb_agent_memory.engines.embedded.queries import first
from betterdb_agent_memory.engines.embedded.reading import read_fields
from betterdb_agent_memory.engines.embedded.tables import Tables
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.groups import LAST_WRITTEN, REACH, record_group, sizes_in
from betterdb_agent_memory.errors import InvalidInputError


class Groups:
    """The map of counts of one collection, inside a transaction of the caller's.

    Counts only the groups that are in the map: somebody wanted them counted.
    """

    def __init__(self, connection: apsw.Connection, collection: Collection, now_ms: int) -> None:
        if collection.counts_key is None:
            raise InvalidInputError(f"no groups are counted in the collection {collection.key_prefix}")
        self._connection = connection
        self._fields = collection.group_fields
        self._sets = collection.group_sets
        self._key = collection.counts_key
        self._now_ms = now_ms

    def name_of(self, fields: Fields) -> str:
        """The group of a record."""
        return record_group(fields, self._fields, self._sets)

    def stored_name(self, tables: Tables, id: str) -> str | None:
        """The group of the record that is there, None where there is none that has not expired."""
        row = first(
            self._connection,
            f"SELECT key FROM {tables.record} WHERE id = ? AND (expires_at_ms IS NULL OR expires_at_ms > ?)",
            (id, self._now_ms),
        )
        return None if row is None else self.name_of(read_fields(self._connection, tables, row[0], self._fields))

    def move(self, id: str, before: str | None, after: str | None, *, is_whole: bool = False) -> None:
        """Record `id` was of the group `before` and is of `after`; None where it was not there, or is no more."""
        if before is not None and before != after:
            self._add(before, -1)
        if after is not None and (is_whole or before != after):
            self._add(after, 0 if before == after else 1, last_id=id)

    def all_sizes(self) -> dict[str, int]:
        """Every group that is counted."""
        return sizes_in(live_fields(self._connection, self._key, self._now_ms))

    def read(self, group: str) -> GroupCount:
        """The count of a group, and the record written last."""
        last = LAST_WRITTEN + group
        found = live_fields(self._connection, self._key, self._now_ms, (group, last))
        size = found.get(group)
        return GroupCount(
            None if size is None else leading_integer(size), found[last].decode() if last in found else None
        )

    def sizes(self, groups: Sequence[str]) -> dict[str, int | None]:
        """The counts of several groups."""
        return {group: self.read(group).size for group in groups}

    def correct(self, group: str, difference: int) -> None:
        """Add to the count of a group, and begin to keep it where nobody did; what comes out below 0 is not kept."""
        size = (self.read(group).size or 0) + difference
        if size < 0:
            take_fields(self._connection, self._key, (group,))
            return
        put_fields(self._connection, self._key, {group: b"%d" % size}, self._now_ms)

    def _add(self, group: str, amount: int, *, last_id: str | None = None) -> None:
        size = self.read(group).size
        if size is not None and size + amount <= 0 and amount < 0:
            # Nothing is kept of a group that nobody is in.
            take_fields(self._connection, self._key, (group, LAST_WRITTEN + group, REACH + group))
            return
        # Which one was the last is kept also where nobody counts yet: whoever begins to wants to know it.
        noted = {} if last_id is None else {LAST_WRITTEN + group: last_id.encode()}
        if size is not None:
            noted[group] = b"%d" % (size + amount)
        if noted:
            put_fields(self._connection, self._key, noted, self._now_ms)
