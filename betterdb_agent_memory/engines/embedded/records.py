"""The records of one collection in the file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import astuple
from functools import partial

import apsw

from betterdb_agent_memory.engines.base import (
    Answers,
    Collection,
    Counter,
    Expected,
    Fence,
    GroupCount,
    GroupCounting,
    IndexState,
    Neighbour,
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
from betterdb_agent_memory.engines.embedded import reading, writing
from betterdb_agent_memory.engines.embedded.announcing import Announced
from betterdb_agent_memory.engines.embedded.checking import check_changes, check_writes
from betterdb_agent_memory.engines.embedded.database import Database
from betterdb_agent_memory.engines.embedded.fencing import refuse_late
from betterdb_agent_memory.engines.embedded.groups import Groups
from betterdb_agent_memory.engines.embedded.index import Index
from betterdb_agent_memory.engines.embedded.keys import live_fields, put_fields, total_of
from betterdb_agent_memory.engines.embedded.linking import gain_links, remove_links_of
from betterdb_agent_memory.engines.embedded.lookup import Lookup
from betterdb_agent_memory.engines.embedded.matching import matching
from betterdb_agent_memory.engines.embedded.retiring import Retiring, announcements
from betterdb_agent_memory.engines.embedded.search import Found, Surroundings
from betterdb_agent_memory.engines.embedded.updating import Updates
from betterdb_agent_memory.engines.embedded.walking import is_small_scope, walk_page
from betterdb_agent_memory.engines.event_log import Announcing
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.engines.retiring import retire_in_steps
from betterdb_agent_memory.errors import InvalidInputError

MAX_NEIGHBOURS = 1_000_000


class EmbeddedRecords:
    """The records of one collection.

    Filters are exact here and searches too: every row passes `Filter.accepts`, and a search finds
    what a comparison with every vector would. Each batch is written whole or not at all. Before
    `prepare` gave the collection its dimensions there is nothing to read, delete or change, and
    writing, searching and counting raise IndexMissingError.
    """

    def __init__(
        self,
        database: Database,
        collection: Collection,
        now_ms: Callable[[], int],
        counting: GroupCounting | None = None,
        announcing: Announcing | None = None,
    ) -> None:
        self._database = database
        self._collection = collection
        self._counting = counting
        self._announcing = announcing
        self._now_ms = now_ms
        self._lookup = Lookup(collection)
        self._index = Index(database, collection, self._lookup, now_ms)
        texts = [field.name for field in collection.schema.shared if field.kind == "text"]
        self._whole_field = texts[0] if texts else collection.schema.vector_field

    @property
    def max_neighbours(self) -> int:
        """Largest `count` that a search takes."""
        return MAX_NEIGHBOURS

    @property
    def unreadable_rows(self) -> int:
        """Always 0: a row of a file can be read or the whole call fails."""
        return 0

    async def prepare(self, dimensions: int | None) -> IndexState:
        """Find the collection in the file, or create it when `dimensions` is given.

        A field that an earlier release did not index is indexed now, which reads every record once.
        """
        return await self._index.prepare(dimensions)

    async def inspect(self) -> IndexState:
        """The state of the collection now; `dimensions` is None when it was never prepared.

        `failures` counts the records whose vectors have another length, since a `rebuild`.
        """
        return await self._index.inspect()

    async def write_many(self, writes: Sequence[RecordWrite], *, fence: Fence | None = None) -> list[Outcome]:
        """Store records, all or none of them; what became of each, in order.

        An existing id is replaced whole, or changed by `if_exists`. About 30 us a record in a batch, 15 us more while
        groups are counted; a batch alone adds one flush to disk.

        Raises:
            LeaseLostError: somebody else has the lease of `fence`; nothing was written.
        """

        def write(connection: apsw.Connection) -> tuple[list[Outcome], dict[str, int | None]]:
            tables, now_ms = self._lookup.prepared(connection), self._now_ms()
            check_writes(tables, writes)
            refuse_late(connection, fence, refused=len(writes))
            groups = self._groups(connection, now_ms)
            outcomes = writing.write_records(
                connection, tables, writes, now_ms, whole_field=self._whole_field, groups=groups
            )
            announced.look(connection, tables, now_ms)
            announced.tell(connection, outcomes, now_ms)
            if groups is None:
                return outcomes, {}
            # One that was there and has been changed may be of another group than the one that was to be stored.
            found = [
                groups.stored_name(tables, write.id) if outcome is Outcome.CHANGED else groups.name_of(write.fields)
                for write, outcome in zip(writes, outcomes, strict=True)
            ]
            return outcomes, groups.sizes([group for group in dict.fromkeys(found) if group is not None])

        if not writes:
            return []
        announced = Announced(self._announcing, "write", [write.id for write in writes])
        outcomes, sizes = await self._database.write(write)
        self._tell(sizes)
        return outcomes

    async def read_many(self, ids: Sequence[str], fields: Sequence[str] | None) -> list[Fields | None]:
        """The asked-for fields of each id, in order, `fields` None for all; None for a record that has
        none of them.
        """

        def read(connection: apsw.Connection) -> list[Fields | None]:
            tables = self._lookup.find(connection)
            if tables is None:
                return [None] * len(ids)
            return reading.read_records(connection, tables, ids, fields, self._now_ms())

        return await self._database.read(read) if ids else []

    async def read_expiries(self, ids: Sequence[str]) -> list[int | None]:
        """When each record expires (ms since the epoch), in order; None for never and for no record."""

        def read(connection: apsw.Connection) -> list[int | None]:
            tables = self._lookup.find(connection)
            if tables is None:
                return [None] * len(ids)
            return reading.read_expiries(connection, tables, ids, self._now_ms())

        return await self._database.read(read) if ids else []

    async def read_lifetimes(self, ids: Sequence[str]) -> list[float]:
        """For how many ms each record will still be there: infinity for ever, 0 for no record."""

        def read(connection: apsw.Connection) -> list[float]:
            tables = self._lookup.find(connection)
            if tables is None:
                return [0.0] * len(ids)
            return reading.read_lifetimes(connection, tables, ids, self._now_ms())

        return await self._database.read(read) if ids else []

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """Delete records, all or none of them; true where there was one, with `expected` one that held these values.

        To get the words of texts out of the file takes 25 us a word, less in a batch; at most about as long as
        it takes to write the words of all other records anew, 10 us for a short one and 0.5 us a word.

        Raises:
            InvalidInputError: `expected` has another length than `ids`.
            LeaseLostError: somebody else has the lease of `fence`; nothing was deleted.
        """
        if expected is not None and len(expected) != len(ids):
            raise InvalidInputError(f"{len(ids)} ids came with {len(expected)} expectations; give one for each id")

        def delete(connection: apsw.Connection) -> list[bool]:
            tables = self._lookup.find(connection)
            if tables is None:
                return [False] * len(ids)
            now_ms = self._now_ms()
            refuse_late(connection, fence, refused=len(ids))
            announced.look(connection, tables, now_ms)
            gone = writing.delete_records(
                connection, tables, ids, now_ms, expected=expected, groups=self._groups(connection, now_ms)
            )
            announced.tell(connection, [Outcome.WRITTEN if one else Outcome.MISSING for one in gone], now_ms)
            deleted = [id for id, was_there in zip(ids, gone, strict=True) if was_there]
            remove_links_of(connection, self._collection.link_keys, deleted)
            if counter is not None and any(gone):
                total = total_of(live_fields(connection, counter.key, now_ms, (counter.field,)), *astuple(counter))
                put_fields(connection, counter.key, {counter.field: b"%d" % (total + sum(gone))}, now_ms)
            return gone

        announced = Announced(self._announcing, "delete", ids)
        return await self._database.write(delete) if ids else []

    async def change_many(self, changes: Sequence[RecordChange], *, fence: Fence | None = None) -> list[Outcome]:
        """Change records that still exist, all of the batch or none of it: CHANGED, MISSING or REFUSED.

        Never brings one back: a record without its text is missing too, being what is left of one.

        Raises:
            InvalidInputError: a vector of another length, a TTL below one second, or arithmetic with a
                tag or the vector.
            LeaseLostError: somebody else has the lease of `fence`; nothing was changed.
        """

        def change(connection: apsw.Connection) -> tuple[list[Outcome], dict[str, int | None]]:
            tables = self._lookup.find(connection)
            if tables is None:
                return [Outcome.MISSING] * len(changes), {}
            check_changes(tables, changes)
            refuse_late(connection, fence, refused=len(changes))
            now_ms = self._now_ms()
            groups, fields = self._groups(connection, now_ms), self._collection.group_fields
            updates = Updates(connection, tables, now_ms, whole_field=self._whole_field)
            outcomes = []
            reached: dict[str, None] = {}
            for change in changes:
                moves = groups is not None and change.may_change(fields)
                before = groups.stored_name(tables, change.id) if groups is not None and moves else None
                outcomes.append(updates.change(change))
                keys = self._collection.link_keys
                if change.links and keys is not None and outcomes[-1] is Outcome.CHANGED:
                    gain_links(connection, keys, tables.record, change.id, change.links, now_ms)
                if groups is not None and moves and outcomes[-1] is Outcome.CHANGED:
                    after = groups.stored_name(tables, change.id)
                    groups.move(change.id, before, after)
                    reached |= {} if after is None else {after: None}
            updates.finish()
            announced.look(connection, tables, now_ms)
            announced.tell(connection, outcomes, now_ms)
            return outcomes, {} if groups is None else groups.sizes(list(reached))

        if not changes:
            return []
        announced = Announced(self._announcing, "change", [change.id for change in changes])
        outcomes, sizes = await self._database.write(change)
        self._tell(sizes)
        return outcomes

    async def retire_many(
        self, retirements: Sequence[Retirement], shelf: Records, *, fence: Fence | None = None
    ) -> list[Retired]:
        """Move records to another collection of the file, each with its successor, all in one transaction.

        See `Records.retire_many`.

        Raises:
            IndexMissingError: this collection, or that of `shelf`, was never prepared.
            InvalidInputError: a vector has another length than the other collection's; nothing was done.
            LeaseLostError: somebody else has the lease of `fence`; nothing was done.
        """
        if not isinstance(shelf, EmbeddedRecords) or shelf._database is not self._database:
            return await retire_in_steps(self, retirements, shelf, fence=fence)
        shelf_lookup = shelf._lookup

        def retire(connection: apsw.Connection) -> list[Retired]:
            refuse_late(connection, fence, refused=len(retirements))
            now_ms = self._now_ms()
            retiring = Retiring(
                connection,
                self._lookup.prepared(connection),
                shelf_lookup.prepared(connection),
                now_ms,
                whole_field=self._whole_field,
                groups=self._groups(connection, now_ms),
            )
            return [retiring.retire(one, of_one) for one, of_one in zip(retirements, told, strict=True)]

        told = announcements(self._announcing, retirements)
        return await self._database.write(retire) if retirements else []

    async def read_group(self, group: str) -> GroupCount:
        """How many records of `group` were counted, and which was written last."""
        return await self._database.read(
            lambda connection: Groups(connection, self._collection, self._now_ms()).read(group)
        )

    async def group_sizes(self) -> dict[str, int]:
        """Every group that is counted, and how many records it was counted to have."""
        return await self._database.read(
            lambda connection: Groups(connection, self._collection, self._now_ms()).all_sizes()
        )

    async def correct_group(self, group: str, difference: int, *, fence: Fence) -> None:
        """Add to the count of `group`, and begin to keep it where nobody did.

        Raises:
            LeaseLostError: somebody else has the lease of `fence`.
        """

        def correct(connection: apsw.Connection) -> None:
            refuse_late(connection, fence)
            Groups(connection, self._collection, self._now_ms()).correct(group, difference)

        await self._database.write(correct)

    def _tell(self, sizes: Mapping[str, int | None]) -> None:
        """Tell whoever has groups counted how many records these have."""
        if self._counting is not None:
            for group, size in sizes.items():
                self._counting.counted(group, size)

    def _groups(self, connection: apsw.Connection, now_ms: int) -> Groups | None:
        """The counts to keep with what is written; None while nobody has anything counted."""
        is_on = self._counting is not None and self._collection.counts_key is not None and self._counting.is_on
        return Groups(connection, self._collection, now_ms) if is_on else None

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """Several searches around one `vector` (float32, little-endian), and counts beside them, all of one state of
        the file.

        Searches and counts are exact; neighbours as far away as each other come by id. A vector of zeros has the
        distance 1 to everything. At 384 dimensions about 1 us per record in a small scope; above an eighth of the
        collection about 0.2 us per record of the whole. What the searches have in common is looked up once. To find
        the records of a word takes 0.1 us a record.

        Raises:
            InvalidInputError: a `count` below 0 or above `max_neighbours`, or a vector of another length than
                the collection's.
        """
        for search in searches:
            if not 0 <= search.count <= MAX_NEIGHBOURS:
                raise InvalidInputError(f"count must be from 0 to {MAX_NEIGHBOURS}, not {search.count}")

        def answer(connection: apsw.Connection) -> Answers:
            tables = self._lookup.prepared(connection)
            if len(vector) != tables.vector_bytes:
                raise InvalidInputError(
                    f"the query vector has {len(vector)} bytes, but this collection has {tables.dimensions} "
                    f"dimensions: {tables.vector_bytes} bytes of float32"
                )
            around = Surroundings(connection, tables, vector, self._now_ms())
            found = [around.nearest(search) for search in searches]
            stored = {
                key: reading.read_fields(connection, tables, key, fields)
                for key in {key for rows in found for key, _, _ in rows}
            }
            return Answers(
                tuple(_neighbours(rows, search.count, stored) for rows, search in zip(found, searches, strict=True)),
                tuple(around.count(tally) for tally in tallies),
            )

        return await self._database.read(answer)

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
        """A page of records, ordered by a number field (then by id) or in no particular order."""
        if limit < 0 or offset < 0:
            raise InvalidInputError(f"limit and offset must not be negative, not {limit} and {offset}")

        def select(connection: apsw.Connection) -> Page:
            tables = self._lookup.prepared(connection)
            return reading.select_records(
                connection,
                tables,
                matching(filter, tables, self._now_ms()),
                names=fields,
                limit=limit,
                offset=offset,
                order_by=order_by,
                descending=descending,
            )

        return await self._database.read(select)

    async def count(self, filter: Filter) -> int:
        """How many records `filter.accepts`, exactly."""

        def count(connection: apsw.Connection) -> int:
            tables = self._lookup.prepared(connection)
            return reading.count_records(connection, tables, matching(filter, tables, self._now_ms()))

        return await self._database.read(count)

    async def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        """Pages of all records that `filter.accepts`, by the order field and then by id, after `after`.

        Exact, each page in a read of its own. The order field counts as a whole number, cut towards zero;
        a record without a readable one comes with those of 0. Ids come in the order of their UTF-8 bytes,
        as Python sorts them. A filter that leaves much is held against every record on the way.

        Raises:
            IndexMissingError: the collection was never prepared, or dropped on the way.
        """
        _check_page_size(page_size)
        position = after
        by_scope: bool | None = None

        def read(connection: apsw.Connection) -> tuple[tuple[Row, ...], Position | None]:
            nonlocal by_scope
            tables, now_ms = self._lookup.prepared(connection), self._now_ms()
            if by_scope is None:
                by_scope = is_small_scope(connection, tables, filter, page_size, now_ms)
            return walk_page(
                connection,
                tables,
                filter,
                now_ms,
                names=fields,
                after=position,
                page_size=page_size,
                by_scope=by_scope,
            )

        while True:
            page, position = await self._database.read(read)
            if page:
                yield page
            if position is None:
                return

    async def scan(self, fields: Sequence[str], *, page_size: int = 1000) -> AsyncIterator[tuple[Row, ...]]:
        """Pages of every record, also of those whose vectors have another length, in no order.

        A record that is there all the time comes exactly once.
        """
        _check_page_size(page_size)
        position: int | None = -1

        def read(connection: apsw.Connection, after: int) -> tuple[tuple[Row, ...], int | None]:
            tables = self._lookup.find(connection)
            if tables is None:
                return (), None
            return reading.scan_page(connection, tables, fields, self._now_ms(), after=after, page_size=page_size)

        while position is not None:
            page, position = await self._database.read(partial(read, after=position))
            if page:
                yield page

    async def rebuild(self, dimensions: int, *, fence: Fence | None = None) -> IndexState:
        """Make the index anew, for vectors of this length, over the records that are there.

        One transaction: another process sees the collection as it was, or rebuilt. Others can read
        meanwhile, and write when it is done: 40 us a record of 384 dimensions. Vectors of another length
        stay where they are, out of every search, until they are replaced; `IndexState.failures` counts
        them. Creates what was never prepared.
        """
        return await self._index.rebuild(dimensions, fence=fence)

    async def drop(self, *, fence: Fence | None = None) -> int:
        """Delete the collection with every record, in one transaction; how many there were.

        Then it is as before the first `prepare`, for every process that has the file open.
        """
        return await self._index.drop(fence=fence)


def _neighbours(rows: Sequence[Found], count: int, stored: Mapping[int, Fields]) -> Neighbours:
    return Neighbours((Neighbour(id, distance, stored[key]) for key, id, distance in rows), exhausted=len(rows) < count)


def _check_page_size(page_size: int) -> None:
    if page_size <= 0:
        raise InvalidInputError(f"page_size must be positive, not {page_size}")
