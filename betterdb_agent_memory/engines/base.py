"""What a place for memories must be able to do, in the vocabulary of records.

No commands and no SQL above this line, and no meaning of fields below it: an engine stores records
(an id and named byte strings), knows from an `IndexSchema` which fields it can search by, and
keeps a few plain values beside them. Batch-first and async; every verb is one round trip per batch
unless its docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, NamedTuple, Protocol, TypeAlias

from betterdb_agent_memory.engines.event_log import Announcing, EventLog
from betterdb_agent_memory.engines.filters import Fields, Filter
from betterdb_agent_memory.engines.links import LinkKeys, Links, Strength
from betterdb_agent_memory.engines.spreading import Spread, Spreading
from betterdb_agent_memory.engines.uses import Used, Uses
from betterdb_agent_memory.engines.values import Values
from betterdb_agent_memory.engines.watching import Watch
from betterdb_agent_memory.errors import LeaseLostError


@dataclass(frozen=True, slots=True)
class SchemaField:
    """One searchable field. `tag` compares whole values or, with `multiple`, comma-separated ones.

    Of a `text` the engine finds words, English ones in any form; one that `holds_stems` is a list of
    words, blanks between them, that were brought to their stems beforehand and are compared as they are.
    """

    name: str
    kind: Literal["tag", "number", "text"]
    multiple: bool = False
    sortable: bool = False
    holds_stems: bool = False


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
    colon belongs to somebody else and is never returned, counted, changed or deleted. Records whose
    `group_fields` hold the same values, or lack the same ones, are a group; how many there are of those that
    somebody counts stands in the map `counts_key` (`engines/groups.py`). The last `group_sets` of these fields hold
    comma-separated values: which ones counts, in any order and however often, and none is as good as no field.
    Where their links are, if they may have some, `link_keys` says (`engines/links.py`).
    """

    key_prefix: str
    index_name: str
    schema: IndexSchema
    group_fields: tuple[str, ...] = ()
    group_sets: int = 0
    counts_key: str | None = None
    link_keys: LinkKeys | None = None


@dataclass(frozen=True, slots=True)
class IndexState:
    """What is known about a collection's index.

    `dimensions` is None when there is no index. `unindexed` names fields that the index lacks,
    so that filters on them are applied after the search. `failures` counts records the server could
    not index (a vector of another length, for example); `indexing` is true while existing records
    are still being taken in, of which `indexed_fraction` (0 to 1) is done.
    """

    dimensions: int | None
    created: bool = False
    unindexed: tuple[str, ...] = ()
    failures: int = 0
    indexing: bool = False
    indexed_fraction: float = 1.0


@dataclass(frozen=True, slots=True)
class Fence:
    """A promise of work that holds the lasting lease `key`, given its `token`: what it writes, it writes under it.

    A write with a fence happens only while nobody else has taken that lease since. One that ran out, or was given
    back, and that nobody took does no harm.
    """

    key: str
    token: int

    def lost(self, *, done: Sequence[str] = (), refused: int = 1) -> LeaseLostError:
        """The refusal of `refused` writes that came too late; `done` are the ids of those that did not."""
        return LeaseLostError(
            f"somebody else has taken the lease {self.key} since, so that {refused} writes were refused "
            f"({len(done)} had happened before); what was begun is theirs to finish",
            done=done,
        )


@dataclass(frozen=True, slots=True)
class Counter:
    """An integer `field` of the map `key`."""

    key: str
    field: str


class GroupCounting(Protocol):
    """Whoever has the groups of a collection counted, and is told the counts."""

    @property
    def is_on(self) -> bool:
        """Whether writes are to be counted; asked before each batch. If not, they cost nothing beside themselves."""

    def counted(self, group: str, size: int | None) -> None:
        """What was just written, or changed in what makes its group, is of `group`, which has `size` records by now;
        None where nobody counts it yet.
        """


Expected: TypeAlias = Mapping[str, bytes | None]
"""Fields that must hold exactly these values, None for fields that must not be there."""


class Outcome(IntEnum):
    """What became of one item of a batch."""

    MISSING = 0
    """There was no such record; nothing was done."""
    CHANGED = 1
    """The record was there and has been changed."""
    REFUSED = 2
    """The record was there with other values than expected; nothing was done."""
    WRITTEN = 3
    """The record has been stored whole."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a record shall expire: `ttl_seconds` from now, None for never.

    With `only_later` an expiry that is later already (or never) stays.
    """

    ttl_seconds: int | None
    only_later: bool = False


