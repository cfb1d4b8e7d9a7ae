"""An engine as one tenant sees it: its memories wherever they are kept by now, everything else below its name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

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
)
from betterdb_agent_memory.engines.delegating import DelegatingEngine
from betterdb_agent_memory.engines.event_log import Announcing
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.engines.links import LinkChange, LinkEnd, LinkReach, Links
from betterdb_agent_memory.engines.on_the_move import RecordsOnTheMove, order_field, position_of
from betterdb_agent_memory.engines.partitioned import PartitionedRecords, SharedRecords, shared_collection
from betterdb_agent_memory.memory.record import TENANT, memory_collection
from betterdb_agent_memory.tenants.accounts import Reserved
from betterdb_agent_memory.tenants.names import pool_name, promoted_name
from betterdb_agent_memory.tenants.state import TenantKeeper, TenantState

_T = TypeVar("_T")
_MOVED_AT_ONCE = 100


class Pools:
    """The collections that tenants of one agent share, by their numbers, and what is known of their indexes.

    `by_tags` sets scopes apart by their tags, too, where a limit counts them.
    """

    def __init__(self, engine: Engine, name: str, *, by_tags: bool = False) -> None:
        self._engine = engine
        self._name = name
        self._by_tags = by_tags
        self._shared: dict[int, SharedRecords] = {}

    def collection(self, number: int) -> Collection:
        """Where the memories of a pool live."""
        return shared_collection(
            self.own(pool_name(self._name, number)), TENANT, links=promoted_name(self._name, number, "")
        )

    def promoted(self, number: int, tenant: str) -> Collection:
        """Where the memories of a tenant live that has left a pool."""
        return self.own(promoted_name(self._name, number, tenant))

    def own(self, name: str) -> Collection:
        """Where the memories of a store called `name` live."""
        return memory_collection(name, by_tags=self._by_tags)

    def shared(self, number: int) -> SharedRecords:
        """The records of a pool; no I/O."""
        if number not in self._shared:
            self._shared[number] = SharedRecords(self._engine, self.collection(number), TENANT)
        return self._shared[number]


class Accounts(Protocol):
    """Who is told of what a tenant writes and deletes."""

    async def reserve(self, writes: Sequence[RecordWrite], leaving: Sequence[int] | None = None) -> list[Reserved]:
        """Before these are written, and a memory of so many bytes leaves with each. Raises where they would be too
        many.
        """

    async def reserve_changes(self, changes: Sequence[RecordChange]) -> list[Reserved]:
        """Before memories are changed so. Raises where there would be too much."""

    async def written(
        self, writes: Sequence[RecordWrite], outcomes: Sequence[Outcome], reserved: Sequence[Reserved]
    ) -> None:
        """What became of what was reserved."""

    async def changed(self, outcomes: Sequence[Outcome], reserved: Sequence[Reserved]) -> None:
        """What became of the changes that were reserved."""

    async def retired(
        self,
        successors: Sequence[RecordWrite | None],
        leaving: Sequence[int],
        done: Sequence[bool],
        reserved: Sequence[Reserved],
    ) -> None:
        """What became of memories that were to leave, and of what was reserved for their successors."""

    async def sizes(self, ids: Sequence[str]) -> list[int]:
        """How many bytes memories have that are to leave, where that matters."""

    async def deleted(self, memories: int, size_bytes: int) -> None:
        """So many records are gone, with so many bytes."""


class TenantRecords:
    """The memories of one tenant: in a pool, in an index of their own, or on their way from one to the other.

    Every verb asks the state first, which costs nothing while it is believed, and looks again where the call took
    longer than that: then it may have come too late to where the memories were, and is done where they are now.
    """

    def __init__(
        self,
        engine: Engine,
        pools: Pools,
        collection: Collection,
        keeper: TenantKeeper,
        tenant: str,
        accounts: Accounts | None = None,
    ) -> None:
        self._engine = engine
        self._pools = pools
        self._collection = collection
        self._keeper = keeper
        self._tenant = tenant
        self._accounts = accounts
        self._counting: GroupCounting | None = None
        self._announcing: Announcing | None = None
        self._own_records: dict[int | None, Records] = {}
        self.order_by = order_field(collection)
        self._by_state: tuple[tuple[str, int | None], Records] | None = None

    @property
    def max_neighbours(self) -> int:
        """Largest `count` that a search takes."""
        return self.own(None).max_neighbours

    @property
    def unreadable_rows(self) -> int:
        """Rows that could not be read so far and were left out, in a pool those of all its tenants."""
        return 0 if self._by_state is None else self._by_state[1].unreadable_rows

    def own_collection(self, number: int | None) -> Collection:
        """Where the memories are that are in no pool, by the pool that they came from: in its slot of a cluster."""
        return self._collection if number is None else self._pools.promoted(number, self._tenant)

    def own(self, number: int | None) -> Records:
        """The records of that collection."""
        if number not in self._own_records:
            self._own_records[number] = self._engine.records(
                self.own_collection(number), self._counting, self._announcing
            )
        return self._own_records[number]

    def linked(self, number: int | None) -> LinkedRecords:
        """Whose links are the tenant's, by the pool that its memories are or were in."""
        own = LinkedRecords.of(self.own_collection(number))
        if number is None:
            return own
        return LinkedRecords(
            own.prefix, (*own.places, (self._pools.collection(number), self.pooled(number).shared_id("")))
        )

    def links(self) -> TenantLinks:
        """The links between the tenant's memories; no I/O."""
        return TenantLinks(self._engine, self, self._keeper)

    def attach(self, counting: GroupCounting | None, announcing: Announcing | None) -> None:
        """Count and tell writes as these say, wherever the memories are."""
        self._counting, self._announcing = counting, announcing
        self._own_records.clear()
        self._by_state = None

    def pooled(self, number: int) -> PartitionedRecords:
        """The tenant's records in a pool."""
        shared = self._pools.shared(number)
        shared.join(self._tenant, self._counting, self._announcing)
        return PartitionedRecords(shared, self._tenant)

    async def move(self, number: int, ids: Sequence[str]) -> int:
        """Take memories out of a pool into the tenant's own collection; how many there were."""
        shared = {self.pooled(number).shared_id(id): id for id in ids}
        moved = 0
        for start in range(0, len(ids), _MOVED_AT_ONCE):
            some = dict([*shared.items()][start : start + _MOVED_AT_ONCE])
            moved += await self._engine.move_many(
                self._pools.collection(number), self.own_collection(number), some, without=(TENANT,)
            )
        return moved

    async def prepare(self, dimensions: int | None) -> IndexState:
        """See `Records.prepare`."""
        return await self._asked(lambda records: records.prepare(dimensions))

    async def inspect(self) -> IndexState:
        """See `Records.inspect`."""
        return await self._asked(lambda records: records.inspect())

    async def rebuild(self, dimensions: int, *, fence: Fence | None = None) -> IndexState:
        """See `Records.rebuild`; the index of a pool stays as it is."""
        return await self._asked(lambda records: records.rebuild(dimensions, fence=fence))

    async def write_many(self, writes: Sequence[RecordWrite], *, fence: Fence | None = None) -> list[Outcome]:
        """See `Records.write_many`.

        Raises:
            TenantLimitError: the tenant would have more than it may; nothing was written.
        """
        reserved = [] if self._accounts is None else await self._accounts.reserve(writes)
        outcomes: list[Outcome] = []
        try:
            outcomes = await self._written(
                lambda records: records.write_many(writes, fence=fence), [write.id for write in writes]
            )
        finally:
            if self._accounts is not None:
                await self._accounts.written(writes, outcomes, reserved)
        return outcomes

    async def read_many(self, ids: Sequence[str], fields: Sequence[str] | None) -> list[Fields | None]:
        """See `Records.read_many`."""
        return await self._asked(lambda records: records.read_many(ids, fields))

    async def read_expiries(self, ids: Sequence[str]) -> list[int | None]:
        """See `Records.read_expiries`."""
        return await self._asked(lambda records: records.read_expiries(ids))

    async def read_lifetimes(self, ids: Sequence[str]) -> list[float]:
        """See `Records.read_lifetimes`."""
        return await self._asked(lambda records: records.read_lifetimes(ids))

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """See `Records.delete_many`. One round trip more for a tenant whose bytes are limited."""
        sizes = [0] * len(ids) if self._accounts is None else await self._accounts.sizes(ids)
        state = await self._keeper.current()
        deleted = await self._records(state).delete_many(ids, expected=expected, fence=fence, counter=counter)
        if await self._has_moved_on(state):
            now = self._records(await self._keeper.current())
            again = await now.delete_many(ids, expected=expected, fence=fence, counter=counter)
            deleted = [one or other for one, other in zip(deleted, again, strict=True)]
        if self._accounts is not None:
            freed = sum(size for size, is_gone in zip(sizes, deleted, strict=True) if is_gone)
            await self._accounts.deleted(sum(deleted), freed)
        return deleted

    async def retire_many(
        self, retirements: Sequence[Retirement], shelf: Records, *, fence: Fence | None = None
    ) -> list[Retired]:
        """See `Records.retire_many`. What was not there is looked for where the memories have moved meanwhile.

        Raises:
            TenantLimitError: the tenant would have more than it may; nothing was done.
        """
        successors = [one.successor if isinstance(one.successor, RecordWrite) else None for one in retirements]
        writes = [write for write in successors if write is not None]
        leaving: list[int] = []
        reserved: list[Reserved] = []
        if self._accounts is not None:
            leaving = await self._accounts.sizes([one.id for one in retirements])
            replaced = [size for size, write in zip(leaving, successors, strict=True) if write is not None]
            reserved = await self._accounts.reserve(writes, replaced)
        retired: list[Retired] = []
        state = await self._keeper.current()
        try:
            retired = await self._records(state).retire_many(retirements, shelf, fence=fence)
            if await self._has_moved_on(state):
                missing = [place for place, one in enumerate(retired) if one is Retired.MISSING]
                now = self._records(await self._keeper.current())
                again = await now.retire_many([retirements[place] for place in missing], shelf, fence=fence)
                for place, one in zip(missing, again, strict=True):
                    retired[place] = one
                # As what is written: it may have come into the pool after that had been emptied.
                if state.pool is not None and (await self._keeper.current()).phase in ("moving", "own"):
                    await self.move(state.pool, [write.id for write in writes])
        finally:
            if self._accounts is not None and retired:
                done = [one is Retired.RETIRED for one in retired]
                await self._accounts.retired(successors, leaving, done, reserved)
        return retired

    async def read_group(self, group: str) -> GroupCount:
        """See `Records.read_group`."""
        return await self._asked(lambda records: records.read_group(group))

    async def group_sizes(self) -> dict[str, int]:
        """See `Records.group_sizes`."""
        return await self._asked(lambda records: records.group_sizes())

    async def correct_group(self, group: str, difference: int, *, fence: Fence) -> None:
        """See `Records.correct_group`. Not done again where the memories have moved: they are counted anew there."""
        await self._records(await self._keeper.current()).correct_group(group, difference, fence=fence)

    async def change_many(self, changes: Sequence[RecordChange], *, fence: Fence | None = None) -> list[Outcome]:
        """See `Records.change_many`.

        Raises:
            TenantLimitError: the tenant would have more bytes than it may; nothing was changed.
        """
        reserved = [] if self._accounts is None else await self._accounts.reserve_changes(changes)
        state = await self._keeper.current()
        outcomes = await self._records(state).change_many(changes, fence=fence)
        if await self._has_moved_on(state):
            missing = [place for place, outcome in enumerate(outcomes) if outcome is Outcome.MISSING]
            now = self._records(await self._keeper.current())
            again = await now.change_many([changes[place] for place in missing], fence=fence) if missing else []
            for place, outcome in zip(missing, again, strict=True):
                outcomes[place] = outcome
        if self._accounts is not None:
            await self._accounts.changed(outcomes, reserved)
        return outcomes

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """See `Records.search_many`."""
        return await self._asked(lambda records: records.search_many(vector, searches, fields=fields, tallies=tallies))

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
        return await self._asked(
            lambda records: records.select(
                filter, fields=fields, limit=limit, offset=offset, order_by=order_by, descending=descending
            )
        )

    async def count(self, filter: Filter) -> int:
        """See `Records.count`."""
        return await self._asked(lambda records: records.count(filter))

    async def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        """See `Records.walk`; it goes on in another place where the memories have moved meanwhile."""
        asked = tuple(dict.fromkeys((*fields, self.order_by)))
        while True:
            state = await self._keeper.current()
            pages = self._records(state).walk(filter, fields=asked, after=after, page_size=page_size)
            async for rows in pages:
                if await self._has_moved_on(state):
                    break
                after = position_of(rows[-1], self.order_by)
                yield tuple(_with(row, fields) for row in rows)
            else:
                if not await self._has_moved_on(state):
                    return

    async def scan(self, fields: Sequence[str], *, page_size: int = 1000) -> AsyncIterator[tuple[Row, ...]]:
        """See `Records.scan`; it begins anew where the memories have moved meanwhile."""
        while True:
            state = await self._keeper.current()
            async for rows in self._records(state).scan(fields, page_size=page_size):
                yield rows
            if not await self._has_moved_on(state):
                return

    async def drop(self, *, fence: Fence | None = None) -> int:
        """Delete every memory of the tenant, and the index that is its own; how many there were."""
        return await self._asked(lambda records: records.drop(fence=fence))

    async def _asked(self, ask: Callable[[Records], Awaitable[_T]]) -> _T:
        """The answer from where the memories are, and were until it came."""
        while True:
            state = await self._keeper.current()
            answer = await ask(self._records(state))
            if not await self._has_moved_on(state):
                return answer

    async def _written(self, write: Callable[[Records], Awaitable[_T]], ids: Sequence[str]) -> _T:
        state = await self._keeper.current()
        records = self._records(state)
        answer = await write(records)
        now = await self._keeper.current()
        if now.phase in ("deleting", "deleted"):
            # Nobody may come after this to take away what came too late.
            await records.delete_many(ids)
            now.refuse_deleted(self._tenant)
        number = state.pool
        if number is None or not await self._has_moved_on(state):
            return answer
        # It may have come into the pool after that had been emptied. While others still look there alone it stays.
        if (await self._keeper.current()).phase in ("moving", "own"):
            await self.move(number, ids)
        return answer

    async def _has_moved_on(self, state: TenantState) -> bool:
        """Whether the memories may have moved before a call came to them that began with `state`. Free while that
        is believed.
        """
        return state.phase != "own" and (await self._keeper.current()).phase != state.phase

    def _records(self, state: TenantState) -> Records:
        state.refuse_deleted(self._tenant)
        key = (state.phase, state.pool)
        if self._by_state is None or self._by_state[0] != key:
            self._by_state = (key, self._made(state))
        return self._by_state[1]

    def _made(self, state: TenantState) -> Records:
        if state.phase == "own" or state.pool is None:
            return self.own(state.pool)
        pooled, number = self.pooled(state.pool), state.pool
        if state.phase == "pooled":
            return pooled

        async def move(ids: Sequence[str]) -> None:
            await self.move(number, ids)

        return RecordsOnTheMove(
            pooled, self.own(number), moves=state.phase == "moving", move=move, order_by=self.order_by
        )


