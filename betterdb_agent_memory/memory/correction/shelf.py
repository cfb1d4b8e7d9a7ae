"""Where superseded versions of memories are kept, and archived ones: beside the memories, where no recall looks unless
it is asked to.

Keys are `{name}:old:{id}`, below a prefix of their own that no other client knows; in a file they are a collection of
their own. There is nothing of it before the store first supersedes, or archives.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from betterdb_agent_memory.engines.base import Collection, Engine, IndexSchema, SchemaField
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.errors import IndexMismatchError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.correction.lineage import predecessors, successor
from betterdb_agent_memory.memory.dynamics_fields import EMBEDDER, SUPERSEDED_BY, SUPERSEDES
from betterdb_agent_memory.memory.index import MemoryIndex

SHELF_SCHEMA: IndexSchema = replace(record.MEMORY_SCHEMA, own=(*record.MEMORY_SCHEMA.own, SchemaField(EMBEDDER, "tag")))

_PAGE = 500


def shelf_collection(name: str) -> Collection:
    """Where the superseded versions of the store called `name` are."""
    return Collection(key_prefix=f"{name}:old:", index_name=f"{name}:old:idx", schema=SHELF_SCHEMA)


class Former(NamedTuple):
    """A version, and the memory that says to have superseded it; None where it is meant whatever superseded it."""

    id: str
    by: str | None


def former_of(id: str, fields: Fields) -> list[Former]:
    """What a memory says to have superseded."""
    return [Former(one, id) for one in predecessors(fields)]


class Shelf:
    """The superseded versions of one store. `retention_seconds` is how long one is kept at most; None is for ever."""

    def __init__(self, engine: Engine, name: str, *, retention_seconds: int | None) -> None:
        collection = shelf_collection(name)
        self.records = engine.records(collection)
        self.index = MemoryIndex(self.records, collection.index_name)
        self.retention_seconds = retention_seconds

    async def prepare(self, dimensions: int) -> None:
        """Find or make the index, for vectors of this length. No round trip once known, else up to three.

        Versions with vectors of another length stay, and are found by their ids only until they have others.
        """
        try:
            await self.index.ensure(dimensions)
        except IndexMismatchError:
            await self.index.rebuild(dimensions, fence=None)

    async def is_there(self) -> bool:
        """Whether the store has ever superseded. One round trip, none for a while where it has."""
        return await self.index.find() is not None

    async def forget(self, ids: Iterable[str], *, former: Iterable[Former] = ()) -> int:
        """Delete these versions, and those that are `former` ones, each with all that it had superseded; how many.

        Two round trips for each step back, one where there is nothing.
        """
        waiting = list(dict.fromkeys([*(Former(id, None) for id in ids), *former]))
        seen = set(waiting)
        deleted = 0
        while waiting:
            found = await self.records.read_many(
                [one.id for one in waiting], (record.CREATED_AT, SUPERSEDES, SUPERSEDED_BY)
            )
            there = {
                one.id: fields
                for one, fields in zip(waiting, found, strict=True)
                if fields is not None and one.by in (None, successor(fields))
            }
            deleted += sum(await self.records.delete_many([*there])) if there else 0
            waiting = [one for id, fields in there.items() for one in former_of(id, fields) if one not in seen]
            seen.update(waiting)
        return deleted

    async def forget_matching(self, filter: Filter) -> int:
        """Delete every version that `filter` accepts; how many there were.

        One round trip where the store has never superseded; else two per 500.
        """
        if not await self.is_there():
            return 0
        await self.index.wait_complete()
        deleted = 0
        async for rows in self.records.walk(filter, fields=filter.field_names, page_size=_PAGE):
            deleted += sum(await self.records.delete_many([row.id for row in rows]))
        return deleted
