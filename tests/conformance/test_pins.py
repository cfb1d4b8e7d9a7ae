"""A pinned memory stays, whatever happens to others, and is as before once it is unpinned."""

from __future__ import annotations

import asyncio

import pytest

from betterdb_agent_memory import (
    ConsolidateResult,
    InvalidInputError,
    MemoryItem,
    MemoryListOptions,
    MemoryNotFoundError,
    MemoryStore,
    VersionConflictError,
)
from betterdb_agent_memory.engines.base import Engine, RecordChange
from betterdb_agent_memory.memory import capacity, record
from tests.conformance.callbacks import Digest
from tests.conformance.conftest import CLUSTER, FILE, POOLED, URL, MakeStore, TestClock


@pytest.fixture(params=[FILE, URL, POOLED, CLUSTER])
def configuration(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def stored(store: MemoryStore, id: str) -> MemoryItem:
    item = await store.get(id)
    assert item is not None
    return item


async def contents(store: MemoryStore) -> list[str]:
    return sorted(item.content for item in (await store.list(MemoryListOptions(limit=1000))).items)


async def test_a_pin_raises_the_importance_and_unpinning_gives_it_back(make_store: MakeStore, engine: Engine) -> None:
    store = make_store()
    records = engine.records(record.memory_collection(store.name))
    id = await store.remember("x", importance=0.3, ttl=3600)
    # As the published Python package spells it: it comes back byte for byte.
    await records.change_many([RecordChange(id, sets={record.IMPORTANCE: b"1e-05"})])
    before, expiries = await records.read_many([id], None), await records.read_expiries([id])
    assert await store.pin(id)
    pinned = await stored(store, id)
    assert (pinned.pinned, pinned.importance, pinned.dynamics.unpinned_importance) == (True, 1, 1e-05)
    assert pinned.version == 2
    assert not await store.pin(id)
    assert await stored(store, id) == pinned
    assert await store.unpin(id)
    assert not await store.unpin(id)
    [after], [fields] = await records.read_many([id], None), before
    assert after == {**(fields or {}), record.VERSION: b"3"}
    assert await records.read_expiries([id]) == expiries


async def test_a_missing_memory_is_said_to_be_missing(make_store: MakeStore) -> None:
    store = make_store()
    await store.remember("x")
    for verb in (store.pin, store.unpin):
        with pytest.raises(MemoryNotFoundError, match="'gone'"):
            await verb("gone")
        with pytest.raises(InvalidInputError, match="colon"):
            await verb("a:b")


async def test_a_memory_without_importance_can_be_pinned(make_store: MakeStore, engine: Engine) -> None:
    store = make_store()
    id = await store.remember("x")
    records = engine.records(record.memory_collection(store.name))
    await records.change_many([RecordChange(id, removes=(record.IMPORTANCE,))])
    assert await store.pin(id)
    assert not await store.pin(id)
    assert (await stored(store, id)).importance == 1
    assert await store.unpin(id)
    assert (await stored(store, id)).importance == 0


async def test_of_many_who_pin_at_once_one_does_it(make_store: MakeStore) -> None:
    store = make_store()
    id = await store.remember("x", importance=0.25)
    assert sum(await asyncio.gather(*(store.pin(id) for _ in range(8)))) == 1
    assert (await stored(store, id)).dynamics.unpinned_importance == 0.25
    assert sum(await asyncio.gather(*(store.unpin(id) for _ in range(8)))) == 1
    assert (await stored(store, id)).importance == 0.25


async def test_the_importance_given_to_a_pinned_memory_waits_for_the_end_of_the_pin(make_store: MakeStore) -> None:
    store = make_store()
    id = await store.remember("x", importance=0.3)
    await store.pin(id)
    changed = await store.update(id, importance=0.7, tags=["a"], if_version=2)
    assert (changed.importance, changed.pinned, changed.tags, changed.version) == (1, True, ["a"], 3)
    with pytest.raises(VersionConflictError):
        await store.update(id, importance=0.1, if_version=2)
    assert (await store.update(id, content="another")).dynamics.unpinned_importance == 0.7
    await store.unpin(id)
    assert (await stored(store, id)).importance == 0.7
    assert (await store.update(id, importance=0.2)).importance == 0.2


async def test_a_full_scope_loses_others_than_the_pinned_ones(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(max_items_per_scope=3)
    for number in range(2):
        await store.pin(await store.remember(f"pinned {number}", importance=0, thread_id="t"))
    # So long ago that by its score each of them would leave before anything new.
    clock.advance(seconds=10 * 365 * 86_400)
    for number in range(4):
        await store.remember(f"m{number}", importance=1, thread_id="t")
    assert await contents(store) == ["m3", "pinned 0", "pinned 1"]
    await store.pin(next(item.id for item in (await store.list()).items if item.content == "m3"))
    await store.remember("m4", thread_id="t")
    assert await contents(store) == ["m3", "m4", "pinned 0", "pinned 1"], "more pins than the limit: the newest stays"
    await store.remember("m5", thread_id="t")
    assert await contents(store) == ["m3", "m5", "pinned 0", "pinned 1"]


@pytest.mark.parametrize("configuration", [FILE, URL])
async def test_a_large_scope_loses_others_than_the_pinned_ones(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(max_items_per_scope=520)
    drafts = [{"content": f"old {n}", "importance": n / 1000, "id": f"old-{n}"} for n in range(520)]
    await store.remember_many(drafts, thread_id="t")
    pinned = {f"old-{n}" for n in range(0, 40, 2)}
    await asyncio.gather(*(store.pin(id) for id in pinned))
    clock.advance(seconds=10 * 365 * 86_400)
    new = [{"content": f"new {n}", "importance": 0.9, "id": f"new-{n}"} for n in range(70)]
    await store.remember_many(new, thread_id="t")
    await store.close()
    gone = {f"old-{n}" for n in range(1, 40, 2)} | {f"old-{n}" for n in range(40, 90)}
    left = {item.id async for item in make_store().iterate()}
    assert left == ({draft["id"] for draft in drafts} | {draft["id"] for draft in new}) - gone


async def test_a_scope_full_of_pins_is_looked_at_once_a_write(
    make_store: MakeStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "SETTLE_SECONDS", 3600.0)  # what is done in the background is not of a write
    store = make_store(max_items_per_scope=2)
    for number in range(3):
        await store.pin(await store.remember(f"pinned {number}", thread_id="t"))
    await store.remember("first", thread_id="t")
    before = engine.round_trips
    await store.remember("second", thread_id="t")
    assert engine.round_trips - before <= 24
    assert await contents(store) == ["pinned 0", "pinned 1", "pinned 2", "second"]
    unpinned = next(item.id for item in (await store.list()).items if item.content == "pinned 0")
    await store.unpin(unpinned)
    await store.remember("third", thread_id="t")
    assert await contents(store) == ["pinned 1", "pinned 2", "third"]


async def test_a_summary_leaves_pinned_memories_where_they_are(make_store: MakeStore) -> None:
    store = make_store()
    for number in range(3):
        await store.remember(f"note {number}", thread_id="t", entities=[f"Ada {number}", "Paris, France"])
    kept = await store.remember("kept", thread_id="t")
    await store.pin(kept)
    digest = Digest()
    result = await store.consolidate(summarize=digest, thread_id="t")
    assert isinstance(result, ConsolidateResult)
    assert (result.deleted, await contents(store)) == (3, ["digest", "kept"])
    assert "kept" not in digest.contents
    assert set((await stored(store, result.created[0])).entities) == {"Ada 0", "Ada 1", "Ada 2", "Paris, France"}
    both = Digest()
    await store.consolidate(summarize=both, thread_id="t", delete_sources=False)
    assert both.contents == ["kept"]


async def test_what_one_deletes_oneself_is_deleted(make_store: MakeStore) -> None:
    store = make_store()
    ids = [await store.remember(f"m{number}", thread_id="t") for number in range(2)]
    for id in ids:
        await store.pin(id)
    assert await store.forget(ids[0])
    assert await store.forget_by_scope(thread_id="t") == 1
