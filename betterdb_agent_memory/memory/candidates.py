"""Finding the memories nearest to a vector that are exactly in scope.

Search indexes fold case, trim and split, so what they return may include strangers. Dropping those
must not shorten the answer: more is asked for until enough are left, nothing else can qualify, or
the engine gives no more; past that point every memory of the scope is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.embedders.vectors import decode_float32
from betterdb_agent_memory.engines.base import Neighbour
from betterdb_agent_memory.engines.filters import Filter
from betterdb_agent_memory.memory.record import ITEM_FIELDS, VECTOR
from betterdb_agent_memory.memory.spaces import SearchedRecords

_WIDENING = 4
_SCAN_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class NearestResult:
    """Exactly scoped neighbours, nearest first, and how many extra searches that took."""

    neighbours: list[Neighbour]
    refills: int = 0


async def nearest_in_scope(
    records: SearchedRecords, vector: bytes, *, wanted: int, needed: int, filter: Filter, threshold: float
) -> NearestResult:
    """Up to `wanted` neighbours that `filter` accepts; beyond `threshold` none need be found.

    One round trip when the index returns nobody else's memories. Each refill asks for four times
    as many; at the engine's limit, if there are not even the `needed` ones, the scope is read page by page.
    """
    count = min(wanted, records.max_neighbours)
    refills = 0
    while True:
        rows = await records.nearest(vector, count=count, filter=filter, fields=ITEM_FIELDS)
        exact = await off_loop(len(rows), _accepted, rows, filter)
        nothing_left = rows.exhausted or (bool(rows) and rows[-1].distance > threshold)
        at_limit = count >= records.max_neighbours
        if len(exact) >= wanted or nothing_left or (at_limit and len(exact) >= needed):
            return NearestResult(exact[:wanted], refills)
        if at_limit:
            break
        count = min(count * _WIDENING, records.max_neighbours)
        refills += 1
    return NearestResult(await _compare_whole_scope(records, vector, filter=filter, wanted=wanted), refills + 1)


async def _compare_whole_scope(
    records: SearchedRecords, vector: bytes, *, filter: Filter, wanted: int
) -> list[Neighbour]:
    query = decode_float32(vector).astype(np.float64)
    found: dict[str, Neighbour] = {}
    offset = 0
    while True:
        page = await records.select(filter, fields=ITEM_FIELDS, limit=_SCAN_PAGE, offset=offset)
        rows = [row for row in page.rows if row.id not in found and filter.accepts(row.id, row.fields)]
        vectors = await records.read_many([row.id for row in rows], [VECTOR]) if rows else []
        for row, stored in zip(rows, vectors, strict=True):
            distance = _cosine_distance(query, stored.get(VECTOR, b"") if stored else b"")
            if distance is not None:
                found[row.id] = Neighbour(row.id, distance, row.fields)
        offset += page.scanned
        if not page.scanned or offset >= page.total:
            break
    return sorted(found.values(), key=lambda neighbour: (neighbour.distance, neighbour.id))[:wanted]


def _accepted(rows: Sequence[Neighbour], filter: Filter) -> list[Neighbour]:
    return [row for row in rows if filter.accepts(row.id, row.fields)]


def _cosine_distance(query: np.ndarray, stored: bytes) -> float | None:
    if len(stored) != 4 * len(query):
        return None
    vector = decode_float32(stored).astype(np.float64)
    norms = float(np.linalg.norm(query) * np.linalg.norm(vector))
    return 1 - float(query @ vector) / norms if norms > 0 and np.isfinite(norms) else None
