"""What work on all memories of a store needs of it, for the layers above: reading numbers, changing, letting go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.base import Expected, Fence, Outcome, Position, RecordChange, Records, Row
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.leasing import HeldLease
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.figures import FIGURE_FIELDS
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.spaces import SearchedRecords

_EVERY = Filter()
PAGE = 100
"""Memories that are read with one request, in which a server does nothing else: who recalls notices 250."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """The parts of the store called `name`.

    `searched` gives the memories as a complete index finds them, None before there is one. `forget` deletes those that
    still hold what is expected, and says which; `archive` puts them away instead, and `restore` brings one back, with
    the fields that a function gives of a memory as it was used at a time. `reinforce` touches recalled ones.
    """

    name: str
    records: Records
    values: Values
    clock: Clock
    searched: Callable[[], Awaitable[SearchedRecords | None]]
    forget: Callable[[Sequence[str], Sequence[Expected], Fence], Awaitable[list[bool]]]
    archive: Callable[[Sequence[str], Sequence[Expected], Fence], Awaitable[list[bool]]]
    restore: Callable[[str, Callable[[Row, int], Mapping[str, bytes]]], Awaitable[MemoryItem]]
    reinforce: Callable[[Sequence[str], int], Awaitable[None]]
    alone: Callable[[float, float], HeldLease]

    @property
    def state_key(self) -> str:
        """The map that dynamics keep of the whole store."""
        return f"{self.name}:__mem_dynamics"

    async def read(self, ids: Sequence[str]) -> list[Row]:
        """The numbers of those of these memories that are there, in order. One round trip per 500."""
        found = await self.records.read_many(ids, FIGURE_FIELDS)
        return [Row(id, fields) for id, fields in zip(ids, found, strict=True) if fields]

    async def walk(self, filter: Filter = _EVERY, after: Position | None = None) -> AsyncIterator[tuple[Row, ...]]:
        """Pages of the numbers of all memories that the filter accepts, oldest first.

        Two round trips per 100: a search may round numbers, which are read by key then.
        """
        records = await self.searched()
        if records is None:
            return
        wanted = tuple(dict.fromkeys((*FIGURE_FIELDS, *filter.field_names)))
        async for rows in records.walk(filter, fields=wanted, after=after, page_size=PAGE):
            yield rows

    async def change(self, changes: Sequence[RecordChange], fence: Fence | None = None) -> list[Outcome]:
        """Write what was learnt. One round trip per 500; never brings a memory back."""
        if not changes:
            return []
        with because("reinforced"):
            return await self.records.change_many(changes, fence=fence)
