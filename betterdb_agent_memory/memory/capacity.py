"""Which memories leave when a scope is full.

The scope of a limit is the exact scope and tags of the write that just happened, as published. The
memory just written, and those that other tasks of this store are writing, are never the victims.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from betterdb_agent_memory.engines.base import Records
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.memory.record import CONTENT, IMPORTANCE, LAST_ACCESSED_AT, decode_memory
from betterdb_agent_memory.memory.scoring import retention_score
from betterdb_agent_memory.options import RecallWeights

_PAGE = 5_000


@dataclass(frozen=True, slots=True)
class EvictionCandidate:
    """What decides about keeping a memory."""

    id: str
    importance: float
    last_accessed_at: float


def select_victims(
    candidates: Sequence[EvictionCandidate],
    *,
    excess: int,
    now_ms: int,
    weights: RecallWeights,
    half_life_seconds: float,
) -> list[str]:
    """The `excess` least valuable memories, worst first: lowest retention score, then the one
    accessed longest ago, then the given order.
    """
    if excess <= 0 or not candidates:
        return []
    accessed = np.array([candidate.last_accessed_at for candidate in candidates], dtype=np.float64)
    scores = retention_score(
        importance=np.array([candidate.importance for candidate in candidates], dtype=np.float64),
        idle_seconds=(now_ms - accessed) / 1000,
        weights=weights,
        half_life_seconds=half_life_seconds,
    )
    order = np.lexsort((accessed, scores))
    return [candidates[position].id for position in order[:excess]]


class Capacity:
    """Keeps scopes at their limit; correct for all tasks that share one store object.

    Several processes that write into one full scope at once may evict a few too many, since each
    counts for itself.
    """

    def __init__(self, records: Records, *, on_unreadable: Callable[[int], None]) -> None:
        self._records = records
        self._on_unreadable = on_unreadable
        self._sweeping = asyncio.Lock()
        self._being_written: set[str] = set()

    @contextmanager
    def protecting(self, id: str) -> Iterator[None]:
        """While a memory is being written and its scope swept, no sweep takes it."""
        self._being_written.add(id)
        try:
            yield
        finally:
            self._being_written.discard(id)

    async def sweep(
        self, filter: Filter, *, limit: int, now_ms: int, weights: RecallWeights, half_life_seconds: float
    ) -> int:
        """Delete what is too much in the scope of `filter`; returns how many left.

        One round trip while the scope is not full; above the limit one more per 5,000 memories of
        the scope, and one that deletes.
        """
        async with self._sweeping:
            count = await self._records.count(filter)
            if count <= limit:
                return 0
            candidates = await self._candidates(filter)
            victims = select_victims(
                candidates,
                excess=count - limit,
                now_ms=now_ms,
                weights=weights,
                half_life_seconds=half_life_seconds,
            )
            return sum(await self._records.delete_many(victims)) if victims else 0

    async def _candidates(self, filter: Filter) -> list[EvictionCandidate]:
        wanted = tuple(dict.fromkeys((CONTENT, IMPORTANCE, LAST_ACCESSED_AT, *filter.field_names)))
        found: dict[str, EvictionCandidate] = {}
        offset = 0
        while True:
            page = await self._records.select(filter, fields=wanted, limit=_PAGE, offset=offset)
            for row in page.rows:
                if row.id in self._being_written or not filter.accepts(row.fields):
                    continue
                item, unreadable = decode_memory(row.id, row.fields)
                self._on_unreadable(unreadable)
                if item is not None:
                    found[row.id] = EvictionCandidate(row.id, item.importance, item.last_accessed_at)
            offset += _PAGE
            if not page.rows or offset >= page.total:
                return list(found.values())