class Newest(NamedTuple):
    """Integers to add to a list, `numbers`, of which the `most` largest are kept."""

    numbers: tuple[int, ...]
    most: int


@dataclass(frozen=True, slots=True)
class RecordChange:
    """What to change in a record that still exists, in one atomic step.

    Nothing happens unless the record holds what is `expected`, and every field that is copied. `sets` and `removes`
    are fields to set and to take away. `maxima` raises integers, `increments` adds to them (missing counts as 0);
    `raises` stores a number's text where it is larger than the number that is there; `unions` adds
    comma-separated values to those that are there, keeping their order. `copies` names a field to set and the one
    whose value, as it was before the change, it gets. `newest` adds integers to comma-separated ones, in order, and
    keeps the largest; what is there and no integer goes. When one of sets, removes,
    raises, unions, copies and the expiry made a difference, the integer in `revision_field` goes up by one (missing
    counts as 1, so the first difference makes it 2). `expiry` None leaves the expiry alone. `links` are strengths that
    its links to other records of the collection gain in the same step; those to records that are not there gain none.
    """

    id: str
    maxima: Mapping[str, int] = field(default_factory=dict)
    increments: Mapping[str, int] = field(default_factory=dict)
    expected: Expected = field(default_factory=dict)
    sets: Fields = field(default_factory=dict)
    removes: tuple[str, ...] = ()
    raises: Fields = field(default_factory=dict)
    unions: Fields = field(default_factory=dict)
    revision_field: str | None = None
    expiry: Expiry | None = None
    copies: Mapping[str, str] = field(default_factory=dict)
    newest: Mapping[str, Newest] = field(default_factory=dict)
    links: Mapping[str, Strength] = field(default_factory=dict)

    def may_change(self, fields: Iterable[str]) -> bool:
        """Whether one of these `fields` may have another value, or be gone, afterwards."""
        return any(
            name in self.sets or name in self.removes or name in self.unions or name in self.copies for name in fields
        )


@dataclass(frozen=True, slots=True)
class RecordWrite:
    """A whole record to store. `ttl_seconds` None means that it never expires.

    `expires_at_ms` states the expiry as a time (ms since the epoch, the server's clock) instead; one
    that is past leaves no record behind. Where a whole record with the id exists already it is replaced,
    or, with `if_exists`, changed by that instead (an empty change leaves it as it is).
    `is_new` says that the id was just drawn at random, so that nothing can be there: cheaper.
    """

    id: str
    fields: Fields
    ttl_seconds: int | None = None
    expires_at_ms: int | None = None
    if_exists: RecordChange | None = None
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Retirement:
    """A record that leaves its collection for another one, and perhaps the record that takes its place: in one step.

    Nothing happens unless the record holds what is `expected`; a field that every change raises should be named there,
    since in several steps it shows a change that comes in between. It is kept there as `kept_as` with the fields in
    `sets` set and without those in `without`, for as long as it would have lived, and for `ttl_seconds` at most (None:
    no such limit). The `successor` is stored, under an id that nobody has, or changed, where it is there and as its
    change expects. `resumes` says that what is there under `kept_as` was left by an earlier attempt, and is replaced.
    """

    id: str
    kept_as: str
    expected: Expected = field(default_factory=dict)
    sets: Fields = field(default_factory=dict)
    without: tuple[str, ...] = ()
    ttl_seconds: int | None = None
    successor: RecordWrite | RecordChange | None = None
    resumes: bool = False


class Retired(IntEnum):
    """What became of a record that was to leave its collection."""

    MISSING = 0
    """There was no such record; nothing was done."""
    RETIRED = 1
    """It has left, and its successor is in its place."""
    REFUSED = 2
    """It was there with other values than expected; nothing was done."""
    TAKEN = 3
    """A record is there already under the id that it was to be kept as; nothing was done."""
    NO_SUCCESSOR = 5
    """The successor that was to be changed is not there, or not as expected; nothing was done."""


class GroupCount(NamedTuple):
    """How many records a group has, as far as they were counted; None where nobody counts it.

    `last_id` is the record that was written last.
    """

    size: int | None
    last_id: str | None


class Position(NamedTuple):
    """A place in the order of `Records.walk`: the number ordered by, then the id."""

    number: int
    id: str


