"""Memories strengthen, fade, learn and are maintained the same way wherever they live."""

from __future__ import annotations

import asyncio

import pytest

from betterdb_agent_memory import (
    ChainParameters,
    ConfigurationError,
    Dynamics,
    InvalidInputError,
    MemoryHit,
    MemoryItem,
    MemoryStore,
    preset,
)
from betterdb_agent_memory.engines.base import Engine
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.scoring.chain import DEFAULT_CHAIN, Traces, ahead
from tests.conformance.conftest import CLUSTER, FILE, POOLED, URL, MakeStore, TestClock

DAY_MS = 86_400_000


@pytest.fixture(params=[FILE, URL, POOLED, CLUSTER])
def configuration(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def dynamics(store: MemoryStore) -> Dynamics:
    return Dynamics(store)


async def stored(store: MemoryStore, id: str) -> MemoryItem:
    item = await store.get(id)
    assert item is not None
    return item


async def left(store: MemoryStore) -> set[str]:
    return {item.id async for item in store.iterate()}


async def test_a_fresh_memory_stands_as_its_kind_promises(
    store: MemoryStore, dynamics: Dynamics, clock: TestClock
) -> None:
    await store.remember("the river", id="rule", kind="rule", importance=0.9)
    await store.remember("the ferry", id="plain", importance=0.1)
    clock.now_ms += 10 * DAY_MS
    rule, plain = await dynamics.standing(["rule", "gone", "plain"])
    traces = ahead(Traces(1.0, 0.0), 0.9, 10.0, DEFAULT_CHAIN)
    assert (rule.id, rule.kind, rule.age_days, rule.layer) == ("rule", "rule", 10.0, "core")
    assert (rule.working, rule.core) == pytest.approx((float(traces.working), float(traces.core)))
    assert rule.reliability == pytest.approx(0.95)
    assert (plain.layer, plain.reliability, plain.label) == ("working", pytest.approx(0.8), "likely")
    assert rule.retrievability > plain.retrievability
    assert rule.confidence > plain.confidence
    hits = await store.recall("river", reinforce=False)
    assert {one.id: one for one in await dynamics.standing(hits)} == {"rule": rule, "plain": plain}


async def test_a_preset_changes_what_a_recall_by_name_is_ranked_by(make_store: MakeStore, clock: TestClock) -> None:
    ours = preset("task_agent")
    plain, store = make_store(), make_store(scoring_parameters=ours.scoring)
    await store.remember("the river", id="m", importance=0.5)
    clock.now_ms += 30 * DAY_MS
    for scoring in ("activation", "chain"):
        [usual] = await plain.recall("river", reinforce=False, scoring=scoring)  # type: ignore[arg-type]
        [hit] = await store.recall("river", reinforce=False, scoring=scoring)  # type: ignore[arg-type]
        assert hit.score < usual.score - 0.01
    [usual], [hit] = [await Dynamics(store, one).standing(["m"]) for one in ("default", "task_agent")]  # type: ignore[arg-type]
    assert hit.strength < usual.strength
    for wrong in ("best", 3, ChainParameters()):
        with pytest.raises(ConfigurationError, match=r"preset|DynamicsParameters"):
            Dynamics(store, wrong)  # type: ignore[arg-type]


async def test_praise_strengthens_and_is_remembered_and_blame_weakens(
    make_store: MakeStore, dynamics: Dynamics, clock: TestClock
) -> None:
    store = make_store()
    for id in ("first", "second", "other"):
        await store.remember(f"the river, {id}", id=id)
    clock.now_ms += 20 * DAY_MS
    before = {one.id: one for one in await dynamics.standing(["first", "second", "other"])}
    praised = await dynamics.outcome(["first", "second", "missing"], 1.0)
    assert [lesson.id for lesson in praised.lessons] == ["first", "second"]
    assert praised.missing == ("missing",)
    first, second = [(await stored(store, id)).dynamics for id in ("first", "second")]
    assert (first.uses, first.successes, first.strength_at) == (1, 1, clock.now_ms)
    assert (second.uses, second.successes) == pytest.approx((0.8, 0.8))
    assert first.stability is not None
    assert first.stability > 33
    # By another object, as another worker has it.
    after = {one.id: one for one in await Dynamics(make_store()).standing(["first", "second", "other"])}
    assert after["first"].strength > after["second"].strength > before["second"].strength
    assert after["first"].reliability > before["first"].reliability
    assert after["other"] == before["other"]
    assert praised.lessons[0].strength_after == pytest.approx(after["first"].strength, rel=1e-6)
    blamed = await dynamics.outcome(["first"], -1.0)
    [worse] = await dynamics.standing(["first"])
    assert blamed.lessons[0].error == pytest.approx(-1 - 1 / 3)
    assert worse.strength < after["first"].strength
    assert worse.reliability < after["first"].reliability
    assert (await stored(store, "first")).version == 1


async def test_spaced_praise_makes_a_memory_more_stable_than_as_much_in_a_minute(
    store: MemoryStore, dynamics: Dynamics, clock: TestClock
) -> None:
    await store.remember_many([{"content": f"the river {id}", "id": id} for id in ("massed", "spaced")])
    clock.now_ms += 7 * DAY_MS
    for _ in range(4):
        await dynamics.outcome(["massed"], 1.0)
        clock.now_ms += 1000
    for _ in range(4):
        await dynamics.outcome(["spaced"], 1.0)
        clock.now_ms += 7 * DAY_MS
    massed, spaced = [(await stored(store, id)).dynamics for id in ("massed", "spaced")]
    assert massed.stability is not None
    assert spaced.stability is not None
    assert spaced.stability > 1.1 * massed.stability
    assert spaced.uses == massed.uses == 4


async def test_workers_that_teach_one_memory_at_once_lose_nothing(
    make_store: MakeStore, store: MemoryStore, clock: TestClock
) -> None:
    await store.remember("the river", id="m")
    clock.now_ms += DAY_MS
    workers = [Dynamics(make_store()) for _ in range(4)]
    await asyncio.gather(*(worker.outcome(["m"], value) for worker in workers for value in (1.0, 0.0, -1.0)))
    learnt = (await stored(store, "m")).dynamics
    assert (learnt.uses, learnt.successes) == (12, 6)


async def test_a_lesson_never_brings_back_a_memory_that_is_deleted_meanwhile(
    store: MemoryStore, dynamics: Dynamics, engine: Engine
) -> None:
    ids = [f"m{n}" for n in range(6)]
    await store.remember_many([{"content": f"the river {id}", "id": id} for id in ids])
    hits = await dynamics.recall("river")
    await asyncio.gather(store.forget_many(ids), dynamics.outcome(hits, 1.0), dynamics.outcome(hits, 0.5))
    again = await dynamics.outcome(hits, 1.0)
    assert again.lessons == ()
    assert set(again.missing) == set(ids)
    records = engine.records(record.memory_collection(store.name))
    assert await records.read_many(ids, None) == [None] * 6


async def test_what_a_person_says_rewards_the_last_recall_of_that_scope(
    store: MemoryStore, dynamics: Dynamics, clock: TestClock
) -> None:
    await store.remember("the river", id="a", thread_id="t1")
    await store.remember("the river", id="b", thread_id="t2")
    await dynamics.recall("river", thread_id="t1")
    await dynamics.recall("river", thread_id="t2")
    clock.now_ms += 3_600_000
    assert await dynamics.reward("I know", thread_id="t1") is None
    result = await dynamics.reward("That was exactly it!", thread_id="t1")
    assert result is not None
    assert [lesson.id for lesson in result.lessons] == ["a"]
    # The longer ago, the less of it belongs to the recall.
    assert 0.9 < result.lessons[0].eligibility < 0.97
    assert (await stored(store, "b")).dynamics.uses == 0
    with pytest.raises(InvalidInputError, match="nothing was recalled"):
        await dynamics.reward("great", thread_id="t3")

    async def asked_of_a_model(said: str) -> float:
        return -1.0 if said == "hm" else 1.0

    worse = await Dynamics(store, detector=asked_of_a_model).reward("hm", ["b"])
    assert worse is not None
    assert worse.value == -1.0


async def test_recall_may_ask_for_what_is_believed(store: MemoryStore, dynamics: Dynamics, clock: TestClock) -> None:
    await store.remember("the river is wide", id="opinion", kind="opinion")
    await store.remember("the river is deep", id="rule", kind="rule")
    clock.now_ms += DAY_MS
    assert {hit.item.id for hit in await dynamics.recall("river")} == {"opinion", "rule"}
    counts = {id: (await stored(store, id)).access_count for id in ("opinion", "rule")}
    assert [hit.item.id for hit in await dynamics.recall("river", min_confidence=0.8)] == ["rule"]
    assert (await stored(store, "rule")).access_count == counts["rule"] + 1
    assert (await stored(store, "opinion")).access_count == counts["opinion"]
    assert await dynamics.recall("river", min_confidence=1.0) == []
    assert [hit.item.id for hit in await dynamics.recall("river", min_confidence=0.8, reinforce=False)] == ["rule"]
    assert (await stored(store, "rule")).access_count == counts["rule"] + 1
    with pytest.raises(InvalidInputError, match="min_confidence"):
        await dynamics.recall("river", min_confidence=2)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("m", 1.0), "hits must be a list"),
        ((["a:b"], 1.0), "colon"),
        (([3], 1.0), "memory id"),
        ((["m"], 1.5), "outcome must be"),
        ((["m"], True), "outcome must be"),
        ((["m"], float("nan")), "outcome must be"),
    ],
)
async def test_a_wrong_outcome_is_refused_before_anything_is_written(
    store: MemoryStore, dynamics: Dynamics, arguments: tuple[list[MemoryHit | str], float], named: str
) -> None:
    await store.remember("the river", id="m")
    before = await stored(store, "m")
    with pytest.raises(InvalidInputError, match=named):
        await dynamics.outcome(*arguments)
    assert await stored(store, "m") == before
