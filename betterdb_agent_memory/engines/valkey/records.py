"""The records of one collection on a server: the `Records` protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from betterdb_agent_memory.engines.base import (
    Answers,
    Collection,
    Counter,
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
from betterdb_agent_memory.engines.event_log import Announcement, Announcing, Deed
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.engines.links import LinkChange
from betterdb_agent_memory.engines.retiring import retire_in_steps
from betterdb_agent_memory.engines.valkey import query, reply
from betterdb_agent_memory.engines.valkey.apart import Apart, Telling
from betterdb_agent_memory.engines.valkey.beside import Besides, outcome_in
from betterdb_agent_memory.engines.valkey.by_key import ByKey
from betterdb_agent_memory.engines.valkey.choosing import Choosing
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.effort import MAX_NEIGHBOURS
from betterdb_agent_memory.engines.valkey.expiries import read_expiries, read_lifetimes
from betterdb_agent_memory.engines.valkey.groups import Groups
from betterdb_agent_memory.engines.valkey.index import Index
from betterdb_agent_memory.engines.valkey.keyspace import own_ids
from betterdb_agent_memory.engines.valkey.limits import MAX_POSITION, check_change, check_write, is_own
from betterdb_agent_memory.engines.valkey.links import ValkeyLinks
from betterdb_agent_memory.engines.valkey.nearest import Nearest
from betterdb_agent_memory.engines.valkey.packing import Command
from betterdb_agent_memory.engines.valkey.questions import Questions
from betterdb_agent_memory.engines.valkey.retiring import check_retirement, retire_command
from betterdb_agent_memory.engines.valkey.scripts import run_many
from betterdb_agent_memory.engines.valkey.search import Selection
from betterdb_agent_memory.engines.valkey.walk import Walk
from betterdb_agent_memory.engines.valkey.writing import (
    change_command,
    delete_command,
    outcome_of,
    settle,
    told_outcome,
    write_command,
)
from betterdb_agent_memory.errors import InvalidInputError

_PAGE = 1000
_Item = TypeVar("_Item")


class ValkeyRecords:
    """Hashes below one key prefix, found through a search index.

    Writes, changes and deletions are sent at most once, whatever the client's retry policy: one
    round trip per 500 or 4 MB, and one more when a server does not know the script yet.

    A question that names the ids it is about (`Filter.required_ids`) reads those keys, one round trip
    per 500 of them, and is answered exactly; any other asks the search index.
    """

    def __init__(
        self,
        client: CommandClient,
        collection: Collection,
        counting: GroupCounting | None = None,
        announcing: Announcing | None = None,
        *,
        search_timeout_ms: int,
        minimum_ef: int,
    ) -> None:
        self._client = client
        self._collection = collection
        self._besides = Besides(client, collection)
        self._groups = Groups(client, collection, counting, self._besides)
        self._announcing = announcing
        self._index = Index(client, collection)
        self._questions = Questions(client, collection, self._index, timeout_ms=search_timeout_ms)
        self._by_key = ByKey(
            client,
            collection.key_prefix,
            order_field=query.order_field(collection.schema).name,
            vector_field=collection.schema.vector_field,
        )
        self._walk = Walk(self._questions, self._by_key)
        texts = [field.name for field in collection.schema.shared if field.kind == "text"]
        self._whole_field = texts[0] if texts else collection.schema.vector_field
        choosing = Choosing(self._questions, whole_field=self._whole_field)
        self._nearest = Nearest(self._questions, self._by_key, choosing, ef=minimum_ef)
        self._selection = Selection(self._questions, self._by_key, self._walk)

    @property
    def max_neighbours(self) -> int:
        """Largest `count` that a search takes."""
        return MAX_NEIGHBOURS

    @property
    def unreadable_rows(self) -> int:
        """Rows skipped so far because their distance or their id could not be read."""
        return self._questions.unreadable_rows

    async def prepare(self, dimensions: int | None) -> IndexState:
        """Find the index, or create it when `dimensions` is given; any number of workers at once.

        One round trip when it exists, three when it has to be created. Existing records are taken
        in by the server in the background: `IndexState.indexing`.

        Raises:
            IndexMismatchError: an index of that name has another dimension, metric, type or prefix, or
                lacks the order field.
            SearchModuleMissingError: the server has no search module.
        """
        return await self._index.prepare(dimensions)

    async def inspect(self) -> IndexState:
        """The state of the index now; `dimensions` is None when it does not exist. One round trip."""
        return await self._index.inspect()

    async def rebuild(self, dimensions: int, *, fence: Fence | None = None) -> IndexState:
        """Drop the index and make it anew over the records that are there. Three round trips, one more with a `fence`.

        The server takes the records in while this returns: `IndexState.indexed_fraction`. Whoever
        makes the index in between wins the race.

        Raises:
            IndexMismatchError: somebody made it in between, for vectors of another length.
            LeaseLostError: somebody else has the lease of `fence`; the index is as it was.
        """
        return await self._index.rebuild(dimensions, fence=fence)

    async def drop(self, *, fence: Fence | None = None) -> int:
        """Delete the index and every record; how many there were.

        One round trip, then one per 1,000 keys of the server's database and one per 500 records.

        Raises:
            LeaseLostError: somebody else has the lease of `fence`; records may have been deleted before.
            OutcomeUnknownError: the connection broke; dropping again is harmless.
            PartialBatchError: some of a page were deleted; it says which.
        """
        await self._index.drop(fence=fence)
        dropped = 0
        async for ids in own_ids(self._client, self._collection.key_prefix, page_size=_PAGE):
            if fence is not None:
                dropped += sum(await self.delete_many(ids, fence=fence))
                continue
            answers: list[Any] = await run_many(
                self._client, [("UNLINK", *self._besides.keys_of(self._key(id), id)) for id in ids]
            )
            gone = sum(not isinstance(answer, Exception) and reply.as_int(answer) > 0 for answer in answers)
            self._index.note_deleted(gone)
            settle(ids, answers)
            dropped += gone
        return dropped

    async def write_many(self, writes: Sequence[RecordWrite], *, fence: Fence | None = None) -> list[Outcome]:
        """Store records whole, each with its expiry in one atomic step; what became of each.

        One round trip per 500; one more where groups are counted in another slot of a cluster.

        Raises:
            InvalidInputError: an id, a time to live or an empty record; nothing was sent.
            LeaseLostError: somebody else has the lease of `fence`; it says which were written before.
            OutcomeUnknownError: the connection broke; each record is whole, unchanged or absent.
            PartialBatchError: some were written; it says which.
        """
        for write in writes:
            check_write(write)
        counted = self._groups.are_counted

        def command(write: RecordWrite, announced: Announcement | None) -> Command:
            key = self._key(write.id)
            beside = self._besides.of(key, write.id, fence=fence, counted=counted, announced=announced)
            return write_command(key, write, self._whole_field, beside)

        self._index.note_written(len(writes))
        ids = [write.id for write in writes]
        sent, answers = await self._sent("write", command, writes, ids, held=[write.fields for write in writes])
        apart = await self._groups.count_apart(ids, answers)
        if counted:
            # Also where some of the batch has failed.
            self._groups.tell(writes, answers, apart)
        settle([write.id for write in writes], answers, fence)
        return [outcome_of(one, answer) for one, answer in zip(sent, answers, strict=True)]

    async def read_many(self, ids: Sequence[str], fields: Sequence[str] | None) -> list[Fields | None]:
        """The asked-for fields of each id, in order, `fields` None for all; None for a record with none
        of them.

        One round trip per 500.
        """
        return await self._by_key.read(ids, fields)

    async def read_expiries(self, ids: Sequence[str]) -> list[int | None]:
        """When each record expires (ms since the epoch), in order; None for never and for no record.

        One round trip per 500; two more on a server before Redis 7.
        """
        own = [id for id in ids if is_own(id)]
        expiries = dict(zip(own, await read_expiries(self._client, [self._key(id) for id in own]), strict=True))
        return [expiries.get(id) for id in ids]

    async def read_lifetimes(self, ids: Sequence[str]) -> list[float]:
        """For how many ms each record will still be there: infinity for ever, 0 for no record.

        One round trip per 500.
        """
        own = [id for id in ids if is_own(id)]
        lifetimes = dict(zip(own, await read_lifetimes(self._client, [self._key(id) for id in own]), strict=True))
        return [lifetimes.get(id, 0) for id in ids]

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """Delete records, with `expected` only those that hold these values; true where there was one.

        `counter` goes up by one with each. One round trip per 500; one more where the counter, or the count of
        groups, is of another slot of a cluster.

        Raises:
            LeaseLostError: somebody else has the lease of `fence`; it says which were deleted before.
            OutcomeUnknownError: the connection broke; deleting again is harmless.
            PartialBatchError: some were deleted; it says which.
        """
        conditions: Sequence[Expected | None] = [None] * len(ids) if expected is None else expected
        if len(conditions) != len(ids):
            raise InvalidInputError(f"{len(ids)} ids and {len(conditions)} sets of expected values")
        own = [(id, condition) for id, condition in zip(ids, conditions, strict=True) if is_own(id)]
        counted = self._groups.are_counted

        def command(item: tuple[str, Expected | None], announced: Announcement | None) -> Command:
            key = self._key(item[0])
            beside = self._besides.of(
                key, item[0], fence=fence, counted=counted, counter=counter, announced=announced, deletes=True
            )
            return delete_command(key, item[1], beside)

        _, answers = await self._sent("delete", command, own, [id for id, _ in own])
        gone = [not isinstance(answer, Exception) and outcome_in(answer) == 1 for answer in answers]
        self._index.note_deleted(sum(gone))
        apart = counter is not None and own and not self._besides.are_together(self._key(own[0][0]), counter.key)
        if counter is not None and apart and any(gone):
            await self._client.tell_many([("HINCRBY", counter.key, counter.field, sum(gone))])
        await self._groups.count_apart([id for id, _ in own], answers)
        settle([id for id, _ in own], answers, fence)
        flags = iter(gone)
        return [is_own(id) and next(flags) for id in ids]

    async def change_many(self, changes: Sequence[RecordChange], *, fence: Fence | None = None) -> list[Outcome]:
        """Change records that still exist: CHANGED, MISSING or REFUSED. One round trip per 500.

        Raises:
            InvalidInputError: a time to live; nothing was sent.
            LeaseLostError: somebody else has the lease of `fence`; it says which were changed before.
            OutcomeUnknownError: the connection broke; increments may have been added once.
            PartialBatchError: some were changed; it says which.
        """
        for change in changes:
            check_change(change)
        own = [change for change in changes if is_own(change.id)]
        counted, fields = self._groups.are_counted, self._collection.group_fields

        def command(change: RecordChange, announced: Announcement | None) -> Command:
            key, is_counted = self._key(change.id), counted and change.may_change(fields)
            beside = self._besides.of(
                key, change.id, fence=fence, counted=is_counted, announced=announced, links=change.links
            )
            return change_command(key, change, self._whole_field, beside)

        ids = [change.id for change in own]
        sent, answers = await self._sent("change", command, own, ids)
        apart = await self._groups.count_apart(ids, answers)
        await self._link_apart(own, answers)
        if counted:
            self._groups.tell_moves(answers, apart)
        settle(ids, answers, fence)
        outcomes = iter([outcome_of(one, answer) for one, answer in zip(sent, answers, strict=True)])
        return [next(outcomes) if is_own(change.id) else Outcome.MISSING for change in changes]

    async def _link_apart(self, changes: Sequence[RecordChange], answers: Sequence[Any]) -> None:
        """What links gain that no script could touch beside their record, on a cluster. None, or up to three round
        trips.
        """
        keys, gains = self._collection.link_keys, []
        for change, answer in zip(changes, answers, strict=True):
            if change.links and not self._besides.may_link(self._key(change.id), change.id):
                is_changed = not isinstance(answer, Exception) and outcome_in(answer) == Outcome.CHANGED
                gains += [LinkChange(change.id, *gain) for gain in change.links.items() if is_changed]
        if keys is not None and gains:
            links = ValkeyLinks(self._client, LinkedRecords.of(self._collection))
            await links.strengthen(gains, now_ms=max(gain.strength.since_ms for gain in gains))

    async def retire_many(
        self, retirements: Sequence[Retirement], shelf: Records, *, fence: Fence | None = None
    ) -> list[Retired]:
        """Move records to another collection, each with its successor: see `Records.retire_many`.

        One round trip per 500, where the keys of each may be touched by one script.

        Raises:
            InvalidInputError: a time to live or an id; nothing was sent.
            LeaseLostError: somebody else has the lease of `fence`; it says which have left before.
            OutcomeUnknownError: the connection broke; each has happened whole or not at all.
            PartialBatchError: some have happened; it says which.
        """
        for one in retirements:
            check_retirement(one)
        if not isinstance(shelf, ValkeyRecords):
            return await retire_in_steps(self, retirements, shelf, fence=fence)
        commands = {place: self._retirement(one, shelf, fence) for place, one in enumerate(retirements)}
        together = {place: command for place, command in commands.items() if command is not None}
        answers = dict(zip(together, await run_many(self._client, [*together.values()]), strict=True))
        sent = [*answers]
        for place in self._besides.learn([answers[place] for place in sent]):
            del answers[sent[place]]
        settle([retirements[place].id for place in answers], [*answers.values()], fence)
        retired = {place: Retired(reply.as_int(answer)) for place, answer in answers.items()}
        self._index.note_deleted(sum(one is Retired.RETIRED for one in retired.values()))
        apart = [place for place in range(len(retirements)) if place not in retired]
        in_steps = await retire_in_steps(self, [retirements[place] for place in apart], shelf, fence=fence)
        retired |= dict(zip(apart, in_steps, strict=True))
        return [retired[place] for place in range(len(retirements))]

    def _retirement(self, one: Retirement, shelf: ValkeyRecords, fence: Fence | None) -> Command | None:
        """The script's command; None where its keys lie in different slots."""
        key, target_key = self._key(one.id), shelf._key(one.kept_as)
        successor_key = None if one.successor is None else self._key(one.successor.id)
        announced = None if self._announcing is None else self._announcing.of("delete", one.id)
        told = (
            None
            if one.successor is None or self._announcing is None
            else self._announcing.of("write", one.successor.id)
        )
        beside = self._besides.of(key, one.id, fence=fence, counted=self._groups.are_counted, announced=announced)
        counts_key = self._collection.counts_key if self._groups.are_counted else None
        keys = [key, target_key, successor_key, counts_key, None if announced is None else announced.log_key]
        if not self._besides.are_together(*[name for name in keys if name is not None]):
            return None
        return retire_command(
            one,
            key=key,
            target_key=target_key,
            successor_key=successor_key,
            whole_field=self._whole_field,
            beside=beside,
            announced=told,
        )

    async def read_group(self, group: str) -> GroupCount:
        """How many records of `group` were counted, and which was written last. One round trip."""
        return await self._groups.read(group)

    async def group_sizes(self) -> dict[str, int]:
        """Every group that is counted, and how many records it was counted to have. One round trip."""
        return await self._groups.sizes()

    async def correct_group(self, group: str, difference: int, *, fence: Fence) -> None:
        """Add to the count of `group`, and begin to keep it where nobody did. One round trip.

        Raises:
            LeaseLostError: somebody else has the lease of `fence`.
        """
        await self._groups.correct(group, difference, fence)

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """Several searches around one `vector` (float32, little-endian), and counts beside them, in one round trip.

        Rows without a distance are skipped and counted in `unreadable_rows`. The searches share further round trips:
        where keys that are not ours lie below the prefix and have to be stepped over, and one per 500 rows whose
        number lies so near to a limit of the filter that the server's rounding leaves it in doubt (numbers with
        more than twelve digits; a limit inside an OR or a NOT). Words that servers never index ("the") are left out
        of a search: one that has no others is answered without asking. One that names ids reads these (with words
        also those of all records that have one), a round trip or more of its own.

        Raises:
            InvalidInputError: a `count` exceeds `max_neighbours`.
            IndexMissingError: there is no index; `prepare` makes one.
            SearchTimeoutError: it took longer than the search timeout.
        """
        for search in searches:
            if search.count > MAX_NEIGHBOURS:
                raise InvalidInputError(f"at most {MAX_NEIGHBOURS} neighbours at once, not {search.count}")
        if any(search.filter.required_ids is not None for search in searches):
            return await self._nearest.with_ids(vector, searches, fields=fields, tallies=tallies)
        return await self._nearest.search_many(vector, searches, fields=fields, tallies=tallies)

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
        """A page of records, ordered by a sortable number field or in no particular order.

        One round trip, and rows in doubt as in `search_many`; with keys that are not ours below the prefix,
        one per 1,000 rows up to the page and for the total. Raises as `search_many`.
        """
        if limit < 0 or offset < 0:
            raise InvalidInputError(f"limit and offset are not negative: {limit}, {offset}")
        if filter.required_ids is not None:
            return await self._by_key.select(
                filter.required_ids,
                filter,
                fields=fields,
                limit=limit,
                offset=offset,
                order_by=order_by,
                descending=descending,
            )
        return await self._selection.select(
            filter, fields=fields, limit=limit, offset=offset, order_by=order_by, descending=descending
        )

    async def count(self, filter: Filter) -> int:
        """How many records `filter.accepts`, exactly. One round trip.

        As many as a `walk` where other people's keys lie below our prefix (store `d` beside store
        `d:mem`), a filter field is not indexed, tags are under an OR or a NOT, or have over 10,000
        distinct values. Up to three where it has ranges alone and they are in fewer than 1,000 records: more of
        these, and all records with an empty filter, count for a moment after they have expired, until
        the server removes them. Keys below the prefix that belong to no other store's index are noticed only once
        a search has returned one. Raises as `search_many`.
        """
        if filter.required_ids is not None:
            return await self._by_key.count(filter.required_ids, filter)
        return await self._selection.count(filter)

    async def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = _PAGE
    ) -> AsyncIterator[tuple[Row, ...]]:
        """Pages of all records that `filter.accepts`, by the order field and then by id, after `after`.

        Every record that is there from the beginning to the end, and whose order field stays, comes
        exactly once. One round trip per page; one more per 500 records where `fields` or the filter
        contain numbers other than the order field, since a search may round them. Records with one
        value of the order field that fill more than a page: one round trip for their ids, one per 500
        records. Raises as `search_many`.
        """
        if page_size < 1:
            raise InvalidInputError(f"a page has at least one record, not {page_size}")
        if after is not None and abs(after.number) > MAX_POSITION:
            raise InvalidInputError(f"a walk begins after a number up to {MAX_POSITION}, not {after.number}")
        if filter.required_ids is not None:
            pages = self._by_key.walk(filter.required_ids, filter, fields=fields, after=after, page_size=page_size)
        else:
            pages = self._walk.pages(filter, fields=fields, after=after, page_size=page_size)
        async for rows in pages:
            if rows:
                yield rows

    async def scan(self, fields: Sequence[str], *, page_size: int = _PAGE) -> AsyncIterator[tuple[Row, ...]]:
        """Pages of every record of the collection that has one of `fields`, in no order, some twice.

        One round trip per `page_size` keys of the server's database and one per 500 records.
        """
        if page_size < 1:
            raise InvalidInputError(f"a page has at least one record, not {page_size}")
        async for ids in own_ids(self._client, self._collection.key_prefix, page_size=page_size):
            if rows := await self._by_key.rows(ids, fields):
                yield tuple(rows)

    def _key(self, id: str) -> str:
        return self._collection.key_prefix + id

    async def _sent(
        self,
        deed: Deed,
        command: Callable[[_Item, Announcement | None], Command],
        items: Sequence[_Item],
        ids: Sequence[str],
        *,
        held: Sequence[Fields] | None = None,
    ) -> tuple[list[Command], list[Any]]:
        """The commands about these, and their answers; those that touch too many slots are put otherwise."""
        announced = [None if self._announcing is None else self._announcing.of(deed, id) for id in ids]
        sent = [command(item, one) for item, one in zip(items, announced, strict=True)]
        answers = await self._told(sent, ids, announced, held)
        if refused := self._besides.learn(answers):
            for place in refused:
                sent[place] = command(items[place], announced[place])
            again = await self._told(
                [sent[place] for place in refused],
                [ids[place] for place in refused],
                [announced[place] for place in refused],
                None if held is None else [held[place] for place in refused],
            )
            for place, answer in zip(refused, again, strict=True):
                answers[place] = answer
        return sent, answers

    async def _told(
        self,
        commands: Sequence[Command],
        ids: Sequence[str],
        announced: Sequence[Announcement | None],
        held: Sequence[Fields] | None,
    ) -> list[Any]:
        """The answers. What cannot be told in the same step is noted before and told after: two round trips more,
        and one where it is not known what the records `held`.
        """
        together = [
            one is None or self._besides.are_together(self._key(id), one.log_key)
            for id, one in zip(ids, announced, strict=True)
        ]
        if all(together):
            return await run_many(self._client, commands)
        names = tuple(dict.fromkeys(name for one in announced if one is not None for name in one.copied))
        known: Sequence[Fields | None] = held if held is not None else await self._by_key.read(ids, names)
        apart = Apart(
            self._client,
            [
                None if one is None or is_together else Telling(id, one, fields or {})
                for id, one, is_together, fields in zip(ids, announced, together, known, strict=True)
            ],
        )
        await apart.note()
        answers = await run_many(self._client, commands)
        outcomes = [told_outcome(command, answer) for command, answer in zip(commands, answers, strict=True)]
        changed = [id for id, outcome in zip(ids, outcomes, strict=True) if outcome is Outcome.CHANGED]
        now = dict(zip(changed, await self._by_key.read(changed, names) if changed else (), strict=True))
        await apart.settle(outcomes, [now.get(id) for id in ids])
        return answers
