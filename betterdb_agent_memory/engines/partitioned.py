"""The records of one owner in a collection that many owners share.

An owner's record has the id `{owner}|{id}` there and the owner's mark in an indexed field, and every question
asks for that mark: so owners may use equal ids, and none can reach another's record by any verb. The bar stands in
no owner's name, so the first one ends it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from weakref import WeakValueDictionary

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
    SchemaField,
    Search,
    Tally,
)
from betterdb_agent_memory.engines.event_log import Announcement, Announcing, Deed
from betterdb_agent_memory.engines.filters import AllOf, AnyOf, Clause, Equals, Fields, Filter, IdIn, Not
from betterdb_agent_memory.engines.groups import group_name, group_values
from betterdb_agent_memory.engines.links import LinkKeys
from betterdb_agent_memory.errors import (
    AgentMemoryError,
    ConfigurationError,
    LeaseLostError,
    OutcomeUnknownError,
    PartialBatchError,
)

SEPARATOR = "|"

_BELIEVED_SECONDS = 30.0
"""How long what is known about a shared index is believed: a server stops everything to tell (FT.INFO), so that a
thousand owners must not each ask."""

_ASKED_SECONDS = 1.0
"""How often a thousand owners are asked whether one of them wants its groups counted."""

_SIZED_SECONDS = 60.0
"""How long an owner's number of records is believed, by which the engine chooses how to search."""


def shared_collection(collection: Collection, field: str, *, links: str | None = None) -> Collection:
    """`collection` for many owners: the field with their marks is indexed, too, and sets groups of owners apart.

    `links` is what the keys of links begin with, before the owner; None where there are none.
    """
    schema = replace(collection.schema, own=(*collection.schema.own, SchemaField(field, "tag")))
    return replace(
        collection,
        schema=schema,
        group_fields=(field, *collection.group_fields),
        link_keys=None if links is None else LinkKeys(links, is_shared=True),
    )


def mark_of(owner: str) -> str:
    """The owner as it stands in the indexed field: different owners differ in more than the case of letters.

    Search indexes fold case, so capitals are written as small letters behind a `^`, which no owner's name has.

    >>> mark_of("Acme"), mark_of("acme")
    ('^acme', 'acme')
    """
    return "".join(f"^{letter.lower()}" if "A" <= letter <= "Z" else letter for letter in owner)


class _Countings:
    """Tells each owner of its groups: `GroupCounting` of the shared collection, on while one of them wants it."""

    def __init__(self) -> None:
        self._of_mark: WeakValueDictionary[str, GroupCounting] = WeakValueDictionary()
        self._was_on = False
        self._asked_at = -_ASKED_SECONDS

    def join(self, owner: str, counting: GroupCounting) -> None:
        self._of_mark[mark_of(owner)] = counting
        self._asked_at = -_ASKED_SECONDS

    @property
    def is_on(self) -> bool:
        if monotonic() - self._asked_at >= _ASKED_SECONDS:
            self._was_on = any(counting.is_on for counting in [*self._of_mark.values()])
            self._asked_at = monotonic()
        return self._was_on

    def counted(self, group: str, size: int | None) -> None:
        mark = group_values(group)[0]
        counting = None if mark is None else self._of_mark.get(mark)
        if counting is not None:
            counting.counted(group.removeprefix(group_name([(mark or "").encode()])), size)


class _Announcings:
    """Has each owner's writes told in that owner's log, about the ids that it knows."""

    def __init__(self) -> None:
        self.of_owner: WeakValueDictionary[str, Announcing] = WeakValueDictionary()

    def of(self, deed: Deed, id: str) -> Announcement | None:
        owner, _, own_id = id.partition(SEPARATOR)
        announcing = self.of_owner.get(owner)
        said = None if announcing is None else announcing.of(deed, own_id)
        if said is None:
            return None
        named = {said.id_field: own_id.encode()}
        changed = None if said.fields_if_changed is None else {**said.fields_if_changed, **named}
        return replace(said, fields={**said.fields, **named}, fields_if_changed=changed)


