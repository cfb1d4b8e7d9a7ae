"""How many round trips a worker makes that follows links by itself, where most of them lead out of the scope."""

from __future__ import annotations

import random

import pytest

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.base import LinkedRecords
from betterdb_agent_memory.engines.links import LinkChange, Strength, score_of
from betterdb_agent_memory.engines.valkey import ValkeyEngine, choosing
from betterdb_agent_memory.memory.record import memory_collection
from tests.embedding import embed
from tests.engines.valkey.samples import record_of, vector

NOW_MS = 1_790_000_000_000


async def test_a_worker_makes_four_round_trips_more_at_most_where_too_few_may_be_seen(
    engine: ValkeyEngine, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, clock=lambda: NOW_MS, default_threshold=2.0)
    await store.ensure_index()
    dice = random.Random(1)
    records = engine.records(memory_collection(store.name))
    await records.write_many(
        [
            record_of(
                f"m{n}",
                {"vector": vector(*(dice.gauss(0, 1) for _ in range(8))), "threadId": "alice" if n % 9 == 0 else "bob"},
            )
            for n in range(200)
        ]
    )
    pairs = {tuple(sorted(dice.sample(range(200), 2))) for _ in range(1_600)}
    strength = Strength(score_of(1.0, NOW_MS), NOW_MS)
    links = engine.links(LinkedRecords.of(memory_collection(store.name)))
    await links.put([LinkChange(f"m{one}", f"m{other}", strength) for one, other in sorted(pairs)], now_ms=NOW_MS)
    monkeypatch.setattr(choosing, "MOST_FOUND", 0)
    most = 0
    for _ in range(20):
        question = [dice.gauss(0, 1) for _ in range(8)]
        trips = []
        for expand in (False, True):
            before = engine.round_trips
            await store.recall_by_vector(question, k=3, thread_id="alice", expand=expand, reinforce=False)
            trips.append(engine.round_trips - before)
        most = max(most, trips[1] - trips[0])
    await store.close()
    assert most <= 4
