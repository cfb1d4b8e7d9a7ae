"""Every memory of a scope with its distance, beyond what one search returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from betterdb_agent_memory.engines.base import Answers, Engine, Records, RecordWrite, Search, Tally
from betterdb_agent_memory.engines.filters import Equals, Filter
from betterdb_agent_memory.memory.recalling.whole_scope import compare_whole_scope
from betterdb_agent_memory.memory.record import NewMemory, encode_memory, memory_collection


class NarrowRecords:
    """Records of which a search returns 40 at most: an engine's own limit would need thousands of them."""

    max_neighbours = 40

    def __init__(self, records: Records) -> None:
        self._records = records
        self.searches = 0

    async def search_many(
        self, vector: bytes, searches: Sequence[Search], *, fields: Sequence[str], tallies: Sequence[Tally] = ()
    ) -> Answers:
        assert all(search.count <= self.max_neighbours for search in searches)
        self.searches += 1
        return await self._records.search_many(vector, searches, fields=fields, tallies=tallies)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)


@pytest.mark.parametrize("moments", ["spread", "equal", "lumps"])
async def test_every_memory_comes_once_with_its_distance(engine: Engine, store_name: str, moments: str) -> None:
    size, dimensions = 600, 8
    numbers = np.random.default_rng(3)
    vectors = numbers.standard_normal((size, dimensions)).astype("<f4")
    created = {
        "spread": [1_700_000_000_000 + i * 1_000 for i in range(size)],
        "equal": [1_700_000_000_000] * size,
        "lumps": [1_700_000_000_000 + (i % 5) for i in range(size)],
    }[moments]
    records = engine.records(memory_collection(store_name))
    await records.prepare(dimensions)
    await records.write_many(
        [
            RecordWrite(
                f"m{i}",
                encode_memory(
                    NewMemory(f"m{i}", "tea", 0.5, created[i], namespace="Mine" if i % 10 == 0 else "mine"),
                    vectors[i].tobytes(),
                ),
            )
            for i in range(size)
        ]
    )
    query = numbers.standard_normal(dimensions).astype("<f4")
    narrow: Any = NarrowRecords(records)
    filter = Filter((Equals("namespace", "mine"),))
    found = await compare_whole_scope(narrow, query.tobytes(), filter, most=None)
    assert found is not None
    cosines = vectors @ query / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))
    expected = {f"m{i}": 1 - float(cosines[i]) for i in range(size) if i % 10}
    assert len(found) == len(expected)
    assert {row.id: row.distance for row in found} == pytest.approx(expected, abs=1e-5)
    assert [row.distance for row in found] == sorted(row.distance for row in found)
    assert narrow.searches < 80
    assert await compare_whole_scope(narrow, query.tobytes(), filter, most=539) is None
    exactly = await compare_whole_scope(narrow, query.tobytes(), filter, most=540)
    assert exactly is not None
    assert len(exactly) == 540