def group_of(owner: str) -> str:
    """What the names of an owner's groups begin with in the shared collection."""
    return group_name([mark_of(owner).encode()])


class SharedRecords:
    """A collection that many owners share, with what is known about its index. `field` holds the owners' marks."""

    def __init__(self, engine: Engine, collection: Collection, field: str) -> None:
        self._countings, self._announcings = _Countings(), _Announcings()
        self.collection = collection
        self.records = engine.records(collection, self._countings, self._announcings)
        self.field = field
        self._state: IndexState | None = None
        self._looked_at = 0.0

    def join(self, owner: str, counting: GroupCounting | None, announcing: Announcing | None) -> None:
        """Count and tell an owner's writes as these say, for as long as somebody holds them."""
        if counting is not None:
            self._countings.join(owner, counting)
        if announcing is not None:
            self._announcings.of_owner[owner] = announcing

    async def prepare(self, dimensions: int | None) -> IndexState:
        """As `Records.prepare`; without `dimensions` an index that was there in the last 30 s is not asked for."""
        state = self._state
        if dimensions is None and state is not None and monotonic() - self._looked_at <= _BELIEVED_SECONDS:
            return replace(state, created=False)
        state = await self.records.prepare(dimensions)
        self._state = state if state.dimensions is not None and not state.indexing else None
        self._looked_at = monotonic()
        return state

    def forget(self) -> None:
        """Ask again before the next use."""
        self._state = None


