"""Numbers that the server has rounded: read again for all searches at once, and only where they decide."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import pytest

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.base import Search, Word
from betterdb_agent_memory.engines.filters import AnyOf, Between, Equals, Filter, HasTag
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.engines.valkey.records import ValkeyRecords
from tests.engines.searching import nearest
from tests.engines.valkey.samples import CREATED_AT_MS, record, vector

JUNE_9_MS = 1_749_427_200_000
DAY_MS = 86_400_000
QUESTION = vector(1, 0, 0, 0)
FIELDS = ["importance", "source", "created_at", "tags"]


async def test_what_several_searches_doubt_is_read_in_one_round_trip(
    engine: ValkeyEngine, records: ValkeyRecords
) -> None:
    await records.write_many([record(str(n), importance="0.4999999999997", source="S", at=n) for n in range(20)])
    await records.write_many([record(f"m{n}", importance="0.5", source="S", at=n) for n in range(20)])
    half = AnyOf((Between("importance", 0.5), Equals("source", "s")))
    late = Between("created_at", CREATED_AT_MS + 10)
    searches = [
        Search(50, Filter((half,))),
        Search(50, Filter((half, late))),
        Search(50, Filter((half,)), (Word("text", "text"),)),
    ]
    before = engine.round_trips
    answers = await records.search_many(QUESTION, searches, fields=FIELDS)
    assert engine.round_trips - before == 2
    for search, rows, expected in zip(searches, answers.neighbours, (20, 10, 20), strict=True):
        kept = search.filter.accepted(rows)
        assert len(kept) == expected
        assert all(row.id.startswith("m") for row in kept)
        assert rows.exhausted


async def test_ranges_under_an_or_cost_nothing_where_they_are_why_a_row_was_found(
    engine: ValkeyEngine, records: ValkeyRecords
) -> None:
    """Days of the last century have times of twelve digits, which may have been rounded."""
    day_ms = 929_000_000_000
    await records.write_many([record(str(n), importance="0.7", created_at=str(day_ms)) for n in range(20)])
    days = AnyOf((Between("created_at", day_ms, day_ms + DAY_MS - 1), Between("last_accessed_at", day_ms, day_ms)))
    for clauses in (
        (days,),
        (days, Between("importance", 0.7)),
        (AnyOf((HasTag("tags", "x"), Between("importance", 0.7))), days),
    ):
        before = engine.round_trips
        found = await nearest(records, QUESTION, count=30, filter=Filter(clauses), fields=[*FIELDS, "last_accessed_at"])
        assert len(Filter(clauses).accepted(found)) == 20
        assert engine.round_trips - before == 1


async def _embed(text: str) -> list[float]:
    seed = np.random.default_rng(list(text.encode()))
    return [1.0, *(0.1 * seed.standard_normal(3)).tolist()]


@pytest.fixture
async def store(engine: ValkeyEngine, store_name: str) -> AsyncIterator[MemoryStore]:
    """200 memories about dogs, at a limit of importance and of a day."""
    made = MemoryStore(
        client=engine,
        name=store_name,
        embed_fn=_embed,
        retrieval="hybrid",
        default_threshold=2.0,
        reinforcement="immediate",
        config_refresh=False,
        clock=lambda: JUNE_9_MS + 10 * DAY_MS,
    )
    await made.remember_many(
        [
            {
                "content": f"zebra{n} runs with Anna's dogs",
                "id": f"d{n}",
                "thread_id": f"t{n % 2}",
                "importance": 0.7,
                "occurred_at": JUNE_9_MS + n % 4 * DAY_MS,
            }
            for n in range(200)
        ]
    )
    await made.recall("warm up")
    yield made
    await made.close()


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"importance": {"gte": 0.7}},
        {"not": {"importance": {"lt": 0.7}}},
        {"importance": {"gte": 0.7}, "occurred_at": {"gte": JUNE_9_MS}},
        {"or": [{"importance": {"gte": 0.7}}, {"tags": "x"}]},
        {"or": [{"importance": {"gte": 0.7}}, {"access_count": {"gte": 9}}]},
        {"id": [f"d{n}" for n in range(20)]},
    ],
    ids=["none", "range", "not", "ranges", "or-tag", "or-range", "ids"],
)
async def test_hybrid_recall_is_at_most_three_round_trips(
    engine: ValkeyEngine, store: MemoryStore, where: Mapping[str, Any]
) -> None:
    for question, thread in (
        ("zebra77 on 9 June 2025", None),
        ("zebra4 on 9 June 2025 with Anna", "t0"),
        ("dogs on 9 June 2025", None),
    ):
        before = engine.round_trips
        hits = await store.recall(question, where=where or None, thread_id=thread)
        assert hits
        assert engine.round_trips - before <= 3
