"""What people expect of memories that strengthen, fade, link and are corrected, on a file and on a server."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from betterdb_agent_memory import Dynamics, MemoryHit, MemoryNotFoundError, MemoryStore, RecallWeights, Replay, preset
from betterdb_agent_memory.dynamics.presets import PRESETS
from betterdb_agent_memory.memory.dynamics_fields import UNCHANGED
from betterdb_agent_memory.options import SCORINGS
from tests.conformance.conftest import FILE, URL, MakeStore, TestClock
from tests.embedding import AHEAD, at_angle

pytestmark = pytest.mark.parametrize("configuration", [FILE, URL], indirect=True)

DAY_SECONDS = 86_400
WEEK_SECONDS = 7 * DAY_SECONDS


def ids(hits: list[MemoryHit]) -> list[str]:
    return [hit.item.id for hit in hits]


async def test_a_correction_outranks_what_it_corrects_by_any_model_and_however_it_came_to_be(
    store: MemoryStore, clock: TestClock
) -> None:
    for id in "abc":
        await store.remember(f"{AHEAD} river", id=f"wrong-{id}", thread_id=id, importance=1.0, kind="rule")
        await store.remember(at_angle(0.6, "bridge"), id=f"right-{id}", thread_id=id, importance=0.0, kind="opinion")
        await store.remember(at_angle(0.95, "river"), id=f"near-{id}", thread_id=id, importance=1.0)
    dynamics = Dynamics(store)
    for _ in range(3):
        # All that could speak for the wrong one, up to the day of its correction.
        clock.advance(seconds=DAY_SECONDS)
        await store.recall(f"{AHEAD} river", k=3)
        await dynamics.outcome(["wrong-a", "wrong-b", "wrong-c"], 1.0)
    await store.pin("wrong-a")
    assert await store.contradict("wrong-a", "right-a")
    assert await store.supersede("wrong-b", "right-b")
    corrected = (await store.correct("wrong-c", at_angle(0.5, "bridge"), importance=0.0)).id
    for scoring, retrieval, expand in product(SCORINGS, ("vector", "hybrid"), (False, True)):
        how: dict[str, Any] = {"scoring": scoring, "retrieval": retrieval, "expand": expand, "reinforce": False}
        for thread, right, superseded in (("a", "right-a", False), ("b", "right-b", True), ("c", corrected, True)):
            asked: dict[str, Any] = {"thread_id": thread, "threshold": 2, "include_superseded": superseded, **how}
            found = ids(await store.recall(f"{AHEAD} river", **asked))
            assert found.index(right) < found.index(f"wrong-{thread}"), (how, found)
            first = ids(await store.recall(f"{AHEAD} river", k=1, **asked))[0]
            assert first != f"wrong-{thread}", how
            if superseded:
                found = ids(await store.recall(f"{AHEAD} river", **asked | {"include_superseded": False}))
                assert f"wrong-{thread}" not in found, how


async def test_recalling_changes_the_next_recall_by_every_model(make_store: MakeStore, clock: TestClock) -> None:
    plain = make_store()
    for scoring in SCORINGS:
        for id in ("rival", "favourite"):
            await plain.remember(
                at_angle(0.9 if id == "favourite" else 0.9001), id=f"{id}-{scoring}", thread_id=scoring
            )
    clock.advance(seconds=30 * DAY_SECONDS)
    for scoring in SCORINGS:
        store = make_store(scoring=scoring)
        rival, favourite = f"rival-{scoring}", f"favourite-{scoring}"
        assert ids(await store.recall(AHEAD, thread_id=scoring, reinforce=False)) == [rival, favourite]
        found = await store.recall(
            at_angle(0.9, "which is nearer"), thread_id=scoring, k=1, weights=RecallWeights(1, 0, 0)
        )
        assert ids(found) == [favourite]
        # Another worker's.
        assert ids(await plain.recall(AHEAD, thread_id=scoring, reinforce=False, scoring=scoring)) == [favourite, rival]


async def test_what_is_strong_and_recalled_weekly_stays_in_the_core_and_what_is_trivial_and_unused_fades(
    store: MemoryStore, clock: TestClock
) -> None:
    dynamics = Dynamics(store)
    await store.remember(AHEAD, id="strong", importance=0.9)
    await store.remember(at_angle(-1.0), id="trivial", importance=0.0)
    layers: dict[str, list[str]] = {"strong": [], "trivial": []}
    for week in range(130):
        clock.advance(seconds=WEEK_SECONDS)
        if week % 10 == 0:
            await dynamics.maintain()
            for one in await dynamics.standing(["strong", "trivial"]):
                layers[one.id].append(one.layer)
        await store.recall(AHEAD, threshold=0.1)
    assert set(layers["strong"]) == {"core"}
    assert layers["trivial"][0] == "working"
    assert set(layers["trivial"][1:]) == {"archive"}
    assert [item and item.id for item in await store.get_many(["strong", "trivial"])] == ["strong", None]


async def test_a_link_that_is_used_weekly_stays_for_years_and_no_other(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(link_recalled=True)
    for id, cosine in (("a", 1.0), ("b", 0.95), ("once", 0.9)):
        await store.remember(at_angle(cosine), id=id)
    await store.link("a", "once")
    weights = []
    for _ in range(60):
        await store.recall(AHEAD, threshold=0.06)
        clock.advance(seconds=WEEK_SECONDS)
        weights.append({link.id: link.weight for link in await store.links("a")})
    assert all("b" in weight for weight in weights[3:])
    assert weights[-1].keys() == {"b"}
    assert weights[0].keys() == {"once"}
    assert max(weight.get("b", 0) for weight in weights) < 2, "bounded, however long it is used"


async def fill_for_presets(store: MemoryStore, clock: TestClock) -> None:
    """Memories of many ages, importances and uses, all as near to a question."""
    dynamics = Dynamics(store)
    for number in range(24):
        await store.remember(AHEAD, id=f"m{number:02}", importance=(number * 7 % 11) / 10)
        if number % 3 == 0:
            await dynamics.outcome([f"m{(number * 5) % (number + 1):02}"], 1.0)
        if number % 2:
            await store.recall(AHEAD, k=1 + number % 5)
        clock.advance(seconds=(1 + number * number % 13) * DAY_SECONDS)


async def test_every_preset_changes_a_ranking_and_how_memories_stand(make_store: MakeStore, clock: TestClock) -> None:
    usual = make_store()
    await fill_for_presets(usual, clock)

    async def ranked(store: MemoryStore, scoring: Any) -> list[str]:
        return ids(await store.recall(AHEAD, k=24, scoring=scoring, reinforce=False))

    before = {scoring: await ranked(usual, scoring) for scoring in ("activation", "chain")}
    faded = {scoring: sorted(order) for scoring, order in before.items()}
    stood = await Dynamics(usual).standing(before["chain"])
    for name in PRESETS:
        store = make_store(scoring_parameters=preset(name).scoring)
        for scoring, order in before.items():
            found = await ranked(store, scoring)
            assert (found == order) is (name == "default"), (name, scoring)
            assert sorted(found) == faded[scoring]
        stands = await Dynamics(store, name).standing(before["chain"])
        assert ([one.strength for one in stands] == [one.strength for one in stood]) is (name == "default")


printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
"""What people type, in any writing."""

SYNTAX = st.text(st.sampled_from("?'\"()[]{}*:-~@|$%^&!\\/<>=;,.#+` aORandNOT0٣é日"), min_size=1, max_size=20)
"""What query languages are made of."""


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(question=printable | SYNTAX)
async def test_every_printable_question_is_answered(make_store: MakeStore, question: str) -> None:
    store = make_store(retrieval="hybrid")
    await store.remember(question, id="asked", entities=["Ada"])
    hits = await Dynamics(store).recall(question, threshold=2, k=50, scoring="activation", expand=True)
    assert "asked" in ids(hits)
    assert ids(await store.recall(question, threshold=2, exact=True, as_of=store._clock(), k=50)) != []
    await store.forget("asked")


async def begun_again(store: MemoryStore, id: str, **scope: Any) -> None:
    """A memory that is written under the id of one that is gone is a new one: nothing of the former is about it."""
    await store.remember(at_angle(0.2, "another"), id=id, **scope)
    item = await store.get(id)
    assert item is not None
    assert (item.access_count, item.dynamics, item.version, item.pinned) == (0, UNCHANGED, 1, False)
    assert await store.links(id, least_weight=0) == []
    assert [version.item.id for version in await store.history(id)] == [id]
    assert await store.forget(id)


async def forgotten(store: MemoryStore) -> None:
    assert await store.forget("gone")


async def forgotten_with_others(store: MemoryStore) -> None:
    assert await store.forget_many(["nobody", "gone"]) == [False, True]


async def forgotten_by_scope(store: MemoryStore) -> None:
    assert await store.forget_by_scope(thread_id="t", tags=["gone"]) == 1


async def faded(store: MemoryStore) -> None:
    for id in ("a", "b"):
        await store.pin(id)
    assert (await Dynamics(store).forget(1_000)).forgotten == 1


async def evicted(store: MemoryStore) -> None:
    for id in ("a", "b"):
        await store.pin(id)
    for number in range(2):
        await store.remember(AHEAD, id=f"newer{number}", thread_id="t", importance=1.0)


WAYS = {one.__name__: one for one in (forgotten, forgotten_with_others, forgotten_by_scope, faded, evicted)}
"""Ways for the memory `gone` to be deleted."""


@pytest.mark.parametrize("way", WAYS)
async def test_a_deleted_memory_leaves_nothing_that_brings_it_back(
    make_store: MakeStore, clock: TestClock, way: str
) -> None:
    limit = {"max_items_per_scope": 4} if way == "evicted" else {}
    store = make_store(link_recalled=True, recent_accesses=True, reinforcement="deferred", **limit)
    dynamics = Dynamics(store)
    for id in ("a", "b", "former", "gone"):
        await store.remember(AHEAD, id=id, thread_id="t", entities=["Ada"], importance=0.0, tags=[id])
    assert await store.supersede("former", "gone")
    assert await store.contradict("gone", "b")
    await store.link("gone", "a")
    await store.link("gone", "b")
    clock.advance(seconds=60)
    await dynamics.outcome(await dynamics.recall(AHEAD, thread_id="t"), 1.0)
    await store.flush()
    late = await dynamics.recall(AHEAD, thread_id="t")
    assert "gone" in ids(late)
    # What waits to be written is about it as well, by now.
    assert (await store.stats()).pending_reinforcements == 3
    await WAYS[way](store)
    await store.flush()

    learnt = await dynamics.outcome(late, 1.0)
    praised = await dynamics.reward("great!", thread_id="t")
    assert learnt.missing == ("gone",)
    assert praised is not None
    assert praised.missing == ("gone",)
    for refused in (
        lambda: store.pin("gone"),
        lambda: store.unpin("gone"),
        lambda: store.link("gone", "a"),
        lambda: store.contradict("gone", "a"),
        lambda: store.correct("gone", "x"),
        lambda: store.supersede("a", "gone"),
        lambda: store.update("gone", importance=1.0),
    ):
        with pytest.raises(MemoryNotFoundError):
            await refused()
    await dynamics.replay(Replay(importance=0.0))
    await dynamics.downscale(0.5)
    await dynamics.maintain()
    await store.flush()
    other = make_store()
    for how in ({}, {"expand": True}, {"as_of": clock.now_ms}):
        assert not {"gone", "former"} & set(ids(await other.recall(AHEAD, k=50, reinforce=False, **how)))
    # Whoever forgets wants the former version gone, too; what fades or is evicted leaves it until its time is over.
    versions = set(ids(await other.recall(AHEAD, k=50, reinforce=False, include_superseded=True))) & {"gone", "former"}
    assert versions == ({"former"} if way in ("faded", "evicted") else set())
    assert not versions or await other.forget("former")
    assert await other.get_many(["gone", "former"]) == [None, None]
    assert "gone" not in {link.id for id in ("a", "b") for link in await other.links(id, least_weight=0)}
    left = 4 if way == "evicted" else 2
    assert (await other.stats()).item_count == (await other.list()).total == left
    assert (await Dynamics(other).stats()).all.memories == left
    for id in ("gone", "former"):
        await begun_again(other, id, thread_id="t")
