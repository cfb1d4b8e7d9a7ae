"""Memories that are to be corrected or contradicted: what they hold, or why that cannot be done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.errors import MemoryNotFoundError, SupersededError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.correction.lineage import READ, is_archived, successor
from betterdb_agent_memory.memory.correction.shelf import Shelf
from betterdb_agent_memory.memory.dynamics_fields import ARCHIVED_AT, SUPERSEDED_BY

Refusal = MemoryNotFoundError | SupersededError


class Living:
    """Looks memories up by their ids.

    `finish` is told of a memory that says by what it is superseded and that is among the others still.
    """

    def __init__(self, records: Records, shelf: Shelf, *, finish: Callable[[str, str], Awaitable[None]]) -> None:
        self._records = records
        self._shelf = shelf
        self._finish = finish

    async def look(self, ids: Sequence[str]) -> list[Fields | Refusal]:
        """What each memory holds, or why there is none that could be changed. One round trip, one more where some are
        not there.
        """
        found = await self._records.read_many(ids, READ)
        looked: dict[str, Fields | Refusal] = {}
        for id, fields in zip(ids, found, strict=True):
            if not fields or not record.is_memory(fields):
                continue
            claimed = successor(fields)
            if claimed is None:
                looked[id] = fields
            else:
                await self._finish(id, claimed)
                looked[id] = superseded(id, claimed)
        missing = [id for id in dict.fromkeys(ids) if id not in looked]
        if missing:
            kept = await self._shelf.records.read_many(missing, (SUPERSEDED_BY, ARCHIVED_AT, record.CREATED_AT))
            looked |= {id: _absent(id, fields) for id, fields in zip(missing, kept, strict=True)}
        return [looked[id] for id in ids]

    async def require(self, ids: Sequence[str]) -> list[Fields]:
        """What all of them hold.

        Raises:
            SupersededError: one of them was superseded.
            MemoryNotFoundError: one of them is not there.
        """
        looked = await self.look(ids)
        refusals = [one for one in looked if isinstance(one, Refusal)]
        if refusals:
            raise next((one for one in refusals if isinstance(one, SupersededError)), refusals[0])
        return [one for one in looked if not isinstance(one, Refusal)]


def superseded(id: str, by: str) -> SupersededError:
    """That another memory has taken the place of this one."""
    return SupersededError(
        f"memory {id!r} was superseded by {by!r}: somebody has corrected it. Read that one, and correct it if it is "
        "still wrong",
        memory_id=id,
        superseded_by=by,
    )


def _absent(id: str, kept: Fields | None) -> Refusal:
    if kept is not None and (by := successor(kept)) is not None:
        return superseded(id, by)
    if kept is not None and is_archived(kept):
        return MemoryNotFoundError(f"memory {id!r} has faded and was archived; bring it back with dynamics.restore")
    return MemoryNotFoundError(f"there is no memory {id!r}; it was forgotten, evicted, has expired, or never was")
