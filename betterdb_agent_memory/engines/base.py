"""What a place for memories must be able to do, in the vocabulary of records.

No commands and no SQL above this line, and no meaning of fields below it: an engine stores records
(an id and named byte strings), knows from an `IndexSchema` which fields it can search by, and
keeps a few plain values beside them. Batch-first and async; every verb is one round trip per batch
unless its docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from betterdb_agent_memory.engines.filters import Fields, Filter


@dataclass(frozen=True, slots=True)
class SchemaField:
    """One searchable field. `tag` compares whole values or, with `multiple`, comma-separated ones."""

    name: str
    kind: Literal["tag", "number", "text"]
    multiple: bool = False
    sortable: bool = False


@dataclass(frozen=True, slots=True)
class IndexSchema:
    """What is searchable about a record.

    `shared` are the fields of the wire contract, in its order, and always indexed. `own` are ours,
    appended when we create the index; an index that another client created lacks them.
    """

    vector_field: str
    shared: tuple[SchemaField, ...]
    own: tuple[SchemaField, ...] = ()


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of records: keys are `key_prefix` + id, found through `index_name`.

    `key_prefix` ends with a colon; ids never contain one, so a key below the prefix with a further
    colon belongs to somebody else and is never returned, counted, changed or deleted.
    """

    key_prefix: str
    index_name: str
    schema: IndexSchema


@dataclass(frozen=True, slots=True)
class IndexState:
    """What is known about a collection's index.

    `dimensions` is None when there is no index. `unindexed` names own fields that the index lacks,
    so that filters on them are applied after the search. `failures` counts records the server could
    not index (a vector of another length, for example); `indexing` is true while existing records
    are still being taken in.
    """

    dimensions: int | None
    created: bool = False
    unindexed: tuple[str, ...] = ()
    failures: int = 0
    indexing: bool = False


@dataclass(frozen=True, slots=True)
class RecordWrite:
    """A whole record to store. `ttl_seconds` None means that it never expires."""

    id: str
    fields: Fields
    ttl_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class RecordChange:
    """What to change in a record that still exists: raise integers to a maximum, add to integers."""

    id: str
    maxima: Mapping[str, int] = field(default_factory=dict)
    increments: Mapping[str, int] = field(default_factory=dict)


class Row(NamedTuple):
    """A record found, with the fields that were asked for and that it has."""

    id: str
    fields: Fields


class Neighbour(NamedTuple):
    """A record found by vector. `distance` is the cosine distance, 0 (same direction) to 2."""

    id: str
    distance: float
    fields: Fields


class Neighbours(list[Neighbour]):
    """Neighbours, nearest first. `exhausted` means that nothing else passes the prefilter."""

    def __init__(self, rows: Iterable[Neighbour] = (), *, exhausted: bool) -> None:
        super().__init__(rows)
        self.exhausted = exhausted


@dataclass(frozen=True, slots=True)
class Page:
    """Rows that passed the engine's prefilter, how many pass it in all, and how far the page went.

    A server lists records that have expired and that it has not removed yet; they are no rows, but
    they are counted in `total`, and in `scanned`, by which the next page's offset is moved. Nothing
    follows once `scanned` is 0 or the offset reaches `total`.
    """

    rows: tuple[Row, ...]
    total: int
    scanned: int


class Records(Protocol):
    """The records of one collection.

    Searches (`nearest`, `select`) apply the filter as well as the engine can; rows may come back
    that `Filter.accepts` refuses, never the other way round. The fields of the filter must be among
    the fields asked for, so that the caller can check. `count` is exact.
    """

    @property
    def max_neighbours(self) -> int:
        """Largest `count` that `nearest` takes."""

    @property
    def unreadable_rows(self) -> int:
        """Rows that could not be read so far and were left out."""

    async def prepare(self, dimensions: int | None) -> IndexState:
        """Find the index, or create it when `dimensions` is given. Safe in a race of many workers.

        Up to 3 round trips, none of them on a hot path.

        Raises:
            IndexMismatchError: an index of that name exists with another dimension, metric, vector
                type or prefix; both values are named.
            SearchModuleMissingError: the server has no search module.
        """

    async def inspect(self) -> IndexState:
        """The state of the index now; `dimensions` is None when it does not exist."""

    async def write_many(self, writes: Sequence[RecordWrite]) -> None:
        """Store records, each with its expiry in one atomic step. An existing id is replaced whole.

        Raises:
            OutcomeUnknownError: the connection broke meanwhile; each record is whole or absent.
            PartialBatchError: some were written; it says which.
        """

    async def read_many(self, ids: Sequence[str], fields: Sequence[str]) -> list[Fields | None]:
        """The asked-for fields of each id, in order; None for a record that has none of them."""

    async def delete_many(self, ids: Sequence[str]) -> list[bool]:
        """Delete records; true where there was one."""

    async def change_many(self, changes: Sequence[RecordChange]) -> list[bool]:
        """Change records that still exist; false where there was none. Never brings one back."""

    async def nearest(self, vector: bytes, *, count: int, filter: Filter, fields: Sequence[str]) -> Neighbours:
        """Up to `count` records nearest to `vector` (float32, little-endian), nearest first."""

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
        """A page of records, ordered by a sortable number field or in no particular order."""

    async def count(self, filter: Filter) -> int:
        """How many records `filter.accepts`, exactly; an empty filter counts `Page.total`."""


class Values(Protocol):
    """Plain values beside the records: strings, and maps of a few fields."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""

    async def set(
        self, key: str, value: bytes, *, ttl_seconds: int | None = None, only_if_absent: bool = False
    ) -> bool:
        """Store a value; false when `only_if_absent` and there already was one."""

    async def delete(self, key: str) -> bool:
        """Delete a value or a map; true when there was one."""

    async def read_map(self, key: str) -> dict[str, bytes]:
        """All fields of a map; empty when there is none."""

    async def write_map(self, key: str, fields: Fields) -> None:
        """Set fields of a map, leaving its others alone."""

    async def increment(self, key: str, field: str, amount: int) -> int:
        """Add to an integer field of a map, missing counts as 0; returns the new value."""


class Engine(Protocol):
    """A place where memories live: a server, or a file."""

    @property
    def values(self) -> Values:
        """Plain values."""

    @property
    def round_trips(self) -> int:
        """Requests sent so far (a pipeline counts once; 0 for an engine without a network)."""

    def records(self, collection: Collection) -> Records:
        """The records of `collection`; no I/O."""

    async def close(self) -> None:
        """Close what the engine opened itself; a client that the user brought stays open."""
