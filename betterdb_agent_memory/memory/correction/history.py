"""The versions of a memory, whichever of them one has the id of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.memory.correction.lineage import MemoryVersion, in_order, version_of
from betterdb_agent_memory.memory.correction.shelf import Shelf
from betterdb_agent_memory.memory.record import ITEM_FIELDS, MemoryItem, decode_memory

DEFAULT_VERSIONS = 100
MAX_VERSIONS = 1_000


class History:
    """Follows lineage among the memories and the superseded versions of a store.

    `finish` is told of a memory that says by what it is superseded and that is among the others still.
    """

    def __init__(self, records: Records, shelf: Shelf, *, finish: Callable[[str, str], Awaitable[None]]) -> None:
        self._records = records
        self._shelf = shelf
        self._finish = finish

    async def versions(self, id: str, *, limit: int) -> list[MemoryVersion]:
        """The newest `limit` versions, oldest first; empty where nobody knows the id.

        Two round trips for each step there and back.
        """
        chain = await self._forward(id, limit)
        if not chain:
            return []
        newest = [*chain][-1]
        versions = {newest: version_of(chain[newest])}
        waiting = _former(chain[newest])
        while waiting and len(versions) < limit:
            found = await self._read([one for one in waiting if one not in versions])
            waiting, former = {}, waiting
            for one, item in found.items():
                # One that was killed before it had superseded a memory says so all the same.
                if len(versions) < limit and item.dynamics.superseded_by == former[one]:
                    versions[one] = version_of(item)
                    waiting |= _former(item)
        return in_order(versions, newest)

    async def _forward(self, id: str, limit: int) -> dict[str, MemoryItem]:
        """From this version to the newest that is there, up to `limit`; a ring ends where it began."""
        chain: dict[str, MemoryItem] = {}
        following: str | None = id
        while following is not None and following not in chain and len(chain) < limit:
            item = (await self._read([following])).get(following)
            if item is None:
                break
            chain[following] = item
            following = item.dynamics.superseded_by
        return chain

    async def _read(self, ids: Iterable[str]) -> dict[str, MemoryItem]:
        asked = list(ids)
        found = _decoded(asked, await self._records.read_many(asked, ITEM_FIELDS)) if asked else {}
        for id, item in found.items():
            if (by := item.dynamics.superseded_by) is not None:
                await self._finish(id, by)
            if item.dynamics.archived_at is not None:
                # Who was to put it away was killed before he had.
                found[id] = replace(item, dynamics=replace(item.dynamics, archived_at=None))
        missing = [id for id in asked if id not in found]
        kept = await self._shelf.records.read_many(missing, ITEM_FIELDS) if missing else []
        return found | _decoded(missing, kept)


def _former(item: MemoryItem) -> dict[str, str]:
    """What a memory says to have superseded, each with the memory's id."""
    return dict.fromkeys(item.dynamics.supersedes, item.id)


def _decoded(ids: Sequence[str], rows: Sequence[Fields | None]) -> dict[str, MemoryItem]:
    items = {id: decode_memory(id, fields)[0] for id, fields in zip(ids, rows, strict=True) if fields is not None}
    return {id: item for id, item in items.items() if item is not None}
