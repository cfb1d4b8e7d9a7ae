"""What is remembered is recalled, in the right order, with reasons."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from betterdb_agent_memory import MemoryListOptions, MemoryScope, MemoryStore, RecallWeights
from tests.conformance.conftest import MakeStore, TestClock
from tests.embedding import AHEAD, at_angle

EQUAL_WEIGHTS = RecallWeights(similarity=1, recency=0, importance=0)


async def test_a_memory_comes_back_as_it_was_given(store: MemoryStore, clock: TestClock) -> None:
    id = await store.remember(
        "Ana prefers tea \U0001f375 — naïve, “quoted”\n\tand tabbed",
        importance=0.25,
        tags=["drink", "Ünïcode tag"],
        source="chat",
        thread_id="t",
        agent_id="a",
        namespace="n",
        subject="favourite drink",
        date="2025-06-15",
    )
    item = await store.get(id)
    assert item is not None
    assert item.content == "Ana prefers tea \U0001f375 — naïve, “quoted”\n\tand tabbed"
    assert (item.importance, item.tags, item.source) == (0.25, ["drink", "Ünïcode tag"], "chat")
    assert (item.thread_id, item.agent_id, item.namespace) == ("t", "a", "n")
    assert (item.subject, item.date) == ("favourite drink", "2025-06-15")
    assert item.created_at == item.last_accessed_at == clock.now_ms
    assert item.access_count == 0
    [hit] = await store.recall("Ana prefers tea", thread_id="t", reinforce=False)
    assert hit.item == item
    assert (await store.list()).items == [item]


async def test_absent_options_come_back_as_none(store: MemoryStore) -> None:
    item = await store.get(await store.remember("plain"))
    assert item is not None
    assert (item.importance, item.tags) == (0.5, [])
    assert [item.source, item.subject, item.date, item.thread_id, item.agent_id, item.namespace] == [None] * 6


async def test_hits_are_ordered_by_the_composite_and_cut_to_k(store: MemoryStore, clock: TestClock) -> None:
    old = await store.remember(at_angle(1.0), importance=0)
    clock.advance(seconds=30 * 86_400)
    fresh = await store.remember(at_angle(0.9), importance=1)
    middling = await store.remember(at_angle(0.95), importance=0.2)
    far = await store.remember(at_angle(-1.0), importance=0)
    hits = await store.recall(AHEAD, k=4, reinforce=False)
    assert [hit.item.id for hit in hits] == [fresh, middling, old, far]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert [hit.item.id for hit in await store.recall(AHEAD, k=2, reinforce=False)] == [fresh, middling]
    by_similarity = await store.recall(AHEAD, k=4, weights=EQUAL_WEIGHTS, reinforce=False)
    assert [hit.item.id for hit in by_similarity] == [old, middling, fresh, far]
    assert by_similarity[0].distance == pytest.approx(0, abs=1e-5)
    assert by_similarity[3].distance == pytest.approx(2, abs=1e-5)


async def test_a_hit_explains_its_score(store: MemoryStore, clock: TestClock) -> None:
    await store.remember(at_angle(0.8), importance=0.5)
    clock.advance(seconds=604_800)
    [hit] = await store.recall(AHEAD, reinforce=False)
    assert hit.explain is not None
    assert hit.explain.distance == hit.distance == hit.similarity == pytest.approx(0.2, abs=1e-5)
    assert hit.explain.age_seconds == pytest.approx(604_800)
    terms = {component.name: component for component in hit.explain.components}
    assert terms["similarity"].value == pytest.approx(0.9, abs=1e-5)
    assert terms["recency"].value == pytest.approx(0.5)
    assert terms["importance"].value == 0.5
    assert (terms["similarity"].weight, terms["recency"].weight, terms["importance"].weight) == (0.6, 0.25, 0.15)
    assert hit.explain.score == pytest.approx(hit.score)
    assert hit.score == pytest.approx(0.6 * 0.9 + 0.25 * 0.5 + 0.15 * 0.5, abs=1e-5)


async def test_equals_are_ordered_by_newer_creation_then_id(make_store: MakeStore, clock: TestClock) -> None:
    ids = iter(["c", "a", "b", "d"])
    store = make_store(new_id=lambda: next(ids))
    for _ in range(3):
        await store.remember(AHEAD)
    clock.advance(seconds=1)
    await store.remember(AHEAD)
    hits = await store.recall(AHEAD, weights=EQUAL_WEIGHTS, reinforce=False)
    assert [hit.item.id for hit in hits] == ["d", "a", "b", "c"]


async def test_the_threshold_is_a_distance_and_equal_to_it_is_within(make_store: MakeStore) -> None:
    store = make_store(default_threshold=0.25)
    near = await store.remember("v(0.75,0.6614378277661477,0,0,0,0,0,0)")
    far = await store.remember("v(0.5,0.8660254037844386,0,0,0,0,0,0)")
    assert [hit.item.id for hit in await store.recall(AHEAD, reinforce=False)] == [near]
    assert [hit.item.id for hit in await store.recall(AHEAD, threshold=0.5, reinforce=False)] == [near, far]
    assert await store.recall(AHEAD, threshold=0.24, reinforce=False) == []


async def test_recall_by_vector_needs_no_embedder(make_store: MakeStore) -> None:
    writer, reader = make_store(), make_store(embed_fn=None)
    id = await writer.remember(AHEAD)
    assert [hit.item.id for hit in await reader.recall_by_vector([1, 0, 0, 0, 0, 0, 0, 0])] == [id]
    assert [hit.item.id for hit in await reader.recall_by_vector([2.5, 0, 0, 0, 0, 0, 0, 0])] == [id]


async def test_now_replaces_the_clock(store: MemoryStore, clock: TestClock) -> None:
    await store.remember(AHEAD)
    [hit] = await store.recall(AHEAD, now=clock.now_ms + 604_800_000, reinforce=False)
    assert hit.explain is not None
    assert hit.explain.age_seconds == 604_800


async def test_more_memories_than_candidates_still_give_k(store: MemoryStore) -> None:
    for number in range(120):
        await store.remember(at_angle(1 - number / 1000, str(number)))
    hits = await store.recall(AHEAD, k=100, reinforce=False)
    assert len(hits) == 100
    nearest = await store.recall(AHEAD, k=5, weights=EQUAL_WEIGHTS, reinforce=False)
    assert [hit.item.content.split()[-1] for hit in nearest] == ["0", "1", "2", "3", "4"]


async def test_an_empty_store_answers_with_nothing(make_store: MakeStore) -> None:
    store = make_store()
    assert await store.recall("anything") == []
    assert (await store.list()).total == 0
    assert (await store.stats()).item_count == 0
    assert await store.get("nobody") is None
    assert await store.forget("nobody") is False
    assert await store.forget_by_scope(thread_id="t") == 0


@pytest.mark.waits
async def test_an_expired_memory_is_gone_from_everywhere(store: MemoryStore) -> None:
    short = await store.remember(AHEAD, ttl=1, thread_id="t")
    long = await store.remember(AHEAD, ttl=timedelta(hours=1), thread_id="t")
    forever = await store.remember(AHEAD, ttl=0, thread_id="t")
    await asyncio.sleep(1.3)
    assert await store.get(short) is None
    assert {hit.item.id for hit in await store.recall(AHEAD, thread_id="t")} == {long, forever}
    assert {item.id for item in (await store.list(MemoryListOptions(thread_id="t"))).items} == {long, forever}
    assert await store.forget(short) is False
    assert await store.forget_by_scope(thread_id="t") == 2


async def test_scope_can_be_said_in_both_ways(store: MemoryStore) -> None:
    id = await store.remember("x", scope=MemoryScope(thread_id="t", namespace="n"))
    for arguments in (
        {"scope": MemoryScope(thread_id="t", namespace="n")},
        {"scope": MemoryScope(thread_id="t"), "namespace": "n"},
        {"thread_id": "t", "namespace": "n"},
        {"thread_id": "t"},
    ):
        assert [hit.item.id for hit in await store.recall("x", reinforce=False, **arguments)] == [id]


async def test_many_tasks_share_one_store(store: MemoryStore) -> None:
    ids = await asyncio.gather(*(store.remember(f"memory {n}", thread_id=f"t{n % 4}", ttl=60) for n in range(40)))
    assert len(set(ids)) == 40
    recalled = await asyncio.gather(*(store.recall(f"memory {n}", k=50, thread_id=f"t{n % 4}") for n in range(40)))
    assert all(len(hits) == 10 for hits in recalled)
    assert all(hit.item.thread_id == f"t{n % 4}" for n, hits in enumerate(recalled) for hit in hits)
    assert (await store.stats()).item_count == 40


async def test_a_cancelled_call_leaves_the_store_usable(store: MemoryStore) -> None:
    await store.ensure_index()
    for _ in range(5):
        task = asyncio.create_task(store.remember("cancelled", thread_id="t"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    kept = await store.remember("kept", thread_id="u")
    assert [hit.item.id for hit in await store.recall("kept", thread_id="u")] == [kept]
    for item in (await store.list()).items:
        assert item.content in ("cancelled", "kept")
