"""Records on their way from one collection into another, while everybody goes on reading and writing.

Each record moves in one step (`Engine.move_many`), and only one way. So whoever looks at the former collection
first and at the later one afterwards misses none; what is met in both is taken from the former one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from betterdb_agent_memory.engines.base import (
    Answers,
    Collection,
    Counter,
    Expected,
    Fence,
    GroupCount,
    IndexState,
    Neighbours,
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
)
from betterdb_agent_memory.engines.filters import Fields, Filter, leading_number
from betterdb_agent_memory.engines.retiring import retire_in_steps
from betterdb_agent_memory.errors import ConfigurationError


def order_field(collection: Collection) -> str:
    """The number that walks are ordered by."""
    return next(field.name for field in collection.schema.shared if field.sortable)


def position_of(row: Row, order_by: str) -> Position:
    """Where a walk is when it has come to `row`."""
    return Position(int(leading_number(row.fields.get(order_by)) or 0), row.id)


class RecordsOnTheMove:
    """`former` and `later` as one collection; the verbs are those of `Records`, each costs that of both.

    `moves` says whether records may leave the former one already, since every worker looks at both: then they
    are moved before they are changed, and what is written goes to the later one. `move` moves records by id.
    """

    def __init__(
        self,
        former: Records,
        later: Records,
        *,
        moves: bool,
        move: Callable[[Sequence[str]], Awaitable[None]],
        order_by: str,
    ) -> None:
        self._former = former
        self._later = later
        self._moves = moves
        self._move = move
        self._order_by = order_by

    @property
    def max_neighbours(self) -> int:
        """Largest `count` that a search takes."""
        return min(self._former.max_neighbours, self._later.max_neighbours)

    @property
    def unreadable_rows(self) -> int:
        """Rows that could not be read so far and were left out."""
        return self._former.unreadable_rows + self._later.unreadable_rows

    async def prepare(self, dimensions: int | None) -> IndexState:
        """See `Records.prepare`: both indexes, for vectors of the same length."""
        state = await self._former.prepare(dimensions)
        if state.dimensions is not None:
            await self._later.prepare(state.dimensions)
        return state

    async def inspect(self) -> IndexState:
        """See `Records.inspect`: the former one's, and what the later one could not index."""
        former, later = await self._former.inspect(), await self._later.inspect()
        return replace(former, failures=former.failures + later.failures)

    async def rebuild(self, dimensions: int, *, fence: Fence | None = None) -> IndexState:
        """Refused: an index that records are moving into is complete by itself."""
        del dimensions, fence
        raise ConfigurationError("the memories are moving into an index of their own; try again when they are there")

    async def write_many(self, writes: Sequence[RecordWrite], *, fence: Fence | None = None) -> list[Outcome]:
        """See `Records.write_many`."""
        if self._moves:
            await self._move([write.id for write in writes if not write.is_new])
            return await self._later.write_many(writes, fence=fence)
        outcomes = [Outcome.MISSING] * len(writes)
        conditional = [place for place, write in enumerate(writes) if write.if_exists is not None]
        if conditional:
            changes = [replace(write.if_exists, id=write.id) for write in writes if write.if_exists is not None]
            for place, outcome in zip(conditional, await self.change_many(changes, fence=fence), strict=True):
                outcomes[place] = outcome
        missing = [place for place, outcome in enumerate(outcomes) if outcome is Outcome.MISSING]
        # One that somebody has moved already is replaced where it is: otherwise it would be in both.
        moved = await self._moved([writes[place].id for place in missing if not writes[place].is_new])
        for records, places in (
            (self._later, [place for place in missing if writes[place].id in moved]),
            (self._former, [place for place in missing if writes[place].id not in moved]),
        ):
            written = await records.write_many([writes[place] for place in places], fence=fence) if places else []
            for place, outcome in zip(places, written, strict=True):
                outcomes[place] = outcome
        return outcomes

    async def _moved(self, ids: Sequence[str]) -> set[str]:
        found = await self._later.read_many(ids, (self._order_by,)) if ids else []
        return {id for id, fields in zip(ids, found, strict=True) if fields is not None}

    async def read_many(self, ids: Sequence[str], fields: Sequence[str] | None) -> list[Fields | None]:
        """See `Records.read_many`."""
        rows = await self._former.read_many(ids, fields)
        missing = [place for place, row in enumerate(rows) if row is None]
        if missing:
            found = await self._later.read_many([ids[place] for place in missing], fields)
            for place, row in zip(missing, found, strict=True):
                rows[place] = row
        return rows

    async def read_expiries(self, ids: Sequence[str]) -> list[int | None]:
        """See `Records.read_expiries`."""
        former = await self._former.read_expiries(ids)
        later = await self._later.read_expiries(ids)
        return [one if one is not None else other for one, other in zip(former, later, strict=True)]

    async def read_lifetimes(self, ids: Sequence[str]) -> list[float]:
        """See `Records.read_lifetimes`."""
        former = await self._former.read_lifetimes(ids)
        later = await self._later.read_lifetimes(ids)
        return [one or other for one, other in zip(former, later, strict=True)]

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """See `Records.delete_many`."""
        if self._moves:
            await self._move(ids)
            return await self._later.delete_many(ids, expected=expected, fence=fence, counter=counter)
        deleted = await self._former.delete_many(ids, expected=expected, fence=fence, counter=counter)
        also = await self._later.delete_many(ids, expected=expected, fence=fence, counter=counter)
        return [one or other for one, other in zip(deleted, also, strict=True)]

    async def retire_many(
        self, retirements: Sequence[Retirement], shelf: Records, *, fence: Fence | None = None
    ) -> list[Retired]:
        """See `Records.retire_many`: in several steps, each of which asks both places."""
        return await retire_in_steps(self, retirements, shelf, fence=fence)

    async def read_group(self, group: str) -> GroupCount:
        """See `Records.read_group`: of the collection that is written to; who trims a scope counts it anew."""
        return await (self._later if self._moves else self._former).read_group(group)

    async def group_sizes(self) -> dict[str, int]:
        """See `Records.group_sizes`: those of both; a group is as large as it was counted in either."""
        sizes = await self._former.group_sizes()
        for group, size in (await self._later.group_sizes()).items():
            sizes[group] = max(size, sizes.get(group, 0))
        return sizes

    async def correct_group(self, group: str, difference: int, *, fence: Fence) -> None:
        """See `Records.correct_group`, as `read_group`."""
        await (self._later if self._moves else self._former).correct_group(group, difference, fence=fence)

    async def change_many(self, changes: Sequence[RecordChange], *, fence: Fence | None = None) -> list[Outcome]:
        """See `Records.change_many`."""
        if self._moves:
            await self._move([change.id for change in changes])
            return await self._later.change_many(changes, fence=fence)
        outcomes = await self._former.change_many(changes, fence=fence)
        missing = [place for place, outcome in enumerate(outcomes) if outcome is Outcome.MISSING]
        if missing:
            again = await self._later.change_many([changes[place] for place in missing], fence=fence)
            for place, outcome in zip(missing, again, strict=True):
                outcomes[place] = outcome
        return outcomes

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """See `Records.search_many`."""
        whole = [replace(search, selection=None) for search in searches]
        former = await self._former.search_many(vector, whole, fields=fields, tallies=tallies)
        later = await self._later.search_many(vector, whole, fields=fields, tallies=tallies)
        found = tuple(
            _nearest(one, other, search.count)
            for one, other, search in zip(former.neighbours, later.neighbours, searches, strict=True)
        )
        return Answers(found, tuple(one + other for one, other in zip(former.tallies, later.tallies, strict=True)))

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
        """See `Records.select`; pages are made of all rows before them."""
        asked = tuple(dict.fromkeys((*fields, order_by))) if order_by is not None else tuple(fields)
        pages = [
            await records.select(
                filter, fields=asked, limit=offset + limit, offset=0, order_by=order_by, descending=descending
            )
            for records in (self._former, self._later)
        ]
        rows = list({row.id: row for page in reversed(pages) for row in page.rows}.values())
        if order_by is not None:
            rows.sort(key=lambda row: leading_number(row.fields.get(order_by)) or 0.0, reverse=descending)
        total = sum(page.total for page in pages)
        kept = tuple(
            Row(row.id, {name: row.fields[name] for name in fields if name in row.fields})
            for row in rows[offset : offset + limit]
        )
        return Page(kept, total, max(0, min(limit, total - offset)))

    async def count(self, filter: Filter) -> int:
        """See `Records.count`: row by row, since one that moves is in both for who counts them one after the other."""
        return sum([len(rows) async for rows in self.walk(filter, fields=filter.field_names)])

    async def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        """See `Records.walk`; a page of both for each page."""
        asked = tuple(dict.fromkeys((*fields, self._order_by)))
        while True:
            # In this order: what has left the former one before it was read is in the later one by now.
            pages = [
                {position_of(row, self._order_by): row for row in await _page(records, filter, asked, after, page_size)}
                for records in (self._former, self._later)
            ]
            ends = [max(page) for page in pages if page]
            if not ends:
                return
            after = min(ends)
            merged = pages[1] | pages[0]
            yield tuple(
                Row(place.id, {name: merged[place].fields[name] for name in fields if name in merged[place].fields})
                for place in sorted(merged)
                if place <= after
            )

    async def scan(self, fields: Sequence[str], *, page_size: int = 1000) -> AsyncIterator[tuple[Row, ...]]:
        """See `Records.scan`."""
        for records in (self._former, self._later):
            async for rows in records.scan(fields, page_size=page_size):
                yield rows

    async def drop(self, *, fence: Fence | None = None) -> int:
        """See `Records.drop`; of both."""
        return await self._former.drop(fence=fence) + await self._later.drop(fence=fence)


def _nearest(former: Neighbours, later: Neighbours, count: int) -> Neighbours:
    rows = sorted({row.id: row for row in (*later, *former)}.values(), key=lambda row: (row.distance, row.id))
    # What one of them left out lies beyond its last row, so nothing behind that is known to be among the nearest.
    ends = [found[-1].distance for found in (former, later) if found and not found.exhausted]
    if ends:
        rows = [row for row in rows if row.distance <= max(min(ends), rows[0].distance)]
    is_all = former.exhausted and later.exhausted and len(rows) <= count
    return Neighbours(rows[:count], exhausted=is_all)


async def _page(
    records: Records, filter: Filter, fields: Sequence[str], after: Position | None, page_size: int
) -> tuple[Row, ...]:
    async for rows in records.walk(filter, fields=fields, after=after, page_size=page_size):
        return rows
    return ()