class TenantLinks:
    """The links between the memories of one tenant; the verbs are those of `Links`.

    They are in one place for good, beside the pool that the memories are or were in: a promotion moves none of them.
    """

    def __init__(self, engine: Engine, records: TenantRecords, keeper: TenantKeeper) -> None:
        self._engine = engine
        self._records = records
        self._keeper = keeper

    async def strengthen(self, changes: Sequence[LinkChange], *, now_ms: int) -> list[bool]:
        """See `Links.strengthen`."""
        return await (await self._links()).strengthen(changes, now_ms=now_ms)

    async def put(self, changes: Sequence[LinkChange], *, now_ms: int) -> list[bool]:
        """See `Links.put`."""
        return await (await self._links()).put(changes, now_ms=now_ms)

    async def remove(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """See `Links.remove`."""
        return await (await self._links()).remove(pairs)

    async def forget(self, ids: Sequence[str]) -> None:
        """See `Links.forget`."""
        await (await self._links()).forget(ids)

    async def neighbours(self, ids: Sequence[str], *, now_ms: int) -> list[tuple[LinkEnd, ...]]:
        """See `Links.neighbours`."""
        return await (await self._links()).neighbours(ids, now_ms=now_ms)

    async def around(self, ids: Sequence[str], reach: LinkReach, *, now_ms: int) -> Mapping[str, tuple[LinkEnd, ...]]:
        """See `Links.around`."""
        return await (await self._links()).around(ids, reach, now_ms=now_ms)

    async def _links(self) -> Links:
        return self._engine.links(self._records.linked((await self._keeper.current()).pool))


def _with(row: Row, fields: Sequence[str]) -> Row:
    return Row(row.id, {name: row.fields[name] for name in fields if name in row.fields})


class TenantEngine(DelegatingEngine):
    """`engine` for the store of one tenant, called `name`.

    Its memories are `records`; what it keeps beside them is below its name, so it is its own wherever they are.
    """

    def __init__(self, engine: Engine, name: str, records: TenantRecords) -> None:
        super().__init__(engine)
        self._collection = records.own_collection(None)
        self._records = records

    def records(
        self, collection: Collection, counting: GroupCounting | None = None, announcing: Announcing | None = None
    ) -> Records:
        """The tenant's memories; or the vectors of a next model, which are the store's other collection."""
        if collection != self._collection:
            return self._engine.records(collection, counting, announcing)
        self._records.attach(counting, announcing)
        return self._records

    def links(self, linked: LinkedRecords) -> Links:
        """The tenant's links, or the engine's own."""
        is_own = linked == LinkedRecords.of(self._collection)
        return self._records.links() if is_own else self._engine.links(linked)

    async def close(self) -> None:
        """Nothing: the engine is everybody's."""
