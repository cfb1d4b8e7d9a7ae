"""Every memory of a scope with its distance, however many there are.

A search returns a few thousand memories at most. Where a scope has more it is divided by the time of
writing until each part fits one search, so that the server compares and no vector travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.embedders.vectors import decode_float32
from betterdb_agent_memory.engines.base import Neighbour, Search
from betterdb_agent_memory.engines.filters import AllOf, Between, Filter
from betterdb_agent_memory.memory.record import CREATED_AT, ITEM_FIELDS, VECTOR, scored_numbers
from betterdb_agent_memory.memory.spaces import SearchedRecords

_SCAN_PAGE: Final = 1_000


async def compare_whole_scope(
    records: SearchedRecords, vector: bytes, filter: Filter, *, most: int | None
) -> list[Neighbour] | None:
    """All memories that `filter` accepts, nearest first; None when there are more than `most`.

    About one round trip per 2,000 memories; memories written in the same millisecond, if they are too many for
    one search, are read page by page with their vectors.
    """
    found: dict[str, Neighbour] = {}
    spans: list[tuple[int | None, int | None]] = [(None, None)]
    while spans:
        low, high = spans.pop()
        span = _within(filter, low, high)
        count = records.max_neighbours if most is None else min(records.max_neighbours, most + 1)
        search = Search(count, span, exhaustive=True)
        [rows], _ = await records.search_many(vector, [search], fields=ITEM_FIELDS)
        if most is not None and len(rows) > most:
            return None
        if rows.exhausted:
            kept: Sequence[Neighbour] = await off_loop(len(rows), filter.accepted, rows)
        elif low is not None and low == high:
            kept = await _read_pages(records, vector, span)
        else:
            spans += await off_loop(len(rows), _halves, rows, low, high)
            continue
        found.update((row.id, row) for row in kept)
        if most is not None and len(found) > most:
            return None
    return sorted(found.values(), key=lambda row: (row.distance, row.id))


def _within(filter: Filter, low: int | None, high: int | None) -> Filter:
    if low is None and high is None:
        return filter
    return Filter((AllOf((*filter.clauses, Between(CREATED_AT, low, high))),))


def _halves(rows: Sequence[Neighbour], low: int | None, high: int | None) -> list[tuple[int | None, int | None]]:
    """Two parts of the span, about as many memories in each; a moment alone, where all are of one."""
    moments = scored_numbers([row.fields for row in rows])[1]
    middle = int(np.median(moments))
    if middle == (int(moments.min()) if low is None else low):
        middle += 1
    if middle > int(moments.max()):  # all in one moment
        moment = middle - 1
        return [(low, moment - 1), (moment, moment), (moment + 1, high)]
    return [(low, middle - 1), (middle, high)]


async def _read_pages(records: SearchedRecords, vector: bytes, filter: Filter) -> list[Neighbour]:
    query = decode_float32(vector).astype(np.float64)
    found: list[Neighbour] = []
    offset = 0
    while True:
        page = await records.select(filter, fields=ITEM_FIELDS, limit=_SCAN_PAGE, offset=offset)
        rows = [row for row in page.rows if filter.accepts(row.id, row.fields)]
        vectors = await records.read_many([row.id for row in rows], [VECTOR]) if rows else []
        for row, stored in zip(rows, vectors, strict=True):
            distance = _cosine_distance(query, stored.get(VECTOR, b"") if stored else b"")
            if distance is not None:
                found.append(Neighbour(row.id, distance, row.fields))
        offset += page.scanned
        if not page.scanned or offset >= page.total:
            return found


def _cosine_distance(query: np.ndarray, stored: bytes) -> float | None:
    if len(stored) != 4 * len(query):
        return None
    vector = decode_float32(stored).astype(np.float64)
    norms = float(np.linalg.norm(query) * np.linalg.norm(vector))
    return 1 - float(query @ vector) / norms if norms > 0 and np.isfinite(norms) else None
