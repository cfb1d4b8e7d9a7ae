"""The order in which memories are told: oldest first, and what was said in one go together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from betterdb_agent_memory.memory.record import MemoryItem

DAY_MS: Final = 86_400_000


def in_order(items: Iterable[MemoryItem]) -> list[MemoryItem]:
    """Blocks by their first time, oldest first: a block is what one session says on a day (UTC), or a memory alone.

    Turns keep their order, whatever times they state: one without a time, or with an earlier one than the turn
    before, counts as said when that was, and one before all that have a time as said with the first of these.
    """
    sessions: dict[tuple[str | None, ...], list[MemoryItem]] = {}
    blocks: list[tuple[tuple[int, int, str], list[MemoryItem]]] = []
    for item in items:
        if item.session is None or item.turn is None:
            blocks.append(((_told_at(item), item.created_at, item.id), [item]))
        else:
            key = (item.session, item.thread_id, item.agent_id, item.namespace)
            sessions.setdefault(key, []).append(item)
    for turns in sessions.values():
        days: dict[int, list[MemoryItem]] = {}
        turns.sort(key=lambda item: (item.turn or 0, item.created_at, item.id))
        for moment, turn in zip(_moments(turns), turns, strict=True):
            day = days.setdefault(moment // DAY_MS, [])
            if not day:
                blocks.append(((moment, turn.created_at, turn.id), day))
            day.append(turn)
    blocks.sort(key=lambda block: block[0])
    return [item for _, block in blocks for item in block]


def _moments(turns: Sequence[MemoryItem]) -> list[int]:
    """When each turn of a session counts as said, never before the one before it."""
    if all(turn.occurred_at is None for turn in turns):
        known: list[int | None] = [turn.created_at for turn in turns]
    else:
        known = [turn.occurred_at for turn in turns]
    moment = next(time for time in known if time is not None)
    moments = []
    for time in known:
        moment = moment if time is None else max(moment, time)
        moments.append(moment)
    return moments


def _told_at(item: MemoryItem) -> int:
    return item.created_at if item.occurred_at is None else item.occurred_at
