"""The records of one collection in the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import apsw

from betterdb_agent_memory.engines.base import (
    Collection,
    IndexState,
    Neighbour,
    Neighbours,
    Page,
    RecordChange,
    RecordWrite,
)
from betterdb_agent_memory.engines.embedded import reading, schema, writing
from betterdb_agent_memory.engines.embedded.database import Database
from betterdb_agent_memory.engines.embedded.matching import matching
from betterdb_agent_memory.engines.embedded.search import nearest
from betterdb_agent_memory.engines.embedded.tables import Tables
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.errors import IndexMismatchError, IndexMissingError, InvalidInputError

T = TypeVar("T")

MAX_NEIGHBOURS = 1_000_000
_NO_STATE = IndexState(dimensions=None)


class EmbeddedRecords:
    """The records of one collection.

    Filters are exact here and searches too: every row passes `Filter.accepts`, and `nearest` finds
    what a comparison with every vector would. Each batch is written whole or not at all. Before
    `prepare` gave the collection its dimensions there is nothing to read, delete or change, and
    writing, searching and counting raise IndexMissingError.
    """

    def __init__(self, database: Database, collection: Collection, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._collection = collection
        self._now_ms = now_ms
        self._tables: Tables | None = None

    @property
    def max_neighbours(self) -> int:
        """Largest `count` that `nearest` takes."""
        return MAX_NEIGHBOURS

    @property
    def unreadable_rows(self) -> int:
        """Always 0: a row of a file can be read or the whole call fails."""
        return 0

    async def prepare(self, dimensions: int | None) -> IndexState:
        """Find the collection in the file, or create it when `dimensions` is given.

        A field that an earlier release did not index is indexed now, which reads every record once.
        """
        if dimensions is not None and dimensions <= 0:
            raise InvalidInputError(f"dimensions must be positive, not {dimensions}")
        found = await self._database.read(self._find)
        created = False
        if (found is None and dimensions is not None) or (
            found is not None and schema.missing_fields(found, self._collection)
        ):
            found, created = await self._database.write(lambda connection: self._establish(connection, dimensions))
        if found is None:
            return _NO_STATE
        self._check_dimensions(found, dimensions)
        self._tables = found
        return IndexState(dimensions=found.dimensions, created=created)

    async def inspect(self) -> IndexState:
        """The state of the collection now; `dimensions` is None when it was never prepared."""
        found = await self._database.read(self._find)
        return IndexState(dimensions=found.dimensions) if found is not None else _NO_STATE

    async def write_many(self, writes: Sequence[RecordWrite]) -> None:
        """Store records, all or none of them. An existing id is replaced whole.

        About 40 us a record in a batch; a batch alone adds one flush to disk.
        """
        if not writes:
            return
        tables = await self._prepared()
        writing.check_writes(tables, writes)
        await self._database.write(lambda c: writing.write_records(c, tables, writes, self._now_ms()))

    async def read_many(self, ids: Sequence[str], fields: Sequence[str]) -> list[Fields | None]:
        """The asked-for fields of each id, in order; None for a record that has none of them."""
        tables = await self._known()
        if tables is None or not ids:
            return [None] * len(ids)
        return await self._database.read(
            lambda connection: reading.read_records(connection, tables, ids, fields, self._now_ms())
        )

    async def delete_many(self, ids: Sequence[str]) -> list[bool]:
        """Delete records; true where there was one."""
        tables = await self._known()
        if tables is None or not ids:
            return [False] * len(ids)
        return await self._database.write(
            lambda connection: writing.delete_records(connection, tables, ids, self._now_ms())
        )

    async def change_many(self, changes: Sequence[RecordChange]) -> list[bool]:
        """Change records that still exist; false where there was none. Never brings one back."""
        tables = await self._known()
        if tables is None or not changes:
            return [False] * len(changes)
        return await self._database.write(
            lambda connection: writing.change_records(connection, tables, changes, self._now_ms())
        )

    async def nearest(self, vector: bytes, *, count: int, filter: Filter, fields: Sequence[str]) -> Neighbours:
        """The `count` records nearest to `vector` (float32, little-endian), nearest first, then by id.

        Exact. A vector of zeros has the distance 1 to everything. At 384 dimensions about 1 us per
        record in a small scope; above an eighth of the collection about 0.2 us per record of the whole.
        """
        tables = await self._prepared()
        if len(vector) != tables.vector_bytes:
            raise InvalidInputError(
                f"the query vector has {len(vector)} bytes, but this collection has {tables.dimensions} "
                f"dimensions: {tables.vector_bytes} bytes of float32"
            )
        if not 0 <= count <= MAX_NEIGHBOURS:
            raise InvalidInputError(f"count must be from 0 to {MAX_NEIGHBOURS}, not {count}")

        def search(connection: apsw.Connection) -> Neighbours:
            now_ms = self._now_ms()
            condition = matching(filter, tables, now_ms)
            filtered = bool(filter.clauses)
            found = nearest(connection, tables, vector, count, condition, filtered=filtered, now_ms=now_ms)
            rows = [
                Neighbour(id, distance, reading.read_fields(connection, tables, key, fields))
                for key, id, distance in found
            ]
            return Neighbours(rows, exhausted=len(rows) < count)

        return await self._database.read(search)

    async def select(
        self,
        filter: Filter,
        *,
        fields: Sequence[str],
        limit: int,
        offset: int = 0,
        order_by: str | None = None,
        descending: bool = False,
    ) -> Page:
        """A page of records, ordered by a number field (then by id) or in no particular order."""
        if limit < 0 or offset < 0:
            raise InvalidInputError(f"limit and offset must not be negative, not {limit} and {offset}")
        tables = await self._prepared()
        return await self._database.read(
            lambda connection: reading.select_records(
                connection,
                tables,
                matching(filter, tables, self._now_ms()),
                names=fields,
                limit=limit,
                offset=offset,
                order_by=order_by,
                descending=descending,
            )
        )

    async def count(self, filter: Filter) -> int:
        """How many records `filter.accepts`, exactly."""
        tables = await self._prepared()
        return await self._database.read(
            lambda connection: reading.count_records(connection, tables, matching(filter, tables, self._now_ms()))
        )

    def _find(self, connection: apsw.Connection) -> Tables | None:
        return schema.find_tables(connection, self._collection)

    def _establish(self, connection: apsw.Connection, dimensions: int | None) -> tuple[Tables | None, bool]:
        # Looked for again under the write lock: another worker may have been faster.
        tables = self._find(connection)
        if tables is None:
            return (None, False) if dimensions is None else (self._create(connection, dimensions), True)
        self._check_dimensions(tables, dimensions)
        missing = schema.missing_fields(tables, self._collection)
        return (schema.add_fields(connection, tables, missing) if missing else tables), False

    def _create(self, connection: apsw.Connection, dimensions: int) -> Tables:
        return schema.create_tables(connection, self._collection, dimensions)

    def _check_dimensions(self, tables: Tables, dimensions: int | None) -> None:
        if dimensions is not None and dimensions != tables.dimensions:
            raise IndexMismatchError(
                f"the index {self._collection.index_name!r} has {tables.dimensions} dimensions, but the vectors of "
                f"this store have {dimensions}: use the embedder it was made with, or another store name"
            )

    async def _known(self) -> Tables | None:
        if self._tables is None:
            found = await self._database.read(self._find)
            if found is None or schema.missing_fields(found, self._collection):
                # An older file gets the missing fields in `prepare`; until then nothing is kept.
                return found
            self._tables = found
        return self._tables

    async def _prepared(self) -> Tables:
        tables = await self._known()
        if tables is None:
            raise IndexMissingError(
                f"the index {self._collection.index_name!r} does not exist; call prepare(dimensions) first"
            )
        return tables
