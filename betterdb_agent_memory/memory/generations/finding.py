"""The memories' own index, which others may replace at any moment, and what memories are found through meanwhile.

Each verb looks at the state anew, as one page of a walk does: what was begun before an index is made anew goes on
where all memories are found, behind what it has passed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from betterdb_agent_memory.engines.base import (
    Answers,
    Counter,
    Expected,
    Fence,
    Page,
    Position,
    Records,
    Row,
    Search,
    Tally,
)
from betterdb_agent_memory.engines.filters import Fields, Filter, leading_number
from betterdb_agent_memory.errors import IndexMissingError
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.spaces import SearchedRecords

_T = TypeVar("_T")

Mirrors = Callable[[], Awaitable[Records | None]]
"""The records of the generation that is there, None without one."""


class OwnRecords:
    """The memories in their own index. `ready` is awaited before each search: it waits, or raises."""

    def __init__(self, memories: Records, *, ready: Callable[[], Awaitable[None]], mirrors: Mirrors) -> None:
        self._memories = memories
        self._ready = ready
        self._mirrors = mirrors

    @property
    def max_neighbours(self) -> int:
        """See `SearchedRecords.max_neighbours`."""
        return self._memories.max_neighbours

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """See `SearchedRecords.search_many`."""
        await self._ready()
        return await self._memories.search_many(vector, searches, fields=fields, tallies=tallies)

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
        """See `SearchedRecords.select`."""
        await self._ready()
        return await self._memories.select(
            filter, fields=fields, limit=limit, offset=offset, order_by=order_by, descending=descending
        )

    async def read_many(self, ids: Sequence[str], fields: Sequence[str]) -> list[Fields | None]:
        """See `SearchedRecords.read_many`."""
        return await self._memories.read_many(ids, fields)

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """Their vectors of the next model leave with them."""
        deleted = await self._memories.delete_many(ids, expected=expected, fence=fence, counter=counter)
        gone = [id for id, was_there in zip(ids, deleted, strict=True) if was_there]
        mirrors = await self._mirrors() if gone else None
        if mirrors is not None:
            await mirrors.delete_many(gone)
        return deleted

    async def count(self, filter: Filter) -> int:
        """See `SearchedRecords.count`."""
        await self._ready()
        return await self._memories.count(filter)

    async def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        """See `SearchedRecords.walk`."""
        pages = self._memories.walk(filter, fields=fields, after=after, page_size=page_size)
        while True:
            await self._ready()  # a page is read when it is asked for
            rows = await anext(pages, None)
            if rows is None:
                return
            yield rows


class FoundRecords:
    """The memories, found where `current` says at the moment; asked again where that has just gone."""

    def __init__(self, current: Callable[[bool], Awaitable[SearchedRecords]], max_neighbours: int) -> None:
        self._current = current
        self._max_neighbours = max_neighbours

    @property
    def max_neighbours(self) -> int:
        """See `SearchedRecords.max_neighbours`."""
        return self._max_neighbours

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """See `SearchedRecords.search_many`."""
        return await self._ask(lambda found: found.search_many(vector, searches, fields=fields, tallies=tallies))

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
        """See `SearchedRecords.select`."""
        return await self._ask(
            lambda found: found.select(
                filter, fields=fields, limit=limit, offset=offset, order_by=order_by, descending=descending
            )
        )

    async def read_many(self, ids: Sequence[str], fields: Sequence[str]) -> list[Fields | None]:
        """See `SearchedRecords.read_many`."""
        return await self._ask(lambda found: found.read_many(ids, fields))

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """See `SearchedRecords.delete_many`."""
        return await self._ask(lambda found: found.delete_many(ids, expected=expected, fence=fence, counter=counter))

    async def count(self, filter: Filter) -> int:
        """See `SearchedRecords.count`."""
        return await self._ask(lambda found: found.count(filter))

    async def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        """See `SearchedRecords.walk`."""
        wanted = tuple(dict.fromkeys((*fields, record.CREATED_AT)))
        position = after
        was_missing = False
        while True:
            found = await self._current(was_missing)
            try:
                async for rows in found.walk(filter, fields=wanted, after=position, page_size=page_size):
                    was_missing = False
                    position = place_of(rows[-1])
                    yield rows
                    if await self._current(False) is not found:
                        break
                else:
                    return
            except IndexMissingError:
                if was_missing:
                    raise
                was_missing = True

    async def _ask(self, search: Callable[[SearchedRecords], Awaitable[_T]]) -> _T:
        found = await self._current(False)
        try:
            return await search(found)
        except IndexMissingError:
            again = await self._current(True)
            if again is found:
                raise
        return await search(again)


def place_of(row: Row) -> Position:
    """Where a walk goes on behind this row; one without a time of its own counts as of 0."""
    return Position(int(leading_number(row.fields.get(record.CREATED_AT)) or 0), row.id)
