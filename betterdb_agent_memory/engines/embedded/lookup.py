"""The tables of a collection, as they are in the transaction that asks."""

from __future__ import annotations

from typing import Any

import apsw

from betterdb_agent_memory.engines.base import Collection
from betterdb_agent_memory.engines.embedded.schema import described, tables_among
from betterdb_agent_memory.engines.embedded.tables import Tables
from betterdb_agent_memory.errors import IndexMissingError


class Lookup:
    """Finds the tables of `collection`, anew in every transaction.

    Another process may rebuild the collection for vectors of another length, or drop it, at any time
    between two transactions; within one its description stands beside what it describes. One small
    query (4 us); the description is parsed again only when it changed.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._last: tuple[list[Any], Tables | None] = ([], None)

    def find(self, connection: apsw.Connection) -> Tables | None:
        """The tables, or None when the collection is not there.

        Raises:
            IndexMismatchError: the index belongs to another prefix, or the prefix to another index.
        """
        rows = described(connection, self._collection)
        last_rows, tables = self._last
        if rows != last_rows:
            tables = tables_among(rows, self._collection)
            self._last = (rows, tables)
        return tables

    def prepared(self, connection: apsw.Connection) -> Tables:
        """The tables.

        Raises:
            IndexMissingError: the collection was never prepared, or was dropped.
        """
        tables = self.find(connection)
        if tables is None:
            raise IndexMissingError(
                f"the index {self._collection.index_name!r} does not exist; call prepare(dimensions) first"
            )
        return tables
