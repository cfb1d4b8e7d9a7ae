"""An event log: entries in one order, numbered without gaps, and groups that share the reading of them.

A group divides the log into partitions by a key of its readers' choice; each is held by one consumer at a time, and
the group remembers how far it has been handled. (Kafka's consumer groups, on one log. A stream's own groups hand
every entry to whoever asks next, so that two entries about one thing are in two hands at once.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

from betterdb_agent_memory.engines.filters import Fields
from betterdb_agent_memory.engines.watching import Watch
from betterdb_agent_memory.errors import InvalidInputError

PARTITIONS = 16
"""Into how many a group divides the log: so many consumers share its reading, further ones stand by."""

MAX_HOLD_SECONDS = 86_400.0

_POSITION = re.compile(r"(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})")


class LogPosition(NamedTuple):
    """A place in a log: the time of the entry there (ms since the epoch) and its number, the first one's being 1."""

    time_ms: int
    number: int

    def __str__(self) -> str:
        return f"{self.time_ms}-{self.number}"


BEGINNING = LogPosition(0, 0)
"""Before everything that is there. Whoever begins here misses nothing, however much has been trimmed."""


def read_position(text: str) -> LogPosition | None:
    """The position that `text` spells as `str(position)` does; None for any other text."""
    found = _POSITION.fullmatch(text)
    return LogPosition(int(found[1]), int(found[2])) if found else None


class LogEntry(NamedTuple):
    """One entry, and where it is."""

    position: LogPosition
    fields: Fields


@dataclass(frozen=True, slots=True)
class Retention:
    """What stays in a log: about the latest `max_entries`, and none much older than `max_age_seconds` (None: any age).

    Trimming goes along with appending, and may leave a few hundred entries more.
    """

    max_entries: int
    max_age_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class LogState:
    """A log as it is now. `begun_ms` is when it was opened, `last` where its latest entry is or was; `now_ms` the
    time by the clock that its entries are dated with.
    """

    begun_ms: int
    now_ms: int
    last: LogPosition
    length: int
    retention: Retention


@dataclass(frozen=True, slots=True)
class LogPage:
    """Entries behind a position. `missed` of those that were between it and the first one here are gone, trimmed
    before they were read; None where it cannot be told how many, since the log was begun anew meanwhile. `last` is
    where the log ended.
    """

    entries: tuple[LogEntry, ...]
    missed: int | None
    last: LogPosition


@dataclass(frozen=True, slots=True)
class GroupState:
    """How far a group has come: of each partition where it has been handled up to. `consumers` are alive."""

    name: str
    positions: tuple[LogPosition, ...]
    consumers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Announcement:
    """An entry that goes into the log at `log_key` in the step that writes a record; none where there is no log.

    It consists of the record's id as `id_field`, of `fields`, and of what the record holds in `copied` fields: once
    it was stored or changed, or before it was deleted. `fields_if_changed` are in place of `fields` where a write
    found a record and changed it.
    """

    log_key: str
    retention: Retention
    id_field: str
    copied: tuple[str, ...]
    fields: Fields
    fields_if_changed: Fields | None = None

    def entry(self, id: str, record: Fields, *, is_changed: bool = False) -> dict[str, bytes]:
        """The entry about the record `id`, which holds these fields."""
        said = self.fields_if_changed if is_changed and self.fields_if_changed is not None else self.fields
        copies = {name: record[name] for name in self.copied if name in record}
        return {self.id_field: id.encode(), **said, **copies}


Deed: TypeAlias = Literal["write", "change", "delete"]


class Announcing(Protocol):
    """Whoever wants writes of records told in a log. Asked before each batch, for each of its records."""

    def of(self, deed: Deed, id: str) -> Announcement | None:
        """What is to be told if this is done to the record; None for nothing, which then costs nothing."""


class EventLog(Protocol):
    """One log of an engine. Every verb is one round trip unless it says otherwise.

    Entries are dated by the server's clock (a file's: this machine's), never earlier than the one before.
    """

    async def open(self, retention: Retention) -> LogState:
        """The log as it is, opened now if there was none. What is kept is what the first opener said. Up to 2."""

    async def state(self) -> LogState | None:
        """The log as it is; None where there is none."""

    async def drop(self) -> bool:
        """Delete the log and its groups; false where there was none. 2 round trips."""

    async def append(self, entries: Sequence[Fields]) -> list[LogPosition | None]:
        """Add entries at the end, in order; where they are, None for all where there is no log.

        Raises:
            OutcomeUnknownError: the connection broke; each may be there or not.
        """

    async def read(self, after: LogPosition, *, count: int) -> LogPage | None:
        """Up to `count` entries behind `after`; None where there is no log."""

    @property
    def look_again_seconds(self) -> float:
        """How long whoever waits for entries lets pass before looking again, told of some or not."""

    def watch(self, on_append: Callable[[], None]) -> Watch | None:
        """Call `on_append` soon after something was appended, by whomever; best effort, as `Engine.watch`.

        None where looking again is all there is.
        """

    async def before(self, time_ms: int) -> LogPosition | None:
        """The position behind which lies all that was appended at `time_ms` or later; None where some of that has
        been trimmed or there is no log.
        """

    async def share(
        self,
        group: str,
        consumer: str,
        *,
        hold_seconds: float,
        handled: Mapping[int, LogPosition],
        start: LogPosition = BEGINNING,
        may_move: bool = True,
    ) -> dict[int, LogPosition]:
        """Say that this consumer is alive for `hold_seconds` from now, and what it has handled; the partitions that it
        holds from now on, each with the position behind which it is to go on.

        All consumers together hold all partitions, as evenly as they divide: with `may_move` partitions of the dead
        are taken over and what is too much is given up (a consumer calls so when it has nothing in its hands). A
        group that did not exist begins at `start`. What others hold by now is not moved by what is `handled`.

        Raises:
            InvalidInputError: `hold_seconds` is not between 0.01 and 86,400.
        """

    async def leave(self, group: str, consumer: str, handled: Mapping[int, LogPosition]) -> None:
        """Say what was handled, and give everything up at once. Nothing where the consumer is not known any more."""

    async def groups(self) -> list[GroupState]:
        """Every group, by name. 2 round trips."""

    async def drop_group(self, group: str) -> bool:
        """Forget a group and how far it has come; false where there was none."""


def missed_between(after: LogPosition, entries: Sequence[LogEntry], last: LogPosition) -> int | None:
    """`LogPage.missed`, of the page that was read behind `after`. `last` is no later than when it was read."""
    if after == BEGINNING:
        return 0
    if entries:
        number = entries[0].position.number
        return number - after.number - 1 if number > after.number else None
    if last == after or not (last.number or after.number):
        return 0
    if last.number < after.number or last.time_ms < after.time_ms:
        return None
    return last.number - after.number


def fair_share(consumer: str, consumers: Sequence[str], partitions: int) -> int:
    """How many partitions a consumer is to hold: as many as any other, or one more where they do not divide evenly."""
    each, left = divmod(partitions, len(consumers))
    return each + (sorted(consumers).index(consumer) < left)


def checked_hold_ms(hold_seconds: float) -> int:
    """The milliseconds, or InvalidInputError."""
    if not 0.01 <= hold_seconds <= MAX_HOLD_SECONDS:
        raise InvalidInputError(f"a share is held for 0.01 to {MAX_HOLD_SECONDS:.0f} seconds, not {hold_seconds!r}")
    return round(hold_seconds * 1000)
