"""Whichever model weighs relevance against the rest, on every engine and in both retrievals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from betterdb_agent_memory import (
    Activation,
    ActivationParameters,
    Candidates,
    Chain,
    Composite,
    ConfigurationError,
    InvalidInputError,
    MemoryHit,
    MemoryStore,
    RecallWeights,
    Retrievability,
    Scored,
    Term,
)
from betterdb_agent_memory.engines.base import Engine, RecordChange
from betterdb_agent_memory.memory import record
from betterdb_agent_memory.memory.scoring.base import Need
from betterdb_agent_memory.options import SCORINGS, Scoring
from tests.conformance.conftest import CLUSTER, FILE, POOLED, URL, MakeStore, TestClock
from tests.embedding import AHEAD

pytestmark = pytest.mark.parametrize("configuration", [FILE, URL, POOLED, CLUSTER], indirect=True)

DAY_MS = 86_400_000
TEXTS = ("the bridge over the river is closed", "the bridge over the river was painted", "the ferry crosses the river")
TERMS = {
    "composite": ["similarity", "recency", "importance"],
    "activation": ["base_level", "similarity", "context", "importance", "doubt"],
    "chain": ["similarity", "strength", "importance", "doubt"],
    "retrievability": ["similarity", "retrievability", "importance", "doubt"],
}


def ids(hits: list[MemoryHit]) -> list[str]:
    return [hit.item.id for hit in hits]


async def fill(store: MemoryStore) -> None:
    await store.remember_many([{"content": text, "id": f"m{place}"} for place, text in enumerate(TEXTS)])


@pytest.mark.parametrize("retrieval", ["vector", "hybrid"])
@pytest.mark.parametrize("scoring", SCORINGS)
async def test_every_model_says_what_its_score_is_made_of(make_store: MakeStore, scoring: str, retrieval: str) -> None:
    store = make_store(default_threshold=2)
    await fill(store)
    hits = await store.recall(TEXTS[0], scoring=scoring, retrieval=retrieval)  # type: ignore[arg-type]
    assert sorted(ids(hits)) == ["m0", "m1", "m2"]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        assert hit.explain is not None
        assert hit.explain.scoring == scoring
        assert hit.explain.score == pytest.approx(hit.score, abs=1e-9)
        names = [part.name for part in hit.explain.components]
        if retrieval == "vector":
            assert names == TERMS[scoring]
        else:
            assert names.count("words") == names.count("date") == 1
            assert [name for name in names if name not in ("words", "date", "actor")] == TERMS[scoring]


async def test_what_is_used_comes_first_by_activation_and_what_is_like_by_composite(
    make_store: MakeStore, clock: TestClock
) -> None:
    weights = RecallWeights(1, 0, 0)
    store = make_store(default_threshold=2, weights=weights)
    await fill(store)
    for _ in range(8):
        clock.now_ms += DAY_MS
        await store.recall(TEXTS[2], k=1)
    assert ids(await store.recall(TEXTS[0], reinforce=False))[0] == "m0"
    used = Activation(ActivationParameters(similarity_weight=0.1))
    assert ids(await store.recall(TEXTS[0], reinforce=False, scoring=used))[0] == "m2"


async def test_a_trace_that_was_strengthened_outlasts_one_that_was_not(
    make_store: MakeStore, engine: Engine, clock: TestClock
) -> None:
    store = make_store(default_threshold=2)
    await store.remember_many([{"content": "the river", "id": id} for id in ("weak", "strong", "steady")])
    records = engine.records(record.memory_collection(store.name))
    written = str(clock.now_ms).encode()
    await records.change_many(
        [
            RecordChange("strong", sets={"working": b"2", "core": b"1.5", "strength_at": written}),
            RecordChange("steady", sets={"stability": b"400"}),
        ]
    )
    clock.now_ms += 30 * DAY_MS
    assert ids(await store.recall("river", reinforce=False, scoring="chain"))[0] == "strong"
    assert ids(await store.recall("river", reinforce=False, scoring="retrievability"))[0] == "steady"


async def test_the_stability_of_a_kind_stands_for_a_memory_that_has_none(
    make_store: MakeStore, clock: TestClock
) -> None:
    store = make_store(default_threshold=2, weights=RecallWeights(1, 1, 0))
    await store.remember("the river", id="passing", kind="context")
    await store.remember("the river", id="lasting", kind="rule")
    clock.now_ms += 40 * DAY_MS
    hits = {hit.item.id: hit for hit in await store.recall("river", reinforce=False, scoring="retrievability")}
    assert hits["lasting"].score > hits["passing"].score + 0.01
    by_recency = {hit.item.id: hit for hit in await store.recall("river", reinforce=False)}
    assert by_recency["lasting"].score == pytest.approx(by_recency["passing"].score)


@pytest.mark.parametrize("scoring", ["activation", "chain", "retrievability"])
async def test_what_is_doubted_comes_behind_what_is_not(make_store: MakeStore, engine: Engine, scoring: str) -> None:
    store = make_store(default_threshold=2)
    for id in ("doubted", "trusted"):
        await store.remember("the river", id=id, kind="factual")
    records = engine.records(record.memory_collection(store.name))
    # As far as its kind is trusted is no doubt, and below that it is one.
    await records.change_many(
        [RecordChange("doubted", sets={"reliability": b"0.25"}), RecordChange("trusted", sets={"reliability": b"0.85"})]
    )
    first, second = await store.recall("river", reinforce=False, scoring=scoring)  # type: ignore[arg-type]
    assert (first.item.id, second.item.id) == ("trusted", "doubted")
    assert first.explain is not None
    assert next(part for part in first.explain.components if part.name == "doubt").value == 0


async def test_weights_of_the_call_weigh_strength(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(default_threshold=2, weights=RecallWeights(0, 0, 1))
    await fill(store)
    called = RecallWeights(1, 0, 0)
    theirs: dict[Scoring, RecallWeights] = {
        "chain": RecallWeights(0.85, 0.15, 0.05),
        "retrievability": RecallWeights(0.85, 0.25, 0.1),
    }
    for scoring, own in theirs.items():
        for given, weights in ((None, own), (called, called)):
            [hit] = await store.recall(TEXTS[0], k=1, scoring=scoring, weights=given)
            assert hit.explain is not None
            assert [part.weight for part in hit.explain.components][:3] == [
                weights.similarity,
                weights.recency,
                weights.importance,
            ]


async def test_scoring_is_chosen_by_the_call_then_live_then_by_the_store(make_store: MakeStore, engine: Engine) -> None:
    store = make_store(default_threshold=2, scoring="chain")
    await fill(store)

    async def scored_by(**options: object) -> str:
        [hit] = await store.recall("river", k=1, **options)  # type: ignore[arg-type]
        assert hit.explain is not None
        return hit.explain.scoring

    assert await scored_by() == "chain"
    assert store.current_config().scoring == "chain"
    await engine.values.write_map(store.live_config.key, {"recall.scoring": b"activation"})
    await store.live_config.refresh()
    assert await scored_by() == "activation"
    assert await scored_by(scoring="retrievability") == "retrievability"
    await engine.values.write_map(store.live_config.key, {"recall.scoring": b"whatever"})
    await store.live_config.refresh()
    assert await scored_by() == "chain"


@dataclass(frozen=True)
class Oldest:
    """A model of the caller's own: what was written first is first."""

    name: str = "oldest"
    needs: frozenset[Need] = frozenset(("created_at_ms",))

    def score(self, candidates: Candidates, now_ms: int) -> Scored:
        ages = now_ms - candidates.created_at_ms
        return Scored(ages, (Term("age_ms", ages, 1.0),))

    def ceiling(self, relevance: float) -> float:
        return float("inf")


