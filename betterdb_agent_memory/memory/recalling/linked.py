"""The memories that hits are linked to, read and held against what was asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.engines.base import Row
from betterdb_agent_memory.engines.links import LinkEnd
from betterdb_agent_memory.memory.diversity import unit_rows
from betterdb_agent_memory.memory.linking import Linker
from betterdb_agent_memory.memory.recalling.expanding import (
    FOLLOWED,
    MOST_ADDED,
    MOST_LOOKED_AT,
    STARTS,
    LinkedBy,
    scores_below,
    spread,
)
from betterdb_agent_memory.memory.recalling.explaining import MemoryHit
from betterdb_agent_memory.memory.record import ITEM_FIELDS, VECTOR, MemoryItem, decode_memory, is_memory
from betterdb_agent_memory.memory.requests import RecallRequest, RecallSettings
from betterdb_agent_memory.memory.spaces import SearchedRecords


class Expander:
    """Adds to the hits of a recall what they are linked to."""

    def __init__(self, linker: Linker) -> None:
        self._linker = linker

    async def expand(
        self,
        records: SearchedRecords,
        vector: bytes,
        hits: Sequence[MemoryHit],
        request: RecallRequest,
        settings: RecallSettings,
    ) -> list[MemoryHit]:
        """Up to `MOST_ADDED` memories that are linked to the first hits, most active first; none of the hits.

        Only such as `request.filter` accepts, and only along such. Two round trips, one where nothing is linked. The
        links of a memory that is gone are removed, which takes one more.
        """
        starts = [(hit.item.id, hit.relevance) for hit in hits[:STARTS]]
        around = await self._linker.around([id for id, _ in starts], FOLLOWED) if starts else {}
        # A hit may lead on to further memories, but is found already.
        found = {hit.item.id for hit in hits}
        reached = [id for id in spread(starts, around) if id not in found][:MOST_LOOKED_AT]
        if not reached:
            return []
        fields = tuple(dict.fromkeys((*ITEM_FIELDS, VECTOR, *request.filter.field_names)))
        stored = await records.read_many(reached, fields)
        rows = [Row(id, row) for id, row in zip(reached, stored, strict=True) if row is not None]
        await self._linker.forget([id for id, row in zip(reached, stored, strict=True) if row is None])
        return await off_loop(len(rows), _linked_hits, rows, vector, hits, starts, around, request, settings)


def _linked_hits(
    rows: Sequence[Row],
    vector: bytes,
    hits: Sequence[MemoryHit],
    starts: Sequence[tuple[str, float]],
    around: Mapping[str, Sequence[LinkEnd]],
    request: RecallRequest,
    settings: RecallSettings,
) -> list[MemoryHit]:
    found = {hit.item.id for hit in hits}
    seen = {row.id: row for row in request.filter.accepted(rows) if is_memory(row.fields)}
    linked = spread(starts, around, hidden=_hidden(around, {*found, *seen}))
    chosen: list[tuple[MemoryItem, LinkedBy, bytes]] = []
    for id, by in linked.items():
        item = None if id in found or len(chosen) == MOST_ADDED else decode_memory(id, seen[id].fields)[0]
        if item is not None:
            chosen.append((item, by, seen[id].fields.get(VECTOR, b"")))
    scores = scores_below(min(hit.score for hit in hits), [by.activation for _, by, _ in chosen])
    return [
        _hit(item, by, _distance(vector, stored), score, hits[-1], settings)
        for (item, by, stored), score in zip(chosen, scores, strict=True)
    ]


def _hidden(around: Mapping[str, Sequence[LinkEnd]], allowed: Collection[str]) -> frozenset[str]:
    """What was reached and is not to be seen: of another scope, gone, or not asked for."""
    return frozenset(end.id for ends in around.values() for end in ends if end.id not in allowed)


def _hit(
    item: MemoryItem, by: LinkedBy, distance: float, score: float, last: MemoryHit, settings: RecallSettings
) -> MemoryHit:
    age_seconds = (settings.now_ms - max(item.created_at, item.last_accessed_at)) / 1000
    explain = last.explain and replace(
        last.explain,
        distance=distance,
        age_seconds=max(age_seconds, 0.0) if settings.rules.clamps_age else age_seconds,
        importance=item.importance,
        relevance=None,
        rerank_score=None,
        link=by,
    )
    return MemoryHit(item, distance, score, explain)


def _distance(vector: bytes, stored: bytes) -> float:
    """The cosine distance; 1 to a memory without a vector of this length."""
    if len(stored) != len(vector):
        return 1.0
    one, other = unit_rows([vector, stored])
    return float(1.0 - one @ other)
