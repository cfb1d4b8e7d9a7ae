"""A full scope loses its least valuable memories, never the one just written."""

from __future__ import annotations

import asyncio
from typing import Any

from betterdb_agent_memory import MemoryListOptions, MemoryStore, RecallWeights
from tests.conformance.conftest import MakeStore, TestClock


async def contents(store: MemoryStore, **scope: Any) -> list[str]:
    return sorted(item.content for item in (await store.list(MemoryListOptions(limit=1000, **scope))).items)


async def test_the_least_important_leave_first(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(max_items_per_scope=3)
    for number, importance in enumerate([0.9, 0.1, 0.5, 0.6]):
        clock.advance(seconds=1)
        await store.remember(f"m{number}", importance=importance, thread_id="t")
    assert await contents(store, thread_id="t") == ["m0", "m2", "m3"]
    stats = await store.stats()
    assert (stats.item_count, stats.evictions, stats.config.max_items_per_scope) == (3, 1, 3)


async def test_the_longest_unused_leave_first_among_equals(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(max_items_per_scope=2, weights=RecallWeights(similarity=1, recency=0, importance=0))
    for number in range(4):
        clock.advance(seconds=60)
        await store.remember(f"m{number}", thread_id="t")
    assert await contents(store, thread_id="t") == ["m2", "m3"]


async def test_the_memory_just_written_is_never_the_victim(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=2)
    await store.remember("precious", importance=1, thread_id="t")
    await store.remember("dear", importance=0.9, thread_id="t")
    id = await store.remember("worthless", importance=0, thread_id="t")
    assert await store.get(id) is not None
    assert await contents(store, thread_id="t") == ["precious", "worthless"]


async def test_a_limit_counts_the_exact_scope_only(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=2)
    for thread in ("abc", "ABC", " abc", "abc,d", ""):
        for number in range(3):
            await store.remember(f"{thread} {number}", thread_id=thread, importance=number / 2)
    for thread in ("abc", "ABC", " abc", "abc,d", ""):
        assert await contents(store, thread_id=thread) == [f"{thread} 1", f"{thread} 2"]
    assert (await store.stats()).evictions == 5


async def test_without_scope_there_is_no_limit(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=1)
    for number in range(3):
        await store.remember(f"m{number}")
    assert (await store.stats()).item_count == 3


async def test_many_tasks_settle_at_the_limit_and_keep_what_they_wrote(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=10)
    for number in range(10):
        await store.remember(f"old {number}", thread_id="t", importance=1)
    returned = await asyncio.gather(*(store.remember(f"new {n}", thread_id="t", importance=0) for n in range(8)))
    assert (await store.list(MemoryListOptions(thread_id="t"))).total == 10
    assert len(set(returned)) == 8
    last = await store.remember("last", thread_id="t", importance=0)
    assert await store.get(last) is not None
    assert (await store.stats()).evictions == 9


async def test_lowering_the_limit_takes_effect_at_the_next_write(make_store: MakeStore) -> None:
    writer = make_store()
    for number in range(20):
        await writer.remember(f"m{number}", thread_id="t", importance=number / 20)
    await make_store(max_items_per_scope=5).remember("newest", thread_id="t", importance=0)
    assert await contents(writer, thread_id="t") == ["m16", "m17", "m18", "m19", "newest"]
