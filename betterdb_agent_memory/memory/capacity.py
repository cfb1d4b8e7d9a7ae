"""Which memories leave when a scope is full.

The scope of a limit is the exact scope and tags of the write that just happened, as published. The
memory just written, and those that other tasks of this store are writing, are never the victims.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from betterdb_agent_memory.background import LoopLock, off_loop
from betterdb_agent_memory.clock import Clock
from betterdb_agent_memory.engines.base import Row
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.errors import AgentMemoryError
from betterdb_agent_memory.live_config import MemoryConfigSnapshot
from betterdb_agent_memory.memory.changes.cause import because
from betterdb_agent_memory.memory.record import CONTENT, IMPORTANCE, LAST_ACCESSED_AT, decode_memory
from betterdb_agent_memory.memory.scoring import retention_score
from betterdb_agent_memory.memory.searching import Searcher
from betterdb_agent_memory.memory.spaces import SearchedRecords
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
    counts for itself. `on_evicted` is told of memories that left, `on_failure` of a scope that could not
    be trimmed.
    """

    def __init__(
        self,
        searcher: Searcher,
        *,
        config: Callable[[], MemoryConfigSnapshot],
        clock: Clock,
        on_unreadable: Callable[[int], None],
        on_evicted: Callable[[int], Awaitable[None]],
        on_failure: Callable[[AgentMemoryError], None],
    ) -> None:
        self._searcher = searcher
        self._config = config
        self._clock = clock
        self._on_unreadable = on_unreadable
        self._on_evicted = on_evicted
        self._on_failure = on_failure
        self._sweeping = LoopLock()
        self._being_written: set[str] = set()

    @contextmanager
    def protecting(self, ids: Sequence[str]) -> Iterator[None]:
        """While memories are being written and their scopes swept, no sweep takes them."""
        new = set(ids) - self._being_written
        self._being_written |= new
        try:
            yield
        finally:
            self._being_written -= new

    @property
    def limit(self) -> int | None:
        """Memories kept in one exact scope, None for no limit; an operator may change it."""
        return self._config().max_items_per_scope

    async def make_room(self, buckets: Iterable[Filter]) -> None:
        """Evict what these scopes hold above the limit. Best effort: what was written is stored by then."""
        config = self._config()
        limit = config.max_items_per_scope
        if limit is None:
            return
        for bucket in dict.fromkeys(bucket for bucket in buckets if bucket.clauses):
            try:
                evicted = await self._searcher.lookup(
                    lambda space, bucket=bucket: self._sweep(  # type: ignore[misc]
                        space.records,
                        bucket,
                        limit=limit,
                        now_ms=self._clock(),
                        weights=config.weights,
                        half_life_seconds=config.half_life_seconds,
                    ),
                    0,
                )
                if evicted:
                    await self._on_evicted(evicted)
            except AgentMemoryError as error:
                self._on_failure(error)

    async def _sweep(
        self,
        records: SearchedRecords,
        filter: Filter,
        *,
        limit: int,
        now_ms: int,
        weights: RecallWeights,
        half_life_seconds: float,
    ) -> int:
        """Delete what is too much in the scope of `filter`; returns how many left.

        One round trip while the scope is not full; above the limit one more per 5,000 memories of
        the scope, and one per 500 that leave.
        """
        async with self._sweeping:
            if await records.count(filter) <= limit:
                return 0
            candidates, spared = await self._scope(records, filter)
            victims = await off_loop(
                len(candidates),
                lambda: select_victims(
                    candidates,
                    excess=len(candidates) + spared - limit,
                    now_ms=now_ms,
                    weights=weights,
                    half_life_seconds=half_life_seconds,
                ),
            )
            with because("evicted"):
                return sum(await records.delete_many(victims)) if victims else 0

    async def _scope(self, records: SearchedRecords, filter: Filter) -> tuple[list[EvictionCandidate], int]:
        """The memories of the scope that may leave, and how many may not because they are being written.

        Counted from the rows, not from what the server counts: nobody leaves for somebody else's memory.
        """
        wanted = tuple(dict.fromkeys((CONTENT, IMPORTANCE, LAST_ACCESSED_AT, *filter.field_names)))
        found: dict[str, EvictionCandidate] = {}
        spared: set[str] = set()
        offset = 0
        while True:
            page = await records.select(filter, fields=wanted, limit=_PAGE, offset=offset)
            candidates, unreadable = await off_loop(len(page.rows), _candidates, page.rows, filter)
            self._on_unreadable(unreadable)
            for candidate in candidates:
                if candidate.id in self._being_written:
                    spared.add(candidate.id)
                else:
                    found[candidate.id] = candidate
            offset += page.scanned
            if not page.scanned or offset >= page.total:
                return list(found.values()), len(spared)


def _candidates(rows: Sequence[Row], filter: Filter) -> tuple[list[EvictionCandidate], int]:
    candidates = []
    unreadable = 0
    for row in filter.accepted(rows):
        item, problems = decode_memory(row.id, row.fields)
        unreadable += problems
        if item is not None:
            candidates.append(EvictionCandidate(row.id, item.importance, item.last_accessed_at))
    return candidates, unreadable
