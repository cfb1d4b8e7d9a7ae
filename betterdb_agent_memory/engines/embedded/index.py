"""The index of one collection: its tables, made, rebuilt and dropped."""

# ruff: noqa: S608 - table names are made of our own numbers, values are always bound
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import apsw

from betterdb_agent_memory.engines.base import Collection, Fence, IndexState
from betterdb_agent_memory.engines.embedded import rebuilding, schema
from betterdb_agent_memory.engines.embedded.database import Database
from betterdb_agent_memory.engines.embedded.fencing import refuse_late
from betterdb_agent_memory.engines.embedded.linking import drop_links
from betterdb_agent_memory.engines.embedded.lookup import Lookup
from betterdb_agent_memory.engines.embedded.queries import scalar
from betterdb_agent_memory.engines.embedded.tables import Tables
from betterdb_agent_memory.errors import IndexMismatchError, InvalidInputError

_NO_STATE = IndexState(dimensions=None)


class Index:
    """The index of `collection`, as other processes leave it: nothing of it is remembered here."""

    def __init__(self, database: Database, collection: Collection, lookup: Lookup, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._collection = collection
        self._lookup = lookup
        self._now_ms = now_ms

    async def prepare(self, dimensions: int | None) -> IndexState:
        """Find the collection in the file, or create it when `dimensions` is given.

        A field that an earlier release did not index is indexed now, which reads every record once.
        """
        if dimensions is not None:
            _check_dimensions(dimensions)
        found, state = await self._database.read(self._state)
        if dimensions is not None if found is None else schema.missing_fields(found, self._collection):
            found, state = await self._database.write(lambda connection: self._establish(connection, dimensions))
        if found is not None:
            self._check_fit(found, dimensions)
        return state

    async def inspect(self) -> IndexState:
        """The state of the collection now; `dimensions` is None when it was never prepared.

        `failures` counts the records whose vectors have another length, since a `rebuild`.
        """
        return (await self._database.read(self._state))[1]

    async def rebuild(self, dimensions: int, *, fence: Fence | None = None) -> IndexState:
        """Make the index anew, for vectors of this length, over the records that are there.

        One transaction: another process sees the collection as it was, or rebuilt. Others can read
        meanwhile, and write when it is done: 40 us a record of 384 dimensions. Vectors of another length
        stay where they are, out of every search, until they are replaced; `IndexState.failures` counts
        them. Creates what was never prepared.
        """
        _check_dimensions(dimensions)

        def remake(connection: apsw.Connection) -> IndexState:
            refuse_late(connection, fence)
            tables = self._lookup.find(connection)
            if tables is None:
                schema.create_tables(connection, self._collection, dimensions)
            else:
                rebuilding.rebuild(connection, tables, self._collection, dimensions)
            return replace(self._state(connection)[1], created=tables is None)

        return await self._database.write(remake)

    async def drop(self, *, fence: Fence | None = None) -> int:
        """Delete the collection with every record, in one transaction; how many there were.

        Then it is as before the first `prepare`, for every process that has the file open.
        """

        def remove(connection: apsw.Connection) -> int:
            refuse_late(connection, fence)
            # A tenant's may be there without a collection: they stay where they are when it leaves a pool.
            drop_links(connection, self._collection.link_keys)
            tables = self._lookup.find(connection)
            return 0 if tables is None else rebuilding.drop(connection, tables, self._now_ms())

        return await self._database.write(remove)

    def _state(self, connection: apsw.Connection) -> tuple[Tables | None, IndexState]:
        tables = self._lookup.find(connection)
        if tables is None:
            return None, _NO_STATE
        failures = scalar(connection, f"SELECT count(*) FROM {tables.unfit}")
        return tables, IndexState(dimensions=tables.dimensions, failures=failures)

    def _establish(self, connection: apsw.Connection, dimensions: int | None) -> tuple[Tables | None, IndexState]:
        """Create the collection, or the fields that it lacks."""
        # Looked for again under the write lock: another worker may have been faster.
        tables = self._lookup.find(connection)
        if tables is not None:
            self._check_fit(tables, dimensions)
            missing = schema.missing_fields(tables, self._collection)
            if missing:
                schema.add_fields(connection, tables, missing)
        elif dimensions is not None:
            tables = schema.create_tables(connection, self._collection, dimensions)
            return tables, IndexState(dimensions=dimensions, created=True)
        return self._state(connection)

    def _check_fit(self, tables: Tables, dimensions: int | None) -> None:
        if dimensions is not None and dimensions != tables.dimensions:
            raise IndexMismatchError(
                f"the index {self._collection.index_name!r} has {tables.dimensions} dimensions, but the vectors of "
                f"this store have {dimensions}: use the embedder it was made with, or another store name"
            )


def _check_dimensions(dimensions: int) -> None:
    if dimensions <= 0:
        raise InvalidInputError(f"dimensions must be positive, not {dimensions}")
