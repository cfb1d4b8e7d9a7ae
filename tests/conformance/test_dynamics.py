"""Memories strengthen, fade, learn and are maintained the same way wherever they live."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from time import monotonic

import pytest

from betterdb_agent_memory import (
    ChainParameters,
    ConfigurationError,
    Dynamics,
    DynamicsParameters,
    InvalidInputError,
    LeaseHeldError,
    LeaseLostError,
    MaintenanceResult,
    MemoryHit,
    MemoryItem,
    MemoryStore,
    Progress,
    Replay,
    preset,
)
from betterdb_agent_memory.dynamics import maintaining
from betterdb_agent_memory.dynamics.maintaining import Maintenance
from betterdb_agent_memory.dynamics.maintenance import Plan
from betterdb_agent_memory.dynamics.parameters import DEFAULT_PARAMETERS
from betterdb_agent_memory.dynamics.state import PASS, Unfinished, encode_unfinished
from betterdb_agent_memory.engines.base import Engine, Expected, Fence, Position, RecordChange
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.scoring.chain import DEFAULT_CHAIN, Traces, ahead
from betterdb_agent_memory.memory.workplace import PAGE
from betterdb_agent_memory.options import Scoring
from tests.conformance.conftest import CLUSTER, FILE, POOLED, URL, MakeStore, TestClock
from tests.embedding import AHEAD, at_angle, embed

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
    assert plain.reliability == pytest.approx(0.8)
    assert (plain.layer, plain.label) == ("working", "likely")
    assert rule.retrievability > plain.retrievability
    assert rule.confidence > plain.confidence
    hits = await store.recall("river", reinforce=False)
    assert {one.id: one for one in await dynamics.standing(hits)} == {"rule": rule, "plain": plain}


async def test_every_hit_says_how_it_stands(make_store: MakeStore, clock: TestClock) -> None:
    ours = preset("task_agent")
    store = make_store(scoring_parameters=ours.scoring, near_cache=True)
    dynamics = Dynamics(store, ours)
    await store.remember(at_angle(0.9, "wide"), id="rule", kind="rule", importance=0.9)
    await store.remember(at_angle(-0.5, "far"), id="linked", kind="opinion")
    await store.link("rule", "linked")
    clock.now_ms += 10 * DAY_MS
    expanded = await store.recall(AHEAD, threshold=0.9, expand=True, reinforce=False)
    assert [hit.item.id for hit in expanded] == ["rule", "linked"]
    stand = await dynamics.standing(expanded)
    assert [hit.standing for hit in expanded] == stand
    assert stand[0].label == "certain"
    assert stand[0].age_days == 10
    by_vector = await store.recall_by_vector(await embed(AHEAD), reinforce=False, exact=True, retrieval="hybrid")
    assert {hit.standing.id: hit.standing for hit in by_vector} == {one.id: one for one in stand}
    # Of another time than now, and by a preset that forgets more slowly.
    [later, _] = await store.recall(AHEAD, now=clock.now_ms + 100 * DAY_MS, reinforce=False)
    assert (later.standing.age_days, later.standing.layer) == (110, "archive")
    [slow, _] = await make_store().recall(AHEAD, reinforce=False)
    assert slow.standing.strength > stand[0].strength
    # An answer from near stands as it did when it was found, and one about the past as of now.
    [near, _] = [await store.recall(AHEAD, reinforce=False) for _ in range(2)][1]
    assert near.standing == stand[0]
    clock.now_ms += DAY_MS
    await store.correct("rule", at_angle(0.9, "narrow"))
    [past] = await store.recall(AHEAD, as_of=clock.now_ms - 2 * DAY_MS, k=1)
    assert (past.item.content[-4:], past.standing.age_days) == ("wide", 11)
    for copied in (deepcopy(past), pickle.loads(pickle.dumps(past)), replace(past, score=1.0)):
        assert copied.standing == past.standing
    assert "far" not in json.dumps(asdict(expanded[0]))
    with pytest.raises(InvalidInputError, match="not given by a recall"):
        _ = MemoryHit(past.item, 0.1, 0.9).standing


async def test_a_preset_changes_what_a_recall_by_name_is_ranked_by(make_store: MakeStore, clock: TestClock) -> None:
    ours = preset("task_agent")
    plain, store = make_store(), make_store(scoring_parameters=ours.scoring)
    await store.remember("the river", id="m", importance=0.5)
    clock.now_ms += 30 * DAY_MS
    scorings: tuple[Scoring, ...] = ("activation", "chain")
    for scoring in scorings:
        [usual] = await plain.recall("river", reinforce=False, scoring=scoring)
        [hit] = await store.recall("river", reinforce=False, scoring=scoring)
        assert hit.score < usual.score - 0.01
    [slow], [quick] = await Dynamics(store).standing(["m"]), await Dynamics(store, "task_agent").standing(["m"])
    assert quick.strength < slow.strength
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


async def test_what_has_faded_is_forgotten_and_another_worker_sees_it(
    make_store: MakeStore, store: MemoryStore, dynamics: Dynamics, clock: TestClock
) -> None:
    for id, importance in (("trivial", 0.0), ("pinned", 0.0), ("used", 0.0), ("weighty", 1.0)):
        await store.remember(f"the river {id}", id=id, importance=importance)
    await store.pin("pinned")
    clock.now_ms += 700 * DAY_MS
    await dynamics.outcome(["used"], 1.0)
    clock.now_ms += DAY_MS
    told: list[Progress] = []
    planned = await dynamics.forget(dry_run=True, on_progress=told.append)
    assert (planned.looked_at, planned.forgotten, planned.dry_run) == (4, 1, True)
    assert [(one.stage, one.done) for one in told] == [("looking", 4)]
    assert len(await left(store)) == 4
    done = await dynamics.forget()
    assert (done.forgotten, done.looked_at, done.dry_run) == (1, 4, False)
    assert await left(make_store()) == {"pinned", "used", "weighty"}
    # Nothing is left to do, and a higher threshold takes more, but never what is pinned.
    assert (await dynamics.forget()).forgotten == 0
    high = await dynamics.forget(1_000)
    assert (high.forgotten, high.pinned_kept) == (2, 1)
    assert await left(store) == {"pinned"}
    assert not any(
        "pass" in name for name in await (await store.workplace()).values.read_map(f"{store.name}:__mem_dynamics")
    )


async def test_seven_days_ahead_are_one_day_ahead_on_each_of_seven_days(
    make_store: MakeStore, clock: TestClock
) -> None:
    week, daily = make_store(name="week"), make_store(name="daily")
    for n in range(12):
        for store in (week, daily):
            await store.remember(f"the river {n}", id=f"m{n}", importance=0.2)
        clock.now_ms += DAY_MS
    # Half a day beside a whole number: no memory is just at the bound. The oldest is 400 days old by then.
    bound = float(ahead(Traces(1.0, 0.0), 0.2, 402.5, DEFAULT_CHAIN).strength)
    clock.now_ms += 388 * DAY_MS
    once = await Dynamics(week).consolidate(days=7, forget_below=bound)
    each = []
    for _ in range(7):
        each.append(await Dynamics(daily).consolidate(days=1, forget_below=bound))
        clock.now_ms += DAY_MS
    assert once.forgotten == 5
    assert sum(result.forgotten for result in each) == once.forgotten
    assert await left(week) == await left(daily)
    assert max(result.forgotten for result in each) < once.forgotten


async def test_layers_to_come_are_counted_and_nothing_is_written(
    store: MemoryStore, dynamics: Dynamics, clock: TestClock
) -> None:
    await store.remember("the river", id="weighty", importance=1.0)
    await store.remember("the ferry", id="trivial", importance=0.0)
    before = await stored(store, "weighty"), await stored(store, "trivial")
    soon = await dynamics.consolidate(days=10)
    assert (soon.promoted, soon.archived, soon.demoted) == (1, 0, 0)
    later = await dynamics.consolidate(days=60)
    assert (later.promoted, later.archived, later.demoted) == (1, 1, 0)
    assert (await stored(store, "weighty"), await stored(store, "trivial")) == before


async def test_what_is_weak_and_important_is_gone_through_again(
    store: MemoryStore, dynamics: Dynamics, clock: TestClock
) -> None:
    for id, importance in (("weighty", 0.9), ("trivial", 0.2), ("fresh", 0.9)):
        if id == "fresh":
            clock.now_ms += 200 * DAY_MS
        await store.remember(f"the river {id}", id=id, importance=importance)
    [before] = await dynamics.standing(["weighty"])
    assert (await dynamics.replay(dry_run=True)).replayed == 1
    assert (await dynamics.replay()).replayed == 1
    [after] = await dynamics.standing(["weighty"])
    assert after.strength > before.strength + 0.3
    assert (await stored(store, "trivial")).dynamics.strength_at is None
    assert (await stored(store, "weighty")).dynamics.uses == 0
    assert (await dynamics.replay()).replayed == 0
    assert (await dynamics.replay(Replay(importance=0.1))).replayed == 1


async def test_downscaling_multiplies_every_strength_once(
    store: MemoryStore, dynamics: Dynamics, clock: TestClock
) -> None:
    await store.remember_many([{"content": f"the river {n}", "id": f"m{n}", "importance": 0.5} for n in range(3)])
    clock.now_ms += DAY_MS
    await dynamics.outcome(["m0"], 1.0)
    clock.now_ms += DAY_MS
    ids = ["m0", "m1", "m2"]
    before = await dynamics.standing(ids)
    assert (await dynamics.downscale()).downscaled == 1.0
    assert await dynamics.standing(ids) == before
    assert (await dynamics.downscale(0.5, dry_run=True)).downscaled == 0.5
    assert await dynamics.standing(ids) == before
    result = await dynamics.downscale(0.5)
    after = await dynamics.standing(ids)
    assert [one.strength for one in after] == pytest.approx([one.strength / 2 for one in before], rel=1e-6)
    assert result.mean_strength == pytest.approx(sum(one.strength for one in after) / 3)
    low = preset("default")
    tight = Dynamics(store, DynamicsParameters(chain=low.chain, downscaling=type(low.downscaling)(mean_at_most=0.1)))
    clock.now_ms += DAY_MS
    assert (await tight.maintain(replay=Replay(importance=1.0))).downscaled < 0.9
    assert sum(one.strength for one in await dynamics.standing(ids)) / 3 == pytest.approx(0.1, rel=1e-6)
    for wrong in (0, 1.5, True, float("nan")):
        with pytest.raises(InvalidInputError, match="factor"):
            await dynamics.downscale(wrong)


async def test_maintenance_goes_on_where_another_broke_off(
    store: MemoryStore, dynamics: Dynamics, engine: Engine, clock: TestClock
) -> None:
    for n in range(4):
        await store.remember(f"the river {n}", id=f"m{n}", importance=0.0)
        clock.now_ms += 1000
    clock.now_ms += 700 * DAY_MS
    key = f"{store.name}:__mem_dynamics"
    second = await stored(store, "m1")
    plan = Plan(forget_below=DEFAULT_CHAIN.forget_below)
    seen = Unfinished(
        plan.name, clock.now_ms, Position(second.created_at, "m1"), MaintenanceResult(looked_at=2, forgotten=1), 0.5
    )
    await engine.values.write_map(key, {PASS: encode_unfinished(seen)})
    result = await dynamics.forget()
    assert (result.resumed, result.looked_at, result.forgotten) == (True, 4, 3)
    assert await left(store) == {"m0", "m1"}
    # Another plan, one that cannot be read, and one of long ago begin anew.
    for note in (b"no", encode_unfinished(seen).replace(b"Plan", b"Other")):
        await engine.values.write_map(key, {PASS: note})
        assert not (await dynamics.replay()).resumed
    await engine.values.write_map(key, {PASS: encode_unfinished(seen)})
    clock.now_ms += 2 * DAY_MS
    assert (await dynamics.forget()).forgotten == 2
    assert await left(store) == set()


async def test_a_downscaling_that_broke_off_scales_nothing_twice(
    store: MemoryStore, dynamics: Dynamics, engine: Engine, clock: TestClock
) -> None:
    await store.remember_many([{"content": f"the river {n}", "id": f"m{n}", "importance": 0.5} for n in range(3)])
    clock.now_ms += DAY_MS
    began_ms = clock.now_ms
    before = await dynamics.standing(["m0", "m1", "m2"])
    assert (await dynamics.downscale(0.5)).downscaled == 0.5
    # As if it had been killed behind its first memory, and that had been all there were then.
    records = engine.records(record.memory_collection(store.name))
    note = Unfinished("downscale by 0.5", began_ms, Position(0, "a"), MaintenanceResult(), 0.0)
    # Whatever comes next goes on with it; whoever asks for the same once more has it finished, and no other one.
    for go_on, is_told in ((dynamics.replay, False), (lambda: dynamics.downscale(0.5), True)):
        await records.change_many([RecordChange("m2", removes=("working", "core", "strength_at"))])
        await engine.values.write_map(f"{store.name}:__mem_dynamics", {PASS: encode_unfinished(note)})
        assert (await go_on()).resumed == is_told
        after = await dynamics.standing(["m0", "m1", "m2"])
        assert [one.strength for one in after] == pytest.approx([one.strength / 2 for one in before], rel=1e-6)
    assert (await dynamics.downscale(0.5)).resumed is False


async def test_others_have_time_between_pages(
    store: MemoryStore, dynamics: Dynamics, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.remember_many([f"text {number}" for number in range(2 * PAGE + 1)])
    worked: list[float] = []

    def pause_after(seconds: float) -> float:
        worked.append(seconds)
        return 0.3

    monkeypatch.setattr(maintaining, "pause_after", pause_after)
    began = monotonic()
    pages: list[int] = []
    await dynamics.maintain(on_progress=lambda progress: pages.append(progress.done))
    assert len(worked) >= 3
    assert all(seconds > 0 for seconds in worked)
    assert monotonic() - began > 0.9
    assert pages[:3] == [PAGE, 2 * PAGE, 2 * PAGE + 1]


async def test_one_worker_at_a_time_maintains(make_store: MakeStore, store: MemoryStore, dynamics: Dynamics) -> None:
    await store.remember("the river")
    async with (await store.workplace()).alone(0, 30):
        with pytest.raises(LeaseHeldError, match="the maintenance of store"):
            await Dynamics(make_store()).maintain()
        assert (await dynamics.maintain(dry_run=True)).looked_at == 1
    assert (await Dynamics(make_store()).maintain(wait_seconds=5)).looked_at == 1


async def test_what_is_used_between_reading_and_forgetting_stays(store: MemoryStore, clock: TestClock) -> None:
    await store.remember("the river", id="m", importance=0.0)
    clock.now_ms += 700 * DAY_MS
    workplace = await store.workplace()

    async def forget(ids: Sequence[str], expected: Sequence[Expected], fence: Fence) -> list[bool]:
        await store.recall("river")
        return await workplace.forget(ids, expected, fence)

    async with workplace.alone(0, 30) as lease:
        late = replace(workplace, forget=forget)
        result = await Maintenance(late, DEFAULT_PARAMETERS, lease, clock.now_ms, None).run(Plan(forget_below=0.01))
    assert (result.forgotten, result.used_kept) == (0, 1)
    assert await left(store) == {"m"}


async def test_a_worker_whose_lease_has_passed_on_forgets_and_writes_nothing(
    store: MemoryStore, clock: TestClock
) -> None:
    await store.remember("the river", id="faded", importance=0.0)
    await store.remember("the ferry", id="weighty", importance=1.0)
    clock.now_ms += 700 * DAY_MS
    workplace = await store.workplace()
    before = await stored(store, "weighty")
    async with workplace.alone(0, 30) as lease:
        # It stood still meanwhile, and does not know.
        await lease._give_back()
        async with workplace.alone(0, 30):
            for plan, downscales in ((Plan(forget_below=0.01), False), (Plan(replay=Replay()), False), (Plan(), True)):
                late = Maintenance(workplace, DEFAULT_PARAMETERS, lease, clock.now_ms, None)
                with pytest.raises(LeaseLostError):
                    await late.run(plan, downscales=downscales, factor=0.5 if downscales else None)
    assert await left(store) == {"faded", "weighty"}
    assert await stored(store, "weighty") == before


async def test_memories_are_counted_by_kind_and_layer(store: MemoryStore, dynamics: Dynamics, clock: TestClock) -> None:
    nothing = await dynamics.stats()
    assert (nothing.all.memories, nothing.by_kind) == (0, {})
    await store.remember("the river", id="rule", kind="rule")
    await store.remember("the ferry", id="rule2", kind="rule")
    await store.remember("the bridge", id="plain", importance=0.0)
    await store.pin("rule")
    clock.now_ms += 60 * DAY_MS
    stats = await dynamics.stats()
    assert stats.all.memories == 3
    assert stats.all.layers == {"archive": 1, "working": 0, "core": 2}
    assert list(stats.by_kind) == ["none", "rule"]
    assert (stats.by_kind["rule"].memories, stats.by_kind["rule"].pinned) == (2, 1)
    standing = await dynamics.standing(["rule", "rule2"])
    assert stats.by_kind["rule"].mean_strength == pytest.approx(sum(one.strength for one in standing) / 2)
    assert stats.by_kind["rule"].mean_confidence == pytest.approx(sum(one.confidence for one in standing) / 2)


async def test_a_burst_of_writes_and_a_run_of_blame_are_out_of_the_ordinary(
    make_store: MakeStore, store: MemoryStore, dynamics: Dynamics, clock: TestClock
) -> None:
    usual = preset("default")
    quick = DynamicsParameters(anomalies=type(usual.anomalies)(warm_up=3, bound=3))
    dynamics = Dynamics(store, quick)
    assert (await dynamics.health()).metrics == ()
    written = 0
    for day in range(6):
        for _ in range(2 + day % 2):
            await store.remember("the river", id=f"m{written}")
            written += 1
        await dynamics.outcome([f"m{written - 1}"], 0.8 + 0.05 * (day % 2))
        await dynamics.recall("river")
        await dynamics.maintain(forget_below=0)
        clock.now_ms += DAY_MS
    health = await dynamics.health()
    assert health.anomalies == ()
    assert {metric.name for metric in health.metrics} == {"doubted", "empty_recalls", "memories_a_day", "outcome"}
    assert health.maintained_at == clock.now_ms - DAY_MS
    await store.remember_many([{"content": f"a flood {n}"} for n in range(100)])
    await dynamics.outcome(["m0"], -1.0)
    await dynamics.maintain(forget_below=0)
    # As another worker sees it.
    found = {metric.name: metric for metric in (await Dynamics(make_store(), quick).health()).anomalies}
    assert set(found) == {"memories_a_day", "outcome"}
    assert found["memories_a_day"].z > 3
    assert found["outcome"].z < -3
    assert found["outcome"].value == pytest.approx(-1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"forget_below": -1},
        {"forget_below": "low"},
        {"dry_run": 1},
        {"wait_seconds": -1},
        {"lease_seconds": 0.1},
        {"on_progress": 3},
        {"replay": 0.7},
        {"replay": Replay(importance=2)},
    ],
    ids=lambda wrong: "-".join(f"{name}={value}" for name, value in wrong.items()),
)
async def test_wrong_maintenance_is_refused_before_anything_is_read(
    store: MemoryStore, dynamics: Dynamics, wrong: dict[str, object]
) -> None:
    await store.remember("the river", id="m")
    with pytest.raises(InvalidInputError):
        await dynamics.maintain(**wrong)  # type: ignore[arg-type]
    assert await left(store) == {"m"}
