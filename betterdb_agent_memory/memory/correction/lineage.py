"""How a memory and its correction hang together, as fields of their records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from betterdb_agent_memory.engines.filters import Absent, AllOf, AnyOf, Between, Clause, Fields, Filter, leading_number
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.dynamics_fields import (
    ARCHIVED_AT,
    PINNED,
    RELIABILITY,
    SUPERSEDED_BY,
    SUPERSEDES,
    VALID_FROM,
    VALID_UNTIL,
    decode_names,
    decode_whole,
)
from betterdb_agent_memory.memory.kinds import KINDS
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.spelling import joined_names

INHERITED = (
    record.IMPORTANCE,
    record.TAGS,
    record.THREAD,
    record.AGENT,
    record.NAMESPACE,
    record.SOURCE,
    record.SUBJECT,
    record.DATE,
    record.OCCURRED_AT,
    record.METADATA,
    record.DERIVED,
    record.KIND,
    record.ENTITIES,
    PINNED,
)
"""What a correction takes over: whose memory it is and what it is about, and that it is pinned. Not how often the
former one was recalled, nor how far it was trusted: those were earned by another text."""

READ = (*record.ITEM_FIELDS, record.DERIVED)
"""What is read of a memory that is to be corrected."""

DEFAULT_RELIABILITY = 0.8
"""Of a memory without a kind."""


@dataclass(frozen=True, slots=True)
class MemoryVersion:
    """One version of a memory. Times are milliseconds since the epoch.

    It held from `valid_from` until before `valid_until`, None for an open end. `superseded_by` is the id of the
    version that took its place, `archived_at` when it had faded and was put away; both None for one that is recalled.
    """

    item: MemoryItem
    valid_from: int
    valid_until: int | None
    superseded_by: str | None
    archived_at: int | None = None

    @property
    def is_current(self) -> bool:
        """Whether no other version has taken its place, and it was not put away."""
        return self.superseded_by is None and self.archived_at is None


def version_of(item: MemoryItem) -> MemoryVersion:
    """The memory as a version: valid from when it was written, where nothing else was said."""
    dynamics = item.dynamics
    valid_from = item.created_at if dynamics.valid_from is None else dynamics.valid_from
    return MemoryVersion(item, valid_from, dynamics.valid_until, dynamics.superseded_by, dynamics.archived_at)


def predecessors(fields: Fields) -> tuple[str, ...]:
    """The ids of the memories that this one has taken the places of."""
    return decode_names(fields.get(SUPERSEDES, b"")) or ()


def successor(fields: Fields) -> str | None:
    """The id of the memory that has taken this one's place, or is about to."""
    stored = fields.get(SUPERSEDED_BY)
    return None if stored is None else stored.decode(errors="replace")


def is_archived(fields: Fields) -> bool:
    """Whether a record of the shelf is a memory that has faded, and nothing has taken its place."""
    return ARCHIVED_AT in fields and SUPERSEDED_BY not in fields


def lineage_field(ids: Iterable[str]) -> bytes:
    """How ids are stored in a list of them."""
    return joined_names(ids).encode()


def succeeding(former: Fields, *, id: str, content: str, now_ms: int, valid_from_ms: int | None) -> dict[str, bytes]:
    """The fields of what corrects a memory, but for the vector and the stems: what it inherits, and its own."""
    now = b"%d" % now_ms
    fields = {
        record.CONTENT: content.encode(),
        record.CREATED_AT: now,
        record.LAST_ACCESSED_AT: now,
        record.ACCESS_COUNT: b"0",
        SUPERSEDES: lineage_field([id]),
        **{name: former[name] for name in INHERITED if name in former},
    }
    if valid_from_ms is not None:
        fields[VALID_FROM] = b"%d" % valid_from_ms
    return fields


def changed(fields: Mapping[str, bytes], sets: Fields, removes: Sequence[str]) -> dict[str, bytes]:
    """The fields with those that were given in their places. The importance of a pinned memory waits until it is
    unpinned.
    """
    given = dict(sets)
    if PINNED in fields and record.IMPORTANCE in given:
        given[PINNED] = given.pop(record.IMPORTANCE)
    return {name: value for name, value in fields.items() if name not in removes} | given


def ends_at(former: Fields, *, successor_from: bytes | None, now_ms: int) -> bytes:
    """Until when a memory held that is superseded now: until its successor began, and no longer than was said."""
    begins_ms = None if successor_from is None else decode_whole(successor_from)
    ends_ms = now_ms if begins_ms is None else begins_ms
    said_ms = decode_whole(former.get(VALID_UNTIL, b""))
    return b"%d" % (ends_ms if said_ms is None else min(ends_ms, said_ms))


def reliability_of(fields: Fields) -> float:
    """How far a memory is trusted, 0 to 1: as is stored, else as its kind is."""
    stored = fields.get(RELIABILITY)
    if stored is not None:
        number = leading_number(stored)
        return DEFAULT_RELIABILITY if number is None else min(max(number, 0.0), 1.0)
    kind = fields.get(record.KIND, b"").decode(errors="replace")
    profile = next((profile for known, profile in KINDS.items() if known == kind), None)
    return DEFAULT_RELIABILITY if profile is None else profile.reliability


def valid_at(filter: Filter, at_ms: int) -> Filter:
    """`filter`, and that the memory held at that time."""
    begun: Clause = AnyOf(
        (
            Between(VALID_FROM, None, at_ms),
            AllOf((Absent(VALID_FROM), Between(record.CREATED_AT, None, at_ms))),
        )
    )
    not_over: Clause = AnyOf((Absent(VALID_UNTIL), Between(VALID_UNTIL, at_ms + 1, None)))
    return Filter((*filter.clauses, begun, not_over))


def in_order(versions: Mapping[str, MemoryVersion], newest: str) -> list[MemoryVersion]:
    """Versions oldest first: what a version has superseded comes before it, of several the one written first."""
    ordered: dict[str, MemoryVersion] = {}
    waiting: list[tuple[str, bool]] = [(newest, False)]
    seen: set[str] = set()
    while waiting:
        id, are_before_it = waiting.pop()
        if are_before_it:
            ordered[id] = versions[id]
        elif id in versions and id not in seen:
            seen.add(id)
            waiting.append((id, True))
            former = [one for one in versions[id].item.dynamics.supersedes if one in versions]
            former.sort(key=lambda one: (versions[one].item.created_at, one), reverse=True)
            waiting += [(one, False) for one in former]
    return [*ordered.values()]