class Row(NamedTuple):
    """A record found, with the fields that were asked for and that it has."""

    id: str
    fields: Fields


class Neighbour(NamedTuple):
    """A record found by vector. `distance` is the cosine distance, 0 (same direction) to 2.

    `used` is there where a selection went by `Uses`, and the engine has said what they came to.
    """

    id: str
    distance: float
    fields: Fields
    used: Used | None = None


class ChosenFrom(NamedTuple):
    """What an engine looked at which returned only the neighbours that a `Selection` asked for.

    `related` of them passed the filter and the threshold. `nearest` is the smallest distance of one that passed the
    filter, None where none did, `farthest` the largest of all.
    """

    related: int
    nearest: float | None
    farthest: float


class Neighbours(list[Neighbour]):
    """Neighbours, nearest first. `exhausted` means that nothing else passes the prefilter.

    `chosen_from` is None where all of them are here, and not only those that were selected. `spread` is what activation
    came to from the worthiest, None where it was not asked for or not done.
    """

    def __init__(
        self,
        rows: Iterable[Neighbour] = (),
        *,
        exhausted: bool,
        chosen_from: ChosenFrom | None = None,
        spread: Spread | None = None,
    ) -> None:
        super().__init__(rows)
        self.exhausted = exhausted
        self.chosen_from = chosen_from
        self.spread = spread


class Word(NamedTuple):
    """A word to search for: `text` as it is written, in lower case, and its `stem` for fields that hold stems.

    Both consist of letters, digits and underscores.
    """

    text: str
    stem: str


@dataclass(frozen=True, slots=True)
class Worth:
    """What a neighbour is worth: the sum of three terms, and of what its `uses` add, unless these count nothing.

    `likeness` times 1 - distance / 2; `value` times the number in `value_field`; and `freshness`, halved with every
    `half_life_seconds` by which the later of the times in `time_fields` (ms; the first is that of its writing, the
    second that of its last access) lies before `now_ms`. With `clamps_age` nothing is fresher than what is of `now_ms`.
    """

    likeness: float
    value: float
    freshness: float
    value_field: str
    time_fields: tuple[str, str]
    now_ms: int
    half_life_seconds: float
    clamps_age: bool = False
    uses: Uses | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which neighbours are needed: the `count` worthiest of those that pass the filter, none beyond `threshold`.

    Of equal worth is first what has the later time in the first time field, then by id. An engine may return more,
    and looks at as many as without. With `spreading` it may also say what activation comes to from the worthiest:
    `Neighbours.spread`.
    """

    count: int
    threshold: float
    worth: Worth
    spreading: Spreading | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """What to find: up to `count` records that pass `filter`, the nearest; of these perhaps only a `selection`.

    With `words` only records that have at least one of them in one of their text fields. `scope_size` is
    how many records are thought to pass the filter, None where nobody knows: it decides only how the
    engine goes about it. `exhaustive` asks it to compare every vector where it otherwise might miss a few.
    """

    count: int
    filter: Filter
    words: tuple[Word, ...] = ()
    scope_size: int | None = None
    exhaustive: bool = False
    selection: Selection | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What to count: records that pass the engine's prefilter of `filter` and, unless None, have `word`."""

    filter: Filter
    word: Word | None = None


