"""Memories found through the vectors, and the index, of a generation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from betterdb_agent_memory.engines.base import (
    Answers,
    Counter,
    Expected,
    Fence,
    IndexSchema,
    Neighbour,
    Neighbours,
    Page,
    Position,
    Records,
    Row,
    Search,
    Tally,
)
from betterdb_agent_memory.engines.filters import Clause, Fields, Filter, IdIn, leaves
from betterdb_agent_memory.errors import InvalidInputError
from betterdb_agent_memory.memory import record

MIRRORED = (
    record.THREAD,
    record.AGENT,
    record.NAMESPACE,
    record.TAGS,
    record.SOURCE,
    record.IMPORTANCE,
    record.CREATED_AT,
    record.SUBJECT,
    record.OCCURRED_AT,
    record.CONTENT,
    record.WORDS,
)
"""What a generation's records hold beside the vector: what searches narrow by, words among it, and reinforcement does
not change. What is not here is compared after the memories themselves were read."""

SCHEMA = IndexSchema(
    vector_field=record.VECTOR,
    shared=tuple(
        schema_field
        for schema_field in (*record.MEMORY_SCHEMA.shared, *record.MEMORY_SCHEMA.own)
        if schema_field.name in MIRRORED
    ),
)


class Joined:
    """The memories, found through the generation's records and index.

    What comes back is read from the memories themselves, so that it is as exact as they are.
    """

    def __init__(self, memories: Records, generation: Records) -> None:
        self._memories = memories
        self._generation = generation

    @property
    def max_neighbours(self) -> int:
        """See `SearchedRecords.max_neighbours`."""
        return self._generation.max_neighbours

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """Two round trips: the generation's index, then the memories it names. A memory that is gone is left out.

        Tallies count what the generation holds.
        """
        # What a memory is worth is not in the generation.
        narrowed = [replace(search, filter=_narrowed(search.filter), selection=None) for search in searches]
        counted = [replace(tally, filter=_narrowed(tally.filter)) for tally in tallies]
        needed = dict.fromkeys(name for search in narrowed for name in search.filter.field_names)
        near = await self._generation.search_many(vector, narrowed, fields=tuple(needed), tallies=counted)
        ids = list(dict.fromkeys(row.id for found in near.neighbours for row in found))
        memories = dict(zip(ids, await self._memories.read_many(ids, fields), strict=True)) if ids else {}
        joined = (
            Neighbours(
                [Neighbour(row.id, row.distance, memory) for row in found if (memory := memories[row.id])],
                exhausted=found.exhausted,
            )
            for found in near.neighbours
        )
        return Answers(tuple(joined), near.tallies)

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
        """See `SearchedRecords.select`.

        Raises:
            InvalidInputError: it is to be ordered by something that generations do not mirror.
        """
        if order_by is not None and order_by not in MIRRORED:
            raise InvalidInputError(f"memories found through a generation cannot be ordered by {order_by!r}")
        narrowed = _narrowed(filter)
        page = await self._generation.select(
            narrowed,
            fields=narrowed.field_names,
            limit=limit,
            offset=offset,
            order_by=order_by,
            descending=descending,
        )
        return Page(await self._memories_of(page.rows, fields), page.total, page.scanned)

    async def read_many(self, ids: Sequence[str], fields: Sequence[str]) -> list[Fields | None]:
        """See `SearchedRecords.read_many`."""
        if tuple(fields) == (record.VECTOR,):
            return await self._generation.read_many(ids, fields)
        return await self._memories.read_many(ids, fields)

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """See `SearchedRecords.delete_many`."""
        deleted = await self._memories.delete_many(ids, expected=expected, fence=fence, counter=counter)
        await self._generation.delete_many([id for id, gone in zip(ids, deleted, strict=True) if gone])
        return deleted

    async def count(self, filter: Filter) -> int:
        """Row by row: what is gone or has changed since is not counted. One round trip per 500 and page."""
        return sum([len(rows) async for rows in self.walk(filter, fields=filter.field_names)])

    async def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        """See `SearchedRecords.walk`."""
        narrowed = _narrowed(filter)
        wanted = tuple(dict.fromkeys((record.CONTENT, *fields, *filter.field_names)))
        pages = self._generation.walk(narrowed, fields=narrowed.field_names, after=after, page_size=page_size)
        async for rows in pages:
            kept = filter.accepted(await self._memories_of(rows, wanted))
            if kept:
                yield tuple(kept)

    async def _memories_of(self, rows: Sequence[Row], fields: Sequence[str]) -> tuple[Row, ...]:
        memories = await self._memories.read_many([row.id for row in rows], fields) if rows else []
        return tuple(Row(row.id, memory) for row, memory in zip(rows, memories, strict=True) if memory)


def _narrowed(filter: Filter) -> Filter:
    """As much of a filter as the generation's records can tell."""
    return Filter(tuple(clause for clause in filter.clauses if _is_mirrored(clause)))


def _is_mirrored(clause: Clause) -> bool:
    return all(isinstance(leaf, IdIn) or leaf.field in MIRRORED for leaf in leaves(clause))
