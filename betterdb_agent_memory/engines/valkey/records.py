"""The records of one collection on a server: the `Records` protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from betterdb_agent_memory.engines.base import Collection, IndexState, Neighbours, Page, RecordChange, RecordWrite
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.engines.valkey import reply
from betterdb_agent_memory.engines.valkey.client import Argument, ValkeyClient
from betterdb_agent_memory.engines.valkey.index import Index
from betterdb_agent_memory.engines.valkey.limits import checked_ttl
from betterdb_agent_memory.engines.valkey.scripts import load_script
from betterdb_agent_memory.engines.valkey.search import MAX_NEIGHBOURS, Search
from betterdb_agent_memory.errors import InvalidInputError, OutcomeUnknownError, PartialBatchError


class ValkeyRecords:
    """Hashes below one key prefix, found through a search index.

    Writes, changes and deletions are sent at most once, whatever the client's retry policy: one
    round trip per 500, and one more when a server does not know the script yet.
    """

    def __init__(
        self, client: ValkeyClient, collection: Collection, *, search_timeout_ms: int, minimum_ef: int
    ) -> None:
        self._client = client
        self._collection = collection
        self._index = Index(client, collection)
        self._search = Search(client, collection, self._index, timeout_ms=search_timeout_ms, ef=minimum_ef)
        texts = [field.name for field in collection.schema.shared if field.kind == "text"]
        self._whole_field = texts[0] if texts else collection.schema.vector_field

    @property
    def max_neighbours(self) -> int:
        """Largest `count` that `nearest` takes."""
        return MAX_NEIGHBOURS

    @property
    def unreadable_rows(self) -> int:
        """Rows skipped by `nearest` so far because their distance was missing or not a number."""
        return self._search.unreadable_rows

    async def prepare(self, dimensions: int | None) -> IndexState:
        """Find the index, or create it when `dimensions` is given; any number of workers at once.

        One round trip when it exists, three when it has to be created. Existing records are taken
        in by the server in the background: `IndexState.indexing`.

        Raises:
            IndexMismatchError: an index of that name has another dimension, metric, type or prefix.
            SearchModuleMissingError: the server has no search module.
        """
        return await self._index.prepare(dimensions)

    async def inspect(self) -> IndexState:
        """The state of the index now; `dimensions` is None when it does not exist. One round trip."""
        return await self._index.inspect()

    async def write_many(self, writes: Sequence[RecordWrite]) -> None:
        """Store records whole, each with its expiry in one atomic step. One round trip per 500.

        Raises:
            InvalidInputError: an id, a time to live or an empty record; nothing was sent.
            OutcomeUnknownError: the connection broke; each record is whole, unchanged or absent.
            PartialBatchError: some were written; it says which.
        """
        calls: list[tuple[str, list[Argument]]] = []
        for write in writes:
            if not _is_own(write.id):
                raise InvalidInputError(f"a record id is not empty and has no colon, unlike {write.id!r}")
            if not write.fields:
                raise InvalidInputError(f"record {write.id!r} has no fields")
            ttl_seconds = 0 if write.ttl_seconds is None else checked_ttl(write.ttl_seconds)
            fields: list[Argument] = [part for item in write.fields.items() for part in item]
            calls.append((self._key(write.id), [ttl_seconds, *fields]))
        outcomes = await load_script("write").run_many(self._client, calls)
        _settle([write.id for write in writes], outcomes)

    async def read_many(self, ids: Sequence[str], fields: Sequence[str]) -> list[Fields | None]:
        """The asked-for fields of each id, in order; None for a record with none of them.

        One round trip per 500.
        """
        read: list[Fields | None] = [None] * len(ids)
        own = [index for index, id in enumerate(ids) if _is_own(id)] if fields else []
        answers = await self._client.ask_many([("HMGET", self._key(ids[index]), *fields) for index in own])
        for index, answer in zip(own, answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            read[index] = reply.parse_fields(answer, fields)
        return read

    async def delete_many(self, ids: Sequence[str]) -> list[bool]:
        """Delete records; true where there was one. One round trip per 500.

        Raises:
            OutcomeUnknownError: the connection broke; deleting again is harmless.
            PartialBatchError: some were deleted; it says which.
        """
        # One key per command: several in one cannot be sent to a cluster.
        own = [id for id in ids if _is_own(id)]
        outcomes = await self._client.tell_many([("DEL", self._key(id)) for id in own])
        return _flags(ids, own, outcomes)

    async def change_many(self, changes: Sequence[RecordChange]) -> list[bool]:
        """Change records that still exist; false where there was none. One round trip per 500.

        Raises:
            OutcomeUnknownError: the connection broke; increments may have been added once.
            PartialBatchError: some were changed; it says which.
        """
        own = [change for change in changes if _is_own(change.id)]
        calls = [
            (
                self._key(change.id),
                [self._whole_field, len(change.maxima), *_flat(change.maxima), *_flat(change.increments)],
            )
            for change in own
        ]
        outcomes = await load_script("touch").run_many(self._client, calls)
        return _flags([change.id for change in changes], [change.id for change in own], outcomes)

    async def nearest(self, vector: bytes, *, count: int, filter: Filter, fields: Sequence[str]) -> Neighbours:
        """Up to `count` records nearest to `vector` (float32, little-endian), nearest first.

        Rows without a distance are skipped and counted in `unreadable_rows`. One round trip; more
        where keys that are not ours lie below the prefix and have to be stepped over.

        Raises:
            InvalidInputError: `count` exceeds `max_neighbours`.
            IndexMissingError: there is no index; `prepare` makes one.
            SearchTimeoutError: it took longer than the search timeout.
        """
        return await self._search.nearest(vector, count=count, filter=filter, fields=fields)

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

        One round trip; with keys that are not ours below the prefix, one per 1,000 rows up to the
        page and for the total. Raises as `nearest`.
        """
        return await self._search.select(
            filter, fields=fields, limit=limit, offset=offset, order_by=order_by, descending=descending
        )

    async def count(self, filter: Filter) -> int:
        """How many records `filter.accepts`, exactly. One round trip.

        One per 1,000 records where other people's keys lie below our prefix (store `d` beside
        store `d:mem`), a filter field is not indexed, or it has over 10,000 distinct values. Keys
        below the prefix that belong to no other store's index are noticed only once a search has
        returned one. Raises as `nearest`.
        """
        return await self._search.count(filter)

    def _key(self, id: str) -> str:
        return self._collection.key_prefix + id