class Answers(NamedTuple):
    """What `Records.search_many` found and counted, in the order in which it was asked."""

    neighbours: tuple[Neighbours, ...]
    tallies: tuple[int, ...]


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

    Searches (`search_many`, `select`) apply the filter as well as the engine can; rows may come back
    that `Filter.accepts` refuses, never the other way round. The fields of the filter must be among
    the fields asked for, so that the caller can check. `count` is exact.

    With a `fence` a write, change or deletion happens only while the lease is the fence's: checked in the same step
    where the engine can touch both at once, and otherwise in a field of the record, which keeps the largest token
    that wrote it. Nothing happens to an item that comes too late.
    """

    @property
    def max_neighbours(self) -> int:
        """Largest `count` that a search takes."""

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

    async def write_many(self, writes: Sequence[RecordWrite], *, fence: Fence | None = None) -> list[Outcome]:
        """Store records, each with its expiry in one atomic step; what became of each, in order.

        WRITTEN, or with `if_exists` CHANGED or REFUSED. With the same id twice in one batch the
        later write sees the earlier one. While groups are counted, the count of each record's group goes with it.

        Raises:
            LeaseLostError: somebody else has the lease of `fence` by now; it says which were written before.
            OutcomeUnknownError: the connection broke meanwhile; each record is whole or absent.
            PartialBatchError: some were written; it says which.
        """

    async def read_many(self, ids: Sequence[str], fields: Sequence[str] | None) -> list[Fields | None]:
        """The asked-for fields of each id, in order, `fields` None for all; None for a record that has
        none of them.
        """

    async def read_expiries(self, ids: Sequence[str]) -> list[int | None]:
        """When each record expires (ms since the epoch), in order; None for never and for no record."""

    async def read_lifetimes(self, ids: Sequence[str]) -> list[float]:
        """For how many ms each record will still be there from when this is called, at least: infinity for one that
        never expires, 0 for no record.
        """

    async def delete_many(
        self,
        ids: Sequence[str],
        *,
        expected: Sequence[Expected] | None = None,
        fence: Fence | None = None,
        counter: Counter | None = None,
    ) -> list[bool]:
        """Delete records; true where there was one. Their links go with them, on a cluster where they share its slot.

        With `expected` (one for each id) only those that hold these values, each in one atomic step. `counter` goes
        up by one with each record deleted.

        Raises:
            LeaseLostError: as `write_many`.
        """

    async def change_many(self, changes: Sequence[RecordChange], *, fence: Fence | None = None) -> list[Outcome]:
        """Change records that still exist: CHANGED, MISSING or REFUSED. Never brings one back.

        Raises:
            LeaseLostError: as `write_many`.
        """

    async def retire_many(
        self, retirements: Sequence[Retirement], shelf: Records, *, fence: Fence | None = None
    ) -> list[Retired]:
        """Move records to the collection of `shelf`, which was prepared, each with its successor in one atomic step.

        Counts and the log are kept as when a record is deleted, and another one stored; of a successor that is only
        changed nothing is told. Where the keys of
        one lie in several slots of a cluster it takes several steps, up to 8 round trips: the successor is stored,
        the record is given its `sets` (by which others see that it is about to leave), copied and deleted; a changed
        successor comes after the sets. Whoever dies in between leaves a record with these sets, for anybody to retire
        once more with `resumes`.

        Raises:
            IndexMissingError: a file has no such collection as `shelf`.
            LeaseLostError: somebody else has the lease of `fence` by now; it says which have left before.
            InvalidInputError: a file's has vectors of another length.
            OutcomeUnknownError, PartialBatchError: as `write_many`.
        """

    async def read_group(self, group: str) -> GroupCount:
        """How many records of `group` were counted, and which was written last."""

    async def group_sizes(self) -> dict[str, int]:
        """Every group that is counted, and how many records it was counted to have."""

    async def correct_group(self, group: str, difference: int, *, fence: Fence) -> None:
        """Add to the count of `group`, which begins to be kept with that: from 0 on, and from now on by all who count.
        A count that comes out below 0 is wrong, and nobody keeps it any more.

        Raises:
            LeaseLostError: somebody else has the lease of `fence` by now.
        """

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        """Several searches around one `vector` (float32, little-endian), and counts beside them, in one round trip.

        A tally is the engine's own count, which may include records that the filter refuses and a few that have
        just expired: for statistics, not for totals.
        """

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

    def walk(
        self, filter: Filter, *, fields: Sequence[str], after: Position | None = None, page_size: int = 1000
    ) -> AsyncIterator[tuple[Row, ...]]:
        """Pages of all records that `filter.accepts`, by the order field and then by id, after `after`.

        Every record that is there from the beginning to the end, and whose order field stays, comes
        exactly once, whatever others write and delete meanwhile. Memory for a page, and for the ids
        of the records that share one value of the order field. About one round trip per page.
        """

    def scan(self, fields: Sequence[str], *, page_size: int = 1000) -> AsyncIterator[tuple[Row, ...]]:
        """Pages of every record of the collection, in the index or not, in no order.

        For repairs: it looks at every key of a server. A record that is there all the time comes at
        least once.
        """

    async def rebuild(self, dimensions: int, *, fence: Fence | None = None) -> IndexState:
        """Drop the index and make it anew, for vectors of this length, over the records that are there.

        Vectors of another length stay out of it until they are replaced. A server goes on taking records in
        after this returns: `IndexState.indexing` and `indexed_fraction`. A server looks at the lease of `fence` right
        before it drops the index, a file in the same step.

        Raises:
            LeaseLostError: somebody else has the lease of `fence` by now; the index is as it was.
        """

    async def drop(self, *, fence: Fence | None = None) -> int:
        """Delete the index and every record of the collection; how many there were. Pages of 1,000.

        Raises:
            LeaseLostError: as `rebuild`; on a server some records may have been deleted before.
        """


class Leases(Protocol):
    """Who may do long work: one owner at a time per key, until it says so or its time runs out.

    The time is the server's (the file's: this machine's). Tokens of one key only ever grow, so
    that a write of an owner whose lease has passed on can be told from the present one's; for that a
    key stays for ever. One that is not `lasting` goes with its lease, and its tokens begin anew.
    """

    async def acquire(self, key: str, owner: str, *, ttl_seconds: float, lasting: bool = True) -> int | None:
        """The fencing token, or None while somebody else holds the lease. The holder gets its own again."""

    async def renew(self, key: str, owner: str, *, ttl_seconds: float) -> bool:
        """Hold on for `ttl_seconds` from now; false when the lease is no longer the owner's."""

    async def release(self, key: str, owner: str) -> bool:
        """Give the lease back; false when it is no longer the owner's."""

    async def write_map(self, fence: Fence, key: str, fields: Fields) -> None:
        """Set fields (at least one) of the map `key`, unless somebody else has taken the lease of `fence` since.

        One step where the engine can touch both keys at once; elsewhere the lease is looked at first.

        Raises:
            LeaseLostError: somebody has; nothing was written.
        """


