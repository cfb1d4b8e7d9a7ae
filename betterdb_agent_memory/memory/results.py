"""What a store answers beside hits: pages and statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from betterdb_agent_memory.live_config import MemoryConfigSnapshot
from betterdb_agent_memory.memory.near_misses import NearMisses
from betterdb_agent_memory.memory.record import MemoryItem
from betterdb_agent_memory.near_cache import NearCacheStatistics

_NONE: Final = NearMisses()


@dataclass(frozen=True, slots=True)
class MemoryListResult:
    """A page of memories, newest first, and how many there are in all."""

    items: list[MemoryItem]
    total: int


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """What an operator wants to know.

    `item_count` memories stored and `evictions` so far, by all workers. The rest is this process's:
    reinforcements that wait, were given up or failed; records or fields that could not be read; extra
    searches because the index returned other scopes' memories; failed background work. `unindexed_fields`
    are fields of ours that the index lacks, because another client created it: filters on them
    are applied after the search. `index_failures` counts records the server could not index and
    `indexing` is true while it still takes in existing ones; `ignored_config_fields` are
    fields of the live configuration that hold nothing usable. `near_misses` are recalls that found nothing
    while a memory lay just beyond the threshold, and what would have admitted it. `near_cache` is what the near-cache
    did, None without one.
    """

    item_count: int
    evictions: int
    config: MemoryConfigSnapshot
    pending_reinforcements: int = 0
    lost_reinforcements: int = 0
    unreadable_records: int = 0
    recall_refills: int = 0
    background_failures: int = 0
    unindexed_fields: tuple[str, ...] = ()
    index_failures: int = 0
    indexing: bool = False
    ignored_config_fields: tuple[str, ...] = ()
    near_misses: NearMisses = _NONE
    near_cache: NearCacheStatistics | None = None


@dataclass(frozen=True, slots=True)
class ReindexResult:
    """A new index: the memories in it, the length of its vectors, fields of ours that it still lacks, and
    how many records the server could not take in. `worded` memories were given the stems by which words find them.
    """

    indexed: int
    dimensions: int
    unindexed_fields: tuple[str, ...] = ()
    index_failures: int = 0
    worded: int = 0
