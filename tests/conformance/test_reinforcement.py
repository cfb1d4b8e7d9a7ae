"""Recalled memories are touched: at once, or later and merged; a deleted one never comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from betterdb_agent_memory import DeferredReinforcement, MemoryStore
from betterdb_agent_memory.engines.base import Engine, Outcome, RecordChange
from tests.conformance.conftest import CLUSTER, FILE, POOLED, URL, MakeStore, TestClock
from tests.embedding import AHEAD, at_angle


async def touched(store: MemoryStore, id: str) -> tuple[int, int]:
    item = await store.get(id)
    assert item is not None
    return item.access_count, item.last_accessed_at


async def test_immediate_reinforcement_is_there_when_recall_returns(store: MemoryStore, clock: TestClock) -> None:
    near, far = await store.remember(AHEAD), await store.remember(at_angle(0.1))
    written_at = clock.now_ms
    clock.advance(seconds=60)
    await store.recall(AHEAD, k=1)
    assert await touched(store, near) == (1, clock.now_ms)
    assert await touched(store, far) == (0, written_at)
    await store.recall(AHEAD, k=2)
    assert (await touched(store, near))[0] == 2
    await store.recall(AHEAD, k=2, reinforce=False)
    assert (await touched(store, near))[0] == 2


@pytest.mark.parametrize("configuration", [FILE, URL, POOLED, CLUSTER], indirect=True)
async def test_the_last_four_recalls_are_kept_where_that_is_asked_for(
    make_store: MakeStore, clock: TestClock, engine: Engine
) -> None:
    plain, store = make_store(), make_store(recent_accesses=True)
    id = await plain.remember(AHEAD, id="m", on_duplicate="merge")

    async def recent() -> tuple[int, ...]:
        item = await plain.get(id)
        assert item is not None
        return item.dynamics.recent

    def round_trips() -> int:
        return engine.round_trips

    await plain.recall(AHEAD)
    before = round_trips()
    await plain.recall(AHEAD)
    needed = round_trips() - before
    assert await recent() == ()
    times = []
    for _ in range(6):
        clock.advance(seconds=10)
        await store.recall(AHEAD)
        times.append(clock.now_ms)
    before = round_trips()
    await store.recall(AHEAD, now=times[2])
    assert round_trips() - before == needed
    assert await recent() == tuple(times[2:]), "one that is older than all four changes nothing"
    assert await touched(plain, id) == (9, times[-1])
    await plain.recall(AHEAD)
    assert await recent() == tuple(times[2:])
    clock.advance(seconds=10)
    await store.remember(AHEAD, id="m", on_duplicate="merge")
    assert await recent() == (*times[3:], clock.now_ms)


@pytest.mark.parametrize("configuration", [FILE, URL], indirect=True)
async def test_waiting_recalls_are_merged_with_their_last_four_times(make_store: MakeStore, clock: TestClock) -> None:
    workers = [
        make_store(reinforcement=DeferredReinforcement(interval_seconds=3_600), recent_accesses=True) for _ in range(2)
    ]
    id = await workers[0].remember(AHEAD)
    times = []
    for number in range(12):
        clock.advance(seconds=1)
        await workers[number % 2].recall(AHEAD)
        times.append(clock.now_ms)
    await asyncio.gather(*(worker.flush() for worker in workers))
    item = await workers[0].get(id)
    assert item is not None
    assert (item.access_count, item.dynamics.recent) == (12, tuple(times[-4:]))


async def test_recalling_changes_the_next_recall(store: MemoryStore, clock: TestClock) -> None:
    favourite = await store.remember(at_angle(0.9))
    rival = await store.remember(at_angle(0.91))
    clock.advance(seconds=30 * 86_400)
    assert [hit.item.id for hit in await store.recall(AHEAD, reinforce=False)] == [rival, favourite]
    await store.recall(at_angle(0.9), k=1)
    assert [hit.item.id for hit in await store.recall(AHEAD, reinforce=False)] == [favourite, rival]


async def test_deferred_reinforcement_is_merged_and_flushed(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(reinforcement=DeferredReinforcement(interval_seconds=3_600))
    id = await store.remember(AHEAD)
    written_at = clock.now_ms
    for _ in range(10):
        clock.advance(seconds=1)
        await store.recall(AHEAD)
    assert await touched(store, id) == (0, written_at)
    assert (await store.stats()).pending_reinforcements == 1
    await store.flush()
    assert await touched(store, id) == (10, clock.now_ms)
    assert (await store.stats()).pending_reinforcements == 0


async def test_deferred_reinforcement_is_written_by_itself(make_store: MakeStore) -> None:
    store = make_store(reinforcement=DeferredReinforcement(interval_seconds=0.05))
    id = await store.remember(AHEAD)
    await store.recall(AHEAD)
    for _ in range(100):
        await asyncio.sleep(0.02)
        if (await touched(store, id))[0]:
            break
    assert (await touched(store, id))[0] == 1


async def test_deferred_reinforcement_is_written_at_close(make_store: MakeStore) -> None:
    store = make_store(reinforcement="deferred")
    id = await store.remember(AHEAD)
    await store.recall(AHEAD)
    await store.close()
    assert (await touched(make_store(), id))[0] == 1


async def test_a_full_queue_is_written_at_once(make_store: MakeStore) -> None:
    store = make_store(reinforcement=DeferredReinforcement(interval_seconds=3_600, max_pending=5))
    ids = [await store.remember(at_angle(0.9)) for _ in range(6)]
    await store.recall(AHEAD, k=6)
    for _ in range(100):
        await asyncio.sleep(0.02)
        if not (await store.stats()).pending_reinforcements:
            break
    assert [(await touched(store, id))[0] for id in ids] == [1] * 6
    assert (await store.stats()).lost_reinforcements == 0


@pytest.mark.parametrize("reinforcement", ["immediate", "deferred"])
async def test_a_touch_never_brings_a_deleted_memory_back(make_store: MakeStore, reinforcement: str) -> None:
    store = make_store(reinforcement=reinforcement)
    forgotten, kept = await store.remember(AHEAD), await store.remember(AHEAD)
    hits = await store.recall(AHEAD, reinforce=reinforcement == "deferred")
    await store.forget(forgotten)
    await store._reinforcer.reinforce([hit.item.id for hit in hits], 1_750_000_000_001)
    await store.flush()
    assert await store.get(forgotten) is None
    assert {hit.item.id for hit in await store.recall(AHEAD)} == {kept}
    assert ((await store.stats()).item_count, (await store.list()).total) == (1, 1)


async def test_two_workers_reinforcing_at_once_lose_no_count(make_store: MakeStore) -> None:
    first, second = make_store(), make_store()
    id = await first.remember(AHEAD)
    await asyncio.gather(*(worker.recall(AHEAD) for worker in (first, second) for _ in range(25)))
    assert (await touched(first, id))[0] == 50


@pytest.mark.waits
async def test_a_touch_leaves_the_expiry_alone(make_store: MakeStore) -> None:
    store = make_store()
    id = await store.remember(AHEAD, ttl=1)
    await store.recall(AHEAD)
    await asyncio.sleep(1.3)
    assert await store.get(id) is None


async def test_what_waits_is_written_a_few_at_a_time(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is not to work through hundreds of writes before it looks at somebody's search."""
    store = make_store(reinforcement=DeferredReinforcement(interval_seconds=0.05))
    texts = [f"v({i + 1},1,0,0,0,0,0,0)" for i in range(100)]
    written = [result.id for result in await store.remember_many(texts)]
    batches: list[int] = []
    change_many = store._records.change_many

    async def counted(changes: Sequence[RecordChange]) -> list[Outcome]:
        outcomes = await change_many(changes)
        batches.append(len(changes))  # once it is written
        return outcomes

    monkeypatch.setattr(store._records, "change_many", counted)
    assert len(await store.recall("v(1,0,0,0,0,0,0,0)", k=100)) == 100
    for _ in range(500):
        if not store._reinforcer.statistics().pending and sum(batches) == 100:
            break
        await asyncio.sleep(0.01)
    assert sum(batches) == 100
    assert max(batches) <= 16
    assert {item.access_count for item in await store.get_many([id for id in written if id]) if item} == {1}