@dataclass(frozen=True, slots=True)
class LinkedRecords:
    """Whose links are meant: those at `prefix` + id, of records of these collections.

    Each collection comes with what the ids begin with there. A record that is in one of them can be linked.
    """

    prefix: str
    places: tuple[tuple[Collection, str], ...]

    @classmethod
    def of(cls, collection: Collection) -> LinkedRecords:
        """All records of a collection that has `link_keys`."""
        assert collection.link_keys is not None
        return cls(collection.link_keys.place_of("")[0], ((collection, ""),))


@dataclass(slots=True)
class Traffic:
    """What an engine has exchanged with a server so far; a file exchanges nothing.

    `round_trips` are requests, a pipeline counts once. The bytes are those of arguments and replies,
    without what the protocol puts around them.
    """

    round_trips: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


class Engine(Protocol):
    """A place where memories live: a server, or a file."""

    @property
    def values(self) -> Values:
        """Plain values."""

    @property
    def leases(self) -> Leases:
        """Who may do long work."""

    @property
    def round_trips(self) -> int:
        """Requests sent so far (a pipeline counts once; 0 for an engine without a network)."""

    @property
    def traffic(self) -> Traffic:
        """What went to the server and came back so far; it goes on counting."""

    def records(
        self, collection: Collection, counting: GroupCounting | None = None, announcing: Announcing | None = None
    ) -> Records:
        """The records of `collection`, counted in groups and told in a log as these two say; no I/O."""

    def event_log(self, key: str) -> EventLog:
        """The event log at `key`, which may be there or not; no I/O."""

    def links(self, linked: LinkedRecords) -> Links:
        """The links between these records; no I/O."""

    async def move_many(
        self, source: Collection, target: Collection, ids: Mapping[str, str], *, without: Sequence[str] = ()
    ) -> int:
        """Make records of `source` records of `target`, with their expiry; how many there were.

        `ids` maps the id there to the id here; a record that is here already is replaced. Fields in `without`
        are left behind. Each in one step, so that whoever looks at `source` first and at `target` afterwards
        finds it. One round trip per 500.

        Raises:
            ConfigurationError: the keys of a record lie in two slots of a cluster; nothing was moved.
            IndexMissingError: a file has no such `target`; `Records.prepare` makes it.
        """

    def watch(self, keys: Sequence[str], on_change: Callable[[], None]) -> Watch:
        """Call `on_change` soon after strings or maps at these keys were changed, by whomever.

        Needs a running loop. Best effort, and now and then for nothing: once listening has begun, and after
        every interruption of it. Whoever must not miss a change reads at intervals as well. All watches of an
        engine share one connection of their own; where there can be none, or the server refuses, nothing is
        ever called, and one line in the log says so.
        """

    async def close(self) -> None:
        """Close what the engine opened itself; a client that the user brought stays open."""
