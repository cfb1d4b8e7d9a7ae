"""An engine, or records, in front of others, for those that differ from them in a verb or two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from betterdb_agent_memory.engines.base import (
    Answers,
    Collection,
    Counter,
    Engine,
    Expected,
    Fence,
    GroupCount,
    GroupCounting,
    IndexState,
    Leases,
    LinkedRecords,
    Outcome,
    Page,
    Position,
    RecordChange,
    Records,
    RecordWrite,
    Retired,
    Retirement,
    Row,
    Search,
    Tally,
    Traffic,
)
from betterdb_agent_memory.engines.event_log import Announcing, EventLog
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.engines.links import Links
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.engines.watching import Watch


class DelegatingEngine:
    """Every verb of `Engine` as that of `engine`; subclasses override those that they do otherwise."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def values(self) -> Values:
        """See `Engine.values`."""
        return self._engine.values

    @property
    def leases(self) -> Leases:
        """See `Engine.leases`."""
        return self._engine.leases

    @property
    def round_trips(self) -> int:
        """See `Engine.round_trips`: those of all who share the engine."""
        return self._engine.round_trips

    @property
    def traffic(self) -> Traffic:
        """See `Engine.traffic`: that of all who share the engine."""
        return self._engine.traffic

    def records(
        self, collection: Collection, counting: GroupCounting | None = None, announcing: Announcing | None = None
    ) -> Records:
        """See `Engine.records`."""
        return self._engine.records(collection, counting, announcing)

    def event_log(self, key: str) -> EventLog:
        """See `Engine.event_log`."""
        return self._engine.event_log(key)

    def links(self, linked: LinkedRecords) -> Links:
        """See `Engine.links`."""
        return self._engine.links(linked)

    async def move_many(
        self, source: Collection, target: Collection, ids: Mapping[str, str], *, without: Sequence[str] = ()
    ) -> int:
        """See `Engine.move_many`."""
        return await self._engine.move_many(source, target, ids, without=without)

    def watch(self, keys: Sequence[str], on_change: Callable[[], None]) -> Watch:
        """See `Engine.watch`."""
        return self._engine.watch(keys, on_change)

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._engine.close()


class DelegatingRecords:
    """Every verb of `Records` as that of `records`; subclasses override those that they do otherwise."""

    def __init__(self, records: Records) -> None:
        self._records = records

    @property
    def max_neighbours(self) -> int:
        """See `Records.max_neighbours`."""
        return self._records.max_neighbours

    @property
    def unreadable_rows(self) -> int:
        """See `Records.unreadable_rows`."""
        return self._records.unreadable_rows

    async def prepare(self, dimensions: int | None) -> IndexState:
        """See `Records.prepare`."""
        return await self._records.prepare(dimensions)

    async def inspect(self) -> IndexState:
        """See `Records.inspect`."""
        return await self._records.inspect()

    async def write_many(self, writes: Sequence[RecordWrite], *, fence: Fence | None = None) -> list[Outcome]:
        """See `Records.write_many`."""
        return await self._records.write_many(writes, fence=fence)

    async def read_many(self, ids: Sequence[str], fields: Sequence[str] | None) -> list[Fields | None]:
        """See `Records.read_many`."""
        return await self._records.read_many(ids, fields)

    async def read_expiries(self, ids: Sequence[str]) -> list[int | None]:
        """See `Records.read_expiries`."""
        return await self._records.read_expiries(ids)

    async def read_lifetimes(self, ids: Sequence[str]) -> list[float]:
        """See `Records.read_lifetimes`."""
        return await self._records.read_lifetimes(ids)

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """See `Records.delete_many`."""
        return await self._records.delete_many(ids, expected=expected, fence=fence, counter=counter)

    async def change_many(self, changes: Sequence[RecordChange], *, fence: Fence | None = None) -> list[Outcome]:
        """See `Records.change_many`."""
        return await self._records.change_many(changes, fence=fence)

    async def retire_many(
        self, retirements: Sequence[Retirement], shelf: Records, *, fence: Fence | None = None
    ) -> list[Retired]:
        """See `Records.retire_many`."""
        return await self._records.retire_many(retirements, shelf, fence=fence)

    async def read_group(self, group: str) -> GroupCount:
        """See `Records.read_group`."""
        return await self._records.read_group(group)

    async def group_sizes(self) -> dict[str, int]:
        """See `Records.group_sizes`."""
        return await self._records.group_sizes()

    async def correct_group(self, group: str, difference: int, *, fence: Fence) -> None:
        """See `Records.correct_group`."""
        await self._records.correct_group(group, difference, fence=fence)

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """See `Records.search_many`."""
        return await self._records.search_many(vector, searches, fields=fields, tallies=tallies)

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
        """See `Records.select`."""
        return await self._records.select(
            filter, fields=fields, limit=limit, offset=offset, order_by=order_by, descending=descending
        )

    async def count(self, filter: Filter) -> int:
        """See `Records.count`."""
        return await self._records.count(filter)

    def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        """See `Records.walk`."""
        return self._records.walk(filter, fields=fields, after=after, page_size=page_size)

    def scan(self, fields: Sequence[str], *, page_size: int = 1000) -> AsyncIterator[tuple[Row, ...]]:
        """See `Records.scan`."""
        return self._records.scan(fields, page_size=page_size)

    async def rebuild(self, dimensions: int, *, fence: Fence | None = None) -> IndexState:
        """See `Records.rebuild`."""
        return await self._records.rebuild(dimensions, fence=fence)

    async def drop(self, *, fence: Fence | None = None) -> int:
        """See `Records.drop`."""
        return await self._records.drop(fence=fence)
