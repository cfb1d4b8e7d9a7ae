"""A record or a link that is damaged is worth little, and does not keep others from being recalled."""

from __future__ import annotations

from pathlib import Path

import pytest

from betterdb_agent_memory import MemoryStore
from betterdb_agent_memory.engines.base import LinkedRecords
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.links import LinkChange, Strength, score_of
from betterdb_agent_memory.memory.record import memory_collection
from tests.embedding import embed
from tests.engines.valkey.samples import record_of, vector

NOW_MS = 1_790_000_000_000


@pytest.mark.parametrize("damaged", ["hit", "linked", "link"])
async def test_a_recall_does_not_fail_for_one_that_is_damaged(tmp_path: Path, damaged: str) -> None:
    engine = EmbeddedEngine(tmp_path / "m.db")
    store = MemoryStore(client=engine, name="x", embed_fn=embed, clock=lambda: NOW_MS)
    await store.ensure_index()
    writes = {f"m{n}": record_of(f"m{n}", {"vector": vector(1, n / 10, *6 * [0.0])}) for n in range(4)}
    writes["far"] = record_of("far", {"vector": vector(-1, *7 * [0.0])})
    odd = {"hit": "m0", "linked": "far"}.get(damaged)
    if odd is not None:
        writes[odd] = record_of(odd, {**writes[odd].fields, "created_at": b"9" * 400})
    await engine.records(memory_collection("x")).write_many([*writes.values()])
    score = 9_000.0 if damaged == "link" else score_of(1.0, NOW_MS)
    links = engine.links(LinkedRecords.of(memory_collection("x")))
    await links.put([LinkChange("m1", "far", Strength(score, NOW_MS))], now_ms=NOW_MS)
    found = await store.recall_by_vector([1.0, *7 * [0.0]], k=3, threshold=1.0, expand=True, reinforce=False)
    await store.close()
    await engine.close()
    assert "m1" in {hit.item.id for hit in found}
