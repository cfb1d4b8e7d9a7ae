"""The turns before and after those that were found: an answer is read with its question. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.memory.scope import MemoryScope
from betterdb_agent_memory.memory.turns import all_around, ids_around, session_key, turn_id


def ids_beside(items: Sequence[MemoryItem], reach: int) -> list[str]:
    """What to read: ids of turns up to `reach` places before and after those of `items`, without these."""
    if not reach:
        return []
    turns = [item.id for item in items if _is_turn(item)]
    own = frozenset(item.id for item in items)
    return [id for id in all_around(turns, reach) if id not in own]


def surroundings(
    items: Sequence[MemoryItem], read: Iterable[MemoryItem | None], reach: int
) -> dict[str, list[MemoryItem]]:
    """The turns around each of `items`, by its id, nearest first and earlier ones before later ones.

    They are among `read` or `items` themselves, and of the same session in exactly the same scope.
    """
    if not reach:
        return {}
    known = {item.id: item for item in (*items, *read) if item is not None and _is_turn(item)}
    found: dict[str, list[MemoryItem]] = {}
    for item in items:
        if item.id in known and (beside := _beside(item, known, reach)):
            found[item.id] = beside
    return found


def _beside(item: MemoryItem, known: Mapping[str, MemoryItem], reach: int) -> list[MemoryItem]:
    there = [other for id in ids_around(item.id, reach) if (other := known.get(id)) is not None]
    kept = [other for other in there if _place(other) == _place(item)]
    return sorted(kept, key=lambda other: (abs((other.turn or 0) - (item.turn or 0)), other.turn))


def _place(item: MemoryItem) -> tuple[str | None, ...]:
    return item.session, item.thread_id, item.agent_id, item.namespace


def _is_turn(item: MemoryItem) -> bool:
    """Whether it is the turn that its id says: anybody may store a memory under any id."""
    if item.session is None or item.turn is None:
        return False
    scope = MemoryScope(item.thread_id, item.agent_id, item.namespace)
    return item.id == turn_id(session_key(item.session, scope), item.turn)
