"""What happens to memories is told, completely and in order, to whoever follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from betterdb_agent_memory import (
    Change,
    ChangeFeedOptions,
    ChangesMissedError,
    Fact,
    MemoryItem,
    MemoryNotFoundError,
    MemoryScope,
    MemoryStore,
)
from betterdb_agent_memory.engines.base import Engine
from tests.conformance.conftest import MakeStore
from tests.waiting import until

ALL = ChangeFeedOptions(reinforced_share=1.0)


async def take(changes: AsyncIterator[Change], count: int, *, seconds: float = 10.0) -> list[Change]:
    """The first `count` of them."""
    taken: list[Change] = []
    async with asyncio.timeout(seconds), aclosing(changes) as following:  # type: ignore[type-var]
        if count:
            async for change in following:
                taken.append(change)
                if len(taken) == count:
                    break
    return taken


async def told(store: MemoryStore) -> list[Change]:
    """All changes that have been told."""
    end = await store.remember("the end", namespace="__end")
    found: list[Change] = []
    async with asyncio.timeout(30), aclosing(store.changes(since="oldest")) as following:  # type: ignore[type-var]
        async for change in following:
            if change.memory_id == end:
                break
            found.append(change)
    await store.forget(end)
    return [change for change in found if change.scope.namespace != "__end"]


def short(changes: Sequence[Change]) -> list[tuple[str, str]]:
    return [(change.kind, change.memory_id) for change in changes]


async def test_each_verb_is_told_with_scope_version_and_time(make_store: MakeStore) -> None:
    store = make_store(change_feed=ALL)
    a = await store.remember("a green tea", thread_id="t", agent_id="x", namespace="Ü , n ")
    [b, c] = [result.id for result in await store.remember_many([{"content": "b black"}, {"content": "c"}])]
    assert b is not None
    assert c is not None
    await store.update(a, content="a white tea")
    await store.update(a, importance=0.9)
    hits = await store.recall("a white tea", thread_id="t")
    assert [hit.item.id for hit in hits] == [a]
    await store.forget(b)
    assert await store.forget_many([b, c]) == [False, True]
    assert await store.forget_by_scope(thread_id="t") == 1
    changes = await told(store)
    assert short(changes) == [
        ("remembered", a),
        ("remembered", b),
        ("remembered", c),
        ("updated", a),
        ("updated", a),
        ("reinforced", a),
        ("forgotten", b),
        ("forgotten", c),
        ("forgotten", a),
    ]
    of_a = [change for change in changes if change.memory_id == a]
    assert {change.scope for change in of_a} == {MemoryScope("t", "x", "Ü , n ")}
    assert [change.version for change in of_a] == [1, 2, 3, 3, 3]
    assert [change.at_ms for change in changes] == sorted(change.at_ms for change in changes)
    status = await store.change_feed()
    assert status is not None
    assert status.begun_at_ms <= changes[0].at_ms <= status.begun_at_ms + 60_000
    assert status.complete_from_ms == status.begun_at_ms + 10_000
    assert not status.is_complete
    numbers = [int(change.id.partition("-")[2]) for change in changes]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_evicted_merged_and_replaced_memories_are_told_as_such(make_store: MakeStore) -> None:
    store = make_store(change_feed=True, max_items_per_scope=2)
    ids = [await store.remember(f"memory {n}", thread_id="full", importance=n / 10) for n in range(3)]
    [draft] = await store.remember_many([{"content": "once", "namespace": "m"}], on_duplicate="merge")
    [again] = await store.remember_many([{"content": "once", "namespace": "m"}], on_duplicate="merge")
    assert again.id == draft.id
    assert draft.id is not None
    changes = await told(store)
    assert short(changes) == [
        *(("remembered", id) for id in ids),
        ("evicted", ids[0]),
        ("remembered", draft.id),
        ("updated", draft.id),
    ]


async def test_what_consolidation_replaces_is_told_as_such(make_store: MakeStore) -> None:
    store = make_store(change_feed=True)
    sources = [await store.remember(f"note {n}", thread_id="s") for n in range(3)]

    async def summarize(memories: Sequence[MemoryItem]) -> str:
        return f"{len(memories)} notes"

    result = await store.consolidate(summarize=summarize, thread_id="s")
    changes = await told(store)
    assert short(changes[:3]) == [("remembered", id) for id in sources]
    assert short(changes[3:4]) == [("remembered", result.created[0])]
    assert sorted(short(changes[4:])) == sorted(("consolidated", id) for id in sources)
    await store.remember("likes tea", thread_id="f")
    tastes = iter(["tea", "coffee"])

    async def extract(memories: Sequence[MemoryItem]) -> list[Fact]:
        return [Fact("drink", f"drinks {next(tastes)}")]

    await store.consolidate(extract_facts=extract, thread_id="f")
    await store.remember("likes coffee", thread_id="f")
    await store.consolidate(extract_facts=extract, thread_id="f")
    [superseded] = [change for change in await told(store) if change.kind == "superseded"]
    assert superseded.scope == MemoryScope(thread_id="f")
    assert await take(store.changes(since="oldest", kinds=["superseded"]), 1) == [superseded]


async def test_a_scope_is_exact(make_store: MakeStore) -> None:
    store = make_store(change_feed=True)
    threads = ["alice", "Alice", " alice ", "alice,bob", "", None]
    ids = {thread: await store.remember("hello", thread_id=thread, agent_id="a") for thread in threads}
    changes = await take(store.changes(since="oldest", thread_id="alice"), 1)
    assert short(changes) == [("remembered", ids["alice"])]
    for thread, id in ids.items():
        if thread is not None:
            assert short(await take(store.changes(since="oldest", scope=MemoryScope(thread, "a")), 1)) == [
                ("remembered", id)
            ]
    assert len(await take(store.changes(since="oldest", agent_id="a"), 6)) == 6


async def test_it_goes_on_behind_a_change_a_time_or_now(make_store: MakeStore) -> None:
    store = make_store(change_feed=True)
    ids = [await store.remember(f"m{n}") for n in range(4)]
    first, second = await take(store.changes(since="oldest"), 2)
    assert short([first, second]) == [("remembered", ids[0]), ("remembered", ids[1])]
    assert short(await take(store.changes(since=first.id), 3)) == [("remembered", id) for id in ids[1:]]
    assert (await take(store.changes(since=first.at_ms), 1))[0].at_ms >= first.at_ms
    waiting = asyncio.create_task(take(store.changes(), 1))
    later = []
    while not waiting.done():
        # Which of them is the first one after "now" is the reader's to say.
        later.append(await store.remember("later"))
        await asyncio.sleep(0.01)
    [(kind, id)] = short(await waiting)
    assert kind == "remembered"
    assert id in later


async def test_the_first_reader_switches_it_on_and_others_notice(make_store: MakeStore) -> None:
    writer, reader = make_store(), make_store()
    await writer.remember("before")
    assert await reader.change_feed() is None
    waiting = asyncio.create_task(take(reader.changes(), 1))
    await until(lambda: reader._feed.is_on)
    # As ten seconds later, when what is read of the store is read again.
    await writer._models.state.current(look=True)
    told = await writer.remember("after", thread_id="t")
    assert short(await waiting) == [("remembered", told)]
    assert await reader.stop_change_feed()
    assert not await reader.stop_change_feed()
    await writer._models.state.current(look=True)
    assert not writer._feed.is_on
    assert await reader.change_feed() is None


async def test_who_comes_too_late_is_told_how_many_are_gone(make_store: MakeStore) -> None:
    store = make_store(change_feed=ChangeFeedOptions(max_changes=1, max_age_seconds=None))
    await store.remember("first")
    [first] = await take(store.changes(since="oldest"), 1)
    await store.remember_many([{"content": f"m{n}"} for n in range(400)])
    with pytest.raises(ChangesMissedError, match=r"\d+ changes of store .* were gone") as missed:
        await take(store.changes(since=first.id), 1)
    status = await store.change_feed()
    assert status is not None
    assert missed.value.missed == 400 - status.changes
    [next_one] = await take(store.changes(since=missed.value.since), 1)
    assert int(next_one.id.partition("-")[2]) == 401 - status.changes + 1
    with pytest.raises(ChangesMissedError, match="since then are gone"):
        await take(store.changes(since=first.at_ms), 1)
    following = store.changes(since=missed.value.since)
    await anext(following)
    await store.stop_change_feed()
    with pytest.raises(ChangesMissedError, match="switched off"):
        [change async for change in following]


async def test_a_group_shares_the_changes_and_goes_on_where_it_was(make_store: MakeStore) -> None:
    store = make_store(change_feed=True)
    first = [await store.remember(f"m{n}") for n in range(5)]
    handled = await take(store.changes(since="oldest", group="g"), 4)
    assert short(handled) == [("remembered", id) for id in first[:4]]
    # Whatever was in hand when it broke off comes again.
    rest = await take(store.changes(group="g"), 2)
    assert {change.memory_id for change in handled + rest} == set(first)
    assert handled[-1] == rest[0]
    status = await store.change_feed()
    assert status is not None
    assert [(group.name, group.consumers) for group in status.groups] == [("g", 0)]
    assert await store.drop_change_group("g")
    assert not await store.drop_change_group("g")


async def test_a_group_that_came_too_late_is_told_once_and_goes_on_behind_the_gap(make_store: MakeStore) -> None:
    store = make_store(change_feed=ChangeFeedOptions(max_changes=1, max_age_seconds=None))
    await store.remember_many([{"content": f"m{n}"} for n in range(3)])
    await take(store.changes(since="oldest", group="g"), 1)
    await store.remember_many([{"content": f"n{n}"} for n in range(400)])
    with pytest.raises(ChangesMissedError) as missed:
        await take(store.changes(group="g"), 1)
    [first] = await take(store.changes(since="oldest"), 1)
    assert missed.value.missed is not None
    assert missed.value.missed > 0
    assert await take(store.changes(group="g"), 1) == [first]


async def test_a_write_that_is_told_takes_no_round_trip_more(make_store: MakeStore, engine: Engine) -> None:
    costs = []
    for options in ({}, {"change_feed": True}):
        store = make_store(name=make_store().name + str(len(options)), **options)
        id = await store.remember("warm")
        await store.update(id, importance=0.1)
        before = engine.round_trips
        id = await store.remember("tea", thread_id="t")
        await store.remember_many([{"content": f"m{n}"} for n in range(20)])
        await store.update(id, importance=0.2)
        await store.forget(id)
        costs.append(engine.round_trips - before)
        assert await store.change_feed() is None or options
    assert costs[0] == costs[1]


async def test_reinforcements_are_sampled(make_store: MakeStore) -> None:
    store = make_store(change_feed=ChangeFeedOptions(reinforced_share=0.0))
    await store.remember("tea")
    await store.recall("tea")
    assert [change.kind for change in await told(store)] == ["remembered"]
    drawn = iter([0.29, 0.31])
    store = make_store(change_feed=True, name=store.name + "s")
    await store.remember("tea")
    store._feed._sample = lambda: next(drawn)
    noted = store._feed._noted
    assert noted is not None
    assert noted.reinforced_share == 0.01


async def test_waiting_for_a_memory_that_another_worker_is_writing(make_store: MakeStore) -> None:
    store, other = make_store(change_feed=True), make_store()
    with pytest.raises(MemoryNotFoundError, match="within 0 s"):
        await store.wait_for("m-1", timeout_seconds=0)
    waiting = asyncio.create_task(store.wait_for("m-1"))
    await asyncio.sleep(0.05)
    await other.remember("here it is", id="m-1")
    assert (await waiting).content == "here it is"
    assert (await store.wait_for("m-1", timeout_seconds=0)).id == "m-1"