class PartitionedRecords:
    """What `Records` is for one owner: the verbs, their costs and their errors are those of the shared collection.

    The index is everybody's: it is created by whoever comes first and never dropped here, `rebuild` leaves it
    alone, and `drop` deletes the owner's records only. `inspect` tells of the index as a whole.
    """

    def __init__(self, shared: SharedRecords, owner: str) -> None:
        self._shared = shared
        self._records = shared.records
        self._owner = owner
        self._prefix = owner + SEPARATOR
        self._mark = mark_of(owner).encode()
        self._clause = Equals(shared.field, mark_of(owner))
        self._everything = Filter((self._clause,))
        self._size: int | None = None
        self._sized_at = 0.0

    @property
    def max_neighbours(self) -> int:
        """Largest `count` that a search takes."""
        return self._records.max_neighbours

    @property
    def unreadable_rows(self) -> int:
        """Rows of the shared collection that could not be read so far and were left out."""
        return self._records.unreadable_rows

    @property
    def shared(self) -> SharedRecords:
        """The collection that the records are in."""
        return self._shared

    def shared_id(self, id: str) -> str:
        """The id that a record of the owner has in the shared collection."""
        return self._prefix + id

    async def prepare(self, dimensions: int | None) -> IndexState:
        """Find the shared index, or create it when `dimensions` is given."""
        return await self._shared.prepare(dimensions)

    async def inspect(self) -> IndexState:
        """The state of the shared index now."""
        return await self._records.inspect()

    async def rebuild(self, dimensions: int, *, fence: Fence | None = None) -> IndexState:
        """The state of the shared index, made if it is missing: one owner does not make everybody's index anew.

        Nothing that a `fence` would have to keep anybody from.

        Raises:
            ConfigurationError: it is for vectors of another length.
        """
        state = await self._records.inspect()
        if state.dimensions is None:
            return await self._shared.prepare(dimensions)
        if state.dimensions != dimensions:
            raise ConfigurationError(
                f"the memories of {self._owner} are in an index that many share, for vectors of {state.dimensions} "
                f"dimensions, not {dimensions}; give them an index of their own first: agent.tenants.promote(...)"
            )
        return state

    async def write_many(self, writes: Sequence[RecordWrite], *, fence: Fence | None = None) -> list[Outcome]:
        """See `Records.write_many`."""
        with self._own():
            return await self._records.write_many([self._write(write) for write in writes], fence=fence)

    async def read_many(self, ids: Sequence[str], fields: Sequence[str] | None) -> list[Fields | None]:
        """See `Records.read_many`."""
        rows = await self._records.read_many(self._shared_ids(ids), fields)
        return [None if row is None else self._without_mark(row) or None for row in rows] if fields is None else rows

    async def read_expiries(self, ids: Sequence[str]) -> list[int | None]:
        """See `Records.read_expiries`."""
        return await self._records.read_expiries(self._shared_ids(ids))

    async def read_lifetimes(self, ids: Sequence[str]) -> list[float]:
        """See `Records.read_lifetimes`."""
        return await self._records.read_lifetimes(self._shared_ids(ids))

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """See `Records.delete_many`."""
        with self._own():
            return await self._records.delete_many(
                self._shared_ids(ids), expected=expected, fence=fence, counter=counter
            )

    async def change_many(self, changes: Sequence[RecordChange], *, fence: Fence | None = None) -> list[Outcome]:
        """See `Records.change_many`."""
        with self._own():
            return await self._records.change_many([self._change(change) for change in changes], fence=fence)

    async def retire_many(
        self, retirements: Sequence[Retirement], shelf: Records, *, fence: Fence | None = None
    ) -> list[Retired]:
        """See `Records.retire_many`; the shelf is the owner's own, so what comes there has no mark."""
        with self._own():
            mine = [self._retirement(one) for one in retirements]
            return await self._records.retire_many(mine, shelf, fence=fence)

    async def read_group(self, group: str) -> GroupCount:
        """See `Records.read_group`."""
        size, last_id = await self._records.read_group(group_of(self._owner) + group)
        return GroupCount(size, None if last_id is None else last_id.removeprefix(self._prefix))

    async def group_sizes(self) -> dict[str, int]:
        """See `Records.group_sizes`; it looks at those of all owners."""
        begin = group_of(self._owner)
        sizes = await self._records.group_sizes()
        return {group.removeprefix(begin): size for group, size in sizes.items() if group.startswith(begin)}

    async def correct_group(self, group: str, difference: int, *, fence: Fence) -> None:
        """See `Records.correct_group`."""
        await self._records.correct_group(group_of(self._owner) + group, difference, fence=fence)

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """See `Records.search_many`. How many records the owner has is counted beside it once a minute."""
        counts = [replace(tally, filter=self._filter(tally.filter)) for tally in tallies]
        if is_sizing := monotonic() - self._sized_at > _SIZED_SECONDS or self._size is None:
            counts.append(Tally(self._everything))
        answers = await self._records.search_many(
            vector, [self._search(search) for search in searches], fields=self._with_mark(fields), tallies=counts
        )
        if is_sizing:
            self._size, self._sized_at = answers.tallies[-1], monotonic()
        found = tuple(self._own_neighbours(neighbours) for neighbours in answers.neighbours)
        return Answers(found, answers.tallies[: len(tallies)])

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
        page = await self._records.select(
            self._filter(filter),
            fields=self._with_mark(fields),
            limit=limit,
            offset=offset,
            order_by=order_by,
            descending=descending,
        )
        return replace(page, rows=self._own_rows(page.rows))

    async def count(self, filter: Filter) -> int:
        """See `Records.count`."""
        return await self._records.count(self._filter(filter))

    async def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        """See `Records.walk`."""
        start = None if after is None else Position(after.number, self._prefix + after.id)
        async for rows in self._records.walk(
            self._filter(filter), fields=self._with_mark(fields), after=start, page_size=page_size
        ):
            if own := self._own_rows(rows):
                yield own

    async def scan(self, fields: Sequence[str], *, page_size: int = 1000) -> AsyncIterator[tuple[Row, ...]]:
        """See `Records.scan`; it looks at the records of all owners."""
        async for rows in self._records.scan(fields, page_size=page_size):
            if own := self._own_rows(rows):
                yield own

    async def drop(self, *, fence: Fence | None = None) -> int:
        """Delete the owner's records, in the index or not; how many there were. The index stays."""
        dropped = 0
        async for rows in self.scan((self._shared.field,)):
            dropped += sum(await self.delete_many([row.id for row in rows], fence=fence))
        return dropped

    def _shared_ids(self, ids: Sequence[str]) -> list[str]:
        return [self._prefix + id for id in ids]

    def _write(self, write: RecordWrite) -> RecordWrite:
        return replace(
            write,
            id=self._prefix + write.id,
            fields={**write.fields, self._shared.field: self._mark},
            if_exists=None if write.if_exists is None else self._change(write.if_exists),
        )

    def _change(self, change: RecordChange) -> RecordChange:
        return replace(change, id=self._prefix + change.id)

    def _retirement(self, one: Retirement) -> Retirement:
        successor = one.successor
        if isinstance(successor, RecordWrite):
            successor = self._write(successor)
        elif successor is not None:
            successor = self._change(successor)
        return replace(one, id=self._prefix + one.id, without=(*one.without, self._shared.field), successor=successor)

    def _search(self, search: Search) -> Search:
        # A question without a scope is one about a part of the index all the same.
        size = self._size if search.scope_size is None else search.scope_size
        return replace(search, filter=self._filter(search.filter), scope_size=size)

    def _filter(self, filter: Filter) -> Filter:
        if not filter.clauses:
            return self._everything
        return Filter((self._clause, *[self._renamed(clause) for clause in filter.clauses]))

    def _renamed(self, clause: Clause) -> Clause:
        match clause:
            case IdIn(ids=ids):
                return IdIn(frozenset(self._prefix + id for id in ids))
            case Not(clause=inner):
                return Not(self._renamed(inner))
            case AllOf(clauses=parts):
                return AllOf(tuple(self._renamed(part) for part in parts))
            case AnyOf(clauses=parts):
                return AnyOf(tuple(self._renamed(part) for part in parts))
            case _:
                return clause

    def _own_rows(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        cut = len(self._prefix)
        return tuple(
            Row(row.id[cut:], self._without_mark(row.fields)) for row in rows if row.id.startswith(self._prefix)
        )

    def _own_neighbours(self, found: Neighbours) -> Neighbours:
        cut = len(self._prefix)
        return Neighbours(
            (
                row._replace(id=row.id[cut:], fields=self._without_mark(row.fields))
                for row in found
                if row.id.startswith(self._prefix)
            ),
            exhausted=found.exhausted,
            chosen_from=found.chosen_from,
        )

    def _with_mark(self, fields: Sequence[str]) -> Sequence[str]:
        """What to ask for: an engine holds a row against the whole filter where a server has rounded its numbers."""
        return (*fields, self._shared.field)

    def _without_mark(self, fields: Fields) -> Fields:
        return {name: value for name, value in fields.items() if name != self._shared.field}

    @contextmanager
    def _own(self) -> Iterator[None]:
        """Errors are about the ids that the owner knows."""
        try:
            yield
        except AgentMemoryError as error:
            raise self._own_error(error) from error

    def _own_error(self, error: AgentMemoryError) -> AgentMemoryError:
        """The same error about the ids that the owner knows."""
        cut = len(self._prefix)
        if isinstance(error, PartialBatchError):
            failed: Mapping[str, Exception] = {
                id[cut:]: self._own_error(cause) if isinstance(cause, AgentMemoryError) else cause
                for id, cause in error.failed.items()
            }
            return PartialBatchError(str(error), done=[id[cut:] for id in error.done], failed=failed)
        if isinstance(error, OutcomeUnknownError):
            return OutcomeUnknownError(str(error), ids=tuple(id[cut:] for id in error.ids))
        if isinstance(error, LeaseLostError):
            return LeaseLostError(str(error), done=[id[cut:] for id in error.done])
        return error
