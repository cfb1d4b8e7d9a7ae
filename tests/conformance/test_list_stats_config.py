"""Pages, counts, and what an operator changes while the store runs."""

from __future__ import annotations

import asyncio

from betterdb_agent_memory import MemoryConfigRefreshConfig, MemoryListOptions, MemoryStore, RecallWeights
from betterdb_agent_memory.engines.base import Engine
from tests.conformance.conftest import MakeStore, TestClock
from tests.embedding import AHEAD, at_angle


async def test_pages_are_newest_first_with_an_exact_total(store: MemoryStore, clock: TestClock) -> None:
    for number in range(25):
        clock.advance(seconds=1)
        await store.remember(f"m{number}", thread_id="t" if number % 2 else "T", subject=f"s{number}", date="2025")
    page = await store.list()
    assert [item.content for item in page.items] == [f"m{number}" for number in range(24, 4, -1)]
    assert page.total == 25
    assert (page.items[0].subject, page.items[0].date) == ("s24", "2025")
    odd = [f"m{number}" for number in range(23, 0, -2)]
    seen: list[str] = []
    for offset in range(0, 15, 5):
        page = await store.list(MemoryListOptions(thread_id="t", limit=5, offset=offset))
        assert page.total == 12
        seen += [item.content for item in page.items]
    assert seen == odd
    nothing = await store.list(MemoryListOptions(thread_id="t", limit=0))
    assert (nothing.items, nothing.total) == ([], 12)
    assert (await store.list(MemoryListOptions(offset=100))).items == []


async def test_a_subject_filter_is_exact(store: MemoryStore) -> None:
    for subject in ("Home City", "home city", "home", "city,home"):
        await store.remember(f"about {subject}", subject=subject, source="fact")
    for subject in ("Home City", "home city", "home", "city,home"):
        page = await store.list(MemoryListOptions(subject=subject))
        assert ([item.content for item in page.items], page.total) == ([f"about {subject}"], 1)
        assert [hit.item.subject for hit in await store.recall("x", subject=subject, reinforce=False)] == [subject]
    assert (await store.list(MemoryListOptions(subject="nobody"))).total == 0


async def test_live_configuration_overrides_and_gives_back(make_store: MakeStore, engine: Engine) -> None:
    weights = RecallWeights(similarity=0.5, recency=0.3, importance=0.2)
    store = make_store(default_threshold=0.3, half_life_seconds=1000, weights=weights)
    key = f"{store.name}:__mem_config"
    before = store.current_config()
    await engine.values.write_map(
        key, {"recall.threshold": b" 0.5 ", "recall.weights.similarity": b"0.9", "maxItemsPerScope": b"100.9"}
    )
    assert store.current_config() == before
    await store.refresh_config()
    live = store.current_config()
    assert (live.threshold, live.half_life_seconds, live.max_items_per_scope) == (0.5, 1000, 100)
    assert live.weights == RecallWeights(similarity=0.9, recency=0.3, importance=0.2)
    await engine.values.delete(key)
    await engine.values.write_map(key, {"recall.weights.recency": b"0"})
    await store.refresh_config()
    assert store.current_config().weights == RecallWeights(similarity=0.5, recency=0, importance=0.2)
    await engine.values.delete(key)
    await store.refresh_config()
    assert store.current_config() == before


async def test_unusable_live_configuration_is_ignored_and_named(make_store: MakeStore, engine: Engine) -> None:
    store = make_store(default_threshold=0.3)
    bad = {
        "recall.threshold": b"",
        "recall.halfLifeSeconds": b"0",
        "maxItemsPerScope": b"many",
        "recall.weights.similarity": b"-1",
        "unknown": b"1",
    }
    await engine.values.write_map(f"{store.name}:__mem_config", bad)
    await store.refresh_config()
    assert store.current_config() == make_store(default_threshold=0.3).current_config()
    assert set((await store.stats()).ignored_config_fields) == set(bad) - {"unknown"}


async def test_live_configuration_changes_recall(make_store: MakeStore, engine: Engine) -> None:
    store = make_store(default_threshold=2.0, config_refresh=MemoryConfigRefreshConfig(interval_ms=1_000))
    await store.remember(AHEAD)
    await store.remember(at_angle(0.5))
    assert len(await store.recall(AHEAD, reinforce=False)) == 2
    await engine.values.write_map(f"{store.name}:__mem_config", {"recall.threshold": b"0.1"})
    for _ in range(60):
        await asyncio.sleep(0.05)
        if store.current_config().threshold == 0.1:
            break
    assert len(await store.recall(AHEAD, reinforce=False)) == 1
    assert len(await store.recall(AHEAD, threshold=2, reinforce=False)) == 2


async def test_two_stores_on_one_engine_do_not_meet(make_store: MakeStore) -> None:
    mine, theirs = make_store(), make_store(name="another")
    id = await mine.remember("x", thread_id="t")
    await theirs.remember("x", thread_id="t")
    assert [hit.item.id for hit in await mine.recall("x", thread_id="t")] == [id]
    assert await theirs.forget_by_scope(thread_id="t") == 1
    assert ((await mine.stats()).item_count, (await theirs.stats()).item_count) == (1, 0)
