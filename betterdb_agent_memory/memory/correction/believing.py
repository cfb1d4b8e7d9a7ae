"""Memories together with superseded versions: what a store believed at some time, or ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from betterdb_agent_memory.engines.base import (
    Answers,
    Counter,
    Expected,
    Fence,
    Neighbours,
    Page,
    Position,
    RecordChange,
    Row,
    Search,
    Tally,
)
from betterdb_agent_memory.engines.filters import Equals, Fields, Filter, Not, leading_number
from betterdb_agent_memory.errors import IndexMissingError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.correction.shelf import Shelf
from betterdb_agent_memory.memory.dynamics_fields import EMBEDDER
from betterdb_agent_memory.memory.embedding import CheckedEmbedder
from betterdb_agent_memory.memory.spaces import SearchedRecords, VectorSpace

_BATCH = 100
_SCANNED = 1_000


class Believing:
    """Makes spaces in which recalls find superseded versions beside memories."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._looked_for = 0

    async def space(self, space: VectorSpace) -> VectorSpace:
        """The same with superseded versions, where the store has some. No round trip once known, else one to three;
        after a change to a model with vectors of another length all keys are looked at once.
        """
        dimensions = await space.index.find(space.embedder.dimensions)
        if dimensions is None or not await self._shelf.is_there():
            return space
        await self._shelf.prepare(dimensions)
        await self._shelf.index.wait_complete()
        believed = BelievedRecords(space.records, self._shelf, space.embedder)
        failures = self._shelf.index.failures
        if failures != self._looked_for:
            # Vectors of another length are in no index of a server, and neither are their records.
            await believed.embed_unindexed()
            self._looked_for = failures
        return replace(space, records=believed)


class BelievedRecords:
    """Memories and superseded versions as one collection to search; the verbs are those of `SearchedRecords`.

    A search is one round trip to each, side by side. What is met in both is a memory that is about to leave. Versions
    whose vectors another model made are given those of `embedder` first: that costs embedding calls, once.
    """

    def __init__(self, memories: SearchedRecords, shelf: Shelf, embedder: CheckedEmbedder) -> None:
        self._memories = memories
        self._shelf = shelf
        self._embedder = embedder
        self._own_model = Equals(EMBEDDER, embedder.name)

    @property
    def max_neighbours(self) -> int:
        """Largest `count` that a search takes."""
        return min(self._memories.max_neighbours, self._shelf.records.max_neighbours)

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """Several searches around one `vector`, and counts beside them: of memories and versions together."""
        whole = [replace(search, selection=None, scope_size=None) for search in searches]
        memories, versions = await asyncio.gather(
            self._memories.search_many(vector, whole, fields=fields, tallies=tallies),
            self._versions(vector, whole, fields=fields, tallies=tallies),
        )
        found = tuple(
            _nearest(one, other, search.count)
            for one, other, search in zip(memories.neighbours, versions.neighbours, searches, strict=True)
        )
        return Answers(found, tuple(one + other for one, other in zip(memories.tallies, versions.tallies, strict=True)))

    async def _versions(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally]
    ) -> Answers:
        """The same of versions alone, once all of them have vectors that can be compared."""
        records, models = self._shelf.records, (Tally(Filter()), Tally(Filter((self._own_model,))))
        counted = (*tallies, *models)
        try:
            found = await records.search_many(vector, searches, fields=fields, tallies=counted)
        except IndexMissingError:  # dropped since it was looked at
            await self._shelf.index.recreate()
            await self._shelf.index.wait_complete()
            found = await records.search_many(vector, searches, fields=fields, tallies=counted)
        if found.tallies[-2] != found.tallies[-1] and await self._embed_anew():
            found = await records.search_many(vector, searches, fields=fields, tallies=counted)
        return Answers(found.neighbours, found.tallies[: len(tallies)])

    async def embed_unindexed(self) -> None:
        """Give versions that are in no index vectors of ours. It looks at every key of a server."""
        async for rows in self._shelf.records.scan((record.CONTENT, EMBEDDER), page_size=_SCANNED):
            foreign = [row for row in rows if not self._own_model.accepts(row.id, row.fields)]
            for start in range(0, len(foreign), _BATCH):
                await self._embed(foreign[start : start + _BATCH])

    async def _embed_anew(self) -> int:
        """Give versions whose vectors another model made those of ours; how many."""
        count = 0
        foreign = Filter((Not(self._own_model),))
        async for rows in self._shelf.records.walk(foreign, fields=(record.CONTENT, EMBEDDER), page_size=_BATCH):
            await self._embed(rows)
            count += len(rows)
        return count

    async def _embed(self, rows: Sequence[Row]) -> None:
        self._embedder.require("recalling superseded memories that another model has embedded")
        texts = [row.fields.get(record.CONTENT, b"").decode(errors="replace") for row in rows]
        vectors = await self._embedder.embed_documents(texts, await self._shelf.index.find())
        name = self._embedder.name.encode()
        await self._shelf.records.change_many(
            [
                RecordChange(row.id, sets={record.VECTOR: vector, EMBEDDER: name})
                for row, vector in zip(rows, vectors, strict=True)
            ]
        )

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
        """A page of both; pages are made of all rows before them."""
        asked = tuple(fields) if order_by is None else tuple(dict.fromkeys((*fields, order_by)))
        memories, versions = await asyncio.gather(
            *(
                records.select(filter, fields=asked, limit=offset + limit, order_by=order_by, descending=descending)
                for records in (self._memories, self._shelf.records)
            )
        )
        rows = [*{row.id: row for row in (*versions.rows, *memories.rows)}.values()]
        if order_by is not None:
            rows.sort(key=lambda row: leading_number(row.fields.get(order_by)) or 0.0, reverse=descending)
        total = memories.total + versions.total
        kept = tuple(_only(row, fields) for row in rows[offset : offset + limit])
        return Page(kept, total, max(0, min(limit, total - offset)))

    async def read_many(self, ids: Sequence[str], fields: Sequence[str]) -> list[Fields | None]:
        """The asked-for fields of each id, of the memory if there is one."""
        memories = await self._memories.read_many(ids, fields)
        missing = [place for place, found in enumerate(memories) if found is None]
        if missing:
            versions = await self._shelf.records.read_many([ids[place] for place in missing], fields)
            for place, found in zip(missing, versions, strict=True):
                memories[place] = found
        return memories

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """Delete memories; versions stay."""
        return await self._memories.delete_many(ids, expected=expected, fence=fence, counter=counter)

    async def count(self, filter: Filter) -> int:
        """How many memories and versions `filter` accepts."""
        return sum(await asyncio.gather(self._memories.count(filter), self._shelf.records.count(filter)))

    async def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        """Pages of the memories that `filter` accepts, then of the versions, each oldest first."""
        for records in (self._memories, self._shelf.records):
            async for rows in records.walk(filter, fields=fields, after=after, page_size=page_size):
                yield rows


def _nearest(memories: Neighbours, versions: Neighbours, count: int) -> Neighbours:
    rows = sorted({row.id: row for row in (*versions, *memories)}.values(), key=lambda row: (row.distance, row.id))
    # What one of them left out lies beyond its last row, so nothing behind that is known to be among the nearest.
    ends = [found[-1].distance for found in (memories, versions) if found and not found.exhausted]
    if ends:
        rows = [row for row in rows if row.distance <= max(min(ends), rows[0].distance)]
    return Neighbours(rows[:count], exhausted=memories.exhausted and versions.exhausted and len(rows) <= count)


def _only(row: Row, fields: Sequence[str]) -> Row:
    return Row(row.id, {name: row.fields[name] for name in fields if name in row.fields})