async def test_a_model_of_the_callers_own(make_store: MakeStore, clock: TestClock) -> None:
    store = make_store(default_threshold=2, scoring=Oldest())
    for place, text in enumerate(TEXTS):
        await store.remember(text, id=f"m{place}")
        clock.now_ms += 1000
    hits = await store.recall(TEXTS[2], k=2)
    assert ids(hits) == ["m0", "m1"]
    assert hits[0].explain is not None
    assert (hits[0].explain.scoring, hits[0].explain.components[0].name) == ("oldest", "age_ms")
    # The store's own weights are the model's here: the composite as an object ranks as the composite by name.
    for k in (1, 2, 3):
        as_object = await store.recall(TEXTS[1], k=k, reinforce=False, scoring=Composite())
        by_name = await store.recall(TEXTS[1], k=k, reinforce=False, scoring="composite")
        assert ids(as_object) == ids(by_name)
        assert [hit.score for hit in as_object] == pytest.approx([hit.score for hit in by_name])


async def test_diversity_and_exactness_go_with_every_model(make_store: MakeStore) -> None:
    store = make_store(default_threshold=2)
    await fill(store)
    for model in ("activation", "chain", Retrievability(), Chain()):
        hits = await store.recall("river", k=2, scoring=model, diversity=0.5, exact=True)
        assert len(hits) == 2
        assert all(hit.explain is not None and hit.explain.exact for hit in hits)


