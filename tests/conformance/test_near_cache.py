"""A recall asked again within a stated bound is answered from this process's memory, never more than the bound late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from betterdb_agent_memory import MemoryHit, MemoryStore, NearCacheStatistics, RecallWeights
from betterdb_agent_memory.engines.base import Engine
from tests.conformance.conftest import MakeStore, TestClock
from tests.embedding import AHEAD, at_angle, embed
from tests.near import Stopwatch, comes, contents, near


async def near_cache(store: MemoryStore) -> NearCacheStatistics:
    statistics = (await store.stats()).near_cache
    assert statistics is not None
    return statistics


async def test_asked_again_it_neither_embeds_nor_asks_the_engine(make_store: MakeStore, engine: Engine) -> None:
    embedded: list[str] = []

    async def counted(text: str) -> list[float]:
        embedded.append(text)
        return await embed(text)

    store = make_store(near_cache=near(Stopwatch()), embed_fn=counted)
    await store.remember(at_angle(0.9), thread_id="t", tags=["a"], metadata={"of": ["b"]})
    first = await store.recall(AHEAD, thread_id="t", reinforce=False)
    before, trips = len(embedded), engine.round_trips
    again = await store.recall(AHEAD, thread_id="t", reinforce=False)
    assert (len(embedded), engine.round_trips) == (before, trips)
    assert again == first
    again[0].item.tags.clear()
    again[0].item.metadata["of"].append("mine")
    first[0].item.tags.append("mine")
    [hit] = await store.recall(AHEAD, thread_id="t", reinforce=False)
    assert (hit.item.tags, hit.item.metadata) == (["a"], {"of": ["b"]})
    assert await store.recall(AHEAD, thread_id="t", reinforce=False, fresh=True) == [hit]
    found = await near_cache(store)
    assert (found.hits, found.misses, found.entries) == (2, 1, 1)


async def test_what_another_worker_wrote_is_seen_when_the_bound_is_reached(make_store: MakeStore) -> None:
    stopwatch = Stopwatch()
    reader, writer = make_store(near_cache=near(stopwatch, max_age_seconds=2.0)), make_store()
    ids = [await writer.remember(at_angle(0.9, name), thread_id="t") for name in "ab"]
    both = await reader.recall(AHEAD, thread_id="t")
    await writer.forget(ids[0])
    await writer.remember(at_angle(0.8, "c"), thread_id="t")
    stopwatch.seconds += 1.999
    assert contents(await reader.recall(AHEAD, thread_id="t")) == contents(both)
    stopwatch.seconds += 0.001
    assert contents(await reader.recall(AHEAD, thread_id="t")) == {at_angle(0.9, "b"), at_angle(0.8, "c")}


async def test_what_the_store_itself_writes_is_seen_at_once(make_store: MakeStore) -> None:
    store = make_store(near_cache=near(Stopwatch()), max_items_per_scope=6)

    async def is_seen(*expected: str) -> None:
        questions: list[dict[str, Any]] = [{"thread_id": "t"}, {"thread_id": "t", "agent_id": "x"}, {}]
        for question in questions:
            hits = await store.recall(AHEAD, reinforce=False, k=20, **question)
            assert hits == await store.recall(AHEAD, reinforce=False, k=20, fresh=True, **question)
            if not question:
                assert contents(hits) == set(expected)

    await is_seen()
    a = await store.remember("a", thread_id="t")
    await is_seen("a")
    await store.remember_many(["b", {"content": "c", "agent_id": "x"}], thread_id="t")
    await is_seen("a", "b", "c")
    await store.update(a, content="A")
    await is_seen("A", "b", "c")
    await store.remember("A!", id=a, on_duplicate="replace", thread_id="other")
    await is_seen("A!", "b", "c")
    same = await store.remember("d", thread_id="t", on_duplicate="merge")
    await is_seen("A!", "b", "c", "d")
    assert await store.remember("d", thread_id="t", on_duplicate="merge", importance=1.0, tags=["z"]) == same
    await is_seen("A!", "b", "c", "d")
    assert "z" in {tag for hit in await store.recall(AHEAD, reinforce=False, k=20) for tag in hit.item.tags}
    await store.forget(a)
    await is_seen("b", "c", "d")
    await store.remember_conversation(["e", "f"], thread_id="t")
    await is_seen("b", "c", "d", "e", "f")
    await store.remember_many([{"content": f"more {n}", "importance": 0.9} for n in range(7)], thread_id="t")
    left = contents(await store.recall(AHEAD, reinforce=False, k=20, fresh=True))
    assert len(left) == 7  # six of one scope, one of the other
    await is_seen(*left)
    await store.forget_by_scope(thread_id="t")
    await is_seen()


async def test_consolidation_is_seen_at_once(make_store: MakeStore) -> None:
    async def summarize(items: Sequence[Any]) -> str:
        return f"{len(items)} in one"

    store = make_store(near_cache=near(Stopwatch()))
    await store.remember_many([at_angle(0.9, name) for name in "abc"], thread_id="t")
    assert len(await store.recall(AHEAD, thread_id="t")) == 3
    await store.consolidate(summarize=summarize, thread_id="t", older_than_seconds=0, max_importance=1.0)
    assert contents(await store.recall(AHEAD, thread_id="t")) == {"3 in one"}


async def test_a_read_that_a_write_overtook_is_not_kept(make_store: MakeStore) -> None:
    searched, written = asyncio.Event(), asyncio.Event()

    async def slow(query: str, texts: Sequence[str]) -> list[float]:
        searched.set()
        await written.wait()
        return [1.0] * len(texts)

    store = make_store(near_cache=near(Stopwatch()), reranker=slow)
    await store.remember(at_angle(0.9, "a"), thread_id="t")
    overtaken = asyncio.create_task(store.recall(AHEAD, thread_id="t"))
    await searched.wait()
    await store.remember(at_angle(0.8, "b"), thread_id="t")
    written.set()
    assert len(await overtaken) == 1
    assert len(await store.recall(AHEAD, thread_id="t")) == 2


async def test_what_the_feed_tells_is_seen_before_the_bound(make_store: MakeStore) -> None:
    reader = make_store(near_cache=near(Stopwatch()), change_feed=True, discovery=False)
    writer = make_store(change_feed=True)
    a = await writer.remember(at_angle(0.9, "a"), thread_id="t")
    await writer.remember(at_angle(0.9, "u"), thread_id="u")

    async def seen() -> set[str]:
        return {text.split()[-1] for text in contents(await reader.recall(AHEAD, thread_id="t", reinforce=False))}

    assert await seen() == {"a"}
    # Until it follows the feed nothing is told; a memory that a scope of its own tells about shows that it does.
    async with asyncio.timeout(15):
        while (await near_cache(reader)).dropped == 0:
            await reader.recall(AHEAD, thread_id="v", reinforce=False)
            await writer.remember("told", thread_id="v")
            await asyncio.sleep(0.05)
    await seen()
    b = await writer.remember(at_angle(0.8, "b"), thread_id="t")
    await comes(seen, {"a", "b"})
    await writer.update(b, content=at_angle(0.8, "c"))
    await comes(seen, {"a", "c"})
    await writer.forget(a)
    await comes(seen, {"c"})
    hits = (await near_cache(reader)).hits
    assert len(await reader.recall(AHEAD, thread_id="u", reinforce=False)) == 1
    await writer.remember(at_angle(0.7, "d"), thread_id="t")
    await comes(seen, {"c", "d"})
    assert len(await reader.recall(AHEAD, thread_id="u", reinforce=False)) == 1
    assert (await near_cache(reader)).hits > hits, "what another scope was told has dropped this one's answer"


async def test_nobody_gets_the_answer_to_another_question(make_store: MakeStore) -> None:
    store, fresh = make_store(near_cache=near(Stopwatch())), make_store()
    other = make_store(near_cache=near(Stopwatch()), name=f"{store.name.strip('{}')}other")
    for thread in ("t", "T", "t,u", None):
        await store.remember_many([at_angle(0.9 - n / 10, f"{thread} {n}") for n in range(4)], thread_id=thread)
    await store.remember(at_angle(0.5, "x"), thread_id="t", agent_id="x", namespace="n", tags=["a"], subject="s")
    await other.remember(at_angle(0.9, "other"), thread_id="t")
    questions: list[dict[str, Any]] = [
        *({"thread_id": thread} for thread in ("t", "T", "t,u", "u")),
        *({}, {"agent_id": "x"}, {"namespace": "n"}, {"tags": ["a"]}, {"subject": "s"}, {"namespace": "x"}),
        *({"thread_id": "t", "k": 2}, {"thread_id": "t", "k": 3}, {"thread_id": "t", "threshold": 0.15}),
        *({"thread_id": "t", "weights": RecallWeights(0, 0, 1)}, {"thread_id": "t", "retrieval": "hybrid"}),
        *({"thread_id": "t", "diversity": 0.3}, {"thread_id": "t", "exact": True}),
        {"thread_id": "t", "where": {"importance": {"gte": 0.9}}},
    ]

    def told(hits: list[MemoryHit]) -> list[tuple[str, float, object]]:
        return [(hit.item.id, hit.score, hit.explain) for hit in hits]

    for _ in range(2):
        for question in questions:
            for text in (AHEAD, at_angle(0.1)):
                asked = await store.recall(text, reinforce=False, **question)
                assert told(asked) == told(await fresh.recall(text, reinforce=False, **question)), question
    assert (await near_cache(store)).hits == 2 * len(questions)
    assert contents(await other.recall(AHEAD, thread_id="t")) == {at_angle(0.9, "other")}
    vector = await embed(AHEAD)
    assert contents(await store.recall_by_vector(vector, thread_id="t", k=1)) == {at_angle(0.9, "t 0")}
    assert contents(await store.recall_by_vector(vector, thread_id="t", k=1)) == {at_angle(0.9, "t 0")}
    assert (await near_cache(store)).hits == 2 * len(questions) + 1


@pytest.mark.parametrize("reinforcement", ["immediate", "deferred"])
async def test_a_memory_that_was_recalled_from_near_is_reinforced(
    make_store: MakeStore, reinforcement: str, clock: TestClock
) -> None:
    stopwatch = Stopwatch()
    store = make_store(near_cache=near(stopwatch), reinforcement=reinforcement)
    id = await store.remember(at_angle(0.9), thread_id="t")
    for _ in range(3):
        clock.advance(seconds=10)
        assert len(await store.recall(AHEAD, thread_id="t")) == 1
    await store.flush()
    item = await store.get(id)
    assert item is not None
    assert (item.access_count, item.last_accessed_at) == (3, clock())
    assert (await near_cache(store)).hits == 2


async def test_a_question_about_another_time_is_always_asked(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(near_cache=near(Stopwatch()))
    await store.remember(at_angle(0.9), thread_id="t")
    for _ in range(2):
        assert len(await store.recall(AHEAD, thread_id="t", now=clock())) == 1
    assert (await near_cache(store)).misses == 0


async def test_what_is_said_in_one_scope_leaves_answers_of_others(make_store: MakeStore) -> None:
    store = make_store(near_cache=near(Stopwatch()))
    await store.remember("mine", thread_id="mine")

    async def is_near() -> bool:
        before = (await near_cache(store)).hits
        await store.recall(AHEAD, thread_id="mine", reinforce=False)
        return (await near_cache(store)).hits == before + 1

    assert not await is_near()
    for text in ("one", "two", "three"):
        [said] = await store.remember_conversation([text], thread_id="t")
        assert await is_near()
        assert text in contents(await store.recall(AHEAD, thread_id="t", reinforce=False))
        await store.remember("again", thread_id="t", on_duplicate="merge")
        assert await is_near()
    assert said.id is not None
    await store.forget(said.id)
    assert await is_near()
    await store.update(await store.remember("u", thread_id="u"), importance=0.9)
    assert not await is_near()
