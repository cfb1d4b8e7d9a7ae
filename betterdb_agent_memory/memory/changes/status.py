"""How a change feed stands: what it keeps, from when on it is complete, how far its groups have come."""

from __future__ import annotations

from dataclasses import dataclass

from betterdb_agent_memory.engines.event_log import BEGINNING, GroupState, LogState
from betterdb_agent_memory.memory.changes.feed import NOTICED_SECONDS


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """A group of consumers: how many are alive, and how many changes at most it has still to handle."""

    name: str
    consumers: int
    lag: int


@dataclass(frozen=True, slots=True)
class ChangeFeedStatus:
    """A feed that is on. Times are ms since the epoch by the server's clock.

    Every change from `complete_from_ms` on is told, but for those of calls that had begun before `begun_at_ms`.
    `changes` are kept, `told` were told since it began, and `last_id` is the id of the latest, None before the first.
    """

    begun_at_ms: int
    complete_from_ms: int
    is_complete: bool
    changes: int
    told: int
    last_id: str | None
    max_changes: int
    max_age_seconds: int | None
    groups: tuple[ChangeGroup, ...]


def status_of(state: LogState, groups: list[GroupState]) -> ChangeFeedStatus:
    """The status, in the words of changes."""
    complete_from_ms = state.begun_ms + round(1000 * NOTICED_SECONDS)
    return ChangeFeedStatus(
        begun_at_ms=state.begun_ms,
        complete_from_ms=complete_from_ms,
        is_complete=state.now_ms >= complete_from_ms,
        changes=state.length,
        told=state.last.number,
        last_id=str(state.last) if state.last != BEGINNING else None,
        max_changes=state.retention.max_entries,
        max_age_seconds=state.retention.max_age_seconds,
        groups=tuple(_group(group, state) for group in groups),
    )


def _group(group: GroupState, state: LogState) -> ChangeGroup:
    behind = min((position.number for position in group.positions), default=state.last.number)
    return ChangeGroup(group.name, len(group.consumers), max(0, state.last.number - behind))