def _is_own(id: str) -> bool:
    # With a colon it would be somebody else's key.
    return bool(id) and ":" not in id


def _flat(numbers: Mapping[str, int]) -> list[Argument]:
    return [part for item in numbers.items() for part in item]


def _flags(ids: Sequence[str], own: Sequence[str], outcomes: Sequence[Any]) -> list[bool]:
    _settle(own, outcomes)
    flags = iter([reply.as_int(outcome) > 0 for outcome in outcomes])
    return [_is_own(id) and next(flags) for id in ids]


def _settle(ids: Sequence[str], outcomes: Sequence[Any]) -> None:
    """Raise what a batch amounts to, if any of it failed."""
    failed = {id: outcome for id, outcome in zip(ids, outcomes, strict=True) if isinstance(outcome, Exception)}
    if not failed:
        return
    done = [id for id in ids if id not in failed]
    kinds = {type(error) for error in failed.values()}
    first = next(iter(failed.values()))
    if done or len(kinds) > 1:
        raise PartialBatchError(
            f"{len(done)} of {len(ids)} happened; the first failure: {first}", done=done, failed=failed
        ) from first
    if isinstance(first, OutcomeUnknownError):
        raise OutcomeUnknownError(str(first), ids=tuple(failed)) from first.__cause__
    raise first