async def test_a_rare_cue_says_more_than_a_common_one(make_store: MakeStore) -> None:
    store = make_store(scoring=Activation(ActivationParameters(association=8)))
    drafts: list[dict[str, Any]] = [
        {"content": f"{AHEAD} the river {n}", "id": f"r{n:03d}", "thread_id": "t", "tags": ["wet"] if n % 2 else None}
        for n in range(120)
    ]
    drafts[3]["entities"], drafts[5]["entities"] = ["Maya Lind"], ["Maya Lind, the Elder"]
    drafts += [
        {"content": f"{AHEAD} {text}", "id": text, "thread_id": thread}
        for text, thread in (("Maya Lind said so", "t"), ("Maya met Ada Lind", "t"), ("river Maya Lind", "u"))
    ]
    await store.remember_many(drafts)

    async def said(*cues: str, k: int) -> dict[str, float]:
        hits = await store.recall(AHEAD, thread_id="t", context=cues, k=k, reinforce=False)
        assert len(hits) == k
        components = {hit.item.id: hit.explain.components for hit in hits if hit.explain is not None}
        found = {id: part.value for id, parts in components.items() for part in parts if part.name == "context"}
        return {id: value for id, value in found.items() if value}

    # With 122 hits all of the scope is seen; with 2 a part, and the rest is counted.
    for k in (2, 122):
        for cue, fan in (("river", 120), ("wet", 60)):
            having = await said(cue, k=k)
            assert having == {id: pytest.approx(8 - math.log(fan)) for id in having}
            assert len(having) == min(k, fan)
        assert await said("Maya Lind, the Elder", k=k) == {"r005": 8}
        # As many as say one word of a name, or are about it, share it at most.
        fan = 2 if k == 122 else 3
        name = await said("Maya Lind", k=k)
        assert name == {id: pytest.approx(8 - math.log(fan)) for id in ("r003", "Maya Lind said so")}
        both = await said("river", "Maya Lind", k=k)
        assert both["r003"] == pytest.approx((8 - math.log(120) + 8 - math.log(fan)) / 2)
        assert max(both, key=both.__getitem__) == "r003"


@pytest.mark.parametrize("wrong", ["best", 3, "", Activation, ["chain"]])
async def test_no_model_is_refused_with_those_there_are(make_store: MakeStore, wrong: object) -> None:
    store = make_store()
    with pytest.raises(InvalidInputError, match="'retrievability' or a ScoringModel"):
        await store.recall("x", scoring=wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="'composite', 'activation'"):
        make_store(scoring=wrong)
