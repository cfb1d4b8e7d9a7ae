"""What has faded is put away where nobody looks who does not ask for it, and comes back when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from betterdb_agent_memory import (
    Dynamics,
    InvalidInputError,
    LeaseLostError,
    MemoryExistsError,
    MemoryNotFoundError,
    MemoryStore,
    SupersededError,
)
from betterdb_agent_memory.dynamics.maintaining import Maintenance
from betterdb_agent_memory.dynamics.maintenance import Plan
from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS
from betterdb_agent_memory.engines.base import Engine, Expected, Fence, RecordChange, RecordWrite
from betterdb_agent_memory.memory.correction.shelf import shelf_collection
from tests.conformance.conftest import CLUSTER, FILE, POOLED, URL, MakeStore, TestClock
from tests.conformance.test_changes import ALL, told
from tests.conformance.test_correction import contents, kept, texts

DAY_MS = 86_400_000
FADED = Plan(forget_below=0.01, archive=True)


@pytest.fixture(params=[FILE, URL, POOLED, CLUSTER])
def configuration(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def dynamics(store: MemoryStore) -> Dynamics:
    return Dynamics(store)


async def faded(store: MemoryStore, clock: TestClock, *ids: str) -> None:
    for id in ids:
        await store.remember(f"the river {id}", id=id, importance=0.0, namespace="n", tags=["t"], metadata={"a": 1})
    clock.now_ms += 700 * DAY_MS


async def test_what_has_faded_is_put_away_and_comes_back_whole(
    make_store: MakeStore, store: MemoryStore, dynamics: Dynamics, engine: Engine, clock: TestClock
) -> None:
    await faded(store, clock, "m", "pinned", "old")
    await store.pin("pinned")
    # What it took the place of stays behind it.
    clock.now_ms -= 700 * DAY_MS
    await store.remember("the brook", id="first", importance=0.0, namespace="n")
    await store.supersede("first", "m")
    clock.now_ms += 700 * DAY_MS
    fresh = await store.remember("the ferry", namespace="n")
    before = await store.get("m")
    assert before is not None

    planned = await dynamics.forget(archive=True, dry_run=True)
    assert (planned.forgotten, planned.put_away, await kept(engine, store)) == (2, 2, {"first"})
    result = await dynamics.forget(archive=True)
    assert (result.looked_at, result.forgotten, result.put_away) == (4, 2, 2)
    assert await kept(engine, store) == {"first", "m", "old"}

    # As another worker has it: gone, but for who asks.
    other = make_store()
    assert {item.id async for item in other.iterate()} == {"pinned", fresh}
    assert await other.get("m") is None
    assert (await other.stats()).item_count == 2
    assert "the river m" not in await contents(other, "river", threshold=2)
    hits = await other.recall("river m", threshold=2, include_superseded=True)
    [hit] = [hit for hit in hits if hit.item.id == "m"]
    assert hit.item.dynamics.archived_at == clock.now_ms
    assert "the river m" in await contents(other, "river", threshold=2, as_of=clock.now_ms)
    for id in ("m", "first"):
        versions = await other.history(id)
        assert texts(versions) == ["the brook", "the river m"]
        assert [one.archived_at for one in versions] == [None, clock.now_ms]
        assert not any(one.is_current for one in versions)
    for refused in (other.correct("m", "x"), other.contradict("m", fresh), other.supersede("m", fresh)):
        with pytest.raises(MemoryNotFoundError, match="archived"):
            await refused

    back = await Dynamics(other).restore("m")
    assert back.dynamics.strength_at == clock.now_ms
    assert replace(back, dynamics=before.dynamics) == before
    assert await store.get("m") == back
    assert "the river m" in await contents(store, "river", threshold=2)
    assert [one.is_current for one in await store.history("first")] == [False, True]
    assert await kept(engine, store) == {"first", "old"}
    assert (await dynamics.maintain(archive=True)).put_away == 0
    for id, error in (("m", MemoryExistsError), ("gone", MemoryNotFoundError), ("first", SupersededError)):
        with pytest.raises(error):
            await dynamics.restore(id)
    with pytest.raises(InvalidInputError, match="archive must be"):
        await dynamics.forget(archive="yes")  # type: ignore[arg-type]


async def test_who_forgets_forgets_what_is_archived_too(
    store: MemoryStore, dynamics: Dynamics, engine: Engine, clock: TestClock
) -> None:
    await faded(store, clock, "a", "b", "c")
    assert (await dynamics.consolidate(days=1, archive=True)).put_away == 3
    assert await store.forget("a")
    assert await store.history("a") == []
    assert await store.forget_many(["b", "gone"]) == [True, False]
    assert await kept(engine, store) == {"c"}
    assert await store.forget_by_scope(namespace="n", tags=["t"]) == 0
    assert await kept(engine, store) == set()


async def test_it_is_kept_for_as_long_as_versions_and_lives_as_long_as_it_was_to(
    make_store: MakeStore, engine: Engine, clock: TestClock
) -> None:
    store = make_store(superseded_ttl=1_000)
    await faded(store, clock, "m")
    await store.remember("the river", id="short", importance=0.0, ttl=500)
    await store.remember("the river", id="long", importance=0.0, ttl=50_000)
    clock.now_ms += 700 * DAY_MS
    dynamics = Dynamics(store)
    await dynamics.forget(archive=True)
    now = time.time()
    ids = ["m", "short", "long"]

    async def left(records: object) -> list[int | None]:
        ends = await records.read_expiries(ids)  # type: ignore[attr-defined]
        return [None if at_ms is None else round(at_ms / 1000 - now, -2) for at_ms in ends]

    assert await left(engine.records(shelf_collection(store.name))) == [1_000, 500, 1_000]
    for id in ids:
        await dynamics.restore(id)
    assert await left(store._records) == [None, 500, 50_000]
    assert await kept(engine, store) == set()


async def test_an_id_that_was_used_again_loses_nothing(
    store: MemoryStore, dynamics: Dynamics, engine: Engine, clock: TestClock
) -> None:
    await faded(store, clock, "m")
    await dynamics.forget(archive=True)
    await store.remember("the ferry", id="m", importance=0.0)
    with pytest.raises(MemoryExistsError, match="another memory has the id"):
        await dynamics.restore("m")
    clock.now_ms += 700 * DAY_MS
    assert (await dynamics.forget(archive=True)).put_away == 1
    [later] = await kept(engine, store) - {"m"}
    assert (await dynamics.restore("m")).content == "the river m"
    assert (await dynamics.restore(later)).content == "the ferry"


async def test_what_a_killed_worker_left_is_finished(
    store: MemoryStore, dynamics: Dynamics, engine: Engine, clock: TestClock
) -> None:
    await faded(store, clock, "m")
    # As on a cluster whose keys lie in several slots: told that it is put away, copied, and still among the others.
    await dynamics.forget(archive=True)
    shelf = engine.records(shelf_collection(store.name))
    [copy] = await shelf.read_many(["m"], None)
    assert copy is not None
    await store.remember("the river m", id="m", importance=0.0, namespace="n")
    mark = {name: copy[name] for name in ("archived_at", "embedder", "created_at", "last_accessed_at")}
    await store._records.change_many([RecordChange("m", sets=mark)])
    assert (await store.history("m"))[0].is_current
    assert (await dynamics.forget(archive=True)).put_away == 1
    assert await kept(engine, store) == {"m"}
    # Brought back, and still kept: doing it again ends that.
    archived = await shelf.read_many(["m"], None)
    await dynamics.restore("m")
    await shelf.write_many([RecordWrite("m", archived[0] or {})])
    assert (await dynamics.restore("m")).content == "the river m"
    assert await kept(engine, store) == set()


async def test_what_is_used_meanwhile_stays_and_a_late_worker_puts_nothing_away(
    store: MemoryStore, engine: Engine, clock: TestClock
) -> None:
    await faded(store, clock, "m")
    workplace = await store.workplace()

    async def archive(ids: Sequence[str], expected: Sequence[Expected], fence: Fence) -> list[bool]:
        await store.recall("river")
        return await workplace.archive(ids, expected, fence)

    async with workplace.alone(0, 30) as lease:
        late = Maintenance(replace(workplace, archive=archive), DEFAULT_PARAMETERS, lease, clock.now_ms, None)
        result = await late.run(FADED)
        assert (result.forgotten, result.put_away, result.used_kept) == (0, 0, 1)
        await lease._give_back()
        async with workplace.alone(0, 30):
            with pytest.raises(LeaseLostError):
                await Maintenance(workplace, DEFAULT_PARAMETERS, lease, clock.now_ms, None).run(FADED)
    assert await kept(engine, store) == set()
    assert await store.get("m") is not None


async def test_after_a_change_of_models_it_is_embedded_anew_and_the_feed_tells(
    make_store: MakeStore, clock: TestClock
) -> None:
    store = make_store(change_feed=ALL)
    await faded(store, clock, "m")
    await Dynamics(store).forget(archive=True)

    shelf = store._shelf.records
    await shelf.change_many([RecordChange("m", sets={"embedder": b"some other", "vector": bytes(32)})])
    await Dynamics(store).restore("m")
    assert await contents(store, "river", threshold=1.9) == {"the river m"}
    assert [(one.kind, one.reason) for one in await told(store) if one.memory_id == "m"][:3] == [
        ("remembered", None),
        ("forgotten", "archived"),
        ("remembered", "restored"),
    ]


async def test_a_turn_leaves_and_comes_back_to_those_beside_it(
    store: MemoryStore, dynamics: Dynamics, clock: TestClock
) -> None:
    said = ["the river is wide", "yes, that one", "the ferry is slow"]
    results = await store.remember_conversation(said, session="s", importance=0.0)
    first, middle, last = [result.id for result in results if result.id is not None]
    for id in (first, last):
        await store.pin(id)
    clock.now_ms += 700 * DAY_MS

    async def vectors() -> list[bytes | None]:
        rows = await store._records.read_many([first, last], ["vector"])
        return [None if row is None else row["vector"] for row in rows]

    before = await vectors()
    assert (await dynamics.forget(archive=True)).put_away == 1
    alone = await vectors()
    assert alone[0] != before[0]
    assert alone[1] != before[1]
    back = await dynamics.restore(middle)
    assert (back.session, back.turn) == ("s", 1)
    assert await vectors() == before


async def test_what_comes_back_makes_room_in_its_scope(make_store: MakeStore, engine: Engine, clock: TestClock) -> None:
    store = make_store(max_items_per_scope=2)
    dynamics = Dynamics(store)
    await faded(store, clock, "m")
    assert (await dynamics.forget(archive=True)).put_away == 1
    for text, importance in (("the ferry", 0.3), ("the bridge", 0.9)):
        await store.remember(text, importance=importance, namespace="n")
    await dynamics.restore("m")
    assert sorted([item.content async for item in store.iterate()]) == ["the bridge", "the river m"]
    assert (await store.stats()).evictions == 1
    assert await kept(engine, store) == set()
