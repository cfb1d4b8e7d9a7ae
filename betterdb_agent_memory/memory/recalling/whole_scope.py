"""Every memory of a scope with its distance, however many there are.

A search returns a few thousand memories at most. Where a scope has more it is divided by the time of
writing until each part fits one search, so that the server compares and no vector travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from betterdb_agent_memory.background import off_loop
from betterdb_agent_memory.embedders.vectors import decode_float32
from betterdb_agent_memory.engines.base import Neighbour, Row, Search
from betterdb_agent_memory.engines.filters import AllOf, Between, Fields, Filter
from betterdb_agent_memory.memory.record import CREATED_AT, ITEM_FIELDS, VECTOR, scored_numbers
from betterdb_agent_memory.memory.spaces import SearchedRecords

_SCAN_PAGE: Final = 1_000
_FREED_AT_ONCE: Final = 256


async def compare_whole_scope(
    records: SearchedRecords, vector: bytes, filter: Filter, *, most: int | None
) -> list[Neighbour] | None:
    """All memories that `filter` accepts, nearest first; None when there are more than `most`.

    About one round trip per 2,000 memories; memories written in the same millisecond, if they are too many for
    one search, are read page by page with their vectors.
    """
    found: list[Sequence[Neighbour]] = []
    size = 0
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
        found.append(kept)
        size += len(kept)
        if most is not None and size > most:
            found = [await off_loop(size, _nearest_first, found)]
            size = len(found[0])
            if size > most:
                return None
    return await off_loop(size, _nearest_first, found)


def _nearest_first(parts: Sequence[Sequence[Neighbour]]) -> list[Neighbour]:
    """All of them, each id once."""
    rows = list({row.id: row for part in parts for row in part}.values())
    order = np.argsort(np.array([row.distance for row in rows]), kind="stable").tolist()
    rows = [rows[place] for place in order]
    # A sort holds up all threads while it compares: there is little left to compare, ties by id.
    rows.sort(key=lambda row: (row.distance, row.id))
    return rows


def _within(filter: Filter, low: int | None, high: int | None) -> Filter:
    if low is None and high is None:
        return filter
    return Filter((AllOf((*filter.clauses, Between(CREATED_AT, low, high))),))


def _halves(rows: list[Neighbour], low: int | None, high: int | None) -> list[tuple[int | None, int | None]]:
    """Two parts of the span, about as many memories in each; a moment alone, where all are of one. Empties `rows`."""
    moments = scored_numbers([row.fields for row in rows])[1]
    while rows:  # here and little by little: freeing thousands of rows takes the event loop milliseconds
        del rows[-_FREED_AT_ONCE:]
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
        rows = await off_loop(len(page.rows), filter.accepted, page.rows)
        stored = await records.read_many([row.id for row in rows], [VECTOR]) if rows else []
        found += await off_loop(len(rows), _compared, query, rows, stored)
        offset += page.scanned
        if not page.scanned or offset >= page.total:
            return found


def _compared(query: NDArray[np.float64], rows: Sequence[Row], stored: Sequence[Fields | None]) -> list[Neighbour]:
    """The rows whose vectors have a direction and the length of `query`, each with its cosine distance."""
    vectors = [fields.get(VECTOR, b"") if fields else b"" for fields in stored]
    places = [place for place, vector in enumerate(vectors) if len(vector) == 4 * len(query)]
    matrix = np.frombuffer(b"".join(vectors[place] for place in places), "<f4").reshape(len(places), len(query))
    matrix = matrix.astype(np.float64)
    norms = np.linalg.norm(matrix, axis=1) * np.linalg.norm(query)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Row by row: a product of matrices may give equal vectors different last digits.
        distances = 1 - np.einsum("ij,j->i", matrix, query) / norms
    return [
        Neighbour(rows[place].id, distance, rows[place].fields)
        for place, distance, is_one in zip(places, distances.tolist(), np.isfinite(distances).tolist(), strict=True)
        if is_one
    ]
