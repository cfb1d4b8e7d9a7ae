"""A full scope loses its least valuable memories, never the one just written."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from betterdb_agent_memory import Fact, MemoryItem, MemoryListOptions, MemoryStore, RecallWeights
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.memory import capacity, record
from betterdb_agent_memory.memory.scope import MemoryScope, group_of
from tests.conformance.conftest import FILE, URL, MakeStore, TestClock

TWO_PLACES = pytest.mark.parametrize("configuration", [FILE, URL])
"""For what costs more time and depends on no client."""


async def contents(store: MemoryStore, **scope: Any) -> list[str]:
    return sorted(item.content for item in (await store.list(MemoryListOptions(limit=1000, **scope))).items)


async def settles(store: MemoryStore, count: int) -> None:
    """Return once the store has so many memories."""
    async with asyncio.timeout(30):
        while (await store.stats()).item_count != count:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)


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


async def test_tags_make_no_scope_of_their_own(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=2)
    for number, tags in enumerate((["a"], ["b"], [], ["a", "b"])):
        await store.remember(f"m{number}", thread_id="t", tags=tags, importance=number / 10)
    assert await contents(store, thread_id="t") == ["m2", "m3"]


async def test_with_limits_by_tags_each_set_of_tags_has_its_own(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=2, limit_by_tags=True)
    sets: list[list[str]] = [["a"], ["b", "a"], [], ["A"], ["c"]]
    for tags in sets:
        for number in range(3):
            spelt = tags[::-1] if number % 2 else [*tags, *tags]
            await store.remember(f"{tags} {number}", thread_id="t", tags=spelt, importance=number / 10)
    assert await contents(store, thread_id="t") == sorted(f"{tags} {n}" for tags in sets for n in (1, 2))
    assert (await store.stats()).evictions == 5


async def test_with_limits_by_tags_memories_without_a_scope_are_limited_too(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=1, limit_by_tags=True)
    for number in range(2):
        await store.remember(f"tagged {number}", tags=["a"])
        await store.remember(f"bare {number}")
    assert await contents(store) == ["bare 0", "bare 1", "tagged 1"]


@TWO_PLACES
async def test_a_memory_that_gets_other_tags_counts_with_those(make_store: MakeStore, engine: Engine) -> None:
    store = make_store(max_items_per_scope=3, limit_by_tags=True)
    ids = [await store.remember(f"a{n}", thread_id="t", tags=["a"], importance=n / 10) for n in range(3)]
    await store.remember_many([{"content": f"b{n}", "tags": ["b", "c"]} for n in range(3)], thread_id="t")
    await store.update(ids[0], tags=["c", "b"])
    await settles(store, 5)
    # The one that has come last stays, whatever it is worth; there is room where it was.
    assert await store.get(ids[0]) is not None
    await store.remember("a3", thread_id="t", tags=["a"])
    assert [name for name in await contents(store, thread_id="t") if name.startswith("a")] == ["a0", "a1", "a2", "a3"]
    records = engine.records(record.memory_collection(store.name, by_tags=True))
    sizes = [(await records.read_group(group_of(MemoryScope("t"), tags))).size for tags in (["a"], ["c", "b"])]
    assert sizes == [3, 3]


@TWO_PLACES
async def test_what_others_write_counts_with_its_tags(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "RECOUNT_SECONDS", 0.1)
    store, foreign = make_store(max_items_per_scope=4, limit_by_tags=True), make_store()
    await store.remember("first", thread_id="t", tags=["a"])
    await foreign.remember_many([{"content": f"other {n}", "tags": ["b"]} for n in range(6)], thread_id="t")
    await foreign.remember_many([{"content": f"foreign {n}", "tags": ["a"]} for n in range(6)], thread_id="t")
    await settles(store, 10)
    assert len(await contents(store, thread_id="t", tags=["b"])) == 6


async def test_a_wider_scope_has_its_own_limit(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=2)
    for number in range(3):
        await store.remember(f"narrow {number}", thread_id="t", agent_id="a", namespace="n", importance=number / 10)
        await store.remember(f"wide {number}", thread_id="t", importance=number / 10)
    assert await contents(store, thread_id="t") == ["narrow 1", "narrow 2", "wide 1", "wide 2"]


@TWO_PLACES
async def test_writing_one_after_another_and_all_at_once_leave_the_same(
    make_store: MakeStore, clock: TestClock
) -> None:
    store = make_store(max_items_per_scope=5)
    drafts: list[dict[str, Any]] = [{"content": f"m{n}", "importance": (n * 37 % 100) / 100} for n in range(40)]
    for draft in drafts:
        await store.remember(draft["content"], importance=draft["importance"], thread_id="one by one")
    await store.remember_many(drafts, thread_id="at once")
    # The last one stays whatever it is worth; the others are the best.
    best = sorted(drafts[:-1], key=lambda draft: draft["importance"])[-4:]
    expected = sorted(draft["content"] for draft in (*best, drafts[-1]))
    assert await contents(store, thread_id="one by one") == expected
    assert await contents(store, thread_id="at once") == expected
    assert (await store.stats()).evictions == 70


@TWO_PLACES
async def test_what_forgetting_frees_is_there_for_others(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=3)
    ids = [await store.remember(f"m{number}", thread_id="t") for number in range(3)]
    await store.forget(ids[0])
    await store.remember("m3", thread_id="t")
    assert await contents(store, thread_id="t") == ["m1", "m2", "m3"]
    assert (await store.stats()).evictions == 0


@TWO_PLACES
async def test_facts_count(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=4)
    for number in range(4):
        await store.remember(f"m{number}", thread_id="t", importance=number / 10)

    async def extract(memories: list[MemoryItem]) -> list[Fact]:
        return [Fact("city", "lives in Rome"), Fact("pet", "has a cat")]

    await store.consolidate(extract_facts=extract, thread_id="t")
    left = await contents(store, thread_id="t")
    assert len(left) == 4
    assert left == ["has a cat", "lives in Rome", "m2", "m3"]


@TWO_PLACES
async def test_a_summary_counts(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=3)
    for number in range(3):
        await store.remember(f"m{number}", thread_id="t", importance=number / 10)

    async def summarize(memories: list[MemoryItem]) -> str:
        return "all of it"

    await store.consolidate(summarize=summarize, thread_id="t", delete_sources=False)
    assert await contents(store, thread_id="t") == ["all of it", "m1", "m2"]


@TWO_PLACES
async def test_an_import_is_trimmed_soon(make_store: MakeStore, tmp_path: Any) -> None:
    source = make_store(name="source")
    await source.remember_many([{"content": f"m{n}", "importance": n / 20} for n in range(20)], thread_id="t")
    await source.export_to(tmp_path / "all.jsonl")
    store = make_store(max_items_per_scope=5)
    await store.import_from(tmp_path / "all.jsonl")
    await store.close()
    left = await contents(make_store(), thread_id="t")
    # All of one time: whichever was written last stays, whatever it is worth.
    assert len(left) == 5
    assert {"m16", "m17", "m18", "m19"} <= set(left)


@TWO_PLACES
@pytest.mark.parametrize("by_tags", [False, True])
async def test_an_import_leaves_no_more_than_the_limit(make_store: MakeStore, tmp_path: Any, by_tags: bool) -> None:
    source = make_store(name=f"source{uuid4().hex[:8]}")
    await source.remember_many(
        [{"content": f"m{n}", "importance": n / 300, "tags": ["b", "a"]} for n in range(300)], thread_id="t"
    )
    await source.remember_many([f"free {n}" for n in range(7)])
    await source.export_to(tmp_path / "all.jsonl")
    store = make_store(max_items_per_scope=5, limit_by_tags=by_tags)
    imported = await store.import_from(tmp_path / "all.jsonl")
    assert imported.imported == 307
    assert len(await contents(make_store(), thread_id="t")) == 5
    stats = await store.stats()
    assert (stats.item_count, stats.evictions) == (12, 295)


@TWO_PLACES
async def test_a_scope_above_its_limit_settles_soon_after_the_last_write(make_store: MakeStore) -> None:
    store = make_store(max_items_per_scope=100)
    assert capacity.slack_of(100) == 10
    await store.remember_many([f"old {number}" for number in range(100)], thread_id="t")
    sizes = []
    for number in range(30):
        await store.remember(f"new {number}", thread_id="t")
        sizes.append((await store.list(MemoryListOptions(thread_id="t", limit=1))).total)
    assert min(sizes) >= 100
    assert 101 in sizes
    assert max(sizes) <= 110
    await settles(store, 100)


@TWO_PLACES
async def test_what_others_write_is_found_by_a_recount(
    make_store: MakeStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "RECOUNT_SECONDS", 0.1)
    store, foreign = make_store(max_items_per_scope=5), make_store()
    await store.remember("first", thread_id="t")
    # A writer without a limit counts nothing, as the published packages do.
    await foreign.remember_many([f"foreign {number}" for number in range(20)], thread_id="t")

    await settles(store, 5)
    counted = await engine.records(record.memory_collection(store.name)).read_group(group_of(MemoryScope("t")))
    assert counted.size == 5


@TWO_PLACES
async def test_a_limit_that_is_lowered_trims_every_scope_that_was_counted(
    make_store: MakeStore, engine: Engine
) -> None:
    store = make_store(max_items_per_scope=8, config_refresh=True)
    for thread in ("t", "u"):
        await store.remember_many([f"{thread} {n}" for n in range(8)], thread_id=thread)
    await engine.values.write_map(f"{store.name}:__mem_config", {"maxItemsPerScope": b"3"})
    await store.refresh_config()

    await settles(store, 6)
    assert (await store.stats()).evictions == 10
    await engine.values.write_map(f"{store.name}:__mem_config", {"maxItemsPerScope": b"5"})
    await store.refresh_config()
    for number in range(3):
        await store.remember(f"t more {number}", thread_id="t")
    assert len(await contents(store, thread_id="t")) == 5


@TWO_PLACES
async def test_the_count_is_what_a_recount_finds(make_store: MakeStore, engine: Engine) -> None:
    store = make_store(max_items_per_scope=4)
    ids = [await store.remember(f"m{number}", thread_id="t", importance=number / 10) for number in range(7)]
    await store.forget(ids[-1])
    await store.remember("short-lived", thread_id="t", ttl=600)
    found = await engine.records(record.memory_collection(store.name)).read_group(group_of(MemoryScope("t")))
    assert found.size == (await store.list(MemoryListOptions(thread_id="t"))).total == 4


@pytest.mark.parametrize("configuration", [URL])
async def test_round_trips_of_a_write_into_a_scope_with_a_limit(
    make_store: MakeStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "SETTLE_SECONDS", 3600.0)  # what is done in the background is not of a write
    store = make_store(max_items_per_scope=3)
    await store.ensure_index()

    async def cost(text: str) -> int:
        before = engine.round_trips
        await store.remember(text, thread_id="t", importance=0.5)
        return engine.round_trips - before

    first, *others = [await cost(f"m{number}") for number in range(6)]
    assert first <= 40, "counting begins, and the server may not know the scripts"
    assert others == [1, 1, 7, 7, 7]
