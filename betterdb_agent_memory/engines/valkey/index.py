"""The search index of one collection: found, created, compared, and what is known about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import monotonic
from typing import Any

from betterdb_agent_memory.engines.base import Collection, Fence, IndexState
from betterdb_agent_memory.engines.valkey import commands, reply
from betterdb_agent_memory.engines.valkey.command_client import CommandClient
from betterdb_agent_memory.engines.valkey.faults import is_lost_race
from betterdb_agent_memory.engines.valkey.index_info import IndexInfo, parse_info
from betterdb_agent_memory.engines.valkey.leases import refuse_late
from betterdb_agent_memory.engines.valkey.packing import Command
from betterdb_agent_memory.errors import EngineError, IndexMissingError, InvalidInputError

LARGE_INDEX = 2_000
"""Records from which on a question without a filter walks the graph instead of comparing all."""

_STALE_SECONDS = 10.0
"""Age from which on the number of records is estimated anew, beside a search. Not by FT.INFO, for which RediSearch
stops everything: 15 ms at 20,000 records, 150 at 100,000."""

_LEEWAY = 0.25
"""Part of what FT.INFO said by which the number of keys may move the estimate: the keys of others are among them."""


class Index:
    """What is known about a collection's index; until it was looked at, the contract is assumed."""

    def __init__(self, client: CommandClient, collection: Collection) -> None:
        self._client = client
        self._collection = collection
        self._info: IndexInfo | None = None
        self._shared = frozenset(field.name for field in collection.schema.shared)
        self._searchable: tuple[IndexInfo | None, frozenset[str]] = (None, self._shared)
        self._overlapped = False
        self._counted = self._estimated = self._written = self._deleted = 0
        self._keys: int | None = None
        self._counts_early = self._counted_early = False
        self._looked_at = -math.inf

    @property
    def searchable(self) -> frozenset[str]:
        """Fields that a query may name."""
        if self._searchable[0] is not self._info:
            found = self._shared if self._info is None else self._info.searchable(self._collection)
            self._searchable = (self._info, found)
        return self._searchable[1]

    @property
    def takes_ef(self) -> bool:
        """Whether the vector index has a search effort to set: a flat one refuses the option."""
        vector = self._info and self._info.vectors.get(self._collection.schema.vector_field)
        return not vector or vector.algorithm != "FLAT"

    @property
    def takes_policy(self) -> bool:
        """Whether a query may say how to search in a scope: RediSearch only, and only through a graph."""
        return self._info is not None and self._info.takes_policy and self.takes_ef

    @property
    def documents(self) -> int:
        """About how many records there are: those of the last FT.INFO, and what the server's database has grown by.

        Others have keys there, too. So it is never less than FT.INFO said without what was deleted here, and
        never more than a quarter above that and what was written here.
        """
        return max(self._counted - self._deleted, min(self._estimated, self._most))

    @property
    def is_large(self) -> bool:
        """Whether comparing every vector would be dear, by what was there when last looked at."""
        return self.documents >= LARGE_INDEX

    def note_written(self, count: int) -> None:
        """So many records were stored here."""
        self._written += count

    def note_deleted(self, count: int) -> None:
        """So many records were deleted here."""
        self._deleted += count

    def look_beside(self) -> Sequence[Command]:
        """What to ask beside a search, nearly always nothing; `note_look` takes the answers.

        Once in a while the number of keys. FT.INFO, once between two regular looks, where that has moved further
        than by our own doing.
        """
        now = monotonic()
        if self._counts_early:
            self._counts_early, self._counted_early, self._looked_at = False, True, now
            return [("DBSIZE",), ("FT.INFO", self._collection.index_name)]
        if now - self._looked_at <= _STALE_SECONDS:
            return ()
        self._looked_at = now
        return [("DBSIZE",)]

    def note_look(self, answers: Sequence[Any]) -> None:
        """Learn from the replies to `look_beside`."""
        keys, *infos = answers
        self._note_keys(keys)
        for info in infos:
            if not isinstance(info, Exception):
                self._note_count(parse_info(info).documents)
        is_within = self._counted * (1 - _LEEWAY) - self._deleted <= self._estimated <= self._most
        self._counts_early = not is_within and not self._counted_early

    @property
    def _most(self) -> int:
        return round((self._counted + self._written) * (1 + _LEEWAY))

    @property
    def returns_numbers(self) -> bool:
        """Whether a search is known to return numbers whatever else it returns."""
        return self._info is not None and self._info.returns_numbers

    def is_overlapped(self) -> bool:
        """Whether other people's keys lie below our prefix (store `d` beside store `d:mem`)."""
        return self._overlapped

    def note_foreign_key(self) -> None:
        """A search returned somebody else's key."""
        self._overlapped = True

    def _note_keys(self, keys: Any) -> None:
        # Not every user may ask.
        if isinstance(keys, Exception):
            return
        now = reply.as_int(keys)
        if self._keys is not None:
            self._estimated = max(0, self._estimated + now - self._keys)
        self._keys = now

    def _note_count(self, documents: int) -> None:
        self._counted = self._estimated = documents
        self._written = self._deleted = 0

    async def prepare(self, dimensions: int | None) -> IndexState:
        """Find, or create when `dimensions` is given. One round trip when it exists, else three."""
        if dimensions is not None and dimensions < 1:
            raise InvalidInputError(f"a vector has at least one dimension, not {dimensions}")
        info = await self._look()
        if info is None and dimensions is not None:
            return await self._made(dimensions)
        self._refuse_mismatch(info, dimensions)
        return self._state(info, created=False)

    async def inspect(self) -> IndexState:
        """The state now, not compared with anything. One round trip."""
        return self._state(await self._look(), created=False)

    async def rebuild(self, dimensions: int, *, fence: Fence | None = None) -> IndexState:
        """Drop the index and make it anew; who makes one in between wins. Three round trips, with a `fence` four."""
        if dimensions < 1:
            raise InvalidInputError(f"a vector has at least one dimension, not {dimensions}")
        await self.drop(fence=fence)
        return await self._made(dimensions)

    async def drop(self, *, fence: Fence | None = None) -> None:
        """Drop the index and leave the records; a missing one is fine. One round trip, with a `fence` two.

        The look at the lease and the drop are two steps: who stands still between them drops it late.

        Raises:
            LeaseLostError: somebody else has the lease of `fence`; the index is as it was.
        """
        if fence is not None:
            await refuse_late(self._client, fence)
        self._info = None
        [outcome] = await self._client.tell_many([("FT.DROPINDEX", self._collection.index_name)])
        if isinstance(outcome, Exception) and not isinstance(outcome, IndexMissingError):
            raise outcome

    def note_names(self, names: Any) -> None:
        """Learn from a reply to FT._LIST whether another store lives below our prefix."""
        # Not every user may list, and not every server can: rows seen later will tell too.
        if not isinstance(names, Exception):
            own = self._collection
            self._overlapped = self._overlapped or any(
                name.startswith(own.key_prefix) and name != own.index_name for name in reply.parse_names(names)
            )

    async def _look(self) -> IndexInfo | None:
        asked = [("FT.INFO", self._collection.index_name), ("FT._LIST",), ("DBSIZE",)]
        answer, names, keys = await self._client.ask_many(asked)
        if isinstance(answer, IndexMissingError):
            self._info = None
            return None
        if isinstance(answer, Exception):
            raise answer
        self._info = parse_info(answer)
        self._note_keys(keys)
        self._note_count(self._info.documents)
        self._looked_at, self._counts_early, self._counted_early = monotonic(), False, False
        self.note_names(names)
        return self._info

    async def _made(self, dimensions: int) -> IndexState:
        created = await self._create(dimensions)
        # The winner reads it too: what the server made of it decides how to ask.
        info = await self._look()
        if info is None:
            raise IndexMissingError(
                f"index {self._collection.index_name!r} was dropped right after it was created; try again"
            )
        self._refuse_mismatch(info, dimensions)
        return self._state(info, created=created)

    def _refuse_mismatch(self, info: IndexInfo | None, dimensions: int | None) -> None:
        if info is not None and (mismatch := info.mismatch(self._collection, dimensions)) is not None:
            raise mismatch

    async def _create(self, dimensions: int) -> bool:
        [outcome] = await self._client.tell_many([commands.create_index(self._collection, dimensions)])
        if isinstance(outcome, EngineError) and is_lost_race(str(outcome)):
            return False
        if isinstance(outcome, Exception):
            raise outcome
        return True

    def _state(self, info: IndexInfo | None, *, created: bool) -> IndexState:
        if info is None:
            return IndexState(dimensions=None)
        vector = info.vectors.get(self._collection.schema.vector_field)
        return IndexState(
            dimensions=vector.dimensions if vector is not None else None,
            created=created,
            unindexed=info.unindexed(self._collection),
            failures=info.failures,
            indexing=info.indexing,
            indexed_fraction=info.indexed_fraction,
        )
