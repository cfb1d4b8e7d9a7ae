"""A recall that nearly found something says what would have found it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from betterdb_agent_memory import MemoryStore, NearMisses
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.engines.embedded import EmbeddedEngine
from betterdb_agent_memory.engines.valkey import ValkeyEngine
from betterdb_agent_memory.memory.near_misses import REMEMBERED, NearMissLog, is_near_miss, threshold_admitting
from tests.embedding import AHEAD, at_angle, embed
from tests.servers import ValkeyServer


@pytest.mark.parametrize("place", ["server", "file"])
async def test_what_would_have_found_something_is_said(
    place: str, valkey_server: ValkeyServer, tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = place == "server"
    engine: Engine = ValkeyEngine.from_url(valkey_server.url) if server else EmbeddedEngine(tmp_path / "m.db")
    store = MemoryStore(client=engine, name=store_name, embed_fn=embed, default_threshold=0.3)
    for namespace, distance in (("near", 0.415), ("nearer", 0.31), ("far", 0.7), ("hit", 0.2)):
        await store.remember(at_angle(1 - distance), namespace=namespace)
    assert (await store.stats()).near_misses == NearMisses()
    assert await store.recall(AHEAD, namespace="near") == []
    [warning] = [record.getMessage() for record in caplog.records]
    for part in ("within distance 0.300", "was at 0.415", "a threshold of 0.42", f"{store_name}:__mem_config"):
        assert part in warning
    for call in ("threshold= of the call", "MemoryOptions(threshold=)", "agent.config.set(threshold=)", "`calibrate`"):
        assert call in warning
    for namespace in ("nearer", "near", "far", "hit"):
        await store.recall(AHEAD, namespace=namespace)
    await store.recall(AHEAD, namespace="hit", threshold=0)
    assert len(caplog.records) == 1, "once"
    found = (await store.stats()).near_misses
    assert found.count == 3
    assert found.median_distance == found.largest_distance == pytest.approx(0.415, abs=1e-6)
    assert found.suggested_threshold == 0.42
    assert await store.recall(AHEAD, namespace="near", threshold=found.suggested_threshold)
    await store.close()
    await engine.close()


async def test_a_recall_that_found_something_by_words_is_no_near_miss(tmp_path: Path) -> None:
    engine = EmbeddedEngine(tmp_path / "m.db")
    store = MemoryStore(client=engine, name="s", embed_fn=embed, default_threshold=0.3, retrieval="hybrid")
    ahead = [1.0, *[0.0] * 7]
    await store.remember(at_angle(0.6, "walnuts"))
    assert len(await store.recall_by_vector(ahead, query="walnuts?")) == 1
    assert (await store.stats()).near_misses.count == 0
    assert await store.recall_by_vector(ahead, query="almonds?") == []
    assert (await store.stats()).near_misses.count == 1
    await store.close()
    await engine.close()


@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=50))
def test_the_suggested_threshold_admits_half_of_them(distances: list[float]) -> None:
    log = NearMissLog()
    for distance in distances:
        log.note(distance)
    found = log.summary()
    assert found.suggested_threshold is not None
    assert sum(distance <= found.suggested_threshold for distance in distances) >= len(distances) / 2
    assert found.largest_distance == max(distances)


def test_only_the_latest_are_kept() -> None:
    log = NearMissLog()
    for distance in [1.9] + [0.5] * (REMEMBERED + 10):
        log.note(distance)
    assert log.summary() == NearMisses(REMEMBERED + 11, 0.5, 0.5, 0.5)


@given(st.floats(0, 2))
def test_the_least_threshold_in_hundredths(distance: float) -> None:
    threshold = threshold_admitting(distance)
    assert distance <= threshold < distance + 0.01001
    assert is_near_miss(0.6, 0.3)
    assert not is_near_miss(0.61, 0.3)
    assert not is_near_miss(0.3, 0.3)
