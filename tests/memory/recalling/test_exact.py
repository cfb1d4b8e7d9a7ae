"""`exact=True` finds what looking at every memory finds, and whoever claims to be exact is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from betterdb_agent_memory import HybridOptions, MemoryHit, MemoryStore, RecallWeights
from betterdb_agent_memory.engines.base import Engine
from tests.memory.recalling.brute_force import DAY_MS, NOW_MS, Memory, Settings, random_memories, scores_of, write

SIZE = 700
DIMENSIONS = 8
WEIGHTS = {
    "contract": RecallWeights(0.6, 0.25, 0.15),
    "tie-breakers": RecallWeights(0.97, 0.02, 0.01),
    "similarity": RecallWeights(1, 0, 0),
    "importance": RecallWeights(0.1, 0, 1),
    "recency": RecallWeights(0.05, 1, 0),
}
QUESTIONS = {
    "rare": ("copper summer winter", ("copper", "summer", "winter"), ()),
    "common": ("stone", ("stone",), ()),
    "unknown": ("zeppelin", ("zeppelin",), ()),
    "person": ("Ada and the silver lamp", ("ada", "silver", "lamp"), ("Ada",)),
    "long": ("stone river lamp cloud garden window", ("stone", "river", "lamp", "cloud", "garden", "window"), ()),
}


@pytest.fixture(scope="module")
def memories() -> list[Memory]:
    return random_memories(seed=5, count=SIZE, dimensions=DIMENSIONS)


@pytest.fixture
async def store(engine: Engine, store_name: str, memories: list[Memory]) -> MemoryStore:
    await write(engine, store_name, memories)
    return MemoryStore(client=engine, name=store_name, clock=lambda: NOW_MS)


def refute(hits: list[MemoryHit], expected: list[tuple[float, int, str]], k: int) -> None:
    """Fails unless the hits are the first k of `expected`; those with one score up to rounding may change places."""
    by_id = {id: (score, created_at) for score, created_at, id in expected}
    assert len(hits) == min(k, len(expected))
    for hit, (score, _, _) in zip(hits, expected, strict=False):
        assert hit.score == pytest.approx(score, abs=2e-6)
        assert by_id[hit.item.id][0] == pytest.approx(hit.score, abs=2e-6)
    for one, other in pairwise(hits):
        if one.score == other.score:
            assert (-one.item.created_at, one.item.id) < (-other.item.created_at, other.item.id)


@pytest.mark.parametrize("retrieval", ["vector", "hybrid"])
@pytest.mark.parametrize("weights", WEIGHTS)
async def test_exact_recall_is_that_of_looking_at_all(
    store: MemoryStore, memories: list[Memory], retrieval: Any, weights: str
) -> None:
    chance = np.random.default_rng(7)
    claims = 0
    for text, words, names in QUESTIONS.values():
        vector = chance.standard_normal(DIMENSIONS).astype(np.float32)
        for k, threshold in ((1, 2.0), (8, 2.0), (8, 0.6), (40, 0.3)):
            hybrid = HybridOptions() if retrieval == "hybrid" else None
            expected = scores_of(
                memories,
                vector,
                Settings(WEIGHTS[weights], threshold, hybrid=hybrid, words=words, names=names),
            )
            asked: dict[str, Any] = {
                "query": text,
                "k": k,
                "threshold": threshold,
                "weights": WEIGHTS[weights],
                "retrieval": retrieval,
                "reinforce": False,
                "now": NOW_MS,
            }
            found = await store.recall_by_vector(vector.tolist(), exact=True, **asked)
            refute(found, expected, k)
            assert all(hit.explain is not None and hit.explain.exact for hit in found)
            default = await store.recall_by_vector(vector.tolist(), **asked)
            if default and default[0].explain is not None and default[0].explain.exact:
                claims += 1
                refute(default, expected, k)
    if weights == "similarity" and retrieval == "vector":
        assert claims == len(QUESTIONS) * 4  # by likeness alone the nearest are the best


async def test_a_budget_that_is_too_small_is_said(engine: Engine, store_name: str, memories: list[Memory]) -> None:
    await write(engine, store_name, memories)
    store = MemoryStore(client=engine, name=store_name, clock=lambda: NOW_MS, exact_budget=50)
    vector = [1.0] * DIMENSIONS
    weights = RecallWeights(0.01, 0.5, 0.5)
    hits = await store.recall_by_vector(vector, weights=weights, threshold=2.0, exact=True, reinforce=False)
    assert len(hits) == 8
    assert [hit.explain is not None and hit.explain.exact for hit in hits] == [False] * 8


@pytest.mark.parametrize("share", [0.7, 1.0])
async def test_odd_weights_and_days_are_exact_too(
    store: MemoryStore, engine: Engine, memories: list[Memory], share: float
) -> None:
    options = HybridOptions(
        candidates=20,
        word_candidates=10,
        word_matches=1,
        actor_weight=0,
        words_weight=2,
        date_weight=0.5,
        neighbour_share=share,
        saturation=0.3,
        length_normalization=1,
    )
    odd = MemoryStore(client=engine, name=store.name, clock=lambda: NOW_MS, retrieval="hybrid", hybrid=options)
    chance = np.random.default_rng(3)
    # NOW is 15 June 2025, so yesterday is the 14th.
    yesterday = ((NOW_MS // DAY_MS - 1) * DAY_MS, NOW_MS // DAY_MS * DAY_MS)
    for text, words, days in (
        ("copper stone yesterday", ("copper", "stone", "yesterday"), (yesterday,)),
        ("lamp summer", ("lamp", "summer"), ()),
    ):
        for k, threshold in ((1, 0.05), (8, 0.3), (20, 1.0)):
            vector = chance.standard_normal(DIMENSIONS).astype(np.float32)
            settings = Settings(WEIGHTS["tie-breakers"], threshold, hybrid=options, words=words, days=days)
            expected = scores_of(memories, vector, settings)
            for exact in (True, False):
                found = await odd.recall_by_vector(
                    vector.tolist(),
                    query=text,
                    k=k,
                    threshold=threshold,
                    weights=WEIGHTS["tie-breakers"],
                    exact=exact,
                    reinforce=False,
                    now=NOW_MS,
                )
                if exact or (found and found[0].explain is not None and found[0].explain.exact):
                    refute(found, expected, k)


def beside(id: str, text: str, distance: float, turn: int | None = None) -> Memory:
    """A memory at this distance from (1, 0); with a `turn` one of the conversation."""
    cosine = 1 - distance
    vector = np.array([cosine, np.sqrt(1 - cosine**2)], dtype=np.float32)
    session = None if turn is None else "s1"
    return Memory(id, text, vector, 0.0, NOW_MS, "t1", session, turn, None, None)


@pytest.mark.parametrize("exact", [True, False])
async def test_the_best_may_be_a_turn_beyond_the_threshold_whose_word_is_one_of_an_unseen_turn(
    engine: Engine, store_name: str, exact: bool
) -> None:
    # The first search brings the 64 nearest and one of those with the word: never the best memory's neighbour.
    memories = [
        beside("near", "nothing here", 0.38),
        beside("best", "yes, that one", 0.5, turn=1),
        beside("lender", "stone", 1.96, turn=2),
        *(beside(f"other{place}", "stone x y", 1.85) for place in range(70)),
    ]
    await write(engine, store_name, memories)
    options = HybridOptions(
        candidates=1, word_candidates=0, words_weight=0.1, actor_weight=0, date_weight=0, neighbour_share=1.0
    )
    store = MemoryStore(client=engine, name=store_name, clock=lambda: NOW_MS, retrieval="hybrid", hybrid=options)
    by_likeness = RecallWeights(1, 0, 0)
    settings = Settings(by_likeness, threshold=0.4, hybrid=options, words=("stone",))
    expected = scores_of(memories, np.array([1, 0], dtype=np.float32), settings)
    assert [id for _, _, id in expected[:2]] == ["best", "near"]
    [hit] = await store.recall_by_vector(
        [1.0, 0.0], query="stone", k=1, threshold=0.4, weights=by_likeness, exact=exact, reinforce=False
    )
    assert hit.explain is not None
    assert hit.explain.exact or not exact
    if hit.explain.exact:
        refute([hit], expected, 1)
