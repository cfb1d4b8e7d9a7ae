"""Memories that are wrong are corrected: what was is kept apart, and goes with what took its place."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Sequence
from typing import Any

import pytest

from betterdb_agent_memory import (
    InvalidInputError,
    MemoryItem,
    MemoryListOptions,
    MemoryNotFoundError,
    MemoryStore,
    MemoryVersion,
    RecallWeights,
    SupersededError,
    VersionConflictError,
)
from betterdb_agent_memory.engines.base import Engine, RecordChange, RecordWrite
from betterdb_agent_memory.memory.correction.shelf import shelf_collection
from tests.conformance.conftest import MakeStore, TestClock
from tests.conformance.test_changes import ALL, told

PARIS, SOFIA, VARNA = "Ann lives in Paris", "Ann lives in Sofia", "Ann lives in Varna"


async def contents(store: MemoryStore, query: str = "where does Ann live", **asked: Any) -> set[str]:
    return {hit.item.content for hit in await store.recall(query, **asked)}


async def kept(engine: Engine, store: MemoryStore) -> set[str]:
    """The ids of the superseded versions that there are."""
    shelf = engine.records(shelf_collection(store.name))
    return {row.id async for rows in shelf.scan(["content"]) for row in rows}


def texts(versions: Sequence[MemoryVersion]) -> list[str]:
    return [version.item.content for version in versions]


async def test_a_correction_takes_the_place_of_what_it_corrects(
    store: MemoryStore, engine: Engine, clock: TestClock
) -> None:
    old = await store.remember(
        PARIS,
        thread_id="Ü, n",
        agent_id="a",
        namespace="n",
        tags=["x", "y"],
        kind="relational",
        entities=["Ann, Ms"],
        importance=0.7,
        subject="home",
        source="chat",
        occurred_at=5,
        metadata={"a": [1]},
        ttl=5_000,
    )
    await store.pin(old)
    await store.recall(PARIS)
    await store.flush()
    before = await store.get(old)
    clock.advance(seconds=60)
    new = await store.correct(old, SOFIA, tags=["z"], subject=None)

    assert before is not None
    assert new.id != old
    assert await store.get(new.id) == new
    assert (new.content, new.tags, new.subject, new.created_at) == (SOFIA, ["z"], None, clock.now_ms)
    inherited = ("thread_id", "agent_id", "namespace", "kind", "entities", "importance", "source", "occurred_at")
    for name in (*inherited, "metadata", "pinned"):
        assert getattr(new, name) == getattr(before, name)
    assert (new.access_count, new.version, new.dynamics.supersedes) == (0, 1, (old,))
    assert new.dynamics.unpinned_importance == 0.7

    # Nobody finds the former one but who asks for it.
    assert await store.get(old) is None
    assert await contents(store) == {SOFIA}
    listed = await store.list(MemoryListOptions())
    assert ([item.id for item in listed.items], listed.total) == ([new.id], 1)
    assert [item.id async for item in store.iterate()] == [new.id]
    assert (await store.stats()).item_count == 1
    with pytest.raises(SupersededError) as refused:
        await store.correct(old, VARNA)
    assert (refused.value.memory_id, refused.value.superseded_by) == (old, new.id)
    assert await kept(engine, store) == {old}


async def test_history_tells_all_versions_whichever_is_asked_for(store: MemoryStore, clock: TestClock) -> None:
    began = clock.now_ms
    first = await store.remember(PARIS)
    clock.advance(seconds=10)
    second = (await store.correct(first, SOFIA)).id
    clock.advance(seconds=10)
    third = (await store.correct(second, VARNA, valid_from=began + 15_000)).id
    for id in (first, second, third):
        versions = await store.history(id)
        assert texts(versions) == [PARIS, SOFIA, VARNA]
        assert [(one.valid_from - began, one.valid_until and one.valid_until - began) for one in versions] == [
            (0, 10_000),
            (10_000, 15_000),
            (15_000, None),
        ]
        assert [one.superseded_by for one in versions] == [second, third, None]
        assert [one.is_current for one in versions] == [False, False, True]
    assert texts(await store.history(first, limit=2)) == [PARIS, SOFIA]
    assert texts(await store.history(third, limit=2)) == [SOFIA, VARNA]
    assert await store.history("unknown") == []
    alone = await store.remember("something else")
    assert texts(await store.history(alone)) == ["something else"]


async def test_several_memories_are_superseded_by_one(store: MemoryStore, engine: Engine, clock: TestClock) -> None:
    a = await store.remember(PARIS)
    clock.advance(seconds=1)
    b = await store.remember(SOFIA, id="b, with a comma")
    clock.advance(seconds=1)
    c = await store.remember(VARNA, thread_id="another scope")
    assert await store.supersede(a, c)
    assert not await store.supersede(a, c)
    assert await store.supersede(b, c)
    assert await contents(store) == {VARNA}
    assert texts(await store.history(a)) == texts(await store.history(c)) == [PARIS, SOFIA, VARNA]
    item = await store.get(c)
    assert item is not None
    assert set(item.dynamics.supersedes) == {a, b}
    assert await kept(engine, store) == {a, b}
    other = await store.remember("other")
    with pytest.raises(SupersededError):
        await store.supersede(a, other)
    with pytest.raises(SupersededError):
        await store.supersede(other, a)


async def test_what_cannot_be_corrected_is_said_before_anything_is_paid_for(make_store: MakeStore) -> None:
    calls = 0

    async def embed(text: str) -> list[float]:
        nonlocal calls
        calls += 1
        return [1.0, float(len(text))]

    store = make_store(embed_fn=embed)
    id = await store.remember(PARIS)
    paid = calls
    for refused, error in (
        (lambda: store.correct("missing", SOFIA), MemoryNotFoundError),
        (lambda: store.correct(id, PARIS), InvalidInputError),
        (lambda: store.correct(id, None), InvalidInputError),  # type: ignore[arg-type]
        (lambda: store.correct(id, SOFIA, importance=7), InvalidInputError),
        (lambda: store.correct(id, SOFIA, valid_from="yesterday"), InvalidInputError),
        (lambda: store.correct(id, SOFIA, if_version=4), VersionConflictError),
        (lambda: store.correct("a:b", SOFIA), InvalidInputError),
        (lambda: store.supersede(id, id), InvalidInputError),
        (lambda: store.supersede(id, "missing"), MemoryNotFoundError),
        (lambda: store.supersede("missing", id), MemoryNotFoundError),
        (lambda: store.contradict(id, id), InvalidInputError),
        (lambda: store.contradict(id, "missing"), MemoryNotFoundError),
        (lambda: store.history(id, limit=0), InvalidInputError),
    ):
        with pytest.raises(error):
            await refused()
    assert calls == paid
    assert await store.get(id) is not None
    assert texts(await store.history(id)) == [PARIS]


async def test_a_contradicted_memory_stays_and_is_trusted_less(store: MemoryStore) -> None:
    old = await store.remember(PARIS, kind="opinion")
    new, newer = await store.remember(SOFIA), await store.remember(VARNA)
    assert await store.contradict(old, new)
    assert not await store.contradict(old, new)
    item = await store.get(old)
    assert item is not None
    assert (item.dynamics.contradicted_by, item.version) == ((new,), 2)
    assert item.dynamics.reliability == pytest.approx(0.6 * 0.3)
    assert await store.contradict(old, newer)
    item = await store.get(old)
    assert item is not None
    assert item.dynamics.contradicted_by == (new, newer)
    assert item.dynamics.reliability == pytest.approx(0.6 * 0.3 * 0.3)
    assert await contents(store) == {PARIS, SOFIA, VARNA}


async def test_forgetting_leaves_nothing_of_what_was_superseded(store: MemoryStore, engine: Engine) -> None:
    chains = []
    for number in range(3):
        first = await store.remember(f"{PARIS} {number}", thread_id=f"t{number}")
        second = (await store.correct(first, f"{SOFIA} {number}")).id
        chains.append((first, second, (await store.correct(second, f"{VARNA} {number}")).id))
    # By the id of the one in their place, with all before it.
    assert await store.forget(chains[0][2])
    assert await store.history(chains[0][0]) == []
    # By the id of a superseded one: that and what was before it, not what took its place.
    assert await store.forget(chains[1][1])
    assert not await store.forget(chains[1][1])
    assert texts(await store.history(chains[1][2])) == [f"{VARNA} 1"]
    # By scope.
    assert await store.forget_by_scope(thread_id="t2") == 1
    assert await store.history(chains[2][1]) == []
    assert await kept(engine, store) == set()
    assert await store.forget_by_scope(thread_id="t1") == 1
    assert await contents(store) == set()


async def test_forgetting_a_scope_by_a_condition_takes_the_former_versions_along(
    store: MemoryStore, engine: Engine
) -> None:
    old = await store.remember(PARIS, thread_id="t", tags=["old"])
    await store.correct(old, SOFIA, tags=["new"])
    # In the scope, but nothing of it is current.
    spared = await store.remember(VARNA, thread_id="u", tags=["old"])
    other = await store.correct(spared, PARIS, tags=["other"])
    assert await store.forget_by_scope(thread_id="t", tags=["new"]) == 1
    assert await kept(engine, store) == {spared}
    assert await store.forget_by_scope(thread_id="u", tags=["old"]) == 0
    assert await kept(engine, store) == set()
    assert await store.get(other.id) is not None


async def test_replacing_a_memory_keeps_what_it_superseded_within_reach(store: MemoryStore, engine: Engine) -> None:
    first = await store.remember(PARIS)
    second = await store.correct(first, SOFIA)
    await store.remember(VARNA, id=second.id, on_duplicate="replace")
    assert await store.forget(second.id)
    assert await kept(engine, store) == set()


async def test_a_version_is_kept_as_long_as_was_said_and_no_longer_than_it_would_have_lived(
    make_store: MakeStore, engine: Engine
) -> None:
    store = make_store(superseded_ttl=1_000)
    ids = [await store.remember(f"{PARIS} {ttl}", ttl=ttl) for ttl in (100, 50_000, None)]
    new = [(await store.correct(id, f"{SOFIA} {id}")).id for id in ids]
    forever = make_store(superseded_ttl=None)
    ids.append(await forever.remember(VARNA))
    new.append((await forever.correct(ids[-1], PARIS, ttl=300)).id)
    now = time.time()

    async def left(records: object, of: Sequence[str]) -> list[int | None]:
        ends = await records.read_expiries(of)  # type: ignore[attr-defined]
        return [None if at_ms is None else round(at_ms / 1000 - now, -2) for at_ms in ends]

    assert await left(engine.records(shelf_collection(store.name)), ids) == [100, 1_000, 1_000, None]
    assert await left(store._records, new) == [100, 50_000, None, 300]


async def test_of_workers_who_correct_one_memory_at_once_one_does(make_store: MakeStore, engine: Engine) -> None:
    stores = [make_store() for _ in range(4)]
    id = await stores[0].remember(PARIS)
    answers = await asyncio.gather(
        *(store.correct(id, f"{SOFIA} says {number}") for number, store in enumerate(stores)), return_exceptions=True
    )
    [winner] = [answer for answer in answers if isinstance(answer, MemoryItem)]
    losers = [answer for answer in answers if not isinstance(answer, MemoryItem)]
    assert [getattr(loser, "superseded_by", loser) for loser in losers] == [winner.id] * 3
    assert await contents(stores[0]) == {winner.content}
    assert texts(await stores[1].history(id)) == [PARIS, winner.content]
    assert await kept(engine, stores[0]) == {id}


async def test_a_correction_sees_what_is_changed_meanwhile(make_store: MakeStore) -> None:
    store, other = make_store(), make_store()
    id = await store.remember(PARIS, tags=["a"])
    new, _ = await asyncio.gather(store.correct(id, SOFIA), other.update(id, importance=0.9), return_exceptions=True)
    assert isinstance(new, MemoryItem)
    [former, latest] = await store.history(id)
    # Changed before it went, and then inherited, or not at all.
    assert former.item.importance == latest.item.importance


async def test_an_id_that_is_used_again_loses_no_version(store: MemoryStore, engine: Engine) -> None:
    await store.remember(PARIS, id="home")
    first = await store.correct("home", SOFIA)
    await store.remember(VARNA, id="home")
    second = await store.correct("home", "Ann lives in Ruse")
    assert texts(await store.history(first.id)) == [PARIS, SOFIA]
    assert texts(await store.history(second.id)) == [VARNA, "Ann lives in Ruse"]
    assert len(await kept(engine, store)) == 2
    assert await store.forget(first.id)
    assert await store.forget(second.id)
    assert await kept(engine, store) == set()


async def test_what_a_killed_worker_left_is_finished_by_the_next_call(store: MemoryStore, engine: Engine) -> None:
    # As it is on a cluster whose keys lie in several slots: told that it is superseded, and still among the others.
    for call in ("history", "correct", "supersede", "contradict"):
        old, new = await store.remember(PARIS), await store.remember(SOFIA)
        await store._records.change_many([RecordChange(old, sets={"superseded_by": new.encode()})])
        if call == "history":
            assert texts(await store.history(new)) in ([SOFIA], [PARIS, SOFIA])
            await store.history(old)
        elif call == "correct":
            with pytest.raises(SupersededError):
                await store.correct(old, VARNA)
        else:
            third = await store.remember(VARNA)
            with pytest.raises(SupersededError):
                await getattr(store, call)(old, third)
            await store.forget(third)
        assert await store.get(old) is None
        assert texts(await store.history(old)) == [PARIS, SOFIA]
        assert await store.forget(new)
    assert await kept(engine, store) == set()


async def test_the_feed_tells_what_was_superseded_and_by_what(make_store: MakeStore) -> None:
    store = make_store(change_feed=ALL)
    old = await store.remember(PARIS, thread_id="t")
    new = (await store.correct(old, SOFIA)).id
    other = await store.remember(VARNA)
    await store.supersede(new, other)
    await store.contradict(other, await store.remember("Ann lives nowhere"))
    changes = await told(store)
    superseded = [change for change in changes if change.kind == "superseded"]
    assert [(one.memory_id, one.superseded_by, one.scope.thread_id) for one in superseded] == [
        (old, new, "t"),
        (new, other, "t"),
    ]
    assert [one.memory_id for one in changes if one.kind == "remembered"][:3] == [old, new, other]
    assert [(one.memory_id, one.reason) for one in changes if one.kind == "updated"] == [(other, "contradicted")]


async def test_recall_as_of_finds_what_was_valid_then(store: MemoryStore, clock: TestClock) -> None:
    async def at(moment: int, **asked: Any) -> set[str]:
        return await contents(store, as_of=moment, **asked)

    never = clock.now_ms - 1
    start = clock.now_ms
    old = await store.remember(PARIS, thread_id="t")
    other = await store.remember("Bob lives in Ruse", thread_id="u")
    assert await at(start) == {PARIS, "Bob lives in Ruse"}
    clock.advance(seconds=100)
    middle = await store.correct(old, SOFIA)
    clock.advance(seconds=100)
    await store.correct(middle.id, VARNA, valid_from=start + 150_000)
    assert await at(never) == set()
    for moment, content in ((0, PARIS), (99_999, PARIS), (100_000, SOFIA), (149_999, SOFIA), (150_000, VARNA)):
        assert await at(start + moment, thread_id="t") == {content}
        assert await at(start + moment) == {content, "Bob lives in Ruse"}
        assert await at(start + moment, retrieval="hybrid", thread_id="t") == {content}
        assert await at(start + moment, exact=True, thread_id="t") == {content}
    assert await contents(store, thread_id="t") == {VARNA}
    assert await contents(store, include_superseded=True) == {PARIS, SOFIA, VARNA, "Bob lives in Ruse"}
    # The exact scope, of versions too.
    assert await at(start, thread_id="T") == set()
    assert await store.get(other) is not None


async def test_what_was_valid_then_is_ranked_together_and_left_untouched(
    store: MemoryStore, clock: TestClock, engine: Engine
) -> None:
    start = clock.now_ms
    ids = [await store.remember(f"Ann lives in street {number}") for number in range(12)]
    clock.advance(seconds=10)
    for id in ids[::2]:
        await store.correct(id, f"Ann has left {id}")
    hits = await store.recall("Ann lives in street 4", as_of=start, k=12)
    assert {hit.item.id for hit in hits} == set(ids)
    assert hits[0].item.id == ids[4]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    await store.flush()
    versions = await engine.records(shelf_collection(store.name)).read_many(ids[::2], ("access_count",))
    assert {(fields or {}).get("access_count") for fields in versions} == {b"0"}
    # A memory that is there still was recalled.
    touched = await store.get(ids[5])
    assert touched is not None
    assert touched.access_count == 1


async def test_a_correction_is_told_before_what_it_corrects(make_store: MakeStore) -> None:
    store = make_store()
    wrong = await store.remember(PARIS, importance=1.0)
    right = await store.remember("Ann moved away: to Sofia it was", importance=0.0)
    await store.remember("Ann lives in Parys", importance=1.0)
    before = [hit.item.id for hit in await store.recall(PARIS, reinforce=False)]
    assert before.index(wrong) < before.index(right)
    await store.contradict(wrong, right)
    hits = await store.recall(PARIS, reinforce=False)
    found = [hit.item.id for hit in hits]
    assert found.index(right) == found.index(wrong) - 1
    assert hits[found.index(right)].explain is not None
    assert hits[found.index(right)].explain.outranks == (wrong,)  # type: ignore[union-attr]
    # Also where the correction would not have been among the hits, and whatever puts them in order.
    assert [hit.item.id for hit in await store.recall(PARIS, k=1, reinforce=False)] == [right]
    diverse = [hit.item.id for hit in await store.recall(PARIS, reinforce=False, diversity=0.5)]
    assert diverse.index(right) == diverse.index(wrong) - 1

    async def backwards(query: str, texts: Sequence[str]) -> list[float]:
        return [float(text == PARIS) for text in texts]

    reranked = [hit.item.id for hit in await make_store(reranker=backwards).recall(PARIS, reinforce=False)]
    assert reranked[:2] == [right, wrong]


async def test_a_memory_holds_from_and_until_when_it_was_told_to(store: MemoryStore, clock: TestClock) -> None:
    offer = await store.remember("The offer", valid_from="2025-03-01", valid_until="2025-04-01T00:00:00Z")
    [result] = await store.remember_many([{"content": "The plain one", "valid_until": clock.now_ms + 5_000}])
    item = await store.get(offer)
    assert item is not None
    assert (item.dynamics.valid_from, item.dynamics.valid_until) == (1_740_787_200_000, 1_743_465_600_000)
    for moment, found in (
        ("2025-02-28", set()),
        ("2025-03-01", {"The offer"}),
        (1_743_465_599_999, {"The offer"}),
        (1_743_465_600_000, set()),
        (clock.now_ms, {"The plain one"}),
        (clock.now_ms + 4_999, {"The plain one"}),
        (clock.now_ms + 5_000, set()),
    ):
        assert await contents(store, as_of=moment) == found
    assert await contents(store) == {"The offer", "The plain one"}
    # What was said to end earlier has not held until it was superseded.
    clock.advance(seconds=60)
    assert result.id is not None
    new = await store.correct(result.id, "The other one")
    assert [version.valid_until for version in await store.history(new.id)] == [clock.now_ms - 55_000, None]
    with pytest.raises(InvalidInputError, match="never"):
        await store.remember("x", valid_from=5, valid_until=5)
    with pytest.raises(InvalidInputError, match="as_of"):
        await store.recall("x", as_of="yesterday")


async def test_versions_are_found_after_a_change_of_models(
    store: MemoryStore, engine: Engine, clock: TestClock
) -> None:
    # As they are left by a model whose vectors were shorter.
    shelf = engine.records(shelf_collection(store.name))
    await shelf.prepare(4)
    now = b"%d" % clock.now_ms
    fields = {"content": PARIS.encode(), "importance": b"0.5", "access_count": b"0", "superseded_by": b"gone"}
    times = {"created_at": now, "last_accessed_at": now, "embedder": b"former"}
    await shelf.write_many([RecordWrite("first", {**fields, **times, "vector": struct.pack("<4f", 1, 2, 3, 4)})])
    old = await store.remember("Ann lived in Ruse")
    new = await store.correct(old, SOFIA)
    assert await contents(store, include_superseded=True) == {PARIS, "Ann lived in Ruse", SOFIA}
    [hit] = await store.recall(PARIS, include_superseded=True, k=1, weights=RecallWeights(1, 0, 0))
    assert (hit.item.id, round(hit.distance, 5)) == ("first", 0)
    [again] = await shelf.read_many(["first"], ("embedder",))
    assert again != {"embedder": b"former"}
    assert await contents(store) == {SOFIA}
    assert new.dynamics.supersedes == (old,)
